//! Who may have a worker: [`Person`], and the [`Roster`] of active people, a value that can be compared.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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

/// The active people, in order of their ids; one entry an id, the last one given wins.
///
/// ```
/// use worksite_model::{Person, Roster};
///
/// let before = Roster::new([Person::new(1, "ada"), Person::new(2, "grace")]);
/// let after = Roster::new([Person::new(2, "grace"), Person::new(3, "barbara")]);
/// let difference = before.difference(&after);
/// assert_eq!(difference.joined, [Person::new(3, "barbara")]);
/// assert_eq!(difference.left, [1.into()]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Roster(BTreeMap<PersonId, Person>);

impl Roster {
    /// The roster of these people.
    pub fn new(people: impl IntoIterator<Item = Person>) -> Self {
        Self(people.into_iter().map(|person| (person.id, person)).collect())
    }

    /// Whether this person is active.
    pub fn contains(&self, id: PersonId) -> bool {
        self.0.contains_key(&id)
    }

    /// The active person with this id.
    pub fn get(&self, id: PersonId) -> Option<&Person> {
        self.0.get(&id)
    }

    /// The active people in order of their ids.
    pub fn people(&self) -> impl ExactSizeIterator<Item = &Person> {
        self.0.values()
    }

    /// How many people are active.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is active.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What has to happen for this roster to become `target`.
    pub fn difference(&self, target: &Roster) -> RosterDifference {
        let mut difference = RosterDifference::default();
        for person in target.people() {
            match self.get(person.id) {
                None => difference.joined.push(person.clone()),
                Some(known) if known != person => difference.changed.push(person.clone()),
                Some(_) => {}
            }
        }
        difference.left = self.0.keys().filter(|id| !target.contains(**id)).copied().collect();
        difference
    }

    /// Makes the difference true; afterwards this roster is the one the difference was taken to.
    pub fn apply(&mut self, difference: &RosterDifference) {
        for id in &difference.left {
            self.0.remove(id);
        }
        let here = difference.joined.iter().chain(&difference.changed).map(|person| (person.id, person.clone()));
        // Whole at once where there was nobody: a tree built in order is quicker to build, and fuller.
        if self.0.is_empty() { self.0 = here.collect() } else { self.0.extend(here) }
    }
}

impl FromIterator<Person> for Roster {
    fn from_iter<I: IntoIterator<Item = Person>>(people: I) -> Self {
        Self::new(people)
    }
}

/// How one roster becomes another, in order of ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RosterDifference {
    /// Who is new.
    pub joined: Vec<Person>,
    /// Who is no longer active.
    pub left: Vec<PersonId>,
    /// Who stays under another name or role, as they are now.
    pub changed: Vec<Person>,
}

impl RosterDifference {
    /// Whether the two rosters are equal.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.left.is_empty() && self.changed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applying_a_difference_gives_the_target() {
        let mut before = Roster::new([Person::new(1, "a"), Person::new(2, "b"), Person::new(3, "c")]);
        let after = Roster::new([Person::new(2, "B"), Person::new(3, "c"), Person::new(9, "z")]);
        let difference = before.difference(&after);
        assert_eq!(difference.joined.len(), 1);
        assert_eq!(difference.changed, [Person::new(2, "B")]);
        assert_eq!(difference.left, [PersonId(1)]);
        before.apply(&difference);
        assert_eq!(before, after);
        assert!(before.difference(&after).is_empty());
    }

    #[test]
    fn the_last_entry_of_an_id_wins() {
        let roster = Roster::new([Person::new(1, "old"), Person::new(1, "new")]);
        assert_eq!(roster.len(), 1);
        assert_eq!(roster.get(PersonId(1)).map(|person| &*person.name), Some("new"));
    }
}
