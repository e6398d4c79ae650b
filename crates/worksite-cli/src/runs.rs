//! Runs own the views of the run queue: how many runs stand how, which there are, one of them whole, and who holds some.

use crate::arguments::WhichRuns;
use crate::letter::{payload, with};
use crate::printer::Printer;
use crate::{Ended, Ending};
use serde_json::{Value, json};
use std::error::Error;
use std::time::Duration;
use worksite::model::{Fact, FactOffset, LoggedFact};
use worksite::prelude::*;
use worksite::store::{FoundRun, Reader, RunnerSummary};

/// How many facts of the log are looked at together.
const FACTS_TOGETHER: usize = 1_000;

pub(crate) fn queue(reader: &Reader, printer: &mut Printer) -> Ended {
    let counts = reader.run_counts()?;
    let named = counts.iter().map(|(status, runs)| (status.name().to_string(), json!(runs)));
    printer.object(&RunStatus::ALL.map(RunStatus::name), &Value::Object(named.collect()))?;
    Ok(Ending::Fine)
}

pub(crate) fn list(reader: &Reader, which: WhichRuns, printer: &mut Printer) -> Ended {
    let limit = which.limit;
    let filter = RunFilter {
        statuses: which.statuses,
        session: which.session,
        parent: which.parent,
        agent: which.agent,
        runner: which.runner.map(RunnerId::from),
        schedule: which.schedule,
        before: which.before,
        limit: limit as usize,
        ..RunFilter::all()
    };
    let runs = reader.runs(&filter)?;
    let row = |found: &FoundRun| match found {
        Ok(run) => whole(run),
        Err((id, reason)) => unreadable(*id, reason),
    };
    let rows: Vec<_> = runs.iter().map(row).collect();
    let columns = [
        "id",
        "status",
        "agent",
        "session",
        "priority",
        "demands",
        "runner",
        "attempts",
        "created_at",
        "payload",
        "error",
    ];
    printer.list(&columns, &rows)?;
    printer.say_if_full(&rows, limit, "--before")?;
    Ok(Ending::fine_if(runs.iter().all(Result::is_ok)))
}

pub(crate) fn run(reader: &Reader, id: RunId, printer: &mut Printer) -> Ended {
    let run = match reader.run(id)? {
        Some(Ok(run)) => run,
        Some(Err((id, reason))) => {
            printer.object(&["id", "payload"], &unreadable(id, &reason))?;
            return Ok(Ending::Problems);
        }
        None => {
            return Err(format!("there is no run {id}, or it is forgotten; `runs` lists those that are kept").into());
        }
    };
    let moves: Vec<_> = moves(reader, id)?.iter().filter_map(moved).collect();
    let object = with(whole(&run), json!({ "moves": moves }));
    let keys = [
        "id",
        "status",
        "agent",
        "payload",
        "result",
        "error",
        "session",
        "parent",
        "mode",
        "called_back",
        "project_dir",
        "demands",
        "priority",
        "unique",
        "limit",
        "schedule",
        "runner",
        "fence",
        "attempts",
        "attempts_max",
        "created_at",
        "due",
        "deadline",
        "claimed_at",
        "started_at",
        "lease_until",
        "stop_requested_at",
        "ended_at",
    ];
    let known: Vec<_> = keys.into_iter().filter(|key| !object[*key].is_null()).collect();
    printer.object(&known, &object)?;
    printer.part(&["moved_at", "status", "runner", "fence", "attempts", "error"], &moves)?;
    Ok(Ending::Fine)
}

pub(crate) fn runners(reader: &Reader, printer: &mut Printer) -> Ended {
    let row = |runner: &RunnerSummary| {
        json!({
            "runner": runner.runner.0,
            "claimed": runner.claimed,
            "running": runner.running,
            "stopping": runner.stopping,
            "claimed_at": runner.claimed_at.map(Timestamp::as_micros),
            "lease_until": runner.lease_until.map(Timestamp::as_micros),
        })
    };
    let rows: Vec<_> = reader.runners()?.iter().map(row).collect();
    printer.list(&["runner", "claimed", "running", "stopping", "claimed_at", "lease_until"], &rows)?;
    Ok(Ending::Fine)
}

/// All that is known of a run.
fn whole(run: &Run) -> Value {
    with(asked(run), became(run))
}

/// What was asked for.
fn asked(run: &Run) -> Value {
    let draft = &run.draft;
    let milliseconds = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    json!({
        "id": run.id.to_string(),
        "agent": draft.agent,
        "payload": draft.payload.as_ref().map(payload),
        "project_dir": draft.project_dir,
        "session": run.session(),
        "parent": draft.parent,
        "mode": draft.mode.name(),
        "demands": words(&run.demands),
        "priority": draft.priority,
        "unique": draft.unique,
        "limit": draft.limit,
        "schedule": draft.schedule,
        "attempts_max": draft.attempts_max,
        "lease_ms": milliseconds(draft.lease),
        "claimed_within_ms": milliseconds(draft.claimed_within),
        "created_at": run.created_at.as_micros(),
        "due": draft.due.map(Timestamp::as_micros),
        "deadline": run.deadline.map(Timestamp::as_micros),
    })
}

/// What has become of it.
fn became(run: &Run) -> Value {
    json!({
        "status": run.status.name(),
        "runner": run.runner.as_ref().map(|runner| &runner.0),
        "fence": run.fence,
        "attempts": run.attempts,
        "epoch": run.epoch,
        "claimed_at": run.claimed_at.map(Timestamp::as_micros),
        "started_at": run.started_at.map(Timestamp::as_micros),
        "lease_until": run.lease_until.map(Timestamp::as_micros),
        "stop_requested_at": run.stop_requested_at.map(Timestamp::as_micros),
        "ended_at": run.ended_at.map(Timestamp::as_micros),
        "error": run.error,
        "result": run.result.as_deref().map(payload),
        "called_back": run.called_back.map(|id| id.to_string()),
    })
}

fn unreadable(id: RunId, reason: &str) -> Value {
    let told = format!("cannot be read: {reason}");
    json!({"id": id.to_string(), "unreadable": reason, "payload": {"text": told}})
}

/// Each demand in words; nothing when any runner will do.
fn words(demands: &Demands) -> Option<Vec<String>> {
    (!demands.is_empty()).then(|| demands.iter().map(ToString::to_string).collect())
}

/// How a run has moved, as far as the log of facts has it: that is written while there is a durable subscription. Its row
/// has only its last claim, and how often it was claimed and failed.
fn moves(reader: &Reader, id: RunId) -> Result<Vec<LoggedFact>, Box<dyn Error>> {
    let (mut moves, mut after) = (Vec::new(), FactOffset(0));
    loop {
        let facts = reader.facts(&Interest::everything(), after, FACTS_TOGETHER)?;
        let Some(last) = facts.last() else { return Ok(moves) };
        after = last.offset;
        moves.extend(facts.into_iter().filter(|logged| matches!(&logged.fact, Fact::RunMoved { run } if run.id == id)));
    }
}

fn moved(logged: &LoggedFact) -> Option<Value> {
    let Fact::RunMoved { run } = &logged.fact else { return None };
    let moved = json!({"offset": logged.offset.0, "moved_at": logged.at.as_micros()});
    Some(with(moved, became(run)))
}
