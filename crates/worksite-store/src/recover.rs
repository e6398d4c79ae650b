//! Recovery owns reading a worker back: its waiting envelopes by the ids that the index has, and its states. A row that
//! cannot be read is moved to quarantine with its reason, so that one bad row bricks nobody.

use crate::commit::failure_kind;
use crate::error::{batch_error, read_error};
use crate::open::SqliteStore;
use crate::{jobs, row};
use rusqlite::{Connection, OptionalExtension, Row, params};
use worksite_model::flow::JobFilter;
use worksite_model::{
    DeadLetter, EnvelopeId, Payload, PersonId, Quarantined, Recovered, RoutineFailure, StoreError, Timestamp,
    WaitingDelivery,
};

impl SqliteStore {
    pub(crate) fn recover_person(&mut self, person: PersonId, at: Timestamp) -> Result<Recovered, StoreError> {
        let read = self.read_waiting(person).map_err(|error| read_error(&error))?;
        let states = read_states(&self.connection, person).map_err(|error| read_error(&error))?;
        let (mut waiting, mut quarantined) = (Vec::with_capacity(read.len()), Vec::new());
        for (id, delivery) in read {
            match delivery {
                Ok(delivery) => waiting.push(delivery),
                Err(Unreadable { reason, bytes }) => quarantined.push(Quarantined { id, reason, bytes }),
            }
        }
        if !quarantined.is_empty()
            && let Err(error) = self.quarantine(person, &quarantined, at)
        {
            return Err(self.failed(batch_error(&error).unwrap_or_else(|| read_error(&error))));
        }
        let filter = JobFilter { worker: Some(person), open: true, ..JobFilter::default() };
        let jobs = jobs::page(&self.connection, &filter, usize::MAX).map_err(|error| read_error(&error))?;
        Ok(Recovered { waiting, states, jobs, watermark: EnvelopeId(self.mirrors.last_id), quarantined })
    }

    pub(crate) fn last_accepted_at(&mut self) -> Result<Timestamp, StoreError> {
        self.guard()?;
        let sql = "SELECT accepted_at FROM envelopes ORDER BY id DESC LIMIT 1";
        let last = self.connection.query_row(sql, [], |row| row.get::<_, i64>(0)).optional();
        let last = last.map_err(|error| read_error(&error))?;
        Ok(Timestamp::from_micros(last.unwrap_or(i64::MIN)))
    }

    fn read_waiting(
        &self,
        person: PersonId,
    ) -> rusqlite::Result<Vec<(EnvelopeId, Result<WaitingDelivery, Unreadable>)>> {
        let sql = format!("SELECT {} FROM envelopes WHERE id = ?1", row::COLUMNS);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut read = Vec::new();
        for id in self.mirrors.index.ids(person) {
            let delivery = statement.query_row([id.0], |row| {
                Ok(row::delivery(row).map_err(|reason| Unreadable { reason, bytes: row::body_bytes(row) }))
            });
            // Somebody edited the file under us; there is nothing to move, but it has to be counted.
            let gone = || Err(Unreadable { reason: "its row is gone".into(), bytes: 0 });
            read.push((id, delivery.optional()?.unwrap_or_else(gone)));
        }
        Ok(read)
    }

    fn quarantine(&mut self, person: PersonId, rows: &[Quarantined], at: Timestamp) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        for row in rows {
            transaction.execute(QUARANTINE, params![row.id.0, row.reason, person.0, at.as_micros()])?;
            let sql = "UPDATE keys SET fate = 'buried', reason = ?2 \
                       WHERE key = (SELECT key FROM envelopes WHERE id = ?1) AND envelope = ?1";
            transaction.execute(sql, params![row.id.0, format!("unreadable: {}", row.reason)])?;
            crate::history::forget(&transaction, row.id)?;
            transaction.execute("DELETE FROM envelopes WHERE id = ?1", [row.id.0])?;
        }
        transaction.execute("UPDATE site SET quarantined = quarantined + ?1", [rows.len() as i64])?;
        transaction.commit()?;
        for row in rows {
            self.mirrors.index.remove(person, row.id, row.bytes);
        }
        self.mirrors.tally.quarantined += rows.len() as u64;
        Ok(())
    }
}

/// An envelope that waits; nothing when none does under this id, or it cannot be read.
pub(crate) fn envelope(connection: &Connection, id: EnvelopeId) -> rusqlite::Result<Option<WaitingDelivery>> {
    let sql = format!("SELECT {} FROM envelopes WHERE id = ?1", row::COLUMNS);
    let mut statement = connection.prepare_cached(&sql)?;
    let waiting = statement.query_row([id.0], |row| Ok(row::delivery(row).ok())).optional()?;
    Ok(waiting.flatten())
}

/// A row that cannot be read.
struct Unreadable {
    reason: String,
    bytes: usize,
}

const QUARANTINE: &str = "INSERT INTO quarantine (id, recipient, reason, found_at, row, body) \
     SELECT ?1, ?3, ?2, ?4, coalesce((SELECT json_object('sender', sender, 'routine', routine, 'priority', priority, \
     'attempt', attempt, 'due', due, 'not_before', not_before, 'expires_at', expires_at, 'accepted_at', accepted_at, \
     'key', key, 'kind', kind, 'channel', channel, 'thread', thread, 'reply_to', reply_to, 'encoding', encoding, \
     'type', type, 'version', version, 'checksum', checksum) FROM envelopes WHERE id = ?1), '{}'), \
     (SELECT body FROM envelopes WHERE id = ?1)";

/// A person's states, in order of routine names. One that is damaged comes as it is: decoding it gives the error.
pub(crate) fn read_states(connection: &Connection, person: PersonId) -> rusqlite::Result<Vec<(String, Payload)>> {
    let sql = "SELECT routine, encoding, type, version, checksum, body FROM states WHERE person = ?1 ORDER BY routine";
    let mut statement = connection.prepare_cached(sql)?;
    let states = statement.query_map([person.0], |row| Ok((row.get(0)?, row::state(row, 1)?)))?;
    states.collect()
}

/// A page of dead letters in order of ids; those whose envelopes cannot be read are left out.
pub(crate) fn dead_letters(
    connection: &Connection,
    after: EnvelopeId,
    limit: usize,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let sql = format!(
        "SELECT {}, buried_at, failure, reason FROM dead_letters WHERE id > ?1 ORDER BY id LIMIT ?2",
        row::COLUMNS
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let letters = statement.query_map(params![after.0, i64::try_from(limit).unwrap_or(i64::MAX)], dead_letter)?;
    letters.filter_map(Result::transpose).collect()
}

/// Reads a dead letter; nothing when its envelope cannot be read.
fn dead_letter(row: &Row<'_>) -> rusqlite::Result<Option<DeadLetter>> {
    let Ok(WaitingDelivery { delivery, .. }) = row::delivery(row) else { return Ok(None) };
    let failure = RoutineFailure::new(failure_kind(row.get_ref(22)?.as_str()?), row.get::<_, String>(23)?);
    Ok(Some(DeadLetter { delivery, failure, buried_at: Timestamp::from_micros(row.get(21)?) }))
}
