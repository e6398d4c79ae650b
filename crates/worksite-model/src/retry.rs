//! Again after failure, and how much later: [`RetryPolicy`].

use crate::RoutineFailure;
use std::time::Duration;

/// When a failed delivery is tried again, and when it is given up. A value; each routine has one.
///
/// The delay before attempt n + 1 is `first_delay * factor^(n - 1)`, at most `delay_max` (seed 001's rule), less a
/// share of up to `jitter_percent` that follows from the seed, so that what failed together does not return together.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// How many attempts a delivery has in all, the first one counted. At least 1.
    pub attempts_max: u32,
    /// The delay after the first failure.
    pub first_delay: Duration,
    /// By how much each delay is longer than the one before. At least 1.
    pub factor: f64,
    /// No delay is longer.
    pub delay_max: Duration,
    /// Up to which share of it a delay is shortened, by chance. At most 100.
    pub jitter_percent: u8,
    /// No attempt begins later than this after the envelope was accepted. Default: none.
    pub deadline: Option<Duration>,
    /// Which failures are worth another attempt, beyond [`RoutineFailure::is_retryable`].
    pub retryable: fn(&RoutineFailure) -> bool,
}

impl Default for RetryPolicy {
    /// Five attempts within about a minute: long enough for a hiccup, short enough to be noticed.
    fn default() -> Self {
        Self {
            attempts_max: 5,
            first_delay: Duration::from_secs(1),
            factor: 3.0,
            delay_max: Duration::from_secs(600),
            jitter_percent: 20,
            deadline: None,
            retryable: |_| true,
        }
    }
}

impl RetryPolicy {
    /// One attempt and no other: what fails is buried.
    pub fn never() -> Self {
        Self { attempts_max: 1, ..Self::default() }
    }

    /// The delay before the attempt after `failed`, or nothing when the delivery is to be buried.
    ///
    /// ```
    /// use std::time::Duration;
    /// use worksite_model::RetryPolicy;
    ///
    /// let policy = RetryPolicy { jitter_percent: 0, attempts_max: 3, ..RetryPolicy::default() };
    /// assert_eq!(policy.delay(1, 0), Some(Duration::from_secs(1)));
    /// assert_eq!(policy.delay(2, 0), Some(Duration::from_secs(3)));
    /// assert_eq!(policy.delay(3, 0), None);
    /// ```
    pub fn delay(&self, failed: u32, chance: u64) -> Option<Duration> {
        if failed >= self.attempts_max {
            return None;
        }
        let exponent = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first_delay.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let full = Duration::try_from_secs_f64(seconds).unwrap_or(self.delay_max).min(self.delay_max);
        // The top 53 bits, as a fraction of one.
        let fraction = (chance >> 11) as f64 / (1_u64 << 53) as f64;
        let kept = 1.0 - fraction * f64::from(self.jitter_percent.min(100)) / 100.0;
        Some(Duration::try_from_secs_f64(full.as_secs_f64() * kept).unwrap_or(full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_never_exceeds_its_bound_and_jitter_only_shortens() {
        let policy =
            RetryPolicy { attempts_max: u32::MAX, delay_max: Duration::from_secs(60), ..RetryPolicy::default() };
        for failed in [1, 2, 5, 100, 1_000_000] {
            let calm = policy.delay(failed, 0).unwrap();
            let hasty = policy.delay(failed, u64::MAX).unwrap();
            assert!(calm <= Duration::from_secs(60) && hasty <= calm && hasty >= calm.mul_f64(0.79));
        }
    }

    #[test]
    fn never_means_one_attempt() {
        assert_eq!(RetryPolicy::never().delay(1, 0), None);
    }
}
