//! What a worker knows how to do: [`Routine`] (a synchronous function of state and message) and [`AsyncRoutine`]
//! (one that waits for the outside), both performed through a [`Turn`], and the [`Registry`] in which mail finds them.
//!
//! A routine writes nothing and sends nothing. It changes its state in the turn and says what it wants sent; all of
//! that becomes durable together with the acknowledgement of the delivery, or not at all (law *ack with effects*).

use crate::{
    Announcement, Delivery, Draft, Durable, Effects, Envelope, FailureKind, KeepStates, NamedWrite, Outcome, Parcel,
    Payload, PayloadError, Performed, PersonId, RegistryError, RetryPolicy, RoutineFailure, Timestamp, chance,
};
use std::any::Any;
use std::borrow::Cow;
use std::cmp::Ordering::Equal;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How a routine's turn ends. Any error becomes a [`RoutineFailure`] through `?`.
pub type Ended = Result<Outcome, RoutineFailure>;

/// A synchronous routine: a function of its state and a message, quick (it runs on the workers' thread) and without
/// effects of its own. Mail whose payload is a `Message` activates it.
///
/// ```
/// use worksite_model::{Ended, Outcome, Routine, Turn};
///
/// struct Counter;
///
/// impl Routine for Counter {
///     const NAME: &'static str = "counter";
///     type State = u64;
///     type Message = u64;
///
///     fn perform(&self, turn: &mut Turn<u64>, add: u64) -> Ended {
///         *turn.state += add;
///         Ok(Outcome::Done)
///     }
/// }
/// ```
pub trait Routine: Send + Sync + 'static {
    /// Its name, unique in a site; its state is stored under it.
    const NAME: &'static str;
    /// What it remembers between turns; starts as the default.
    type State: Durable + Default;
    /// What it takes.
    type Message: Durable;

    /// Takes one message. What the turn did counts only with [`Outcome::Done`].
    ///
    /// # Errors
    /// A failure, which [`Routine::retry`] answers.
    fn perform(&self, turn: &mut Turn<Self::State>, message: Self::Message) -> Ended;

    /// What happens to deliveries that fail.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::default()
    }

    /// How long one delivery may take; the site's limit when it says nothing.
    fn time_max(&self) -> Option<Duration> {
        None
    }

    /// How many of its earlier states are kept; none when it says nothing.
    fn keep_states(&self) -> Option<KeepStates> {
        None
    }

    /// Whether it is a function of its state, its message and the turn and of nothing else, and does nothing else. Then it
    /// may *run ahead of the disk*: take a message while that is being written. All that comes of the turn is written
    /// with the message or after it and told after that, as ever; but a turn may have run that a crash, or a full disk,
    /// has undone. A routine that prints, counts on the side or calls anybody is not pure.
    fn is_pure(&self) -> bool {
        false
    }
}

/// An asynchronous routine: one that waits for the outside world (a service, a model, a file). It is given only
/// durable deliveries, one at a time; other workers go on meanwhile.
///
/// A crash between an effect outside and the commit repeats the turn: outside effects are *at least once*. Pass
/// [`Envelope::id`] along as their idempotency key.
pub trait AsyncRoutine: Send + Sync + 'static {
    /// Its name, unique in a site; its state is stored under it.
    const NAME: &'static str;
    /// What it remembers between turns; starts as the default.
    type State: Durable + Default;
    /// What it takes.
    type Message: Durable;

    /// Takes one message. What the turn did counts only with [`Outcome::Done`]. The future is dropped when it runs
    /// longer than [`Limits::routine_time_ms_max`](crate::Limits::routine_time_ms_max).
    fn perform(&self, turn: &mut Turn<Self::State>, message: Self::Message) -> impl Future<Output = Ended> + Send;

    /// What happens to deliveries that fail.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::default()
    }

    /// How long one delivery may take; the site's limit when it says nothing.
    fn time_max(&self) -> Option<Duration> {
        None
    }

    /// How many of its earlier states are kept; none when it says nothing.
    fn keep_states(&self) -> Option<KeepStates> {
        None
    }
}

