//! Who waits for jobs to end.

use super::Supervisor;
use crate::persistence::Read;
use actix::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::oneshot;
use worksite_model::flow::JobId;
use worksite_model::{Store, StoreError};

/// Answers once the job has ended, or all jobs have: true; false when that takes longer. The answer is dropped when there is
/// no such job any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AwaitJobs {
    pub(crate) job: Option<JobId>,
    pub(crate) time_max: Option<Duration>,
    pub(crate) answer: oneshot::Sender<bool>,
}

/// Somebody who waits.
pub(super) struct Awaiting {
    number: u64,
    job: Option<JobId>,
    answer: oneshot::Sender<bool>,
    timer: Option<SpawnHandle>,
}

/// What becomes of somebody who waits.
#[derive(Clone, Copy)]
enum Heard {
    /// It has ended.
    Ended,
    /// There is no such job, or nobody wants to know.
    Unknown,
}

impl Heard {
    /// How a job stands in the store; nothing when it is open.
    fn of(job: JobId, store: &mut dyn Store) -> Result<Option<Self>, StoreError> {
        if let Some(job) = store.job(job)? {
            return Ok(job.status.is_final().then_some(Self::Ended));
        }
        let post = match job.envelope() {
            Some(envelope) => store.envelope(envelope)?,
            None => None,
        };
        Ok(post.is_none().then_some(Self::Unknown))
    }
}

impl Awaiting {
    fn hear(self, heard: Heard, ctx: &mut Context<Supervisor>) {
        if let Some(timer) = self.timer {
            ctx.cancel_future(timer);
        }
        if matches!(heard, Heard::Ended) {
            let _gone = self.answer.send(true);
        }
    }
}

impl Handler<AwaitJobs> for Supervisor {
    type Result = ();

    fn handle(&mut self, AwaitJobs { job, time_max, answer }: AwaitJobs, ctx: &mut Self::Context) {
        self.awaited += 1;
        let number = self.awaited;
        let timer = time_max.map(|time| {
            ctx.run_later(time, move |supervisor, _| {
                let Some(place) = supervisor.awaiting_jobs.iter().position(|waits| waits.number == number) else {
                    return;
                };
                let _gone = supervisor.awaiting_jobs.swap_remove(place).answer.send(false);
                supervisor.house.board.watch(!supervisor.awaiting_jobs.is_empty());
            })
        });
        self.awaiting_jobs.push(Awaiting { number, job, answer, timer });
        self.house.board.watch(true);
        self.tell_of_jobs(&[], ctx);
    }
}

impl Supervisor {
    /// Tells who waits for these jobs, or for all, if none is left.
    pub(super) fn tell_of_jobs(&mut self, ended: &[JobId], ctx: &mut Context<Self>) {
        if self.awaiting_jobs.is_empty() {
            return;
        }
        let all = self.house.board.open_total() == 0 && self.house.directory.posts_waiting() == 0;
        let house = self.house.clone();
        let board = &house.board;
        let over = |job: JobId| match job.is_volatile() {
            true if board.volatile_job(job).is_some() => Some(Heard::Ended),
            true => (!board.has_open_volatile()).then_some(Heard::Unknown),
            false => ended.contains(&job).then_some(Heard::Ended),
        };
        let heard = |waits: &Awaiting| match waits.job {
            _ if waits.answer.is_closed() => Some(Heard::Unknown),
            Some(job) => over(job),
            None => all.then_some(Heard::Ended),
        };
        self.tell_those(heard, ctx);
    }

    /// Tells everybody of whose wait something was heard; the others wait on.
    fn tell_those(&mut self, heard: impl Fn(&Awaiting) -> Option<Heard>, ctx: &mut Context<Self>) {
        let mut waiting = Vec::new();
        for waits in std::mem::take(&mut self.awaiting_jobs) {
            match heard(&waits) {
                Some(heard) => waits.hear(heard, ctx),
                None => waiting.push(waits),
            }
        }
        self.awaiting_jobs = waiting;
        self.house.board.watch(!self.awaiting_jobs.is_empty());
    }

    /// Posts or jobs have gone by another way than their end: whoever waits for one hears how it stands in the store.
    pub(super) fn look_at_awaited_jobs(&mut self, ctx: &mut Context<Self>) {
        let awaited = self.awaiting_jobs.iter().filter_map(|waits| waits.job).filter(|job| !job.is_volatile());
        let awaited: BTreeSet<JobId> = awaited.collect();
        if awaited.is_empty() {
            return;
        }
        let reading = Read(Box::new(move |store: &mut dyn Store| {
            let mut heard = BTreeMap::new();
            for job in awaited {
                heard.extend(Heard::of(job, store)?.map(|as_it_stands| (job, as_it_stands)));
            }
            Ok(heard)
        }));
        let read = self.house.persistence.send(reading).into_actor(self);
        ctx.spawn(read.map(|read, supervisor, ctx| {
            if let Ok(Ok(heard)) = read {
                supervisor.tell_those(|waits| heard.get(&waits.job?).copied(), ctx);
            }
        }));
    }
}
