//! Refusing owns what is known to be wrong with a change before any of it is written.

use super::Writer;
use crate::facts;
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeSet;
use worksite_model::{Burial, Change, Draft, Entry, EnvelopeId, PersonId, Refusal, Settlement, Timestamp};

impl Writer<'_> {
    /// What is known to be wrong with a change before any of it is written.
    pub(super) fn refusal(&self, change: &Change) -> rusqlite::Result<Option<Refusal>> {
        if let Some(taken) = change.roster.as_ref().and_then(|roster| roster.taken(&self.mirrors.roster)) {
            return Ok(Some(Refusal::Taken(taken)));
        }
        if let Some(author) = change.writes_for_nobody(&self.mirrors.roster) {
            return Ok(Some(Refusal::UnknownPerson(author)));
        }
        if let Some(used) = change.reuses(self.mirrors.last_id) {
            return Ok(Some(Refusal::IdUsed(used)));
        }
        if let Some(stranger) = self.stranger(change) {
            return Ok(Some(Refusal::UnknownPerson(stranger)));
        }
        let settled = change.settled.iter().map(Settlement::id);
        let retried = change.retried.iter().map(|retry| retry.id);
        let mut leaving = settled.chain(retried).chain(change.buried.iter().map(Burial::id));
        let waits = |id: &EnvelopeId| {
            !change.clear && change.author.is_some_and(|author| self.mirrors.index.contains(author, *id))
        };
        if let Some(id) = leaving.find(|id| !waits(id)) {
            return Ok(Some(Refusal::NotWaiting(id)));
        }
        if let Some(refusal) = self.exhumable(change)? {
            return Ok(Some(refusal));
        }
        if change.author.is_none()
            && let Some(refusal) = self.too_soon(&change.drafts)?
        {
            return Ok(Some(refusal));
        }
        if let Some(refusal) = facts::unknown_cursor(self.mirrors, change) {
            return Ok(Some(refusal));
        }
        let unknown = change.writes.iter().find(|write| !self.handlers.contains_key(write.name.as_ref()));
        Ok(unknown.map(|write| Refusal::UnknownWrite(write.name.to_string())))
    }

    /// Somebody the change names who will not be active.
    fn stranger(&self, change: &Change) -> Option<PersonId> {
        let current = &self.mirrors.roster;
        let mut named =
            change.drafts.iter().map(|draft| draft.to).chain(change.paused.iter().map(|(person, _)| *person));
        named.find(|person| match &change.roster {
            Some(roster) => !roster.admits(current, *person),
            None => !current.contains(*person),
        })
    }

    fn exhumable(&self, change: &Change) -> rusqlite::Result<Option<Refusal>> {
        let mut seen = BTreeSet::new();
        for id in &change.exhumed {
            let mut statement = self.transaction.prepare_cached("SELECT 1 FROM dead_letters WHERE id = ?1")?;
            if !seen.insert(id) || !statement.exists([id.0])? {
                return Ok(Some(Refusal::NotBuried(*id)));
            }
        }
        // Its key may have been forgotten and given to another message since.
        for key in change.drafts.iter().filter_map(|draft| draft.key.as_ref()).filter(|_| !change.exhumed.is_empty()) {
            if let Some(Entry::Known { id, .. }) = self.known(key)?
                && !change.exhumed.contains(&id)
            {
                return Ok(Some(Refusal::KeyTaken(key.clone())));
            }
        }
        Ok(None)
    }

    /// A draft from outside that its cooldown keeps out. One that is known by its key is no new message.
    fn too_soon(&self, drafts: &[Draft]) -> rusqlite::Result<Option<Refusal>> {
        let (mut seen, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for draft in drafts.iter().filter(|draft| draft.cooldown.is_some()) {
            if let Some(key) = &draft.key
                && (!keys.insert(key) || self.known(key)?.is_some())
            {
                continue;
            }
            let cooling = self.cooling_until(draft)?;
            let twice = !seen.insert((cooldown_key(draft), draft.to));
            let twice = twice.then(|| draft.cooldown.map(|time| self.at.after(time))).flatten();
            if let Some(until) = cooling.or(twice) {
                return Ok(Some(Refusal::Cooling { to: draft.to, until }));
            }
        }
        Ok(None)
    }

    /// Until when this draft's sender, recipient and channel are closed to it, if they are.
    pub(super) fn cooling_until(&self, draft: &Draft) -> rusqlite::Result<Option<Timestamp>> {
        let sql = "SELECT until FROM cooldowns WHERE channel = ?1 AND sender = ?2 AND recipient = ?3 AND until > ?4";
        let (channel, sender) = cooldown_key(draft);
        let mut statement = self.transaction.prepare_cached(sql)?;
        let until = statement.query_row(params![channel, sender, draft.to.0, self.at.as_micros()], |row| row.get(0));
        Ok(until.optional()?.map(Timestamp::from_micros))
    }
}

/// The channel and the sender by which a cooldown is found.
pub(super) fn cooldown_key(draft: &Draft) -> (&str, i64) {
    (draft.channel.as_deref().unwrap_or_default(), draft.from.map_or(0, |sender| sender.0))
}
