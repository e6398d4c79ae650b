//! Power owns the difference between what was written and what was synced: when the power fails, only the latter is there.

use crate::layer::{Layer, Layered};
use crate::memory::{MemoryDisk, MemoryStore};
use worksite_model::{Change, Store, StoreError, Timestamp, Verdict};

/// A disk that is synced after every so many commits. What was not synced is gone when the power fails; when only the
/// process dies, it is there.
#[derive(Debug, Clone)]
pub struct PowerDisk {
    written: MemoryDisk,
    synced: MemoryDisk,
    sync_every: u64,
}

/// A store on a [`PowerDisk`].
pub type PowerStore = Layered<Power>;

/// When the power of a [`PowerStore`] fails.
pub struct Power {
    store: MemoryStore,
    disk: PowerDisk,
    commits: u64,
    fails_at: Option<u64>,
    dead: bool,
}

impl PowerDisk {
    /// An empty disk that is synced after every so many commits: after each, as is the default of a site, or now and then.
    pub fn new(sync_every: u64) -> Self {
        Self { written: MemoryDisk::default(), synced: MemoryDisk::default(), sync_every: sync_every.max(1) }
    }

    /// Opens what is on this disk; the power fails while this commit is being synced, counted from 1.
    pub fn open(&self, fails_at: Option<u64>) -> PowerStore {
        let store = MemoryStore::open(&self.written);
        Layered(Power { store, disk: self.clone(), commits: 0, fails_at, dead: false })
    }
}

impl Layer for Power {
    fn below(&mut self) -> Result<&mut dyn Store, StoreError> {
        if self.dead { Err(StoreError::Closed("there is no power".into())) } else { Ok(&mut self.store) }
    }

    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        let verdicts = self.below()?.commit(batch, at)?;
        self.commits += 1;
        if self.fails_at == Some(self.commits) {
            self.dead = true;
            self.disk.written.revert(&self.disk.synced);
            return Err(StoreError::Unknown("the power failed".into()));
        }
        if self.commits.is_multiple_of(self.disk.sync_every) {
            self.disk.synced.revert(&self.disk.written);
        }
        Ok(verdicts)
    }
}
