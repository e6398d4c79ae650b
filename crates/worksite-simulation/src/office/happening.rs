//! What happens to the office: a [`Happening`] is injected, or comes by chance from the seed; it fires in its tick, and what
//! it means for somebody's plan is a few sentences.

use super::{Almanac, Colleague, StatusOverride};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use worksite_model::chance;

/// What kind of thing happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HappeningKind {
    /// Somebody falls ill, for the rest of the day.
    SickLeave,
    /// A client wants something.
    ClientFeatureRequest,
    /// Something is in the way.
    Blocker,
    /// There is a meeting.
    Meeting,
    /// Anything else: it is told, and changes no plan.
    Other(String),
}

impl HappeningKind {
    /// Its name, as seed 000 writes it.
    pub fn name(&self) -> &str {
        match self {
            Self::SickLeave => "sick_leave",
            Self::ClientFeatureRequest => "client_feature_request",
            Self::Blocker => "blocker",
            Self::Meeting => "meeting",
            Self::Other(name) => name,
        }
    }
}

/// Something that happens in a tick. The original stored the tick of an injected event and never fired it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// Its number in the office, from 1; given when it is accepted.
    pub number: u64,
    /// What it is.
    pub kind: HappeningKind,
    /// Whom it is about; the heads hear of it when it is about nobody.
    pub targets: Vec<i64>,
    /// Which project it is about.
    pub project: Option<String>,
    /// In which tick it fires; at once when that has passed.
    pub at_tick: u64,
    /// What else there is to say.
    pub payload: BTreeMap<String, String>,
    /// In which tick it fired.
    pub fired: Option<u64>,
}

impl Happening {
    /// Something that happens to these people in this tick.
    pub fn new(kind: HappeningKind, targets: impl Into<Vec<i64>>, at_tick: u64) -> Self {
        let payload = BTreeMap::new();
        Self { number: 0, kind, targets: targets.into(), project: None, at_tick, payload, fired: None }
    }

    /// Says which project it is about.
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Says something more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.payload.insert(name.into(), value.into());
        self
    }

    /// Whether it is of this project and about this person. The original looked for the person's digits in a text, so that
    /// 1 also meant 12 and 21.
    pub fn fits(&self, project: Option<&str>, target: Option<i64>) -> bool {
        project.is_none_or(|project| self.project.as_deref() == Some(project))
            && target.is_none_or(|target| self.targets.contains(&target))
    }

    /// What it means for a plan; what the payload does not say has a usual value.
    pub fn adjustments(&self) -> Vec<String> {
        let said = |name: &str, usual: &str| self.payload.get(name).map_or(usual, String::as_str).to_string();
        match &self.kind {
            HappeningKind::SickLeave => vec!["Rest, and hand over what is urgent.".into()],
            HappeningKind::ClientFeatureRequest => {
                let feature = said("feature", "a new feature");
                vec![format!("Estimate {feature} for the client."), "Tell the team what it would change.".into()]
            }
            HappeningKind::Blocker => {
                vec![format!("Look into the blocker: {}.", said("reason", "its cause is unknown"))]
            }
            HappeningKind::Meeting => {
                vec![format!(
                    "Join the meeting about {} at {}.",
                    said("topic", "the project"),
                    said("time", "the full hour")
                )]
            }
            HappeningKind::Other(_) => Vec::new(),
        }
    }

    /// What is told of it in a sentence.
    pub fn summary(&self) -> String {
        let project = self.project.as_deref().map(|project| format!(" in {project}")).unwrap_or_default();
        let said: Vec<_> = self.payload.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let said = if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) };
        format!("{}{project}{said}", self.kind.name())
    }
}

/// How likely things are to happen by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Odds {
    /// How many of a thousand people fall ill on a day.
    pub sick_per_mille: u32,
    /// How likely a client wants something, in a thousand, each time.
    pub feature_per_mille: u32,
    /// How many ticks apart that may be; never when it is 0.
    pub feature_every: u64,
}

impl Default for Odds {
    /// The original's: five in a hundred fall ill; one in ten every two hours.
    fn default() -> Self {
        Self { sick_per_mille: 50, feature_per_mille: 100, feature_every: 120 }
    }
}

impl Odds {
    /// Nothing happens by itself.
    pub fn none() -> Self {
        Self { sick_per_mille: 0, feature_per_mille: 0, feature_every: 0 }
    }

    /// Ticks into a day at which illness shows: an hour, or the beginning of a shorter day.
    fn sick_tick(almanac: &Almanac) -> u64 {
        if almanac.tick_of_day(60) == 60 { 60 } else { 0 }
    }

    /// Whether anything could happen by itself in this tick.
    pub fn are_drawn_in(&self, almanac: &Almanac, tick: u64) -> bool {
        let of_day = almanac.tick_of_day(tick);
        let sick = self.sick_per_mille > 0 && of_day == Self::sick_tick(almanac);
        let feature = self.feature_per_mille > 0 && self.feature_every > 0 && of_day > 0;
        sick || (feature && of_day.is_multiple_of(self.feature_every))
    }

