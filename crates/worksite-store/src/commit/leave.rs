//! Leaving owns how envelopes leave their inboxes: settled, retried, buried, removed; and how dead letters are taken out.

use super::{Trouble, Writer};
use crate::{history, row};
use rusqlite::{OptionalExtension, params};
use worksite_model::{Burial, EnvelopeId, FailureKind, Payload, PersonId, Refusal, Removal, Retry, Settlement};

impl Writer<'_> {
    pub(super) fn settle(&mut self, author: PersonId, settlement: &Settlement) -> Result<(), Trouble> {
        if settlement.is_threaded() {
            history::keep(self.transaction, settlement.id(), "settled", self.at)?;
        }
        self.delete_waiting(author, settlement.id(), settlement.bytes())?;
        self.mirrors.tally.settled += 1;
        if let Some(key) = settlement.key() {
            self.remember_fate(key, "settled", None, settlement.reply.as_ref())?;
        }
        Ok(())
    }

    pub(super) fn retry(&mut self, retry: &Retry) -> Result<(), Trouble> {
        let sql = "UPDATE envelopes SET attempt = ?2, due = ?3 WHERE id = ?1";
        let mut statement = self.transaction.prepare_cached(sql)?;
        match statement.execute(params![retry.id.0, retry.attempt, retry.due.as_micros()])? {
            0 => Err(Trouble::Change(Refusal::NotWaiting(retry.id))),
            _ => Ok(()),
        }
    }

    pub(super) fn bury(&mut self, author: PersonId, burial: &Burial) -> Result<(), Trouble> {
        let columns = row::COLUMNS;
        let sql = format!(
            "INSERT INTO dead_letters ({columns}, buried_at, failure, reason) \
             SELECT {columns}, ?2, ?3, ?4 FROM envelopes WHERE id = ?1"
        );
        let failure = failure_name(burial.failure.kind);
        let mut statement = self.transaction.prepare_cached(&sql)?;
        statement.execute(params![burial.id().0, self.at.as_micros(), failure, burial.failure.reason])?;
        let sql = "UPDATE dead_letters SET attempt = ?2 WHERE id = ?1";
        self.transaction.prepare_cached(sql)?.execute(params![burial.id().0, burial.attempts])?;
        self.delete_waiting(author, burial.id(), burial.bytes())?;
        self.mirrors.tally.buried += 1;
        if let Some(key) = burial.key() {
            self.remember_fate(key, "buried", Some(&burial.failure.to_string()), None)?;
        }
        Ok(())
    }

    /// Takes an envelope off the inbox of the author. It waits, or the whole change is refused: nothing twice.
    fn delete_waiting(&mut self, author: PersonId, id: EnvelopeId, bytes: usize) -> Result<(), Trouble> {
        let known = self.mirrors.index.remove(author, id, bytes);
        if known && self.fleeting.leave(id) {
            return Ok(());
        }
        self.delete.raw_bind_parameter(1, id.0)?;
        if self.delete.raw_execute()? == 1 && known { Ok(()) } else { Err(Trouble::Change(Refusal::NotWaiting(id))) }
    }

    /// Removes an envelope wherever it waits; one that does not wait is ignored.
    pub(super) fn remove(&mut self, id: EnvelopeId, standing: &str) -> rusqlite::Result<Option<Removal>> {
        history::keep(self.transaction, id, standing, self.at)?;
        self.delete(id)
    }

    pub(super) fn delete(&mut self, id: EnvelopeId) -> rusqlite::Result<Option<Removal>> {
        let sql = "DELETE FROM envelopes WHERE id = ?1 RETURNING recipient, key, length(body)";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let removed = statement
            .query_row([id.0], |row| Ok((PersonId(row.get(0)?), row.get::<_, Option<String>>(1)?, row::bytes(row, 2)?)))
            .optional()?;
        let Some((person, key, bytes)) = removed else { return Ok(None) };
        if let Some(key) = key {
            self.remember_fate(&key, "removed", None, None)?;
        }
        self.mirrors.index.remove(person, id, bytes);
        Ok(Some(Removal { person, id, bytes }))
    }

    /// Takes a dead letter out. Its key is free again: what is sent in its place may carry it.
    pub(super) fn exhume(&mut self, id: EnvelopeId) -> rusqlite::Result<()> {
        history::forget(self.transaction, id)?;
        let sql = "DELETE FROM keys WHERE key = (SELECT key FROM dead_letters WHERE id = ?1) AND envelope = ?1";
        self.transaction.prepare_cached(sql)?.execute([id.0])?;
        self.transaction.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?.execute([id.0]).map(drop)
    }

    fn remember_fate(
        &self,
        key: &str,
        fate: &str,
        reason: Option<&str>,
        reply: Option<&Payload>,
    ) -> rusqlite::Result<()> {
        let sql = "UPDATE keys SET fate = ?2, reason = ?3, encoding = ?4, type = ?5, version = ?6, checksum = ?7, \
                   body = ?8 WHERE key = ?1";
        self.transaction.prepare_cached(sql)?.execute(params![
            key,
            fate,
            reason,
            reply.map(|reply| reply.encoding as i64),
            reply.map(|reply| reply.type_name.as_ref()),
            reply.map(|reply| reply.version),
            reply.map(|reply| reply.checksum),
            reply.map(|reply| &reply.body[..]),
        ])?;
        Ok(())
    }
}

/// The word for a kind of failure in the file.
fn failure_name(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Panicked => "panicked",
        FailureKind::TooLong => "too long",
        FailureKind::Undecodable => "undecodable",
        FailureKind::NoRoutine => "no routine",
        FailureKind::Refused => "refused",
        FailureKind::Expired => "expired",
        FailureKind::NoRoom => "no room",
        _ => "returned",
    }
}

/// The kind of failure for a word in the file.
pub(crate) fn failure_kind(name: &str) -> FailureKind {
    let kinds = [
        FailureKind::Panicked,
        FailureKind::TooLong,
        FailureKind::Undecodable,
        FailureKind::NoRoutine,
        FailureKind::Refused,
        FailureKind::Expired,
        FailureKind::NoRoom,
    ];
    kinds.into_iter().find(|kind| failure_name(*kind) == name).unwrap_or(FailureKind::Returned)
}