/// Where and when a turn happens: everything a routine may know that is not in the message.
#[derive(Debug, Clone, Copy)]
pub struct Occasion {
    /// Whose worker it is.
    pub person: PersonId,
    /// The time at the start of the turn.
    pub now: Timestamp,
    /// The house's seed: [`Turn::chance`] follows from it.
    pub seed: u64,
}

/// One delivery's turn at a routine: the state to change, and what is to be sent, answered and told when it is done.
#[derive(Debug)]
pub struct Turn<S> {
    /// The routine's state; kept when the turn ends in [`Outcome::Done`].
    pub state: Box<S>,
    mail: Mail,
    occasion: Occasion,
    effects: Option<Box<Effects>>,
}

/// What a turn is about.
#[derive(Debug)]
enum Mail {
    Delivery(Delivery),
    /// A volatile draft, and the envelope it would be, if anybody asks.
    Parcel {
        parcel: Parcel,
        type_name: &'static str,
        opened: OnceLock<Box<Envelope>>,
    },
}

impl<S> Turn<S> {
    /// Opens a turn: for tests of a routine alone; in the house the worker does it.
    #[inline]
    pub fn new(state: Box<S>, delivery: Delivery, occasion: Occasion) -> Self {
        Self::of(state, Mail::Delivery(delivery), occasion)
    }

    #[inline(always)]
    fn of(state: Box<S>, mail: Mail, occasion: Occasion) -> Self {
        Self { state, mail, occasion, effects: None }
    }

    /// Whose worker this is.
    pub fn person(&self) -> PersonId {
        self.occasion.person
    }

    /// Who wrote the message; nobody when it came from outside.
    pub fn sender(&self) -> Option<PersonId> {
        match &self.mail {
            Mail::Delivery(delivery) => delivery.envelope.draft.from,
            Mail::Parcel { parcel, .. } => parcel.sender(),
        }
    }

    /// The envelope the message came in; that of a volatile draft, which is never written, has the id 0.
    pub fn envelope(&self) -> &Envelope {
        match &self.mail {
            Mail::Delivery(delivery) => &delivery.envelope,
            Mail::Parcel { parcel, type_name, opened } => {
                let Occasion { person, now, .. } = self.occasion;
                opened.get_or_init(|| Box::new(parcel.open(person, type_name, now)))
            }
        }
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        match &self.mail {
            Mail::Delivery(delivery) => delivery.attempt,
            Mail::Parcel { .. } => 1,
        }
    }

    /// The time at the start of the turn.
    pub fn now(&self) -> Timestamp {
        self.occasion.now
    }

    /// The turn's number from the house's seed, the person, the envelope and the attempt, or the moment when there is no
    /// envelope: the only chance a routine has, and the same in a run with the same seed.
    pub fn chance(&self) -> u64 {
        let Occasion { person, now, seed } = self.occasion;
        match &self.mail {
            Mail::Delivery(delivery) => chance(seed, &[person.0, delivery.id().0, i64::from(delivery.attempt)]),
            Mail::Parcel { .. } => chance(seed, &[person.0, now.as_micros()]),
        }
    }

    /// Sends a draft, from this person unless it names another sender. It is accepted in the same commit.
    pub fn send(&mut self, mut draft: Draft) {
        draft.from = draft.from.or(Some(self.occasion.person));
        self.effects().drafts.push(draft);
    }

    /// Answers whoever asked; the last answer of a turn counts. It is told after the commit.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`] when the answer cannot be encoded.
    pub fn reply<T: Durable>(&mut self, answer: &T) -> Result<(), PayloadError> {
        self.effects().reply = Some(Payload::encode(answer)?);
        Ok(())
    }

