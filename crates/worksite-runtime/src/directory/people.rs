//! Who is active: desks are made and cleared as the roster says, and opened or closed to mail.

use super::{Desk, Directory, POLICIES_KNOWN_MAX};
use crate::status::Status;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use worksite_model::flow::Flow;
use worksite_model::{InboxPolicy, Limits, Person, PersonId, Roster, RosterDifference};

/// Says whether somebody runs a flow, and which, if it is there.
type FlowOf = Box<dyn Fn(&Person) -> Option<Option<Flow>> + Send + Sync>;

/// How a person's desk is set up: decided by the application when they join.
pub(crate) struct Setting {
    pub(crate) manual: Box<dyn Fn(&Person) -> bool + Send + Sync>,
    pub(crate) policy: Box<dyn Fn(&Person) -> InboxPolicy + Send + Sync>,
    /// Which flow somebody runs, if any; and how the inboxes of those take mail.
    pub(crate) flow: FlowOf,
    /// What holds where the application's own words panic.
    pub(crate) usual: InboxPolicy,
}

impl Setting {
    /// Asks the application, inside a fence: its mistake must not end the house.
    fn of(&self, person: &Person) -> (bool, InboxPolicy) {
        let asked = catch_unwind(AssertUnwindSafe(|| ((self.manual)(person), (self.policy)(person))));
        asked.unwrap_or_else(|_panic| {
            tracing::error!(person = person.id.0, "deciding how this person takes mail panicked; the usual holds");
            (false, self.usual)
        })
    }
}

impl Directory {
    /// Takes up a person: new, returned or renamed.
    pub(super) fn join(&self, person: &Person) {
        let (manual, policy) = self.setting.of(person);
        let policy = self.policy(policy);
        let flow = (self.setting.flow)(person);
        // The mail of a flow that is not there in this life of the house waits for its return.
        let manual = flow.as_ref().map_or(manual, Option::is_none);
        let mut desks = self.write();
        if desks.get(&person.id).is_some_and(|desk| desk.active) {
            // Who takes the mail, and how, is settled on joining: a new name changes nothing under a worker awake.
            return;
        }
        let desk = desks.get_or_make(person.id, || Desk::new(policy.clone()));
        (desk.active, desk.manual, desk.policy) = (true, manual, policy);
        if let Some(flow) = flow.flatten() {
            desk.runs_flow = true;
            self.flow_people.write().unwrap_or_else(PoisonError::into_inner).insert(person.id, flow);
        }
        if !manual {
            self.due.fetch_add(desk.waiting(), Ordering::AcqRel);
        }
    }

    pub(super) fn policy(&self, policy: InboxPolicy) -> Arc<InboxPolicy> {
        let mut policies = self.policies.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = policies.iter().find(|known| ***known == policy) {
            return known.clone();
        }
        let policy = Arc::new(policy);
        // Whoever gives everybody a policy of their own pays for it, but not by a search that grows.
        if policies.len() < POLICIES_KNOWN_MAX {
            policies.push(policy.clone());
        }
        policy
    }

    /// Lets a person go; the mail that waits for a return stays counted. An awake worker was told before.
    pub(super) fn leave(&self, person: PersonId) {
        let mut desks = self.write();
        let Some(desk) = desks.get_mut(&person) else { return };
        if desk.active && !desk.manual {
            self.due.fetch_sub(desk.waiting(), Ordering::AcqRel);
        }
        (desk.active, desk.leaving, desk.paused) = (false, false, false);
        if std::mem::take(&mut desk.runs_flow) {
            self.flow_people.write().unwrap_or_else(PoisonError::into_inner).remove(&person);
        }
        self.stand_up(desk);
        if let Some(tenure) = desk.tenure.take() {
            tenure.set(Status::Terminated);
        }
        // The next tenure begins anew, also of one that had crashed.
        desk.stand(Status::Idle);
        if desk.waiting() == 0 && desk.parked.load(Ordering::Acquire) == 0 {
            desks.remove(&person);
        }
    }

    /// Makes a committed roster difference true here. Those who leave cannot be told anything afterwards.
    pub(crate) fn apply(&self, difference: &RosterDifference) {
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = difference.target.clone();
        for person in &difference.joined {
            self.join(person);
        }
        for person in &difference.left {
            self.leave(*person);
        }
    }

    /// The people and waiting mail that the store had at the start.
    pub(crate) fn open(&self, roster: Roster, waiting: &[worksite_model::Waiting], paused: &[PersonId]) {
        // Who is away accepts nothing; on the return, the application says how.
        let away = Arc::new(InboxPolicy::of(&Limits::default()));
        for entry in waiting {
            let mut desks = self.write();
            let desk = desks.get_or_make(entry.person, || Desk::new(away.clone()));
            desk.waiting = AtomicU32::new(u32::try_from(entry.envelopes).unwrap_or(u32::MAX));
            desk.bytes = AtomicUsize::new(entry.bytes);
            self.site_waiting.fetch_add(entry.envelopes, Ordering::AcqRel);
            self.site_bytes.fetch_add(entry.bytes, Ordering::AcqRel);
        }
        for person in roster.people() {
            self.join(person);
        }
        for person in paused {
            self.rest(*person, true);
        }
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = roster;
    }

    /// Lets a person's worker rest, or go on.
    pub(crate) fn rest(&self, person: PersonId, paused: bool) {
        if let Some(desk) = self.write().get_mut(&person).filter(|desk| desk.active) {
            desk.paused = paused;
            if let Some(tenure) = &desk.tenure {
                tenure.rest(paused);
            }
        }
    }

    /// Closes the gate for somebody who is to leave: false when they are not active, or leaving already.
    pub(crate) fn begin_leaving(&self, person: PersonId) -> bool {
        let mut desks = self.write();
        let Some(desk) = desks.get_mut(&person).filter(|desk| desk.active && !desk.leaving) else { return false };
        desk.leaving = true;
        true
    }

    /// Opens the gate again for somebody who was to leave and could not.
    pub(crate) fn stay(&self, person: PersonId) {
        if let Some(desk) = self.write().get_mut(&person) {
            desk.leaving = false;
        }
    }

    pub(crate) fn roster(&self) -> Roster {
        self.roster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_active(&self, person: PersonId) -> bool {
        self.read().get(&person).is_some_and(|desk| desk.active)
    }

    pub(crate) fn is_manual(&self, person: PersonId) -> Option<bool> {
        self.read().get(&person).filter(|desk| desk.active).map(|desk| desk.manual)
    }
}
