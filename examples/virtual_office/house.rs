//! Owns the site of the office: a file, opened on one thread or on several, copied, replaced.

use crate::program::Done;
use std::path::Path;
use worksite::prelude::*;
use worksite_simulation::office::{
    Charter, ChronicleRoutine, DeskRoutine, LedgerRoutine, Office, Transcript, retention,
};

/// An office and the site it is in.
pub struct Open {
    pub office: Office,
    pub site: Worksite,
}

/// How a site is opened.
#[derive(Clone, Copy)]
pub struct How {
    /// 1: everything on one thread.
    pub threads: u64,
    /// What can be computed again need not survive the machine, only the process; what was paid for had better.
    pub sync: SyncMode,
}

async fn open_site(path: &Path, clock: &ManualClock, how: How) -> Result<Worksite, OpenError> {
    let builder = Worksite::builder().routine(LedgerRoutine).routine(DeskRoutine).routine(ChronicleRoutine);
    let builder = builder.clock(clock.clock()).retention(retention());
    let builder = builder.store(SqliteOptions { sync: how.sync, ..SqliteOptions::default() });
    if how.threads == 1 { builder.open_local(path).await } else { builder.open(path).await }
}

/// Opens the office, founds it if there is none.
pub async fn open(path: &Path, charter: &Charter, how: How) -> Done<Open> {
    let clock = ManualClock::default();
    let site = open_site(path, &clock, how).await?;
    let office = Office::open((*site).clone(), clock, charter.clone()).await;
    let office = office.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Open { office, site })
}

/// Opens whatever office is there.
pub async fn resume(path: &Path, how: How) -> Done<Open> {
    if !path.exists() {
        return Err(format!("{} is not there; run the office first", path.display()).into());
    }
    let clock = ManualClock::default();
    let site = open_site(path, &clock, how).await?;
    let office = Office::resume((*site).clone(), clock).await?;
    Ok(Open { office, site })
}

/// Makes a new site of a transcript's past before this tick.
pub async fn replay(transcript: &Transcript, tick: u64, path: &Path, how: How) -> Done<Open> {
    if path.exists() {
        return Err(format!("{} is there already; give another name", path.display()).into());
    }
    let clock = ManualClock::default();
    let site = open_site(path, &clock, how).await?;
    let office = transcript.replay(tick, (*site).clone(), clock).await?;
    Ok(Open { office, site })
}
