//! Jobs own the views of flows: their workers, the jobs that were posted to them, and one job with all that is there of it.

use crate::arguments::WhichJobs;
use crate::letter::{payload, with};
use crate::printer::Printer;
use crate::site::People;
use crate::{Ended, Ending};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use worksite::model::flow::{Flow, FlowWaiting, JobNotes, Post};
use worksite::prelude::*;
use worksite::store::{FlowSummary, Reader};

/// How many of the jobs it posted are shown with a job.
const POSTED_MAX: usize = 100;

pub(crate) fn flows(reader: &Reader, printer: &mut Printer) -> Ended {
    let mut workers = BTreeMap::new();
    for person in reader.roster()?.people() {
        if let Some(flow) = Flow::named_in(&person.role) {
            let none = FlowSummary {
                worker: person.id,
                name: Some(person.name.to_string()),
                flow: flow.into(),
                running: 0,
                completed: 0,
                failed: 0,
                cancelled: 0,
            };
            workers.insert((person.id, none.flow.clone()), none);
        }
    }
    workers.extend(reader.flows()?.into_iter().map(|summary| ((summary.worker, summary.flow.clone()), summary)));
    let posts: BTreeMap<_, _> = reader.inboxes()?.into_iter().map(|inbox| (inbox.person, inbox.envelopes)).collect();
    let row = |summary: &FlowSummary| {
        json!({
            "worker": summary.worker.0,
            "name": summary.name,
            "flow": summary.flow,
            "posts": posts.get(&summary.worker).copied().unwrap_or(0),
            "running": summary.running,
            "completed": summary.completed,
            "failed": summary.failed,
            "cancelled": summary.cancelled,
        })
    };
    let rows: Vec<_> = workers.values().map(row).collect();
    printer.list(&["worker", "name", "flow", "posts", "running", "completed", "failed", "cancelled"], &rows)?;
    Ok(Ending::Fine)
}

pub(crate) fn list(reader: &Reader, which: WhichJobs, printer: &mut Printer) -> Ended {
    let people = People::of(reader)?;
    let worker = which.worker.map(|worker| named(&people, &worker)).transpose()?;
    let (status, after) = (which.status, which.after);
    let filter = JobFilter { worker, flow: which.flow, status, parent: which.parent, open: false, after };
    let rows: Vec<_> =
        reader.jobs(&filter, which.limit as usize)?.iter().map(|job| with(entry(job, &people), notes(job))).collect();
    printer.list(&["id", "worker_name", "flow", "status", "created_at", "ended_at", "error"], &rows)?;
    printer.say_if_full(&rows, which.limit, "--after")?;
    Ok(Ending::fine_if(rows.iter().all(|row| row["unreadable"].is_null())))
}

pub(crate) fn job(reader: &Reader, id: JobId, printer: &mut Printer) -> Ended {
    let people = People::of(reader)?;
    let (job, post) = find(reader, id)?;
    let waiting = waiting(reader, &job)?;
    let posted = JobFilter { parent: Some(id), ..JobFilter::default() };
    let posted: Vec<_> = reader.jobs(&posted, POSTED_MAX)?.iter().map(|job| entry(job, &people)).collect();
    let post = post.as_ref().map(|post| json!({"routine": post.routine, "slot": post.slot, "type": post.type_name()}));
    let more = json!({"post": post, "waiting": waiting, "posted": posted});
    let notes = notes(&job);
    let object = with(with(entry(&job, &people), notes.clone()), more);
    let keys = [
        "id",
        "worker",
        "worker_name",
        "flow",
        "status",
        "parent",
        "created_at",
        "ended_at",
        "deadline",
        "error",
        "unreadable",
    ];
    let known: Vec<_> = keys.into_iter().filter(|key| !object[*key].is_null()).collect();
    printer.object(&known, &object)?;
    printer.part(&["routine", "slot", "since_at", "attempt", "due", "payload"], &slots(&object))?;
    printer.part(&["id", "worker_name", "flow", "status", "created_at", "ended_at", "error"], &posted)?;
    printer.part(&["noted_at", "routine", "action"], object["trace"].as_array().map_or(&[], Vec::as_slice))?;
    printer.part(&["note", "value"], &said(&notes))?;
    Ok(Ending::fine_if(object["unreadable"].is_null()))
}

/// Who is meant. Those who were purged are nobody any more, and their jobs still name their number.
fn named(people: &People, worker: &str) -> Result<PersonId, Box<dyn Error>> {
    people.find(worker).or_else(|error| worker.parse().map(PersonId).map_err(|_| error))
}

