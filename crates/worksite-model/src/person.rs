//! Who may have a worker: [`Person`].

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

/// A person's number. The application chooses it; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PersonId(pub i64);

impl From<i64> for PersonId {
    fn from(id: i64) -> Self {
        Self(id)
    }
}

impl fmt::Display for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Somebody who may have a worker (seed 000 `PersonRead`, reduced to what the house itself reads).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The number under which mail finds this person.
    pub id: PersonId,
    /// The name a reader of the file sees.
    pub name: Name,
    /// What this person does here; free text, empty when it does not matter.
    pub role: Name,
}

/// Text about a person, which copies share: rosters of a million people are copied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

/// Most people have no role: they share this one.
static NO_NAME: LazyLock<Name> = LazyLock::new(|| Name("".into()));

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Name {
    fn default() -> Self {
        NO_NAME.clone()
    }
}

impl<T: AsRef<str>> From<T> for Name {
    fn from(text: T) -> Self {
        let text = text.as_ref();
        if text.is_empty() { Self::default() } else { Self(text.into()) }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Person {
    /// A person without a role.
    pub fn new(id: impl Into<PersonId>, name: impl Into<Name>) -> Self {
        Self { id: id.into(), name: name.into(), role: Name::default() }
    }

    /// The same person with a role.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<Name>) -> Self {
        self.role = role.into();
        self
    }
}

/// What happens to a person's mail and state on leaving the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Departure {
    /// Mail and state stay in the store and are there when the person returns.
    #[default]
    Keep,
    /// Waiting mail and state are deleted with the person, in the same commit; the mail is counted as removed.
    Purge,
}
