//! The directory owns what a sender must know before it writes: who is active, how full their inbox is, and, for
//! the workers awake, where they sit. It is shared by all handles and actors.
//!
//! It is a gate, not a truth: the store checks the roster again in the transaction. A place in an inbox is *reserved*
//! here before the change is proposed, so that the bound holds however many senders there are, and *released* when the
//! envelope has left the inbox, or was never accepted.

mod people;
mod places;
mod rest;
mod rows;
mod seats;
mod standing;

use crate::status::{Status, Tenure};
use crate::worker::Worker;
use actix::Addr;
pub(crate) use people::Setting;
pub(crate) use places::NoPlace;
use rows::Desks;
pub(crate) use seats::Seat;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use worksite_model::flow::{Flow, Post};
use worksite_model::{Draft, Durable, InboxPolicy, Limits, Overflow, PersonId, Registry, Rejection, Roster};

/// The place of the routine that takes posts, which is a flow and stands in no registry.
const FLOW_PLACE: usize = u32::MAX as usize;

/// How many policies are known by heart.
const POLICIES_KNOWN_MAX: usize = 64;

/// A worker's seat: present for everybody who is active, or has mail waiting for a return. Everybody on the roster costs one,
/// whether awake or not, so it counts in 32 bits: what is counted takes more than a byte each, here and in the store.
struct Desk {
    /// Whether the person is on the roster.
    active: bool,
    /// Whether the application takes the mail by hand.
    manual: bool,
    /// Whether only control mail is taken.
    paused: bool,
    /// Whether the person is leaving, and takes nothing more.
    leaving: bool,
    /// Whether its worker runs a flow.
    runs_flow: bool,
    /// Whether its worker has nothing to drop although the inbox holds more than it should.
    stuck: AtomicBool,
    /// Whether its worker may remember what volatile drafts have changed.
    volatile: AtomicBool,
    /// How the worker stands: a [`Status`].
    status: AtomicU8,
    /// Which worker sits here: told apart from its predecessors, whose last words may still be on their way.
    generation: u32,
    /// When it last had something to do, in sweeps.
    used: AtomicU32,
    /// Where the worker is, while it is awake.
    address: Option<Addr<Worker>>,
    /// How the inbox takes mail.
    policy: Arc<InboxPolicy>,
    /// Envelopes accepted, or about to be, that have not left the inbox.
    waiting: AtomicU32,
    /// How many of them nobody takes now, as the worker has said last.
    sleeping: AtomicU32,
    /// Bytes of their bodies.
    bytes: AtomicUsize,
    /// Changes whose senders wait for room.
    parked: AtomicU32,
    /// Drafts that are being written and come to the worker afterwards. Nothing may overtake them.
    corridor: AtomicU32,
    /// What shows how the worker stands; made when somebody first looks, or something has gone wrong.
    tenure: Option<Arc<Tenure>>,
}

// A million people have a million desks.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Desk>() <= 80);

impl Desk {
    fn new(policy: Arc<InboxPolicy>) -> Self {
        Self {
            active: false,
            manual: false,
            paused: false,
            leaving: false,
            runs_flow: false,
            stuck: AtomicBool::new(false),
            volatile: AtomicBool::new(false),
            status: AtomicU8::new(Status::Idle as u8),
            generation: 0,
            used: AtomicU32::new(0),
            address: None,
            policy,
            waiting: AtomicU32::new(0),
            sleeping: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            parked: AtomicU32::new(0),
            corridor: AtomicU32::new(0),
            tenure: None,
        }
    }

    /// Envelopes accepted, or about to be, that have not left the inbox.
    fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire) as usize
    }

    /// Whether it has more than it should hold, so that something old has to go.
    fn is_over(&self) -> bool {
        let (waiting, bytes) = (self.waiting(), self.bytes.load(Ordering::Acquire));
        self.policy.overflow == Overflow::DropOldest
            && (waiting > self.policy.envelopes_max || (waiting > 1 && bytes > self.policy.bytes_max))
    }
}

