//! Dead letters: shown, redriven, forgotten.

use super::{Receipt, Runtime};
use crate::DeskError;
use worksite_model::{Change, DeadLetter, Draft, EnvelopeId, Filter, StoreError};

/// How many dead letters one commit redrives at most.
const REDRIVEN_MAX: usize = 1_000;

/// Whether one letter of several is at fault, and not the house.
fn is_about_one(error: &DeskError) -> bool {
    matches!(error, DeskError::NotBuried(_) | DeskError::UnknownPerson(_) | DeskError::Rejected(_))
}

impl Runtime {
    /// The dead letters, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, DeskError> {
        self.read(Box::new(move |store| store.dead_letters(EnvelopeId(0), limit))).await
    }

    /// Sends dead letters again, all or none: each becomes a new envelope, with its first attempt before it, under its old
    /// key; it is due at once and does not expire. An id that is no dead letter is an error, and nothing is redriven
    /// twice.
    ///
    /// # Errors
    /// [`DeskError::NotBuried`], [`DeskError::NoRoom`], [`DeskError::UnknownPerson`] and [`DeskError`].
    pub async fn redrive(&self, ids: Vec<EnvelopeId>) -> Result<Vec<Receipt>, DeskError> {
        let wanted = ids.clone();
        let letters = self.read(Box::new(move |store| {
            let one = |id: &EnvelopeId| {
                let found = store.dead_letters(EnvelopeId(id.0.saturating_sub(1)), 1)?.pop();
                Ok(found.filter(|letter| letter.delivery.id() == *id))
            };
            wanted.iter().map(one).collect::<Result<Vec<_>, StoreError>>()
        }));
        let mut drafts = Vec::with_capacity(ids.len());
        for (id, letter) in ids.iter().zip(letters.await?) {
            let draft = letter.ok_or(DeskError::NotBuried(*id))?.delivery.envelope.draft.clone();
            drafts.push(Draft { not_before: None, expires_at: None, ..draft });
        }
        loop {
            let change = Change { exhumed: ids.clone(), ..Change::send(drafts.clone()) };
            match self.propose_drafts(change).await {
                // It was forgotten, and given to another message since.
                Err(DeskError::KeyTaken(key)) => {
                    let same = drafts.iter_mut().filter(|draft| draft.key.as_ref() == Some(&key));
                    same.for_each(|draft| draft.key = None);
                }
                redriven => return redriven,
            }
        }
    }

    /// [`Runtime::redrive`] for all that are meant and are dead now, a thousand in one commit; says how many it was. Those
    /// whose recipients have left, or that nobody takes any more, stay.
    ///
    /// # Errors
    /// [`DeskError::NoRoom`] and what the store says; what was redriven before stays so.
    pub async fn redrive_by(&self, filter: Filter) -> Result<usize, DeskError> {
        // All of them first: what is redriven may die again, under another id, and is not meant.
        let (mut after, mut meant, roster) = (EnvelopeId(0), Vec::new(), self.roster());
        loop {
            let page = self.read(Box::new(move |store| store.dead_letters(after, REDRIVEN_MAX))).await?;
            let Some(last) = page.last() else { break };
            after = last.delivery.id();
            let letters = page.iter().map(|letter| &letter.delivery.envelope);
            let letters = letters.filter(|letter| filter.matches(letter) && roster.contains(letter.draft.to));
            meant.extend(letters.map(|letter| letter.id));
        }
        let mut redriven = 0;
        for ids in meant.chunks(REDRIVEN_MAX) {
            match self.redrive(ids.to_vec()).await {
                Ok(receipts) => redriven += receipts.len(),
                Err(error) if is_about_one(&error) => redriven += self.redrive_singly(ids).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(redriven)
    }

    pub(super) async fn redrive_singly(&self, ids: &[EnvelopeId]) -> Result<usize, DeskError> {
        let mut redriven = 0;
        for id in ids {
            match self.redrive(vec![*id]).await {
                Ok(receipts) => redriven += receipts.len(),
                Err(error) if is_about_one(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(redriven)
    }

    /// Forgets dead letters nobody wants, all or none.
    ///
    /// # Errors
    /// [`DeskError::NotBuried`] and [`DeskError`].
    pub async fn forget_dead(&self, ids: Vec<EnvelopeId>) -> Result<(), DeskError> {
        self.propose(Change { exhumed: ids, ..Change::default() }).await.map(drop)
    }
}
