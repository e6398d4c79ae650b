//! Updates own changes of a routine's state that the application makes itself, on the worker, between two activations.

use crate::error::DeskError;
use actix::Message;
use std::sync::Arc;
use tokio::sync::oneshot;
use worksite_model::{AnyRoutine, Durable, LiveState, Payload};

/// Told once the change is durable, or will not be.
pub(crate) type Made = Box<dyn FnOnce(Result<(), DeskError>) + Send>;

type Apply = Box<dyn FnOnce(Result<&mut LiveState, DeskError>) -> Option<Made> + Send>;

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
            match state {
                Ok(state) => {
                    let made = change(state);
                    Some(Box::new(move |durable| drop(told.send(durable.map(|()| made)))))
                }
                Err(error) => {
                    let _gone = told.send(Err(error));
                    None
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
            let loaded = state.and_then(|state| Ok((routine.load(Some(&stored))?, state)));
            match loaded {
                Ok((loaded, state)) => {
                    *state = loaded;
                    Some(Box::new(move |durable| drop(told.send(durable))))
                }
                Err(error) => {
                    let _gone = told.send(Err(error));
                    None
                }
            }
        });
        (Self { routine: place, apply }, result)
    }

    /// Makes the change. It may panic: it is the application's code.
    pub(crate) fn apply(self, state: &mut LiveState) -> Option<Made> {
        (self.apply)(Ok(state))
    }

    /// Says why the change cannot be made.
    pub(crate) fn refuse(self, error: DeskError) {
        (self.apply)(Err(error));
    }
}
