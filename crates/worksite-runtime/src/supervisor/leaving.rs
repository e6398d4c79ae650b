//! People who are to leave for good once their worker has nothing left to do.

use super::Supervisor;
use crate::error::DeskError;
use crate::persistence::Answer;
use crate::worker::LookAgain;
use actix::prelude::*;
use tokio::sync::oneshot;
use worksite_model::{Change, Departure, PersonId, RosterChange};

/// Lets somebody leave for good: they take nothing more, their worker ends what it has, or does not, and goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Terminate {
    pub(crate) person: PersonId,
    pub(crate) drains: bool,
    pub(crate) departure: Departure,
    pub(crate) answer: oneshot::Sender<Result<(), DeskError>>,
}

impl Handler<Terminate> for Supervisor {
    type Result = ();

    fn handle(&mut self, Terminate { person, drains, departure, answer }: Terminate, ctx: &mut Self::Context) {
        if self.closed || !self.house.directory.begin_leaving(person) {
            let error = if self.closed { DeskError::Stopped } else { DeskError::UnknownPerson(person) };
            let _gone = answer.send(Err(error));
            return;
        }
        self.leaving.insert(person, Leaving { departure, answer });
        self.try_line(person, ctx);
        if !drains {
            return self.let_go(person, ctx);
        }
        self.house.directory.watch(true);
        // The clock may have been moved by hand.
        self.house.directory.rouse_one(person);
        self.house.directory.tell(person, || LookAgain);
        self.tell_if_quiet(ctx);
    }
}

/// Somebody who is to leave.
pub(super) struct Leaving {
    pub(super) departure: Departure,
    pub(super) answer: oneshot::Sender<Result<(), DeskError>>,
}

impl Supervisor {
    /// Proposes that somebody who was to leave does so.
    pub(super) fn let_go(&mut self, person: PersonId, ctx: &mut Context<Self>) {
        let Some(Leaving { departure, answer }) = self.leaving.remove(&person) else { return };
        let roster = RosterChange::Leave { people: vec![person], departure };
        let (committed, durable) = oneshot::channel();
        self.house.directory.count_departure();
        let change = Change { roster: Some(roster), ..Change::default() };
        self.house.propose(change, Answer::House(committed));
        ctx.spawn(durable.into_actor(self).map(move |durable, supervisor, _| {
            let left = match durable {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(failure)) => {
                    supervisor.house.directory.stay(person);
                    Err(failure.into_desk_error())
                }
                Err(_closed) => Err(DeskError::Stopped),
            };
            let _gone = answer.send(left);
        }));
    }
}
