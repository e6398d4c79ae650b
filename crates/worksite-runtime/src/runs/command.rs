//! What can be asked of the dispatcher: [`Command`]s, each with the way back for its answer. One that has to wait for a
//! write on its way is kept as it is and performed again.

use super::dispatcher::{Dispatcher, Unheard};
use super::error::RunError;
use actix::Addr;
use std::sync::Arc;
use tokio::sync::oneshot;
use worksite_model::{
    Added, Capabilities, Demands, Run, RunDraft, RunId, RunRejection, RunReport, RunWrite, RunnerId, Schedule, Session,
    Timestamp,
};

/// The way back for an answer.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, RunError>>;

/// Runs that have changed, and the way back for whoever waits to hear so.
pub(crate) type Told = (Vec<Arc<Run>>, Reply<Vec<Arc<Run>>>);

/// What can be asked of the dispatcher.
pub(crate) enum Command {
    /// Add these, all or none. The sessions they resume have been read by now, if they were to be.
    Add { drafts: Vec<RunDraft>, sessions: Option<Vec<Session>>, reply: Reply<Vec<Added>> },
    /// Give a runner what it can take.
    Claim(Claim),
    /// A runner says something of a run.
    Report { id: RunId, fence: u32, report: RunReport, reply: Reply<Arc<Run>> },
    /// Stop a run.
    Stop { id: RunId, reply: Reply<Arc<Run>> },
    /// Change what a run asks of a runner.
    SetDemands { id: RunId, demands: Demands, within: Option<std::time::Duration>, reply: Reply<Arc<Run>> },
    /// A runner is still there: its leases begin anew.
    Heartbeat { runner: RunnerId, reply: Reply<()> },
    /// A runner has gone.
    Deregister { runner: RunnerId, reply: Reply<Vec<Arc<Run>>> },
    /// Set or replace a schedule. The session its runs are to report to has been read by now, if there is to be one.
    Schedule { schedule: Box<Schedule>, parent: Option<Session>, reply: Reply<Arc<Schedule>> },
    /// End a schedule.
    Unschedule { name: String, reply: Reply<()> },
    /// A schedule's run was refused, as part of these writes: it goes on without it. Who waits hears of the others.
    PassOver { asked_for: Vec<RunWrite>, told: Option<Told> },
    /// Do what time has brought.
    Tick { reply: Option<Reply<Vec<Arc<Run>>>> },
    /// Tell when a run has ended.
    Await { id: RunId, reply: Reply<Arc<Run>> },
}

/// A runner that asks for work.
pub(crate) struct Claim {
    pub(crate) runner: RunnerId,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) most: usize,
    /// How long it waits for something to do, if it does.
    pub(crate) wait: Option<std::time::Duration>,
    /// Until when, once it waits.
    pub(crate) until: Option<Timestamp>,
    /// Whether it wants to hear of runs to stop, and that it is to go, as well.
    pub(crate) polls: bool,
    pub(crate) reply: Reply<Offer>,
}

/// What a runner is told, until somebody looks: what nobody looks at is given back, or told again.
pub(crate) struct Offer {
    pub(crate) runner: RunnerId,
    pub(crate) commands: Vec<RunnerCommand>,
    pub(crate) dispatcher: Addr<Dispatcher>,
}

impl Offer {
    /// That there is nothing.
    pub(crate) fn of_nothing(runner: RunnerId, dispatcher: Addr<Dispatcher>) -> Self {
        Self { runner, commands: Vec::new(), dispatcher }
    }

    /// Somebody looks.
    pub(crate) fn take(mut self) -> Vec<RunnerCommand> {
        std::mem::take(&mut self.commands)
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if !self.commands.is_empty() {
            let commands = std::mem::take(&mut self.commands);
            self.dispatcher.do_send(Unheard { runner: self.runner.clone(), commands });
        }
    }
}

/// What a runner is told when it asks for work: what is to stop first, then whether it is to go, then what to do.
#[derive(Debug, Clone, PartialEq)]
pub enum RunnerCommand {
    /// Stop this run, and report that it has stopped.
    Stop(Arc<Run>),
    /// Do this run, under this claim.
    Run(Arc<Run>),
    /// Go: it is deregistered. What it holds is taken from it.
    Leave,
}

/// What is to be done once a change is durable or refused.
pub(crate) type Then = Box<dyn FnOnce(Result<(), Setback>) -> Option<Command> + Send>;

/// Why a change did not become durable.
pub(crate) enum Setback {
    /// Somebody else changed a run under us: the board learns how it stands, and it may be decided anew.
    Moved,
    /// It cannot be.
    Error(RunError),
}

impl Setback {
    pub(crate) fn into_error(self) -> RunError {
        match self {
            Self::Moved => RunRejection::Refused("a run was changed by somebody else".into()).into(),
            Self::Error(error) => error,
        }
    }
}

/// A change on its way.
pub(crate) struct OnTheWay {
    pub(crate) writes: Vec<RunWrite>,
    pub(crate) then: Then,
}
