//! Owns the offices that contract tests run: small companies on both stores, on one thread and on several.

mod determinism;
mod export;
mod happenings;
mod hub;
mod people;
mod planning;
mod replay;
mod restart;

use std::path::Path;
use worksite::store::{SqliteOptions, SqliteStore};
use worksite_model::Store;
use worksite_runtime::{Builder, ManualClock, Runtime};
use worksite_simulation::office::{
    Charter, ChronicleRoutine, Colleague, DeskRoutine, Hours, LedgerRoutine, Office, Planning, RunEnd, retention,
};
use worksite_simulation::{MemoryDisk, MemoryStore};

/// Ticks of a day.
pub const DAY: u64 = 480;

/// Six people in two teams, one of them abroad; the first leads.
pub fn charter(seed: u64) -> Charter {
    let people = ["Ada", "Bob", "Cleo", "Dan", "Eve", "Finn"];
    let colleagues = people.iter().zip(1..).map(|(name, id)| {
        let team = if id % 2 == 0 { "build" } else { "sell" };
        let zone = if id == 6 { "America/New_York" } else { "Europe/Vienna" };
        let hours = Hours::parse("09:00-17:00", zone).unwrap();
        Colleague { team: team.into(), is_head: id == 1, hours, ..Colleague::new(id, *name) }
    });
    let mut charter = Charter::new(seed, colleagues.collect());
    charter.calendar.time_zone = "Europe/Vienna".into();
    charter.outside = vec!["client@example.org".into()];
    charter
}

/// A house with the routines of an office.
pub fn house(clock: &ManualClock) -> Builder {
    let builder = Runtime::builder().routine(LedgerRoutine).routine(DeskRoutine).routine(ChronicleRoutine);
    builder.clock(clock.clock()).retention(retention())
}

pub async fn open_on(store: Box<dyn Store>, charter: Charter) -> Office {
    let clock = ManualClock::default();
    let runtime = house(&clock).start(store).await.unwrap();
    Office::open(runtime, clock, charter).await.unwrap()
}

pub async fn in_memory(disk: &MemoryDisk, charter: Charter) -> Office {
    open_on(Box::new(MemoryStore::open(disk)), charter).await
}

pub async fn on_file(path: &Path, charter: Charter) -> Office {
    open_on(Box::new(SqliteStore::open(path, SqliteOptions::default()).unwrap()), charter).await
}

pub async fn run(office: &mut Office, tick: u64) {
    assert_eq!(office.run_to(tick, &Planning::default(), |_, _| true).await.unwrap(), RunEnd::Reached);
}

pub async fn digest(office: &Office) -> String {
    office.transcript().await.unwrap().digest()
}
