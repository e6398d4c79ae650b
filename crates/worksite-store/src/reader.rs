//! The reader owns looking at a file without changing it: beside a living owner, or on a cold file.
//!
//! It takes no lock and never checkpoints. Each call reads one snapshot and lets it go, so that it never keeps the
//! write-ahead log from being emptied.

use crate::error::read_error;
use crate::open::Mirrors;
use crate::{OpenError, recover, row, schema};
use rusqlite::{Connection, OpenFlags, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use worksite_model::flow::{Job, JobFilter, JobId};
use worksite_model::{
    Cursor, DeadLetter, EnvelopeId, FactOffset, Interest, LoggedFact, Payload, PersonId, Revision, Roster, Run,
    RunFilter, RunId, RunStatus, RunnerId, StoreError, Tally, ThreadEntry, Timestamp, WaitingDelivery,
};

/// A read-only view of a site's file.
#[derive(Debug)]
pub struct Reader {
    pub(crate) connection: Connection,
}

/// Who has how much waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxSummary {
    /// Whose inbox.
    pub person: PersonId,
    /// Their name, if they were ever on the roster.
    pub name: Option<String>,
    /// Envelopes waiting.
    pub envelopes: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// A run of the file; or which it is, and why it cannot be read.
pub type FoundRun = Result<Run, (RunId, String)>;

/// Who has claimed how many runs. Runners that hold none are not in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerSummary {
    /// Who.
    pub runner: RunnerId,
    /// Runs it has, and has not begun.
    pub claimed: u64,
    /// Runs it is at.
    pub running: u64,
    /// Runs that it is to stop.
    pub stopping: u64,
    /// When it claimed the first of them.
    pub claimed_at: Option<Timestamp>,
    /// The first moment at which one of its claims ends without a word from it.
    pub lease_until: Option<Timestamp>,
}

/// How many jobs of a flow's worker stand how, of those that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowSummary {
    /// The worker.
    pub worker: PersonId,
    /// Its name, if it was ever on the roster.
    pub name: Option<String>,
    /// Its flow.
    pub flow: String,
    /// Those that have not ended.
    pub running: u64,
    /// Those that have come to their end.
    pub completed: u64,
    /// Those that have failed.
    pub failed: u64,
    /// Those that were called off.
    pub cancelled: u64,
}

