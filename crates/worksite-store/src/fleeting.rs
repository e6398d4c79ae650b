//! Fleeting envelopes are accepted and settled by one transaction: nobody else ever sees them, so they are not written.
//!
//! They come about where a worker performs pure routines ahead of the disk. That a batch settles an envelope is known before
//! its first change is written; whether that holds is known when the settling change is: what stays after all is written at
//! the end of the transaction.

use worksite_model::{Change, EnvelopeId};

/// Which envelopes of a batch are not written, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Fleeting {
    /// The id before the first.
    base: i64,
    standings: Vec<Standing>,
    /// How many have come and not left.
    stayed: usize,
}

/// How an envelope of the batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is written as any other.
    Usual,
    /// It is settled later in the batch.
    Expected,
    /// It has been accepted, and not written.
    Here,
}

impl Fleeting {
    /// Those that this batch both accepts and settles; `last` is the highest id before it.
    pub(crate) fn of(batch: &[Change], last: i64) -> Self {
        let mut fleeting = Self { base: last, standings: Vec::new(), stayed: 0 };
        // What takes envelopes away by looking for their rows must find them.
        if batch.iter().any(takes_rows_away) {
            return fleeting;
        }
        for change in batch {
            // What belongs to a thread is kept beyond its place in the inbox.
            for settlement in change.settled.iter().filter(|settlement| !settlement.is_threaded()) {
                fleeting.set(settlement.id(), Standing::Expected);
            }
        }
        if !fleeting.standings.is_empty() {
            for change in batch {
                let kept = change.retried.iter().map(|retry| retry.id);
                for id in kept.chain(change.buried.iter().map(|burial| burial.id())) {
                    fleeting.set(id, Standing::Usual);
                }
            }
        }
        fleeting
    }

    /// An envelope is accepted: whether it is not to be written.
    pub(crate) fn come(&mut self, id: EnvelopeId) -> bool {
        match self.standing(id) {
            Some(standing @ Standing::Expected) => {
                *standing = Standing::Here;
                self.stayed += 1;
                true
            }
            _ => false,
        }
    }

    /// An envelope is settled, or written after all: whether it had come and was not written.
    pub(crate) fn leave(&mut self, id: EnvelopeId) -> bool {
        match self.standing(id) {
            Some(standing @ Standing::Here) => {
                *standing = Standing::Usual;
                self.stayed -= 1;
                true
            }
            _ => false,
        }
    }

    /// Whether any has come and not left.
    pub(crate) fn anything_stayed(&self) -> bool {
        self.stayed > 0
    }

    fn standing(&mut self, id: EnvelopeId) -> Option<&mut Standing> {
        let place = usize::try_from(id.0.checked_sub(self.base)?.checked_sub(1)?).ok()?;
        self.standings.get_mut(place)
    }

    fn set(&mut self, id: EnvelopeId, standing: Standing) {
        let place = id.0.checked_sub(self.base).and_then(|place| usize::try_from(place.checked_sub(1)?).ok());
        // One that waited before the batch is in the file.
        let Some(place) = place.filter(|place| *place < PLACES_MAX) else { return };
        if place >= self.standings.len() {
            self.standings.resize(place + 1, Standing::Usual);
        }
        self.standings[place] = standing;
    }
}

/// How far above the last id a fleeting envelope is looked for: a batch gives fewer ids than that, or their room would be
/// more than their rows cost.
const PLACES_MAX: usize = 1 << 20;

fn takes_rows_away(change: &Change) -> bool {
    change.clear || change.roster.is_some() || !change.removed.is_empty() || !change.dropped.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use worksite_model::{Draft, Envelope, Payload, Settlement, Timestamp};

    fn settles(id: i64) -> Change {
        let draft = Draft::of(1, Payload::encode(&1_u64).expect("encodable"));
        let envelope = Arc::new(Envelope { id: EnvelopeId(id), accepted_at: Timestamp::from_micros(0), draft });
        Change { settled: vec![Settlement { envelope, routine: "r", reply: None }], ..Change::default() }
    }

    #[test]
    fn only_what_comes_and_leaves_is_fleeting() {
        let mut fleeting = Fleeting::of(&[settles(12), settles(5)], 10);
        assert!(!fleeting.come(EnvelopeId(11)), "nothing settles it");
        assert!(fleeting.come(EnvelopeId(12)) && fleeting.anything_stayed());
        assert!(!fleeting.leave(EnvelopeId(5)), "it is in the file");
        assert!(fleeting.leave(EnvelopeId(12)) && !fleeting.anything_stayed());
        assert!(!fleeting.leave(EnvelopeId(12)), "it left already");
    }

    #[test]
    fn a_batch_that_looks_for_rows_has_no_fleeting_envelopes() {
        let cleared = Change { clear: true, ..Change::default() };
        assert!(!Fleeting::of(&[settles(12), cleared], 10).come(EnvelopeId(12)));
    }
}
