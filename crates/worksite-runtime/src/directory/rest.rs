//! Whether anybody has anything to do now: mail that nobody takes is counted as it is reported.

use super::seats::awake;
use super::{Desk, Directory, POLICIES_KNOWN_MAX};
use crate::worker::{LookAgain, Worker};
use actix::Addr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use worksite_model::{Overflow, PersonId};

impl Directory {
    /// Notes how much of a person's mail nobody takes now; whether somebody waits to hear that.
    pub(crate) fn report_sleeping(&self, person: PersonId, generation: u32, sleeping: usize) -> bool {
        let desks = self.read();
        let Some(desk) = desks.get(&person).filter(|desk| desk.generation == generation && desk.address.is_some())
        else {
            return false;
        };
        let sleeping = u32::try_from(sleeping).unwrap_or(u32::MAX);
        let before = desk.sleeping.swap(sleeping, Ordering::AcqRel);
        self.sleeping.fetch_add(sleeping as usize, Ordering::AcqRel);
        self.sleeping.fetch_sub(before as usize, Ordering::AcqRel);
        before != sleeping && self.watched.load(Ordering::Acquire)
    }

    /// Tells the workers that hold mail which nobody took when they last looked, in order of ids. They are taken at nobody's
    /// word any more: time has passed.
    pub(crate) fn rouse(&self) {
        self.tell_chosen(
            |desk| {
                let asleep = desk.is_asleep();
                if asleep {
                    self.rouse_desk(desk);
                }
                asleep
            },
            || LookAgain,
        );
    }

    /// The workers that hold mail which nobody takes now, in order of ids.
    pub(crate) fn asleep(&self) -> Vec<Addr<Worker>> {
        let desks = self.read();
        awake(&desks, Desk::is_asleep).into_iter().map(|(_, worker)| worker.clone()).collect()
    }

    /// What this person's worker has said of its sleeping mail holds no more; it is to look again.
    pub(crate) fn rouse_one(&self, person: PersonId) {
        if let Some(desk) = self.read().get(&person) {
            self.rouse_desk(desk);
        }
    }

    pub(super) fn rouse_desk(&self, desk: &Desk) {
        self.sleeping.fetch_sub(desk.sleeping.swap(0, Ordering::AcqRel) as usize, Ordering::AcqRel);
    }

    /// Notes whether a worker has anything to drop, though its inbox holds more than it should.
    pub(crate) fn report_stuck(&self, person: PersonId, generation: u32, stuck: bool) -> bool {
        let desks = self.read();
        let Some(desk) = desks.get(&person).filter(|desk| desk.generation == generation) else { return false };
        desk.stuck.swap(stuck, Ordering::AcqRel) != stuck && self.watched.load(Ordering::Acquire)
    }

    pub(crate) fn watch(&self, watched: bool) {
        self.watched.store(watched, Ordering::Release);
    }

    /// Whether no active person's routine has anything to do now, and no inbox holds more than it should.
    pub(crate) fn is_resting(&self) -> bool {
        self.due.load(Ordering::Acquire) <= self.sleeping.load(Ordering::Acquire) && self.overfull().is_empty()
    }

    /// Active people whose inboxes hold more than they should, until their workers have dropped something.
    pub(crate) fn overfull(&self) -> Vec<PersonId> {
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        // Nobody looks at every desk where no inbox ever drops anything.
        if policies.len() < POLICIES_KNOWN_MAX && policies.iter().all(|policy| policy.overflow != Overflow::DropOldest)
        {
            return Vec::new();
        }
        let desks = self.read();
        let overfull =
            desks.iter().filter(|(_, desk)| desk.active && desk.is_over() && !desk.stuck.load(Ordering::Acquire));
        let mut people: Vec<_> = overfull.map(|(person, _)| person).collect();
        people.sort_unstable();
        people
    }

    /// Whether this person's worker has nothing to do now; a manual one never has.
    pub(crate) fn has_rest(&self, person: PersonId) -> bool {
        let desks = self.read();
        desks
            .get(&person)
            .is_none_or(|desk| desk.manual || desk.waiting() <= desk.sleeping.load(Ordering::Acquire) as usize)
    }

    /// Whether the person's inbox holds more than it should, so that its worker has to drop something.
    pub(crate) fn is_over(&self, person: PersonId) -> bool {
        self.read().get(&person).is_some_and(|desk| desk.active && desk.is_over())
    }

    /// Whether the person is active, takes mail by routines, and has some.
    pub(crate) fn has_work(&self, person: PersonId) -> bool {
        let desks = self.read();
        desks.get(&person).is_some_and(|desk| desk.active && !desk.manual && desk.waiting() > 0)
    }

    /// Posts that wait for workers with flows.
    pub(crate) fn posts_waiting(&self) -> usize {
        // In the order in which whoever joins takes the two locks.
        let desks = self.read();
        let running = self.flow_people.read().unwrap_or_else(PoisonError::into_inner);
        running.keys().filter_map(|person| desks.get(person)).map(|desk| desk.waiting()).sum()
    }

    /// Whether no active person's routine has anything to do.
    pub(crate) fn is_quiet(&self) -> bool {
        self.due.load(Ordering::Acquire) == 0
    }

    pub(crate) fn waiting(&self, person: PersonId) -> usize {
        self.read().get(&person).map_or(0, |desk| desk.waiting())
    }
}

impl Desk {
    /// Whether it holds mail that nobody takes now; a flow may wait for a moment without any.
    fn is_asleep(&self) -> bool {
        self.runs_flow || self.sleeping.load(Ordering::Acquire) > 0
    }
}