impl Reader {
    /// Opens a site's file read-only.
    ///
    /// # Errors
    /// [`OpenError`]; a missing file is one too.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(OpenError::of)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        schema::check(&connection, path)?;
        schema::check_newest(&connection)?;
        Ok(Self { connection })
    }

    /// The active people.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn roster(&self) -> Result<Roster, StoreError> {
        crate::open::roster(&self.connection).map_err(|error| read_error(&error))
    }

    /// How much mail there has ever been, and what became of it.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn tally(&self) -> Result<Tally, StoreError> {
        let read = || {
            // One snapshot for both reads, or the counts would not fit each other beside a living owner.
            let _snapshot = self.connection.unchecked_transaction()?;
            let mirrors = Mirrors::load(&self.connection)?;
            Ok(Tally { waiting: mirrors.index.total(), ..mirrors.tally })
        };
        read().map_err(|error: rusqlite::Error| read_error(&error))
    }

    /// Who has how much waiting, in order of ids.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn inboxes(&self) -> Result<Vec<InboxSummary>, StoreError> {
        let sql = "SELECT e.recipient, p.name, count(*), sum(length(e.body)) FROM envelopes e \
                   LEFT JOIN people p ON p.id = e.recipient GROUP BY e.recipient ORDER BY e.recipient";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let inboxes = statement.query_map([], |row| {
                Ok(InboxSummary {
                    person: PersonId(row.get(0)?),
                    name: row.get(1)?,
                    envelopes: row.get::<_, i64>(2)?.cast_unsigned(),
                    bytes: row.get::<_, i64>(3)?.cast_unsigned(),
                })
            })?;
            inboxes.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error: rusqlite::Error| read_error(&error))
    }

    /// A page of a person's waiting mail in order of ids, after this id; what cannot be read comes as its reason.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn waiting(
        &self,
        person: PersonId,
        after: EnvelopeId,
        limit: usize,
    ) -> Result<Vec<Result<WaitingDelivery, String>>, StoreError> {
        let sql =
            format!("SELECT {} FROM envelopes WHERE id > ?1 AND recipient = ?2 ORDER BY id LIMIT ?3", row::COLUMNS);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mail = statement.query_map(params![after.0, person.0, limit], |row| Ok(row::delivery(row)))?;
            mail.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error: rusqlite::Error| read_error(&error))
    }

    /// An envelope that waits; nothing when none does under this id, or it cannot be read.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn envelope(&self, id: EnvelopeId) -> Result<Option<WaitingDelivery>, StoreError> {
        recover::envelope(&self.connection, id).map_err(|error| read_error(&error))
    }

    /// A person's routine states, in order of names.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn states(&self, person: PersonId) -> Result<Vec<(String, Payload)>, StoreError> {
        recover::read_states(&self.connection, person).map_err(|error| read_error(&error))
    }

    /// A page of dead letters in order of ids, after this id.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn dead_letters(&self, after: EnvelopeId, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        recover::dead_letters(&self.connection, after, limit).map_err(|error| read_error(&error))
    }

    /// A page of a thread's envelopes in order of ids, after this id.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn thread(&self, thread: &str, after: EnvelopeId, limit: usize) -> Result<Vec<ThreadEntry>, StoreError> {
        crate::history::thread(&self.connection, thread, after, limit).map_err(|error| read_error(&error))
    }

    /// How many runs stand how: live ones, and those that have ended and are kept.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn run_counts(&self) -> Result<BTreeMap<RunStatus, u64>, StoreError> {
        let read = || {
            // One snapshot for both reads, or a run that ends in between would be counted twice.
            let _snapshot = self.connection.unchecked_transaction()?;
            crate::run::count(&self.connection)
        };
        read().map_err(|error: rusqlite::Error| read_error(&error))
    }

    /// A run, live or ended.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn run(&self, id: RunId) -> Result<Option<FoundRun>, StoreError> {
        crate::run::run(&self.connection, id).map_err(|error| read_error(&error))
    }

    /// The runs that are meant, live or ended, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<FoundRun>, StoreError> {
        crate::run::history(&self.connection, filter).map_err(|error| read_error(&error))
    }

    /// Who holds runs, in order of names.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn runners(&self) -> Result<Vec<RunnerSummary>, StoreError> {
        crate::run::runners(&self.connection).map_err(|error| read_error(&error))
    }

    /// How many jobs of each worker of a flow stand how, in order of workers; a worker that never had any is not told.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn flows(&self) -> Result<Vec<FlowSummary>, StoreError> {
        crate::jobs::count(&self.connection).map_err(|error| read_error(&error))
    }

    /// The jobs that are meant, in order of ids, at most `limit`: those that have been taken from their posts.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn jobs(&self, filter: &JobFilter, limit: usize) -> Result<Vec<Job>, StoreError> {
        crate::jobs::page(&self.connection, filter, limit).map_err(|error| read_error(&error))
    }

    /// A job that has been taken from its post.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        crate::jobs::job(&self.connection, id).map_err(|error| read_error(&error))
    }

    /// The durable subscriptions, in order of names: where each stands, and how far behind.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn cursors(&self) -> Result<Vec<Cursor>, StoreError> {
        let read = || {
            let last = self.connection.query_row("SELECT last_fact FROM site", [], |row| row.get(0))?;
            crate::facts::cursors(&self.connection, last)
        };
        read().map_err(|error: rusqlite::Error| read_error(&error))
    }

    /// A page of the log of facts that this interest fits, after this one.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn facts(&self, interest: &Interest, after: FactOffset, limit: usize) -> Result<Vec<LoggedFact>, StoreError> {
        crate::facts::page(&self.connection, interest, after, limit).map_err(|error| read_error(&error))
    }

    /// Earlier states of a routine, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn revisions(&self, person: PersonId, routine: &str, limit: usize) -> Result<Vec<Revision>, StoreError> {
        crate::revision::revisions(&self.connection, person, routine, limit).map_err(|error| read_error(&error))
    }
}
