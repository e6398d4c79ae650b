//! Replaying owns doing the same again: what entered and what was answered is put into another house, where the rest
//! follows. A fork is a replay up to a tick, a verification one up to the end; neither asks a planner.

use super::{AnswerBook, ChronicleRoutine, DeskRoutine, LedgerRoutine, Office, OfficeError, Planning, RecordedPlanner};
use super::{Transcript, retention};
use crate::{MemoryDisk, MemoryStore};
use worksite_runtime::{ManualClock, Runtime};

/// What a verification has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The digest of the transcript.
    pub digest: String,
    /// The digest of its replay.
    pub replayed: String,
    /// The first tick at which they part.
    pub parts_at: Option<u64>,
    /// How many planners were asked beside the recording.
    pub calls: u64,
}

impl Verified {
    /// Whether the replay is what was replayed.
    pub fn holds(&self) -> bool {
        self.parts_at.is_none() && self.digest == self.replayed && self.calls == 0
    }
}

impl Transcript {
    /// Does again in another house what happened before this tick: the office there comes to the same tick, with the same
    /// past. What enters there from then on is its own.
    ///
    /// # Errors
    /// [`OfficeError::NotFounded`] when the transcript has no charter, [`OfficeError::Planner`] when it lacks an answer, and
    /// [`OfficeError`].
    pub async fn replay(&self, tick: u64, runtime: Runtime, clock: ManualClock) -> Result<Office, OfficeError> {
        let charter = self.charter().ok_or(OfficeError::NotFounded)?.clone();
        let book = AnswerBook::of(self);
        let recorded = Planning { book, falls_back: false, ..Planning::by(RecordedPlanner::default()) };
        let mut office = Office::open(runtime, clock, charter).await?;
        for row in self.inputs().filter(|row| row.tick < tick) {
            office.run_to(row.tick, &recorded, |_, _| true).await?;
            office.enter(row.input.clone()).await?;
        }
        office.run_to(tick, &recorded, |_, _| true).await?;
        Ok(office)
    }

    /// [`Transcript::replay`] in a house in memory.
    ///
    /// # Errors
    /// As there.
    pub async fn replay_in_memory(&self, tick: u64) -> Result<Office, OfficeError> {
        let clock = ManualClock::default();
        let builder = Runtime::builder().routine(LedgerRoutine).routine(DeskRoutine).routine(ChronicleRoutine);
        let builder = builder.clock(clock.clock()).retention(retention());
        let runtime = builder.start(Box::new(MemoryStore::open(&MemoryDisk::default()))).await?;
        self.replay(tick, runtime, clock).await
    }
}

impl Office {
    /// A second office that shares the past before this tick: a replay in another house, with its own future.
    ///
    /// # Errors
    /// [`OfficeError`].
    pub async fn fork(&self, tick: u64, runtime: Runtime, clock: ManualClock) -> Result<Self, OfficeError> {
        self.transcript().await?.replay(tick.min(self.tick()), runtime, clock).await
    }

    /// Replays everything that has entered in memory, and compares. No planner is asked.
    ///
    /// # Errors
    /// [`OfficeError::MidTick`], and [`OfficeError`].
    pub async fn verify(&self) -> Result<Verified, OfficeError> {
        if self.is_mid_tick() {
            return Err(OfficeError::MidTick(self.tick()));
        }
        let transcript = self.transcript().await?;
        let office = transcript.replay_in_memory(self.tick()).await?;
        let replayed = office.transcript().await?;
        // An input at the very end has entered before a tick that has not been begun.
        let calls = office.calls();
        office.runtime().shutdown().await;
        let tick = self.tick();
        let (before, replayed_before) = (transcript.before(tick), replayed.before(tick));
        Ok(Verified {
            digest: before.digest(),
            replayed: replayed_before.digest(),
            parts_at: before.parts_from(&replayed_before),
            calls,
        })
    }
}
