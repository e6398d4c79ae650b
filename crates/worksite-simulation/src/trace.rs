//! The trace owns what happened: every commit as the store saw it, and everything that was told or performed, in order. It
//! shows each event to the laws as it happens.

use crate::laws::{Broken, Laws};
use crate::layer::{Layer, Layered};
use crate::weather::Mishap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use worksite_model::{
    Change, Committed, EnvelopeId, Fact, PersonId, Refusal, StateWrite, Store, StoreError, Tally, Timestamp, Verdict,
    Waiting,
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A life of the process began, with this on its disk.
    Opened(Inventory),
    /// A change became durable; with the states it wrote.
    Committed {
        /// The change, with its ids.
        committed: Arc<Committed>,
        /// The states it wrote.
        states: Vec<StateWrite>,
    },
    /// A batch of changes became durable; these are the counts after it.
    Counted {
        /// What became of all mail.
        tally: Tally,
        /// Who had how much waiting.
        waiting: Vec<Waiting>,
    },
    /// A change was refused.
    Refused {
        /// Whose worker proposed it, if any did.
        author: Option<PersonId>,
        /// Why.
        refusal: Refusal,
    },
    /// A batch of changes failed, and the house was told so.
    Failed(StoreError),
    /// A sender was told that its draft is durable.
    Receipt(EnvelopeId),
    /// An asker was told what its envelope came to.
    Answered(EnvelopeId),
    /// Mail was taken by hand.
    Drained {
        /// Whose.
        person: PersonId,
        /// Which envelopes, in the order in which they were taken.
        ids: Vec<EnvelopeId>,
    },
    /// A subscriber that keeps up was told a fact.
    Told(Fact),
    /// A subscriber that does not keep up was told a fact.
    Overheard {
        /// Which subscriber.
        listener: usize,
        /// What.
        fact: Fact,
    },
    /// A subscriber was told that it has missed so many facts.
    Missed {
        /// Which subscriber.
        listener: usize,
        /// How many.
        facts: u64,
    },
    /// A routine began with an envelope.
    Performed {
        /// Whose worker.
        person: PersonId,
        /// Which routine.
        routine: &'static str,
        /// Which envelope; 0 when it was never written.
        id: EnvelopeId,
        /// Which attempt.
        attempt: u32,
        /// Whether the routine is pure, and may run ahead of the disk.
        pure: bool,
    },
    /// The roster was synced: who was wanted, who is active now, and whose workers are awake.
    Synced {
        /// Who was wanted.
        wanted: Vec<PersonId>,
        /// Who is active.
        active: Vec<PersonId>,
        /// Whose workers are awake.
        awake: Vec<PersonId>,
    },
    /// Everybody had got done with everything.
    Quiet,
    /// Something went wrong.
    Mishap(Mishap),
    /// The house closed in order: everything has been told.
    Closed,
}

/// What a life finds on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Who is active.
    pub roster: Vec<PersonId>,
    /// What waits.
    pub waiting: Vec<EnvelopeId>,
    /// The highest id given.
    pub last: EnvelopeId,
    /// What became of all mail.
    pub tally: Tally,
    /// Whether the disk may have lost what it had not synced, as was agreed.
    pub forgets: bool,
}

impl Inventory {
    /// What is in this store.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn of(store: &mut dyn Store, forgets: bool) -> Result<Self, StoreError> {
        let roster = store.roster()?.people().map(|person| person.id).collect();
        let mut ids = Vec::new();
        for waiting in store.waiting()? {
            let recovered = store.recover(waiting.person, Timestamp::default())?;
            ids.extend(recovered.waiting.iter().map(|waiting| waiting.delivery.id()));
        }
        ids.sort_unstable();
        Ok(Self { roster, waiting: ids, last: store.last_id()?, tally: store.tally()?, forgets })
    }
}

/// What happened, in order; shared by all who see something happen.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    events: Vec<Event>,
    /// Who watches, if anybody.
    laws: Option<Laws>,
    /// The first law that was broken.
    broken: Option<Broken>,
    /// After which event somebody is to be called.
    call_at: Option<usize>,
    call: Arc<Notify>,
}

impl Trace {
    /// A trace over which these laws watch.
    pub fn watched(laws: Laws) -> Self {
        Self(Arc::new(Mutex::new(Record { laws: Some(laws), ..Record::default() })))
    }

    /// Adds what just happened.
    pub fn push(&self, event: Event) {
        let mut record = self.record();
        if record.broken.is_none()
            && let Some(laws) = &mut record.laws
        {
            record.broken = laws.observe(&event).err();
        }
        record.events.push(event);
        if record.call_at.is_some_and(|at| record.events.len() >= at) {
            record.call_at = None;
            record.call.notify_one();
        }
    }

    /// All that happened so far.
    pub fn events(&self) -> Vec<Event> {
        self.record().events.clone()
    }

    /// How many events there have been.
    pub fn len(&self) -> usize {
        self.record().events.len()
    }

    /// Whether nothing has happened yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first law that was broken, if any was.
    pub fn broken(&self) -> Option<Broken> {
        self.record().broken.clone()
    }

    /// Waits until there have been so many events.
    pub(crate) async fn reaches(&self, events: usize) {
        let call = {
            let mut record = self.record();
            if record.events.len() >= events {
                return;
            }
            record.call_at = Some(events);
            record.call.clone()
        };
        call.notified().await;
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Trace {
    /// A line an event, the same for the same events byte for byte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record().events.iter().try_for_each(|event| writeln!(f, "{event:?}"))
    }
}

/// A store whose commits are seen by a trace.
pub type RecordingStore = Layered<Recording>;

/// What a [`RecordingStore`] adds to the one below it.
pub struct Recording {
    store: Box<dyn Store>,
    trace: Trace,
}

impl RecordingStore {
    /// This store, seen by this trace.
    pub fn new(store: Box<dyn Store>, trace: Trace) -> Self {
        Self(Recording { store, trace })
    }
}

impl Layer for Recording {
    fn below(&mut self) -> Result<&mut dyn Store, StoreError> {
        Ok(self.store.as_mut())
    }

    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        let verdicts = self.store.commit(batch, at)?;
        for (change, verdict) in batch.iter().zip(&verdicts) {
            self.trace.push(match verdict {
                Ok(grant) => {
                    let states = change.states.clone();
                    let committed = Arc::new(Committed::new(change.clone(), grant.clone(), at));
                    Event::Committed { committed, states }
                }
                Err(refusal) => Event::Refused { author: change.author, refusal: refusal.clone() },
            });
        }
        self.trace.push(Event::Counted { tally: self.store.tally()?, waiting: self.store.waiting()? });
        Ok(verdicts)
    }
}
