//! The commit owns writing: a batch of changes goes into one transaction, and each change gets its verdict.
//!
//! What can be refused is refused before a statement runs, from the mirrors in memory, so that a refusal costs its
//! neighbours nothing. What only a statement can find out (a handler's error, a value too large) rolls the whole batch
//! back; then each change is written alone, so that only the bad one is refused. There are no savepoints in the usual
//! path: they would cost a fifth of the throughput.
//!
//! The files below own the parts of a change: what is refused, how drafts come in, how envelopes leave, and people.

mod accept;
mod leave;
mod people;
mod refuse;

use crate::error::batch_error;
use crate::fleeting::Fleeting;
use crate::open::{Mirrors, SqliteStore};
use crate::options::WriteHandler;
use crate::{jobs, revision, row, run};
pub(crate) use accept::fate;
pub(crate) use leave::failure_kind;
use rusqlite::{CachedStatement, Transaction, TransactionBehavior, params};
use std::collections::HashMap;
use worksite_model::{Change, Grant, Refusal, Settlement, StateWrite, StoreError, Timestamp, Verdict};

/// Why a transaction did not get to its end.
pub(crate) enum Trouble {
    /// This change cannot be written; its neighbours can.
    Change(Refusal),
    /// Nothing can be written now.
    Batch(StoreError),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        match batch_error(&error) {
            Some(error) => Self::Batch(error),
            None => Self::Change(Refusal::Invalid(error.to_string())),
        }
    }
}

impl SqliteStore {
    /// Writes changes, each as a whole or not at all: together, or each alone if one of them spoils that.
    pub(crate) fn write_batch(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        self.guard()?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        match self.write(batch, at) {
            Ok(verdicts) => Ok(verdicts),
            Err(Trouble::Batch(error)) => Err(self.failed(error)),
            Err(Trouble::Change(refusal)) if batch.len() == 1 => {
                self.reload();
                Ok(vec![Err(refusal)])
            }
            Err(Trouble::Change(_)) => {
                self.reload();
                Ok(batch.iter().map(|change| self.write_alone(change, at)).collect())
            }
        }
    }

    /// Writes changes in one transaction. The mirrors move along with the statements; on trouble they are ahead of the
    /// file and the caller has to reload them.
    fn write(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, Trouble> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let mut writer = Writer::new(&transaction, &mut self.mirrors, &self.options.handlers, at)?;
        let mut verdicts = Vec::with_capacity(batch.len());
        writer.fleeting = Fleeting::of(batch, writer.mirrors.last_id);
        for change in batch {
            verdicts.push(match writer.refusal(change)? {
                Some(refusal) => Err(refusal),
                None => Ok(writer.write(change)?),
            });
        }
        writer.write_what_stayed(batch)?;
        writer.close()?;
        drop(writer);
        transaction.commit().map_err(|error| match batch_error(&error) {
            Some(error) => Trouble::Batch(error),
            // A commit that fails for any other reason leaves its outcome open.
            None => Trouble::Batch(StoreError::Unknown(error.to_string())),
        })?;
        Ok(verdicts)
    }

    /// Writes a change in a transaction of its own, after it, or a neighbour, has spoilt a common one.
    fn write_alone(&mut self, change: &Change, at: Timestamp) -> Verdict {
        if let Err(error) = self.guard() {
            return Err(Refusal::Unwritten(error));
        }
        match self.write(std::slice::from_ref(change), at) {
            Ok(mut verdicts) => verdicts.pop().unwrap_or_else(|| Ok(Grant::default())),
            Err(Trouble::Change(refusal)) => {
                self.reload();
                Err(refusal)
            }
            Err(Trouble::Batch(error)) => Err(Refusal::Unwritten(self.failed(error))),
        }
    }

    /// Nothing was written; after an unknown outcome or damage, nothing is written any more.
    pub(crate) fn failed(&mut self, error: StoreError) -> StoreError {
        match error {
            StoreError::Busy(_) | StoreError::Full(_) => self.reload(),
            _ => self.poison(&error),
        }
        error
    }
}

/// One transaction's writing: the hot statements, prepared once, and the mirrors that move along.
pub(crate) struct Writer<'a> {
    pub(crate) transaction: &'a Transaction<'a>,
    pub(crate) mirrors: &'a mut Mirrors,
    handlers: &'a HashMap<String, WriteHandler>,
    pub(crate) at: Timestamp,
    insert: CachedStatement<'a>,
    /// For plain drafts: half the columns.
    insert_plain: CachedStatement<'a>,
    delete: CachedStatement<'a>,
    update_state: CachedStatement<'a>,
    pub(crate) runs: run::RunStatements<'a>,
    fleeting: Fleeting,
}

