//! Every bounded thing has a name, a unit and a reason: [`Limits`].

use crate::LimitsError;

/// Data a slot of a flow holds when it says nothing else: seed 001's `max_queue_length`.
pub const SLOT_DATA_MAX: usize = 1_000;

/// Turns of a flow's routine without a state that one worker has at once, when it says nothing else: as many as a pool has
/// threads at most; what more there is waits in its slots.
pub(crate) const TURNS_MAX: usize = 64;

/// Entries a job's trace keeps: it is written whole with its job.
pub(crate) const TRACE_ENTRIES_MAX: usize = 256;

/// Bytes a job's output keeps: it is written whole with its job.
pub(crate) const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Volatile jobs that have ended and can still be looked at: they are in memory only.
pub const VOLATILE_JOBS_ENDED_MAX: usize = 4_096;

/// The limits of a site. Public fields, units last; the defaults suit a program on one machine.
///
/// ```
/// use worksite_model::Limits;
///
/// let limits = Limits { payload_bytes_max: 64 * 1024, ..Limits::default() };
/// assert!(limits.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message's body. Default 1 MiB: mail is for words; put files beside the site and send their names.
    pub payload_bytes_max: usize,
    /// Bytes of one text beside the body (key, thread, kind, channel, routine). Default 512: they are names.
    pub header_bytes_max: usize,
    /// Bytes of one routine's encoded state. Default 16 MiB: it is written whole with each activation.
    pub state_bytes_max: usize,
    /// Envelopes waiting for one person. Default 100,000: memory while the worker is awake is about 0.5 kB each.
    pub inbox_envelopes_max: usize,
    /// Bytes of bodies waiting for one person. Default 256 MiB.
    pub inbox_bytes_max: usize,
    /// Envelopes waiting in the whole site. Default 10,000,000: the writer's index takes eight bytes each.
    pub site_envelopes_max: usize,
    /// Bytes of bodies waiting in the whole site. Default 16 GiB.
    pub site_bytes_max: usize,
    /// Changes whose senders wait for room in an inbox ([`Overflow::Wait`](crate::Overflow::Wait)). Default 65,536.
    pub changes_parked_max: usize,
    /// Drafts and other changes from outside that wait for the writer. Default 65,536: about a second of writing.
    pub changes_in_flight_max: usize,
    /// Changes in one transaction. Default 4,096: beyond that a larger group gains little and adds latency.
    pub commit_changes_max: usize,
    /// Deliveries in one activation of a synchronous routine. Default 256: their state is written once.
    pub activation_deliveries_max: usize,
    /// How long a routine may take for one delivery, in milliseconds. Default 30,000.
    pub routine_time_ms_max: u64,
    /// How long an idle worker stays in memory, in milliseconds. Default 60,000.
    pub worker_idle_ms_max: u64,
    /// Volatile drafts waiting at one worker. Default 4,096: what exceeds it is dropped and counted.
    pub volatile_drafts_max: usize,
    /// Facts a subscriber may lag behind before the oldest are dropped for it, and counted. Default 4,096.
    pub subscriber_facts_max: usize,
    /// Restarts of one crashing worker within [`Limits::restart_window_ms`] before it is left alone. Default 5.
    pub restarts_max: u32,
    /// The window in which restarts are counted, in milliseconds. Default 60,000.
    pub restart_window_ms: u64,
    /// How long a worker may take to be read from the store, in milliseconds, before it is tried again. Default 30,000.
    pub recovery_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes_max: 1 << 20,
            header_bytes_max: 512,
            state_bytes_max: 16 << 20,
            inbox_envelopes_max: 100_000,
            inbox_bytes_max: 256 << 20,
            site_envelopes_max: 10_000_000,
            site_bytes_max: 16 << 30,
            changes_parked_max: 65_536,
            changes_in_flight_max: 65_536,
            commit_changes_max: 4_096,
            activation_deliveries_max: 256,
            routine_time_ms_max: 30_000,
            worker_idle_ms_max: 60_000,
            volatile_drafts_max: 4_096,
            subscriber_facts_max: 4_096,
            restarts_max: 5,
            restart_window_ms: 60_000,
            recovery_ms_max: 30_000,
        }
    }
}

impl Limits {
    /// Checks the limits and the relations between them.
    ///
    /// # Errors
    /// [`LimitsError`] names the limit that cannot be.
    pub fn check(&self) -> Result<(), LimitsError> {
        let positive = [
            ("payload_bytes_max", self.payload_bytes_max as u64),
            ("header_bytes_max", self.header_bytes_max as u64),
            ("state_bytes_max", self.state_bytes_max as u64),
            ("inbox_envelopes_max", self.inbox_envelopes_max as u64),
            ("inbox_bytes_max", self.inbox_bytes_max as u64),
            ("site_envelopes_max", self.site_envelopes_max as u64),
            ("site_bytes_max", self.site_bytes_max as u64),
            ("changes_parked_max", self.changes_parked_max as u64),
            ("changes_in_flight_max", self.changes_in_flight_max as u64),
            ("commit_changes_max", self.commit_changes_max as u64),
            ("activation_deliveries_max", self.activation_deliveries_max as u64),
            ("routine_time_ms_max", self.routine_time_ms_max),
            ("worker_idle_ms_max", self.worker_idle_ms_max),
            ("volatile_drafts_max", self.volatile_drafts_max as u64),
            ("subscriber_facts_max", self.subscriber_facts_max as u64),
            ("restart_window_ms", self.restart_window_ms),
            ("recovery_ms_max", self.recovery_ms_max),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(LimitsError::Zero { name });
        }
        // A value larger than SQLite's own limit (1,000,000,000 bytes) would pass the gate and fail at the door.
        for (name, bytes) in [("payload_bytes_max", self.payload_bytes_max), ("state_bytes_max", self.state_bytes_max)]
        {
            if bytes > VALUE_BYTES_MAX {
                return Err(LimitsError::TooLarge { name, value: bytes as u64, limit: VALUE_BYTES_MAX as u64 });
            }
        }
        Ok(())
    }
}

/// The largest value any store is asked to hold, in bytes: half of SQLite's default limit.
pub const VALUE_BYTES_MAX: usize = 500_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_possible_and_zero_is_not() {
        assert_eq!(Limits::default().check(), Ok(()));
        let none = Limits { inbox_envelopes_max: 0, ..Limits::default() };
        assert_eq!(none.check(), Err(LimitsError::Zero { name: "inbox_envelopes_max" }));
        let huge = Limits { state_bytes_max: usize::MAX, ..Limits::default() };
        assert!(matches!(huge.check(), Err(LimitsError::TooLarge { name: "state_bytes_max", .. })));
    }
}
