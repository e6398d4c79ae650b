//! Durable work against effectum 0.7, a queue of jobs in SQLite, at its best: its file is put into the write-ahead log it
//! means to have. It keeps its file with `synchronous = NORMAL`; so does ours here, except where a line says `full`.
//!
//! `effectum-64`: 64 asks in flight against 64 producers that add a job each, both until everything is settled.
//! `effectum-batch`: a thousand in a change against a thousand in an `add_jobs`, performed up to 1,024 at once.
//! Both get 200 bytes and add up what they got. Ours keeps a state of 128 bytes a worker, effectum a history of its jobs.

use crate::Effort;
use crate::durable::{self, Load, PEOPLE, send_and_settle};
use crate::machine::rate;
use crate::peers::Peer;
use crate::table::{Line, Row, Target};
use worksite::prelude::*;

pub fn singly(effort: Effort, sync: SyncMode) -> Row {
    let name = if sync == SyncMode::Normal { "effectum-64" } else { "effectum-64-full" };
    let messages = 100_000 / effort.divisor;
    let load = Load { messages, in_flight: 64, sync, ..Load::default() };
    against(name, "single", messages, effort, Target::AtLeast(4.0), || durable::ours(load))
}

pub fn in_batches(effort: Effort, sync: SyncMode) -> Row {
    let name = if sync == SyncMode::Normal { "effectum-batch" } else { "effectum-batch-full" };
    let messages = 400_000 / effort.divisor;
    against(name, "batch", messages, effort, Target::AtLeast(8.0), || ours_in_batches(messages, sync))
}

fn against(
    name: &'static str,
    mode: &str,
    messages: usize,
    effort: Effort,
    target: Target,
    ours: impl Fn() -> f64,
) -> Row {
    let peer = match Peer::build("effectum") {
        Ok(peer) => peer,
        Err(reason) => return Row::Skipped { name, reason },
    };
    let jobs = messages.to_string();
    let pairs = (0..effort.repeats).map(|_| (ours(), peer.rate(&[mode, &jobs]))).collect();
    Row::Ratio(Line { name: name.into(), unit: "messages/s", pairs, target: Some(target) })
}

fn ours_in_batches(messages: usize, sync: SyncMode) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the site");
    worksite::block_on(async {
        let site = durable::open(folder.path(), PEOPLE, sync).await;
        // Everybody is awake before it counts, as effectum's worker is.
        send_and_settle(&site, PEOPLE).await;
        #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
        let start = std::time::Instant::now();
        send_and_settle(&site, messages).await;
        let took = start.elapsed();
        assert_eq!(site.tally().await.expect("it counts").settled, (messages + PEOPLE) as u64);
        site.shutdown().await;
        rate(messages, took)
    })
}
