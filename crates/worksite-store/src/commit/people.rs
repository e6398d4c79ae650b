//! People own what a roster's change writes, what a purge takes, and the clearing of all.

use super::Writer;
use crate::{history, jobs, row};
use rusqlite::params;
use worksite_model::{EnvelopeId, Grant, PersonId, Removal, RosterChange};

impl Writer<'_> {
    pub(super) fn sync(&mut self, roster: &RosterChange, grant: &mut Grant) -> rusqlite::Result<()> {
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
        self.mirrors.roster = difference.target.clone();
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

    pub(super) fn clear(&mut self, grant: &mut Grant) -> rusqlite::Result<()> {
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
}
