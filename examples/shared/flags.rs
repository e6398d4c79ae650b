//! Owns the words that all big examples share.

use std::path::PathBuf;
use std::str::FromStr;

/// What every big example is asked.
#[derive(Clone, Default)]
pub struct Flags {
    pub site: PathBuf,
    pub data: PathBuf,
    pub keep: bool,
    pub cut: bool,
    /// How often it is to be killed.
    pub chaos: Option<u64>,
    pub quiet: bool,
    /// Given to a child that is to be killed: tell the parent how far it is, and do not end.
    pub tell: bool,
}

/// Gives the word after a flag.
pub type Value<'a> = &'a mut dyn FnMut() -> Result<String, String>;

impl Flags {
    pub fn read(
        site: &str,
        data: &str,
        mut given: impl Iterator<Item = String>,
        mut own: impl FnMut(&str, Value<'_>) -> Result<bool, String>,
    ) -> Result<Self, String> {
        let mut flags = Self { site: site.into(), data: data.into(), ..Self::default() };
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--site" => flags.site = value()?.into(),
                "--data" => flags.data = value()?.into(),
                "--chaos" => flags.chaos = Some(number(&flag, &value()?)?),
                "--keep" => flags.keep = true,
                "--cut" => flags.cut = true,
                "--quiet" => flags.quiet = true,
                // A child has its parent's words before this one, and has no children.
                "--tell" => flags = Self { tell: true, quiet: true, chaos: None, ..flags },
                _ if own(&flag, &mut value)? => {}
                _ => return Err(format!("{flag} is not known")),
            }
        }
        if flags.keep && flags.chaos.is_some() {
            return Err("--chaos starts afresh: leave out --keep".into());
        }
        Ok(flags)
    }

    /// The same work on a file beside it, in silence and without being killed.
    pub fn of_unbroken(&self) -> Self {
        let site = self.site.with_extension("unbroken.db");
        Self { site, data: self.data.clone(), cut: self.cut, quiet: true, ..Self::default() }
    }

    /// Whether a site that is finished is replaced: it is not to be kept, and nobody was killed on it.
    pub fn replaces(&self) -> bool {
        !(self.keep || self.tell || self.chaos.is_some())
    }
}

/// Reads a flag's number.
pub fn number<T: FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{flag} takes a number, not {text:?}"))
}
