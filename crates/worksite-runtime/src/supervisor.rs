//! The supervisor owns the set of workers: it keeps them equal to the roster, and routes what was committed.
//!
//! Asks: nobody. Tells: workers what was delivered and settled, and askers their replies. Never: writes, or decides
//! what a message means.
//!
//! A worker is started by its first delivery and goes when it is idle; one that crashed is started again from the
//! store, after a back-off, and is left alone for a while when that happens too often. Its mail waits on disk meanwhile.

mod asks;
mod blocked;
mod jobs;
mod leaving;
mod line;
mod quiet;
mod report;
mod start;

use crate::parking::Parking;
use crate::persistence::{AskAnswer, Close};
use crate::runtime::House;
use actix::prelude::*;
pub(crate) use asks::{Held, Listen};
pub use blocked::Blocked;
pub(crate) use blocked::FoundNoRoom;
pub(crate) use jobs::AwaitJobs;
use jobs::Awaiting;
use leaving::Leaving;
pub(crate) use leaving::Terminate;
pub(crate) use line::Park;
pub(crate) use quiet::{AwaitRest, Quiesce, Rested, Shutdown};
pub(crate) use report::{Failed, Report, Reported, RunAhead, Waiter};
pub(crate) use start::{CrashWorker, Departed, Left, Start, WakeFor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use worksite_model::{EnvelopeId, Fate, IdMap, PersonId, Timestamp};

/// Who waits for one reply.
struct Asked {
    /// Whose worker is to give it.
    person: PersonId,
    asker: oneshot::Sender<AskAnswer>,
    /// Nearly always nobody.
    others: Vec<oneshot::Sender<AskAnswer>>,
}

/// Keeps workers equal to the roster, and routes what was committed.
pub(crate) struct Supervisor {
    /// What all workers share.
    house: Arc<House>,
    /// Who waits for the reply to which envelope.
    asks: IdMap<EnvelopeId, Asked>,
    /// Whose worker is held, and which one: nobody gets an answer there.
    held: IdMap<PersonId, u32>,
    /// Replies of the report in hand: told at its end, in one go, because each may wake a thread.
    replies: Vec<(oneshot::Sender<AskAnswer>, Fate)>,
    /// Whose worker waits for room in somebody's inbox.
    blocked: BTreeMap<PersonId, Blocked>,
    /// When workers crashed, within the window.
    crashes: BTreeMap<PersonId, Vec<Timestamp>>,
    /// Whose worker crashed and is not to be started before its back-off has passed: then a timer does it.
    resting: BTreeSet<PersonId>,
    /// Who waits for room in whose inbox.
    parking: Parking,
    /// Who is to leave once their worker has nothing left to do, and who waits for that.
    leaving: BTreeMap<PersonId, Leaving>,
    /// Who waits for the house to be quiet.
    quiescing: Vec<oneshot::Sender<()>>,
    /// Who waits for the house to rest.
    awaiting_rest: Vec<oneshot::Sender<()>>,
    /// Who waits for jobs to end, and how many have ever waited.
    awaiting_jobs: Vec<Awaiting>,
    awaited: u64,
    /// Who waits for the house to be closed.
    closing: Vec<oneshot::Sender<()>>,
    /// Whether the house is closing: no worker is started any more.
    closed: bool,
}

impl Supervisor {
    pub(crate) fn house(&self) -> &Arc<House> {
        &self.house
    }

    pub(crate) fn new(house: Arc<House>) -> Self {
        Self {
            house,
            asks: IdMap::default(),
            held: IdMap::default(),
            replies: Vec::new(),
            blocked: BTreeMap::new(),
            crashes: BTreeMap::new(),
            resting: BTreeSet::new(),
            parking: Parking::default(),
            leaving: BTreeMap::new(),
            quiescing: Vec::new(),
            awaiting_rest: Vec::new(),
            awaiting_jobs: Vec::new(),
            awaited: 0,
            closing: Vec::new(),
            closed: false,
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // actix starts an actor that was never polled while its thread ends, and then there are no timers.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        ctx.set_mailbox_capacity(1024);
        let sweep = Duration::from_millis(self.house.limits.worker_idle_ms_max.div_ceil(2));
        ctx.run_interval(sweep, |supervisor, ctx| supervisor.sweep(ctx));
        for person in self.house.directory.roster().people() {
            if self.house.directory.has_work(person.id) || self.house.board.open(person.id) > 0 {
                self.start(person.id, ctx);
            }
        }
        // What was to be dropped when an earlier life ended is still too much.
        for person in self.house.directory.overfull() {
            self.start(person, ctx);
        }
    }

    /// Also runs while a panic unwinds: nobody would deal with what is sent from now on.
    fn stopped(&mut self, _: &mut Self::Context) {
        self.house.directory.close();
        self.house.persistence.do_send(Close);
    }
}

impl Supervisor {}
