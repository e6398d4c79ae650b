//! How a worker stands, for whoever holds a handle: [`Status`], and the [`WorkerHandle`] that shows it for one tenure.
//!
//! A tenure begins when a person joins the roster and ends when they leave it. Its end is final: a handle of an ended
//! tenure says so for ever, also when the person has returned and has a new worker.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use worksite_model::PersonId;

/// How a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// It is being read from the store.
    Starting,
    /// It has nothing to do, or is asleep until it has.
    Idle,
    /// A routine has its mail, or its outcome is being written.
    Processing,
    /// It rests: only its control mail is taken.
    Paused,
    /// Its last delivery failed, it has crashed, or it is held because its state cannot be read. The next success ends
    /// this; [`WorkerHandle::last_error`] is kept.
    Failed,
    /// Its person left the roster. Final.
    Terminated,
}

impl Status {
    /// The status that was kept as this number.
    pub(crate) fn of(number: u8) -> Self {
        STATUSES[usize::from(number) % STATUSES.len()]
    }
}

/// A worker's standing, shared by the directory and all handles.
#[derive(Debug)]
pub(crate) struct Tenure {
    status: AtomicU8,
    paused: AtomicBool,
    /// What went wrong in it. Most tenures are without.
    troubles: OnceLock<Box<Troubles>>,
}

/// What went wrong in a tenure.
#[derive(Debug, Default)]
struct Troubles {
    refused: AtomicU64,
    dropped: AtomicU64,
    last_error: Mutex<Option<String>>,
}

const STATUSES: [Status; 6] =
    [Status::Starting, Status::Idle, Status::Processing, Status::Paused, Status::Failed, Status::Terminated];

impl Tenure {
    pub(crate) fn new(status: Status, paused: bool) -> Self {
        Self { status: AtomicU8::new(status as u8), paused: AtomicBool::new(paused), troubles: OnceLock::new() }
    }

    /// Sets the status, unless it is final.
    pub(crate) fn set(&self, status: Status) {
        let stays = |now: u8| (now != Status::Terminated as u8).then_some(status as u8);
        let _final = self.status.fetch_update(Ordering::AcqRel, Ordering::Acquire, stays);
    }

    pub(crate) fn rest(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    fn troubles(&self) -> &Troubles {
        self.troubles.get_or_init(Box::default)
    }

    pub(crate) fn fail(&self, reason: String) {
        *self.troubles().last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    pub(crate) fn refuse(&self, drafts: u64) {
        self.troubles().refused.fetch_add(drafts, Ordering::Relaxed);
    }

    pub(crate) fn drop_mail(&self, envelopes: u64) {
        self.troubles().dropped.fetch_add(envelopes, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) -> u64 {
        self.troubles.get().map_or(0, |troubles| troubles.refused.load(Ordering::Relaxed))
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.troubles.get().map_or(0, |troubles| troubles.dropped.load(Ordering::Relaxed))
    }

    fn last_error(&self) -> Option<String> {
        self.troubles.get()?.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn status(&self) -> Status {
        match Status::of(self.status.load(Ordering::Acquire)) {
            Status::Idle if self.paused.load(Ordering::Acquire) => Status::Paused,
            status => status,
        }
    }
}

/// A handle on one tenure of a person's worker. Cheap to clone, and good for as long as anybody wants to look.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    person: PersonId,
    tenure: Arc<Tenure>,
}

impl WorkerHandle {
    pub(crate) fn new(person: PersonId, tenure: Arc<Tenure>) -> Self {
        Self { person, tenure }
    }

    /// Whose worker it is.
    pub fn person(&self) -> PersonId {
        self.person
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.tenure.status()
    }

    /// What went wrong last, in this life of the house; a later success does not erase it.
    pub fn last_error(&self) -> Option<String> {
        self.tenure.last_error()
    }
}

/// How much one inbox holds, and what it has turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InboxReport {
    /// Envelopes that wait, or are being worked on.
    pub waiting: usize,
    /// Bytes of their bodies.
    pub bytes: usize,
    /// Changes whose senders wait for room here.
    pub parked: usize,
    /// Drafts refused for want of room, in this tenure and life of the house.
    pub refused: u64,
    /// Drafts and envelopes dropped for want of room, in this tenure and life of the house.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_status_is_final() {
        let handle = WorkerHandle::new(PersonId(1), Arc::new(Tenure::new(Status::Idle, false)));
        handle.tenure.rest(true);
        assert_eq!(handle.status(), Status::Paused);
        handle.tenure.set(Status::Processing);
        assert_eq!(handle.status(), Status::Processing);
        handle.tenure.set(Status::Terminated);
        handle.tenure.set(Status::Idle);
        assert_eq!(handle.status(), Status::Terminated);
    }
}
