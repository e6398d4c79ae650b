//! Person runners own the way from a run to a worker of this house and back: a run is a message to its person, under the
//! run's own key, so that a run that is given out again after a crash is not done twice: its reply is known.

use super::command::RunnerCommand;
use super::dispatcher::Dispatcher;
use super::letter::{self, beating, end, follow, say};
use super::process::{STORE_TIME, poll, register, say_until_heard};
use crate::runtime::Handle;
use crate::{AskError, Runtime};
use actix::prelude::*;
use std::sync::{Arc, Weak};
use worksite_model::{Draft, Payload, PersonId, Run, RunReport, RunnerInfo};

/// A worker of this house as a runner: its person's routine is sent each run's payload as a message, under the run's id as
/// its idempotency key. The reply is the run's result; a message that is buried fails the run with the reason.
#[derive(Debug, Clone)]
pub struct PersonRunner {
    /// Who it is, what it has to offer, and how many runs it holds at once.
    pub runner: RunnerInfo,
    /// Whose worker.
    pub person: PersonId,
}

impl PersonRunner {
    /// The worker of this person.
    pub fn new(person: impl Into<PersonId>, capabilities: worksite_model::Capabilities) -> Self {
        let person = person.into();
        Self { runner: RunnerInfo::new(format!("person {person}"), capabilities), person }
    }

    /// Holds so many runs at once, at most.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.runner = self.runner.slots(slots);
        self
    }
}

/// Has a worker of this house work off runs.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct EmployPerson {
    pub(crate) runner: PersonRunner,
    pub(crate) runtime: Weak<Handle>,
}

impl Handler<EmployPerson> for Dispatcher {
    type Result = ();

    fn handle(&mut self, EmployPerson { runner, runtime }: EmployPerson, ctx: &mut Self::Context) {
        actix::spawn(employ(ctx.address(), runner, runtime));
    }
}

async fn employ(dispatcher: Addr<Dispatcher>, employed: PersonRunner, runtime: Weak<Handle>) {
    if !register(&dispatcher, &employed.runner).await {
        return;
    }
    while let Ok(offer) = poll(&dispatcher, &employed.runner).await {
        for command in offer.take() {
            match command {
                RunnerCommand::Run(run) => {
                    let Some(runtime) = runtime.upgrade().map(Runtime) else { return };
                    actix::spawn(perform(dispatcher.clone(), runtime, employed.person, run));
                }
                // A turn is not broken off: what it has done by then counts.
                RunnerCommand::Stop(_) => {}
                RunnerCommand::Leave => return,
            }
        }
    }
}

async fn perform(dispatcher: Addr<Dispatcher>, runtime: Runtime, person: PersonId, run: Arc<Run>) {
    say(&dispatcher, &run, RunReport::Started);
    let payload = run.draft.payload.clone().or_else(|| Payload::encode(&()).ok());
    let asked = payload.map(|payload| runtime.ask_payload(Draft::of(person, payload).key(letter::key(run.id))));
    let house = runtime.0.house.clone();
    // The house stays open no longer than its handles: the message is on the disk by now.
    drop(runtime);
    let Some(asked) = asked else { return };
    match beating(&dispatcher, &run, asked).await {
        Err(error) if error.advice() == worksite_model::Advice::RetryLater => {
            // Not at once: it would get it again, and nothing would have changed.
            beating(&dispatcher, &run, tokio::time::sleep(STORE_TIME)).await;
            say_until_heard(dispatcher, run.id, run.fence, RunReport::GivenBack).await;
        }
        Err(AskError::Stopped) => {}
        // The message waits, and nobody else is to do what it asks for.
        Err(AskError::Held(_)) => follow(dispatcher, house, run).await,
        ended => end(dispatcher, &run, ended).await,
    }
}
