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
        if self.is_held(person) {
            return self.turn_away(person, parked, ctx);
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
            let no_place = match house.directory.reserve(&parked.drafts, &house.registry, &house.limits, true) {
                // Another of its recipients may be the one without room: it keeps its place in this line all the same.
                Err(NoPlace::Full { limit, overflow: Overflow::Wait | Overflow::WaitFor(_), .. }) => {
                    parked.limit = limit;
                    return self.parking.return_first(person, parked);
                }
                Ok(()) => None,
                Err(no_place) => Some(no_place),
            };
            house.directory.unpark(person);
            // Who is served waits for no deadline any more: a timer that is left behind is polled for as long as it was to wait.
            if let Some(timer) = parked.timer.take() {
                ctx.cancel_future(timer);
            }
            match no_place {
                None => {
                    house.directory.count_departure();
                    house.propose(Change::send(parked.drafts), parked.answer);
                }
                Some(NoPlace::Rejected(rejection)) => {
                    parked.refuse(|drafts| SendError::Rejected { rejection, drafts });
                }
                // One of its recipients lets nobody wait.
                Some(NoPlace::Full { draft, limit, overflow }) => {
                    let full = parked.drafts[draft].to;
                    parked.refuse(|drafts| house.directory.turn_away(full, limit, overflow, drafts));
                }
            }
        }
    }

    pub(super) fn stop_waiting(&mut self, person: PersonId, number: u64, ctx: &mut Context<Self>) {
        let Some(parked) = self.parking.take(person, number) else { return };
        self.turn_away(person, parked, ctx);
        self.try_line(person, ctx);
    }

    /// Gives back what has left the line without a place.
    pub(super) fn turn_away(&self, person: PersonId, mut parked: Parked, ctx: &mut Context<Self>) {
        self.house.directory.unpark(person);
        if let Some(timer) = parked.timer.take() {
            ctx.cancel_future(timer);
        }
        let limit = parked.limit;
        parked.refuse(|drafts| self.house.directory.turn_away(person, limit, Overflow::Reject, drafts));
    }
}
