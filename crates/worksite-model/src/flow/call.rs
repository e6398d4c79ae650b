//! A call is what a routine's logic sees of its turn: the data of its slots, the policy's message, its state, its job, its
//! configuration and resources; and where it says what it emits and sends.

use crate::flow::graph::RoutineSpec;
use crate::flow::kept::Kept;
use crate::flow::{Datum, JobId, JobNotes, JobSet, Taken};
use crate::{Announcement, Draft, Durable, NamedWrite, Payload, PayloadError, PersonId, Timestamp};
use serde::de::DeserializeOwned;
use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// What a routine asked for that it does not have: a mistake in its logic, and so a failure of the activation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The routine has no event of this name. Add it, or correct the name.
    #[error("the routine {routine:?} has no event {event:?}")]
    UnknownEvent {
        /// Which routine.
        routine: String,
        /// The name it used.
        event: String,
    },
    /// What it emits is of another type than the event. Correct one of the two.
    #[error("the event {event:?} carries {carries}, not {given}")]
    OtherType {
        /// Which event.
        event: String,
        /// What it was declared to carry.
        carries: &'static str,
        /// What it was given.
        given: &'static str,
    },
    /// The flow has no resource of this name and type. Add it to the flow.
    #[error("there is no resource {0:?} of this type")]
    UnknownResource(String),
    /// The configuration has no such entry of this type. Correct it.
    #[error("the configuration of {routine:?} has no {key:?} of this type")]
    Unconfigured {
        /// Which routine.
        routine: String,
        /// Which entry.
        key: String,
    },
}

/// What a routine wants done for its jobs.
pub(crate) enum JobEffect {
    Data(String, serde_json::Value),
    Trace(String),
    Say(String),
}

/// Things that cannot be written, by name: a pool, a client. Each worker has its own; they are made again when it starts.
#[derive(Default)]
pub(crate) struct Resources(Mutex<BTreeMap<String, Arc<dyn Any + Send + Sync>>>);

impl Resources {
    fn get(&self, spec: &RoutineSpec, name: &str) -> Option<Arc<dyn Any + Send + Sync>> {
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if made.is_some() {
            return made;
        }
        // Not under the lock: making one is the application's code.
        let (_, make) = spec.resources.iter().find(|(known, _)| known == name)?;
        let fresh = make();
        Some(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_string()).or_insert(fresh).clone())
    }
}

/// A turn without the state's type.
pub(crate) struct CallContext {
    pub(crate) spec: Arc<RoutineSpec>,
    pub(crate) person: PersonId,
    pub(crate) now: Timestamp,
    pub(crate) chance: u64,
    pub(crate) attempt: u32,
    /// Data by the place of their slot, in order.
    pub(crate) inputs: Vec<(u16, Datum)>,
    pub(crate) jobs: JobSet,
    pub(crate) notes: Option<Arc<JobNotes>>,
    pub(crate) flushed: bool,
    pub(crate) note: Option<String>,
    pub(crate) resources: Arc<Resources>,
    /// What it emitted, by the place of the event.
    pub(crate) emitted: Vec<(u16, Datum)>,
    pub(crate) effects: Vec<JobEffect>,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) announcements: Vec<Announcement>,
    pub(crate) writes: Vec<NamedWrite>,
}

impl CallContext {
    fn slot(&self, name: &str) -> Option<u16> {
        let place = self.spec.slots.iter().position(|slot| slot.name == name)?;
        u16::try_from(place).ok()
    }

    fn all<T: Durable + Sync>(&self, slot: &str) -> Vec<Taken<T>> {
        let Some(slot) = self.slot(slot) else { return Vec::new() };
        self.inputs.iter().filter(|(place, _)| *place == slot).filter_map(|(_, datum)| Taken::new(datum)).collect()
    }

