//! Facts owns the log that durable subscriptions read: facts are written in the transaction that makes them true, only
//! while somebody wants them, and stay until retention takes them, so that they can be told again.

use crate::commit::Writer;
use crate::open::Mirrors;
use crate::row;
use rusqlite::{Connection, params};
use worksite_model::{
    Change, Committed, Cursor, CursorChange, Durable, Encoding, Fact, FactOffset, Grant, Interest, Keep, LoggedFact,
    Payload, Refusal, Timestamp,
};

/// How many facts one call forgets at most.
const PRUNED_MAX: i64 = 10_000;

/// The durable subscriptions, in order of names.
pub(crate) fn cursors(connection: &Connection, last: i64) -> rusqlite::Result<Vec<Cursor>> {
    let mut statement =
        connection.prepare_cached("SELECT name, interest, position, missed FROM cursors ORDER BY name")?;
    let cursors = statement.query_map([], |row| {
        let interest: String = row.get(1)?;
        Ok(Cursor {
            name: row.get(0)?,
            // Written by us; if somebody has spoilt it, everything is told rather than nothing.
            interest: interest_of(&interest),
            position: FactOffset(row.get(2)?),
            last: FactOffset(last),
            missed: row.get::<_, i64>(3)?.cast_unsigned(),
        })
    })?;
    cursors.collect()
}

fn interest_of(json: &str) -> Interest {
    let type_name = <Interest as Durable>::TYPE.into();
    let payload = Payload::from_body(Encoding::Json, type_name, Interest::VERSION, json.as_bytes().into());
    payload.decode().unwrap_or_default()
}

/// A page of the log that this interest fits; a fact that cannot be read is passed over.
pub(crate) fn page(
    connection: &Connection,
    interest: &Interest,
    after: FactOffset,
    limit: usize,
) -> rusqlite::Result<Vec<LoggedFact>> {
    let sql = "SELECT id, at, encoding, type, version, checksum, body FROM facts WHERE id > ?1 ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([after.0])?;
    let mut page = Vec::new();
    while page.len() < limit
        && let Some(row) = rows.next()?
    {
        let fact = row::payload(row, 2)?.and_then(|payload| payload.decode::<Fact>().ok());
        if let Some(fact) = fact.filter(|fact| interest.fits(fact)) {
            page.push(LoggedFact { offset: FactOffset(row.get(0)?), at: Timestamp::from_micros(row.get(1)?), fact });
        }
    }
    Ok(page)
}

/// A durable subscription the change names that is not there.
pub(crate) fn unknown_cursor(mirrors: &Mirrors, change: &Change) -> Option<Refusal> {
    let mut open: Vec<&str> = mirrors.cursors.iter().map(|cursor| cursor.name.as_str()).collect();
    for change in &change.cursors {
        match change {
            CursorChange::Open { name, .. } => open.push(name),
            CursorChange::Close { name } => open.retain(|known| known != name),
            CursorChange::Acknowledge { name, .. } | CursorChange::Seek { name, .. } => {
                if !open.contains(&name.as_str()) {
                    return Some(Refusal::UnknownCursor(name.clone()));
                }
            }
        }
    }
    None
}

