//! Pruning owns forgetting: what has ended and is older, or more, than is to be kept. It shares the writer with everybody
//! else, so one call deletes a bounded number of rows of each table.

use crate::open::SqliteStore;
use crate::{facts, jobs, run};
use rusqlite::{Connection, params};
use worksite_model::{Keep, PersonId, Pruned, Retention, Timestamp};

/// How many rows of one table one call forgets at most.
const PRUNED_MAX: i64 = 10_000;

impl SqliteStore {
    pub(crate) fn prune_all(&mut self, retention: &Retention, at: Timestamp) -> rusqlite::Result<Pruned> {
        let transaction = self.connection.unchecked_transaction()?;
        let (runs, sessions) = run::prune(&transaction, retention, at)?;
        let pruned = Pruned {
            runs,
            sessions,
            keys: prune_keys(&transaction, retention.keys, at)?,
            dead_letters: prune_table(&transaction, "dead_letters", "buried_at", retention.dead_letters, at)?,
            history: prune_table(&transaction, "history", "left_at", retention.history, at)?,
            quarantine: prune_table(&transaction, "quarantine", "found_at", retention.quarantine, at)?,
            facts: facts::prune(&transaction, &self.mirrors, retention.facts, at)?,
            people: self.prune_people(&transaction, retention.people, at)?,
            jobs: jobs::prune(&transaction, retention.jobs, cut(retention.jobs, at), PRUNED_MAX)?,
            cooldowns: prune_cooldowns(&transaction, at)?,
        };
        transaction.commit()?;
        if pruned.facts > 0 {
            self.mirrors.cursors = facts::cursors(&self.connection, self.mirrors.last_fact)?;
        }
        Ok(pruned)
    }

    /// People who left and have nothing here any more.
    fn prune_people(&self, connection: &Connection, keep: Keep, at: Timestamp) -> rusqlite::Result<u64> {
        let gone = "active = 0 AND NOT EXISTS (SELECT 1 FROM states WHERE person = people.id)";
        let sql = format!("SELECT id, left_at FROM people WHERE {gone} ORDER BY left_at, id LIMIT ?1");
        let mut statement = connection.prepare_cached(&sql)?;
        let most = i64::try_from(keep.rows).unwrap_or(i64::MAX).saturating_add(PRUNED_MAX);
        let people = statement.query_map([most], |row| Ok((PersonId(row.get(0)?), row.get::<_, i64>(1)?)))?;
        let mut people = people.collect::<rusqlite::Result<Vec<_>>>()?;
        people.retain(|(person, _)| !self.mirrors.index.has_any(*person));
        let surplus = people.len().saturating_sub(usize::try_from(keep.rows).unwrap_or(usize::MAX));
        let doomed = people.iter().enumerate().filter(|(place, (_, left))| *place < surplus || *left < cut(keep, at));
        let mut delete = connection.prepare_cached("DELETE FROM people WHERE id = ?1")?;
        let mut pruned = 0;
        for (_, (person, _)) in doomed.take(PRUNED_MAX as usize) {
            pruned += delete.execute([person.0])? as u64;
        }
        Ok(pruned)
    }
}

/// What is older than this is forgotten.
fn cut(keep: Keep, at: Timestamp) -> i64 {
    at.as_micros().saturating_sub(i64::try_from(keep.age.as_micros()).unwrap_or(i64::MAX))
}

fn prune_keys(connection: &Connection, keep: Keep, at: Timestamp) -> rusqlite::Result<u64> {
    let ended = "fate <> 'waiting'";
    let old = format!(
        "DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE accepted_at < ?1 AND {ended} ORDER BY accepted_at LIMIT ?2)"
    );
    let pruned = connection.execute(&old, params![cut(keep, at), PRUNED_MAX])? as u64;
    let surplus = surplus(connection, "keys", keep)?;
    let more = format!(
        "DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE {ended} ORDER BY accepted_at, key LIMIT ?1)"
    );
    Ok(pruned + if surplus > 0 { connection.execute(&more, [surplus])? as u64 } else { 0 })
}

/// Prunes a table of envelopes by age and count; what belongs to a thread leaves that too.
fn prune_table(connection: &Connection, table: &str, age: &str, keep: Keep, at: Timestamp) -> rusqlite::Result<u64> {
    let surplus = surplus(connection, table, keep)?;
    let thread = if table == "quarantine" { "NULL" } else { "thread" };
    let sql = format!("SELECT id, {thread}, {age} FROM {table} ORDER BY {age}, id LIMIT ?1");
    let mut oldest = connection.prepare_cached(&sql)?;
    let mut rows = oldest.query([PRUNED_MAX])?;
    let mut doomed: Vec<(i64, Option<String>)> = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(2)? >= cut(keep, at) && doomed.len() as i64 >= surplus {
            break;
        }
        doomed.push((row.get(0)?, row.get(1)?));
    }
    let mut delete = connection.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?;
    let mut leave = connection.prepare_cached("DELETE FROM threads WHERE thread = ?1 AND envelope = ?2")?;
    for (id, thread) in &doomed {
        delete.execute([id])?;
        if thread.is_some() {
            leave.execute(params![thread, id])?;
        }
    }
    Ok(doomed.len() as u64)
}

fn prune_cooldowns(connection: &Connection, at: Timestamp) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM cooldowns WHERE (channel, sender, recipient) IN \
               (SELECT channel, sender, recipient FROM cooldowns WHERE until <= ?1 LIMIT ?2)";
    Ok(connection.execute(sql, params![at.as_micros(), PRUNED_MAX])? as u64)
}

fn count(connection: &Connection, table: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
}

/// How many rows a table has too many, as far as one call goes.
fn surplus(connection: &Connection, table: &str, keep: Keep) -> rusqlite::Result<i64> {
    let more = count(connection, table)? - i64::try_from(keep.rows).unwrap_or(i64::MAX);
    Ok(more.clamp(0, PRUNED_MAX))
}
