//! The handle of the house: [`Runtime`] is what an application holds. It checks what comes from outside, hands it to
//! the actors, and gives back an answer once it is durable.
//!
//! Its futures need no particular executor. Whatever is sent has been handed to the writer when the call returns, in
//! the order of calls; dropping the future drops only the answer.

mod dead;
mod mail;
mod people;
mod send;
mod states;
mod subscribe;

use crate::broadcast::Broadcast;
use crate::directory::Directory;
use crate::error::CommitFailure;
use crate::flows::Board;
use crate::hub::Hub;
use crate::intake::Intake;
use crate::metrics::{Counters, Metrics};
use crate::persistence::{Answer, Flush, Persistence, Read, Reading};
use crate::runs::{CloseRuns, Dispatcher};
use crate::supervisor::{AwaitRest, Quiesce, RunAhead, Shutdown, Start, Supervisor};
use crate::worker::Worker;
use crate::{Builder, Clock, DeskError, SendError};
use actix::{Addr, WeakAddr};
pub use people::Termination;
pub use send::Receipt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use worksite_model::{Change, Committed, Limits, PersonId, Registry, Rejection, StoreError, Tally};

/// What all workers share.
pub(crate) struct House {
    pub(crate) registry: Registry,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    pub(crate) directory: Arc<Directory>,
    pub(crate) counters: Arc<Counters>,
    /// What everybody must know of flows.
    pub(crate) board: Arc<Board>,
    /// What waits for the writer.
    pub(crate) intake: Arc<Intake>,
    /// The room below: the only writer.
    pub(crate) persistence: Addr<Persistence>,
    /// Who hands mail to workers while it is being written. Weak: it is above. Set once it is there.
    pub(crate) supervisor: OnceLock<WeakAddr<Supervisor>>,
}

impl House {
    /// Hands a change to the writer; the answer says who hears of it, and how.
    pub(crate) fn propose(&self, change: Change, answer: Answer) {
        let course = |change: &Change| self.directory.course(change, &self.registry);
        let wake = self.intake.push(change, answer, self.clock.now(), course);
        // The supervisor first: what its workers propose at once comes into the same group.
        if wake.supervisor
            && let Some(supervisor) = self.supervisor.get().and_then(WeakAddr::upgrade)
        {
            supervisor.do_send(RunAhead);
        }
        if wake.writer {
            self.persistence.do_send(Flush);
        }
    }

    /// Hands on what was held, if it is known by now who is still at their desk; what others remember is forgotten with them.
    pub(crate) fn propose_held(&self) {
        if !self.directory.is_calm() {
            return;
        }
        for (change, answer) in self.intake.take_held() {
            match (change.author, &answer) {
                (Some(author), Answer::Worker { generation, .. }) if !self.directory.is_seated(author, *generation) => {
                    self.directory.release_drafts(&change.drafts);
                }
                _ => self.propose(change, answer),
            }
        }
    }
}

/// How long [`Runtime::shutdown`] waits for routines to end.
pub const SHUTDOWN_TIME: Duration = Duration::from_secs(10);

/// A running house. Cheap to clone; all clones are the same house. It closes when the last clone is dropped, losing
/// nothing that was accepted; [`Runtime::shutdown`] does so in order.
#[derive(Clone)]
pub struct Runtime(pub(crate) Arc<Handle>);

pub(crate) struct Handle {
    pub(crate) house: Arc<House>,
    pub(crate) supervisor: Addr<Supervisor>,
    /// The queues of subscribers.
    pub(crate) hub: Arc<Hub>,
    /// Keeps the actor that tells subscribers, until the house closes.
    pub(crate) broadcast: Mutex<Option<Addr<Broadcast>>>,
    /// Ends the house's own thread, if it has one.
    pub(crate) thread: Mutex<Option<Thread>>,
    /// Who decides about runs, once somebody has asked for the run queue.
    pub(crate) runs: tokio::sync::Mutex<Option<Addr<Dispatcher>>>,
}

/// The house's own thread.
pub(crate) struct Thread {
    /// Dropped to end it.
    pub(crate) stop: oneshot::Sender<()>,
    /// Answered when it has ended.
    pub(crate) ended: oneshot::Receiver<()>,
}

impl Runtime {
    /// Itself, without keeping the house open.
    pub(crate) fn downgrade(&self) -> std::sync::Weak<Handle> {
        Arc::downgrade(&self.0)
    }

