//! Owns the rules about docs: they describe the house as it stands.

use crate::sources::{files, root, sources};
use std::collections::BTreeSet;
use std::fs;

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

/// Names that follow this keyword at the beginning of a line.
fn names_after(text: &str, keyword: &str) -> Vec<String> {
    let declared = text.lines().filter_map(|line| line.strip_prefix(keyword));
    declared
        .map(|rest| rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect())
        .collect()
}

/// Variants of the public enums whose names end so, as `Enum::Variant`.
fn variants(text: &str, endings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        if let Some(name) = names_after(line, "pub enum ").pop() {
            current = endings.iter().any(|ending| name.ends_with(ending)).then_some(name);
        } else if line == "}" {
            current = None;
        } else if let Some(name) = &current
            && let Some(variant) = line.strip_prefix("    ")
            && variant.starts_with(char::is_uppercase)
        {
            let variant: String = variant.chars().take_while(|letter| letter.is_alphanumeric()).collect();
            found.push(format!("{name}::{variant}"));
        }
    }
    found
}

#[test]
fn every_error_has_its_section() {
    let page = page("errors.md");
    let errors = sources().into_iter().flat_map(|(_, text)| variants(&text, &["Error", "Rejection", "Refusal"]));
    let missing: Vec<_> = errors.filter(|error| !page.contains(&format!("### `{error}`"))).collect();
    assert_eq!(missing, Vec::<String>::new());
    let example = "pub enum SomeError {\n    /// A doc.\n    Full(String),\n}\n";
    assert_eq!(variants(example, &["Error"]), ["SomeError::Full"]);
}

#[test]
fn every_public_type_is_in_the_glossary() {
    let page = page("glossary.md");
    let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
    let types = sources().into_iter().flat_map(|(_, text)| kinds.map(|kind| names_after(&text, kind)).concat());
    let missing: BTreeSet<_> = types.filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn every_law_has_its_page_its_definition_and_its_test() {
    let page = page("laws.md");
    let sections: BTreeSet<_> = names_after_heading(&page);
    let laws: BTreeSet<_> = worksite_simulation::LAWS.iter().map(ToString::to_string).collect();
    assert_eq!(sections, laws);
    let read = |path| fs::read_to_string(root().join("crates/worksite-simulation/src").join(path)).unwrap();
    for law in worksite_simulation::LAWS {
        for (file, times) in [("laws.rs", 2), ("laws/tests.rs", 1)] {
            let by_name = read(file).matches(&format!("Law::{law:?}")).count();
            assert!(by_name >= times, "{file} names {law} {by_name} times: it is neither checked nor tested");
        }
    }
}

fn names_after_heading(page: &str) -> BTreeSet<String> {
    page.lines().filter_map(|line| line.strip_prefix("## ")).map(|name| name.trim().to_lowercase()).collect()
}

#[test]
fn the_map_of_the_docs_names_every_page_and_no_link_is_dead() {
    let docs = root().join("docs");
    let map = page("README.md");
    for path in files(&docs, ".md") {
        let name = path.strip_prefix(&docs).unwrap().to_string_lossy().into_owned();
        assert!(name == "README.md" || map.contains(&format!("({name})")), "docs/README.md does not name {name}");
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            let lives = target.starts_with("http") || target.is_empty() || path.parent().unwrap().join(target).exists();
            assert!(lives, "{name} links to {link}, which is not there");
        }
    }
}
