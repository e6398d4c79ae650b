//! How long things are kept that nobody needs for going on: [`Retention`], by age and count, for every table that grows.

use std::time::Duration;

/// How much of one table is kept: nothing older than the one, and no more than the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// How long a row is kept.
    pub age: Duration,
    /// How many rows are kept, the newest.
    pub rows: u64,
}

/// How long what has ended is kept. It is looked at every minute; a row may live that much longer. What still waits is
/// never touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Idempotency keys, and the replies kept under them, counted from the acceptance. Default: 24 hours, 1,000,000.
    pub keys: Keep,
    /// Dead letters. Default: 30 days, 100,000.
    pub dead_letters: Keep,
    /// Envelopes of threads that have left their inboxes. Default: 30 days, 1,000,000.
    pub history: Keep,
    /// Rows that could not be read. Default: 90 days, 10,000.
    pub quarantine: Keep,
    /// Logged facts, acknowledged or not: so long they can be told again. Without any durable subscription they are forgotten
    /// at once. Default: 7 days, 1,000,000.
    pub facts: Keep,
    /// Jobs that have ended, counted from the acceptance of their post. Default: 1 day, 1,000,000.
    pub jobs: Keep,
    /// People who left and have neither mail nor state. Default: 90 days, 100,000.
    pub people: Keep,
    /// Runs that completed, counted from their end. Default: 7 days, 1,000,000.
    pub runs_completed: Keep,
    /// Runs that failed, counted from their end. Default: 30 days, 100,000.
    pub runs_failed: Keep,
    /// Runs that were stopped, counted from their end. Default: 7 days, 100,000.
    pub runs_stopped: Keep,
    /// Sessions without any run that is still kept, counted from their beginning. Default: 30 days, 1,000,000.
    pub sessions: Keep,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64, rows| Keep { age: Duration::from_secs(days * 86_400), rows };
        Self {
            keys: days(1, 1_000_000),
            dead_letters: days(30, 100_000),
            history: days(30, 1_000_000),
            quarantine: days(90, 10_000),
            facts: days(7, 1_000_000),
            jobs: days(1, 1_000_000),
            people: days(90, 100_000),
            runs_completed: days(7, 1_000_000),
            runs_failed: days(30, 100_000),
            runs_stopped: days(7, 100_000),
            sessions: days(30, 1_000_000),
        }
    }
}

/// How many rows of each table were forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Idempotency keys.
    pub keys: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Envelopes of threads.
    pub history: u64,
    /// Rows that could not be read.
    pub quarantine: u64,
    /// Facts.
    pub facts: u64,
    /// Jobs.
    pub jobs: u64,
    /// People.
    pub people: u64,
    /// Cooldowns that have passed.
    pub cooldowns: u64,
    /// Runs.
    pub runs: u64,
    /// Sessions.
    pub sessions: u64,
}

impl Pruned {
    /// The most rows forgotten of any one table: where that is many, there may be more.
    pub fn most(&self) -> u64 {
        let all = [
            self.keys,
            self.dead_letters,
            self.history,
            self.quarantine,
            self.facts,
            self.jobs,
            self.people,
            self.cooldowns,
            self.runs,
            self.sessions,
        ];
        all.into_iter().max().unwrap_or(0)
    }
}
