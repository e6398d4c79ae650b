//! Letters own what becomes of a run that a worker of this house has. It is a message to that worker's person, under the run's
//! own key; so it is done once, and the run ends as its message does, also when the house was closed in between.

use super::command::Command;
use super::dispatcher::{Dispatcher, Do};
use super::error::RunError;
use super::process::say_until_heard;
use crate::AskError;
use crate::persistence::Read;
use crate::runtime::House;
use crate::supervisor::Listen;
use actix::WeakAddr;
use actix::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use worksite_model::{EnvelopeId, Fate, Payload, PersonId, Run, RunId, RunReport, RunStatus, Store, StoreError};

/// How often it is said that a worker is still at it, unless its lease is short.
const BEAT: Duration = Duration::from_secs(10);

/// The key of a run's message.
pub(super) fn key(run: RunId) -> String {
    run.to_string()
}

/// Those of these runs that are messages to workers of this house, waiting or ended.
pub(super) async fn of(house: &House, runs: Vec<RunId>) -> Result<BTreeSet<RunId>, RunError> {
    if runs.is_empty() {
        return Ok(BTreeSet::new());
    }
    let reading = Read(Box::new(move |store: &mut dyn Store| {
        let mut known = BTreeSet::new();
        for run in runs {
            match store.fate(&key(run)) {
                Ok(None) => {}
                Ok(Some(_)) => drop(known.insert(run)),
                // A row that cannot be read says nothing of its run.
                Err(StoreError::Corrupt(reason)) => tracing::error!(%run, reason, "a run's message cannot be read"),
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }));
    Ok(house.persistence.send(reading).await.map_err(|_closed| RunError::Stopped)??)
}

/// Holds a run's claim while its message waits, and ends it as the message ends.
pub(super) async fn follow(dispatcher: Addr<Dispatcher>, house: Arc<House>, run: Arc<Run>) {
    // At once, however short its lease is.
    say(&dispatcher, &run, if run.status == RunStatus::Claimed { RunReport::Started } else { RunReport::Alive });
    loop {
        match beating(&dispatcher, &run, end_of(&house, run.id)).await {
            Some(Ok(reply)) => return end(dispatcher, &run, Ok(reply)).await,
            Some(Err(AskError::Stopped)) => return,
            // It is held, and so is the run: until the house is opened again, or somebody clears the worker.
            Some(Err(AskError::Held(_))) => {}
            Some(Err(error)) => return end(dispatcher, &run, Err(error)).await,
            None => {}
        }
        if house.directory.is_closed() {
            return;
        }
        beating(&dispatcher, &run, tokio::time::sleep(BEAT)).await;
    }
}

/// Says what became of a run's message, until that is heard.
pub(super) async fn end(dispatcher: Addr<Dispatcher>, run: &Run, ended: Result<Option<Payload>, AskError>) {
    let report = match ended {
        Ok(reply) => RunReport::Completed(reply),
        Err(error) => RunReport::Failed(error.to_string()),
    };
    say_until_heard(dispatcher, run.id, run.fence, report).await;
}

/// Waits for the end of a run's message, whose key is kept; nothing when the store cannot say.
async fn end_of(house: &House, run: RunId) -> Option<Result<Option<Payload>, AskError>> {
    let (id, whose) = match stands(house, run).await? {
        Stands::Ended(ended) => return Some(ended),
        Stands::Waits(id, whose) => (id, whose),
    };
    let (told, heard) = oneshot::channel();
    let Some(supervisor) = house.supervisor.get().and_then(WeakAddr::upgrade) else {
        return Some(Err(AskError::Stopped));
    };
    if supervisor.send(Listen { person: whose, id, told }).await.is_err() {
        return Some(Err(AskError::Stopped));
    }
    // It may have ended before anybody listened.
    if let Stands::Ended(ended) = stands(house, run).await? {
        return Some(ended);
    }
    Some(match heard.await {
        Ok(Ok(fate)) => ended(fate).unwrap_or(Err(AskError::Stopped)),
        Ok(Err(error)) => Err(*error),
        Err(_closed) => Err(AskError::Stopped),
    })
}

/// How a run's message stands.
enum Stands {
    Waits(EnvelopeId, PersonId),
    Ended(Result<Option<Payload>, AskError>),
}

async fn stands(house: &House, run: RunId) -> Option<Stands> {
    let reading = Read(Box::new(move |store: &mut dyn Store| {
        let known = store.fate(&key(run))?;
        let waits = match &known {
            Some((id, Fate::Waiting)) => store.envelope(*id)?.map(|waiting| waiting.delivery.envelope.draft.to),
            _ => None,
        };
        Ok((known, waits))
    }));
    let (known, waits) = match house.persistence.send(reading).await {
        Ok(read) => read.ok()?,
        Err(_closed) => return Some(Stands::Ended(Err(AskError::Stopped))),
    };
    match (known, waits) {
        (Some((id, Fate::Waiting)), Some(person)) => Some(Stands::Waits(id, person)),
        (Some((_, fate)), _) => ended(fate).map(Stands::Ended),
        // Its key was forgotten, long after it had ended.
        (None, _) => Some(Stands::Ended(Err(AskError::Removed))),
    }
}

/// What an asker would be told of it; nothing while it waits.
fn ended(fate: Fate) -> Option<Result<Option<Payload>, AskError>> {
    match fate {
        Fate::Waiting => None,
        Fate::Settled(reply) => Some(Ok(reply)),
        Fate::Buried(reason) => Some(Err(AskError::Buried(reason))),
        Fate::Removed => Some(Err(AskError::Removed)),
    }
}

/// Waits for an answer, and says meanwhile that it is still waited for: the worker is one of this house.
pub(super) async fn beating<T>(dispatcher: &Addr<Dispatcher>, run: &Run, answer: impl Future<Output = T>) -> T {
    let mut answer = Box::pin(answer);
    let beat = run.draft.lease.map_or(BEAT, |lease| BEAT.min(lease / 3));
    loop {
        match tokio::time::timeout(beat, &mut answer).await {
            Ok(answer) => return answer,
            Err(_elapsed) => say(dispatcher, run, RunReport::Alive),
        }
    }
}

pub(super) fn say(dispatcher: &Addr<Dispatcher>, run: &Run, report: RunReport) {
    let (reply, _unheard) = oneshot::channel();
    dispatcher.do_send(Do(Command::Report { id: run.id, fence: run.fence, report, reply }));
}
