//! Facts owns the log that durable subscriptions read: a page of it, or all that comes from now on.

use crate::arguments::Page;
use crate::printer::Printer;
use crate::{Ended, Ending};
use serde_json::{Value, json};
use std::time::Duration;
use worksite::model::{Fact, FactOffset, Interest, LoggedFact};
use worksite::store::Reader;

/// How often the log is looked at for more: another process writes it, and cannot wake this one.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn facts(reader: &Reader, page: Page, follow: bool, printer: &mut Printer) -> Ended {
    let columns = ["offset", "committed_at", "person", "envelope", "fact", "what"];
    let mut after = FactOffset(page.after);
    loop {
        let facts = reader.facts(&Interest::everything(), after, page.limit as usize)?;
        let rows: Vec<_> = facts.iter().map(row).collect();
        if !follow || !rows.is_empty() {
            printer.list(&columns, &rows)?;
            printer.finish()?;
        }
        after = facts.last().map_or(after, |last| last.offset);
        if !follow {
            if rows.is_empty() && reader.cursors()?.is_empty() {
                printer.say("facts are logged while there is a durable subscription; there is none")?;
            }
            return Ok(Ending::Fine);
        }
        if facts.is_empty() {
            #[expect(clippy::disallowed_methods, reason = "waits for another process, which cannot wake this one")]
            std::thread::sleep(LOOK);
        }
    }
}

pub(crate) fn cursors(reader: &Reader, printer: &mut Printer) -> Ended {
    let row = |cursor: &worksite::model::Cursor| {
        json!({
            "name": cursor.name, "position": cursor.position.0, "last": cursor.last.0, "missed": cursor.missed,
        })
    };
    let rows: Vec<_> = reader.cursors()?.iter().map(row).collect();
    printer.list(&["name", "position", "last", "missed"], &rows)?;
    Ok(Ending::Fine)
}

fn row(logged: &LoggedFact) -> Value {
    let (fact, what) = match &logged.fact {
        Fact::Joined { person } => ("joined", person.name.to_string()),
        Fact::Renamed { person } => ("renamed", person.name.to_string()),
        Fact::Left { .. } => ("left", String::new()),
        Fact::Accepted { envelope } => ("accepted", envelope.draft.payload.type_name.to_string()),
        Fact::Settled { routine, .. } => ("settled", routine.to_string()),
        Fact::Retried { retry, .. } => ("retried", retry.failure.as_ref().map(ToString::to_string).unwrap_or_default()),
        Fact::Buried { burial, .. } => ("buried", burial.failure.to_string()),
        Fact::Removed { .. } => ("removed", String::new()),
        Fact::Dropped { .. } => ("dropped", String::new()),
        Fact::Exhumed { .. } => ("exhumed", String::new()),
        Fact::Paused { .. } => ("paused", String::new()),
        Fact::Resumed { .. } => ("resumed", String::new()),
        Fact::JobEnded { job, status, .. } => ("job", format!("{job} {status}")),
        Fact::RunMoved { run } => ("run", format!("{} {}", run.id, run.status)),
        Fact::Cleared => ("cleared", String::new()),
        Fact::Announced { announcement, .. } => ("announced", announcement.topic.to_string()),
        other => ("other", format!("{other:?}")),
    };
    let envelope = match &logged.fact {
        Fact::Retried { retry, .. } => Some(retry.id.0),
        Fact::Removed { id, .. } | Fact::Dropped { id, .. } | Fact::Exhumed { id } => Some(id.0),
        fact => fact.envelope().map(|envelope| envelope.id.0),
    };
    json!({
        "offset": logged.offset.0,
        "committed_at": logged.at.as_micros(),
        "person": logged.fact.person().map(|person| person.0),
        "envelope": envelope,
        "fact": fact,
        "what": what,
    })
}
