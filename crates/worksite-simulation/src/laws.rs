//! The laws own what must always hold: each is named once, here, and checked after every event.

use crate::scenario::Letters;
use crate::trace::{Event, Inventory};
use crate::weather::Mishap;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use worksite_model::{Committed, EnvelopeId, Fact, InboxPolicy, Limits, Overflow, PersonId, Priority, Tally, Waiting};

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
    /// How many envelopes one inbox may hold, those of the control lane not counted; and how many while nobody does
    /// anything. The second is less where the oldest mail gives way.
    bound: (usize, usize),
    /// The highest id given.
    last: EnvelopeId,
    /// Envelopes that were accepted, with their lanes.
    accepted: BTreeMap<EnvelopeId, (PersonId, Priority)>,
    /// Those of them that have not left their inboxes.
    waiting: BTreeSet<EnvelopeId>,
    /// What became of them, by our own count.
    tally: Tally,
    /// The active people, as committed.
    roster: BTreeSet<PersonId>,
    /// Envelopes that had another attempt or a moment to wait for: they lose their place in the lane.
    displaced: BTreeSet<EnvelopeId>,
    /// Envelopes that were settled or given up: nobody performs them any more.
    ended: BTreeSet<EnvelopeId>,
    /// The last settled of each lane, among those that kept their place.
    last_settled: BTreeMap<(PersonId, Priority, String), EnvelopeId>,
    /// All facts of this life, in order.
    facts: Vec<Fact>,
    /// How many of them whoever keeps up was told.
    told: usize,
    /// How many of them the others were told, or told that they missed.
    overheard: BTreeMap<usize, usize>,
    /// Whether some facts of this life may never be told, since the one who tells them crashed.
    mute: bool,
}

impl Laws {
    /// The laws of a site in which all inboxes have the policy that follows from these limits.
    pub fn new(limits: &Limits) -> Self {
        Self::of_inboxes(&InboxPolicy::of(limits), limits)
    }

    /// The laws of a site in which all inboxes have this policy.
    pub fn of_inboxes(policy: &InboxPolicy, limits: &Limits) -> Self {
        // What gives way is counted until that is durable, and so much may be on its way meanwhile.
        let slack = if policy.overflow == Overflow::DropOldest { limits.changes_in_flight_max } else { 0 };
        Self {
            bound: (policy.envelopes_max.saturating_add(slack), policy.envelopes_max),
            last: EnvelopeId(0),
            accepted: BTreeMap::new(),
            waiting: BTreeSet::new(),
            tally: Tally::default(),
            roster: BTreeSet::new(),
            displaced: BTreeSet::new(),
            ended: BTreeSet::new(),
            last_settled: BTreeMap::new(),
            facts: Vec::new(),
            told: 0,
            overheard: BTreeMap::new(),
            mute: false,
        }
    }