    /// Tells subscribers something, after the commit.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`] when it cannot be encoded.
    pub fn announce<T: Durable>(&mut self, topic: impl Into<Cow<'static, str>>, what: &T) -> Result<(), PayloadError> {
        let payload = Payload::encode(what)?;
        self.effects().announcements.push(Announcement { topic: topic.into(), payload });
        Ok(())
    }

    /// Writes to one of the application's own tables, through the handler of this name, in the same commit.
    pub fn write(&mut self, name: impl Into<Cow<'static, str>>, bytes: impl Into<Vec<u8>>) {
        self.effects().writes.push(NamedWrite { name: name.into(), bytes: bytes.into() });
    }

    fn effects(&mut self) -> &mut Effects {
        self.effects.get_or_insert_default()
    }

    #[inline(always)]
    fn close(self, ended: Ended) -> (Box<S>, Performed) {
        (self.state, Performed { ended, effects: self.effects, took: Duration::ZERO })
    }
}

/// A routine's state while its worker is awake, whatever its type.
pub type LiveState = Box<dyn Any + Send>;

/// A performed delivery and the state it left behind.
pub type PerformedState = (LiveState, Performed);

/// A turn that has ended, or will.
pub enum Performance {
    /// A synchronous routine's turn.
    Ended(LiveState, Performed),
    /// An asynchronous routine's turn.
    Running(Pin<Box<dyn Future<Output = PerformedState> + Send>>),
}

/// How the turn of a volatile draft has ended. Nobody hears why one was lost: it is counted.
#[derive(Debug)]
pub enum VolatileEnd {
    /// Its state is kept, and this is wanted beside it.
    Done(Option<Box<Effects>>),
    /// It was not understood, or of no use any more: nothing has touched its state.
    Missed,
    /// It did not end in [`Outcome::Done`]: its state is spoilt.
    Failed,
}

/// A routine without its types: what a worker sees.
pub trait AnyRoutine: Send + Sync {
    /// [`Routine::NAME`].
    fn name(&self) -> &'static str;
    /// [`Durable::TYPE`] of its messages.
    fn message_type(&self) -> &'static str;
    /// Whether it waits for the outside: then it is given one delivery at a time.
    fn is_async(&self) -> bool;
    /// [`Routine::is_pure`].
    fn is_pure(&self) -> bool {
        false
    }
    /// [`Routine::retry`].
    fn retry(&self) -> RetryPolicy;
    /// [`Routine::time_max`].
    fn time_max(&self) -> Option<Duration>;
    /// [`Routine::keep_states`].
    fn keep_states(&self) -> Option<KeepStates>;
    /// Reads its state as stored, or its default.
    ///
    /// # Errors
    /// [`PayloadError`] when the stored state cannot be read by this build.
    fn load(&self, stored: Option<&Payload>) -> Result<LiveState, PayloadError>;
    /// Its state as it is to be stored; nothing when the type holds nothing.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`] when the state cannot be encoded.
    fn save(&self, state: &LiveState) -> Result<Option<Payload>, PayloadError>;
    /// Performs one delivery. A panic passes through: the caller has the fence.
    fn perform(self: Arc<Self>, state: LiveState, delivery: Delivery, occasion: Occasion) -> Performance;
    /// Performs one volatile draft on a state that stays where it is, unless the turn panics or does not end well: then it
    /// is spoilt. Only a synchronous routine takes any.
    fn perform_parcel(&self, state: &mut LiveState, parcel: Parcel, occasion: Occasion) -> VolatileEnd;
}

struct Synchronous<R>(R);
struct Asynchronous<R>(R);

