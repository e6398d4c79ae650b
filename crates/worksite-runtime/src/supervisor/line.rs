//! Senders who wait for room in an inbox: each line is served in order as places come free.

use super::Supervisor;
use crate::directory::NoPlace;
use crate::error::SendError;
use crate::parking::Parked;
use crate::persistence::Answer;
use actix::prelude::*;
use worksite_model::{Change, Draft, Overflow, PersonId};

/// Puts a change in line until its recipient's inbox has room. The place in the line is counted already.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Park {
    pub(crate) person: PersonId,
    pub(crate) limit: &'static str,
    pub(crate) overflow: Overflow,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) answer: Answer,
}

impl Handler<Park> for Supervisor {
    type Result = ();

    fn handle(&mut self, Park { person, limit, overflow, drafts, answer }: Park, ctx: &mut Self::Context) {
        let mut parked = Parked { number: self.parking.number(), drafts, answer, limit, timer: None };
        if self.closed {
            self.house.directory.unpark(person);
            return parked.refuse(|drafts| SendError::Stopped { drafts });
        }
        if let Overflow::WaitFor(time) = overflow {
            let number = parked.number;
            parked.timer =
                Some(ctx.run_later(time, move |supervisor, ctx| supervisor.stop_waiting(person, number, ctx)));
        }
        self.parking.push(person, parked);
        // Room may have come free since the sender looked; and a worker that sleeps may hold what has expired.
        self.try_line(person, ctx);
        if !self.house.directory.is_awake(person) && !self.resting.contains(&person) {
            self.start(person, ctx);
        }
    }
}

/// Who is served waits for no deadline any more: a timer that is left behind is polled for as long as it was to wait.
fn cancel(parked: &mut Parked, ctx: &mut Context<Supervisor>) {
    if let Some(timer) = parked.timer.take() {
        ctx.cancel_future(timer);
    }
}

impl Supervisor {
    pub(super) fn unpark_first(&mut self, person: PersonId) -> Option<Parked> {
        let parked = self.parking.pop(person)?;
        self.house.directory.unpark(person);
        Some(parked)
    }

    /// Room may have come free anywhere: lets in what has waited for it.
    pub(super) fn try_lines(&mut self, ctx: &mut Context<Self>) {
        for person in self.parking.people() {
            self.try_line(person, ctx);
        }
    }

    /// Hands the first of a line to the writer, and the next, until one has to go on waiting.
    pub(super) fn try_line(&mut self, person: PersonId, ctx: &mut Context<Self>) {
        let house = self.house.clone();
        while let Some(mut parked) = self.parking.pop(person) {
            match house.directory.reserve(&parked.drafts, &house.registry, &house.limits, true) {
                Ok(()) => {
                    cancel(&mut parked, ctx);
                    house.directory.unpark(person);
                    house.directory.count_departure();
                    let change = Change::send(parked.drafts);
                    house.propose(change, parked.answer);
                }
                Err(NoPlace::Rejected(rejection)) => {
                    cancel(&mut parked, ctx);
                    house.directory.unpark(person);
                    parked.refuse(|drafts| SendError::Rejected { rejection, drafts });
                }
                // Another of its recipients may be the one without room: it keeps its place in this line all the same.
                Err(NoPlace::Full { limit, overflow: Overflow::Wait | Overflow::WaitFor(_), .. }) => {
                    parked.limit = limit;
                    return self.parking.return_first(person, parked);
                }
                // Unless that one lets nobody wait.
                Err(NoPlace::Full { draft, limit, overflow }) => {
                    cancel(&mut parked, ctx);
                    house.directory.unpark(person);
                    let full = parked.drafts[draft].to;
                    let count = parked.drafts.iter().filter(|draft| draft.to == full).count();
                    if overflow == Overflow::DropNewest {
                        house.directory.count_dropped(full, count);
                        parked.refuse(|drafts| SendError::Dropped { person: full, drafts });
                    } else {
                        house.directory.count_refused(full, count);
                        parked.refuse(|drafts| SendError::Overloaded { limit, drafts });
                    }
                }
            }
        }
    }

    pub(super) fn stop_waiting(&mut self, person: PersonId, number: u64, ctx: &mut Context<Self>) {
        let Some(parked) = self.parking.take(person, number) else { return };
        self.house.directory.unpark(person);
        self.house.directory.count_refused(person, parked.drafts.len());
        let limit = parked.limit;
        parked.refuse(|drafts| SendError::Overloaded { limit, drafts });
        self.try_line(person, ctx);
    }
}
