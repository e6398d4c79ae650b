//! The way in: drafts are checked, given places in the inboxes, and handed to the writer.

use super::Runtime;
use crate::directory::NoPlace;
use crate::flows::VolatileJobs;
use crate::persistence::{Answer, SendAnswer};
use crate::supervisor::{Park, Start, WakeFor};
use crate::{AskError, DeskError, SendError};
use tokio::sync::oneshot;
use worksite_model::{Change, Draft, Durable, Entry, EnvelopeId, Fate, NamedWrite, Overflow, Rejection, accept};

/// The proof that a draft is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The envelope it became.
    pub id: EnvelopeId,
    /// Whether it was accepted before, under the same idempotency key.
    pub known: bool,
}

impl Receipt {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self { id: entry.id(), known: matches!(entry, Entry::Known { .. }) }
    }
}

async fn receipts(answer: oneshot::Receiver<SendAnswer>) -> Result<Vec<Receipt>, SendError> {
    match answer.await {
        Ok(Ok(receipts)) => Ok(receipts),
        Ok(Err(error)) => Err(error),
        Err(_closed) => Err(SendError::Stopped { drafts: vec![] }),
    }
}

impl Runtime {
    /// Sends a draft. Resolves when it is durable: then it survives the process, and with the default sync mode the
    /// machine. The order of calls is the order of ids.
    ///
    /// # Errors
    /// [`SendError`], with the draft given back.
    pub fn send(&self, draft: Draft) -> impl Future<Output = Result<Receipt, SendError>> + Send + 'static + use<> {
        let sent = self.send_all(vec![draft]);
        async move {
            let receipts = sent.await?;
            receipts.into_iter().next().ok_or(SendError::Stopped { drafts: vec![] })
        }
    }

    /// Sends drafts as one change: all are accepted or none, with ids in the order given. No drafts are fine.
    ///
    /// # Errors
    /// [`SendError`], with the drafts given back.
    pub fn send_all(
        &self,
        drafts: Vec<Draft>,
    ) -> impl Future<Output = Result<Vec<Receipt>, SendError>> + Send + 'static + use<> {
        let (accepted, answer) = oneshot::channel();
        let handed = self.hand_over(drafts, Answer::Sender(accepted));
        async move {
            handed?;
            receipts(answer).await
        }
    }

    /// Sends a draft that is never written: it is delivered if the house lives so long, and counted when it is lost.
    /// It is not acknowledged, timed, retried or buried. For ticks, presence and progress.
    ///
    /// # Errors
    /// [`SendError`], with the draft given back.
    pub fn send_volatile(&self, draft: Draft) -> Result<(), SendError> {
        self.hand_over_volatile(draft, None)
    }

    /// [`Runtime::send_volatile`], with the volatile jobs it carries, if it is a post.
    pub(crate) fn hand_over_volatile(&self, draft: Draft, jobs: Option<VolatileJobs>) -> Result<(), SendError> {
        let house = self.house();
        if house.directory.is_closed() {
            return Err(SendError::Stopped { drafts: vec![draft] });
        }
        if draft.payload.len() > house.limits.payload_bytes_max {
            let rejection =
                Rejection::PayloadTooLarge { bytes: draft.payload.len(), limit: house.limits.payload_bytes_max };
            return Err(SendError::Rejected { rejection, drafts: vec![draft] });
        }
        let person = draft.to;
        match house.directory.deliver_volatile(draft, jobs, &house.registry) {
            Ok(None) => {}
            Ok(Some(delivery)) => self.0.supervisor.do_send(WakeFor(person, delivery)),
            Err(rejected) => {
                let (rejection, draft) = *rejected;
                return Err(SendError::Rejected { rejection, drafts: vec![draft] });
            }
        }
        Ok(())
    }

    /// How many volatile drafts were lost in this life of the house.
    pub fn volatile_lost(&self) -> u64 {
        self.house().directory.volatile_lost()
    }

    /// How many drafts of routines were not accepted in this life of the house because they came too soon after another.
    pub fn cooled(&self) -> u64 {
        self.house().directory.cooled()
    }

    /// Sends a draft and waits for its routine's reply. Resolves after the commit that settled it. Under an
    /// idempotency key the reply is kept: asking again, also after a crash, gives the same reply and does nothing twice.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn ask<R: Durable>(&self, draft: Draft) -> impl Future<Output = Result<R, AskError>> + Send + 'static {
        let asked = self.ask_payload(draft);
        async move { Ok(asked.await?.ok_or(AskError::NoReply)?.decode()?) }
    }

    /// [`Runtime::ask`] for a reply as it is stored, if there is one.
    pub(crate) fn ask_payload(
        &self,
        draft: Draft,
    ) -> impl Future<Output = Result<Option<worksite_model::Payload>, AskError>> + Send + 'static {
        let (replied, reply) = oneshot::channel();
        let handed = self.hand_over(vec![draft], Answer::Asker(replied));
        async move {
            handed?;
            let fate = reply.await.map_err(|_closed| AskError::Stopped)?;
            match fate.map_err(|refused| *refused)? {
                Fate::Settled(reply) => Ok(reply),
                Fate::Buried(reason) => Err(AskError::Buried(reason)),
                Fate::Removed => Err(AskError::Removed),
                Fate::Waiting => Err(AskError::Stopped),
            }
        }
    }

    /// Writes rows to the application's own tables, through the handlers the store was opened with, and sends drafts, in
    /// one commit: all or nothing.
    ///
    /// # Errors
    /// [`DeskError`]; nothing was written.
    pub async fn transact(&self, writes: Vec<NamedWrite>, drafts: Vec<Draft>) -> Result<Vec<Receipt>, DeskError> {
        let house = self.house();
        let now = house.clock.now();
        if let Some(rejection) = drafts.iter().find_map(|draft| accept(draft, &house.limits, now).err()) {
            return Err(DeskError::Rejected(rejection));
        }
        self.propose_drafts(Change { writes, ..Change::send(drafts) }).await
    }

    /// Checks drafts, reserves their places, and hands them to the writer.
    pub(super) fn hand_over(&self, drafts: Vec<Draft>, answer: Answer) -> Result<(), SendError> {
        let house = self.house();
        if house.directory.is_closed() {
            return Err(SendError::Stopped { drafts });
        }
        let now = house.clock.now();
        if let Some(rejection) = drafts.iter().find_map(|draft| accept(draft, &house.limits, now).err()) {
            return Err(SendError::Rejected { rejection, drafts });
        }
        if !house.directory.depart(&house.limits) {
            return Err(SendError::Overloaded { limit: "changes_in_flight_max", drafts });
        }
        match house.directory.reserve(&drafts, &house.registry, &house.limits, false) {
            Ok(()) => {
                house.propose(Change::send(drafts), answer);
                Ok(())
            }
            Err(no_place) => {
                house.directory.arrive();
                self.without_place(no_place, drafts, answer)
            }
        }
    }

    /// What becomes of drafts for which there is no place: the recipient's policy says so.
    pub(super) fn without_place(&self, no_place: NoPlace, drafts: Vec<Draft>, answer: Answer) -> Result<(), SendError> {
        let house = self.house();
        let (draft, limit, overflow) = match no_place {
            NoPlace::Rejected(rejection) => return Err(SendError::Rejected { rejection, drafts }),
            NoPlace::Full { draft, limit, overflow } => (draft, limit, overflow),
        };
        let person = drafts[draft].to;
        if !house.directory.is_awake(person) {
            // What has expired there holds room until somebody looks.
            self.0.supervisor.do_send(Start(person));
        }
        if !matches!(overflow, Overflow::Wait | Overflow::WaitFor(_)) {
            return Err(house.directory.turn_away(person, limit, overflow, drafts));
        }
        if !house.directory.park(person, &house.limits) {
            return Err(house.directory.turn_away(person, "changes_parked_max", Overflow::Reject, drafts));
        }
        self.0.supervisor.do_send(Park { person, limit, overflow, drafts, answer });
        Ok(())
    }

    /// Hands a change that also sends drafts to the writer, once there is a place for each.
    pub(super) async fn propose_drafts(&self, change: Change) -> Result<Vec<Receipt>, DeskError> {
        let house = self.house();
        house.directory.reserve(&change.drafts, &house.registry, &house.limits, false).map_err(|no_place| {
            match no_place {
                NoPlace::Rejected(Rejection::UnknownPerson(person)) => DeskError::UnknownPerson(person),
                NoPlace::Rejected(rejection) => DeskError::Rejected(rejection),
                NoPlace::Full { limit, .. } => DeskError::NoRoom(limit),
            }
        })?;
        if house.directory.is_closed() {
            house.directory.release_drafts(&change.drafts);
            return Err(DeskError::Stopped);
        }
        let committed = self.propose(change).await?;
        Ok(committed.envelopes.iter().map(|envelope| Receipt { id: envelope.id, known: false }).collect())
    }
}