    /// What happens by itself in this tick: the same for the same seed, whoever else works here.
    pub fn draw(
        &self,
        seed: u64,
        almanac: &Almanac,
        tick: u64,
        people: &BTreeMap<i64, Colleague>,
        away: &BTreeMap<i64, StatusOverride>,
    ) -> Vec<Happening> {
        if !self.are_drawn_in(almanac, tick) {
            return Vec::new();
        }
        let present =
            |colleague: &&Colleague| !away.contains_key(&colleague.id) && almanac.is_at_work(&colleague.hours, tick);
        let present: Vec<_> = people.values().filter(present).collect();
        let roll = |what: i64, id: i64| chance(seed, &[HAPPENING, what, tick.cast_signed(), id]);
        let mut happenings = Vec::new();
        if almanac.tick_of_day(tick) == Self::sick_tick(almanac) {
            let ill = present.iter().filter(|colleague| roll(1, colleague.id) % 1_000 < u64::from(self.sick_per_mille));
            happenings.extend(ill.map(|colleague| Happening::new(HappeningKind::SickLeave, [colleague.id], tick)));
        }
        let asked = self.feature_every > 0 && almanac.tick_of_day(tick).is_multiple_of(self.feature_every);
        let head = present.iter().find(|colleague| colleague.is_head).or(present.first());
        if let Some(head) = head.filter(|_| asked && roll(2, 0) % 1_000 < u64::from(self.feature_per_mille)) {
            let mut targets = vec![head.id];
            let others: Vec<_> = present.iter().filter(|colleague| colleague.id != head.id).collect();
            if !others.is_empty() {
                targets.push(others[(roll(3, 0) % others.len() as u64) as usize].id);
            }
            let feature = FEATURES[(roll(4, 0) % FEATURES.len() as u64) as usize];
            happenings
                .push(Happening::new(HappeningKind::ClientFeatureRequest, targets, tick).with("feature", feature));
        }
        happenings
    }
}

/// What this file's chance is drawn for.
const HAPPENING: i64 = 1;

const FEATURES: [&str; 5] =
    ["an export to spreadsheets", "a dark theme", "single sign-on", "a faster search", "an audit trail"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::office::{Absence, Calendar};

    fn people(count: i64) -> BTreeMap<i64, Colleague> {
        (1..=count).map(|id| (id, Colleague { is_head: id == 1, ..Colleague::new(id, format!("p{id}")) })).collect()
    }

    fn drawn(seed: u64, people: &BTreeMap<i64, Colleague>, away: &BTreeMap<i64, StatusOverride>) -> Vec<Happening> {
        let almanac = Almanac::of(&Calendar::default()).unwrap();
        let draw = |tick| Odds::default().draw(seed, &almanac, tick, people, away);
        (0..480 * 5).flat_map(draw).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_seed_something_else() {
        let (people, nobody) = (people(20), BTreeMap::new());
        let first = drawn(7, &people, &nobody);
        assert_eq!(first, drawn(7, &people, &nobody));
        assert_ne!(first, drawn(8, &people, &nobody));
        let of = |kind: HappeningKind| first.iter().filter(|happening| happening.kind == kind).count();
        assert!((1..=15).contains(&of(HappeningKind::SickLeave)), "about five of a hundred person-days");
        assert!((1..=5).contains(&of(HappeningKind::ClientFeatureRequest)), "about one in ten of fifteen");
    }

    #[test]
    fn nobody_falls_ill_twice_and_nothing_happens_to_nobody() {
        let people = people(5);
        let ill = StatusOverride { absence: Absence::SickLeave, until: u64::MAX };
        let away = people.keys().map(|id| (*id, ill)).collect();
        assert_eq!(drawn(7, &people, &away), [], "the original failed when everybody was ill");
        assert_eq!(drawn(7, &BTreeMap::new(), &BTreeMap::new()), []);
        let almanac = Almanac::of(&Calendar { ticks_per_day: 1, ..Calendar::default() }).unwrap();
        drop(Odds::default().draw(7, &almanac, 3, &people, &BTreeMap::new()));
    }

    #[test]
    fn what_happens_becomes_sentences() {
        let happening = |kind| Happening::new(kind, [1], 0);
        assert_eq!(happening(HappeningKind::SickLeave).adjustments().len(), 1);
        let asked = happening(HappeningKind::ClientFeatureRequest);
        assert!(asked.adjustments()[0].contains("a new feature"), "the usual one");
        assert!(asked.with("feature", "a bell").adjustments()[0].contains("a bell"));
        assert!(happening(HappeningKind::Blocker).adjustments()[0].contains("unknown"));
        assert!(happening(HappeningKind::Meeting).with("topic", "tea").adjustments()[0].contains("tea"));
        assert!(happening(HappeningKind::Other("flood".into())).adjustments().is_empty());
    }

    #[test]
    fn one_is_not_twelve() {
        let happening = Happening::new(HappeningKind::Meeting, [12, 21], 0).project("α/β \"γ\"");
        assert!(!happening.fits(None, Some(1)) && happening.fits(None, Some(12)) && happening.fits(None, None));
        assert!(happening.fits(Some("α/β \"γ\""), Some(21)) && !happening.fits(Some("x"), Some(21)));
    }
}
