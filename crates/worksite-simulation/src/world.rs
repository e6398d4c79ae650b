//! A world owns one thread, one paused clock and one seed: it plays a scenario on a store, life after life, and the same
//! seed gives the same trace.

use crate::fault::{Fault, FaultyStore};
use crate::laws::{Broken, Law, Laws};
use crate::scenario::{Clerk, Letters, Scenario, SlowClerk, Step};
use crate::trace::{Event, RecordingStore, Trace};
use std::collections::BTreeMap;
use worksite_model::{Limits, Person, PersonId, Store, Tally, Timestamp};
use worksite_runtime::{Clock, DeskError, Runtime, SendError, Told};

/// When every world begins: 2026-01-01T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// A simulated house: its seed, its limits, and what has happened in it.
pub struct World {
    seed: u64,
    limits: Limits,
    trace: Trace,
    laws: Laws,
    /// How many events the laws have seen.
    watched: usize,
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
}

impl World {
    /// A world in which all chance follows from this seed.
    pub fn new(seed: u64) -> Self {
        Self::with_limits(seed, Limits::default())
    }

    /// A world with other limits.
    pub fn with_limits(seed: u64, limits: Limits) -> Self {
        let laws = Laws::new(limits.clone());
        Self { seed, limits, trace: Trace::default(), laws, watched: 0 }
    }

    /// What has happened.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// One life: plays the scenario from its beginning on this store, with these faults. What was done in an earlier
    /// life is not done again, since every draft has a key.
    ///
    /// # Errors
    /// [`Broken`] names the first law that did not hold.
    pub fn live(&mut self, scenario: &Scenario, store: Box<dyn Store>, faults: Vec<Fault>) -> Result<Ending, Broken> {
        self.trace.push(Event::Life);
        let time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let time = time.expect("the machine can give a world its clock");
        // The trace sees what the disk sees, which is more than the house hears of when it dies in between.
        let recording = Box::new(RecordingStore::new(store, self.trace.clone()));
        let recording = Box::new(FaultyStore::new(recording, faults));
        let (seed, limits, trace) = (self.seed, self.limits.clone(), self.trace.clone());
        let ending = tokio::task::LocalSet::new().block_on(&time, async move {
            let builder = Runtime::builder().routine(Clerk(trace.clone())).async_routine(SlowClerk(trace.clone()));
            let builder = builder.seed(seed).limits(limits).clock(Clock::tokio(START));
            let Ok(runtime) = builder.start_local(recording).await else { return Ending::StoreDied };
            let told = listen(&runtime, trace.clone());
            let ending = play(&runtime, scenario, &trace).await;
            runtime.shutdown().await;
            // Only after the house has closed is everything told that was committed.
            let _heard = told.await;
            ending.map_or(Ending::StoreDied, Ending::Finished)
        });
        self.watch()?;
        Ok(ending)
    }

    /// Lives until the scenario is finished: `store` opens what the last life left, and names the faults of the next.
    ///
    /// # Errors
    /// [`Broken`] names the first law that did not hold.
    pub fn lives(
        &mut self,
        scenario: &Scenario,
        mut store: impl FnMut(usize) -> (Box<dyn Store>, Vec<Fault>),
    ) -> Result<Remembered, Broken> {
        for life in 0..LIVES_MAX {
            let (store, faults) = store(life);
            if let Ending::Finished(remembered) = self.live(scenario, store, faults)? {
                return Ok(remembered);
            }
        }
        Err(Broken { law: Law::RecoveryEqualsLife, how: format!("it was not finished after {LIVES_MAX} lives") })
    }

    fn watch(&mut self) -> Result<(), Broken> {
        let events = self.trace.events();
        for event in &events[self.watched..] {
            self.laws.observe(event)?;
        }
        self.watched = events.len();
        Ok(())
    }
}

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

/// Plays all steps; nothing when the store died on the way.
async fn play(runtime: &Runtime, scenario: &Scenario, trace: &Trace) -> Option<Remembered> {
    for step in &scenario.steps {
        play_step(runtime, step, trace).await?;
    }
    remember(runtime).await.ok()
}

async fn play_step(runtime: &Runtime, step: &Step, trace: &Trace) -> Option<()> {
    match step {
        Step::Sync(people) => {
            let wanted: Vec<_> = people.iter().copied().map(PersonId).collect();
            let people = || people.iter().map(|id| Person::new(*id, format!("person {id}")));
            again(|| runtime.sync(people())).await?;
            let active = runtime.roster().people().map(|person| person.id).collect();
            trace.push(Event::Synced { wanted, active, awake: runtime.awake() });
        }
        Step::Send(drafts) => {
            // All are on their way before the first answer is waited for.
            let sent: Vec<_> = drafts.iter().map(|draft| runtime.send(draft.clone())).collect();
            for (sent, draft) in sent.into_iter().zip(drafts) {
                let receipt = match sent.await {
                    Ok(receipt) => receipt,
                    Err(error) if is_fatal(&error) => return None,
                    Err(_) => again(|| runtime.send(draft.clone())).await?,
                };
                trace.push(Event::Receipt(receipt.id));
            }
        }
        Step::SendTogether(drafts) => {
            for receipt in again(|| runtime.send_all(drafts.clone())).await? {
                trace.push(Event::Receipt(receipt.id));
            }
        }
        Step::Wait(time) => tokio::time::sleep(*time).await,
        Step::Quiesce => return quiesce(runtime, trace).await,
        Step::CrashWorker(person) => runtime.crash_worker(*person),
        Step::Pause(person) => until_done(|| runtime.pause(*person)).await?,
        Step::Resume(person) => until_done(|| runtime.resume(*person)).await?,
    }
    Some(())
}

/// Does what the error's advice says: the same again later, unless the store is gone.
async fn again<T, F: Future<Output = Result<T, SendError>>>(mut ask: impl FnMut() -> F) -> Option<T> {
    loop {
        match ask().await {
            Ok(done) => return Some(done),
            Err(error) if is_fatal(&error) => return None,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
    }
}

/// The same for what is asked of a desk.
async fn until_done<F: Future<Output = Result<(), DeskError>>>(mut ask: impl FnMut() -> F) -> Option<()> {
    loop {
        match ask().await {
            Ok(()) => return Some(()),
            Err(error) if error.advice() != worksite_model::Advice::RetryLater => return None,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
    }
}

fn is_fatal(error: &SendError) -> bool {
    error.advice() != worksite_model::Advice::RetryLater
}

/// Waits for all mail; a dead store would keep it waiting for ever, so the store is asked now and then.
async fn quiesce(runtime: &Runtime, trace: &Trace) -> Option<()> {
    for _minute in 0..MINUTES_TO_REST_MAX {
        match tokio::time::timeout(std::time::Duration::from_secs(60), runtime.quiesce()).await {
            Ok(quiet) => return quiet.ok(),
            Err(_elapsed) => drop(runtime.tally().await.ok()?),
        }
    }
    panic!("mail waits, and nobody takes it: a wake-up was lost\n{trace}")
}

/// No scenario has anything to wait for that takes longer, in virtual time.
const MINUTES_TO_REST_MAX: usize = 600;

async fn remember(runtime: &Runtime) -> Result<Remembered, DeskError> {
    let mut remembered = Remembered::default();
    for person in runtime.roster().people() {
        for clerk in ["clerk", "slow clerk"] {
            let letters = runtime.state::<Letters>(person.id, clerk).await?.unwrap_or_default();
            remembered.noted.insert((person.id.0, clerk), letters.noted);
        }
    }
    let tally: Tally = runtime.tally().await?;
    remembered.buried = tally.buried;
    Ok(remembered)
}
