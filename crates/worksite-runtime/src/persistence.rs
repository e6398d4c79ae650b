//! Persistence owns the store: the only writer, and the only source of facts.
//!
//! Asks: nobody. Tells: senders, the supervisor and broadcast, after the commit and in commit order.
//! Never: decides what is written, or tells of what is not durable.
//!
//! **Group commit.** Changes wait at the [`Intake`]. The first to come after a commit asks for a flush; so one transaction,
//! with one sync of the disk, carries everything that queued behind the last sync. There is no timer: a lone change is
//! written at once, and a crowd shares.

use crate::broadcast::{Broadcast, Tell};
use crate::directory::Directory;
use crate::error::{AskError, CommitFailure, SendError};
use crate::intake::{Handed, Intake};
use crate::metrics::Counters;
use crate::supervisor::{Failed, Report, Reported, Shutdown, Supervisor, Waiter};
use crate::{Clock, Receipt};
use actix::WeakAddr;
use actix::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use worksite_model::{
    Change, Committed, Entry, Fate, Grant, Limits, PersonId, Recovered, Retention, Store, StoreError, Timestamp, law,
};

/// How often what need not be kept is looked for.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// When so many rows of one table were forgotten at once, more may be waiting for it, and it is looked again soon.
const PRUNED_MANY: u64 = 1_000;

/// How soon.
const PRUNE_AGAIN: Duration = Duration::from_millis(100);

/// How long the writer waits for workers whose mail went ahead, so that what they make of it comes into the same group: less
/// than a sync of the disk takes.
const AWAY_TIME_MAX: Duration = Duration::from_micros(50);

/// How many turns it lets others have meanwhile, where it shares their thread: a few hands in a chain of workers.
const AWAY_TURNS_MAX: u32 = 16;

/// How the writer waits for workers whose mail went ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It has a thread of its own: it blocks, for a moment.
    Wait,
    /// It shares the workers' thread: it lets them go first.
    Yield,
}

/// The answer a sender waits for: receipts in the order of the drafts, or the drafts given back.
pub(crate) type SendAnswer = Result<Vec<Receipt>, SendError>;

/// The answer an asker waits for: what became of its envelope, or why there is no telling. One for both, so that whoever
/// asks is woken once.
pub(crate) type AskAnswer = Result<Fate, Box<AskError>>;

/// An answer, and who waits for it.
type Answered = (oneshot::Sender<SendAnswer>, SendAnswer);

/// The only writer.
pub(crate) struct Persistence {
    /// The door; gone once the house is closed.
    store: Option<Box<dyn Store>>,
    /// What queued behind the last commit.
    intake: Arc<Intake>,
    /// Who routes what was committed. Weak: it is above.
    supervisor: Option<WeakAddr<Supervisor>>,
    /// Who tells subscribers. Weak: it is above.
    broadcast: Option<WeakAddr<Broadcast>>,
    /// Where places in inboxes are given back when a change fails.
    directory: Arc<Directory>,
    clock: Clock,
    limits: Limits,
    retention: Retention,
    counters: Arc<Counters>,
    patience: Patience,
    /// When the last commit was.
    last_at: Timestamp,
}

impl Persistence {
    pub(crate) fn new(
        store: Box<dyn Store>,
        intake: Arc<Intake>,
        directory: Arc<Directory>,
        clock: Clock,
        limits: Limits,
        retention: Retention,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            store: Some(store),
            intake,
            supervisor: None,
            broadcast: None,
            directory,
            clock,
            limits,
            retention,
            counters,
            patience: Patience::Yield,
            last_at: Timestamp::from_micros(i64::MIN),
        }
    }
}

impl Persistence {
    /// The same, on a thread of its own.
    pub(crate) fn alone(mut self) -> Self {
        self.patience = Patience::Wait;
        self
    }
}

impl Drop for Persistence {
    /// However it goes: nobody waits for a writer that is not there.
    fn drop(&mut self) {
        self.intake.close();
    }
}