impl<R: Routine> AnyRoutine for Synchronous<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }
    fn message_type(&self) -> &'static str {
        R::Message::TYPE
    }
    fn is_async(&self) -> bool {
        false
    }
    fn is_pure(&self) -> bool {
        self.0.is_pure()
    }
    fn retry(&self) -> RetryPolicy {
        self.0.retry()
    }
    fn time_max(&self) -> Option<Duration> {
        self.0.time_max()
    }
    fn keep_states(&self) -> Option<KeepStates> {
        self.0.keep_states()
    }
    fn load(&self, stored: Option<&Payload>) -> Result<LiveState, PayloadError> {
        load::<R::State>(stored)
    }
    fn save(&self, state: &LiveState) -> Result<Option<Payload>, PayloadError> {
        save::<R::State>(state)
    }
    fn perform(self: Arc<Self>, state: LiveState, delivery: Delivery, occasion: Occasion) -> Performance {
        match open_turn::<R::State, R::Message>(state, delivery, occasion) {
            Ok((message, mut turn)) => {
                let ended = self.0.perform(&mut turn, message);
                let (state, performed) = turn.close(ended);
                Performance::Ended(state, performed)
            }
            Err((state, error)) => undecodable(state, &error),
        }
    }
    fn perform_parcel(&self, state: &mut LiveState, parcel: Parcel, occasion: Occasion) -> VolatileEnd {
        let Ok(message) = parcel.decode::<R::Message>() else { return VolatileEnd::Missed };
        // Nothing is allocated for what stands in its place meanwhile.
        let taken = own::<R::State>(std::mem::replace(state, Box::new(())));
        let mail = Mail::Parcel { parcel, type_name: R::Message::TYPE, opened: OnceLock::new() };
        let mut turn = Turn::of(taken, mail, occasion);
        let ended = self.0.perform(&mut turn, message);
        *state = turn.state;
        match ended {
            Ok(Outcome::Done) => VolatileEnd::Done(turn.effects),
            _ => VolatileEnd::Failed,
        }
    }
}

impl<R: AsyncRoutine> AnyRoutine for Asynchronous<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }
    fn message_type(&self) -> &'static str {
        R::Message::TYPE
    }
    fn is_async(&self) -> bool {
        true
    }
    fn retry(&self) -> RetryPolicy {
        self.0.retry()
    }
    fn time_max(&self) -> Option<Duration> {
        self.0.time_max()
    }
    fn keep_states(&self) -> Option<KeepStates> {
        self.0.keep_states()
    }
    fn load(&self, stored: Option<&Payload>) -> Result<LiveState, PayloadError> {
        load::<R::State>(stored)
    }
    fn save(&self, state: &LiveState) -> Result<Option<Payload>, PayloadError> {
        save::<R::State>(state)
    }
    fn perform(self: Arc<Self>, state: LiveState, delivery: Delivery, occasion: Occasion) -> Performance {
        let (message, mut turn) = match open_turn::<R::State, R::Message>(state, delivery, occasion) {
            Ok(opened) => opened,
            Err((state, error)) => return undecodable(state, &error),
        };
        Performance::Running(Box::pin(async move {
            let ended = self.0.perform(&mut turn, message).await;
            let (state, performed) = turn.close(ended);
            (state as LiveState, performed)
        }))
    }
    fn perform_parcel(&self, _: &mut LiveState, _: Parcel, _: Occasion) -> VolatileEnd {
        VolatileEnd::Missed
    }
}

type OpenedTurn<S, M> = Result<(M, Turn<S>), (LiveState, PayloadError)>;

fn open_turn<S: Durable, M: Durable>(state: LiveState, delivery: Delivery, occasion: Occasion) -> OpenedTurn<S, M> {
    match delivery.envelope.draft.payload.decode::<M>() {
        Ok(message) => Ok((message, Turn::new(own(state), delivery, occasion))),
        Err(error) => Err((state, error)),
    }
}

#[inline(always)]
fn own<S: 'static>(state: LiveState) -> Box<S> {
    match state.downcast::<S>() {
        Ok(state) => state,
        Err(_) => unreachable!("a state is only handed to the routine that loaded it"),
    }
}