impl<'a> Writer<'a> {
    fn new(
        transaction: &'a Transaction<'a>,
        mirrors: &'a mut Mirrors,
        handlers: &'a HashMap<String, WriteHandler>,
        at: Timestamp,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            insert_plain: transaction.prepare_cached(accept::INSERT_PLAIN)?,
            fleeting: Fleeting::default(),
            runs: run::RunStatements::default(),
            insert: transaction.prepare_cached(accept::INSERT)?,
            delete: transaction.prepare_cached("DELETE FROM envelopes WHERE id = ?1")?,
            update_state: transaction.prepare_cached(UPDATE_STATE)?,
            transaction,
            mirrors,
            handlers,
            at,
        })
    }

    /// Writes a change, in the order in which its parts take effect.
    fn write(&mut self, change: &Change) -> Result<Grant, Trouble> {
        let mut grant = Grant::default();
        if change.clear {
            self.clear(&mut grant)?;
        }
        if let Some(roster) = &change.roster {
            self.sync(roster, &mut grant)?;
        }
        for (person, rests) in &change.paused {
            let sql = "UPDATE people SET paused = ?2 WHERE id = ?1";
            self.transaction.prepare_cached(sql)?.execute(params![person.0, rests])?;
        }
        for id in &change.removed {
            let removed = self.remove(*id, "removed")?;
            self.mirrors.tally.removed += u64::from(removed.is_some());
            grant.removed.extend(removed);
        }
        for id in &change.dropped {
            let dropped = self.remove(*id, "dropped")?;
            self.mirrors.tally.dropped += u64::from(dropped.is_some());
            grant.dropped.extend(dropped);
        }
        for id in &change.exhumed {
            self.exhume(*id)?;
        }
        if let Some(author) = change.author {
            for settlement in &change.settled {
                self.settle(author, settlement)?;
            }
            for retry in &change.retried {
                self.retry(retry)?;
            }
            for burial in &change.buried {
                self.bury(author, burial)?;
            }
        }
        let envelope = change.settled.last().map(Settlement::id);
        for state in &change.states {
            self.write_state(state)?;
            if let Some(keep) = state.keep {
                revision::keep(self.transaction, state, keep, envelope)?;
            }
        }
        for (person, routine) in &change.forgotten {
            let sql = "DELETE FROM states WHERE person = ?1 AND routine = ?2";
            self.transaction.prepare_cached(sql)?.execute(params![person.0, routine])?;
        }
        if let Some(job) = jobs::write(self.transaction, &change.jobs)? {
            return Err(Trouble::Change(Refusal::JobEnded(job)));
        }
        for cursor in &change.cursors {
            self.change_cursor(cursor)?;
        }
        for write in &change.writes {
            if let Some(handler) = self.handlers.get(write.name.as_ref()) {
                handler(self.transaction, &write.bytes)?;
            }
        }
        grant.entries.reserve_exact(change.drafts.len());
        for (place, draft) in change.drafts.iter().enumerate() {
            let numbered = change.numbering.map(|numbering| (numbering.id(place), numbering.at));
            let entry = self.accept(draft, numbered)?;
            grant.entries.push(entry);
        }
        if let Some(numbering) = change.numbering.filter(|_| !change.drafts.is_empty()) {
            // Also where the last of them were known already: what was given once is not given again.
            self.mirrors.last_id = numbering.id(change.drafts.len() - 1).0;
        }
        for write in &change.runs {
            self.write_run(write)?;
        }
        self.log_facts(change, &grant)?;
        Ok(grant)
    }

    fn write_state(&mut self, state: &StateWrite) -> rusqlite::Result<()> {
        // Nearly always there is one already, and an update costs half of an upsert.
        match write_state(&mut self.update_state, state, self.at)? {
            0 => write_state(&mut self.transaction.prepare_cached(INSERT_STATE)?, state, self.at).map(drop),
            _ => Ok(()),
        }
    }

    /// Writes the highest id and the tally, once for all changes of the transaction.
    fn close(&mut self) -> rusqlite::Result<()> {
        let sql = "UPDATE site SET last_envelope = ?1, accepted = ?2, settled = ?3, buried = ?4, removed = ?5, \
                   quarantined = ?6, dropped = ?7, last_fact = ?8";
        let tally = &self.mirrors.tally;
        let counts = [tally.accepted, tally.settled, tally.buried, tally.removed, tally.quarantined, tally.dropped];
        let [accepted, settled, buried, removed, quarantined, dropped] = counts.map(u64::cast_signed);
        self.transaction.prepare_cached(sql)?.execute(params![
            self.mirrors.last_id,
            accepted,
            settled,
            buried,
            removed,
            quarantined,
            dropped,
            self.mirrors.last_fact
        ])?;
        Ok(())
    }
}

const UPDATE_STATE: &str = "UPDATE states SET encoding = ?3, type = ?4, version = ?5, checksum = ?6, body = ?7, \
     written_at = ?8 WHERE person = ?1 AND routine = ?2";

const INSERT_STATE: &str = "INSERT INTO states (person, routine, encoding, type, version, checksum, body, written_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

fn write_state(statement: &mut CachedStatement<'_>, state: &StateWrite, at: Timestamp) -> rusqlite::Result<usize> {
    statement.raw_bind_parameter(1, state.person.0)?;
    statement.raw_bind_parameter(2, state.routine.as_ref())?;
    row::bind_payload(statement, 3, &state.payload)?;
    statement.raw_bind_parameter(8, at.as_micros())?;
    statement.raw_execute()
}
