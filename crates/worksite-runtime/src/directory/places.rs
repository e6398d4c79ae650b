//! Places in inboxes: reserved before a change is proposed, given back when its envelope has gone.

use super::{Desk, Directory, addressable};
use crate::SendError;
use std::sync::atomic::Ordering;
use worksite_model::{Draft, Limits, Overflow, PersonId, Priority, Registry, Rejection, law};

/// Why a place in an inbox could not be reserved.
#[derive(Debug, Clone)]
pub(crate) enum NoPlace {
    Rejected(Rejection),
    /// This draft's recipient, or the site, has no room.
    Full {
        draft: usize,
        limit: &'static str,
        overflow: Overflow,
    },
}

/// The limit of this recipient's inbox that the change's drafts for them exceed by themselves, if they do.
fn never_fits(desk: &Desk, drafts: &[Draft], to: PersonId) -> Option<&'static str> {
    let bounded = drafts.iter().filter(|draft| draft.to == to && draft.priority != Priority::Control);
    let (envelopes, bytes) =
        bounded.fold((0_usize, 0_usize), |(count, bytes), draft| (count + 1, bytes + draft.payload.len()));
    if envelopes > desk.policy.envelopes_max {
        return Some("inbox_envelopes_max");
    }
    (envelopes > 1 && bytes > desk.policy.bytes_max).then_some("inbox_bytes_max")
}

impl Directory {
    /// Reserves a place in each recipient's inbox, in all or in none. Who has waited in line may go before those that
    /// still do.
    pub(crate) fn reserve(
        &self,
        drafts: &[Draft],
        registry: &Registry,
        limits: &Limits,
        has_waited: bool,
    ) -> Result<(), NoPlace> {
        let (desks, mut due) = (self.read(), 0);
        for (place, draft) in drafts.iter().enumerate() {
            let refused = match addressable(&desks, draft, registry) {
                Err(rejection) => NoPlace::Rejected(rejection),
                Ok((desk, routine)) => match self.reserve_one(desk, draft, limits, has_waited) {
                    Ok(()) => {
                        due += usize::from(routine.is_some());
                        continue;
                    }
                    Err(limit) => match never_fits(desk, drafts, draft.to) {
                        Some(limit) => NoPlace::Rejected(Rejection::NeverFits { to: draft.to, limit }),
                        None => NoPlace::Full { draft: place, limit, overflow: desk.policy.overflow },
                    },
                },
            };
            for draft in &drafts[..place] {
                if let Some(desk) = desks.get(&draft.to) {
                    self.free(desk, draft.to, draft.payload.len());
                }
            }
            return Err(refused);
        }
        // Only now: a house that is quiet stays so while drafts are refused.
        self.due.fetch_add(due, Ordering::AcqRel);
        Ok(())
    }

    pub(super) fn reserve_one(
        &self,
        desk: &Desk,
        draft: &Draft,
        limits: &Limits,
        has_waited: bool,
    ) -> Result<(), &'static str> {
        let bytes = draft.payload.len();
        let waiting = desk.waiting.fetch_add(1, Ordering::AcqRel) as usize;
        let inbox_bytes = desk.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let site = self.site_waiting.fetch_add(1, Ordering::AcqRel);
        let site_bytes = self.site_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        // What drops its oldest mail is over its bound until that is durable, but not without bound.
        let slack = if desk.policy.overflow == Overflow::DropOldest { limits.changes_in_flight_max } else { 0 };
        let bytes_slack = if slack > 0 { desk.policy.bytes_max } else { 0 };
        let full = if draft.priority == Priority::Control {
            None
        } else if waiting >= desk.policy.envelopes_max.saturating_add(slack) {
            Some("inbox_envelopes_max")
        } else if waiting > 0 && inbox_bytes > desk.policy.bytes_max.saturating_add(bytes_slack) {
            Some("inbox_bytes_max")
        } else if site >= limits.site_envelopes_max {
            Some("site_envelopes_max")
        } else if site > 0 && site_bytes > limits.site_bytes_max {
            Some("site_bytes_max")
        } else if !has_waited && desk.parked.load(Ordering::Acquire) > 0 {
            Some("inbox_envelopes_max")
        } else {
            None
        };
        match full {
            None => Ok(()),
            Some(limit) => {
                self.free(desk, draft.to, bytes);
                Err(limit)
            }
        }
    }

    /// Gives reserved places back, with the bytes they held.
    pub(crate) fn release(&self, places: impl IntoIterator<Item = (PersonId, usize)>) {
        let desks = self.read();
        for (person, bytes) in places {
            if let Some(desk) = desks.get(&person) {
                self.give_back(desk, person, bytes);
            }
        }
    }

    /// Gives back the places of drafts that were not accepted.
    pub(crate) fn release_drafts<'a>(&self, drafts: impl IntoIterator<Item = &'a Draft>) {
        self.release(drafts.into_iter().map(|draft| (draft.to, draft.payload.len())));
    }

    pub(super) fn give_back(&self, desk: &Desk, person: PersonId, bytes: usize) {
        self.free(desk, person, bytes);
        if desk.active && !desk.manual {
            self.due.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Frees a place that was not counted as due.
    pub(super) fn free(&self, desk: &Desk, person: PersonId, bytes: usize) {
        let one_less = desk.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1));
        law!(one_less.is_ok(), "conservation", "person {person} gave back a place in the inbox that was not taken");
        let fewer = desk.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| held.checked_sub(bytes));
        law!(fewer.is_ok(), "conservation", "person {person} gave back bytes of the inbox that were not taken");
        self.site_waiting.fetch_sub(1, Ordering::AcqRel);
        self.site_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Puts a change in line for this recipient; false when too many are in lines already.
    pub(crate) fn park(&self, person: PersonId, limits: &Limits) -> bool {
        if self.parked.fetch_add(1, Ordering::AcqRel) >= limits.changes_parked_max {
            self.parked.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        if let Some(desk) = self.read().get(&person) {
            desk.parked.fetch_add(1, Ordering::AcqRel);
        }
        true
    }

    /// Takes a change out of the line for this recipient.
    pub(crate) fn unpark(&self, person: PersonId) {
        self.parked.fetch_sub(1, Ordering::AcqRel);
        if let Some(desk) = self.read().get(&person) {
            let less = |parked: u32| parked.checked_sub(1);
            let _kept = desk.parked.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        }
    }

    /// Turns a change away for want of room at this person's inbox, and says so as the inbox's policy wants. Each draft is
    /// counted where it was to go: sent = delivered + refused + dropped, for everybody.
    pub(crate) fn turn_away(
        &self,
        full: PersonId,
        limit: &'static str,
        overflow: Overflow,
        drafts: Vec<Draft>,
    ) -> SendError {
        let drops = overflow == Overflow::DropNewest;
        for to in drafts.iter().map(|draft| draft.to) {
            if drops && to == full { self.count_dropped(to, 1) } else { self.count_refused(to) }
        }
        if drops { SendError::Dropped { person: full, drafts } } else { SendError::Overloaded { limit, drafts } }
    }
}
