//! The laws own what must always hold: each is named once, here, and checked after every event.

use crate::scenario::Letters;
use crate::trace::Event;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use worksite_model::{Committed, EnvelopeId, Fact, Limits, PersonId, Priority};

/// A law of the house. `docs/laws.md` says why each is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// Nobody hears of a thing that could still be lost.
    CommitBeforeTell,
    /// Commit order = inbox order = broadcast order = recovery order.
    Order,
    /// No envelope is settled twice.
    AdmitOnce,
    /// An envelope leaves the inbox only in the commit that holds its consequences.
    AckWithEffects,
    /// Accepted = waiting + settled + buried + removed + quarantined, at every step.
    Conservation,
    /// Whatever crashed on the way, the end is the same.
    RecoveryEqualsLife,
    /// Workers are the active people, after each sync.
    Roster,
    /// No inbox is above its limit.
    Bounds,
}

/// All laws.
pub const LAWS: [Law; 8] = [
    Law::CommitBeforeTell,
    Law::Order,
    Law::AdmitOnce,
    Law::AckWithEffects,
    Law::Conservation,
    Law::RecoveryEqualsLife,
    Law::Roster,
    Law::Bounds,
];

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommitBeforeTell => "commit before tell",
            Self::Order => "order",
            Self::AdmitOnce => "admit once",
            Self::AckWithEffects => "ack with effects",
            Self::Conservation => "conservation",
            Self::RecoveryEqualsLife => "recovery equals life",
            Self::Roster => "roster",
            Self::Bounds => "bounds",
        })
    }
}

/// A law was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub law: Law,
    /// How.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the law \"{}\" is broken: {}", self.law, self.how)
    }
}

/// Watches over the laws, event by event, through all lives of a site.
#[derive(Debug)]
pub struct Laws {
    limits: Limits,
    /// Envelopes that were accepted, with their lanes.
    accepted: BTreeMap<EnvelopeId, (PersonId, Priority)>,
    /// Envelopes that had another attempt or a moment to wait for: they lose their place in the lane.
    displaced: BTreeSet<EnvelopeId>,
    settled: BTreeSet<EnvelopeId>,
    /// The last settled of each lane, among those that kept their place.
    last_settled: BTreeMap<(PersonId, Priority, String), EnvelopeId>,
    /// What is still to be told in this life, in order.
    to_tell: VecDeque<Fact>,
}

impl Laws {
    /// The laws of a site with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            accepted: BTreeMap::new(),
            displaced: BTreeSet::new(),
            settled: BTreeSet::new(),
            last_settled: BTreeMap::new(),
            to_tell: VecDeque::new(),
        }
    }

    /// Checks all laws that this event could break.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn observe(&mut self, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Committed { committed, states, tally, waiting } => {
                hold(Law::Conservation, tally.is_conserved(), || format!("{tally:?}"))?;
                let bound = self.limits.inbox_envelopes_max;
                let over = waiting.iter().find(|entry| entry.envelopes > bound);
                hold(Law::Bounds, over.is_none(), || format!("{over:?} with a limit of {bound}"))?;
                self.commit(committed)?;
                acknowledged_with_effects(committed, states)
            }
            Event::Receipt(id) => self.is_committed(*id, "a receipt"),
            Event::Performed { id, .. } => self.is_committed(*id, "a turn"),
            Event::Told(fact) => {
                let next = self.to_tell.pop_front();
                let law = if next.is_none() { Law::CommitBeforeTell } else { Law::Order };
                hold(law, next.as_ref() == Some(fact), || format!("{fact:?} was told; {next:?} was next"))
            }
            Event::Synced { wanted, active, awake } => {
                let right = wanted == active && awake.iter().all(|person| active.contains(person));
                hold(Law::Roster, right, || format!("wanted {wanted:?}, active {active:?}, awake {awake:?}"))
            }
            // What a crash left untold is never told: a new life has new subscribers.
            Event::Life => {
                self.to_tell.clear();
                Ok(())
            }
        }
    }

    fn is_committed(&self, id: EnvelopeId, what: &str) -> Result<(), Broken> {
        hold(Law::CommitBeforeTell, self.accepted.contains_key(&id), || {
            format!("{what} for {id}, which is not durable")
        })
    }

    fn commit(&mut self, committed: &Committed) -> Result<(), Broken> {
        for envelope in &committed.envelopes {
            let last = self.accepted.last_key_value().map(|(id, _)| *id).unwrap_or_default();
            hold(Law::Order, envelope.id > last, || format!("{} was given after {last}", envelope.id))?;
            self.accepted.insert(envelope.id, (envelope.draft.to, envelope.draft.priority));
            if envelope.draft.not_before.is_some() {
                self.displaced.insert(envelope.id);
            }
        }
        self.displaced.extend(committed.retried.iter().map(|retry| retry.id));
        for settlement in &committed.settled {
            let id = settlement.id();
            hold(Law::AdmitOnce, self.settled.insert(id), || format!("{id} was settled twice"))?;
            let Some((person, lane)) = self.accepted.get(&id).copied() else { continue };
            if !self.displaced.contains(&id) {
                let lane = (person, lane, settlement.routine.to_string());
                let last = self.last_settled.insert(lane, id).unwrap_or_default();
                hold(Law::Order, last < id, || format!("{id} was settled after {last} of its lane"))?;
            }
        }
        self.to_tell.extend(committed.facts());
        Ok(())
    }
}

