//! Durable work against effectum 0.7, a queue of jobs in SQLite, at its best: its file is put into the write-ahead log it
//! means to have. It keeps its file with `synchronous = NORMAL`; so does ours here, except where a line says `full`.
//!
//! Where a line says `ahead`, ours are pure routines that run ahead of the disk.
//!
//! `effectum-64`: 64 asks in flight against 64 producers that add a job each, both until everything is settled.
//! `effectum-batch`: a thousand in a change against a thousand in an `add_jobs`, performed up to 1,024 at once.
//! Both get 200 bytes and add up what they got. Ours keeps a state of 128 bytes a worker, effectum a history of its jobs.

use crate::Effort;
use crate::durable::{self, Load, PEOPLE, send_and_settle};
use crate::machine::rate;
use crate::peers;
use crate::table::{Row, Target};
use worksite::prelude::*;

pub fn singly(name: &'static str, effort: Effort, sync: SyncMode, ahead: bool) -> Row {
    let messages = 100_000 / effort.divisor;
    let load = Load { messages, in_flight: 64, sync, ahead, ..Load::default() };
    peers::line("effectum", name, Target::AtLeast(4.0), effort.repeats, |peer| {
        Ok((durable::ours(load), peer.rate(&["single", &messages.to_string()])?))
    })
}

pub fn in_batches(name: &'static str, effort: Effort, sync: SyncMode, ahead: bool) -> Row {
    let messages = 400_000 / effort.divisor;
    peers::line("effectum", name, Target::AtLeast(8.0), effort.repeats, |peer| {
        Ok((ours_in_batches(messages, sync, ahead), peer.rate(&["batch", &messages.to_string()])?))
    })
}

fn ours_in_batches(messages: usize, sync: SyncMode, ahead: bool) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the site");
    worksite::block_on(async {
        let site = durable::open_with(durable::builder_of(ahead), folder.path(), PEOPLE, sync).await;
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
