//! Owns the table of checks at the end of every big example: what was expected, what was found, a tick or a cross.

use std::fmt::Display;

/// Checks, in the order they are shown.
#[derive(Default)]
pub struct Checks(Vec<Check>);

struct Check {
    what: String,
    expected: String,
    found: String,
}

impl Checks {
    /// Adds a check that what was found is what was expected.
    pub fn equal(&mut self, what: impl Into<String>, expected: impl Display, found: impl Display) {
        self.0.push(Check { what: what.into(), expected: expected.to_string(), found: found.to_string() });
    }

    /// Prints the table; says whether all checks are ticked.
    pub fn print(&self) -> bool {
        let width = |column: fn(&Check) -> &String| self.0.iter().map(|check| column(check).chars().count()).max();
        let what = width(|check| &check.what).unwrap_or(0);
        let expected = width(|check| &check.expected).unwrap_or(0).max("expected".len());
        println!("  {:what$}  {:>expected$}  found", "check", "expected");
        for check in &self.0 {
            let mark = if check.holds() { '✓' } else { '✗' };
            println!("{mark} {:what$}  {:>expected$}  {}", check.what, check.expected, check.found);
        }
        self.0.iter().all(Check::holds)
    }
}

impl Check {
    fn holds(&self) -> bool {
        self.expected == self.found
    }
}
