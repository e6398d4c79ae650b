//! Redriving owns sending dead letters again: the one command that works on a site, as its owner for a moment.
//!
//! All workers are manual meanwhile, so that nobody performs anything: what is sent again waits for the application.
//! Nothing is pruned, and the limits of inboxes are the defaults, because only the application knows its own.

use crate::printer::Printer;
use crate::{Ended, Ending, site};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use worksite::prelude::*;
use worksite::store;

/// How many are sent again in one commit.
const TOGETHER_MAX: usize = 1_000;

/// Sends these dead letters again; all, if none is named.
pub(crate) fn redrive(file: &Path, ids: Vec<i64>, printer: &mut Printer) -> Ended {
    let ids: BTreeSet<_> = if ids.is_empty() { all(file)? } else { ids.into_iter().map(EnvelopeId).collect() };
    if ids.is_empty() {
        printer.say("there are no dead letters")?;
        return Ok(Ending::Problems);
    }
    // The file is a site that is up to date, or opening it as its owner would change it.
    drop(site::open(file)?);
    let rows = worksite::block_on(send_again(file, ids.into_iter().collect()))?;
    printer.list(&["id", "new_id", "kept"], &rows)?;
    Ok(Ending::fine_if(rows.iter().all(|row| row["kept"].is_null())))
}

fn all(file: &Path) -> Result<BTreeSet<EnvelopeId>, Box<dyn Error>> {
    let (reader, mut ids) = (site::open(file)?, BTreeSet::new());
    loop {
        let after = ids.last().copied().unwrap_or_default();
        let page = reader.dead_letters(after, TOGETHER_MAX)?;
        if page.is_empty() {
            return Ok(ids);
        }
        ids.extend(page.iter().map(|letter| letter.delivery.id()));
    }
}

async fn send_again(file: &Path, ids: Vec<EnvelopeId>) -> Result<Vec<Value>, Box<dyn Error>> {
    let for_ever = Keep { age: Duration::MAX, rows: u64::MAX };
    let retention = Retention {
        keys: for_ever,
        dead_letters: for_ever,
        history: for_ever,
        quarantine: for_ever,
        facts: for_ever,
        jobs: for_ever,
        people: for_ever,
        runs_completed: for_ever,
        runs_failed: for_ever,
        runs_stopped: for_ever,
        sessions: for_ever,
    };
    let site = Worksite::builder().manual(|_| true).retention(retention).open(file).await.map_err(in_words)?;
    let mut rows = Vec::new();
    for together in ids.chunks(TOGETHER_MAX) {
        match site.redrive(together.to_vec()).await {
            Ok(receipts) => rows.extend(sent(together, &receipts)),
            // One that cannot go keeps the others: each alone.
            Err(_) => {
                for id in together {
                    match site.redrive(vec![*id]).await {
                        Ok(receipts) => rows.extend(sent(&[*id], &receipts)),
                        Err(error) => rows.push(json!({"id": id.0, "new_id": null, "kept": error.to_string()})),
                    }
                }
            }
        }
    }
    site.shutdown().await;
    Ok(rows)
}

/// What became of each. There are fewer receipts when one was sent under the same key meanwhile.
fn sent(ids: &[EnvelopeId], receipts: &[Receipt]) -> Vec<Value> {
    let paired = ids.len() == receipts.len();
    let new = |place: usize| receipts.get(place).filter(|_| paired).map(|receipt| receipt.id.0);
    ids.iter().enumerate().map(|(place, id)| json!({"id": id.0, "new_id": new(place), "kept": null})).collect()
}

/// An owner that lives is named, and what to do about it.
fn in_words(error: OpenError) -> Box<dyn Error> {
    match error {
        OpenError::Store(store::OpenError::Locked { owner, .. }) => {
            format!("process {owner} owns the site: stop it and try again, or redrive from within it; nothing was done")
                .into()
        }
        error => error.into(),
    }
}
