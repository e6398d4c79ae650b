//! Opening owns the way from a path to a [`SqliteStore`]: lock, checks, settings, schema, and the one scan that builds
//! the memory mirrors. Every setting is read back; a file that is not ours, or newer, is refused before a byte of it changes.

use crate::error::read_error;
use crate::index::Index;
use crate::lock::Lock;
use crate::{OpenError, SqliteOptions, SyncMode, row, schema};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;
use worksite_model::{Cursor, EnvelopeId, Person, PersonId, Roster, StoreError, Tally};

/// 3.51.3: the first version in which two connections cannot corrupt a write-ahead log by resetting it at once.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// After an unclean stop a file up to this size is checked before it is used: about half a second a gigabyte.
const CHECKED_BYTES_MAX: u64 = 1 << 30;

/// How long a commit waits for another program that holds the file's write lock, before it is [`StoreError::Busy`].
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What SQLite may keep of the file in memory.
pub(crate) const CACHE_KIB: u32 = 65_536;

/// What the writer knows of the file without asking it. Never ahead of the file: after any failure it is read again.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    pub(crate) roster: Roster,
    pub(crate) index: Index,
    pub(crate) last_id: i64,
    /// The offset of the last fact ever logged.
    pub(crate) last_fact: i64,
    /// The durable subscriptions.
    pub(crate) cursors: Vec<Cursor>,
    /// What became of all mail; `waiting` is the index's to say.
    pub(crate) tally: Tally,
}

/// A site's file, and the only writer to it.
#[derive(Debug)]
pub struct SqliteStore {
    pub(crate) connection: Connection,
    pub(crate) mirrors: Mirrors,
    pub(crate) options: SqliteOptions,
    /// Why nothing is written any more, if so.
    pub(crate) poisoned: Option<String>,
    /// Held until the connection above is closed: fields are dropped in order.
    _lock: Lock,
}

impl SqliteStore {
    /// Opens a site's file and takes the lock beside it. A missing or empty file becomes a new site.
    ///
    /// # Errors
    /// [`OpenError`]; the file is left as it was.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let version = rusqlite::version_number();
        if version < SQLITE_VERSION_MIN {
            return Err(OpenError::OldSqlite { found: rusqlite::version().to_string() });
        }
        let lock = Lock::take(path)?;
        let mut connection = connect(path)?;
        schema::check(&connection, path)?;
        settle_settings(&connection, &options)?;
        check_integrity(&connection, path)?;
        schema::migrate(&mut connection, path)?;
        connection
            .execute("UPDATE site SET incarnation = incarnation + 1, closed_cleanly = 0", [])
            .map_err(OpenError::of)?;
        connection.set_prepared_statement_cache_capacity(64);
        let mirrors = Mirrors::load(&connection).map_err(OpenError::of)?;
        Ok(Self { connection, mirrors, options, poisoned: None, _lock: lock })
    }

    /// Reads the mirrors again after something was rolled back. If that fails, nothing is written any more.
    pub(crate) fn reload(&mut self) {
        match Mirrors::load(&self.connection) {
            Ok(mirrors) => self.mirrors = mirrors,
            Err(error) => self.poison(&read_error(&error)),
        }
    }

    pub(crate) fn poison(&mut self, error: &StoreError) {
        tracing::error!(%error, "the writer accepts nothing more until the site is reopened");
        self.poisoned.get_or_insert_with(|| error.to_string());
    }

    pub(crate) fn guard(&self) -> Result<(), StoreError> {
        match &self.poisoned {
            Some(reason) => Err(StoreError::Closed(format!("an earlier error poisoned it: {reason}"))),
            None => Ok(()),
        }
    }
}