impl Actor for Persistence {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // actix starts an actor that was never polled while its thread ends, and then there are no timers.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        // Asks and reads wait for a place; proposals do not, since they are bounded at the gate.
        ctx.set_mailbox_capacity(1024);
        ctx.run_interval(PRUNE_INTERVAL, |persistence, ctx| persistence.prune(ctx));
    }

    /// Also runs while a panic unwinds: then nothing would be written any more, and whoever waits is to hear so.
    fn stopped(&mut self, _: &mut Self::Context) {
        self.directory.close();
        if let Some(supervisor) = self.supervisor.as_ref().and_then(WeakAddr::upgrade) {
            supervisor.do_send(Shutdown { deadline: Duration::ZERO, closed: oneshot::channel().0 });
        }
    }
}

/// Says who is told of commits.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Listen {
    pub(crate) supervisor: WeakAddr<Supervisor>,
    pub(crate) broadcast: WeakAddr<Broadcast>,
}

impl Handler<Listen> for Persistence {
    type Result = ();

    fn handle(&mut self, listen: Listen, ctx: &mut Self::Context) {
        self.supervisor = Some(listen.supervisor);
        self.broadcast = Some(listen.broadcast);
        // A house that lives less than a minute forgets, too.
        self.prune(ctx);
    }
}

/// Who waits for a change to become durable.
pub(crate) enum Answer {
    /// A sender: told here, right after the commit.
    Sender(oneshot::Sender<SendAnswer>),
    /// Somebody who asks: handed to the supervisor, which hears of the settlement.
    Asker(oneshot::Sender<AskAnswer>),
    /// The worker that proposed it: told by the supervisor. A tidying worker only lets expired and surplus mail go.
    Worker { generation: u32, tidies: bool },
    /// Somebody who changed the house itself: told by the supervisor, once it has acted on it.
    House(oneshot::Sender<Result<Arc<Committed>, CommitFailure>>),
}

/// Commits what has queued.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Flush;

impl Handler<Flush> for Persistence {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Self::Context) {
        match self.patience {
            Patience::Wait => {
                self.intake.wait_for_all(AWAY_TIME_MAX);
                self.flush();
            }
            Patience::Yield => self.flush_after(AWAY_TURNS_MAX, ctx),
        }
    }
}

/// Reads a worker back, after everything proposed before has been written.
#[derive(Message)]
#[rtype(result = "Result<Recovered, StoreError>")]
pub(crate) struct Recover(pub(crate) PersonId);

impl Handler<Recover> for Persistence {
    type Result = Result<Recovered, StoreError>;

    fn handle(&mut self, Recover(person): Recover, _: &mut Self::Context) -> Self::Result {
        self.flush();
        let now = self.clock.now();
        let recovered = self.store()?.recover(person, now)?;
        for row in &recovered.quarantined {
            tracing::error!(person = person.0, envelope = row.id.0, reason = row.reason, "an envelope was quarantined");
        }
        // Nobody will settle what cannot be read: its place in the inbox is free again.
        self.directory.release(recovered.quarantined.iter().map(|row| (person, row.bytes)));
        if !recovered.quarantined.is_empty()
            && let Some(supervisor) = self.supervisor.as_ref().and_then(WeakAddr::upgrade)
        {
            supervisor.do_send(Report(vec![Reported::Quarantined(recovered.quarantined.clone())]));
        }
        Ok(recovered)
    }
}

/// What a [`Read`] does with the store.
pub(crate) type Reading<R> = Box<dyn FnOnce(&mut dyn Store) -> Result<R, StoreError> + Send>;

/// Reads from the store, after everything proposed before has been written.
#[derive(Message)]
#[rtype(result = "Result<R, StoreError>")]
pub(crate) struct Read<R: Send + 'static>(pub(crate) Reading<R>);

impl<R: Send + 'static> Handler<Read<R>> for Persistence {
    type Result = Result<R, StoreError>;

    fn handle(&mut self, Read(reading): Read<R>, _: &mut Self::Context) -> Self::Result {
        self.flush();
        reading(self.store()?)
    }
}

