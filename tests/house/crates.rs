//! Owns the rules about crates: arrows point down, and each foreign crate has one home.

use crate::sources::root;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

static METADATA: LazyLock<Metadata> =
    LazyLock::new(|| MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec().unwrap());

/// Normal dependencies of our crates, by crate.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let ours = METADATA.workspace_packages().into_iter().filter(|package| package.name.starts_with("worksite"));
    ours.map(|package| {
        let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        (package.name.to_string(), normal.map(|dependency| dependency.name.clone()).collect())
    })
    .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn arrows_point_down() {
    let allowed = BTreeMap::from([
        ("worksite-model", set(&[])),
        ("worksite-store", set(&["worksite-model"])),
        ("worksite-runtime", set(&["worksite-model"])),
        ("worksite", set(&["worksite-model", "worksite-store", "worksite-runtime"])),
        ("worksite-simulation", set(&["worksite-model", "worksite-runtime"])),
        ("worksite-cli", set(&["worksite"])),
        ("worksite-workspace", set(&[])),
    ]);
    for (name, dependencies) in dependencies() {
        let inner: BTreeSet<_> = dependencies.into_iter().filter(|other| other.starts_with("worksite")).collect();
        assert_eq!(Some(&inner), allowed.get(name.as_str()), "the arrows of {name}");
    }
}

#[test]
fn every_foreign_crate_has_one_home() {
    let homes = BTreeMap::from([
        ("rusqlite", set(&["worksite-store"])),
        ("actix", set(&["worksite-runtime"])),
        ("futures-util", set(&["worksite-runtime"])),
        ("metrics", set(&["worksite-runtime"])),
        // The simulation starts a paused clock.
        ("tokio", set(&["worksite-runtime", "worksite-simulation"])),
        (
            "serde_json",
            set(&["worksite-model", "worksite-store", "worksite-runtime", "worksite-cli", "worksite-simulation"]),
        ),
        // The inspector's arguments.
        ("clap", set(&["worksite-cli"])),
        // Flows as data.
        ("serde-saphyr", set(&["worksite-model"])),
        ("bincode", set(&["worksite-model"])),
        ("crc32fast", set(&["worksite-model"])),
        // Schedules: cron expressions in time zones.
        ("croner", set(&["worksite-model"])),
        ("jiff", set(&["worksite-model", "worksite-simulation"])),
        // Derives on words, re-exported by the face for applications.
        ("serde", set(&["worksite-model", "worksite", "worksite-simulation"])),
        // The office: hashes of questions, a planner behind HTTP.
        ("sha2", set(&["worksite-simulation"])),
        ("ureq", set(&["worksite-simulation"])),
        ("pollster", set(&["worksite"])),
        ("tracing", set(&["worksite-runtime", "worksite-store"])),
        (
            "thiserror",
            set(&["worksite-model", "worksite-runtime", "worksite-store", "worksite", "worksite-simulation"]),
        ),
    ]);
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, dependencies) in dependencies() {
        for foreign in dependencies.into_iter().filter(|other| !other.starts_with("worksite")) {
            found.entry(foreign).or_default().insert(name.clone());
        }
    }
    let homes: BTreeMap<_, _> = homes.into_iter().map(|(name, homes)| (name.to_string(), homes)).collect();
    assert_eq!(found, homes);
}

#[test]
fn the_stated_rust_version_is_true_as_far_as_dependencies_tell() {
    let ours = METADATA.workspace_packages()[0].rust_version.clone().unwrap();
    let members: BTreeSet<_> = METADATA.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let mut wanted: Vec<_> = dependencies().into_values().flatten().collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        for package in METADATA.packages.iter().filter(|package| *package.name == name) {
            let newer = package.rust_version.as_ref().is_some_and(|version| *version > ours);
            assert!(!newer || members.contains(&name), "{name} needs Rust {:?}, we state {ours}", package.rust_version);
            let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
            wanted.extend(normal.filter(|dependency| !dependency.optional).map(|dependency| dependency.name.clone()));
        }
    }
    assert!(seen.contains("libsqlite3-sys"), "the graph was walked");
}

#[test]
fn every_crate_obeys_the_lints_of_the_workspace() {
    for manifest in crate::sources::files(&root().join("crates"), "Cargo.toml") {
        let text = std::fs::read_to_string(&manifest).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{}", manifest.display());
    }
}
