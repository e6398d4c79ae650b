//! How a site's file grows with what has passed through it: bytes of the closed file after ten million messages were
//! settled, against its own after the first million.

use crate::Effort;
use crate::durable::{self, PEOPLE, send_and_settle};
use crate::table::{Line, Target};
use std::path::Path;
use worksite::prelude::*;

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
        send_and_settle(&site, messages).await;
        site.shutdown().await;
    });
    size(folder) as f64
}

/// Bytes of the database and its write-ahead log.
pub fn size(folder: &Path) -> u64 {
    let bytes = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
    bytes("site.db") + bytes("site.db-wal")
}