/// Who is active, how full their inbox is, and where their worker sits.
pub(crate) struct Directory {
    setting: Setting,
    /// The policies in use; most people share one.
    policies: RwLock<Vec<Arc<InboxPolicy>>>,
    desks: RwLock<Desks>,
    roster: RwLock<Roster>,
    /// Whose workers run flows, and which.
    flow_people: RwLock<BTreeMap<PersonId, Flow>>,
    /// Envelopes waiting for active people whose workers have routines: none left means the house is quiet.
    due: AtomicUsize,
    /// How many of those nobody takes now: scheduled, or their worker rests or is held.
    sleeping: AtomicUsize,
    /// Envelopes waiting for anybody, and bytes of their bodies.
    site_waiting: AtomicUsize,
    site_bytes: AtomicUsize,
    /// Changes whose senders wait for room.
    parked: AtomicUsize,
    /// Whether somebody waits for the house to rest.
    watched: AtomicBool,
    /// Drafts of routines that came too soon after another.
    cooled: AtomicU64,
    /// Changes on their way that may take workers from their desks, or let them rest.
    upheavals: AtomicUsize,
    /// How many workers have ever sat down.
    generations: AtomicU32,
    /// Workers that sit at their desks.
    seated: AtomicUsize,
    /// Changes from outside that the writer has not answered.
    in_flight: AtomicUsize,
    closed: AtomicBool,
    /// Volatile drafts that were lost: nobody home, too many waiting, or their routine failed.
    volatile_lost: AtomicU64,
    /// Counts sweeps for idle workers.
    sweeps: AtomicU32,
}

impl Directory {
    pub(crate) fn new(setting: Setting) -> Self {
        Self {
            setting,
            policies: RwLock::default(),
            desks: RwLock::default(),
            roster: RwLock::default(),
            flow_people: RwLock::default(),
            due: AtomicUsize::new(0),
            sleeping: AtomicUsize::new(0),
            site_waiting: AtomicUsize::new(0),
            site_bytes: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            cooled: AtomicU64::new(0),
            upheavals: AtomicUsize::new(0),
            generations: AtomicU32::new(0),
            seated: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            volatile_lost: AtomicU64::new(0),
            sweeps: AtomicU32::new(0),
        }
    }

    /// Envelopes that wait, changes whose senders wait, workers awake.
    pub(crate) fn gauges(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicUsize| count.load(Ordering::Acquire) as u64;
        (read(&self.site_waiting), read(&self.parked), read(&self.seated))
    }

    pub(crate) fn count_cooled(&self, drafts: usize) {
        self.cooled.fetch_add(drafts as u64, Ordering::Relaxed);
    }

    pub(crate) fn cooled(&self) -> u64 {
        self.cooled.load(Ordering::Relaxed)
    }

    /// Counts a change on its way to the writer; false when too many are.
    pub(crate) fn depart(&self, limits: &Limits) -> bool {
        if self.in_flight.fetch_add(1, Ordering::AcqRel) >= limits.changes_in_flight_max {
            self.arrive();
            return false;
        }
        true
    }

    /// Counts a change of the house itself on its way to the writer: there are few, and none is refused.
    pub(crate) fn count_departure(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a change from outside that the writer has answered.
    pub(crate) fn arrive(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn lose_volatile(&self, drafts: usize) {
        self.volatile_lost.fetch_add(drafts as u64, Ordering::Relaxed);
    }

    pub(crate) fn volatile_lost(&self) -> u64 {
        self.volatile_lost.load(Ordering::Relaxed)
    }

    // A panic elsewhere leaves the maps whole: every write to them is a single operation.
    fn read(&self) -> RwLockReadGuard<'_, Desks> {
        self.desks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Desks> {
        self.desks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The desk a draft is for, and the place of the routine that takes it, none when the application does; if the person is
/// active and somebody takes it.
#[inline(always)]
fn addressable<'a>(
    desks: &'a Desks,
    draft: &Draft,
    registry: &Registry,
) -> Result<(&'a Desk, Option<usize>), Rejection> {
    let desk = desks.get(&draft.to).filter(|desk| desk.active && !desk.leaving);
    let desk = desk.ok_or(Rejection::UnknownPerson(draft.to))?;
    if desk.manual {
        return Ok((desk, None));
    }
    if desk.runs_flow && draft.payload.type_name == Post::TYPE {
        return Ok((desk, Some(FLOW_PLACE)));
    }
    let found = registry.find(draft).filter(|_| !desk.runs_flow);
    let place = found.ok_or_else(|| Rejection::NoRoutine {
        type_name: draft.payload.type_name.to_string(),
        routine: draft.routine.as_ref().map(ToString::to_string),
    })?;
    Ok((desk, Some(place)))
}
