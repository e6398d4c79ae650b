//! Mail owns the lists of envelopes: somebody's inbox, the dead letters, a thread.

use crate::arguments::Page;
use crate::letter::{envelope, with};
use crate::printer::Printer;
use crate::site::People;
use crate::{Ended, Ending};
use serde_json::json;
use worksite::prelude::*;
use worksite::store::Reader;

pub(crate) fn inbox(reader: &Reader, person: &str, page: Page, printer: &mut Printer) -> Ended {
    let people = People::of(reader)?;
    let person = people.find(person)?;
    let mail = reader.waiting(person, EnvelopeId(page.after), page.limit as usize)?;
    let rows: Vec<_> = mail
        .iter()
        .map(|mail| match mail {
            Ok(mail) => {
                let due = mail.due.map(Timestamp::as_micros);
                let delivery = &mail.delivery;
                with(envelope(&delivery.envelope, &people), json!({"attempt": delivery.attempt, "due": due}))
            }
            Err(reason) => json!({"unreadable": reason, "payload": {"text": format!("cannot be read: {reason}")}}),
        })
        .collect();
    let columns = ["id", "from_name", "priority", "attempt", "due", "accepted_at", "kind", "thread", "payload"];
    printer.list(&columns, &rows)?;
    printer.say_if_full(&rows, page.limit, "--after")?;
    Ok(Ending::fine_if(mail.iter().all(Result::is_ok)))
}

pub(crate) fn dead(reader: &Reader, page: Page, printer: &mut Printer) -> Ended {
    let people = People::of(reader)?;
    let letters = reader.dead_letters(EnvelopeId(page.after), page.limit as usize)?;
    let row = |letter: &worksite::model::DeadLetter| {
        let more = json!({
            "attempts": letter.delivery.attempt,
            "failure": letter.failure.to_string(),
            "buried_at": letter.buried_at.as_micros(),
        });
        with(envelope(&letter.delivery.envelope, &people), more)
    };
    let rows: Vec<_> = letters.iter().map(row).collect();
    printer.list(&["id", "to_name", "from_name", "attempts", "buried_at", "failure", "payload"], &rows)?;
    printer.say_if_full(&rows, page.limit, "--after")?;
    Ok(Ending::Fine)
}

pub(crate) fn thread(reader: &Reader, name: &str, page: Page, printer: &mut Printer) -> Ended {
    let people = People::of(reader)?;
    let entries = reader.thread(name, EnvelopeId(page.after), page.limit as usize)?;
    let row = |entry: &worksite::model::ThreadEntry| {
        let standing = format!("{:?}", entry.standing).to_lowercase();
        with(envelope(&entry.envelope, &people), json!({ "standing": standing }))
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    printer.list(&["id", "from_name", "to_name", "standing", "accepted_at", "kind", "payload"], &rows)?;
    printer.say_if_full(&rows, page.limit, "--after")?;
    Ok(Ending::Fine)
}
