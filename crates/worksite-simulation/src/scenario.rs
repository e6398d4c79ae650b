//! Scenarios own what is played in a world: steps as data, and the routines that play them.
//!
//! Every draft has a key, so that a step can be repeated after a crash and is still done once. What workers remember
//! does not depend on ids, so that a broken and an unbroken run can be compared; the ids are kept beside it for the laws.

use crate::trace::{Event, Trace};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use worksite_model::{AsyncRoutine, Draft, Durable, Ended, Outcome, Priority, RetryPolicy, Routine, Turn, chance};

/// How far scheduled drafts of generated scenarios wait, in seconds.
const SCHEDULED_SECONDS: u64 = 90;

/// A script.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One step of a script.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// These people are to be active.
    Sync(Vec<i64>),
    /// These drafts are sent, each by itself, without waiting in between.
    Send(Vec<Draft>),
    /// These drafts are sent as one change.
    SendTogether(Vec<Draft>),
    /// So much time passes.
    Wait(Duration),
    /// Everybody gets done with what can be done now.
    Rest,
    /// Everybody gets done.
    Quiesce,
    /// This person's worker crashes, as from a mistake of ours.
    CrashWorker(i64),
    /// This person's worker rests.
    Pause(i64),
    /// This person's worker goes on.
    Resume(i64),
}

/// What is in the mail of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Letter {
    /// To be noted.
    Note(u32),
    /// To be noted, and passed on to these people, one after the other.
    Circular(u32, Vec<i64>),
    /// To be noted after so many failures.
    Flaky(u32, u32),
    /// Panics, whoever opens it.
    Poison(u32),
}
impl Durable for Letter {
    const TYPE: &'static str = "letter";
}

/// A letter whose handling takes so many seconds outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlowLetter(pub(crate) u32, pub(crate) u64);
impl Durable for SlowLetter {
    const TYPE: &'static str = "slow letter";
}

/// What a worker remembers of its letters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Letters {
    /// How often each letter was noted: once, if all is well.
    pub noted: BTreeMap<u32, u32>,
    /// The envelopes they came in.
    pub ids: Vec<i64>,
}
impl Durable for Letters {
    const TYPE: &'static str = "letters";
}

impl Letters {
    fn note(&mut self, letter: u32, id: i64) {
        *self.noted.entry(letter).or_default() += 1;
        self.ids.push(id);
    }
}

fn witness(trace: &Trace, turn: &Turn<Letters>, pure: bool) {
    let (person, id, attempt) = (turn.person(), turn.envelope().id, turn.attempt());
    trace.push(Event::Performed { person, id, attempt, pure });
}

/// Takes letters.
pub(crate) struct Clerk {
    pub(crate) trace: Trace,
    /// Whether it runs ahead of the disk. The trace does not mind.
    pub(crate) pure: bool,
}

impl Routine for Clerk {
    const NAME: &'static str = "clerk";
    type State = Letters;
    type Message = Letter;

    fn perform(&self, turn: &mut Turn<Letters>, letter: Letter) -> Ended {
        witness(&self.trace, turn, self.pure);
        let id = turn.envelope().id.0;
        match letter {
            Letter::Note(number) => turn.state.note(number, id),
            Letter::Circular(number, mut route) => {
                turn.state.note(number, id);
                if !route.is_empty() {
                    let next = route.remove(0);
                    turn.send(Draft::to(next, &Letter::Circular(number, route))?);
                }
            }
            Letter::Flaky(number, failures) => {
                turn.state.note(number, id);
                if turn.attempt() <= failures {
                    return Ok(Outcome::Retry("not yet".into()));
                }
            }
            Letter::Poison(number) => {
                turn.state.note(number, id);
                panic!("poison");
            }
        }
        Ok(Outcome::Done)
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { attempts_max: 4, ..RetryPolicy::default() }
    }

    fn is_pure(&self) -> bool {
        self.pure
    }
}

