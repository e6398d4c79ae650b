//! Durable work against apalis 1.0 on SQLite, as it is fastest without giving up durability: polls every 5 ms, batches of
//! 100, `synchronous = NORMAL` (ours too). It slows as its table grows, so both sides get a backlog of 2,000, always; ours
//! takes several such rounds, because one is over too soon to be measured.

use crate::Effort;
use crate::durable::{self, PEOPLE, send_and_settle};
use crate::machine::rate;
use crate::peers;
use crate::table::{Row, Target};
use worksite::prelude::*;

const BACKLOG: usize = 2_000;
const ROUNDS: usize = 100;

pub fn line(effort: Effort) -> Row {
    let rounds = ROUNDS / effort.divisor.min(10);
    peers::line("apalis", "apalis-2k", Target::AtLeast(100.0), effort.repeats, |peer| {
        Ok((ours(rounds), peer.rate(&[&BACKLOG.to_string()])?))
    })
}

fn ours(rounds: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the site");
    worksite::block_on(async {
        let site = durable::open(folder.path(), PEOPLE, SyncMode::Normal).await;
        send_and_settle(&site, BACKLOG).await;
        #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            send_and_settle(&site, BACKLOG).await;
        }
        let took = start.elapsed();
        site.shutdown().await;
        rate(rounds * BACKLOG, took)
    })
}
