//! Who waits for jobs to end.

use super::Supervisor;
use actix::prelude::*;
use std::time::Duration;
use tokio::sync::oneshot;
use worksite_model::flow::JobId;

/// Answers once the job has ended, or all jobs have: true; false when that takes longer.
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
        let board = &self.house.board;
        let over = |job: JobId| ended.contains(&job) || (job.is_volatile() && board.volatile_job(job).is_some());
        let told = |waits: &Awaiting| waits.job.map_or(all, over) || waits.answer.is_closed();
        let (over, waiting): (Vec<_>, _) = std::mem::take(&mut self.awaiting_jobs).into_iter().partition(told);
        self.awaiting_jobs = waiting;
        for waits in over {
            if let Some(timer) = waits.timer {
                ctx.cancel_future(timer);
            }
            let _gone = waits.answer.send(true);
        }
        self.house.board.watch(!self.awaiting_jobs.is_empty());
    }
}
