//! How a run queue works: [`RunPolicy`]: leases, when runners count as lost, what becomes of claims of an earlier life
//! ([`Recovery`]), and limits by key ([`KeyLimit`]). Values.

use crate::{Run, RunStatus, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How a run queue works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPolicy {
    /// How long a claim holds without a word from its runner. Default 60 s.
    pub lease: Duration,
    /// How long after its last word a runner gets no more runs. Default 120 s, as in seed 002.
    pub stale_after: Duration,
    /// How long after its last word a runner is lost, and its runs are taken from it. Default 600 s, as in seed 002.
    pub lost_after: Duration,
    /// What becomes of runs that an earlier life of the house left claimed. Default [`Recovery::Orphans`].
    pub recovery: Recovery,
    /// Limits by key.
    pub limits: BTreeMap<String, KeyLimit>,
    /// Pending runs at most. Default 1,000,000: about a gigabyte of memory.
    pub pending_max: usize,
    /// Claims that wait for a run at most. Default 65,536.
    pub waiting_claims_max: usize,
}

impl Default for RunPolicy {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(60),
            stale_after: Duration::from_secs(120),
            lost_after: Duration::from_secs(600),
            recovery: Recovery::default(),
            limits: BTreeMap::new(),
            pending_max: 1_000_000,
            waiting_claims_max: 65_536,
        }
    }
}

/// How many runs of one key may be held at once, and how often one may be claimed.
///
/// ```
/// use std::time::Duration;
/// use worksite_model::KeyLimit;
///
/// let limit = KeyLimit { at_once: Some(4), rate: Some((10, Duration::from_secs(60))) };
/// assert_eq!(limit.pause(), Duration::from_secs(6));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyLimit {
    /// Held by runners at once, at most.
    pub at_once: Option<u32>,
    /// So many claims in so much time, evenly: after a burst of so many, one each part of it.
    pub rate: Option<(u32, Duration)>,
}

impl KeyLimit {
    /// How much time one claim uses up of the rate.
    pub fn pause(&self) -> Duration {
        self.rate.map_or(Duration::ZERO, |(claims, time)| time / claims.max(1))
    }
}

/// What becomes at the start of runs that an earlier life of the house left claimed, running or stopping. What is pending
/// stays so, and what has ended too; what is stopping is stopped, except under [`Recovery::None`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recovery {
    /// They are orphans, and known as such by the epoch in their claim, not by their age: what was claimed waits again,
    /// what was running waits again as long as it has attempts left, and fails otherwise.
    #[default]
    Orphans,
    /// Seed 002 `none`: they stay as they are, and end by their leases.
    None,
    /// Seed 002 `stale`: what was claimed longer ago than this waits again, what was begun longer ago fails. Younger ones
    /// stay; where the original left them stuck for ever, here their leases end them.
    Stale(Duration),
    /// Seed 002 `all`: what was claimed waits again, what was running fails.
    All,
}

/// What became of one run at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rescue {
    Keep,
    Requeue { counts: bool },
    Fail(&'static str),
    Stop,
}

/// Why a run failed that was at work when the house ended; seed 002's words.
const RESTARTED: &str = "Coordinator restarted during execution";
const UNKNOWN: &str = "Coordinator restarted - execution state unknown";

impl Recovery {
    /// What becomes of a run that an earlier life left so.
    pub(crate) fn rescue(self, run: &Run, epoch: i64, now: Timestamp) -> Rescue {
        if !run.status.is_held() || run.epoch >= epoch {
            return Rescue::Keep;
        }
        let old = |since: Option<Timestamp>, age| since.is_none_or(|since| since.after(age) < now);
        match (self, run.status) {
            (Self::None, _) => Rescue::Keep,
            (_, RunStatus::Stopping) => Rescue::Stop,
            (Self::Orphans, RunStatus::Claimed) => Rescue::Requeue { counts: false },
            (Self::Orphans, _) => Rescue::Requeue { counts: true },
            (Self::Stale(age), RunStatus::Claimed) if old(run.claimed_at, age) => Rescue::Requeue { counts: false },
            (Self::Stale(age), RunStatus::Running) if old(run.started_at, age) => Rescue::Fail(RESTARTED),
            (Self::Stale(_), _) => Rescue::Keep,
            (Self::All, RunStatus::Claimed) => Rescue::Requeue { counts: false },
            (Self::All, _) => Rescue::Fail(UNKNOWN),
        }
    }
}

/// What recovery did, in counts; seed 002's names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Runs that wait again.
    pub reset_to_pending: usize,
    /// Runs that failed.
    pub marked_failed: usize,
    /// Runs that were stopped.
    pub marked_stopped: usize,
    /// Runs that stayed as they were.
    pub kept: usize,
    /// Rows that could not be read.
    pub unreadable: usize,
    /// How many were touched, by how they stood before.
    pub by_status: BTreeMap<RunStatus, usize>,
}

impl RecoveryReport {
    pub(crate) fn count(&mut self, before: &Arc<Run>, after: Option<RunStatus>) {
        match after {
            None => self.kept += 1,
            Some(RunStatus::Pending) => self.reset_to_pending += 1,
            Some(RunStatus::Stopped) => self.marked_stopped += 1,
            Some(_) => self.marked_failed += 1,
        }
        if after.is_some() {
            *self.by_status.entry(before.status).or_default() += 1;
        }
    }
}