fn undecodable(state: LiveState, error: &PayloadError) -> Performance {
    let failure = RoutineFailure::new(FailureKind::Undecodable, error.to_string());
    Performance::Ended(state, Performed::failed(failure))
}

fn load<S: Durable + Default>(stored: Option<&Payload>) -> Result<LiveState, PayloadError> {
    Ok(Box::new(stored.map(Payload::decode::<S>).transpose()?.unwrap_or_default()))
}

fn save<S: Durable>(state: &LiveState) -> Result<Option<Payload>, PayloadError> {
    if size_of::<S>() == 0 {
        return Ok(None);
    }
    state.downcast_ref::<S>().map(Payload::encode).transpose()
}

/// The routines of a site, and which of them takes what.
#[derive(Default, Clone)]
pub struct Registry {
    routines: Vec<Arc<dyn AnyRoutine>>,
    by_type: Vec<(&'static str, usize)>,
    by_name: Vec<(&'static str, usize)>,
}

impl Registry {
    /// Adds a synchronous routine.
    ///
    /// # Errors
    /// [`RegistryError`] when its name or its message type is taken.
    pub fn add<R: Routine>(&mut self, routine: R) -> Result<(), RegistryError> {
        self.add_any(Arc::new(Synchronous(routine)))
    }

    /// Adds an asynchronous routine.
    ///
    /// # Errors
    /// [`RegistryError`] when its name or its message type is taken.
    pub fn add_async<R: AsyncRoutine>(&mut self, routine: R) -> Result<(), RegistryError> {
        self.add_any(Arc::new(Asynchronous(routine)))
    }

    fn add_any(&mut self, routine: Arc<dyn AnyRoutine>) -> Result<(), RegistryError> {
        let (name, message_type) = (routine.name(), routine.message_type());
        if self.place(name).is_some() {
            return Err(RegistryError::NameTaken { name });
        }
        let place = self.routines.len();
        insert(&mut self.by_name, name, place);
        // Two routines may take one type: then a draft must name the routine, and the type alone finds the first.
        if find(&self.by_type, message_type).is_none() {
            insert(&mut self.by_type, message_type, place);
        }
        self.routines.push(routine);
        Ok(())
    }

    /// Whether there is no routine: then every worker is manual.
    pub fn is_empty(&self) -> bool {
        self.routines.is_empty()
    }

    /// The place of the routine this draft is for: the one it names, or the first that takes its type.
    #[inline]
    pub fn find(&self, draft: &Draft) -> Option<usize> {
        match &draft.routine {
            Some(name) => self.place(name),
            None => find(&self.by_type, &draft.payload.type_name),
        }
    }

    /// The routine at this place.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&Arc<dyn AnyRoutine>> {
        self.routines.get(place)
    }

    /// The place of the routine with this name.
    pub fn place(&self, name: &str) -> Option<usize> {
        find(&self.by_name, name)
    }

    /// How many routines there are.
    pub fn len(&self) -> usize {
        self.routines.len()
    }
}

/// A site has few routines: a sorted list is found in faster than a hash is made.
#[inline]
fn find(list: &[(&'static str, usize)], name: &str) -> Option<usize> {
    let place = list.binary_search_by(|(known, _)| order(known, name)).ok()?;
    Some(list[place].1)
}

fn insert(list: &mut Vec<(&'static str, usize)>, name: &'static str, routine: usize) {
    let place = list.partition_point(|(known, _)| order(known, name).is_lt());
    list.insert(place, (name, routine));
}

/// Lengths first: they are at hand, and tell most names apart. Then addresses: most names are those of one constant.
fn order(one: &str, other: &str) -> std::cmp::Ordering {
    one.len().cmp(&other.len()).then_with(|| if std::ptr::eq(one, other) { Equal } else { one.cmp(other) })
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.routines.iter().map(|routine| routine.name())).finish()
    }
}