    /// Describes a house to be started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn from_handle(handle: Handle) -> Self {
        Self(Arc::new(handle))
    }

    fn house(&self) -> &House {
        &self.0.house
    }

    /// What the house has counted about itself.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn metrics(&self) -> Result<Metrics, DeskError> {
        let tally = self.tally().await?;
        let (house, directory) = (self.house(), &self.house().directory);
        let (waiting, parked, awake) = directory.gauges();
        Ok(Metrics {
            tally,
            waiting,
            parked,
            awake,
            volatile_lost: directory.volatile_lost(),
            cooled: directory.cooled(),
            ..house.counters.read()
        })
    }

    /// How much mail there has ever been, and what became of it.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn tally(&self) -> Result<Tally, DeskError> {
        self.read(Box::new(|store| store.tally())).await
    }

    /// Waits until nobody has anything to do now, and no inbox holds more than it should: what is scheduled for later, and
    /// what waits for a worker that rests or is held, stays. With a [`ManualClock`](crate::ManualClock) this is the end of a tick.
    ///
    /// # Errors
    /// [`DeskError::Stopped`].
    pub async fn rest(&self) -> Result<(), DeskError> {
        let (rested, answer) = oneshot::channel();
        self.0.supervisor.do_send(AwaitRest(rested));
        answer.await.map_err(|_closed| DeskError::Stopped)
    }

    /// Waits until no mail waits for any routine, scheduled mail included, and nobody performs one.
    ///
    /// # Errors
    /// [`DeskError::Stopped`].
    pub async fn quiesce(&self) -> Result<(), DeskError> {
        let (quiet, answer) = oneshot::channel();
        self.0.supervisor.do_send(Quiesce(quiet));
        answer.await.map_err(|_closed| DeskError::Stopped)
    }

    /// Removes all waiting mail and all routine state, durably, in one commit. The roster stays. Seed 000 `clear_all`.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn clear_all(&self) -> Result<(), SendError> {
        self.change_house(Change { clear: true, ..Change::default() }).await.map(drop)
    }

    /// Closes the house in order: accepts nothing more, lets routines end what they are doing (at most
    /// [`SHUTDOWN_TIME`]), and closes the store. When it returns the file is free for another owner.
    pub async fn shutdown(&self) {
        self.shutdown_within(SHUTDOWN_TIME).await;
    }

    /// [`Runtime::shutdown`] with another deadline. What has not ended by then is performed again after reopening.
    pub async fn shutdown_within(&self, deadline: Duration) {
        if let Some(runs) = self.0.runs.lock().await.take() {
            runs.do_send(CloseRuns);
        }
        let (closed, answer) = oneshot::channel();
        self.0.supervisor.do_send(Shutdown { deadline, closed });
        let _already_closed = answer.await;
        self.0.broadcast.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.stop);
            let _ended = thread.ended.await;
        }
    }

    async fn change_house(&self, change: Change) -> Result<Arc<Committed>, SendError> {
        self.propose(change).await.map_err(|error| match error {
            DeskError::Store(error) => SendError::Store { error, drafts: vec![] },
            DeskError::UnknownPerson(person) => {
                SendError::Rejected { rejection: Rejection::UnknownPerson(person), drafts: vec![] }
            }
            _ => SendError::Stopped { drafts: vec![] },
        })
    }

    /// Hands a change of the house itself to the writer; answered once the supervisor has acted on it.
    pub(crate) async fn propose(&self, change: Change) -> Result<Arc<Committed>, DeskError> {
        if self.house().directory.is_closed() {
            return Err(DeskError::Stopped);
        }
        let (answer, answered) = oneshot::channel();
        self.house().directory.count_departure();
        self.house().propose(change, Answer::House(answer));
        let verdict = answered.await.map_err(|_closed| DeskError::Stopped)?;
        verdict.map_err(CommitFailure::into_desk_error)
    }

    pub(crate) async fn read<R: Send + 'static>(&self, reading: Reading<R>) -> Result<R, DeskError> {
        let read = self.house().persistence.send(Read(reading)).await.map_err(|_closed| DeskError::Stopped)?;
        read.map_err(|error| match error {
            StoreError::Closed(_) if self.house().directory.is_closed() => DeskError::Stopped,
            error => DeskError::Store(error),
        })
    }

    pub(crate) async fn wake(&self, person: PersonId) -> Result<Addr<Worker>, DeskError> {
        if !self.house().directory.is_active(person) {
            return Err(DeskError::UnknownPerson(person));
        }
        let worker = self.0.supervisor.send(Start(person)).await.map_err(|_closed| DeskError::Stopped)?;
        worker.ok_or(if self.house().directory.is_closed() {
            DeskError::Stopped
        } else {
            DeskError::UnknownPerson(person)
        })
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("routines", &self.house().registry).finish()
    }
}
