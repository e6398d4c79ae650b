//! What became of a group of changes, acted on in commit order.

use super::{Asked, Supervisor};
use crate::error::{CommitFailure, DeskError};
use crate::persistence::AskAnswer;
use crate::worker::{Deliver, Dismiss, Forget, Rest, Settled, Unsettled};
use actix::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use worksite_model::{Committed, Entry, EnvelopeId, Fate, PersonId, Quarantined, Removal};

/// What became of a group of changes, in commit order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Report(pub(crate) Vec<Reported>);

/// What became of one change.
pub(crate) enum Reported {
    /// It is durable, and this one waits for it; its envelopes may have gone ahead to their workers.
    Committed { committed: Arc<Committed>, waiter: Option<Waiter>, ahead: bool },
    /// These were not accepted, and their workers have them already.
    Retracted(Vec<(PersonId, EnvelopeId)>),
    /// These could not be read and were set aside.
    Quarantined(Vec<Quarantined>),
    /// It is not; the worker that proposed it is to be told.
    Failed(Option<Failed>),
}

/// A worker's change that did not become durable.
pub(crate) struct Failed {
    pub(crate) person: PersonId,
    pub(crate) generation: u32,
    pub(crate) tidies: bool,
    pub(crate) failure: CommitFailure,
}

/// Who waits for a commit to have been acted on.
pub(crate) enum Waiter {
    /// Somebody who asks: told when the envelope is settled.
    Asker { person: PersonId, entry: Entry, replied: oneshot::Sender<AskAnswer> },
    /// The worker that proposed it.
    Worker { generation: u32, tidies: bool },
    /// Somebody who changed the house itself.
    House(oneshot::Sender<Result<Arc<Committed>, CommitFailure>>),
}

impl Handler<Report> for Supervisor {
    type Result = ();

    fn handle(&mut self, Report(reports): Report, ctx: &mut Self::Context) {
        // Whoever handed it in may not have got to say so: it was there before what is told here.
        self.run_ahead();
        let (mut ended, mut gone_otherwise) = (Vec::new(), false);
        for reported in reports {
            match reported {
                Reported::Committed { committed, waiter, ahead } => {
                    // Before the places of their posts are free: there is no moment at which both are nothing.
                    ended.extend(self.house.board.note(&committed.jobs));
                    gone_otherwise |=
                        committed.cleared || !committed.purged.is_empty() || !committed.removed.is_empty();
                    self.route(committed, waiter, ahead, ctx);
                }
                Reported::Retracted(gone) => {
                    for (person, id) in gone {
                        // What it has said of its sleeping mail may have been said of this.
                        self.house.directory.rouse_one(person);
                        self.house.directory.tell(person, || Forget(vec![id]));
                    }
                }
                Reported::Failed(Some(Failed { person, generation, tidies, failure })) => {
                    self.house.directory.tell_generation(person, generation, Unsettled { failure, tidies });
                }
                Reported::Failed(None) => {}
                Reported::Quarantined(rows) => {
                    for row in rows {
                        self.reply(row.id, || Fate::Buried(format!("unreadable: {}", row.reason)));
                    }
                }
            }
        }
        self.house.propose_held();
        for (asker, fate) in self.replies.drain(..) {
            let _gone = asker.send(Ok(fate));
        }
        self.try_lines(ctx);
        self.tell_of_jobs(&ended, ctx);
        if gone_otherwise {
            self.look_at_awaited_jobs(ctx);
        }
        self.tell_if_quiet(ctx);
    }
}

