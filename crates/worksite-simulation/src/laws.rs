//! The laws own what must always hold: each is named once, here, and checked after every event.

use crate::scenario::{Letter, Letters, SlowClerk};
use crate::trace::{Event, Inventory};
use crate::weather::Mishap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use worksite_model::{
    AsyncRoutine, Committed, Envelope, EnvelopeId, Fact, InboxPolicy, Limits, Overflow, PersonId, Priority, Refusal,
    Settlement, StateWrite, Tally, Waiting,
};

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
    /// Envelopes that were accepted.
    accepted: BTreeMap<EnvelopeId, Arc<Envelope>>,
    /// Those of them that have not left their inboxes.
    waiting: BTreeSet<EnvelopeId>,
    /// What became of them, by our own count.
    tally: Tally,
    /// The active people, as committed.
    roster: BTreeSet<PersonId>,
    /// Envelopes that had another attempt or a moment to wait for: they lose their place in the lane.
    displaced: BTreeSet<EnvelopeId>,
    settled: BTreeSet<EnvelopeId>,
    buried: BTreeSet<EnvelopeId>,
    /// Envelopes that were taken away: acknowledged by hand, purged, cleared or dropped.
    removed: BTreeSet<EnvelopeId>,
    /// Attempts at effects outside that were begun, and that nothing has happened to since.
    begun: BTreeSet<(PersonId, EnvelopeId, u32)>,
    /// People of whose workers one may have gone in this life, on purpose or not, in the middle of something.
    shaken: BTreeSet<PersonId>,
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
            settled: BTreeSet::new(),
            buried: BTreeSet::new(),
            removed: BTreeSet::new(),
            begun: BTreeSet::new(),
            shaken: BTreeSet::new(),
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
            Event::Committed { committed, states } => self.commit(committed, states),
            Event::Refused { author, refusal } => self.refuse(*author, refusal),
            Event::Counted { tally, waiting } => self.count(tally, waiting),
            // Whoever worked on what could not be written works on it again.
            Event::Failed(_) => {
                self.begun.clear();
                Ok(())
            }
            Event::Receipt(id) => self.is_committed(*id, "a receipt"),
            Event::Answered(id) => hold(Law::CommitBeforeTell, self.settled.contains(id), || {
                format!("{id} was answered, and is not durably settled")
            }),
            Event::Performed { person, routine, id, attempt, pure } => {
                // What a pure routine makes of it stays inside until both are durable (ruling 19).
                if !pure && *id != EnvelopeId::default() {
                    self.is_committed(*id, "a turn")?;
                }
                self.perform(*person, routine, *id, *attempt)
            }
            Event::Drained { ids, .. } => self.drain(ids),
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
                if let Mishap::CrashWorker(person) = mishap {
                    self.shaken.insert(PersonId(*person));
                }
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
        self.begun.clear();
        self.shaken.clear();
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
        for gone in [&mut self.settled, &mut self.buried, &mut self.removed] {
            gone.retain(|id| *id <= found.last && !disk.contains(id));
        }
        // What was settled is settled again.
        self.last_settled.clear();
        self.waiting = disk;
        self.tally = found.tally;
        self.roster = found.roster.iter().copied().collect();
    }

    fn commit(&mut self, committed: &Committed, states: &[StateWrite]) -> Result<(), Broken> {
        for envelope in &committed.envelopes {
            let last = std::mem::replace(&mut self.last, envelope.id);
            hold(Law::Order, envelope.id > last, || format!("{} was given after {last}", envelope.id))?;
            self.accepted.insert(envelope.id, envelope.clone());
            self.waiting.insert(envelope.id);
            if envelope.draft.not_before.is_some() {
                self.displaced.insert(envelope.id);
            }
        }
        self.displaced.extend(committed.retried.iter().map(|retry| retry.id));
        for settlement in &committed.settled {
            self.settle(settlement, committed, states)?;
        }
        let buried = committed.buried.iter().map(|burial| burial.id());
        self.buried.extend(buried.clone());
        let removed = committed.removed.iter().chain(&committed.dropped).map(|removal| removal.id);
        self.removed.extend(removed.clone());
        let settled = committed.settled.iter().map(|settlement| settlement.id());
        for id in settled.chain(buried).chain(removed) {
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
            self.shaken.extend(&difference.left);
        }
        self.facts.extend(committed.facts());
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement, committed: &Committed, states: &[StateWrite]) -> Result<(), Broken> {
        let id = settlement.id();
        hold(Law::AdmitOnce, self.settled.insert(id), || format!("{id} was settled twice"))?;
        let Some(envelope) = self.accepted.get(&id) else { return Ok(()) };
        acknowledged_with_effects(envelope, settlement.routine, committed, states)?;
        if !self.displaced.contains(&id) {
            let lane = (envelope.draft.to, envelope.draft.priority, settlement.routine.to_string());
            let last = self.last_settled.insert(lane, id).unwrap_or_default();
            hold(Law::Order, last < id, || format!("{id} was settled after {last} of its lane"))?;
        }
        Ok(())
    }

    /// A worker that is the only one of its person in this life, and whose settlement is refused, has held what was not its own any more. Only what was taken away by hand,
    /// by purge, by clearing or for want of room may go while somebody works on it; who runs ahead of the disk may work
    /// on what is not accepted in the end.
    fn refuse(&self, author: Option<PersonId>, refusal: &Refusal) -> Result<(), Broken> {
        let Refusal::NotWaiting(id) = refusal else { return Ok(()) };
        let may_go = self.removed.contains(id) || !self.accepted.contains_key(id);
        let author = author.filter(|author| !self.shaken.contains(author));
        hold(Law::AdmitOnce, author.is_none() || may_go, || {
            format!("{author:?} held {id}, which did not wait any more")
        })
    }

    fn perform(&mut self, person: PersonId, routine: &str, id: EnvelopeId, attempt: u32) -> Result<(), Broken> {
        let gone = self.settled.contains(&id) || self.buried.contains(&id);
        hold(Law::AdmitOnce, !gone, || format!("{id} was performed after it had left the inbox"))?;
        // What has no effect outside may be performed again at will: nobody can tell.
        if routine != SlowClerk::NAME || self.shaken.contains(&person) {
            return Ok(());
        }
        let once = self.begun.insert((person, id, attempt));
        hold(Law::AdmitOnce, once, || format!("{id} was performed twice, attempt {attempt}, and nothing had happened"))
    }

    fn drain(&self, ids: &[EnvelopeId]) -> Result<(), Broken> {
        let mut last = None;
        for id in ids {
            self.is_committed(*id, "mail by hand")?;
            hold(Law::AdmitOnce, !self.removed.contains(id), || format!("{id} came back after its acknowledgement"))?;
            let place = self.accepted.get(id).map(|envelope| (Reverse(envelope.draft.priority), *id));
            hold(Law::Order, last < place, || format!("{id} was taken out of order"))?;
            last = place;
        }
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
        for envelope in self.waiting.iter().filter_map(|id| self.accepted.get(id)) {
            let counts = envelope.draft.priority != Priority::Control;
            *held.entry(envelope.draft.to).or_default() += usize::from(counts);
        }
        let over = held.iter().find(|(_, count)| **count > bound);
        hold(Law::Bounds, over.is_none(), || format!("{over:?} envelopes in an inbox, with a bound of {bound}"))
    }
}

/// An envelope that a clerk settles stands in the state that the same commit holds, and what had to be passed on goes out
/// with it.
fn acknowledged_with_effects(
    envelope: &Envelope,
    routine: &str,
    committed: &Committed,
    states: &[StateWrite],
) -> Result<(), Broken> {
    let state = states.iter().find(|state| state.routine == routine);
    let letters = state.and_then(|state| state.payload.decode::<Letters>().ok());
    let noted = letters.is_some_and(|letters| letters.ids.contains(&envelope.id.0));
    hold(Law::AckWithEffects, noted, || format!("{} left the inbox without its effect", envelope.id))?;
    let next = match envelope.draft.payload.decode::<Letter>() {
        Ok(Letter::Circular(number, route)) => {
            route.first().map(|to| (*to, Letter::Circular(number, route[1..].to_vec())))
        }
        _ => None,
    };
    let Some((to, next)) = next else { return Ok(()) };
    let sent = committed.envelopes.iter().any(|sent| {
        sent.draft.to == PersonId(to) && sent.draft.payload.decode::<Letter>().is_ok_and(|letter| letter == next)
    });
    hold(Law::AckWithEffects, sent, || format!("{} was not passed on to {to}", envelope.id))
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
mod tests;
