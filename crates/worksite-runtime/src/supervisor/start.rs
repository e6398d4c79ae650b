//! Workers come and go: started by their first mail, started again after a crash with a back-off, let go.

use super::Supervisor;
use crate::worker::{self, DeliverVolatile, Worker};
use actix::prelude::*;
use std::time::Duration;
use worksite_model::{PersonId, Timestamp};

/// The back-off after a first crash; each further one within the window waits twice as long.
const RESTART_DELAY: Duration = Duration::from_millis(100);

/// Starts the person's worker, if it is not awake, and gives its address; none when the person is not active.
#[derive(Message)]
#[rtype(result = "Option<Addr<Worker>>")]
pub(crate) struct Start(pub(crate) PersonId);

impl Handler<Start> for Supervisor {
    type Result = Option<Addr<Worker>>;

    fn handle(&mut self, Start(person): Start, ctx: &mut Self::Context) -> Self::Result {
        self.start(person, ctx)
    }
}

/// Delivers a draft that was never written to a worker that sleeps.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WakeFor(pub(crate) PersonId, pub(crate) DeliverVolatile);

impl Handler<WakeFor> for Supervisor {
    type Result = ();

    fn handle(&mut self, WakeFor(person, delivery): WakeFor, ctx: &mut Self::Context) {
        match self.start(person, ctx) {
            Some(worker) => worker.do_send(delivery),
            None => self.house.directory.lose_volatile(1),
        }
    }
}

/// A worker has gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Left {
    pub(crate) person: PersonId,
    pub(crate) generation: u32,
    pub(crate) why: Departed,
}

/// Why a worker has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departed {
    /// It had nothing to do.
    Passivated,
    /// It was told to: its person left, all was cleared, or the house closes.
    Stopped,
    /// It panicked, or could not be read in time.
    Crashed,
}

impl Handler<Left> for Supervisor {
    type Result = ();

    fn handle(&mut self, Left { person, generation, why }: Left, ctx: &mut Self::Context) {
        if self.held.get(&person) == Some(&generation) {
            self.held.remove(&person);
        }
        // What volatile jobs it had are lost with it.
        self.tell_of_jobs(&[], ctx);
        if !self.house.directory.unseat(person, generation) && why != Departed::Stopped {
            return;
        }
        if self.closed {
            return self.close_if_empty(ctx);
        }
        match why {
            Departed::Crashed => self.restart_later(person, ctx),
            // Mail may have come while it was going.
            Departed::Passivated | Departed::Stopped
                if self.house.directory.has_work(person) || self.house.board.open(person) > 0 =>
            {
                self.start(person, ctx);
            }
            Departed::Passivated | Departed::Stopped => {}
        }
    }
}

/// Kills a worker as a mistake of our own would.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CrashWorker(pub(crate) PersonId);

impl Handler<CrashWorker> for Supervisor {
    type Result = ();

    fn handle(&mut self, CrashWorker(person): CrashWorker, _: &mut Self::Context) {
        self.house.directory.tell(person, || worker::Crash);
    }
}

impl Supervisor {
    pub(super) fn start(&mut self, person: PersonId, ctx: &mut Context<Self>) -> Option<Addr<Worker>> {
        if self.closed {
            return None;
        }
        let (house, supervisor) = (self.house.clone(), ctx.address().downgrade());
        self.house.directory.seat(person, |seat| Worker::new(house, supervisor, person, seat).start())
    }

    pub(super) fn restart_later(&mut self, person: PersonId, ctx: &mut Context<Self>) {
        let now = self.house.clock.now();
        let crashes = self.recent_crashes(person, now);
        crashes.push(now);
        let (count, max) = (crashes.len() as u32, self.house.limits.restarts_max);
        let window = Duration::from_millis(self.house.limits.restart_window_ms);
        tracing::error!(person = person.0, count, max, "a worker crashed");
        self.house.directory.crash(person);
        // Left alone means: not started again before the window has passed.
        let delay = if count > max { window } else { RESTART_DELAY * 2_u32.saturating_pow(count - 1) };
        self.resting.insert(person);
        ctx.run_later(delay, move |supervisor, ctx| {
            supervisor.resting.remove(&person);
            if supervisor.house.directory.has_work(person) || supervisor.house.board.open(person) > 0 {
                supervisor.start(person, ctx);
            }
        });
    }

    pub(super) fn recent_crashes(&mut self, person: PersonId, now: Timestamp) -> &mut Vec<Timestamp> {
        let window = Duration::from_millis(self.house.limits.restart_window_ms);
        let crashes = self.crashes.entry(person).or_default();
        crashes.retain(|crash| now.since(*crash) < window);
        crashes
    }

    pub(super) fn sweep(&mut self, ctx: &mut Context<Self>) {
        self.try_lines(ctx);
        self.house.directory.sweep();
        self.forget_who_listened();
    }
}
