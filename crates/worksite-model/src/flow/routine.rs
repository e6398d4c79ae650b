//! A routine of a flow: its slots and events, its logic, and how that is treated. It holds no data, so many workers may
//! share it.

use crate::flow::call::CallContext;
use crate::flow::graph::{Event, RoutineSpec};
use crate::flow::kept::{AnyKept, Kept};
use crate::flow::{ActivationPolicy, AsyncCall, Call, DataType, ErrorStrategy, Slot};
use crate::{Durable, FailureKind, KeepStates, Overflow, Payload, PayloadError, RoutineFailure};
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a turn ends: any error becomes a [`RoutineFailure`] through `?`, and the routine's [`ErrorStrategy`] answers it.
pub type FlowEnded = Result<(), RoutineFailure>;

/// How a routine's logic is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogicKind {
    /// On the workers' thread, at once: for what is quick.
    Synchronous,
    /// On the house's pool: for what keeps a core busy.
    Pooled,
    /// As a future: for what waits for the outside.
    Asynchronous,
}

/// A routine of a flow.
///
/// ```
/// use worksite_model::flow::{Call, FlowRoutine};
///
/// let doubler = FlowRoutine::new(|call: &mut Call<u64>| {
///     for number in call.all::<u64>("input") {
///         *call.state_mut() += 1;
///         call.emit("output", *number * 2)?;
///     }
///     Ok(())
/// })
/// .slot::<u64>("input")
/// .event::<u64>("output");
/// # drop(doubler);
/// ```
pub struct FlowRoutine {
    pub(crate) spec: RoutineSpec,
}

impl FlowRoutine {
    /// A routine with synchronous logic: a quick function of its turn. Its state is an `S`, copied before it is changed, so
    /// that a turn that fails leaves it as it was.
    pub fn new<S, F>(logic: F) -> Self
    where
        S: Durable + Default + Clone,
        F: Fn(&mut Call<S>) -> FlowEnded + Send + Sync + 'static,
    {
        Self::of(Function { logic, kind: LogicKind::Synchronous, state: Self::state::<S>() })
    }

    /// A routine whose logic keeps a core busy: it runs on the house's pool, on what is durable, and other routines go on
    /// meanwhile. With a state, one turn at a time; without, as many as the pool has threads.
    pub fn pooled<S, F>(logic: F) -> Self
    where
        S: Durable + Default + Clone,
        F: Fn(&mut Call<S>) -> FlowEnded + Send + Sync + 'static,
    {
        Self::of(Function { logic, kind: LogicKind::Pooled, state: Self::state::<S>() })
    }

    /// A routine that waits for the outside: its future runs on what is durable, and other routines go on meanwhile. With a
    /// state, one turn at a time. A crash repeats the turn: outside effects are *at least once*.
    pub fn asynchronous<S, F, T>(logic: F) -> Self
    where
        S: Durable + Default + Clone,
        F: Fn(AsyncCall<S>) -> T + Send + Sync + 'static,
        T: Future<Output = FlowEnded> + Send + 'static,
    {
        Self::of(Waiting { logic, state: Self::state::<S>() })
    }

    fn state<S>() -> std::marker::PhantomData<fn() -> S> {
        std::marker::PhantomData
    }

    fn of(logic: impl AnyLogic) -> Self {
        Self { spec: RoutineSpec::new(Arc::new(logic)) }
    }

    /// Adds a slot for data of this type.
    #[must_use]
    pub fn slot<T: Durable + Sync>(self, name: impl Into<String>) -> Self {
        self.slot_of(name, DataType::of::<T>())
    }

    /// [`FlowRoutine::slot`], with the type as a value.
    #[must_use]
    pub fn slot_of(mut self, name: impl Into<String>, takes: DataType) -> Self {
        self.spec.slots.push(Slot::new(name.into(), takes));
        self
    }

    /// Says how many data the last slot holds, and what becomes of what finds it full.
    #[must_use]
    pub fn holding(mut self, data_max: usize, overflow: Overflow) -> Self {
        if let Some(slot) = self.spec.slots.last_mut() {
            (slot.data_max, slot.overflow) = (data_max.max(1), overflow);
        }
        self
    }

    /// Says how full the last slot is when its pressure is high, in percent.
    #[must_use]
    pub fn watermark(mut self, percent: u8) -> Self {
        if let Some(slot) = self.spec.slots.last_mut() {
            slot.watermark_percent = percent.clamp(1, 100);
        }
        self
    }

    /// Adds an event that carries data of this type.
    #[must_use]
    pub fn event<T: Durable + Sync>(mut self, name: impl Into<String>) -> Self {
        self.spec.events.push(Event { name: name.into(), carries: DataType::of::<T>() });
        self
    }

    /// Says when it gets its turn. Default: [`ActivationPolicy::immediate`].
    #[must_use]
    pub fn policy(mut self, policy: ActivationPolicy) -> Self {
        self.spec.policy = policy;
        self
    }

    /// Says what becomes of a turn that fails. Default: what the flow says.
    #[must_use]
    pub fn on_error(mut self, strategy: ErrorStrategy) -> Self {
        self.spec.strategy = Some(strategy);
        self
    }

