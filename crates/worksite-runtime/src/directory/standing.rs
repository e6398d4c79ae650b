//! How workers stand, as their desks know it, and the tenure that shows it to whoever looks. Most workers are never looked at
//! and nothing goes wrong with them: they have none.

use super::{Desk, Directory};
use crate::status::{InboxReport, Status, Tenure, WorkerHandle};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use worksite_model::PersonId;

impl Directory {
    /// Notes how the worker of this generation stands; one that has been succeeded stands nowhere.
    pub(crate) fn stand(&self, person: PersonId, generation: u32, status: Status) {
        if let Some(desk) = self.read().get(&person).filter(|desk| desk.seats(generation)) {
            desk.stand(status);
        }
    }

    /// Notes that a person's worker has crashed.
    pub(crate) fn crash(&self, person: PersonId) {
        if let Some(desk) = self.read().get(&person).filter(|desk| desk.active) {
            desk.stand(Status::Failed);
        }
    }

    /// Keeps what went wrong with the worker of this generation.
    pub(crate) fn fault(&self, person: PersonId, generation: u32, reason: String) {
        if let Some(desk) = self.write().get_mut(&person).filter(|desk| desk.seats(generation)) {
            desk.tenure().fail(reason);
        }
    }

    /// A handle on the person's worker; nothing when they are not active.
    pub(crate) fn handle(&self, person: PersonId) -> Option<WorkerHandle> {
        let mut desks = self.write();
        let desk = desks.get_mut(&person).filter(|desk| desk.active)?;
        Some(WorkerHandle::new(person, desk.tenure().clone()))
    }

    /// How much the person's inbox holds, and what it has turned away; nothing when they are not active.
    pub(crate) fn report(&self, person: PersonId) -> Option<InboxReport> {
        let desks = self.read();
        let desk = desks.get(&person).filter(|desk| desk.active)?;
        Some(InboxReport {
            waiting: desk.waiting(),
            bytes: desk.bytes.load(Ordering::Acquire),
            parked: desk.parked.load(Ordering::Acquire) as usize,
            refused: desk.tenure.as_ref().map_or(0, |tenure| tenure.refused()),
            dropped: desk.tenure.as_ref().map_or(0, |tenure| tenure.dropped()),
        })
    }

    pub(super) fn count_refused(&self, person: PersonId) {
        self.count(person, |tenure| tenure.refuse(1));
    }

    /// Counts drafts or envelopes that were dropped for want of room.
    pub(crate) fn count_dropped(&self, person: PersonId, envelopes: usize) {
        self.count(person, |tenure| tenure.drop_mail(envelopes as u64));
    }

    /// Counts under the lock of readers, but for the first time in a tenure: who is full is refused often.
    fn count(&self, person: PersonId, count: impl Fn(&Tenure)) {
        if let Some(tenure) = self.read().get(&person).and_then(|desk| desk.tenure.as_ref()) {
            return count(tenure);
        }
        if let Some(desk) = self.write().get_mut(&person).filter(|desk| desk.active) {
            count(desk.tenure());
        }
    }
}

impl Desk {
    /// Whether the worker of this generation sits here.
    fn seats(&self, generation: u32) -> bool {
        self.generation == generation && self.address.is_some()
    }

    pub(super) fn stand(&self, status: Status) {
        self.status.store(status as u8, Ordering::Release);
        if let Some(tenure) = &self.tenure {
            tenure.set(status);
        }
    }

    /// Made while nobody else looks, so that it does not miss a word of the worker's.
    fn tenure(&mut self) -> &Arc<Tenure> {
        let (status, paused) = (self.status.load(Ordering::Acquire), self.paused);
        self.tenure.get_or_insert_with(|| Arc::new(Tenure::new(Status::of(status), paused)))
    }
}
