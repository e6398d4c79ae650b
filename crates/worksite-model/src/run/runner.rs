//! Who claims runs: [`RunnerInfo`] as it registers, and [`Runners`], the register: online, stale, lost, deregistered.

use crate::{Capabilities, RunId, RunPolicy, RunRejection, RunnerId, Timestamp, chance};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A runner, as it introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerInfo {
    /// Its id. The same runner has the same id after its restart.
    pub id: RunnerId,
    /// What it has to offer.
    pub capabilities: Arc<Capabilities>,
    /// Runs it holds at once, at most.
    pub slots: u32,
}

impl RunnerInfo {
    /// A runner of this id that takes one run at a time.
    pub fn new(id: impl Into<RunnerId>, capabilities: Capabilities) -> Self {
        Self { id: id.into(), capabilities: Arc::new(capabilities), slots: 1 }
    }

    /// A runner whose id follows from where it is, as in seed 002: host, project folder, executor profile and command.
    ///
    /// ```
    /// use worksite_model::{Capabilities, RunnerInfo};
    ///
    /// let place = Capabilities::none().field("hostname", "gaia-12").field("project_dir", "/work");
    /// let (before, after) = (RunnerInfo::at(place.clone()), RunnerInfo::at(place.clone().tag("gpu")));
    /// assert_eq!(before.id, after.id); // restarted with another tag it is the same runner
    /// assert!(before.id.0.starts_with("rnr_"));
    /// ```
    pub fn at(capabilities: Capabilities) -> Self {
        let mut place = String::new();
        for field in ["hostname", "project_dir", "executor_profile", "command"] {
            let value = capabilities.fields.get(field).map(ToString::to_string).unwrap_or_default();
            place.push_str(&format!("{}:{value};", value.len()));
        }
        let bytes: Vec<_> = place.bytes().map(i64::from).collect();
        let id = format!("rnr_{:012x}", chance(0x002, &bytes) >> 16);
        Self::new(id, capabilities)
    }

    /// Holds so many runs at once, at most.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }
}

/// How a runner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standby {
    /// It has been heard of lately.
    Online,
    /// It has not been heard of for a while, and gets no runs until it is.
    Stale,
    /// It was told to go, and has not heard it yet.
    Leaving,
}

/// How a registered runner stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerReport {
    /// Who.
    pub runner: RunnerInfo,
    /// How it stands.
    pub standby: Standby,
    /// When it registered, or came back.
    pub registered_at: Timestamp,
    /// Its last word.
    pub heard_at: Timestamp,
    /// The runs it holds.
    pub held: Vec<RunId>,
}

#[derive(Debug, Clone)]
struct Registered {
    info: RunnerInfo,
    registered_at: Timestamp,
    heard_at: Timestamp,
    is_leaving: bool,
}

/// The runners that have registered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runners {
    known: BTreeMap<RunnerId, Registered>,
    /// When each was last heard of, oldest first.
    heard: BTreeSet<(Timestamp, RunnerId)>,
}

impl Runners {
    /// Registers a runner, or takes back one that was stale, with what it has to offer now.
    pub(crate) fn register(
        &mut self,
        info: RunnerInfo,
        policy: &RunPolicy,
        now: Timestamp,
    ) -> Result<(), RunRejection> {
        if let Some(known) = self.known.get(&info.id) {
            if known.standby(policy, now) == Standby::Online {
                return Err(RunRejection::RunnerExists(info.id));
            }
            self.heard.remove(&(known.heard_at, info.id.clone()));
        }
        self.heard.insert((now, info.id.clone()));
        let registered = Registered { registered_at: now, heard_at: now, is_leaving: false, info };
        self.known.insert(registered.info.id.clone(), registered);
        Ok(())
    }

