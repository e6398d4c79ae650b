//! The schema owns what the file looks like: which versions there are, and how one becomes the next.

use crate::OpenError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// "Work", as a number: tells our files from others'.
pub(crate) const APPLICATION_ID: i32 = 0x576F_726B;

/// The steps, in order; a file's version is how many of them it has seen.
const MIGRATIONS: [&str; 6] = [
    include_str!("../migrations/0001_first.sql"),
    include_str!("../migrations/0002_inboxes.sql"),
    include_str!("../migrations/0003_service.sql"),
    include_str!("../migrations/0004_runs.sql"),
    include_str!("../migrations/0005_flows.sql"),
    include_str!("../migrations/0006_plain_checks.sql"),
];

/// The newest schema this build knows.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Refuses a file that is not ours or is newer than this build, before anything is written to it.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(OpenError::of)?;
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if tables > 0 && application_id != APPLICATION_ID {
        return Err(OpenError::NotASite { path: path.to_path_buf(), application_id });
    }
    let found = version(connection)?;
    if !(0..=VERSION).contains(&found) {
        return Err(OpenError::NewerSchema { found, supported: VERSION });
    }
    Ok(())
}

/// Refuses a file that is older than this build, for who cannot bring it up to date.
pub(crate) fn check_newest(connection: &Connection) -> Result<(), OpenError> {
    match version(connection)? {
        VERSION => Ok(()),
        found => Err(OpenError::OlderSchema { found, wanted: VERSION }),
    }
}

/// Brings the file to the newest schema, each step in a transaction of its own. An older file is copied first.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let from = version(connection)?;
    if from > 0 && from < VERSION {
        let mut copy = path.as_os_str().to_owned();
        copy.push(format!(".before-schema-{VERSION}"));
        // Under another name first: what a crash left half written, or whole, is in nobody's way.
        let mut part = copy.clone();
        part.push(".part");
        let _leftover = std::fs::remove_file(&part);
        connection.execute("VACUUM INTO ?1", [part.to_string_lossy().as_ref()]).map_err(OpenError::of)?;
        std::fs::rename(&part, &copy).map_err(|error| OpenError::Copy(error.to_string()))?;
    }
    for (version, sql) in (1_i64..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= from) {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(OpenError::of)?;
        transaction.execute_batch(sql).map_err(OpenError::of)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit().map_err(OpenError::of)?;
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, OpenError> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(OpenError::of)
}