/// Writes what has queued and closes the store. When it is answered, the file is free for another owner.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

impl Handler<Close> for Persistence {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        self.flush();
        self.store = None;
        self.intake.close();
        ctx.stop();
    }
}

impl Persistence {
    fn store(&mut self) -> Result<&mut dyn Store, StoreError> {
        match &mut self.store {
            Some(store) => Ok(store.as_mut()),
            None => Err(StoreError::Closed("the house is closed".into())),
        }
    }

    fn prune(&mut self, ctx: &mut Context<Self>) {
        let (retention, now) = (self.retention, self.clock.now());
        match self.store().and_then(|store| store.prune(&retention, now)) {
            // One call forgets a bounded number of rows: the writer is everybody's. There may be more.
            Ok(pruned) if pruned.most() >= PRUNED_MANY => {
                ctx.run_later(PRUNE_AGAIN, |persistence, ctx| persistence.prune(ctx));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "what need not be kept could not be forgotten"),
        }
    }

    /// Lets others on this thread have their turns until all that went ahead has come back, or so many; then commits.
    fn flush_after(&mut self, turns: u32, ctx: &mut Context<Self>) {
        if turns == 0 || !self.intake.is_anybody_away() {
            return self.flush();
        }
        let yielded = tokio::task::yield_now().into_actor(self);
        ctx.spawn(yielded.map(move |(), persistence, ctx| persistence.flush_after(turns - 1, ctx)));
    }

    /// Commits what has queued, as many changes in a transaction as are allowed.
    fn flush(&mut self) {
        let (mut changes, mut answers) = self.intake.take();
        let most = self.limits.commit_changes_max;
        while changes.len() > most {
            let (rest, waiting) = (changes.split_off(most), answers.split_off(most));
            self.commit(std::mem::replace(&mut changes, rest), std::mem::replace(&mut answers, waiting));
        }
        if !changes.is_empty() {
            self.commit(changes, answers);
        }
    }

    fn commit(&mut self, changes: Vec<Change>, answers: Vec<Handed>) {
        self.last_at = self.last_at.max(self.clock.now());
        let at = self.last_at;
        let span = tracing::debug_span!("commit", changes = changes.len());
        let committed = span.in_scope(|| self.store().and_then(|store| store.commit(&changes, at)));
        self.counters.commit(changes.len(), self.clock.now().since(at));
        let verdicts = match committed {
            Ok(verdicts) => verdicts.into_iter().map(|verdict| verdict.map_err(CommitFailure::of)).collect(),
            Err(error) => {
                tracing::error!(%error, changes = changes.len(), "a commit failed");
                self.counters.fail(error.to_string());
                vec![Err(CommitFailure::Store(error)); changes.len()]
            }
        };
        self.tell(changes, answers, verdicts, at);
    }

    /// Everything from here on is durable, or has failed for good: now it may be told.
    fn tell(
        &self,
        changes: Vec<Change>,
        answers: Vec<Handed>,
        verdicts: Vec<Result<Grant, CommitFailure>>,
        at: Timestamp,
    ) {
        law!(changes.len() == verdicts.len(), "commit before tell", "a verdict is missing");
        let (mut reports, mut answered) = (Vec::with_capacity(changes.len()), Vec::new());
        for ((change, Handed { answer, ahead }), verdict) in changes.into_iter().zip(answers).zip(verdicts) {
            if !change.drafts.is_empty() {
                reports.extend(self.retract(&change, verdict.as_ref().ok(), ahead));
            }
            if matches!(answer, Answer::Sender(_) | Answer::Asker(_) | Answer::House(_)) {
                self.directory.arrive();
            }
            reports.push(match verdict {
                Ok(grant) => self.succeed(change, grant, Handed { answer, ahead }, at, &mut answered),
                Err(failure) => self.fail(change, failure, answer, &mut answered),
            });
        }
        self.broadcast(&reports);
        if let Some(supervisor) = self.supervisor.as_ref().and_then(WeakAddr::upgrade) {
            supervisor.do_send(Report(reports));
        }
        // Last, so that whoever has a receipt finds the mail delivered, whatever it asks the house next.
        for (accepted, answer) in answered {
            let _gone = accepted.send(answer);
        }
    }

