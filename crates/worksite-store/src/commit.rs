//! The commit owns writing: a batch of changes goes into one transaction, and each change gets its verdict.
//!
//! What can be refused is refused before a statement runs, from the mirrors in memory, so that a refusal costs its
//! neighbours nothing. What only a statement can find out (a handler's error, a value too large) rolls the whole batch
//! back; then each change is written alone, so that only the bad one is refused. There are no savepoints in the usual
//! path: they would cost a fifth of the throughput.

use crate::error::{batch_error, read_error};
use crate::open::{Mirrors, SqliteStore};
use crate::options::WriteHandler;
use crate::row;
use rusqlite::{CachedStatement, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::HashMap;
use std::time::Duration;
use worksite_model::{
    Burial, Change, DeadLetter, Departure, Draft, Entry, EnvelopeId, FailureKind, Fate, Grant, Payload, PersonId,
    Recovered, Refusal, Retry, Roster, RosterChange, Settlement, StateWrite, Store, StoreError, Tally, Timestamp,
    Verdict, Waiting,
};

/// How many expired keys one call forgets at most: pruning shares the writer with everybody else.
const PRUNED_MAX: i64 = 10_000;

/// Why a transaction did not get to its end.
enum Trouble {
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

impl Store for SqliteStore {
    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
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

    fn roster(&mut self) -> Result<Roster, StoreError> {
        Ok(self.mirrors.roster.clone())
    }

    fn waiting(&mut self) -> Result<Vec<Waiting>, StoreError> {
        Ok(self.mirrors.index.waiting())
    }

    fn recover(&mut self, person: PersonId) -> Result<Recovered, StoreError> {
        self.guard()?;
        self.recover_person(person)
    }

    fn state(&mut self, person: PersonId, routine: &str) -> Result<Option<Payload>, StoreError> {
        let sql = "SELECT encoding, type, version, checksum, body FROM states WHERE person = ?1 AND routine = ?2";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_row(params![person.0, routine], |row| row::payload(row, 0)).optional()
        };
        read().map(Option::flatten).map_err(|error| read_error(&error))
    }

    fn dead_letters(&mut self, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.read_dead_letters(limit).map_err(|error| read_error(&error))
    }

    fn tally(&mut self) -> Result<Tally, StoreError> {
        Ok(Tally { waiting: self.mirrors.index.total(), ..self.mirrors.tally })
    }

    fn prune(&mut self, key_retention: Duration, at: Timestamp) -> Result<usize, StoreError> {
        self.guard()?;
        let retention = i64::try_from(key_retention.as_micros()).unwrap_or(i64::MAX);
        let sql = "DELETE FROM keys WHERE key IN \
                   (SELECT key FROM keys WHERE accepted_at < ?1 AND fate <> 'waiting' LIMIT ?2)";
        let before = at.as_micros().saturating_sub(retention);
        match self.connection.execute(sql, params![before, PRUNED_MAX]) {
            Ok(pruned) => Ok(pruned),
            Err(error) => Err(self.failed(batch_error(&error).unwrap_or_else(|| read_error(&error)))),
        }
    }
}

impl SqliteStore {
    /// Writes changes in one transaction. The mirrors move along with the statements; on trouble they are ahead of the
    /// file and the caller has to reload them.
    fn write(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, Trouble> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let mut writer = Writer::new(&transaction, &mut self.mirrors, &self.options.handlers, at)?;
        let mut verdicts = Vec::with_capacity(batch.len());
        for change in batch {
            verdicts.push(match writer.refusal(change) {
                Some(refusal) => Err(refusal),
                None => Ok(writer.write(change)?),
            });
        }
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

    fn read_dead_letters(&self, limit: usize) -> rusqlite::Result<Vec<DeadLetter>> {
        let sql = format!("SELECT {}, buried_at, failure, reason FROM dead_letters ORDER BY id LIMIT ?1", row::COLUMNS);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query([limit])?;
        let mut letters = Vec::new();
        while let Some(row) = rows.next()? {
            if let Some(letter) = crate::recover::dead_letter(row)? {
                letters.push(letter);
            }
        }
        Ok(letters)
    }
}

/// One transaction's writing: the hot statements, prepared once, and the mirrors that move along.
struct Writer<'a> {
    transaction: &'a Transaction<'a>,
    mirrors: &'a mut Mirrors,
    handlers: &'a HashMap<String, WriteHandler>,
    at: Timestamp,
    insert: CachedStatement<'a>,
    delete: CachedStatement<'a>,
    upsert_state: CachedStatement<'a>,
}

impl<'a> Writer<'a> {
    fn new(
        transaction: &'a Transaction<'a>,
        mirrors: &'a mut Mirrors,
        handlers: &'a HashMap<String, WriteHandler>,
        at: Timestamp,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            insert: transaction.prepare_cached(INSERT)?,
            delete: transaction.prepare_cached("DELETE FROM envelopes WHERE id = ?1")?,
            upsert_state: transaction.prepare_cached(UPSERT_STATE)?,
            transaction,
            mirrors,
            handlers,
            at,
        })
    }

    /// What is known to be wrong with a change before any of it is written.
    fn refusal(&self, change: &Change) -> Option<Refusal> {
        let roster = change.roster.as_ref().map_or(&self.mirrors.roster, |change| &change.target);
        if let Some(draft) = change.drafts.iter().find(|draft| !roster.contains(draft.to)) {
            return Some(Refusal::UnknownPerson(draft.to));
        }
        let settled = change.settled.iter().map(|settlement| settlement.id);
        let retried = change.retried.iter().map(|retry| retry.id);
        let mut leaving = settled.chain(retried).chain(change.buried.iter().map(|burial| burial.id));
        let waits = |id: &EnvelopeId| {
            !change.clear && change.author.is_some_and(|author| self.mirrors.index.contains(author, *id))
        };
        if let Some(id) = leaving.find(|id| !waits(id)) {
            return Some(Refusal::NotWaiting(id));
        }
        let unknown = change.writes.iter().find(|write| !self.handlers.contains_key(write.name.as_ref()))?;
        Some(Refusal::UnknownWrite(unknown.name.to_string()))
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
        for id in &change.removed {
            self.remove(*id, &mut grant)?;
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
        for state in &change.states {
            self.write_state(state)?;
        }
        for write in &change.writes {
            if let Some(handler) = self.handlers.get(write.name.as_ref()) {
                handler(self.transaction, &write.bytes)?;
            }
        }
        grant.entries.reserve(change.drafts.len());
        for draft in &change.drafts {
            let entry = self.accept(draft)?;
            grant.entries.push(entry);
        }
        Ok(grant)
    }

    fn clear(&mut self, grant: &mut Grant) -> rusqlite::Result<()> {
        for entry in self.mirrors.index.waiting() {
            let ids = self.mirrors.index.take(entry.person);
            grant.removed.extend(ids.into_iter().map(|id| (entry.person, id)));
        }
        self.mirrors.tally.removed += grant.removed.len() as u64;
        self.transaction.execute("UPDATE keys SET fate = 'removed' WHERE fate = 'waiting'", [])?;
        self.transaction.execute("DELETE FROM envelopes", [])?;
        self.transaction.execute("DELETE FROM states", []).map(drop)
    }

    fn sync(&mut self, roster: &RosterChange, grant: &mut Grant) -> rusqlite::Result<()> {
        let difference = self.mirrors.roster.difference(&roster.target);
        let mut join = self.transaction.prepare_cached(
            "INSERT INTO people (id, name, role, active, joined_at) VALUES (?1, ?2, ?3, 1, ?4) \
             ON CONFLICT (id) DO UPDATE SET name = ?2, role = ?3, left_at = NULL, \
             joined_at = CASE active WHEN 1 THEN joined_at ELSE ?4 END, active = 1",
        )?;
        for person in difference.joined.iter().chain(&difference.changed) {
            join.execute(params![person.id.0, person.name, person.role, self.at.as_micros()])?;
        }
        let mut leave = self.transaction.prepare_cached("UPDATE people SET active = 0, left_at = ?2 WHERE id = ?1")?;
        for person in &difference.left {
            leave.execute(params![person.0, self.at.as_micros()])?;
            if roster.departure == Departure::Purge {
                self.purge(*person, grant)?;
            }
        }
        self.mirrors.roster.apply(&difference);
        grant.roster = Some(difference);
        Ok(())
    }

    fn purge(&mut self, person: PersonId, grant: &mut Grant) -> rusqlite::Result<()> {
        let ids: Vec<_> = self.mirrors.index.ids(person).collect();
        for id in ids {
            self.remove(id, grant)?;
        }
        self.transaction.prepare_cached("DELETE FROM states WHERE person = ?1")?.execute([person.0]).map(drop)
    }

    /// Removes an envelope wherever it waits; one that does not wait is ignored.
    fn remove(&mut self, id: EnvelopeId, grant: &mut Grant) -> rusqlite::Result<()> {
        let sql = "DELETE FROM envelopes WHERE id = ?1 RETURNING recipient, key";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let removed = statement.query_row([id.0], |row| Ok((PersonId(row.get(0)?), row.get(1)?))).optional()?;
        let Some((person, key)) = removed else { return Ok(()) };
        let key: Option<String> = key;
        if let Some(key) = key {
            self.remember_fate(&key, "removed", None, None)?;
        }
        self.mirrors.index.remove(person, id);
        self.mirrors.tally.removed += 1;
        grant.removed.push((person, id));
        Ok(())
    }

    fn settle(&mut self, author: PersonId, settlement: &Settlement) -> Result<(), Trouble> {
        self.delete_waiting(author, settlement.id)?;
        self.mirrors.tally.settled += 1;
        if let Some(key) = &settlement.key {
            self.remember_fate(key, "settled", None, settlement.reply.as_ref())?;
        }
        Ok(())
    }

    fn retry(&mut self, retry: &Retry) -> Result<(), Trouble> {
        let sql = "UPDATE envelopes SET attempt = ?2, due = ?3 WHERE id = ?1";
        let mut statement = self.transaction.prepare_cached(sql)?;
        match statement.execute(params![retry.id.0, retry.attempt, retry.due.as_micros()])? {
            0 => Err(Trouble::Change(Refusal::NotWaiting(retry.id))),
            _ => Ok(()),
        }
    }

    fn bury(&mut self, author: PersonId, burial: &Burial) -> Result<(), Trouble> {
        let columns = row::COLUMNS;
        let sql = format!(
            "INSERT INTO dead_letters ({columns}, buried_at, failure, reason) \
             SELECT {columns}, ?2, ?3, ?4 FROM envelopes WHERE id = ?1"
        );
        let failure = failure_name(burial.failure.kind);
        let mut statement = self.transaction.prepare_cached(&sql)?;
        statement.execute(params![burial.id.0, self.at.as_micros(), failure, burial.failure.reason])?;
        let sql = "UPDATE dead_letters SET attempt = ?2 WHERE id = ?1";
        self.transaction.prepare_cached(sql)?.execute(params![burial.id.0, burial.attempts])?;
        self.delete_waiting(author, burial.id)?;
        self.mirrors.tally.buried += 1;
        if let Some(key) = &burial.key {
            self.remember_fate(key, "buried", Some(&burial.failure.to_string()), None)?;
        }
        Ok(())
    }

    /// Takes an envelope off the inbox of the author. It waits, or the whole change is refused: nothing twice.
    fn delete_waiting(&mut self, author: PersonId, id: EnvelopeId) -> Result<(), Trouble> {
        let known = self.mirrors.index.remove(author, id);
        self.delete.raw_bind_parameter(1, id.0)?;
        if self.delete.raw_execute()? == 1 && known { Ok(()) } else { Err(Trouble::Change(Refusal::NotWaiting(id))) }
    }

    fn write_state(&mut self, state: &StateWrite) -> rusqlite::Result<()> {
        self.upsert_state.raw_bind_parameter(1, state.person.0)?;
        self.upsert_state.raw_bind_parameter(2, state.routine.as_ref())?;
        row::bind_payload(&mut self.upsert_state, 3, &state.payload)?;
        self.upsert_state.raw_bind_parameter(8, self.at.as_micros())?;
        self.upsert_state.raw_execute().map(drop)
    }

    fn accept(&mut self, draft: &Draft) -> Result<Entry, Trouble> {
        if let Some(key) = &draft.key
            && let Some(known) = self.known(key)?
        {
            return Ok(known);
        }
        let id = EnvelopeId(self.mirrors.last_id + 1);
        row::insert(&mut self.insert, id, self.at, draft)?;
        self.mirrors.last_id = id.0;
        self.mirrors.tally.accepted += 1;
        self.mirrors.index.push(draft.to, id);
        if let Some(key) = &draft.key {
            let sql = "INSERT INTO keys (key, envelope, accepted_at, fate) VALUES (?1, ?2, ?3, 'waiting')";
            self.transaction.prepare_cached(sql)?.execute(params![key, id.0, self.at.as_micros()])?;
        }
        Ok(Entry::Accepted(id))
    }

    fn known(&self, key: &str) -> rusqlite::Result<Option<Entry>> {
        let sql = "SELECT envelope, fate, reason, encoding, type, version, checksum, body FROM keys WHERE key = ?1";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let known = statement.query_row([key], |row| {
            let fate = match row.get_ref(1)?.as_str()? {
                "settled" => Fate::Settled(row::payload(row, 3)?),
                "buried" => Fate::Buried(row.get::<_, Option<String>>(2)?.unwrap_or_default()),
                "removed" => Fate::Removed,
                _ => Fate::Waiting,
            };
            Ok(Entry::Known { id: EnvelopeId(row.get(0)?), fate })
        });
        known.optional()
    }

    fn remember_fate(
        &self,
        key: &str,
        fate: &str,
        reason: Option<&str>,
        reply: Option<&Payload>,
    ) -> rusqlite::Result<()> {
        let sql = "UPDATE keys SET fate = ?2, reason = ?3, encoding = ?4, type = ?5, version = ?6, checksum = ?7, \
                   body = ?8 WHERE key = ?1";
        self.transaction.prepare_cached(sql)?.execute(params![
            key,
            fate,
            reason,
            reply.map(|reply| reply.encoding as i64),
            reply.map(|reply| reply.type_name.as_ref()),
            reply.map(|reply| reply.version),
            reply.map(|reply| reply.checksum),
            reply.map(|reply| &reply.body[..]),
        ])?;
        Ok(())
    }

    /// Writes the highest id and the tally, once for all changes of the transaction.
    fn close(&mut self) -> rusqlite::Result<()> {
        let sql = "UPDATE site SET last_envelope = ?1, accepted = ?2, settled = ?3, buried = ?4, removed = ?5, \
                   quarantined = ?6";
        let tally = &self.mirrors.tally;
        let counts = [tally.accepted, tally.settled, tally.buried, tally.removed, tally.quarantined];
        let [accepted, settled, buried, removed, quarantined] = counts.map(u64::cast_signed);
        self.transaction.prepare_cached(sql)?.execute(params![
            self.mirrors.last_id,
            accepted,
            settled,
            buried,
            removed,
            quarantined
        ])?;
        Ok(())
    }
}