    fn first<T: Durable + Sync>(&self, slot: &str) -> Option<Taken<T>> {
        let slot = self.slot(slot)?;
        self.inputs.iter().find(|(place, _)| *place == slot).and_then(|(_, datum)| Taken::new(datum))
    }

    fn emit<T: Durable + Sync>(&mut self, event: &str, value: T) -> Result<(), CallError> {
        let Some(place) = self.spec.events.iter().position(|known| known.name == event) else {
            return Err(CallError::UnknownEvent { routine: self.spec.name.clone(), event: event.into() });
        };
        let carries = self.spec.events[place].carries.name();
        if carries != T::TYPE {
            return Err(CallError::OtherType { event: event.into(), carries, given: T::TYPE });
        }
        self.emitted.push((u16::try_from(place).unwrap_or(u16::MAX), Arc::new(value)));
        Ok(())
    }

    fn config<T: DeserializeOwned>(&self, key: &str) -> Result<T, CallError> {
        let value = self.spec.config.get(key).cloned();
        let read = value.and_then(|value| serde_json::from_value(value).ok());
        read.ok_or_else(|| CallError::Unconfigured { routine: self.spec.name.clone(), key: key.into() })
    }

    fn resource<R: Any + Send + Sync>(&self, name: &str) -> Result<Arc<R>, CallError> {
        let found = self.resources.get(&self.spec, name).and_then(|resource| resource.downcast::<R>().ok());
        found.ok_or_else(|| CallError::UnknownResource(name.into()))
    }

    fn datum(&self, key: &str) -> Option<serde_json::Value> {
        let own = self.effects.iter().rev().find_map(|effect| match effect {
            JobEffect::Data(known, value) if known == key => Some(value.clone()),
            _ => None,
        });
        own.or_else(|| self.notes.as_ref()?.data.get(key).cloned())
    }

    fn send(&mut self, mut draft: Draft) {
        draft.from = draft.from.or(Some(self.person));
        self.drafts.push(draft);
    }

    fn announce<T: Durable>(&mut self, topic: Cow<'static, str>, what: &T) -> Result<(), PayloadError> {
        self.announcements.push(Announcement { topic, payload: Payload::encode(what)? });
        Ok(())
    }
}

/// A turn of a routine whose state is an `S`. What it did counts when its logic returns without an error.
pub struct Call<S> {
    pub(crate) context: Box<CallContext>,
    pub(crate) kept: Box<Kept<S>>,
}

