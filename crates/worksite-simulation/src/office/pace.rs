//! How fast ticks pass for who watches: [`Pace`] says how long to wait. A function of what has passed; it waits for nobody.

use std::time::Duration;

/// How many ticks are to pass in a second, and how many do.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pace {
    /// Ticks a second that are asked for; as fast as it goes when there is nothing here.
    pub ticks_per_second: Option<f64>,
}

impl Pace {
    /// As often as real time: `1` is a tick a minute, `60` a tick a second.
    pub fn times_real(factor: f64) -> Self {
        Self { ticks_per_second: (factor > 0.0).then_some(factor / 60.0) }
    }

    /// How long to wait so that so many ticks have taken as long as asked.
    ///
    /// ```
    /// use std::time::Duration;
    /// use worksite_simulation::office::Pace;
    ///
    /// let pace = Pace { ticks_per_second: Some(10.0) };
    /// assert_eq!(pace.wait(20, Duration::from_millis(500)), Duration::from_millis(1_500));
    /// assert_eq!(pace.wait(20, Duration::from_secs(9)), Duration::ZERO);
    /// ```
    pub fn wait(&self, ticks: u64, passed: Duration) -> Duration {
        let Some(asked) = self.ticks_per_second.filter(|asked| *asked > 0.0) else { return Duration::ZERO };
        let due = Duration::try_from_secs_f64(ticks as f64 / asked).unwrap_or(Duration::MAX);
        due.saturating_sub(passed)
    }

    /// How many ticks a second it was.
    pub fn reached(ticks: u64, passed: Duration) -> f64 {
        let seconds = passed.as_secs_f64();
        if seconds > 0.0 { ticks as f64 / seconds } else { 0.0 }
    }
}
