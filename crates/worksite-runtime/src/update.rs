//! Updates own changes of a routine's state that the application makes itself, on the worker, between two activations.

use crate::error::DeskError;
use actix::Message;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;
use worksite_model::{AnyRoutine, Durable, LiveState, Payload};

/// Told once the change is durable, or will not be.
pub(crate) type Made = Box<dyn FnOnce(Result<(), DeskError>) + Send>;

type Apply = Box<dyn FnOnce(Result<&mut LiveState, DeskError>) -> Result<Option<Made>, Panicked> + Send>;

/// The change panicked, and whoever asked for it knows: the state may be half changed, and is to be thrown away.
pub(crate) struct Panicked;

/// A change of one routine's state.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Update {
    /// The routine's place.
    pub(crate) routine: usize,
    apply: Apply,
}

impl Update {
    /// The change that `change` makes, and where its result is told once it is durable.
    pub(crate) fn new<S: Durable, T: Send + 'static>(
        routine: usize,
        change: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, DeskError>>) {
        let (told, result) = oneshot::channel();
        let apply: Apply = Box::new(move |state| {
            let state = state.and_then(|state| (**state).downcast_mut::<S>().ok_or(DeskError::OtherState));
            match state.map(|state| catch_unwind(AssertUnwindSafe(|| change(state)))) {
                Ok(Ok(made)) => Ok(Some(Box::new(move |durable| drop(told.send(durable.map(|()| made)))))),
                Ok(Err(_panic)) => {
                    let _gone = told.send(Err(DeskError::Panicked));
                    Err(Panicked)
                }
                Err(error) => {
                    let _gone = told.send(Err(error));
                    Ok(None)
                }
            }
        });
        (Self { routine, apply }, result)
    }

    /// The change that puts a stored state in place of the present one.
    pub(crate) fn replace(
        place: usize,
        routine: Arc<dyn AnyRoutine>,
        stored: Payload,
    ) -> (Self, oneshot::Receiver<Result<(), DeskError>>) {
        let (told, result) = oneshot::channel();
        let apply: Apply = Box::new(move |state| {
            // It is loaded by the application's code, which may panic.
            let load = || routine.load(Some(&stored));
            let loaded = state.map(|state| (catch_unwind(AssertUnwindSafe(load)), state));
            let refused = match loaded {
                Ok((Ok(Ok(loaded)), state)) => {
                    *state = loaded;
                    return Ok(Some(Box::new(move |durable| drop(told.send(durable)))));
                }
                Ok((Ok(Err(error)), _)) => DeskError::Payload(error),
                Ok((Err(_panic), _)) => DeskError::Panicked,
                Err(error) => error,
            };
            let _gone = told.send(Err(refused));
            Ok(None)
        });
        (Self { routine: place, apply }, result)
    }

    /// Makes the change.
    pub(crate) fn apply(self, state: &mut LiveState) -> Result<Option<Made>, Panicked> {
        (self.apply)(Ok(state))
    }

    /// Says why the change cannot be made.
    pub(crate) fn refuse(self, error: DeskError) {
        let _refused = (self.apply)(Err(error));
    }
}
