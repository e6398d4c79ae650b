//! Planted mistakes: for every law at least one store, or gate, that breaks it, and the laws notice. None of them is in the
//! product: each stands between a real house and a real store.

use super::{letter, played};
use worksite_model::{
    Change, EnvelopeId, Limits, PersonId, Recovered, RosterChange, Store, StoreError, Timestamp, Verdict,
};
use worksite_simulation::{
    Broken, Fault, Incident, LAWS, Law, Layer, Layered, Letter, MemoryDisk, MemoryStore, Mishap, PowerDisk, Scenario,
    Step, Weather, World, recovery_equals_life,
};

/// A mistake, and the law it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// The disk says that it has synced, and has not.
    TellsBeforeSync,
    /// A batch is written from its end.
    ReordersBatch,
    /// Nobody is told up to which id mail was recovered.
    ForgetsWatermark,
    /// What was settled stays.
    LosesAcknowledgement,
    /// The acknowledgement is written first, and its effects in a transaction of their own.
    SplitsChange,
    /// Now and then an envelope is removed that nobody asked to be.
    LosesEnvelope,
    /// The last of a change's drafts is written twice.
    DeliversTwice,
    /// A state is read as if it had never been written.
    ForgetsState,
    /// Who leaves stays.
    KeepsLeavers,
    /// The gate lets in one more than the inbox may hold.
    WidensGate,
}

const MISTAKES: [(Mistake, Law); 10] = [
    (Mistake::TellsBeforeSync, Law::CommitBeforeTell),
    (Mistake::ReordersBatch, Law::Order),
    (Mistake::ForgetsWatermark, Law::AdmitOnce),
    (Mistake::LosesAcknowledgement, Law::Conservation),
    (Mistake::SplitsChange, Law::AckWithEffects),
    (Mistake::LosesEnvelope, Law::Conservation),
    (Mistake::DeliversTwice, Law::Conservation),
    (Mistake::ForgetsState, Law::RecoveryEqualsLife),
    (Mistake::KeepsLeavers, Law::Roster),
    (Mistake::WidensGate, Law::Bounds),
];

impl Mistake {
    /// Whether the laws are to take its store for the disk itself: then it is the disk that lies.
    fn is_of_the_disk(self) -> bool {
        !matches!(self, Self::ReordersBatch | Self::SplitsChange)
    }
}

/// A store that makes a mistake.
struct Mistaken {
    store: Box<dyn Store>,
    mistake: Mistake,
    commits: u64,
}

impl Layer for Mistaken {
    fn below(&mut self) -> Result<&mut dyn Store, StoreError> {
        Ok(self.store.as_mut())
    }

    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        self.commits += 1;
        let mut batch = batch.to_vec();
        match self.mistake {
            Mistake::ReordersBatch => {
                // Numbered drafts would be refused, and nothing would be told.
                batch.iter_mut().for_each(|change| change.numbering = None);
                batch.reverse();
                let mut verdicts = self.store.commit(&batch, at)?;
                verdicts.reverse();
                return Ok(verdicts);
            }
            Mistake::LosesAcknowledgement => batch.iter_mut().for_each(|change| change.settled.clear()),
            Mistake::SplitsChange => return batch.iter().map(|change| self.split(change, at)).collect(),
            Mistake::LosesEnvelope if self.commits.is_multiple_of(7) => {
                let verdicts = self.store.commit(&batch, at)?;
                self.lose(at)?;
                return Ok(verdicts);
            }
            Mistake::DeliversTwice => {
                for change in &mut batch {
                    let again = change.drafts.last().cloned().map(|mut draft| {
                        draft.key = None;
                        draft
                    });
                    change.drafts.extend(again);
                }
            }
            Mistake::KeepsLeavers => {
                for change in &mut batch {
                    if let Some(RosterChange::Sync { target, .. }) = &change.roster {
                        change.roster = Some(RosterChange::Join(target.people().cloned().collect()));
                    }
                }
            }
            _ => {}
        }
        self.store.commit(&batch, at)
    }

    fn recover(&mut self, person: PersonId, at: Timestamp) -> Result<Recovered, StoreError> {
        let mut recovered = self.store.recover(person, at)?;
        match self.mistake {
            Mistake::ForgetsWatermark => recovered.watermark = EnvelopeId(0),
            Mistake::ForgetsState => recovered.states.clear(),
            _ => {}
        }
        Ok(recovered)
    }
}

