//! Who is active, and how their workers stand: the roster of the house, changed and shown.

use super::Runtime;
use crate::status::{InboxReport, Status, WorkerHandle};
use crate::supervisor::{CrashWorker, Terminate};
use crate::{DeskError, SendError};
use tokio::sync::oneshot;
use worksite_model::{
    Change, Departure, Durable, Payload, Person, PersonId, Roster, RosterChange, RosterDifference, StateWrite,
};

/// What becomes of the mail of somebody who is terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Termination {
    /// What can be taken now is dealt with first. What is scheduled, waits for another attempt or for a worker that rests
    /// stays behind.
    #[default]
    Drain,
    /// Nothing more is taken; what a routine is at is broken off, and counts for nothing.
    AtOnce,
}

impl Runtime {
    /// Makes these people the roster; mail and state of those who leave stay for their return. Seed 000
    /// `sync_runtimes`. When it returns, the new roster is durable and workers are equal to it.
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn sync(&self, people: impl IntoIterator<Item = Person>) -> Result<RosterDifference, SendError> {
        self.sync_with(people, Departure::Keep).await
    }

    /// [`Runtime::sync`], saying what becomes of the mail and state of those who leave.
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn sync_with(
        &self,
        people: impl IntoIterator<Item = Person>,
        departure: Departure,
    ) -> Result<RosterDifference, SendError> {
        let committed = self.change_house(Change::sync(Roster::new(people), departure)).await?;
        Ok(committed.roster.clone().unwrap_or_default())
    }

    /// Adds somebody to the roster, or gives them another name; the others stay. Seed 000 `get_runtime`, seed 004 `create`.
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn join(&self, person: Person) -> Result<RosterDifference, SendError> {
        let roster = RosterChange::Join(vec![person]);
        let committed = self.change_house(Change { roster: Some(roster), ..Change::default() }).await?;
        Ok(committed.roster.clone().unwrap_or_default())
    }

    /// Adds somebody who is not active yet, with this state of this routine, in one commit. Of several who create one id at
    /// once, one succeeds.
    ///
    /// # Errors
    /// [`DeskError::Taken`], and [`DeskError`].
    pub async fn create<S: Durable>(&self, person: Person, routine: &str, state: &S) -> Result<(), DeskError> {
        let (id, payload) = (person.id, Payload::encode(state)?);
        let place = self.house().registry.place(routine);
        let keep = place.and_then(|place| self.house().registry.get(place)).and_then(|routine| routine.keep_states());
        let state = StateWrite { person: id, routine: routine.to_string().into(), payload, keep };
        let roster = Some(RosterChange::Create(vec![person]));
        self.propose(Change { roster, states: vec![state], ..Change::default() }).await.map(drop)
    }

    /// Takes somebody off the roster at once; the others stay. With [`Departure::Purge`] also what somebody left behind
    /// who has gone already. Says whether they were active.
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn leave(&self, person: impl Into<PersonId>, departure: Departure) -> Result<bool, SendError> {
        let roster = RosterChange::Leave { people: vec![person.into()], departure };
        let committed = self.change_house(Change { roster: Some(roster), ..Change::default() }).await?;
        Ok(committed.roster.as_ref().is_some_and(|difference| !difference.left.is_empty()))
    }

    /// Lets a worker rest: its mail waits, except for the control lane. Durable: it rests after a restart too, until it is
    /// resumed or its person leaves. A manual worker's mail is the application's to leave alone.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn pause(&self, person: impl Into<PersonId>) -> Result<(), DeskError> {
        let paused = vec![(person.into(), true)];
        self.propose(Change { paused, ..Change::default() }).await.map(drop)
    }

    /// Lets a worker go on that rests.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn resume(&self, person: impl Into<PersonId>) -> Result<(), DeskError> {
        let paused = vec![(person.into(), false)];
        self.propose(Change { paused, ..Change::default() }).await.map(drop)
    }

    /// Lets somebody leave for good: from now on nothing is accepted for them, and whoever waits for room in their inbox
    /// is told so; then their worker ends as `how` says; then they are off the roster, and what is left of their mail and
    /// state is kept or purged. Purged, the id may be used again by somebody new. Durable when it returns; of several who
    /// ask for it one succeeds. If the house stops before, they are still on the roster.
    ///
    /// # Errors
    /// [`DeskError::UnknownPerson`] when they are not active or leaving already, and [`DeskError`].
    pub async fn terminate(
        &self,
        person: impl Into<PersonId>,
        how: Termination,
        departure: Departure,
    ) -> Result<(), DeskError> {
        let (answer, left) = oneshot::channel();
        let (person, drains) = (person.into(), how == Termination::Drain);
        self.0.supervisor.do_send(Terminate { person, drains, departure, answer });
        left.await.map_err(|_closed| DeskError::Stopped)?
    }

    /// A handle on somebody's worker, which shows how it stands; it outlives the worker and its person's time here.
    ///
    /// # Errors
    /// [`DeskError::UnknownPerson`].
    pub fn worker(&self, person: impl Into<PersonId>) -> Result<WorkerHandle, DeskError> {
        let person = person.into();
        self.house().directory.handle(person).ok_or(DeskError::UnknownPerson(person))
    }

    /// How somebody's worker stands. The worker says so itself, beside the answers it causes: right after one it may still
    /// say what it did before.
    ///
    /// # Errors
    /// [`DeskError::UnknownPerson`].
    pub fn status(&self, person: impl Into<PersonId>) -> Result<Status, DeskError> {
        Ok(self.worker(person)?.status())
    }

    /// How much somebody's inbox holds, and what it has turned away.
    ///
    /// # Errors
    /// [`DeskError::UnknownPerson`].
    pub fn inbox(&self, person: impl Into<PersonId>) -> Result<InboxReport, DeskError> {
        let person = person.into();
        self.house().directory.report(person).ok_or(DeskError::UnknownPerson(person))
    }

    /// The active people, as last committed.
    pub fn roster(&self) -> Roster {
        self.house().directory.roster()
    }

    /// Whose workers are awake, in order of ids.
    pub fn awake(&self) -> Vec<PersonId> {
        self.house().directory.awake()
    }

    /// Kills a worker as a mistake of our own would: for simulations of exactly that. It is rebuilt from the store.
    pub fn crash_worker(&self, person: impl Into<PersonId>) {
        self.0.supervisor.do_send(CrashWorker(person.into()));
    }
}