const INSERT: &str = "INSERT INTO envelopes (id, recipient, sender, routine, priority, attempt, due, not_before, \
     expires_at, accepted_at, key, kind, channel, thread, reply_to, encoding, type, version, checksum, body) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";

const UPSERT_STATE: &str = "INSERT INTO states (person, routine, encoding, type, version, checksum, body, written_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (person, routine) DO UPDATE SET encoding = ?3, type = ?4, \
     version = ?5, checksum = ?6, body = ?7, written_at = ?8";

/// The word for a kind of failure in the file.
fn failure_name(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Panicked => "panicked",
        FailureKind::TooLong => "too long",
        FailureKind::Undecodable => "undecodable",
        FailureKind::NoRoutine => "no routine",
        FailureKind::Refused => "refused",
        FailureKind::Expired => "expired",
        _ => "returned",
    }
}

/// The kind of failure for a word in the file.
pub(crate) fn failure_kind(name: &str) -> FailureKind {
    let kinds = [
        FailureKind::Panicked,
        FailureKind::TooLong,
        FailureKind::Undecodable,
        FailureKind::NoRoutine,
        FailureKind::Refused,
        FailureKind::Expired,
    ];
    kinds.into_iter().find(|kind| failure_name(*kind) == name).unwrap_or(FailureKind::Returned)
}
