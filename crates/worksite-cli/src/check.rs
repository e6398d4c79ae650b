//! The check owns showing what [`Reader::check`] says.

use crate::printer::Printer;
use crate::{Ended, Ending};
use serde_json::json;
use worksite::store::Reader;

pub(crate) fn check(reader: &Reader, printer: &mut Printer) -> Ended {
    let report = reader.check()?;
    let object = json!({
        "people": report.people,
        "envelopes": report.envelopes,
        "states": report.states,
        "dead_letters": report.dead_letters,
        "threads": report.threads,
        "history": report.history,
        "keys": report.keys,
        "quarantine": report.quarantine,
        "runs": report.runs,
        "jobs": report.jobs,
        "problems": report.problems,
        "sound": report.is_sound(),
    });
    let keys = [
        "people",
        "envelopes",
        "states",
        "dead_letters",
        "threads",
        "history",
        "keys",
        "quarantine",
        "runs",
        "jobs",
        "sound",
    ];
    printer.object(&keys, &object)?;
    for problem in &report.problems {
        printer.say(problem)?;
    }
    Ok(Ending::fine_if(report.is_sound()))
}
