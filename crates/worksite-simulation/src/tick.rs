//! Ticks own time that goes in steps: in each, everybody takes the mail of that tick, and what they send comes with a later
//! one. Ticks in which nobody has anything to do are skipped.
//!
//! **Equal on any number of threads.** Between two ticks nobody does anything; within one, nobody's doings reach anybody
//! else; and a worker takes the mail of a tick in an order that does not depend on who was quicker: by lane, then by
//! sender, then as that sender sent it. So the states at the end of each tick are a function of the seed, on one thread or
//! many, though ids of envelopes may differ. A routine that keeps to that uses [`Beat::draft`] or [`Beat::send`] for what it
//! sends, [`Chances`] for its dice, and no id; and its retries have no jitter.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use worksite_model::{Draft, Durable, PersonId, Timestamp, Turn, chance};
use worksite_runtime::{Clock, DeskError, ManualClock, Runtime};

/// When ticks are, and the seed of what happens in them. A value: routines have a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// When tick 0 begins.
    pub start: Timestamp,
    /// How long a tick is. Ids of people must be less than its microseconds, since mail of a tick stands in the order of its
    /// senders.
    pub length: Duration,
    /// From which all chance follows.
    pub seed: u64,
}

impl Beat {
    /// The tick of this moment; negative before the first.
    pub fn tick(&self, moment: Timestamp) -> i64 {
        (moment.as_micros() - self.start.as_micros()).div_euclid(self.micros())
    }

    /// The draft, to be delivered in this tick.
    #[must_use]
    pub fn draft(&self, draft: Draft, tick: i64) -> Draft {
        let place = draft.from.unwrap_or(PersonId(0)).0.clamp(0, self.micros() - 1);
        let moment = self.begin(tick).saturating_add(place);
        draft.not_before(Timestamp::from_micros(moment))
    }

    /// Sends a draft in a turn, to be delivered so many ticks later, at least one.
    pub fn send<S>(&self, turn: &mut Turn<S>, draft: Draft, later: i64) {
        let tick = self.tick(turn.now()).saturating_add(later.max(1));
        let from = draft.from.or(Some(turn.person()));
        turn.send(self.draft(Draft { from, ..draft }, tick));
    }

    fn micros(&self) -> i64 {
        i64::try_from(self.length.as_micros()).unwrap_or(i64::MAX).max(1)
    }

    fn begin(&self, tick: i64) -> i64 {
        self.start.as_micros().saturating_add(tick.saturating_mul(self.micros()))
    }

    /// Its last moment: then everything of it has come due.
    fn end(&self, tick: i64) -> Timestamp {
        Timestamp::from_micros(self.begin(tick.saturating_add(1)).saturating_sub(1))
    }
}

/// A worker's numbers: a stream for each seed, worker and tick. Part of its state, so that a turn that is taken back takes
/// its numbers back too.
///
/// ```
/// use std::time::Duration;
/// use worksite_model::{PersonId, Timestamp};
/// use worksite_simulation::{Beat, Chances};
///
/// let beat = Beat { start: Timestamp::from_seconds(0), length: Duration::from_secs(60), seed: 7 };
/// let (mut ada, mut again) = (Chances::default(), Chances::default());
/// let first = ada.next(&beat, PersonId(1), 5);
/// assert_ne!(ada.next(&beat, PersonId(1), 5), first);
/// assert_eq!(again.next(&beat, PersonId(1), 5), first);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chances {
    tick: i64,
    taken: i64,
}

impl Durable for Chances {
    const TYPE: &'static str = "chances";
}

impl Chances {
    /// The next number of this worker in this tick.
    pub fn next(&mut self, beat: &Beat, person: PersonId, tick: i64) -> u64 {
        if self.tick != tick {
            *self = Self { tick, taken: 0 };
        }
        self.taken += 1;
        chance(beat.seed, &[person.0, tick, self.taken])
    }

    /// The next number of the worker whose turn this is, below `sides`.
    pub fn roll<S>(&mut self, beat: &Beat, turn: &Turn<S>, sides: u64) -> u64 {
        self.next(beat, turn.person(), beat.tick(turn.now())) % sides.max(1)
    }
}

/// The hand that moves a house from tick to tick.
#[derive(Debug)]
pub struct Ticks {
    beat: Beat,
    clock: ManualClock,
    tick: i64,
}

impl Ticks {
    /// Before the first tick.
    pub fn new(beat: Beat) -> Self {
        Self::after(beat, -1)
    }

    /// After this tick, as when a house is opened again.
    pub fn after(beat: Beat, tick: i64) -> Self {
        Self { beat, clock: ManualClock::new(beat.end(tick)), tick }
    }

    /// The clock of the house: for [`Builder::clock`](worksite_runtime::Builder::clock).
    pub fn clock(&self) -> Clock {
        self.clock.clock()
    }

    /// The last tick that has been.
    pub fn tick(&self) -> i64 {
        self.tick
    }

    /// Lets the next tick be: when it returns, everybody is done with it, durably.
    ///
    /// # Errors
    /// [`DeskError::Stopped`].
    pub async fn step(&mut self, house: &Runtime) -> Result<i64, DeskError> {
        self.go(house, self.tick.saturating_add(1)).await
    }

    /// Lets the next tick be in which anybody has anything to do, and says which that was; nothing when nobody ever has.
    ///
    /// # Errors
    /// [`DeskError::Stopped`].
    pub async fn skip(&mut self, house: &Runtime) -> Result<Option<i64>, DeskError> {
        // What was sent since is on its way.
        house.rest().await?;
        let Some(due) = house.next_due().await? else { return Ok(None) };
        self.go(house, self.beat.tick(due).max(self.tick.saturating_add(1))).await.map(Some)
    }

    async fn go(&mut self, house: &Runtime, tick: i64) -> Result<i64, DeskError> {
        // Nobody may still be at the tick before: what comes in now was sent in it.
        house.rest().await?;
        let end = self.beat.end(tick);
        self.clock.advance(end.since(self.clock.now()));
        self.tick = tick;
        house.rest().await.map(|()| tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_ends_a_moment_before_the_next_begins() {
        let beat = Beat { start: Timestamp::from_seconds(100), length: Duration::from_secs(10), seed: 1 };
        assert_eq!(beat.end(-1), Timestamp::from_micros(99_999_999));
        for tick in [-3, -1, 0, 1, 7] {
            assert_eq!(beat.tick(beat.end(tick)), tick);
            assert_eq!(beat.tick(Timestamp::from_micros(beat.begin(tick))), tick);
        }
        let draft = Draft { from: Some(PersonId(12)), ..Draft::to(1, &1_u64).unwrap() };
        assert_eq!(beat.draft(draft, 2).not_before, Some(Timestamp::from_micros(120_000_012)));
    }
}