/// Takes letters that take their time.
pub(crate) struct SlowClerk(pub(crate) Trace);

impl AsyncRoutine for SlowClerk {
    const NAME: &'static str = "slow clerk";
    type State = Letters;
    type Message = SlowLetter;

    async fn perform(&self, turn: &mut Turn<Letters>, SlowLetter(number, seconds): SlowLetter) -> Ended {
        witness(&self.0, turn, false);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let id = turn.envelope().id.0;
        turn.state.note(number, id);
        Ok(Outcome::Done)
    }
}

impl Scenario {
    /// A script that follows from a seed: people come and go, and send each other all kinds of letters.
    ///
    /// The last steps bring everybody back and wait for all mail, so that the end does not depend on the way.
    pub fn generate(seed: u64, length: usize) -> Self {
        let mut dice = Dice { seed, rolls: 0 };
        let mut steps = vec![Step::Sync(vec![1, 2, 3, 4])];
        // Rest is durable: who rested when an earlier life ended rests when the script is played again.
        steps.extend((1..=4).map(Step::Resume));
        let mut number = 0;
        for _ in 0..length {
            let step = match dice.roll(11) {
                0 => Step::Sync((1..=4).filter(|_| dice.roll(4) > 0).collect()),
                1 => Step::Wait(Duration::from_millis(dice.roll(5_000))),
                2 => Step::Quiesce,
                3 => Step::CrashWorker(1 + dice.roll(4) as i64),
                4 => {
                    // Nobody waits for somebody who rests: what is sent meanwhile is dealt with after the resumption.
                    let person = 1 + dice.roll(4) as i64;
                    steps.push(Step::Pause(person));
                    steps.push(Step::Send((0..1 + dice.roll(6)).map(|_| dice.draft(&mut number)).collect()));
                    steps.push(Step::Wait(Duration::from_millis(dice.roll(3_000))));
                    Step::Resume(person)
                }
                5 => Step::SendTogether((0..1 + dice.roll(6)).map(|_| dice.draft(&mut number)).collect()),
                _ => Step::Send((0..1 + dice.roll(6)).map(|_| dice.draft(&mut number)).collect()),
            };
            steps.push(step);
            // Mail to somebody who is away would be refused: in these scripts nobody writes in vain.
            if matches!(steps.last(), Some(Step::Sync(_))) {
                steps.push(Step::Wait(Duration::from_millis(dice.roll(500))));
                steps.push(Step::Sync(vec![1, 2, 3, 4]));
            }
        }
        steps.extend([Step::Sync(vec![1, 2, 3, 4]), Step::Quiesce]);
        Self { steps }
    }
}

/// Numbers from a seed.
struct Dice {
    seed: u64,
    rolls: i64,
}

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.rolls += 1;
        chance(self.seed, &[self.rolls]) % sides
    }

    fn draft(&mut self, number: &mut u32) -> Draft {
        *number += 1;
        let to = 1 + self.roll(4) as i64;
        let letter = match self.roll(12) {
            0 | 1 => Letter::Circular(*number, (0..self.roll(5)).map(|_| 1 + self.roll(4) as i64).collect()),
            2 => Letter::Flaky(*number, self.roll(3) as u32),
            3 => Letter::Poison(*number),
            4 => {
                let slow = Draft::to(to, &SlowLetter(*number, self.roll(5))).expect("a letter can be encoded");
                return slow.key(format!("letter {number}"));
            }
            _ => Letter::Note(*number),
        };
        let draft = Draft::to(to, &letter).expect("a letter can be encoded").key(format!("letter {number}"));
        let draft = draft.priority(Priority::ALL[self.roll(5) as usize]);
        match self.roll(8) {
            0 => draft.not_before(crate::world::START.after(Duration::from_secs(self.roll(SCHEDULED_SECONDS)))),
            _ => draft,
        }
    }
}
