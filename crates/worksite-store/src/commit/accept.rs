//! Accepting owns how drafts become envelopes: their ids, their keys, their cooldowns, and whether they are written at all.

use super::refuse::cooldown_key;
use super::{Trouble, Writer};
use crate::row;
use rusqlite::{Connection, OptionalExtension, params};
use worksite_model::{Change, Draft, Entry, EnvelopeId, Fate, Timestamp};

pub(super) const INSERT: &str = "INSERT INTO envelopes (id, recipient, sender, routine, priority, attempt, due, not_before, \
     expires_at, accepted_at, key, kind, channel, thread, reply_to, encoding, type, version, checksum, body, \
     trace) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";

pub(super) const INSERT_PLAIN: &str = "INSERT INTO envelopes (id, recipient, priority, attempt, encoding, type, version, checksum, \
     body, accepted_at) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9)";

/// What became of the message under a key, and which envelope it was.
pub(crate) fn fate(connection: &Connection, key: &str) -> rusqlite::Result<Option<(EnvelopeId, Fate)>> {
    let sql = "SELECT envelope, fate, reason, encoding, type, version, checksum, body FROM keys WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let known = statement.query_row([key], |row| {
        let fate = match row.get_ref(1)?.as_str()? {
            "settled" => Fate::Settled(row::payload(row, 3)?),
            "buried" => Fate::Buried(row.get::<_, Option<String>>(2)?.unwrap_or_default()),
            "removed" => Fate::Removed,
            _ => Fate::Waiting,
        };
        Ok((EnvelopeId(row.get(0)?), fate))
    });
    known.optional()
}

impl Writer<'_> {
    /// Accepts a draft with the id and the moment it was given, or with the next id, now.
    pub(super) fn accept(
        &mut self,
        draft: &Draft,
        numbered: Option<(EnvelopeId, Timestamp)>,
    ) -> Result<Entry, Trouble> {
        if let Some(key) = &draft.key
            && let Some(known) = self.known(key)?
        {
            return Ok(known);
        }
        if draft.cooldown.is_some() {
            if let Some(until) = self.cooling_until(draft)? {
                return Ok(Entry::Cooling { until });
            }
            self.cool(draft)?;
        }
        let (id, at) = numbered.unwrap_or((EnvelopeId(self.mirrors.last_id + 1), self.at));
        if draft.thread.is_some() || !self.fleeting.come(id) {
            self.insert(id, at, draft)?;
        }
        self.mirrors.last_id = id.0;
        self.mirrors.tally.accepted += 1;
        self.mirrors.index.push(draft.to, id, draft.payload.len());
        if let Some(thread) = &draft.thread {
            let sql = "INSERT INTO threads (thread, envelope) VALUES (?1, ?2)";
            self.transaction.prepare_cached(sql)?.execute(params![thread, id.0])?;
        }
        if let Some(key) = &draft.key {
            let sql = "INSERT INTO keys (key, envelope, accepted_at, fate) VALUES (?1, ?2, ?3, 'waiting')";
            self.transaction.prepare_cached(sql)?.execute(params![key, id.0, self.at.as_micros()])?;
        }
        Ok(Entry::Accepted(id))
    }

    fn cool(&self, draft: &Draft) -> rusqlite::Result<()> {
        let Some(time) = draft.cooldown else { return Ok(()) };
        let sql = "INSERT INTO cooldowns (channel, sender, recipient, until) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT (channel, sender, recipient) DO UPDATE SET until = ?4";
        let (channel, sender) = cooldown_key(draft);
        let until = self.at.after(time).as_micros();
        self.transaction.prepare_cached(sql)?.execute(params![channel, sender, draft.to.0, until]).map(drop)
    }

    pub(super) fn insert(&mut self, id: EnvelopeId, at: Timestamp, draft: &Draft) -> rusqlite::Result<()> {
        if row::is_plain(draft) {
            row::insert_plain(&mut self.insert_plain, id, at, draft)
        } else {
            row::insert(&mut self.insert, id, at, draft)
        }
    }

    /// Writes envelopes that were to leave in the transaction they came in, and did not: what was to settle them was
    /// refused.
    pub(super) fn write_what_stayed(&mut self, batch: &[Change]) -> rusqlite::Result<()> {
        if !self.fleeting.anything_stayed() {
            return Ok(());
        }
        for change in batch {
            let Some(numbering) = change.numbering else { continue };
            for (place, draft) in change.drafts.iter().enumerate() {
                if self.fleeting.leave(numbering.id(place)) {
                    self.insert(numbering.id(place), numbering.at, draft)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn known(&self, key: &str) -> rusqlite::Result<Option<Entry>> {
        Ok(fate(self.transaction, key)?.map(|(id, fate)| Entry::Known { id, fate }))
    }
}
