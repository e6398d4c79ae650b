//! Acts own what the application does to a flow by hand: on the worker, between two of its activations, told once it is
//! durable.

use crate::error::DeskError;
use crate::update::Made;
use actix::Message;
use tokio::sync::oneshot;
use worksite_model::flow::{Engine, JobId};
use worksite_model::{Inbox, Timestamp};

/// What an act may look at and change.
pub(crate) struct Scene<'a> {
    pub(crate) engine: &'a mut Engine,
    pub(crate) inbox: &'a Inbox,
    /// Posts that wait because their slot is full.
    pub(crate) held: usize,
    pub(crate) now: Timestamp,
}

impl Scene<'_> {
    /// When the post of this job was accepted, if it waits in the inbox.
    pub(crate) fn waiting(&self, job: JobId) -> Option<Timestamp> {
        let id = job.envelope()?;
        let filter = worksite_model::Filter::default();
        let waits = self.inbox.waiting(&filter).binary_search(&id).is_ok();
        let out = self.inbox.out().find(|delivery| delivery.id() == id);
        out.map(|delivery| delivery.envelope.accepted_at).or(waits.then_some(self.now))
    }
}

type Apply = Box<dyn FnOnce(Result<Scene<'_>, DeskError>) -> Option<Made> + Send>;

/// Something that is done to a flow by hand.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Act {
    /// The routine whose state it changes: not while that is at work.
    pub(crate) routine: Option<String>,
    apply: Apply,
}

impl Act {
    /// What `act` does, and where its result is told once it is durable.
    pub(crate) fn new<T: Send + 'static>(
        routine: Option<String>,
        act: impl FnOnce(Scene<'_>) -> Result<T, DeskError> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, DeskError>>) {
        let (told, result) = oneshot::channel();
        let apply: Apply = Box::new(move |scene| match scene.and_then(act) {
            Ok(made) => Some(Box::new(move |durable: Result<(), DeskError>| drop(told.send(durable.map(|()| made))))),
            Err(error) => {
                let _gone = told.send(Err(error));
                None
            }
        });
        (Self { routine, apply }, result)
    }

    pub(crate) fn apply(self, scene: Scene<'_>) -> Option<Made> {
        (self.apply)(Ok(scene))
    }

    pub(crate) fn refuse(self, error: DeskError) {
        (self.apply)(Err(error));
    }
}
