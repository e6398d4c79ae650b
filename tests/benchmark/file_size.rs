//! How a site's file grows with what has passed through it: bytes of the closed file after ten million messages were
//! settled, against its own after the first million. Ten thousand come in a change, and the next when these are settled: a
//! file is as large as what waited in it when that was most.

use crate::Effort;
use crate::durable::{self, PEOPLE, recipient_of};
use crate::table::{Line, Target};
use std::path::Path;
use worksite::prelude::*;

const WAITING: usize = 10_000;

pub fn line(effort: Effort) -> Line {
    let first = 1_000_000 / effort.divisor.min(50);
    // Once at full size: it is a size, not a time.
    let repeats = if effort.divisor == 1 { 1 } else { effort.repeats };
    let pairs = (0..repeats).map(|_| sizes(first)).collect();
    Line { name: "file-10m".into(), unit: "bytes", pairs, target: Some(Target::AtMost(1.10)) }
}

/// After ten times as many, and after so many.
fn sizes(first: usize) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a folder for the site");
    let early = size_after(folder.path(), first);
    let late = size_after(folder.path(), 9 * first);
    (late, early)
}

fn size_after(folder: &Path, messages: usize) -> f64 {
    worksite::block_on(async {
        let site = durable::open(folder, PEOPLE, SyncMode::Normal).await;
        let work = durable::work();
        for _ in 0..messages / WAITING {
            let batch = (0..WAITING).map(|index| Draft::of(recipient_of(index, PEOPLE), work.clone()));
            site.send_all(batch.collect()).await.expect("accepted");
            site.quiesce().await.expect("settled");
        }
        site.shutdown().await;
    });
    size(folder) as f64
}

/// Bytes of the database and its write-ahead log.
pub fn size(folder: &Path) -> u64 {
    let bytes = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
    bytes("site.db") + bytes("site.db-wal")
}
