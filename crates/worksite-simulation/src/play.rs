//! Playing owns how a scenario is put to a house: step by step, doing what each error advises, until the house is gone.

use crate::scenario::{Letters, Scenario, Step};
use crate::trace::{Event, Trace};
use crate::world::Remembered;
use std::time::Duration;
use worksite_model::{Advice, Person, PersonId, Tally};
use worksite_runtime::{DeskError, Runtime, SendError};

/// Plays all steps; nothing when the house died on the way, or a law was broken.
pub(crate) async fn play(runtime: &Runtime, scenario: &Scenario, trace: &Trace) -> Option<Remembered> {
    for step in &scenario.steps {
        play_step(runtime, step, trace).await?;
        if trace.broken().is_some() {
            return None;
        }
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
        Step::Rest => return until_done_with(runtime, trace, || runtime.rest()).await,
        Step::Quiesce => return until_done_with(runtime, trace, || runtime.quiesce()).await,
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
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// The same for what is asked of a desk.
async fn until_done<F: Future<Output = Result<(), DeskError>>>(mut ask: impl FnMut() -> F) -> Option<()> {
    loop {
        match ask().await {
            Ok(()) => return Some(()),
            Err(error) if error.advice() != Advice::RetryLater => return None,
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn is_fatal(error: &SendError) -> bool {
    error.advice() != Advice::RetryLater
}

/// Waits for what is asked of a house that gets done; a dead store would keep it waiting for ever, so the store is asked
/// now and then.
async fn until_done_with<F: Future<Output = Result<(), DeskError>>>(
    runtime: &Runtime,
    trace: &Trace,
    ask: impl Fn() -> F,
) -> Option<()> {
    for _minute in 0..MINUTES_TO_REST_MAX {
        match tokio::time::timeout(Duration::from_secs(60), ask()).await {
            Ok(quiet) => {
                quiet.ok()?;
                trace.push(Event::Quiet);
                return Some(());
            }
            Err(_elapsed) => drop(runtime.tally().await.ok()?),
        }
        if trace.broken().is_some() {
            return None;
        }
    }
    panic!("mail waits, and nobody takes it: a wake-up was lost\n{trace}")
}

/// No scenario has anything to wait for that takes longer, in virtual time.
const MINUTES_TO_REST_MAX: usize = 600;

pub(crate) async fn remember(runtime: &Runtime) -> Result<Remembered, DeskError> {
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