    /// Sets an entry of its configuration.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.spec.config.insert(key.into(), value.into());
        self
    }

    /// How long a turn on the pool, or one that waits, may take. Default: the site's limit.
    #[must_use]
    pub fn time_max(mut self, time: Duration) -> Self {
        self.spec.time_max = Some(time);
        self
    }

    /// How many turns on the pool, or that wait, one worker has at once. Those with a state have one.
    #[must_use]
    pub fn at_once(mut self, turns: usize) -> Self {
        self.spec.at_once = Some(turns.max(1));
        self
    }

    /// How many of its earlier states are kept. Default: none.
    #[must_use]
    pub fn keep_states(mut self, keep: KeepStates) -> Self {
        self.spec.keep_states = Some(keep);
        self
    }
}

/// A routine's logic without its types.
pub(crate) trait AnyLogic: Send + Sync + 'static {
    fn kind(&self) -> LogicKind;
    fn has_state(&self) -> bool;
    fn fresh(&self) -> Box<dyn AnyKept>;
    fn load(&self, stored: &Payload) -> Result<Box<dyn AnyKept>, PayloadError>;
    /// Performs a turn, inside the fence. Not for logic that waits.
    fn perform(&self, turn: LogicTurn) -> (LogicTurn, FlowEnded);
    /// Begins a turn of logic that waits. A panic passes through: the caller has the fence.
    fn start(&self, turn: LogicTurn) -> Started;
}

/// A turn, and the state it stands on.
pub(crate) struct LogicTurn {
    pub(crate) context: Box<CallContext>,
    pub(crate) kept: Box<dyn AnyKept>,
}

/// A turn that waits; nothing when the routine holds on to its call.
pub(crate) type Started = Pin<Box<dyn Future<Output = (Option<LogicTurn>, FlowEnded)> + Send>>;

struct Function<S, F> {
    logic: F,
    kind: LogicKind,
    state: std::marker::PhantomData<fn() -> S>,
}

struct Waiting<S, F> {
    logic: F,
    state: std::marker::PhantomData<fn() -> S>,
}

impl<S, F> AnyLogic for Function<S, F>
where
    S: Durable + Default + Clone,
    F: Fn(&mut Call<S>) -> FlowEnded + Send + Sync + 'static,
{
    fn kind(&self) -> LogicKind {
        self.kind
    }
    fn has_state(&self) -> bool {
        size_of::<S>() > 0
    }
    fn fresh(&self) -> Box<dyn AnyKept> {
        Box::new(Kept::new(S::default()))
    }
    fn load(&self, stored: &Payload) -> Result<Box<dyn AnyKept>, PayloadError> {
        Ok(Box::new(Kept::new(stored.decode::<S>()?)))
    }
    fn perform(&self, turn: LogicTurn) -> (LogicTurn, FlowEnded) {
        let mut call = open::<S>(turn);
        let ended = catch_unwind(AssertUnwindSafe(|| (self.logic)(&mut call)));
        let ended = ended.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        (LogicTurn { context: call.context, kept: call.kept }, ended)
    }
    fn start(&self, turn: LogicTurn) -> Started {
        let (turn, ended) = self.perform(turn);
        Box::pin(std::future::ready((Some(turn), ended)))
    }
}

impl<S, F, T> AnyLogic for Waiting<S, F>
where
    S: Durable + Default + Clone,
    F: Fn(AsyncCall<S>) -> T + Send + Sync + 'static,
    T: Future<Output = FlowEnded> + Send + 'static,
{
    fn kind(&self) -> LogicKind {
        LogicKind::Asynchronous
    }
    fn has_state(&self) -> bool {
        size_of::<S>() > 0
    }
    fn fresh(&self) -> Box<dyn AnyKept> {
        Box::new(Kept::new(S::default()))
    }
    fn load(&self, stored: &Payload) -> Result<Box<dyn AnyKept>, PayloadError> {
        Ok(Box::new(Kept::new(stored.decode::<S>()?)))
    }
    fn perform(&self, turn: LogicTurn) -> (LogicTurn, FlowEnded) {
        (turn, Err(RoutineFailure::new(FailureKind::Refused, "it waits, and cannot be performed at once")))
    }
    fn start(&self, turn: LogicTurn) -> Started {
        let call = Arc::new(Mutex::new(open::<S>(turn)));
        let running = (self.logic)(AsyncCall(call.clone()));
        Box::pin(async move {
            let ended = running.await;
            match Arc::try_unwrap(call) {
                Ok(call) => {
                    let call = call.into_inner().unwrap_or_else(PoisonError::into_inner);
                    (Some(LogicTurn { context: call.context, kept: call.kept }), ended)
                }
                Err(_held) => {
                    let reason = "something holds on to the call beyond the end of the turn";
                    (None, Err(RoutineFailure::new(FailureKind::Refused, reason)))
                }
            }
        })
    }
}

fn open<S: Durable + Clone>(LogicTurn { context, kept }: LogicTurn) -> Call<S> {
    let kept: Box<dyn Any> = kept;
    match kept.downcast::<Kept<S>>() {
        Ok(kept) => Call { context, kept },
        Err(_) => unreachable!("a state is only handed to the routine that loaded it"),
    }
}

/// A panic, as a failure.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> RoutineFailure {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    RoutineFailure::new(FailureKind::Panicked, text.unwrap_or("without a message"))
}
