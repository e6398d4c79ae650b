//! Revisions own the earlier states of routines that keep some: a ring by count and bytes for each person and routine.

use crate::row;
use rusqlite::{Connection, params};
use worksite_model::{EnvelopeId, KeepStates, PersonId, Revision, StateWrite, Timestamp};

/// Keeps the state that was just written, and lets go of what the ring has no room for.
pub(crate) fn keep(
    connection: &Connection,
    state: &StateWrite,
    keep: KeepStates,
    envelope: Option<EnvelopeId>,
) -> rusqlite::Result<()> {
    let (person, routine) = (state.person.0, state.routine.as_ref());
    let sql = "SELECT coalesce(max(revision), 0) + 1 FROM state_history WHERE person = ?1 AND routine = ?2";
    let number: i64 = connection.prepare_cached(sql)?.query_row(params![person, routine], |row| row.get(0))?;
    let sql = "INSERT INTO state_history \
               (person, routine, revision, written_at, envelope, encoding, type, version, checksum, body) \
               SELECT person, routine, ?3, written_at, ?4, encoding, type, version, checksum, body FROM states \
               WHERE person = ?1 AND routine = ?2";
    connection.prepare_cached(sql)?.execute(params![person, routine, number, envelope.map(|id| id.0)])?;
    let oldest = number - i64::from(keep.revisions_max.max(1)) + 1;
    let oldest = oldest.max(oldest_within(connection, person, routine, keep.bytes_max)?.min(number));
    let sql = "DELETE FROM state_history WHERE person = ?1 AND routine = ?2 AND revision < ?3";
    connection.prepare_cached(sql)?.execute(params![person, routine, oldest]).map(drop)
}

/// The oldest revision that still fits, counted from the newest.
fn oldest_within(connection: &Connection, person: i64, routine: &str, bytes_max: u64) -> rusqlite::Result<i64> {
    let sql =
        "SELECT revision, length(body) FROM state_history WHERE person = ?1 AND routine = ?2 ORDER BY revision DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![person, routine])?;
    let (mut bytes, mut oldest) = (0_u64, i64::MAX);
    while let Some(row) = rows.next()? {
        bytes = bytes.saturating_add(row.get::<_, i64>(1)?.cast_unsigned());
        if bytes > bytes_max {
            break;
        }
        oldest = row.get(0)?;
    }
    Ok(oldest)
}

/// Earlier states, the newest first; one that cannot be read is passed over.
pub(crate) fn revisions(
    connection: &Connection,
    person: PersonId,
    routine: &str,
    limit: usize,
) -> rusqlite::Result<Vec<Revision>> {
    let sql = "SELECT revision, written_at, envelope, encoding, type, version, checksum, body FROM state_history \
               WHERE person = ?1 AND routine = ?2 ORDER BY revision DESC LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![person.0, routine, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut revisions = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(payload) = row::payload(row, 3)? else { continue };
        revisions.push(Revision {
            number: row.get(0)?,
            written_at: Timestamp::from_micros(row.get(1)?),
            envelope: row.get::<_, Option<i64>>(2)?.map(EnvelopeId),
            payload,
        });
    }
    Ok(revisions)
}