    /// Checks all laws that this event could break.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn observe(&mut self, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Opened(inventory) => self.open(inventory),
            Event::Committed { committed, states } => {
                self.commit(committed)?;
                acknowledged_with_effects(committed, states)
            }
            Event::Counted { tally, waiting } => self.count(tally, waiting),
            Event::Receipt(id) => self.is_committed(*id, "a receipt"),
            Event::Performed { id, pure, .. } => {
                // What a pure routine makes of it stays inside until both are durable (ruling 19).
                if !pure {
                    self.is_committed(*id, "a turn")?;
                }
                hold(Law::AdmitOnce, !self.ended.contains(id), || format!("{id} was performed after its end"))
            }
            Event::Told(fact) => {
                let next = self.facts.get(self.told);
                let law = if next.is_none() { Law::CommitBeforeTell } else { Law::Order };
                hold(law, next == Some(fact), || format!("{fact:?} was told; {next:?} was next"))?;
                self.told += 1;
                Ok(())
            }
            Event::Overheard { listener, fact } => {
                let place = self.overheard.entry(*listener).or_default();
                let next = self.facts.get(*place);
                hold(Law::Order, next == Some(fact), || format!("{listener} was told {fact:?}; {next:?} was next"))?;
                *place += 1;
                Ok(())
            }
            Event::Missed { listener, facts } => {
                *self.overheard.entry(*listener).or_default() += usize::try_from(*facts).unwrap_or(usize::MAX);
                Ok(())
            }
            Event::Synced { wanted, active, awake } => {
                let committed: Vec<_> = self.roster.iter().copied().collect();
                let right = wanted == active && committed == *active;
                hold(Law::Roster, right, || format!("wanted {wanted:?}, active {active:?}, committed {committed:?}"))?;
                let alone = awake.iter().find(|person| !active.contains(person));
                hold(Law::Roster, alone.is_none(), || format!("{alone:?} is awake, active are {active:?}"))
            }
            Event::Quiet => self.within(self.bound.1),
            Event::Mishap(mishap) => {
                self.mute |= matches!(mishap, Mishap::CrashBroadcast);
                Ok(())
            }
            Event::Closed => {
                let untold = self.facts.len() - self.told;
                hold(Law::Order, self.mute || untold == 0, || format!("{untold} facts were never told"))
            }
        }
    }

    fn is_committed(&self, id: EnvelopeId, what: &str) -> Result<(), Broken> {
        hold(Law::CommitBeforeTell, self.accepted.contains_key(&id), || {
            format!("{what} for {id}, which is not durable")
        })
    }

    /// What a life finds must be what the life before has left.
    fn open(&mut self, found: &Inventory) -> Result<(), Broken> {
        // What a crash left untold is never told: a new life has new subscribers.
        self.facts.clear();
        (self.told, self.mute) = (0, false);
        self.overheard.clear();
        let disk: BTreeSet<_> = found.waiting.iter().copied().collect();
        if found.forgets {
            self.forget(found, disk);
            return Ok(());
        }
        let gone = self.waiting.difference(&disk).next();
        hold(Law::CommitBeforeTell, gone.is_none(), || format!("{gone:?} was durable, and is not there"))?;
        let back = disk.difference(&self.waiting).next();
        hold(Law::AdmitOnce, back.is_none(), || format!("{back:?} has left its inbox, and is back"))?;
        hold(Law::Conservation, self.tally == found.tally, || {
            format!("the store counts {:?}, we {:?}", found.tally, self.tally)
        })?;
        let roster = found.roster.iter().copied().collect();
        hold(Law::Roster, self.roster == roster, || format!("committed {:?}, found {roster:?}", self.roster))
    }

    /// The disk has lost what it had not synced, as was agreed: what it has is the truth from now on.
    fn forget(&mut self, found: &Inventory, disk: BTreeSet<EnvelopeId>) {
        self.last = found.last;
        self.accepted.retain(|id, _| *id <= found.last);
        self.ended.retain(|id| *id <= found.last && !disk.contains(id));
        // What was settled is settled again.
        self.last_settled.clear();
        self.waiting = disk;
        self.tally = found.tally;
        self.roster = found.roster.iter().copied().collect();
    }

    fn commit(&mut self, committed: &Committed) -> Result<(), Broken> {
        for envelope in &committed.envelopes {
            let last = std::mem::replace(&mut self.last, envelope.id);
            hold(Law::Order, envelope.id > last, || format!("{} was given after {last}", envelope.id))?;
            self.accepted.insert(envelope.id, (envelope.draft.to, envelope.draft.priority));
            self.waiting.insert(envelope.id);
            if envelope.draft.not_before.is_some() {
                self.displaced.insert(envelope.id);
            }
        }
        self.displaced.extend(committed.retried.iter().map(|retry| retry.id));
        for settlement in &committed.settled {
            let id = settlement.id();
            hold(Law::AdmitOnce, self.ended.insert(id), || format!("{id} was settled twice"))?;
            let Some((person, lane)) = self.accepted.get(&id).copied() else { continue };
            if !self.displaced.contains(&id) {
                let lane = (person, lane, settlement.routine.to_string());
                let last = self.last_settled.insert(lane, id).unwrap_or_default();
                hold(Law::Order, last < id, || format!("{id} was settled after {last} of its lane"))?;
            }
        }
        let buried = committed.buried.iter().map(|burial| burial.id());
        self.ended.extend(buried.clone());
        let settled = committed.settled.iter().map(|settlement| settlement.id());
        let gone = committed.removed.iter().chain(&committed.dropped).map(|removal| removal.id);
        for id in settled.chain(buried).chain(gone) {
            hold(Law::AdmitOnce, self.waiting.remove(&id), || format!("{id} left its inbox, and was not in it"))?;
        }
        self.tally.accepted += committed.envelopes.len() as u64;
        self.tally.settled += committed.settled.len() as u64;
        self.tally.buried += committed.buried.len() as u64;
        self.tally.removed += committed.removed.len() as u64;
        self.tally.dropped += committed.dropped.len() as u64;
        self.tally.waiting = self.waiting.len() as u64;
        if let Some(difference) = &committed.roster {
            self.roster.retain(|person| !difference.left.contains(person));
            self.roster.extend(difference.joined.iter().map(|person| person.id));
        }
        self.facts.extend(committed.facts());
        Ok(())
    }

    /// The store's counts must add up, and be ours.
    fn count(&mut self, tally: &Tally, waiting: &[Waiting]) -> Result<(), Broken> {
        hold(Law::Conservation, tally.is_conserved(), || format!("{tally:?}"))?;
        hold(Law::Conservation, *tally == self.tally, || format!("the store counts {tally:?}, we {:?}", self.tally))?;
        let stored: usize = waiting.iter().map(|entry| entry.envelopes).sum();
        let ours = self.waiting.len();
        hold(Law::Conservation, stored == ours, || format!("{stored} envelopes wait, of {ours}"))?;
        self.within(self.bound.0)
    }

    fn within(&self, bound: usize) -> Result<(), Broken> {
        let mut held: BTreeMap<PersonId, usize> = BTreeMap::new();
        for (person, lane) in self.waiting.iter().filter_map(|id| self.accepted.get(id)) {
            *held.entry(*person).or_default() += usize::from(*lane != Priority::Control);
        }
        let over = held.iter().find(|(_, count)| **count > bound);
        hold(Law::Bounds, over.is_none(), || format!("{over:?} envelopes in an inbox, with a bound of {bound}"))
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
        let mut laws = Laws::new(&Limits { inbox_envelopes_max: 2, ..Limits::default() });
        events.iter().find_map(|event| laws.observe(event).err()).map(|broken| broken.law)
    }

    fn committed(change: Change, grant: Grant) -> Event {
        let states = change.states.clone();
        Event::Committed { committed: Arc::new(Committed::new(change, grant, Timestamp::default())), states }
    }

    fn counted(accepted: u64, waiting: u64) -> Event {
        let tally = Tally { accepted, waiting, settled: accepted - waiting, ..Tally::default() };
        Event::Counted { tally, waiting: vec![Waiting { person: PersonId(1), envelopes: waiting as usize, bytes: 0 }] }
    }

    fn accepted(id: i64) -> Event {
        let grant = Grant { entries: vec![Entry::Accepted(EnvelopeId(id))], ..Grant::default() };
        committed(Change::send(vec![Draft::to(1, &1_u64).unwrap()]), grant)
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
        committed(change, Grant::default())
    }

    fn opened(waiting: &[i64], roster: &[i64], tally: Tally) -> Event {
        let waiting = waiting.iter().copied().map(EnvelopeId).collect();
        let roster = roster.iter().copied().map(PersonId).collect();
        Event::Opened(Inventory { waiting, roster, tally, ..Inventory::default() })
    }

    fn told(event: &Event) -> Fact {
        let Event::Committed { committed, .. } = event else { unreachable!() };
        committed.facts().next().unwrap()
    }

    #[test]
    fn a_good_life_breaks_no_law() {
        let tally = Tally { accepted: 2, waiting: 0, settled: 2, ..Tally::default() };
        let first = accepted(1);
        let tell = Event::Told(told(&first));
        assert_eq!(
            broken(&[
                first.clone(),
                counted(1, 1),
                Event::Receipt(EnvelopeId(1)),
                tell,
                accepted(2),
                counted(2, 2),
                Event::Missed { listener: 0, facts: 1 },
                Event::Overheard { listener: 0, fact: told(&accepted(2)) },
                settled(1, &[1]),
                settled(2, &[1, 2]),
                counted(2, 0),
                Event::Quiet,
                opened(&[], &[], tally),
                Event::Closed,
            ]),
            None
        );
    }

    #[test]
    fn each_law_can_be_broken() {
        let person = PersonId(1);
        let performed = |id| Event::Performed { person, id: EnvelopeId(id), attempt: 1, pure: false };
        let waits = Tally { accepted: 1, waiting: 1, ..Tally::default() };
        assert_eq!(broken(&[accepted(1), performed(3)]), Some(Law::CommitBeforeTell));
        assert_eq!(broken(&[Event::Receipt(EnvelopeId(1))]), Some(Law::CommitBeforeTell));
        assert_eq!(broken(&[Event::Told(Fact::Cleared)]), Some(Law::CommitBeforeTell));
        assert_eq!(broken(&[accepted(1), opened(&[], &[], waits)]), Some(Law::CommitBeforeTell));
        assert_eq!(broken(&[accepted(1), Event::Told(Fact::Cleared)]), Some(Law::Order));
        let overheard = Event::Overheard { listener: 0, fact: Fact::Cleared };
        assert_eq!(broken(&[accepted(1), overheard]), Some(Law::Order));
        assert_eq!(broken(&[accepted(1), Event::Closed]), Some(Law::Order));
        assert_eq!(broken(&[accepted(2), accepted(1)]), Some(Law::Order));
        assert_eq!(broken(&[accepted(1), accepted(2), settled(2, &[2]), settled(1, &[2, 1])]), Some(Law::Order));
        assert_eq!(broken(&[accepted(1), settled(1, &[1]), settled(1, &[1])]), Some(Law::AdmitOnce));
        assert_eq!(broken(&[accepted(1), settled(1, &[1]), performed(1)]), Some(Law::AdmitOnce));
        assert_eq!(broken(&[accepted(1), settled(1, &[1]), opened(&[1], &[], waits)]), Some(Law::AdmitOnce));
        assert_eq!(broken(&[accepted(1), settled(1, &[])]), Some(Law::AckWithEffects));
        assert_eq!(broken(&[accepted(1), counted(2, 1)]), Some(Law::Conservation));
        assert_eq!(broken(&[accepted(1), opened(&[1], &[], Tally::default())]), Some(Law::Conservation));
        let three = [accepted(1), accepted(2), accepted(3)];
        assert_eq!(broken(&[&three[..], &[counted(3, 3)]].concat()), Some(Law::Bounds));
        assert_eq!(broken(&[&three[..], &[Event::Quiet]].concat()), Some(Law::Bounds));
        let synced = Event::Synced { wanted: vec![], active: vec![], awake: vec![person] };
        assert_eq!(broken(&[synced]), Some(Law::Roster));
        let synced = Event::Synced { wanted: vec![person], active: vec![person], awake: vec![] };
        assert_eq!(broken(&[synced]), Some(Law::Roster));
        assert_eq!(broken(&[opened(&[], &[1], Tally::default())]), Some(Law::Roster));
        let law = |life, recovered| recovery_equals_life(&life, &recovered).err().map(|broken| broken.law);
        assert_eq!((law(1, 1), law(1, 2)), (None, Some(Law::RecoveryEqualsLife)));
    }
}