    /// It has been heard of. What was stale is online again: seed 002's heartbeat forgets that.
    pub(crate) fn hear(&mut self, runner: &RunnerId, now: Timestamp) -> Result<(), RunRejection> {
        let known = self.known.get_mut(runner).ok_or_else(|| RunRejection::UnknownRunner(runner.clone()))?;
        self.heard.remove(&(known.heard_at, runner.clone()));
        known.heard_at = known.heard_at.max(now);
        self.heard.insert((known.heard_at, runner.clone()));
        Ok(())
    }

    /// It is to be told to go when it next asks for work.
    pub(crate) fn dismiss(&mut self, runner: &RunnerId) -> Result<(), RunRejection> {
        let known = self.known.get_mut(runner).ok_or_else(|| RunRejection::UnknownRunner(runner.clone()))?;
        known.is_leaving = true;
        Ok(())
    }

    /// It has gone.
    pub(crate) fn forget(&mut self, runner: &RunnerId) -> Option<RunnerInfo> {
        let known = self.known.remove(runner)?;
        self.heard.remove(&(known.heard_at, runner.clone()));
        Some(known.info)
    }

    /// Those that have not been heard of for so long that they are lost.
    pub(crate) fn lost(&self, policy: &RunPolicy, now: Timestamp) -> Vec<RunnerId> {
        let silent = self.heard.iter().take_while(|(heard, _)| heard.after(policy.lost_after) <= now);
        silent.map(|(_, runner)| runner.clone()).collect()
    }

    /// The next moment at which one will be lost if it is not heard of.
    pub(crate) fn next_moment(&self, policy: &RunPolicy) -> Option<Timestamp> {
        self.heard.first().map(|(heard, _)| heard.after(policy.lost_after))
    }

    pub(crate) fn standby(&self, runner: &RunnerId, policy: &RunPolicy, now: Timestamp) -> Option<Standby> {
        self.known.get(runner).map(|known| known.standby(policy, now))
    }

    pub(crate) fn info(&self, runner: &RunnerId) -> Option<&RunnerInfo> {
        self.known.get(runner).map(|known| &known.info)
    }

    pub(crate) fn reports(&self, policy: &RunPolicy, now: Timestamp) -> impl Iterator<Item = RunnerReport> {
        self.known.values().map(move |known| RunnerReport {
            runner: known.info.clone(),
            standby: known.standby(policy, now),
            registered_at: known.registered_at,
            heard_at: known.heard_at,
            held: Vec::new(),
        })
    }
}

impl Registered {
    fn standby(&self, policy: &RunPolicy, now: Timestamp) -> Standby {
        match () {
            () if self.is_leaving => Standby::Leaving,
            () if self.heard_at.after(policy.stale_after) <= now => Standby::Stale,
            () => Standby::Online,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_is_online_then_stale_then_lost_and_a_heartbeat_brings_it_back() {
        let (mut runners, policy) = (Runners::default(), RunPolicy::default());
        let at = Timestamp::from_seconds;
        let info = RunnerInfo::new("a", Capabilities::none());
        let id = info.id.clone();
        runners.register(info.clone(), &policy, at(0)).unwrap();
        assert_eq!(runners.register(info.clone(), &policy, at(119)), Err(RunRejection::RunnerExists(id.clone())));
        assert_eq!(runners.standby(&id, &policy, at(120)), Some(Standby::Stale));
        runners.hear(&id, at(130)).unwrap();
        assert_eq!(runners.standby(&id, &policy, at(131)), Some(Standby::Online));
        runners.register(info.clone().slots(4), &policy, at(300)).unwrap();
        assert_eq!(runners.info(&id).map(|info| info.slots), Some(4), "it came back with more");
        assert_eq!((runners.lost(&policy, at(899)), runners.next_moment(&policy)), (vec![], Some(at(900))));
        assert_eq!(runners.lost(&policy, at(900)), std::slice::from_ref(&id));
        runners.dismiss(&id).unwrap();
        assert_eq!(runners.standby(&id, &policy, at(300)), Some(Standby::Leaving));
        assert_eq!(runners.forget(&id).map(|info| info.slots), Some(4));
        assert_eq!(runners.hear(&id, at(1)), Err(RunRejection::UnknownRunner(id)));
    }
}
