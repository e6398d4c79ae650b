//! Execution owns the fence around user code: an activation goes in, performed deliveries come out, and neither a
//! panic nor an endless routine gets past it. Nothing is written or sent in here.
//!
//! Deliveries of one activation share a state that is changed in place, so a failure in the middle has spoilt it for
//! its neighbours. Then nothing of the activation counts: the worker reads the state again and performs the same
//! deliveries one at a time ([`Executed::Singly`]), where a poison envelope harms only itself. That is allowed because
//! only synchronous routines are given more than one delivery, and those have no effects outside the change.

use crate::directory::NoPlace;
use crate::runtime::House;
use futures_util::FutureExt;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, Level};
use worksite_model::{
    AnyRoutine, Delivery, Draft, Ended, FailureKind, LiveState, Occasion, Outcome, Overflow, Parcel, Payload,
    Performance, Performed, PersonId, Rejection, RoutineFailure, Timestamp, VolatileEnd, accept,
};

/// What became of an activation's deliveries.
pub(crate) enum Executed {
    /// They are performed, and left this state; none when the last one did not end well and the state is spoilt.
    Settle { performed: Vec<(Delivery, Performed)>, state: Option<LiveState> },
    /// One of several failed: nothing counts, and these first ones are to be performed one at a time.
    Singly { deliveries: usize },
}

/// Where a routine is performed.
#[derive(Clone, Copy)]
pub(crate) struct Desk<'a> {
    pub(crate) house: &'a House,
    pub(crate) person: PersonId,
    pub(crate) routine: &'a Arc<dyn AnyRoutine>,
}