impl Writer<'_> {
    pub(crate) fn change_cursor(&mut self, change: &CursorChange) -> rusqlite::Result<()> {
        let last = self.mirrors.last_fact;
        match change {
            CursorChange::Open { name, interest } => {
                let sql = "INSERT INTO cursors (name, position, interest) VALUES (?1, ?2, ?3) \
                           ON CONFLICT (name) DO UPDATE SET interest = ?3";
                let interest = Payload::encode(interest).map(|payload| payload.body.to_vec()).unwrap_or_default();
                self.transaction.execute(sql, params![name, last, String::from_utf8_lossy(&interest)])?;
            }
            CursorChange::Acknowledge { name, to } => {
                let sql = "UPDATE cursors SET position = max(position, min(?2, ?3)) WHERE name = ?1";
                self.transaction.prepare_cached(sql)?.execute(params![name, to.0, last])?;
            }
            CursorChange::Seek { name, to } => {
                let sql = "UPDATE cursors SET position = max(0, min(?2, ?3)) WHERE name = ?1";
                self.transaction.execute(sql, params![name, to.0, last])?;
            }
            CursorChange::Close { name } => {
                self.transaction.execute("DELETE FROM cursors WHERE name = ?1", [name])?;
            }
        }
        self.mirrors.cursors = cursors(self.transaction, last)?;
        Ok(())
    }

    /// Logs what any durable subscription wants of this change.
    pub(crate) fn log_facts(&mut self, change: &Change, grant: &Grant) -> rusqlite::Result<()> {
        if self.mirrors.cursors.is_empty() {
            return Ok(());
        }
        let committed = Committed::new(change.clone(), grant.clone(), self.at);
        for fact in committed.facts() {
            if !self.mirrors.cursors.iter().any(|cursor| cursor.interest.fits(&fact)) {
                continue;
            }
            let Ok(payload) = Payload::encode(&fact) else { continue };
            self.mirrors.last_fact += 1;
            let sql = "INSERT INTO facts (id, at, person, encoding, type, version, checksum, body) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let mut insert = self.transaction.prepare_cached(sql)?;
            insert.raw_bind_parameter(1, self.mirrors.last_fact)?;
            insert.raw_bind_parameter(2, self.at.as_micros())?;
            insert.raw_bind_parameter(3, fact.person().map(|person| person.0))?;
            row::bind_payload(&mut insert, 4, &payload)?;
            insert.raw_execute()?;
        }
        let last = FactOffset(self.mirrors.last_fact);
        self.mirrors.cursors.iter_mut().for_each(|cursor| cursor.last = last);
        Ok(())
    }
}

/// Forgets facts that nobody wants any more, and those that retention takes; who had not acknowledged them is told how many
/// they missed. What was acknowledged stays for its time, so that it can be told again.
pub(crate) fn prune(connection: &Connection, mirrors: &Mirrors, keep: Keep, at: Timestamp) -> rusqlite::Result<u64> {
    let unwanted = mirrors.cursors.is_empty();
    let cut = at.as_micros().saturating_sub(i64::try_from(keep.age.as_micros()).unwrap_or(i64::MAX));
    let rows: i64 = connection.query_row("SELECT count(*) FROM facts", [], |row| row.get(0))?;
    let surplus = rows.saturating_sub(i64::try_from(keep.rows).unwrap_or(i64::MAX));
    let sql = "SELECT id, at, encoding, type, version, checksum, body FROM facts ORDER BY id LIMIT ?1";
    let mut oldest = connection.prepare_cached(sql)?;
    let mut rows = oldest.query([PRUNED_MAX])?;
    let (mut pruned, mut last) = (0_i64, None);
    let mut missed = vec![0_i64; mirrors.cursors.len()];
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if !unwanted {
            if row.get::<_, i64>(1)? >= cut && pruned >= surplus {
                break;
            }
            let fact = row::payload(row, 2)?.and_then(|payload| payload.decode::<Fact>().ok());
            for (cursor, missed) in mirrors.cursors.iter().zip(&mut missed) {
                let wanted = fact.as_ref().is_some_and(|fact| cursor.interest.fits(fact));
                *missed += i64::from(wanted && cursor.position.0 < id);
            }
        }
        (pruned, last) = (pruned + 1, Some(id));
    }
    drop(rows);
    if let Some(last) = last {
        connection.execute("DELETE FROM facts WHERE id <= ?1", [last])?;
    }
    for (cursor, missed) in mirrors.cursors.iter().zip(missed).filter(|(_, missed)| *missed > 0) {
        let sql = "UPDATE cursors SET missed = missed + ?2 WHERE name = ?1";
        connection.execute(sql, params![cursor.name, missed])?;
    }
    Ok(pruned.cast_unsigned())
}

const _: () = assert!(<Fact as Durable>::VERSION == 1, "an older version of a logged fact needs an upgrade");
