//! The commit owns writing: a batch of changes goes into one transaction, and each change gets its verdict.
//!
//! What can be refused is refused before a statement runs, from the mirrors in memory, so that a refusal costs its
//! neighbours nothing. What only a statement can find out (a handler's error, a value too large) rolls the whole batch
//! back; then each change is written alone, so that only the bad one is refused. There are no savepoints in the usual
//! path: they would cost a fifth of the throughput.

use crate::error::{batch_error, read_error};
use crate::fleeting::Fleeting;
use crate::open::{Mirrors, SqliteStore};
use crate::options::WriteHandler;
use crate::{facts, history, jobs, recover, revision, row, run};
use rusqlite::{CachedStatement, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::{BTreeSet, HashMap};
use worksite_model::flow::{Job, JobFilter, JobId};
use worksite_model::{
    Burial, Change, Cursor, DeadLetter, Draft, Entry, EnvelopeId, FactOffset, FailureKind, Fate, Grant, Interest,
    LoggedFact, Payload, PersonId, Pruned, Recovered, RecoveredRuns, Refusal, Removal, Retention, Retry, Revision,
    Roster, RosterChange, Run, RunFilter, RunId, Session, Settlement, StateWrite, Store, StoreError, Tally,
    ThreadEntry, Timestamp, Verdict, Waiting, WaitingDelivery,
};

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

    fn last_id(&mut self) -> Result<EnvelopeId, StoreError> {
        Ok(EnvelopeId(self.mirrors.last_id))
    }

    fn last_accepted(&mut self) -> Result<Timestamp, StoreError> {
        self.last_accepted_at()
    }

    fn waiting(&mut self) -> Result<Vec<Waiting>, StoreError> {
        Ok(self.mirrors.index.waiting())
    }

    fn recover(&mut self, person: PersonId, at: Timestamp) -> Result<Recovered, StoreError> {
        self.guard()?;
        self.recover_person(person, at)
    }

    fn state(&mut self, person: PersonId, routine: &str) -> Result<Option<Payload>, StoreError> {
        let sql = "SELECT encoding, type, version, checksum, body FROM states WHERE person = ?1 AND routine = ?2";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_row(params![person.0, routine], |row| row::state(row, 0)).optional()
        };
        read().map_err(|error| read_error(&error))
    }

    fn paused(&mut self) -> Result<Vec<PersonId>, StoreError> {
        let read = || {
            let sql = "SELECT id FROM people WHERE active = 1 AND paused = 1 ORDER BY id";
            let mut statement = self.connection.prepare_cached(sql)?;
            let paused = statement.query_map([], |row| Ok(PersonId(row.get(0)?)))?;
            paused.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error: rusqlite::Error| read_error(&error))
    }

    fn dead_letters(&mut self, after: EnvelopeId, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        recover::dead_letters(&self.connection, after, limit).map_err(|error| read_error(&error))
    }

    fn thread(&mut self, thread: &str, after: EnvelopeId, limit: usize) -> Result<Vec<ThreadEntry>, StoreError> {
        history::thread(&self.connection, thread, after, limit).map_err(|error| read_error(&error))
    }

    fn revisions(&mut self, person: PersonId, routine: &str, limit: usize) -> Result<Vec<Revision>, StoreError> {
        revision::revisions(&self.connection, person, routine, limit).map_err(|error| read_error(&error))
    }

    fn cursors(&mut self) -> Result<Vec<Cursor>, StoreError> {
        Ok(self.mirrors.cursors.clone())
    }

    fn facts(&mut self, interest: &Interest, after: FactOffset, limit: usize) -> Result<Vec<LoggedFact>, StoreError> {
        facts::page(&self.connection, interest, after, limit).map_err(|error| read_error(&error))
    }

    fn runs(&mut self) -> Result<RecoveredRuns, StoreError> {
        run::recovered(&self.connection).map_err(|error| read_error(&error))
    }

    fn run(&mut self, id: RunId) -> Result<Option<Run>, StoreError> {
        let found = run::run(&self.connection, id).map_err(|error| read_error(&error))?;
        Ok(found.and_then(Result::ok))
    }

    fn run_history(&mut self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        let found = run::history(&self.connection, filter).map_err(|error| read_error(&error))?;
        Ok(found.into_iter().flatten().collect())
    }

    fn session(&mut self, id: &str) -> Result<Option<Session>, StoreError> {
        run::session(&self.connection, id).map_err(|error| read_error(&error))
    }

    fn job(&mut self, id: JobId) -> Result<Option<Job>, StoreError> {
        jobs::job(&self.connection, id).map_err(|error| read_error(&error))
    }

    fn jobs(&mut self, filter: &JobFilter, limit: usize) -> Result<Vec<Job>, StoreError> {
        jobs::page(&self.connection, filter, limit).map_err(|error| read_error(&error))
    }

    fn open_jobs(&mut self) -> Result<Vec<(PersonId, usize)>, StoreError> {
        jobs::open(&self.connection).map_err(|error| read_error(&error))
    }

    fn envelope(&mut self, id: EnvelopeId) -> Result<Option<WaitingDelivery>, StoreError> {
        recover::envelope(&self.connection, id).map_err(|error| read_error(&error))
    }

    fn tally(&mut self) -> Result<Tally, StoreError> {
        Ok(Tally { waiting: self.mirrors.index.total(), ..self.mirrors.tally })
    }

    fn prune(&mut self, retention: &Retention, at: Timestamp) -> Result<Pruned, StoreError> {
        self.guard()?;
        match self.prune_all(retention, at) {
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
            insert_plain: transaction.prepare_cached(INSERT_PLAIN)?,
            fleeting: Fleeting::default(),
            runs: run::RunStatements::default(),
            insert: transaction.prepare_cached(INSERT)?,
            delete: transaction.prepare_cached("DELETE FROM envelopes WHERE id = ?1")?,
            update_state: transaction.prepare_cached(UPDATE_STATE)?,
            transaction,
            mirrors,
            handlers,
            at,
        })
    }

    /// What is known to be wrong with a change before any of it is written.
    fn refusal(&self, change: &Change) -> rusqlite::Result<Option<Refusal>> {
        if let Some(taken) = change.roster.as_ref().and_then(|roster| roster.taken(&self.mirrors.roster)) {
            return Ok(Some(Refusal::Taken(taken)));
        }
        if let Some(author) = change.writes_for_nobody(&self.mirrors.roster) {
            return Ok(Some(Refusal::UnknownPerson(author)));
        }
        if let Some(used) = change.reuses(self.mirrors.last_id) {
            return Ok(Some(Refusal::IdUsed(used)));
        }
        if let Some(stranger) = self.stranger(change) {
            return Ok(Some(Refusal::UnknownPerson(stranger)));
        }
        let settled = change.settled.iter().map(Settlement::id);
        let retried = change.retried.iter().map(|retry| retry.id);
        let mut leaving = settled.chain(retried).chain(change.buried.iter().map(Burial::id));
        let waits = |id: &EnvelopeId| {
            !change.clear && change.author.is_some_and(|author| self.mirrors.index.contains(author, *id))
        };
        if let Some(id) = leaving.find(|id| !waits(id)) {
            return Ok(Some(Refusal::NotWaiting(id)));
        }
        if let Some(refusal) = self.exhumable(change)? {
            return Ok(Some(refusal));
        }
        if change.author.is_none()
            && let Some(refusal) = self.too_soon(&change.drafts)?
        {
            return Ok(Some(refusal));
        }
        if let Some(refusal) = facts::unknown_cursor(self.mirrors, change) {
            return Ok(Some(refusal));
        }
        let unknown = change.writes.iter().find(|write| !self.handlers.contains_key(write.name.as_ref()));
        Ok(unknown.map(|write| Refusal::UnknownWrite(write.name.to_string())))
    }

    /// Somebody the change names who will not be active.
    fn stranger(&self, change: &Change) -> Option<PersonId> {
        let current = &self.mirrors.roster;
        let mut named =
            change.drafts.iter().map(|draft| draft.to).chain(change.paused.iter().map(|(person, _)| *person));
        named.find(|person| match &change.roster {
            Some(roster) => !roster.admits(current, *person),
            None => !current.contains(*person),
        })
    }

    fn exhumable(&self, change: &Change) -> rusqlite::Result<Option<Refusal>> {
        let mut seen = BTreeSet::new();
        for id in &change.exhumed {
            let mut statement = self.transaction.prepare_cached("SELECT 1 FROM dead_letters WHERE id = ?1")?;
            if !seen.insert(id) || !statement.exists([id.0])? {
                return Ok(Some(Refusal::NotBuried(*id)));
            }
        }
        // Its key may have been forgotten and given to another message since.
        for key in change.drafts.iter().filter_map(|draft| draft.key.as_ref()).filter(|_| !change.exhumed.is_empty()) {
            if let Some(Entry::Known { id, .. }) = self.known(key)?
                && !change.exhumed.contains(&id)
            {
                return Ok(Some(Refusal::KeyTaken(key.clone())));
            }
        }
        Ok(None)
    }

    /// A draft from outside that its cooldown keeps out. One that is known by its key is no new message.
    fn too_soon(&self, drafts: &[Draft]) -> rusqlite::Result<Option<Refusal>> {
        let (mut seen, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for draft in drafts.iter().filter(|draft| draft.cooldown.is_some()) {
            if let Some(key) = &draft.key
                && (!keys.insert(key) || self.known(key)?.is_some())
            {
                continue;
            }
            let cooling = self.cooling_until(draft)?;
            let twice = !seen.insert((cooldown_key(draft), draft.to));
            let twice = twice.then(|| draft.cooldown.map(|time| self.at.after(time))).flatten();
            if let Some(until) = cooling.or(twice) {
                return Ok(Some(Refusal::Cooling { to: draft.to, until }));
            }
        }
        Ok(None)
    }

    /// Until when this draft's sender, recipient and channel are closed to it, if they are.
    fn cooling_until(&self, draft: &Draft) -> rusqlite::Result<Option<Timestamp>> {
        let sql = "SELECT until FROM cooldowns WHERE channel = ?1 AND sender = ?2 AND recipient = ?3 AND until > ?4";
        let (channel, sender) = cooldown_key(draft);
        let mut statement = self.transaction.prepare_cached(sql)?;
        let until = statement.query_row(params![channel, sender, draft.to.0, self.at.as_micros()], |row| row.get(0));
        Ok(until.optional()?.map(Timestamp::from_micros))
    }

    fn cool(&self, draft: &Draft) -> rusqlite::Result<()> {
        let Some(time) = draft.cooldown else { return Ok(()) };
        let sql = "INSERT INTO cooldowns (channel, sender, recipient, until) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT (channel, sender, recipient) DO UPDATE SET until = ?4";
        let (channel, sender) = cooldown_key(draft);
        let until = self.at.after(time).as_micros();
        self.transaction.prepare_cached(sql)?.execute(params![channel, sender, draft.to.0, until]).map(drop)
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

    fn clear(&mut self, grant: &mut Grant) -> rusqlite::Result<()> {
        let sql = "SELECT recipient, id, length(body) FROM envelopes ORDER BY recipient, id";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let all = statement.query_map([], |row| {
            Ok(Removal { person: PersonId(row.get(0)?), id: EnvelopeId(row.get(1)?), bytes: row::bytes(row, 2)? })
        })?;
        grant.removed = all.collect::<rusqlite::Result<_>>()?;
        self.mirrors.index.clear();
        self.mirrors.tally.removed += grant.removed.len() as u64;
        self.transaction.execute("UPDATE keys SET fate = 'removed' WHERE fate = 'waiting'", [])?;
        history::keep_all(self.transaction, self.at)?;
        self.transaction.execute("DELETE FROM envelopes", [])?;
        self.transaction.execute("DELETE FROM state_history", [])?;
        self.transaction.execute("DELETE FROM jobs", [])?;
        self.transaction.execute("DELETE FROM states", []).map(drop)
    }

    fn sync(&mut self, roster: &RosterChange, grant: &mut Grant) -> rusqlite::Result<()> {
        let difference = roster.difference(&self.mirrors.roster);
        let mut join = self.transaction.prepare_cached(
            "INSERT INTO people (id, name, role, active, joined_at) VALUES (?1, ?2, ?3, 1, ?4) \
             ON CONFLICT (id) DO UPDATE SET name = ?2, role = ?3, left_at = NULL, \
             joined_at = CASE active WHEN 1 THEN joined_at ELSE ?4 END, active = 1",
        )?;
        join.raw_bind_parameter(4, self.at.as_micros())?;
        for person in difference.joined.iter().chain(&difference.changed) {
            join.raw_bind_parameter(1, person.id.0)?;
            join.raw_bind_parameter(2, &*person.name)?;
            join.raw_bind_parameter(3, &*person.role)?;
            join.raw_execute()?;
        }
        let sql = "UPDATE people SET active = 0, paused = 0, left_at = ?2 WHERE id = ?1";
        let mut leave = self.transaction.prepare_cached(sql)?;
        for person in &difference.left {
            leave.execute(params![person.0, self.at.as_micros()])?;
        }
        for person in roster.purged(&difference) {
            self.purge(person, grant)?;
        }
        self.mirrors.roster.apply(&difference);
        grant.roster = Some(difference);
        Ok(())
    }

    /// Removes a person's mail, state, dead letters and cooldowns, and what threads still have of their mail.
    fn purge(&mut self, person: PersonId, grant: &mut Grant) -> rusqlite::Result<()> {
        let ids: Vec<_> = self.mirrors.index.ids(person).collect();
        for id in ids {
            history::forget(self.transaction, id)?;
            let removed = self.delete(id)?;
            self.mirrors.tally.removed += u64::from(removed.is_some());
            grant.removed.extend(removed);
        }
        for table in ["dead_letters", "history"] {
            let sql = format!("DELETE FROM {table} WHERE recipient = ?1 RETURNING id, thread");
            let mut delete = self.transaction.prepare_cached(&sql)?;
            let gone =
                delete.query_map([person.0], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?)))?;
            for gone in gone.collect::<rusqlite::Result<Vec<_>>>()? {
                let sql = "DELETE FROM threads WHERE envelope = ?1 AND thread = ?2";
                self.transaction.prepare_cached(sql)?.execute(params![gone.0, gone.1])?;
            }
        }
        let sql = "DELETE FROM cooldowns WHERE recipient = ?1 OR sender = ?1";
        self.transaction.prepare_cached(sql)?.execute([person.0])?;
        jobs::call_off(self.transaction, person, self.at)?;
        self.transaction.prepare_cached("DELETE FROM state_history WHERE person = ?1")?.execute([person.0])?;
        self.transaction.prepare_cached("DELETE FROM states WHERE person = ?1")?.execute([person.0]).map(drop)
    }

    /// Removes an envelope wherever it waits; one that does not wait is ignored.
    fn remove(&mut self, id: EnvelopeId, standing: &str) -> rusqlite::Result<Option<Removal>> {
        history::keep(self.transaction, id, standing, self.at)?;
        self.delete(id)
    }

    fn delete(&mut self, id: EnvelopeId) -> rusqlite::Result<Option<Removal>> {
        let sql = "DELETE FROM envelopes WHERE id = ?1 RETURNING recipient, key, length(body)";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let removed = statement
            .query_row([id.0], |row| Ok((PersonId(row.get(0)?), row.get::<_, Option<String>>(1)?, row::bytes(row, 2)?)))
            .optional()?;
        let Some((person, key, bytes)) = removed else { return Ok(None) };
        if let Some(key) = key {
            self.remember_fate(&key, "removed", None, None)?;
        }
        self.mirrors.index.remove(person, id, bytes);
        Ok(Some(Removal { person, id, bytes }))
    }

    /// Takes a dead letter out. Its key is free again: what is sent in its place may carry it.
    fn exhume(&mut self, id: EnvelopeId) -> rusqlite::Result<()> {
        history::forget(self.transaction, id)?;
        let sql = "DELETE FROM keys WHERE key = (SELECT key FROM dead_letters WHERE id = ?1) AND envelope = ?1";
        self.transaction.prepare_cached(sql)?.execute([id.0])?;
        self.transaction.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?.execute([id.0]).map(drop)
    }

    fn settle(&mut self, author: PersonId, settlement: &Settlement) -> Result<(), Trouble> {
        if settlement.is_threaded() {
            history::keep(self.transaction, settlement.id(), "settled", self.at)?;
        }
        self.delete_waiting(author, settlement.id(), settlement.bytes())?;
        self.mirrors.tally.settled += 1;
        if let Some(key) = settlement.key() {
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
        statement.execute(params![burial.id().0, self.at.as_micros(), failure, burial.failure.reason])?;
        let sql = "UPDATE dead_letters SET attempt = ?2 WHERE id = ?1";
        self.transaction.prepare_cached(sql)?.execute(params![burial.id().0, burial.attempts])?;
        self.delete_waiting(author, burial.id(), burial.bytes())?;
        self.mirrors.tally.buried += 1;
        if let Some(key) = burial.key() {
            self.remember_fate(key, "buried", Some(&burial.failure.to_string()), None)?;
        }
        Ok(())
    }

    /// Takes an envelope off the inbox of the author. It waits, or the whole change is refused: nothing twice.
    fn delete_waiting(&mut self, author: PersonId, id: EnvelopeId, bytes: usize) -> Result<(), Trouble> {
        let known = self.mirrors.index.remove(author, id, bytes);
        if known && self.fleeting.leave(id) {
            return Ok(());
        }
        self.delete.raw_bind_parameter(1, id.0)?;
        if self.delete.raw_execute()? == 1 && known { Ok(()) } else { Err(Trouble::Change(Refusal::NotWaiting(id))) }
    }

    fn write_state(&mut self, state: &StateWrite) -> rusqlite::Result<()> {
        // Nearly always there is one already, and an update costs half of an upsert.
        match write_state(&mut self.update_state, state, self.at)? {
            0 => write_state(&mut self.transaction.prepare_cached(INSERT_STATE)?, state, self.at).map(drop),
            _ => Ok(()),
        }
    }

    /// Accepts a draft with the id and the moment it was given, or with the next id, now.
    fn accept(&mut self, draft: &Draft, numbered: Option<(EnvelopeId, Timestamp)>) -> Result<Entry, Trouble> {
        if let Some(key) = &draft.key
            && let Some(known) = self.known(key)?
        {
            return Ok(known);
        }
        if draft.cooldown.is_some() {
            if let Some(until) = self.cooling_until(draft)? {
                return Ok(Entry::Cooling { until });
            }
            self.cool(draft)?;
        }
        let (id, at) = numbered.unwrap_or((EnvelopeId(self.mirrors.last_id + 1), self.at));
        if draft.thread.is_some() || !self.fleeting.come(id) {
            self.insert(id, at, draft)?;
        }
        self.mirrors.last_id = id.0;
        self.mirrors.tally.accepted += 1;
        self.mirrors.index.push(draft.to, id, draft.payload.len());
        if let Some(thread) = &draft.thread {
            let sql = "INSERT INTO threads (thread, envelope) VALUES (?1, ?2)";
            self.transaction.prepare_cached(sql)?.execute(params![thread, id.0])?;
        }
        if let Some(key) = &draft.key {
            let sql = "INSERT INTO keys (key, envelope, accepted_at, fate) VALUES (?1, ?2, ?3, 'waiting')";
            self.transaction.prepare_cached(sql)?.execute(params![key, id.0, self.at.as_micros()])?;
        }
        Ok(Entry::Accepted(id))
    }

    fn insert(&mut self, id: EnvelopeId, at: Timestamp, draft: &Draft) -> rusqlite::Result<()> {
        if row::is_plain(draft) {
            row::insert_plain(&mut self.insert_plain, id, at, draft)
        } else {
            row::insert(&mut self.insert, id, at, draft)
        }
    }

    /// Writes envelopes that were to leave in the transaction they came in, and did not: what was to settle them was
    /// refused.
    fn write_what_stayed(&mut self, batch: &[Change]) -> rusqlite::Result<()> {
        if !self.fleeting.anything_stayed() {
            return Ok(());
        }
        for change in batch {
            let Some(numbering) = change.numbering else { continue };
            for (place, draft) in change.drafts.iter().enumerate() {
                if self.fleeting.leave(numbering.id(place)) {
                    self.insert(numbering.id(place), numbering.at, draft)?;
                }
            }
        }
        Ok(())
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

const INSERT: &str = "INSERT INTO envelopes (id, recipient, sender, routine, priority, attempt, due, not_before, \
     expires_at, accepted_at, key, kind, channel, thread, reply_to, encoding, type, version, checksum, body, \
     trace) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";

const INSERT_PLAIN: &str = "INSERT INTO envelopes (id, recipient, priority, attempt, encoding, type, version, checksum, \
     body, accepted_at) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9)";

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

/// The channel and the sender by which a cooldown is found.
fn cooldown_key(draft: &Draft) -> (&str, i64) {
    (draft.channel.as_deref().unwrap_or_default(), draft.from.map_or(0, |sender| sender.0))
}

/// The word for a kind of failure in the file.
fn failure_name(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Panicked => "panicked",
        FailureKind::TooLong => "too long",
        FailureKind::Undecodable => "undecodable",
        FailureKind::NoRoutine => "no routine",
        FailureKind::Refused => "refused",
        FailureKind::Expired => "expired",
        FailureKind::NoRoom => "no room",
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
        FailureKind::NoRoom,
    ];
    kinds.into_iter().find(|kind| failure_name(*kind) == name).unwrap_or(FailureKind::Returned)
}
