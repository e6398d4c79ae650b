//! What a runner has to offer: [`Capabilities`], and whether they meet what a run demands.

use crate::{Demand, Demands, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a runner has to offer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// Named values: hostname, project_dir, executor_profile, cores …
    pub fields: BTreeMap<String, Value>,
    /// Tags.
    pub tags: BTreeSet<String>,
    /// Whether it takes only runs that demand at least one of its tags (seed 002 `require_matching_tags`).
    pub exclusive: bool,
}

impl Capabilities {
    /// Nothing in particular.
    pub fn none() -> Self {
        Self::default()
    }

    /// With this value in this field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.fields.insert(field.into(), value.into());
        self
    }

    /// With this tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Takes only runs that demand at least one of its tags.
    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Whether all demands hold, and an exclusive runner is asked for by one of its tags.
    pub fn meet(&self, demands: &Demands) -> bool {
        demands.iter().all(|demand| self.meets(demand)) && !self.shuns(demands)
    }

    /// Whether this demand holds.
    pub fn meets(&self, demand: &Demand) -> bool {
        match demand {
            Demand::Tag(tag) => self.tags.contains(tag),
            Demand::Lacks(tag) => !self.tags.contains(tag),
            Demand::Is(field, value) => self.fields.get(field) == Some(value),
            Demand::AtLeast(field, amount) => {
                matches!(self.fields.get(field), Some(Value::Number(has)) if has >= amount)
            }
            Demand::In(field, values) => self.fields.get(field).is_some_and(|has| values.contains(has)),
            Demand::Any(demands) => demands.iter().any(|demand| self.meets(demand)),
        }
    }

    /// Whether it is exclusive, and nothing of what makes it so is demanded.
    pub fn shuns(&self, demands: &Demands) -> bool {
        let named = |demand: &Demand| matches!(demand, Demand::Tag(tag) if self.tags.contains(tag));
        let wanted = |demand: &Demand| match demand {
            Demand::Any(group) => group.iter().any(named),
            demand => named(demand),
        };
        self.exclusive && !demands.iter().any(wanted)
    }

    /// Where it is, as demands: what a session that was here asks for when it is resumed.
    pub fn place(&self) -> Demands {
        let place = ["hostname", "project_dir", "executor_profile"].into_iter();
        place.fold(Demands::none(), |demands, field| match self.fields.get(field) {
            Some(value) => demands.is(field, value.clone()),
            None => demands,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_demand_is_met_or_not() {
        let runner = Capabilities::none().field("host", "a").field("cores", 8).tag("gpu").tag("linux");
        let none = Demands::none;
        let cases = [
            (none(), true),
            (none().is("host", "a"), true),
            (none().is("host", "b"), false),
            (none().is("cores", 8), true),
            (none().is("missing", "x"), false),
            (none().at_least("cores", 8), true),
            (none().at_least("cores", 9), false),
            (none().at_least("host", 1), false),
            (none().one_of("host", ["x", "a"]), true),
            (none().one_of("host", ["x", "y"]), false),
            (none().tag("gpu").tag("linux"), true),
            (none().tag("gpu").tag("arm"), false),
            (none().lacks("arm"), true),
            (none().lacks("gpu"), false),
            (none().any([Demand::Tag("arm".into()), Demand::AtLeast("cores".into(), 4)]), true),
            (none().any([Demand::Tag("arm".into()), Demand::AtLeast("cores".into(), 40)]), false),
        ];
        for (demands, met) in cases {
            assert_eq!(runner.meet(&demands), met, "{demands}");
        }
    }

    #[test]
    fn an_exclusive_runner_waits_for_its_tags() {
        let runner = Capabilities::none().field("host", "a").tag("gpu").exclusive();
        assert!(runner.meet(&Demands::none().tag("gpu")));
        assert!(runner.meet(&Demands::none().any([Demand::Tag("gpu".into()), Demand::Tag("tpu".into())])));
        for demands in [Demands::none(), Demands::none().is("host", "a"), Demands::none().lacks("arm")] {
            assert!(!runner.meet(&demands), "{demands}");
        }
    }

    #[test]
    fn a_place_is_host_folder_and_profile() {
        let runner = Capabilities::none().field("hostname", "a").field("cores", 8).field("executor_profile", "coder");
        assert_eq!(runner.place(), Demands::none().is("hostname", "a").is("executor_profile", "coder"));
    }
}
