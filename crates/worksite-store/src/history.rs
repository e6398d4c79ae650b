//! The history owns envelopes of threads after they have left their inboxes, and finding a thread's envelopes wherever
//! they are: waiting, given up, or gone. Mail without a thread has no history and costs nothing here.

use crate::row;
use rusqlite::{Connection, params};
use std::sync::Arc;
use worksite_model::{EnvelopeId, Standing, ThreadEntry, Timestamp};

/// Keeps an envelope that is about to leave its inbox, if it belongs to a thread.
pub(crate) fn keep(connection: &Connection, id: EnvelopeId, standing: &str, at: Timestamp) -> rusqlite::Result<()> {
    let sql = format!("{KEEP} WHERE id = ?3 AND thread IS NOT NULL", KEEP = keeping());
    connection.prepare_cached(&sql)?.execute(params![at.as_micros(), standing, id.0]).map(drop)
}

/// Keeps all envelopes of threads that wait: they are about to be cleared.
pub(crate) fn keep_all(connection: &Connection, at: Timestamp) -> rusqlite::Result<()> {
    let sql = format!("{KEEP} WHERE thread IS NOT NULL", KEEP = keeping());
    connection.execute(&sql, params![at.as_micros(), "removed"]).map(drop)
}

fn keeping() -> String {
    let columns = row::COLUMNS;
    format!("INSERT INTO history ({columns}, left_at, standing) SELECT {columns}, ?1, ?2 FROM envelopes")
}

/// Takes an envelope, waiting or given up, out of its thread.
pub(crate) fn forget(connection: &Connection, id: EnvelopeId) -> rusqlite::Result<()> {
    for table in ["envelopes", "dead_letters"] {
        let sql =
            format!("DELETE FROM threads WHERE envelope = ?1 AND thread = (SELECT thread FROM {table} WHERE id = ?1)");
        connection.prepare_cached(&sql)?.execute([id.0])?;
    }
    Ok(())
}

/// A page of a thread in order of ids; what cannot be read is left out.
pub(crate) fn thread(
    connection: &Connection,
    thread: &str,
    after: EnvelopeId,
    limit: usize,
) -> rusqlite::Result<Vec<ThreadEntry>> {
    let sql = "SELECT envelope FROM threads WHERE thread = ?1 AND envelope > ?2 ORDER BY envelope LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids = statement.query_map(params![thread, after.0, limit], |row| Ok(EnvelopeId(row.get(0)?)))?;
    ids.filter_map(|id| id.and_then(|id| entry(connection, id)).transpose()).collect()
}

/// An envelope of a thread, wherever it is.
fn entry(connection: &Connection, id: EnvelopeId) -> rusqlite::Result<Option<ThreadEntry>> {
    for (table, standing) in [("envelopes", "'waiting'"), ("history", "standing"), ("dead_letters", "'buried'")] {
        let sql = format!("SELECT {}, {standing} FROM {table} WHERE id = ?1", row::COLUMNS);
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([id.0])?;
        let Some(row) = rows.next()? else { continue };
        let standing = match row.get_ref(21)?.as_str()? {
            "waiting" => Standing::Waiting,
            "buried" => Standing::Buried,
            "removed" => Standing::Removed,
            "dropped" => Standing::Dropped,
            _ => Standing::Settled,
        };
        let read = row::delivery(row).ok();
        return Ok(read.map(|read| ThreadEntry { envelope: Arc::clone(&read.delivery.envelope), standing }));
    }
    Ok(None)
}
