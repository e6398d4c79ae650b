//! Peers that link another SQLite than worksite does: each is a package of its own under `peers/`, built and run as a
//! child that prints its rate.

use crate::table::{Line, Row, Target};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A peer's program, built.
pub struct Peer(PathBuf);

impl Peer {
    /// Builds the peer beside this program's own build.
    ///
    /// # Errors
    /// Why it could not be built; then its line is skipped.
    fn build(name: &str) -> Result<Self, String> {
        let (manifest, target) = (manifest(name), target());
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut build = Command::new(cargo);
        build.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(manifest);
        eprintln!("building peer {name}, which takes minutes the first time");
        let built = build.arg("--target-dir").arg(&target).output().map_err(|error| error.to_string())?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr).lines().take(3).collect::<Vec<_>>().join("; ");
            return Err(format!("peer {name} does not build: {said}"));
        }
        Ok(Self(target.join("release").join(format!("peer-{name}"))))
    }

    /// Jobs a second of one run on a new file.
    ///
    /// # Errors
    /// What it said when it gave up; then its line is skipped.
    pub fn rate(&self, arguments: &[&str]) -> Result<f64, String> {
        let folder = tempfile::tempdir().expect("a folder for the peer");
        let mut run = Command::new(&self.0);
        let output =
            run.args(arguments).arg(folder.path().join("peer.db")).output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().map_err(|_| format!("no figure: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// A line against a peer, in turns; skipped, with the reason, when the peer does not work here.
pub fn line(
    peer: &str,
    name: &'static str,
    target: Target,
    repeats: usize,
    pair: impl Fn(&Peer) -> Result<(f64, f64), String>,
) -> Row {
    let pairs = Peer::build(peer).and_then(|peer| (0..repeats).map(|_| pair(&peer)).collect());
    match pairs {
        Ok(pairs) => Row::Ratio(Line { name: name.into(), unit: "messages/s", pairs, target: Some(target) }),
        Err(reason) => Row::Skipped { name, reason },
    }
}

fn manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name).join("Cargo.toml")
}

/// This program lies in `target/release/deps`.
fn target() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    let target = program.ancestors().nth(3).expect("it lies in a target folder");
    target.join("peers")
}
