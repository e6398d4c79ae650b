//! Workers own the views of the whole house: its tally, its inboxes, and who works in it.

use crate::printer::Printer;
use crate::{Ended, Ending, letter};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use worksite::prelude::*;
use worksite::store::{InboxSummary, Reader};

pub(crate) fn status(reader: &Reader, printer: &mut Printer) -> Ended {
    let (tally, inboxes) = (reader.tally()?, reader.inboxes()?);
    let status = json!({
        "people": reader.roster()?.len(),
        "inboxes_in_use": inboxes.len(),
        "waiting_bytes": inboxes.iter().map(|inbox| inbox.bytes).sum::<u64>(),
        "accepted": tally.accepted,
        "waiting": tally.waiting,
        "settled": tally.settled,
        "buried": tally.buried,
        "removed": tally.removed,
        "dropped": tally.dropped,
        "quarantined": tally.quarantined,
        "conserved": tally.is_conserved(),
    });
    let keys = [
        "people",
        "inboxes_in_use",
        "accepted",
        "waiting",
        "waiting_bytes",
        "settled",
        "buried",
        "removed",
        "dropped",
        "quarantined",
        "conserved",
    ];
    printer.object(&keys, &status)?;
    Ok(Ending::fine_if(tally.is_conserved()))
}

pub(crate) fn inboxes(reader: &Reader, printer: &mut Printer) -> Ended {
    let row = |inbox: InboxSummary| json!({"person": inbox.person.0, "name": inbox.name, "waiting": inbox.envelopes, "bytes": inbox.bytes});
    let rows: Vec<_> = reader.inboxes()?.into_iter().map(row).collect();
    printer.list(&["person", "name", "waiting", "bytes"], &rows)?;
    Ok(Ending::Fine)
}

pub(crate) fn list(reader: &Reader, printer: &mut Printer) -> Ended {
    let mut inboxes: BTreeMap<_, _> = reader.inboxes()?.into_iter().map(|inbox| (inbox.person, inbox)).collect();
    let mut rows = Vec::new();
    for Person { id, name, role } in reader.roster()?.people() {
        let waiting = inboxes.remove(id);
        rows.push(row(reader, *id, Some(name), role, true, waiting.as_ref())?);
    }
    // Those who left, with their mail kept.
    for (id, inbox) in &inboxes {
        rows.push(row(reader, *id, inbox.name.as_deref(), "", false, Some(inbox))?);
    }
    printer.list(&["person", "name", "role", "active", "waiting", "bytes", "states"], &rows)?;
    Ok(Ending::Fine)
}

fn row(
    reader: &Reader,
    person: PersonId,
    name: Option<&str>,
    role: &str,
    active: bool,
    inbox: Option<&InboxSummary>,
) -> Result<Value, worksite::model::StoreError> {
    let states = reader.states(person)?;
    let states = states.iter().map(|(routine, state)| json!({"routine": routine, "state": letter::payload(state)}));
    Ok(json!({
        "person": person.0,
        "name": name,
        "role": role,
        "active": active,
        "waiting": inbox.map_or(0, |inbox| inbox.envelopes),
        "bytes": inbox.map_or(0, |inbox| inbox.bytes),
        "states": states.collect::<Vec<_>>(),
    }))
}
