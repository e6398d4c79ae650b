//! The store owns how a file keeps the contract of a [`Store`]: which room of this crate answers what.

use crate::error::{batch_error, read_error};
use crate::open::SqliteStore;
use crate::{commit, facts, history, jobs, recover, revision, row, run};
use rusqlite::{OptionalExtension, params};
use worksite_model::flow::{Job, JobFilter, JobId};
use worksite_model::{
    Change, Cursor, DeadLetter, EnvelopeId, FactOffset, Fate, Interest, LoggedFact, Payload, PersonId, Pruned,
    Recovered, RecoveredRuns, Retention, Revision, Roster, Run, RunFilter, RunId, Session, Store, StoreError, Tally,
    ThreadEntry, Timestamp, Verdict, Waiting, WaitingDelivery,
};

impl Store for SqliteStore {
    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        self.write_batch(batch, at)
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

    fn fate(&mut self, key: &str) -> Result<Option<(EnvelopeId, Fate)>, StoreError> {
        commit::fate(&self.connection, key).map_err(|error| read_error(&error))
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