/// Each envelope that a clerk settles stands in the state that the same commit holds.
fn acknowledged_with_effects(committed: &Committed, states: &[worksite_model::StateWrite]) -> Result<(), Broken> {
    for settlement in &committed.settled {
        let state = states.iter().find(|state| state.routine == settlement.routine);
        let letters = state.and_then(|state| state.payload.decode::<Letters>().ok());
        let noted = letters.is_some_and(|letters| letters.ids.contains(&settlement.id().0));
        hold(Law::AckWithEffects, noted, || format!("{} left the inbox without its effect", settlement.id()))?;
    }
    Ok(())
}

/// Checks that what is remembered after crashes is what an unbroken life remembers.
///
/// # Errors
/// [`Broken`].
pub fn recovery_equals_life<T: PartialEq + fmt::Debug>(life: &T, recovered: &T) -> Result<(), Broken> {
    hold(Law::RecoveryEqualsLife, life == recovered, || format!("{recovered:?} was recovered; life had {life:?}"))
}

fn hold(law: Law, holds: bool, how: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { law, how: how() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use worksite_model::{
        Change, Draft, Entry, Envelope, Grant, Payload, Settlement, StateWrite, Tally, Timestamp, Waiting,
    };

    fn envelope(id: i64) -> Arc<Envelope> {
        let draft = Draft::to(1, &1_u64).unwrap();
        Arc::new(Envelope { id: EnvelopeId(id), accepted_at: Timestamp::default(), draft })
    }

    fn broken(events: &[Event]) -> Option<Law> {
        let mut laws = Laws::new(Limits { inbox_envelopes_max: 5, ..Limits::default() });
        events.iter().find_map(|event| laws.observe(event).err()).map(|broken| broken.law)
    }

    fn committed(change: Change, grant: Grant, tally: Tally, waiting: usize) -> Event {
        let states = change.states.clone();
        let committed = Arc::new(Committed::new(change, grant, Timestamp::default()));
        let waiting = vec![Waiting { person: PersonId(1), envelopes: waiting, bytes: 0 }];
        Event::Committed { committed, states, tally, waiting }
    }

    fn accepted(id: i64) -> Event {
        let grant = Grant { entries: vec![Entry::Accepted(EnvelopeId(id))], ..Grant::default() };
        let tally = Tally { accepted: 1, waiting: 1, ..Tally::default() };
        committed(Change::send(vec![Draft::to(1, &1_u64).unwrap()]), grant, tally, 1)
    }

    fn settled(id: i64, noted: &[i64]) -> Event {
        let letters = Letters { ids: noted.to_vec(), ..Letters::default() };
        let change = Change {
            author: Some(PersonId(1)),
            settled: vec![Settlement { envelope: envelope(id), routine: "clerk", reply: None }],
            states: vec![StateWrite {
                person: PersonId(1),
                routine: "clerk".into(),
                payload: Payload::encode(&letters).unwrap(),
                keep: None,
            }],
            ..Change::default()
        };
        committed(change, Grant::default(), Tally::default(), 0)
    }

    #[test]
    fn a_good_life_breaks_no_law() {
        let Event::Committed { committed, .. } = accepted(1) else { unreachable!() };
        let told = Event::Told(committed.facts().next().unwrap());
        assert_eq!(
            broken(&[
                accepted(1),
                Event::Receipt(EnvelopeId(1)),
                told,
                accepted(2),
                settled(1, &[1]),
                settled(2, &[1, 2])
            ]),
            None
        );
    }

    #[test]
    fn each_law_can_be_broken() {
        let person = PersonId(1);
        let performed = Event::Performed { person, id: EnvelopeId(3), attempt: 1 };
        assert_eq!(broken(&[accepted(1), performed]), Some(Law::CommitBeforeTell));
        assert_eq!(broken(&[Event::Receipt(EnvelopeId(1))]), Some(Law::CommitBeforeTell));
        assert_eq!(broken(&[Event::Told(Fact::Cleared)]), Some(Law::CommitBeforeTell));
        assert_eq!(broken(&[accepted(1), Event::Told(Fact::Cleared)]), Some(Law::Order));
        assert_eq!(broken(&[accepted(2), accepted(1)]), Some(Law::Order));
        assert_eq!(broken(&[accepted(1), accepted(2), settled(2, &[2]), settled(1, &[2, 1])]), Some(Law::Order));
        assert_eq!(broken(&[accepted(1), settled(1, &[1]), settled(1, &[1])]), Some(Law::AdmitOnce));
        assert_eq!(broken(&[accepted(1), settled(1, &[])]), Some(Law::AckWithEffects));
        let lost = Tally { accepted: 2, waiting: 1, ..Tally::default() };
        assert_eq!(broken(&[committed(Change::default(), Grant::default(), lost, 1)]), Some(Law::Conservation));
        let full = committed(Change::default(), Grant::default(), Tally::default(), 6);
        assert_eq!(broken(&[full]), Some(Law::Bounds));
        let synced = Event::Synced { wanted: vec![], active: vec![], awake: vec![person] };
        assert_eq!(broken(&[synced]), Some(Law::Roster));
        let law = |life, recovered| recovery_equals_life(&life, &recovered).err().map(|broken| broken.law);
        assert_eq!((law(1, 1), law(1, 2)), (None, Some(Law::RecoveryEqualsLife)));
    }
}
