//! What a run asks of a runner: [`Demand`]s, and [`Demands`], a set of them in one canonical form, so that equal sets are
//! interned and matched once.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// A value of a capability.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// An amount.
    Number(i64),
    /// A word.
    Text(String),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// One thing a run asks of a runner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// The runner has this tag.
    Tag(String),
    /// The runner does not have this tag.
    Lacks(String),
    /// The field is exactly this.
    Is(String, Value),
    /// The field is a number, and at least this.
    AtLeast(String, i64),
    /// The field is one of these.
    In(String, BTreeSet<Value>),
    /// At least one of these holds.
    Any(Vec<Demand>),
}

impl Demand {
    /// The field it is about, if it is about one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Is(field, _) | Self::AtLeast(field, _) | Self::In(field, _) => Some(field),
            Self::Tag(_) | Self::Lacks(_) | Self::Any(_) => None,
        }
    }

    /// Whether it asks for nothing: an empty text counts as not demanded, as in seed 002.
    fn is_void(&self) -> bool {
        match self {
            Self::Tag(tag) | Self::Lacks(tag) => tag.is_empty(),
            Self::Is(field, value) => field.is_empty() || *value == Value::Text(String::new()),
            Self::AtLeast(field, _) => field.is_empty(),
            Self::In(_, values) => values.is_empty(),
            Self::Any(demands) => demands.is_empty() || demands.iter().any(Self::is_void),
        }
    }

    fn settled(self) -> Self {
        match self {
            Self::Any(mut demands) => {
                demands = demands.into_iter().map(Self::settled).collect();
                demands.sort();
                demands.dedup();
                Self::Any(demands)
            }
            demand => demand,
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Lacks(tag) => write!(f, "no tag {tag}"),
            Self::Is(field, value) => write!(f, "{field} = {value}"),
            Self::AtLeast(field, amount) => write!(f, "{field} >= {amount}"),
            Self::In(field, values) => write!(f, "{field} in {}", list(values.iter(), ", ")),
            Self::Any(demands) => write!(f, "({})", list(demands.iter(), " or ")),
        }
    }
}

fn list<T: fmt::Display>(parts: impl Iterator<Item = T>, between: &str) -> String {
    parts.map(|part| part.to_string()).collect::<Vec<_>>().join(between)
}

/// Everything a run asks of a runner: all of it must hold. No demands: any runner will do, except an exclusive one.
///
/// ```
/// use worksite_model::{Capabilities, Demands};
///
/// let demands = Demands::none().is("hostname", "gaia-12").at_least("cores", 4).tag("gpu");
/// let runner = Capabilities::none().field("hostname", "gaia-12").field("cores", 16).tag("gpu").tag("nvme");
/// assert!(runner.meet(&demands));
/// assert!(!runner.meet(&demands.at_least("memory_gb", 64)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Demands(Vec<Demand>);

impl Demands {
    /// No demands.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// All of these.
    pub fn all(demands: impl IntoIterator<Item = Demand>) -> Self {
        demands.into_iter().fold(Self::none(), Self::and)
    }

    /// This too. What asks for nothing is left out.
    #[must_use]
    pub fn and(mut self, demand: Demand) -> Self {
        let demand = demand.settled();
        if !demand.is_void()
            && let Err(place) = self.0.binary_search(&demand)
        {
            self.0.insert(place, demand);
        }
        self
    }

    /// The field is exactly this.
    #[must_use]
    pub fn is(self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.and(Demand::Is(field.into(), value.into()))
    }

    /// The field is a number, and at least this.
    #[must_use]
    pub fn at_least(self, field: impl Into<String>, amount: i64) -> Self {
        self.and(Demand::AtLeast(field.into(), amount))
    }

    /// The field is one of these.
    #[must_use]
    pub fn one_of<V: Into<Value>>(self, field: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        self.and(Demand::In(field.into(), values.into_iter().map(Into::into).collect()))
    }

    /// The runner has this tag.
    #[must_use]
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.and(Demand::Tag(tag.into()))
    }

    /// The runner does not have this tag.
    #[must_use]
    pub fn lacks(self, tag: impl Into<String>) -> Self {
        self.and(Demand::Lacks(tag.into()))
    }

    /// At least one of these holds.
    #[must_use]
    pub fn any(self, demands: impl IntoIterator<Item = Demand>) -> Self {
        self.and(Demand::Any(demands.into_iter().collect()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in canonical order.
    pub fn iter(&self) -> std::slice::Iter<'_, Demand> {
        self.0.iter()
    }

    /// The demands of several sources as one set, the source with the most to say first: what an earlier one demands of a
    /// field stands, and tags and groups of all are united. Seed 002's order is: a runner's own agent, the session's
    /// place, the blueprint, the type of executor, the call.
    ///
    /// ```
    /// use worksite_model::Demands;
    ///
    /// let (blueprint, call) = (Demands::none().is("profile", "coder"), Demands::none().is("profile", "mine").tag("gpu"));
    /// assert_eq!(Demands::layered([blueprint, call]), Demands::none().is("profile", "coder").tag("gpu"));
    /// ```
    pub fn layered(layers: impl IntoIterator<Item = Demands>) -> Self {
        let (mut merged, mut named) = (Self::none(), BTreeSet::new());
        for layer in layers {
            let fields: BTreeSet<_> = layer.0.iter().filter_map(Demand::field).map(str::to_string).collect();
            for demand in layer.0 {
                if demand.field().is_none_or(|field| !named.contains(field)) {
                    merged = merged.and(demand);
                }
            }
            named.extend(fields);
        }
        merged
    }

    /// Reads what [`Demands::to_json`] wrote; nothing when it is something else.
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str::<Self>(json).ok().map(|read| Self::all(read.0))
    }

    /// As it stands in files: readable, equal for equal sets.
    pub fn to_json(&self) -> String {
        // Strings and numbers only: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Demands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("nothing") } else { f.write_str(&list(self.0.iter(), ", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_have_one_form_whatever_the_order() {
        let one =
            Demands::none().tag("b").is("host", "x").tag("a").any([Demand::Tag("q".into()), Demand::Tag("p".into())]);
        let other = Demands::none()
            .any([Demand::Tag("p".into()), Demand::Tag("q".into())])
            .tag("a")
            .tag("b")
            .tag("b")
            .is("host", "x");
        assert_eq!(one, other);
        assert_eq!(one.to_json(), other.to_json());
        assert_eq!(Demands::from_json(&one.to_json()), Some(one));
        assert_eq!(Demands::from_json("{}"), None);
    }

    #[test]
    fn what_is_empty_is_not_demanded() {
        let none = Demands::none().is("hostname", "").tag("").one_of("x", Vec::<&str>::new()).any([]);
        assert!(none.is_empty());
        assert_eq!(none.to_string(), "nothing");
    }

    #[test]
    fn the_first_layer_that_names_a_field_has_it_and_tags_are_united() {
        let layers = [
            Demands::none().is("host", "a"),
            Demands::none().is("host", "b").at_least("cores", 4).tag("x"),
            Demands::none().at_least("cores", 8).is("dir", "/").tag("y"),
        ];
        let merged = Demands::none().is("host", "a").at_least("cores", 4).is("dir", "/").tag("x").tag("y");
        assert_eq!(Demands::layered(layers), merged);
        assert_eq!(merged.to_string(), "tag x, tag y, dir = /, host = a, cores >= 4");
    }
}