impl<S: Clone> Call<S> {
    fn reading<T>(&self, read: impl FnOnce(&CallContext) -> T) -> T {
        read(&self.context)
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut CallContext) -> T) -> T {
        act(&mut self.context)
    }

    /// All data that were taken from a slot, the oldest first. A slot of which nothing was taken gives none.
    pub fn all<T: Durable + Sync>(&self, slot: &str) -> Vec<Taken<T>> {
        self.reading(|context| context.all(slot))
    }

    /// The first datum that was taken from a slot.
    pub fn first<T: Durable + Sync>(&self, slot: &str) -> Option<Taken<T>> {
        self.reading(|context| context.first(slot))
    }

    /// Emits an event: the value goes to every slot that is connected with it, when the turn counts.
    ///
    /// # Errors
    /// [`CallError::UnknownEvent`], [`CallError::OtherType`].
    pub fn emit<T: Durable + Sync>(&mut self, event: &str, value: T) -> Result<(), CallError> {
        self.with(|context| context.emit(event, value))
    }

    /// An entry of the routine's configuration.
    ///
    /// # Errors
    /// [`CallError::Unconfigured`].
    pub fn config<T: DeserializeOwned>(&self, key: &str) -> Result<T, CallError> {
        self.reading(|context| context.config(key))
    }

    /// A resource of the worker, made when it is first asked for.
    ///
    /// # Errors
    /// [`CallError::UnknownResource`].
    pub fn resource<R: Any + Send + Sync>(&self, name: &str) -> Result<Arc<R>, CallError> {
        self.reading(|context| context.resource(name))
    }

    /// Sends a draft to somebody's worker, in the same commit.
    pub fn send(&mut self, draft: Draft) {
        self.with(|context| context.send(draft));
    }

    /// Tells subscribers something, after the commit.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`].
    pub fn announce<T: Durable>(&mut self, topic: impl Into<Cow<'static, str>>, what: &T) -> Result<(), PayloadError> {
        self.with(|context| context.announce(topic.into(), what))
    }

    /// Writes to one of the application's own tables, in the same commit.
    pub fn write(&mut self, name: impl Into<Cow<'static, str>>, bytes: impl Into<Vec<u8>>) {
        self.with(|context| context.writes.push(NamedWrite { name: name.into(), bytes: bytes.into() }));
    }

    /// The job it works for: the first of several.
    pub fn job(&self) -> JobId {
        self.reading(|context| context.jobs.ids().first().copied().unwrap_or(JobId(0)))
    }

    /// All jobs whose data it was given.
    pub fn jobs(&self) -> Vec<JobId> {
        self.reading(|context| context.jobs.ids().to_vec())
    }

    /// What the poster said of the job.
    pub fn metadata(&self) -> Option<serde_json::Value> {
        self.reading(|context| context.notes.as_ref().and_then(|notes| notes.metadata.clone()))
    }

    /// What a routine has kept for the job under this name.
    pub fn job_data(&self, key: &str) -> Option<serde_json::Value> {
        self.reading(|context| context.datum(key))
    }

    /// Keeps something for the job under this name; for all of them, when there are several.
    pub fn set_job_data(&mut self, key: impl Into<String>, value: impl Into<serde_json::Value>) {
        self.with(|context| context.effects.push(JobEffect::Data(key.into(), value.into())));
    }

    /// Adds to the job's trace.
    pub fn trace(&mut self, action: impl Into<String>) {
        self.with(|context| context.effects.push(JobEffect::Trace(action.into())));
    }

    /// Adds to the job's output.
    pub fn say(&mut self, text: impl Into<String>) {
        self.with(|context| context.effects.push(JobEffect::Say(text.into())));
    }

    /// The policy's word: whether the data were handed over by a flush.
    pub fn is_flushed(&self) -> bool {
        self.reading(|context| context.flushed)
    }

    /// The policy's word: what a custom one has said.
    pub fn note(&self) -> Option<String> {
        self.reading(|context| context.note.clone())
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.reading(|context| context.attempt)
    }

    /// The time at the start of the turn.
    pub fn now(&self) -> Timestamp {
        self.reading(|context| context.now)
    }

    /// The turn's number from the seed: the only chance a routine has.
    pub fn chance(&self) -> u64 {
        self.reading(|context| context.chance)
    }

    /// Whose worker this is.
    pub fn worker(&self) -> PersonId {
        self.reading(|context| context.person)
    }

    /// The routine's state.
    pub fn state(&self) -> &S {
        self.kept.value()
    }

    /// The routine's state, to be changed. It is kept as it was, in case the turn fails.
    pub fn state_mut(&mut self) -> &mut S {
        self.kept.value_mut()
    }
}

/// A turn of an asynchronous routine: a handle that may be moved about; of use until the routine's future has ended.
pub struct AsyncCall<S>(pub(crate) Arc<Mutex<Call<S>>>);

