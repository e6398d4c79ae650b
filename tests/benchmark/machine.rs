//! The machine owns what figures depend on: the clock that measures them and the disk they wait for.

use std::ffi::OsStr;
use std::io::{Seek, Write};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long something took.
pub fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
    let start = Instant::now();
    let done = what();
    (done, start.elapsed())
}

/// What this program prints when it is started anew with this flag and word: for what needs a process of its own.
pub fn alone(flag: &str, word: impl AsRef<OsStr>) -> Vec<f64> {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program).arg(flag).arg(word).output().expect("it runs");
    let figures = String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::parse).collect();
    match figures {
        Ok(figures) if output.status.success() => figures,
        _ => panic!("no figures: {output:?}"),
    }
}

/// Things a second.
pub fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// What an overwrite of 4 KiB with a sync costs on the disk the sites lie on.
pub fn disk() -> String {
    let mut file = tempfile::tempfile().expect("a file for measuring the disk");
    let page = [7_u8; 4096];
    let mut sync = || {
        let (written, took) =
            timed(|| file.rewind().and_then(|()| file.write_all(&page)).and_then(|()| file.sync_data()));
        written.expect("the disk can be written");
        took
    };
    let mut times: Vec<_> = (0..200).map(|_| sync()).collect();
    times.sort();
    format!("4 KiB overwrite and sync: median {} µs, p99 {} µs", times[100].as_micros(), times[197].as_micros())
}
