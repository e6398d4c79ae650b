//! A world owns one thread, one virtual clock and one seed: it plays a scenario on a store, life after life, in all
//! weathers, while the laws watch every step; and the same seed gives the same trace.

use crate::fault::FaultyStore;
use crate::hands::Hands;
use crate::laws::{Broken, Law, Laws};
use crate::play::play;
use crate::scenario::{BY_HAND, Clerk, Scenario, SlowClerk, Watcher};
use crate::trace::{Event, Inventory, RecordingStore, Trace};
use crate::weather::{Incident, Listener, Mishap, Weather};
use std::collections::BTreeMap;
use std::time::Duration;
use worksite_model::{InboxPolicy, Interest, Limits, Store, Timestamp, chance};
use worksite_runtime::{Runtime, SubscriptionOptions, Told};

/// When every world begins: 2026-01-01T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// What stands between the house and its disk.
type Between = Box<dyn Fn(Box<dyn Store>) -> Box<dyn Store>>;

/// A simulated house: its seed, its limits, its time, and what has happened in it.
pub struct World {
    seed: u64,
    limits: Limits,
    policy: InboxPolicy,
    /// When the next life begins.
    now: Timestamp,
    trace: Trace,
    between: Option<Between>,
    /// Whether its houses have threads of their own, and time is real.
    is_real: bool,
}

/// How a life ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The scenario was played to its end; this is what everybody remembers.
    Finished(Remembered),
    /// The store died, or its outcome became unknown.
    StoreDied,
}

/// What everybody remembers at the end, in a form that does not depend on ids or times.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered {
    /// How often each person's clerks noted each letter.
    pub noted: BTreeMap<(i64, &'static str), BTreeMap<u32, u32>>,
    /// How many letters were given up.
    pub buried: u64,
    /// How many were taken by hand and acknowledged.
    pub removed: u64,
    /// How many still wait.
    pub waiting: u64,
}

impl World {
    /// A world in which all chance follows from this seed.
    pub fn new(seed: u64) -> Self {
        Self::with_limits(seed, Limits::default())
    }

    /// A world whose limits are tight, each in a way that follows from the seed; none of them makes mail fail.
    pub fn tight(seed: u64) -> Self {
        let pick = |place: i64, of: [u64; 3]| of[(chance(seed, &[-1, place]) % 3) as usize];
        let limits = Limits {
            commit_changes_max: pick(1, [1, 3, 4_096]) as usize,
            activation_deliveries_max: pick(2, [1, 2, 256]) as usize,
            worker_idle_ms_max: pick(3, [300, 2_000, 60_000]),
            volatile_drafts_max: pick(4, [1, 3, 4_096]) as usize,
            restarts_max: pick(5, [0, 2, 5]) as u32,
            restart_window_ms: pick(6, [100, 5_000, 60_000]),
            ..Limits::default()
        };
        Self::with_limits(seed, limits)
    }

    /// A world with other limits.
    pub fn with_limits(seed: u64, limits: Limits) -> Self {
        Self::with_inboxes(seed, InboxPolicy::of(&limits), limits)
    }

    /// A world in which everybody's inbox has this policy.
    pub fn with_inboxes(seed: u64, policy: InboxPolicy, limits: Limits) -> Self {
        let trace = Trace::watched(Laws::of_inboxes(&policy, &limits));
        Self { seed, limits, policy, now: START, trace, between: None, is_real: false }
    }

    /// Puts something between the house and what the laws take for the disk: a store that does not do what it says, to see
    /// whether a law notices.
    #[must_use]
    pub fn between(mut self, store: impl Fn(Box<dyn Store>) -> Box<dyn Store> + 'static) -> Self {
        self.between = Some(Box::new(store));
        self
    }

    /// Lets houses have threads of their own, in real time: then a seed does not decide who is quicker, but the laws watch as
    /// ever. Not for weather in which the process dies after an event.
    #[must_use]
    pub fn real(mut self) -> Self {
        self.is_real = true;
        self
    }

    /// Lets the house be built with these limits instead of those that the laws know.
    #[must_use]
    pub fn deceived(mut self, limits: Limits) -> Self {
        (self.policy, self.limits) = (InboxPolicy::of(&limits), limits);
        self
    }

    /// What time it is: when the next life begins.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What has happened.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// One life: plays the scenario from its beginning on this store, in this weather. What was done in an earlier life
    /// is not done again, since every draft has a key.
    ///
    /// # Errors
    /// [`Broken`] names the first law that did not hold.
    pub fn live(
        &mut self,
        scenario: &Scenario,
        mut store: Box<dyn Store>,
        weather: impl Into<Weather>,
    ) -> Result<Ending, Broken> {
        let weather = weather.into();
        let Ok(inventory) = Inventory::of(store.as_mut(), weather.forgets) else { return Ok(Ending::StoreDied) };
        self.trace.push(Event::Opened(inventory));
        let paused = !self.is_real;
        let time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(paused).build();
        let time = time.expect("the machine can give a world its clock");
        let house = tokio::task::LocalSet::new();
        let (ending, now) = house.block_on(&time, self.life(scenario, store, weather));
        // Whoever is still there dies with the process, without a word.
        drop(house);
        self.now = now.after(TIME_TO_RISE);
        self.trace.broken().map_or(Ok(ending), Err)
    }

