//! Durable work against apalis 1.0 on SQLite, as it is fastest without giving up durability: polls every 5 ms, batches of
//! 100, `synchronous = NORMAL` (ours too). It slows as its table grows, so both sides get a backlog of 2,000, always; ours
//! takes several such rounds, because one is over too soon to be measured.

use crate::Effort;
use crate::durable::{self, PEOPLE, send_and_settle};
use crate::machine::rate;
use crate::peers::Peer;
use crate::table::{Line, Row, Target};
use worksite::prelude::*;

const NAME: &str = "apalis-2k";
const BACKLOG: usize = 2_000;
const ROUNDS: usize = 100;

pub fn line(effort: Effort) -> Row {
    let peer = match Peer::build("apalis") {
        Ok(peer) => peer,
        Err(reason) => return Row::Skipped { name: NAME, reason },
    };
    let (jobs, rounds) = (BACKLOG.to_string(), ROUNDS / effort.divisor.min(10));
    let pairs = (0..effort.repeats).map(|_| (ours(rounds), peer.rate(&[&jobs]))).collect();
    Row::Ratio(Line { name: NAME.into(), unit: "messages/s", pairs, target: Some(Target::AtLeast(100.0)) })
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
