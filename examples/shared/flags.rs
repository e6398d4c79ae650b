//! Owns how all big examples read their flags. The words they share: `--site`, `--keep`, `--cut`, `--data`, `--chaos`, `--quiet`,
//! `--help`; every run ends with a table of checks and a line `digest …`.

/// Reads a flag's number.
pub fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{flag} takes a number, not {text:?}"))
}
