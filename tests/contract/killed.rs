//! Lives that end by `kill -9`: a test of this room, run in a process of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Runs this test in a child with these variables, and lets `hear` each line it prints until that is enough: then the child is
/// killed. One that ends by itself before is fine.
pub fn live_and_die(test: &str, variables: &[(&str, &dyn AsRef<OsStr>)], mut hear: impl FnMut(&str) -> bool) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .envs(variables.iter().map(|(name, value)| (name, value.as_ref())))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if hear(&line.unwrap()) {
            // SIGKILL on Unix: no destructor, no flush, no goodbye.
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
}
