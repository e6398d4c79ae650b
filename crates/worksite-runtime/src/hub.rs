//! The hub owns the subscribers' queues: one for each, bounded, filled by broadcast and emptied by whoever listens.
//!
//! Nobody waits for a subscriber. What finds a queue full is dropped by that subscriber's own policy, and counted there;
//! the others do not notice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Waker;
use worksite_model::{Fact, Interest, PersonId};

/// What becomes of facts that find a subscriber's queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Slow {
    /// The oldest in the queue is dropped for it.
    #[default]
    DropOldest,
    /// It is dropped.
    DropNewest,
    /// The subscription ends; what is in the queue is still told.
    Disconnect,
}

/// What a subscriber wants, and how much it may lag behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Which facts.
    pub interest: Interest,
    /// How many facts wait in its queue at most.
    pub facts_max: usize,
    /// What becomes of more.
    pub slow: Slow,
    /// Whose leaving ends it, told last.
    pub until_left: Option<PersonId>,
}

/// How a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscriptionReport {
    /// Facts handed to the subscriber.
    pub delivered: u64,
    /// Facts it wanted and lost by its policy.
    pub dropped: u64,
    /// Facts that wait in its queue.
    pub lag: usize,
}

/// One subscriber's queue.
pub(crate) struct Outbox {
    options: SubscriptionOptions,
    queue: Mutex<Queue>,
    /// Whether nobody listens any more.
    deserted: AtomicBool,
}

#[derive(Default)]
struct Queue {
    facts: VecDeque<Arc<Fact>>,
    /// Lost since the subscriber was last told so.
    missed: u64,
    delivered: u64,
    dropped: u64,
    /// Whether nothing more comes.
    ended: bool,
    waker: Option<Waker>,
}

/// What a subscriber takes from its queue.
pub(crate) enum Taken {
    Fact(Arc<Fact>),
    Missed(u64),
    Nothing,
    Ended,
}

impl Outbox {
    pub(crate) fn new(options: SubscriptionOptions) -> Self {
        Self { options, queue: Mutex::default(), deserted: AtomicBool::new(false) }
    }

    /// Takes what is next, or leaves the waker to be woken when there is something.
    pub(crate) fn take(&self, waker: &Waker) -> Taken {
        let mut queue = self.lock();
        if queue.missed > 0 {
            return Taken::Missed(std::mem::take(&mut queue.missed));
        }
        match queue.facts.pop_front() {
            Some(fact) => {
                queue.delivered += 1;
                Taken::Fact(fact)
            }
            None if queue.ended => Taken::Ended,
            None => {
                queue.waker = Some(waker.clone());
                Taken::Nothing
            }
        }
    }

    pub(crate) fn report(&self) -> SubscriptionReport {
        let queue = self.lock();
        SubscriptionReport { delivered: queue.delivered, dropped: queue.dropped, lag: queue.facts.len() }
    }

    /// Nobody listens any more: it is forgotten at the next fact.
    pub(crate) fn desert(&self) {
        self.deserted.store(true, Ordering::Release);
    }

    /// Puts in what is wanted of these facts, under one lock; false when nothing more is to be put in.
    fn put(&self, facts: &[Arc<Fact>]) -> bool {
        if self.deserted.load(Ordering::Acquire) {
            return false;
        }
        let everything = self.options.interest == Interest::default();
        let mut wanted = facts.iter().filter(|fact| everything || self.options.interest.fits(fact)).peekable();
        if wanted.peek().is_none() {
            return true;
        }
        let mut queue = self.lock();
        for fact in wanted {
            if !queue.ended {
                queue.put(fact, &self.options);
            }
        }
        let (goes_on, waker) = (!queue.ended, queue.waker.take());
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        goes_on
    }

    fn end(&self) {
        let mut queue = self.lock();
        queue.ended = true;
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn put(&mut self, fact: &Arc<Fact>, options: &SubscriptionOptions) {
        if self.facts.len() >= options.facts_max {
            match options.slow {
                Slow::DropOldest => drop(self.facts.pop_front()),
                Slow::DropNewest => {}
                Slow::Disconnect => self.ended = true,
            }
            self.missed += 1;
            self.dropped += 1;
        }
        if self.facts.len() < options.facts_max {
            self.facts.push_back(fact.clone());
        }
        let last = options.until_left.is_some_and(|person| **fact == Fact::Left { person });
        self.ended |= last;
    }
}

/// All queues.
#[derive(Default)]
pub(crate) struct Hub {
    outboxes: RwLock<Vec<Arc<Outbox>>>,
    closed: AtomicBool,
}

impl Hub {
    /// Adds a queue: everything told from now on is put into it. In a closed house it ends at once.
    pub(crate) fn add(&self, outbox: Arc<Outbox>) {
        self.outboxes.write().unwrap_or_else(PoisonError::into_inner).push(outbox.clone());
        if self.closed.load(Ordering::Acquire) {
            outbox.end();
        }
    }

    /// Whether nobody listens.
    pub(crate) fn is_empty(&self) -> bool {
        self.outboxes.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Puts facts into all queues, in order.
    pub(crate) fn tell(&self, facts: &[Arc<Fact>]) {
        let outboxes = self.outboxes.read().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = outboxes.iter().filter(|outbox| !outbox.put(facts)).cloned().collect();
        drop(outboxes);
        if !gone.is_empty() {
            let mut outboxes = self.outboxes.write().unwrap_or_else(PoisonError::into_inner);
            outboxes.retain(|outbox| !gone.iter().any(|gone| Arc::ptr_eq(gone, outbox)));
        }
    }

    /// Nothing more comes: all subscriptions end once their queues are empty.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for outbox in self.outboxes.write().unwrap_or_else(PoisonError::into_inner).drain(..) {
            outbox.end();
        }
    }

    /// How all subscriptions stand.
    pub(crate) fn reports(&self) -> Vec<SubscriptionReport> {
        let outboxes = self.outboxes.read().unwrap_or_else(PoisonError::into_inner);
        outboxes.iter().map(|outbox| outbox.report()).collect()
    }
}