/// A job, and its post if that has not been taken. The owner may take it between one look and the next: then there is a row.
fn find(reader: &Reader, id: JobId) -> Result<(Job, Option<Post>), Box<dyn Error>> {
    if let Some(job) = reader.job(id)? {
        return Ok((job, None));
    }
    if let Some((job, post)) = pending(reader, id)? {
        return Ok((job, Some(post)));
    }
    let job = reader.job(id)?;
    let nowhere = || format!("there is no {id}, or it is forgotten; `jobs` lists those that are kept");
    Ok((job.ok_or_else(nowhere)?, None))
}

/// A job whose post waits in the inbox of its worker: there is no row of it yet.
fn pending(reader: &Reader, id: JobId) -> Result<Option<(Job, Post)>, Box<dyn Error>> {
    let waiting = id.envelope().map(|envelope| reader.envelope(envelope)).transpose()?.flatten();
    let Some(envelope) = waiting.map(|waiting| waiting.delivery.envelope) else { return Ok(None) };
    let roster = reader.roster()?;
    let flow = roster.get(envelope.draft.to).and_then(|person| Flow::named_in(&person.role));
    let Some((job, post)) = Job::waiting(id, &envelope, flow) else { return Ok(None) };
    let metadata = post.metadata.as_deref().and_then(|metadata| serde_json::from_str(metadata).ok());
    let notes = JobNotes { metadata, ..JobNotes::default() };
    Ok(Some((Job { body: Some(Payload::encode(&notes)?), ..job }, post)))
}

/// What its row says of a job.
fn entry(job: &Job, people: &People) -> Value {
    json!({
        "id": job.id.to_string(),
        "envelope": job.id.envelope().map(|envelope| envelope.0),
        "place": job.id.place(),
        "worker": job.worker.0,
        "worker_name": people.name(job.worker),
        "flow": &*job.flow,
        "status": job.status.name(),
        "created_at": job.created_at.as_micros(),
        "ended_at": job.ended_at.map(Timestamp::as_micros),
        "deadline": job.deadline.map(Timestamp::as_micros),
        "parent": job.parent.map(|parent| parent.to_string()),
        "error": job.error,
    })
}

/// What a job carries along.
fn notes(job: &Job) -> Value {
    let read = job.body.as_ref().map_or_else(|| Ok(JobNotes::default()), Payload::decode::<JobNotes>);
    let notes = match read {
        Ok(notes) => notes,
        Err(error) => return json!({ "unreadable": error.to_string() }),
    };
    let trace = notes.trace.iter();
    let trace = trace.map(|entry| json!({"noted_at": entry.at, "routine": entry.routine, "action": entry.action}));
    json!({
        "metadata": notes.metadata,
        "data": notes.data,
        "trace": trace.collect::<Vec<_>>(),
        "trace_lost": notes.trace_lost,
        "output": notes.output,
        "output_lost": notes.output_lost,
    })
}

/// What waits of a job: data in slots, and turns to come. A row that is damaged is found by `check`.
fn waiting(reader: &Reader, job: &Job) -> Result<Vec<Value>, Box<dyn Error>> {
    if job.status.is_final() {
        return Ok(Vec::new());
    }
    let states = reader.states(job.worker)?;
    let read = states.iter().filter_map(|(name, row)| FlowWaiting::read(&job.flow, name, row)?.ok());
    let its = read.filter(|waiting| waiting.jobs.ids().contains(&job.id));
    let told = its.map(|waiting| {
        let data = waiting.data.iter().map(|(slot, datum)| json!({"slot": slot, "payload": payload(datum)}));
        json!({
            "routine": waiting.routine,
            "data": data.collect::<Vec<_>>(),
            "since_at": waiting.since.as_micros(),
            "attempt": waiting.attempt,
            "due": waiting.due.map(Timestamp::as_micros),
        })
    });
    Ok(told.collect())
}

/// A line for each datum that waits; for a post that does, one.
fn slots(job: &Value) -> Vec<Value> {
    let mut lines = Vec::new();
    if let Value::Object(post) = &job["post"] {
        lines.push(json!({"routine": post["routine"], "slot": post["slot"], "since_at": job["created_at"]}));
    }
    for waiting in job["waiting"].as_array().into_iter().flatten() {
        let data = waiting["data"].as_array().into_iter().flatten();
        lines.extend(data.map(|datum| with(waiting.clone(), datum.clone())));
    }
    lines
}

/// Everything a job carries along but its trace, as text: it is JSON of the application's own.
fn said(notes: &Value) -> Vec<Value> {
    let none = Map::new();
    let line = |note: &str, value: &Value| json!({"note": note, "value": value.as_str().map_or_else(|| value.to_string(), String::from)});
    let own = ["metadata", "output"].map(|note| (note, &notes[note]));
    let own = own.into_iter().filter(|(_, value)| !value.is_null() && value.as_str() != Some(""));
    let data = notes["data"].as_object().unwrap_or(&none).iter().map(|(name, value)| (name.as_str(), value));
    own.chain(data).map(|(note, value)| line(note, value)).collect()
}