impl Supervisor {
    /// Acts on a commit, in the order in which its parts stand in a change.
    pub(super) fn route(
        &mut self,
        committed: Arc<Committed>,
        waiter: Option<Waiter>,
        ahead: bool,
        ctx: &mut Context<Self>,
    ) {
        if !matches!(waiter, Some(Waiter::Worker { tidies: true, .. })) {
            self.look_for_room(&committed);
        }
        if committed.cleared {
            self.house.board.forget(None);
            for worker in self.house.directory.clear_seats() {
                worker.do_send(Dismiss { keep: false });
            }
        }
        if !committed.removed.is_empty() {
            self.forget_removed(&committed.removed, true);
        }
        if !committed.dropped.is_empty() {
            for removal in &committed.dropped {
                self.house.directory.count_dropped(removal.person, 1);
            }
            // The worker that dropped them hears of it as their author.
            self.forget_removed(&committed.dropped, false);
        }
        if let Some(difference) = &committed.roster {
            for person in &difference.left {
                let keep = !committed.purged.contains(person);
                if !keep {
                    self.house.board.forget(Some(*person));
                }
                self.house.directory.tell(*person, || Dismiss { keep });
                if let Some(leaving) = self.leaving.remove(person) {
                    // They left by another way than the one that was waited for.
                    let _gone = leaving.answer.send(Err(DeskError::UnknownPerson(*person)));
                }
            }
            self.house.directory.apply(difference);
            for person in &difference.joined {
                if self.house.directory.has_work(person.id) || self.house.board.open(person.id) > 0 {
                    self.start(person.id, ctx);
                }
            }
        }
        for (person, rests) in &committed.paused {
            self.house.directory.rest(*person, *rests);
            self.house.directory.rouse_one(*person);
            self.house.directory.tell(*person, || Rest(*rests));
        }
        if committed.unseats() {
            self.house.directory.calm_down();
        }
        self.release_settled(&committed);
        // A worker that went before it could take what went ahead is started again when its going is heard of.
        for envelope in committed.envelopes.iter().filter(|_| !ahead) {
            let to = envelope.draft.to;
            let directory = &self.house.directory;
            let told = directory.deliver(envelope);
            if !told && !self.resting.contains(&to) && (directory.has_work(to) || directory.is_over(to)) {
                self.start(to, ctx);
            }
        }
        self.answer(committed, waiter);
    }

    pub(super) fn answer(&mut self, committed: Arc<Committed>, waiter: Option<Waiter>) {
        match waiter {
            None => {}
            Some(Waiter::Worker { generation, tidies }) => {
                if let Some(author) = committed.author {
                    self.house.directory.tell_generation(author, generation, Settled { committed, tidies });
                }
            }
            Some(Waiter::House(answer)) => {
                let _gone = answer.send(Ok(committed));
            }
            Some(Waiter::Asker { entry: Entry::Known { fate, .. }, replied, .. }) if fate != Fate::Waiting => {
                let _gone = replied.send(Ok(fate));
            }
            Some(Waiter::Asker { person, entry, replied }) => self.await_fate(person, entry.id(), replied),
        }
    }

    /// Gives the places of settled and buried envelopes back, and tells askers.
    pub(super) fn release_settled(&mut self, committed: &Committed) {
        let Some(author) = committed.author else { return };
        let settled = committed.settled.iter().map(|settlement| settlement.bytes());
        let gone = settled.chain(committed.buried.iter().map(|burial| burial.bytes()));
        self.house.directory.release(gone.map(|bytes| (author, bytes)));
        if self.asks.is_empty() {
            return;
        }
        for settlement in &committed.settled {
            self.reply(settlement.id(), || Fate::Settled(settlement.reply.clone()));
        }
        for burial in &committed.buried {
            self.reply(burial.id(), || Fate::Buried(burial.failure.to_string()));
        }
    }

    pub(super) fn reply(&mut self, id: EnvelopeId, fate: impl FnOnce() -> Fate) {
        let Some(Asked { asker, others, .. }) = self.asks.remove(&id) else { return };
        let fate = fate();
        self.replies.extend(others.into_iter().map(|asker| (asker, fate.clone())));
        self.replies.push((asker, fate));
    }

    pub(super) fn forget_removed(&mut self, removed: &[Removal], tell: bool) {
        self.house.directory.release(removed.iter().map(|removal| (removal.person, removal.bytes)));
        let mut by_person: BTreeMap<PersonId, Vec<EnvelopeId>> = BTreeMap::new();
        for removal in removed {
            by_person.entry(removal.person).or_default().push(removal.id);
            self.reply(removal.id, || Fate::Removed);
        }
        for (person, ids) in by_person.into_iter().filter(|_| tell) {
            // What it has said of its sleeping mail may have been said of these.
            self.house.directory.rouse_one(person);
            self.house.directory.tell(person, || Forget(ids));
        }
    }
}

/// Hands mail to workers that is still being written.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RunAhead;

impl Handler<RunAhead> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: RunAhead, _: &mut Self::Context) {
        self.run_ahead();
    }
}

impl Supervisor {
    /// Hands over all that waits for that, in order of ids.
    fn run_ahead(&self) {
        for envelope in self.house.intake.take_ahead() {
            self.house.directory.tell(envelope.draft.to, || Deliver(envelope.clone()));
        }
    }
}
