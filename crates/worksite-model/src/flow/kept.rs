//! Keeping owns a routine's state while its worker is awake: the value, and what it was before the turn that may fail.

use crate::{Durable, Payload, PayloadError};
use std::any::Any;

/// A state, whatever its type.
pub(crate) trait AnyKept: Any + Send {
    /// A turn begins.
    fn begin(&mut self);
    /// It does not count: the state is what it was.
    fn roll_back(&mut self);
    /// Whether it has changed the state.
    fn is_changed(&self) -> bool;
    /// Another of the same value.
    fn copy(&self) -> Box<dyn AnyKept>;
    /// As it is to be stored; nothing when the type holds nothing.
    fn encode(&self) -> Result<Option<Payload>, PayloadError>;
    /// The value.
    fn any(&mut self) -> &mut dyn Any;
}

/// A state.
pub(crate) struct Kept<S> {
    value: S,
    before: Option<S>,
}

impl<S: Clone> Kept<S> {
    pub(crate) fn new(value: S) -> Self {
        Self { value, before: None }
    }

    pub(crate) fn value(&self) -> &S {
        &self.value
    }

    pub(crate) fn value_mut(&mut self) -> &mut S {
        if self.before.is_none() {
            self.before = Some(self.value.clone());
        }
        &mut self.value
    }
}

impl<S: Durable + Clone> AnyKept for Kept<S> {
    fn begin(&mut self) {
        self.before = None;
    }
    fn roll_back(&mut self) {
        if let Some(before) = self.before.take() {
            self.value = before;
        }
    }
    fn is_changed(&self) -> bool {
        self.before.is_some()
    }
    fn copy(&self) -> Box<dyn AnyKept> {
        Box::new(Self::new(self.value.clone()))
    }
    fn encode(&self) -> Result<Option<Payload>, PayloadError> {
        if size_of::<S>() == 0 {
            return Ok(None);
        }
        Payload::encode(&self.value).map(Some)
    }
    fn any(&mut self) -> &mut dyn Any {
        &mut self.value
    }
}