impl Mistaken {
    fn split(&mut self, change: &Change, at: Timestamp) -> Result<Verdict, StoreError> {
        let acknowledgement = Change { author: change.author, settled: change.settled.clone(), ..Change::default() };
        let effects = Change { settled: Vec::new(), ..change.clone() };
        self.store.commit(&[acknowledgement], at)?;
        let mut verdicts = self.store.commit(&[effects], at)?;
        verdicts.pop().ok_or(StoreError::Corrupt("no verdict".into()))
    }

    fn lose(&mut self, at: Timestamp) -> Result<(), StoreError> {
        let Some(waiting) = self.store.waiting()?.first().copied() else { return Ok(()) };
        let ids = self.store.recover(waiting.person, at)?.waiting;
        let last = ids.last().map(|waiting| waiting.delivery.id()).into_iter().collect();
        self.store.commit(&[Change::acknowledge(last)], at).map(drop)
    }
}

/// Workers crash and the process dies now and then: some mistakes only show then.
fn rough(life: usize, seed: u64) -> Weather {
    if life > 2 {
        return Weather::default();
    }
    let crash = |after: usize| Incident { after, mishap: Mishap::CrashWorker(1 + (after as i64 + seed as i64) % 4) };
    let incidents = (1..12).map(|times| crash(times * (5 + seed as usize % 7))).collect();
    Weather { faults: vec![Fault::CrashAfter(12 + seed % 9)], incidents, ..Weather::default() }
}

/// Many notes at once: more than the inboxes of this scenario hold.
fn pressure() -> Scenario {
    let notes = (0..40).map(|number| letter(1 + number % 2, Letter::Note(number as u32), &format!("n{number}")));
    Scenario { steps: vec![Step::Sync(vec![1, 2]), Step::Send(notes.collect()), Step::Quiesce] }
}

fn play(mistake: Option<Mistake>, seed: u64) -> Result<(), Broken> {
    let mut scenario = Scenario::generate(seed, 20);
    let mut world = World::new(seed);
    if mistake == Some(Mistake::WidensGate) {
        let holds = |envelopes| Limits { inbox_envelopes_max: envelopes, ..Limits::default() };
        (world, scenario) = (World::with_limits(seed, holds(4)).deceived(holds(5)), pressure());
    }
    let (calm, _) = played(seed, &scenario, &[]);
    let mistaken = move |store| match mistake {
        Some(mistake) => Box::new(Layered::of(Mistaken { store, mistake, commits: 0 })) as Box<dyn Store>,
        None => store,
    };
    let of_the_disk = mistake.is_none_or(Mistake::is_of_the_disk);
    if !of_the_disk {
        world = world.between(mistaken);
    }
    let (disk, unsynced) = (MemoryDisk::default(), PowerDisk::new(1_000));
    let remembered = world.lives(&scenario, |life| {
        if mistake == Some(Mistake::TellsBeforeSync) {
            return (Box::new(unsynced.open((life < 2).then_some(9))) as Box<dyn Store>, Weather::default());
        }
        let store = Box::new(MemoryStore::open(&disk));
        (if of_the_disk { mistaken(store) } else { store }, rough(life, seed))
    });
    recovery_equals_life(&calm, &remembered?)
}

#[test]
fn a_mistake_planted_against_each_law_is_caught_by_it() {
    super::soak::hush();
    for law in LAWS {
        assert!(MISTAKES.iter().any(|(_, broken)| *broken == law), "no mistake breaks {law}");
    }
    for (mistake, law) in MISTAKES {
        let broken = (0..40).find_map(|seed| play(Some(mistake), seed).err().map(|broken| (seed, broken)));
        let (seed, broken) = broken.unwrap_or_else(|| panic!("nobody noticed {mistake:?}"));
        println!("{mistake:?}: seed {seed}: {broken}");
        assert_eq!(broken.law, law, "{mistake:?} broke {broken}");
    }
}

#[test]
fn without_a_mistake_the_same_lives_break_no_law() {
    super::soak::hush();
    for seed in 0..40 {
        play(None, seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
}