    fn succeed(
        &self,
        change: Change,
        grant: Grant,
        Handed { answer, ahead }: Handed,
        at: Timestamp,
        answered: &mut Vec<Answered>,
    ) -> Reported {
        let cooled = grant.entries.iter().filter(|entry| matches!(entry, Entry::Cooling { .. })).count();
        self.directory.count_cooled(cooled);
        let receipts = || grant.entries.iter().map(Receipt::of).collect();
        let answer = match answer {
            Answer::Sender(accepted) => {
                answered.push((accepted, Ok(receipts())));
                None
            }
            Answer::Asker(replied) => {
                let asked = change.drafts.first().zip(grant.entries.first());
                asked.map(|(draft, entry)| Waiter::Asker { person: draft.to, entry: entry.clone(), replied })
            }
            Answer::Worker { generation, tidies } => Some(Waiter::Worker { generation, tidies }),
            Answer::House(answer) => Some(Waiter::House(answer)),
        };
        let committed = Committed::new(change, grant, at);
        if committed.author.is_some() {
            self.counters.settle(&committed);
        }
        for envelope in committed.envelopes.iter().filter(|envelope| envelope.draft.trace.is_some()) {
            let trace = envelope.draft.trace.as_deref();
            tracing::info!(envelope = envelope.id.0, to = envelope.draft.to.0, trace, "committed");
        }
        Reported::Committed { committed: Arc::new(committed), waiter: answer, ahead }
    }

    /// Drafts that were not accepted, all or some (known already, come too soon, or their change has failed): they take no
    /// place in the inbox, and those that have gone ahead are to be taken back.
    fn retract(&self, change: &Change, grant: Option<&Grant>, ahead: bool) -> Option<Reported> {
        let refused =
            |place: usize| grant.is_none_or(|grant| !matches!(grant.entries.get(place), Some(Entry::Accepted(_))));
        let gone: Vec<_> = change.drafts.iter().enumerate().filter(|(place, _)| refused(*place)).collect();
        if gone.is_empty() {
            return None;
        }
        self.directory.release_drafts(gone.iter().map(|(_, draft)| *draft));
        if !ahead {
            self.directory.leave_corridor(gone.iter().map(|(_, draft)| *draft));
            return None;
        }
        let numbering = change.numbering?;
        Some(Reported::Retracted(gone.into_iter().map(|(place, draft)| (draft.to, numbering.id(place))).collect()))
    }

    fn fail(&self, change: Change, failure: CommitFailure, answer: Answer, answered: &mut Vec<Answered>) -> Reported {
        if change.unseats() {
            self.directory.calm_down();
        }
        let author = change.author;
        match answer {
            Answer::Sender(accepted) => {
                answered.push((accepted, Err(failure.into_send_error(change))));
                Reported::Failed(None)
            }
            Answer::Asker(replied) => {
                let _gone = replied.send(Err(Box::new(failure.into_send_error(change).into())));
                Reported::Failed(None)
            }
            Answer::House(answer) => {
                let _gone = answer.send(Err(failure));
                Reported::Failed(None)
            }
            Answer::Worker { generation, tidies } => {
                Reported::Failed(author.map(|person| Failed { person, generation, tidies, failure }))
            }
        }
    }

    fn broadcast(&self, reports: &[Reported]) {
        let Some(broadcast) = self.broadcast.as_ref().and_then(WeakAddr::upgrade) else { return };
        let committed = reports.iter().filter_map(|reported| match reported {
            Reported::Committed { committed, .. } => Some(committed.clone()),
            Reported::Failed(_) | Reported::Quarantined(_) | Reported::Retracted(_) => None,
        });
        broadcast.do_send(Tell(committed.collect()));
    }
}