impl Desk<'_> {
    fn occasion(&self, now: Timestamp) -> Occasion {
        Occasion { person: self.person, now, seed: self.house.seed }
    }

    /// Performs deliveries of a synchronous routine, in order.
    pub(crate) fn execute(&self, mut state: LiveState, deliveries: Vec<Delivery>) -> Executed {
        let mut performed: Vec<(Delivery, Performed)> = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let (left, ended) = self.perform(state, &delivery);
            match left.filter(|_| ended.is_done()) {
                Some(left) => state = left,
                None if performed.is_empty() => {
                    return Executed::Settle { performed: vec![(delivery, ended)], state: None };
                }
                None => {
                    let drafts = performed.iter().flat_map(|(_, performed)| performed.drafts());
                    self.house.directory.release_drafts(drafts);
                    return Executed::Singly { deliveries: performed.len() + 1 };
                }
            }
            performed.push((delivery, ended));
        }
        Executed::Settle { performed, state: Some(state) }
    }

    /// Performs one delivery of a synchronous routine inside the fence, and looks how long it took.
    fn perform(&self, state: LiveState, delivery: &Delivery) -> (Option<LiveState>, Performed) {
        let now = self.house.clock.now();
        let (state, mut performed) = self.perform_at(state, delivery, now);
        performed.took = self.house.clock.now().since(now);
        self.house.counters.turn(waited(delivery, now), performed.took);
        let limit = self.time_max();
        if performed.is_done() && performed.took > limit {
            self.house.directory.release_drafts(performed.drafts());
            return (state, Performed::failed(too_long(performed.took, limit)));
        }
        (state, performed)
    }

    /// The same, untimed.
    fn perform_at(&self, state: LiveState, delivery: &Delivery, now: Timestamp) -> (Option<LiveState>, Performed) {
        if let Some(expired) = expired(delivery.envelope.draft.expires_at, now) {
            return (Some(state), expired);
        }
        let occasion = self.occasion(now);
        let routine = self.routine.clone();
        let _span = span_of(self.person, routine.name(), delivery).entered();
        let turn = || match routine.perform(state, delivery.clone(), occasion) {
            Performance::Ended(state, performed) => (state, performed),
            Performance::Running(_) => unreachable!("a synchronous routine ends at once"),
        };
        match catch_unwind(AssertUnwindSafe(turn)) {
            Ok((state, performed)) => (Some(state), self.inspect(performed)),
            Err(panic) => (None, Performed::failed(panicked(panic.as_ref()))),
        }
    }

    /// Performs a volatile draft inside the fence.
    #[inline(always)]
    pub(crate) fn perform_parcel(&self, state: &mut LiveState, parcel: Parcel) -> VolatileEnd {
        let now = self.house.clock.now();
        if expired(parcel.expires_at(), now).is_some() {
            return VolatileEnd::Missed;
        }
        // A span that nobody listens to would cost as much as a small turn.
        let _span = (LevelFilter::current() >= Level::DEBUG).then(|| {
            let (person, routine, trace) = (self.person.0, self.routine.name(), parcel.trace());
            tracing::debug_span!("perform", person, routine, trace).entered()
        });
        match catch_unwind(AssertUnwindSafe(|| self.routine.perform_parcel(state, parcel, self.occasion(now)))) {
            Ok(VolatileEnd::Done(Some(mut effects))) => match self.reserve(&mut effects.drafts) {
                Ok(()) => VolatileEnd::Done(Some(effects)),
                Err(_refused) => VolatileEnd::Failed,
            },
            Ok(ended) => ended,
            Err(_panic) => VolatileEnd::Failed,
        }
    }

    /// Performs one delivery of an asynchronous routine inside the fence; dropped at its time limit.
    pub(crate) fn execute_async(
        &self,
        state: LiveState,
        delivery: Delivery,
    ) -> impl Future<Output = (Delivery, Option<LiveState>, Performed)> + 'static {
        let now = self.house.clock.now();
        let (expired, occasion) = (expired(delivery.envelope.draft.expires_at, now), self.occasion(now));
        let (routine, clock) = (self.routine.clone(), self.house.clock.clone());
        let counters = self.house.counters.clone();
        let span = span_of(self.person, self.routine.name(), &delivery);
        let limit = self.time_max();
        async move {
            if let Some(expired) = expired {
                return (delivery, Some(state), expired);
            }
            let given = delivery.clone();
            let running = AssertUnwindSafe(async move {
                match routine.perform(state, given, occasion) {
                    Performance::Ended(state, performed) => (state, performed),
                    Performance::Running(running) => running.await,
                }
            });
            let ended = tokio::time::timeout(limit, running.catch_unwind()).instrument(span).await;
            let took = clock.now().since(occasion.now);
            counters.turn(waited(&delivery, occasion.now), took);
            match ended {
                Ok(Ok((state, performed))) => (delivery, Some(state), Performed { took, ..performed }),
                Ok(Err(panic)) => (delivery, None, Performed::failed(panicked(panic.as_ref()))),
                Err(_elapsed) => (delivery, None, Performed::failed(too_long(took, limit))),
            }
        }
    }

    /// Looks at what a delivery that is done wants: whether what it sent can be sent. Reserves places
    /// in the recipients' inboxes; they are released when the change fails.
    pub(crate) fn inspect(&self, mut performed: Performed) -> Performed {
        if !performed.is_done() {
            return performed;
        }
        let Some(effects) = &mut performed.effects else { return performed };
        match self.reserve(&mut effects.drafts) {
            Ok(()) => performed,
            Err(ended) => Performed { ended, ..Performed::ended(Outcome::Done) },
        }
    }

    fn time_max(&self) -> Duration {
        self.routine.time_max().unwrap_or(Duration::from_millis(self.house.limits.routine_time_ms_max))
    }

    /// Reserves a place for each draft; those that find an inbox full which drops what is new are dropped here. Where a
    /// sender from outside would be refused or wait, the turn fails for want of room, and is tried again.
    fn reserve(&self, drafts: &mut Vec<Draft>) -> Result<(), Ended> {
        if drafts.is_empty() {
            return Ok(());
        }
        let (house, now) = (self.house, self.house.clock.now());
        let refused = |reason: String| Err(RoutineFailure::new(FailureKind::Refused, reason));
        for draft in drafts.iter() {
            accept(draft, &house.limits, now).map_err(|rejection| refused(rejection.to_string()))?;
        }
        loop {
            match house.directory.reserve(drafts, &house.registry, &house.limits, false) {
                Ok(()) => return Ok(()),
                // No other attempt could end differently.
                Err(NoPlace::Rejected(rejection @ Rejection::NeverFits { .. })) => {
                    return Err(Ok(Outcome::Reject(rejection.to_string())));
                }
                Err(NoPlace::Rejected(rejection)) => return Err(refused(rejection.to_string())),
                Err(NoPlace::Full { draft, overflow: Overflow::DropNewest, .. }) => {
                    house.directory.count_dropped(drafts.remove(draft).to, 1);
                }
                Err(NoPlace::Full { draft, limit, .. }) => {
                    let reason = format!("the inbox of person {} is full: {limit} is reached", drafts[draft].to);
                    return Err(Err(RoutineFailure::new(FailureKind::NoRoom, reason)));
                }
            }
        }
    }

    /// Reads a routine's state from what was stored, inside the fence: decoding is user code.
    pub(crate) fn load(&self, stored: Option<&Payload>) -> Result<LiveState, String> {
        match catch_unwind(AssertUnwindSafe(|| self.routine.load(stored))) {
            Ok(loaded) => loaded.map_err(|error| error.to_string()),
            Err(panic) => Err(panicked(panic.as_ref()).to_string()),
        }
    }

    /// Encodes a routine's state, inside the fence and within its limit.
    pub(crate) fn save(&self, state: &LiveState) -> Result<Option<Payload>, RoutineFailure> {
        let saved = match catch_unwind(AssertUnwindSafe(|| self.routine.save(state))) {
            Ok(saved) => saved?,
            Err(panic) => return Err(panicked(panic.as_ref())),
        };
        let (bytes, limit) = (saved.as_ref().map_or(0, Payload::len), self.house.limits.state_bytes_max);
        if bytes > limit {
            let reason = format!("its state has {bytes} bytes; {limit} are allowed (state_bytes_max)");
            return Err(RoutineFailure::new(FailureKind::Refused, reason));
        }
        Ok(saved)
    }
}

/// How long a delivery has waited since somebody could have taken it.
fn waited(delivery: &Delivery, now: Timestamp) -> Duration {
    let envelope = &delivery.envelope;
    now.since(envelope.draft.not_before.map_or(envelope.accepted_at, |moment| moment.max(envelope.accepted_at)))
}

/// What a routine does for a message stands in the message's trace, also in another life of the process.
fn span_of(person: PersonId, routine: &'static str, delivery: &Delivery) -> tracing::Span {
    let (envelope, trace) = (delivery.id().0, delivery.envelope.draft.trace.as_deref());
    tracing::debug_span!("perform", envelope, person = person.0, routine, attempt = delivery.attempt, trace)
}

fn expired(expiry: Option<Timestamp>, now: Timestamp) -> Option<Performed> {
    let expiry = expiry.filter(|expiry| *expiry <= now)?;
    let reason = format!("it was of no use after {} µs", expiry.as_micros());
    Some(Performed::failed(RoutineFailure::new(FailureKind::Expired, reason)))
}

fn too_long(took: Duration, limit: Duration) -> RoutineFailure {
    RoutineFailure::new(FailureKind::TooLong, format!("it ran for {took:?}; {limit:?} are allowed"))
}

fn panicked(panic: &(dyn Any + Send)) -> RoutineFailure {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    RoutineFailure::new(FailureKind::Panicked, text.unwrap_or("without a message"))
}