impl<S> Clone for AsyncCall<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Clone> AsyncCall<S> {
    fn with<T>(&self, act: impl FnOnce(&mut CallContext) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).context)
    }

    /// All data that were taken from a slot, the oldest first. A slot of which nothing was taken gives none.
    pub fn all<T: Durable + Sync>(&self, slot: &str) -> Vec<Taken<T>> {
        self.with(|context| context.all(slot))
    }

    /// The first datum that was taken from a slot.
    pub fn first<T: Durable + Sync>(&self, slot: &str) -> Option<Taken<T>> {
        self.with(|context| context.first(slot))
    }

    /// Emits an event: the value goes to every slot that is connected with it, when the turn counts.
    ///
    /// # Errors
    /// [`CallError::UnknownEvent`], [`CallError::OtherType`].
    pub fn emit<T: Durable + Sync>(&self, event: &str, value: T) -> Result<(), CallError> {
        self.with(|context| context.emit(event, value))
    }

    /// An entry of the routine's configuration.
    ///
    /// # Errors
    /// [`CallError::Unconfigured`].
    pub fn config<T: DeserializeOwned>(&self, key: &str) -> Result<T, CallError> {
        self.with(|context| context.config(key))
    }

    /// A resource of the worker, made when it is first asked for.
    ///
    /// # Errors
    /// [`CallError::UnknownResource`].
    pub fn resource<R: Any + Send + Sync>(&self, name: &str) -> Result<Arc<R>, CallError> {
        self.with(|context| context.resource(name))
    }

    /// Sends a draft to somebody's worker, in the same commit.
    pub fn send(&self, draft: Draft) {
        self.with(|context| context.send(draft));
    }

    /// Tells subscribers something, after the commit.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`].
    pub fn announce<T: Durable>(&self, topic: impl Into<Cow<'static, str>>, what: &T) -> Result<(), PayloadError> {
        self.with(|context| context.announce(topic.into(), what))
    }

    /// Writes to one of the application's own tables, in the same commit.
    pub fn write(&self, name: impl Into<Cow<'static, str>>, bytes: impl Into<Vec<u8>>) {
        self.with(|context| context.writes.push(NamedWrite { name: name.into(), bytes: bytes.into() }));
    }

    /// The job it works for: the first of several.
    pub fn job(&self) -> JobId {
        self.with(|context| context.jobs.ids().first().copied().unwrap_or(JobId(0)))
    }

    /// All jobs whose data it was given.
    pub fn jobs(&self) -> Vec<JobId> {
        self.with(|context| context.jobs.ids().to_vec())
    }

    /// What the poster said of the job.
    pub fn metadata(&self) -> Option<serde_json::Value> {
        self.with(|context| context.notes.as_ref().and_then(|notes| notes.metadata.clone()))
    }

    /// What a routine has kept for the job under this name.
    pub fn job_data(&self, key: &str) -> Option<serde_json::Value> {
        self.with(|context| context.datum(key))
    }

    /// Keeps something for the job under this name; for all of them, when there are several.
    pub fn set_job_data(&self, key: impl Into<String>, value: impl Into<serde_json::Value>) {
        self.with(|context| context.effects.push(JobEffect::Data(key.into(), value.into())));
    }

    /// Adds to the job's trace.
    pub fn trace(&self, action: impl Into<String>) {
        self.with(|context| context.effects.push(JobEffect::Trace(action.into())));
    }

    /// Adds to the job's output.
    pub fn say(&self, text: impl Into<String>) {
        self.with(|context| context.effects.push(JobEffect::Say(text.into())));
    }

    /// The policy's word: whether the data were handed over by a flush.
    pub fn is_flushed(&self) -> bool {
        self.with(|context| context.flushed)
    }

    /// The policy's word: what a custom one has said.
    pub fn note(&self) -> Option<String> {
        self.with(|context| context.note.clone())
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.with(|context| context.attempt)
    }

    /// The time at the start of the turn.
    pub fn now(&self) -> Timestamp {
        self.with(|context| context.now)
    }

    /// The turn's number from the seed: the only chance a routine has.
    pub fn chance(&self) -> u64 {
        self.with(|context| context.chance)
    }

    /// Whose worker this is.
    pub fn worker(&self) -> PersonId {
        self.with(|context| context.person)
    }

    /// A copy of the routine's state.
    pub fn state(&self) -> S {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).state().clone()
    }

    /// Changes the routine's state; it counts when the turn does.
    pub fn update_state<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).state_mut())
    }
}