    async fn life(&self, scenario: &Scenario, store: Box<dyn Store>, weather: Weather) -> (Ending, Timestamp) {
        let (trace, hands) = (self.trace.clone(), Hands::default());
        let clock = hands.clock(self.now);
        // The trace sees what the disk sees, which is more than the house hears of when it dies in between.
        let mut store: Box<dyn Store> = Box::new(RecordingStore::new(store, trace.clone()));
        if let Some(between) = &self.between {
            store = between(store);
        }
        let store = Box::new(FaultyStore::seen(store, weather.faults, hands.clone(), trace.clone()));
        let policy = self.policy;
        // Every other seed runs ahead of the disk.
        let clerk = Clerk { trace: trace.clone(), is_pure: self.seed % 2 == 1 };
        let builder = Runtime::builder().routine(clerk).async_routine(SlowClerk(trace.clone()));
        let builder = builder.routine(Watcher(trace.clone())).manual(|person| person.id.0 >= BY_HAND);
        let builder = builder.seed(self.seed).limits(self.limits.clone()).inboxes(move |_| policy).clock(clock.clone());
        let begun = trace.len();
        let started = if self.is_real { builder.start(store).await } else { builder.start_local(store).await };
        let Ok(runtime) = started else { return (Ending::StoreDied, clock.now()) };
        let told = listen(&runtime, trace.clone());
        for (number, listener) in weather.listeners.into_iter().enumerate() {
            listen_badly(&runtime, number, listener, trace.clone());
        }
        let lived = async {
            let remembered = play(&runtime, scenario, &trace, self.is_real).await;
            runtime.shutdown().await;
            // Only after the house has closed is everything told that was committed.
            let _heard = told.await;
            if remembered.is_some() {
                trace.push(Event::Closed);
            }
            remembered.map_or(Ending::StoreDied, Ending::Finished)
        };
        let ending = tokio::select! {
            biased;
            () = suffer(&runtime, weather.incidents, begun, &trace, &hands) => Ending::StoreDied,
            ending = lived => ending,
        };
        (ending, clock.now())
    }

    /// Lives until the scenario is finished: `store` opens what the last life left, and names the weather of the next.
    ///
    /// # Errors
    /// [`Broken`] names the first law that did not hold.
    pub fn lives<W: Into<Weather>>(
        &mut self,
        scenario: &Scenario,
        mut store: impl FnMut(usize) -> (Box<dyn Store>, W),
    ) -> Result<Remembered, Broken> {
        for life in 0..LIVES_MAX {
            let (store, weather) = store(life);
            if let Ending::Finished(remembered) = self.live(scenario, store, weather)? {
                return Ok(remembered);
            }
        }
        Err(Broken { law: Law::RecoveryEqualsLife, how: format!("it was not finished after {LIVES_MAX} lives") })
    }
}

/// How long it takes until a dead process is started again.
const TIME_TO_RISE: Duration = Duration::from_secs(1);

/// A scenario that does not end after so many lives never will.
const LIVES_MAX: usize = 10;

fn listen(runtime: &Runtime, trace: Trace) -> tokio::task::JoinHandle<()> {
    let mut subscription = runtime.subscribe();
    tokio::task::spawn_local(async move {
        while let Some(told) = subscription.next().await {
            if let Told::Fact(fact) = told {
                trace.push(Event::Told(fact));
            }
        }
    })
}

/// Subscribes as somebody who does not keep up, never listens, or goes away.
fn listen_badly(runtime: &Runtime, listener: usize, how: Listener, trace: Trace) {
    let (facts_max, time, facts) = match how {
        Listener::Slow { facts_max, time } => (facts_max, time, usize::MAX),
        Listener::Dead => (1, Duration::from_secs(u64::from(u32::MAX)), usize::MAX),
        Listener::Gone(facts) => (usize::MAX, Duration::ZERO, facts),
    };
    let options = SubscriptionOptions { facts_max, ..runtime.subscription(Interest::everything()) };
    let mut subscription = runtime.subscribe_to(options);
    tokio::task::spawn_local(async move {
        for _ in 0..facts {
            tokio::time::sleep(time).await;
            trace.push(match subscription.next().await {
                Some(Told::Fact(fact)) => Event::Overheard { listener, fact },
                Some(Told::Lagged(facts)) => Event::Missed { listener, facts },
                None => return,
            });
        }
    });
}

/// Lets everything happen that is to happen; returns when the process is to die.
async fn suffer(runtime: &Runtime, incidents: Vec<Incident>, begun: usize, trace: &Trace, hands: &Hands) {
    for Incident { after, mishap } in incidents {
        trace.reaches(begun + after).await;
        trace.push(Event::Mishap(mishap));
        match mishap {
            Mishap::CrashWorker(person) => runtime.crash_worker(person),
            Mishap::CrashSupervisor => runtime.crash_supervisor(),
            Mishap::CrashBroadcast => runtime.crash_broadcast(),
            Mishap::Jump(seconds) => hands.jump(seconds),
            Mishap::Kill => return,
        }
    }
    std::future::pending().await
}