impl Drop for SqliteStore {
    /// Best effort: a file that was not closed cleanly is only checked at the next opening.
    fn drop(&mut self) {
        if self.poisoned.is_none() {
            let _closed = self.connection.execute_batch("UPDATE site SET closed_cleanly = 1; PRAGMA optimize");
            let _checkpointed = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }
}

impl Mirrors {
    /// One scan in the order of the file; an index in the database would cost every message.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut mirrors = connection.query_row(
            "SELECT last_envelope, accepted, settled, buried, removed, quarantined, dropped, last_fact FROM site",
            [],
            |row| {
                let count = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
                let tally = Tally {
                    accepted: count(1)?,
                    waiting: 0,
                    settled: count(2)?,
                    buried: count(3)?,
                    removed: count(4)?,
                    quarantined: count(5)?,
                    dropped: count(6)?,
                };
                Ok(Self { last_id: row.get(0)?, last_fact: row.get(7)?, tally, ..Self::default() })
            },
        )?;
        let mut scan = connection.prepare("SELECT id, recipient, length(body) FROM envelopes ORDER BY id")?;
        let mut rows = scan.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            mirrors.index.push(PersonId(row.get(1)?), EnvelopeId(id), row::bytes(row, 2)?);
            mirrors.last_id = mirrors.last_id.max(id);
        }
        mirrors.roster = roster(connection)?;
        mirrors.cursors = crate::facts::cursors(connection, mirrors.last_fact)?;
        Ok(mirrors)
    }
}

/// The active people.
pub(crate) fn roster(connection: &Connection) -> rusqlite::Result<Roster> {
    let mut people = connection.prepare_cached("SELECT id, name, role FROM people WHERE active = 1")?;
    let people = people.query_map([], |row| {
        Ok(Person::new(row.get::<_, i64>(0)?, row.get_ref(1)?.as_str()?).with_role(row.get_ref(2)?.as_str()?))
    })?;
    people.collect()
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(OpenError::of)?;
    // The first read: here SQLite sees whether it is a database at all.
    match connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())) {
        Ok(()) => Ok(connection),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            Err(OpenError::NotADatabase { path: PathBuf::from(path) })
        }
        Err(error) => Err(OpenError::of(error)),
    }
}

/// Sets everything that durability and safety rest on, and reads it back. The reasons are in `docs/store.md`.
fn settle_settings(connection: &Connection, options: &SqliteOptions) -> Result<(), OpenError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Plans that do not depend on values: without it SQLite compiles some kept statements again for each new value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Takes effect only before the first table; an existing file keeps what it has.
    connection.pragma_update(None, "auto_vacuum", 2)?;
    let synchronous = match options.sync {
        SyncMode::Full => "2",
        SyncMode::Normal => "1",
    };
    for (pragma, wanted) in [
        ("journal_mode", "wal"),
        ("synchronous", synchronous),
        ("fullfsync", "1"),
        ("checkpoint_fullfsync", "1"),
        ("journal_size_limit", "67108864"),
        ("wal_autocheckpoint", "1000"),
        ("cache_size", &format!("-{CACHE_KIB}")),
        ("temp_store", "2"),
        ("cell_size_check", "1"),
        ("trusted_schema", "0"),
        ("foreign_keys", "1"),
    ] {
        set(connection, pragma, wanted)?;
    }
    if let Some(bytes) = options.file_bytes_max {
        let page_bytes: u64 =
            connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?.cast_unsigned();
        set_quietly(connection, "max_page_count", &(bytes / page_bytes.max(1)).max(1).to_string())?;
    }
    Ok(())
}

fn set(connection: &Connection, pragma: &'static str, wanted: &str) -> Result<(), OpenError> {
    set_quietly(connection, pragma, wanted)?;
    let found = connection.pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0))?;
    let found = match found {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    };
    if found != wanted {
        return Err(OpenError::SettingRefused { pragma, wanted: wanted.into(), found });
    }
    Ok(())
}

/// Some pragmas answer with a row and some do not; neither answer matters here.
fn set_quietly(connection: &Connection, pragma: &str, wanted: &str) -> Result<(), OpenError> {
    match connection.query_row(&format!("PRAGMA {pragma} = {wanted}"), [], |_| Ok(())) {
        Ok(()) | Err(rusqlite::Error::QueryReturnedNoRows) => Ok(()),
        Err(error) => Err(OpenError::of(error)),
    }
}

/// Looks for damage after an unclean stop, while that is quick.
fn check_integrity(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let clean = connection.query_row("SELECT closed_cleanly FROM site", [], |row| row.get::<_, bool>(0));
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    // No site table: a new file.
    if !matches!(clean, Ok(false)) || bytes > CHECKED_BYTES_MAX {
        return Ok(());
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(OpenError::of)?;
    if verdict == "ok" { Ok(()) } else { Err(OpenError::Damaged(verdict)) }
}
