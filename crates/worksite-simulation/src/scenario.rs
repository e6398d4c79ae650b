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
    /// These drafts are asked, all at once, and their answers awaited.
    Ask(Vec<Draft>),
    /// These drafts are sent and never written.
    Volatile(Vec<Draft>),
    /// So much mail of this person is taken by hand.
    Drain(i64, usize),
    /// What was taken of this person's mail is put back.
    PutBack(i64),
    /// What was taken of this person's mail is acknowledged.
    Acknowledge(i64),
    /// These steps are taken at once, as by several people who know nothing of each other.
    AtOnce(Vec<Step>),
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

/// Whose mail is taken by hand: people from this number on.
pub const BY_HAND: i64 = 100;

/// Everybody in a generated scenario.
const EVERYBODY: [i64; 5] = [1, 2, 3, 4, BY_HAND];

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

/// Something of the moment, which nobody keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flash(pub(crate) u32);
impl Durable for Flash {
    const TYPE: &'static str = "flash";
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

fn witness<S>(trace: &Trace, routine: &'static str, turn: &Turn<S>, pure: bool) {
    let (person, id, attempt) = (turn.person(), turn.envelope().id, turn.attempt());
    trace.push(Event::Performed { person, routine, id, attempt, pure });
}

/// Takes letters; a pure one may run ahead of the disk.
pub(crate) struct Clerk {
    pub(crate) trace: Trace,
    pub(crate) is_pure: bool,
}

impl Routine for Clerk {
    const NAME: &'static str = "clerk";
    type State = Letters;
    type Message = Letter;

    fn perform(&self, turn: &mut Turn<Letters>, letter: Letter) -> Ended {
        witness(&self.trace, Self::NAME, turn, self.is_pure);
        let id = turn.envelope().id.0;
        turn.reply(&id)?;
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

    fn is_pure(&self) -> bool {
        self.is_pure
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { attempts_max: 4, ..RetryPolicy::default() }
    }
}

/// Takes letters that take their time.
pub(crate) struct SlowClerk(pub(crate) Trace);

impl AsyncRoutine for SlowClerk {
    const NAME: &'static str = "slow clerk";
    type State = Letters;
    type Message = SlowLetter;

    async fn perform(&self, turn: &mut Turn<Letters>, SlowLetter(number, seconds): SlowLetter) -> Ended {
        witness(&self.0, Self::NAME, turn, false);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let id = turn.envelope().id.0;
        turn.reply(&id)?;
        turn.state.note(number, id);
        Ok(Outcome::Done)
    }
}

/// Counts flashes, and announces every fourth: a volatile draft with a durable effect.
pub(crate) struct Watcher(pub(crate) Trace);

impl Routine for Watcher {
    const NAME: &'static str = "watcher";
    type State = u64;
    type Message = Flash;

    fn perform(&self, turn: &mut Turn<u64>, Flash(number): Flash) -> Ended {
        witness(&self.0, Self::NAME, turn, false);
        *turn.state += 1;
        if number.is_multiple_of(4) {
            turn.announce("flash", &u64::from(number))?;
        }
        Ok(Outcome::Done)
    }
}

impl Scenario {
    /// A script that follows from a seed: people come and go, and send each other all kinds of letters.
    ///
    /// The last steps bring everybody back and wait for all mail, so that the end does not depend on the way.
    pub fn generate(seed: u64, length: usize) -> Self {
        let mut dice = Dice { seed, rolls: 0, letters: 0 };
        let mut steps = vec![Step::Sync(EVERYBODY.to_vec())];
        // Rest is durable: who rested when an earlier life ended rests when the script is played again.
        steps.extend((1..=4).map(Step::Resume));
        for _ in 0..length {
            dice.step(&mut steps);
        }
        steps.extend([Step::Sync(EVERYBODY.to_vec()), Step::Quiesce]);
        steps.extend([Step::Drain(BY_HAND, usize::MAX), Step::Acknowledge(BY_HAND)]);
        Self { steps }
    }
}

/// Numbers from a seed, and the number of the last letter.
struct Dice {
    seed: u64,
    rolls: i64,
    letters: u32,
}

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.rolls += 1;
        chance(self.seed, &[self.rolls]) % sides
    }

    fn step(&mut self, steps: &mut Vec<Step>) {
        match self.roll(16) {
            0 => {
                // Mail to somebody who is away would be refused: in these scripts nobody writes in vain.
                steps.push(Step::Sync(self.some_people()));
                steps.push(Step::Wait(Duration::from_millis(self.roll(500))));
                steps.push(Step::Sync(EVERYBODY.to_vec()));
            }
            1 => steps.push(Step::Wait(Duration::from_millis(self.roll(5_000)))),
            2 => steps.push(Step::Quiesce),
            3 => steps.push(Step::CrashWorker(self.clerk())),
            4 => {
                // Nobody waits for somebody who rests: what is sent meanwhile is dealt with after the resumption.
                let person = self.clerk();
                steps.extend([Step::Pause(person), Step::Send(self.drafts())]);
                steps.extend([Step::Wait(Duration::from_millis(self.roll(3_000))), Step::Rest, Step::Resume(person)]);
            }
            5 => steps.push(Step::SendTogether(self.drafts())),
            6 => steps.push(Step::Ask(self.drafts())),
            7 => steps.push(Step::Volatile((0..self.roll(6)).map(|_| self.flash()).collect())),
            8 => steps.push(self.by_hand()),
            9 => {
                // People who leave and come back while others write to them, and a crash in the middle.
                let comings = [Step::Sync(self.some_people()), Step::Sync(EVERYBODY.to_vec())];
                let goings = [Step::Send(self.drafts()), Step::CrashWorker(self.clerk()), Step::Send(self.drafts())];
                steps.push(Step::AtOnce(comings.into_iter().chain(goings).collect()));
                steps.push(Step::Sync(EVERYBODY.to_vec()));
            }
            10 => {
                let flashes = Step::Volatile((0..self.roll(9)).map(|_| self.flash()).collect());
                let steps_at_once = vec![Step::Ask(self.drafts()), flashes, self.by_hand(), Step::Send(self.drafts())];
                steps.push(Step::AtOnce(steps_at_once));
            }
            _ => steps.push(Step::Send(self.drafts())),
        }
    }

    fn some_people(&mut self) -> Vec<i64> {
        EVERYBODY.into_iter().filter(|_| self.roll(4) > 0).collect()
    }

    fn clerk(&mut self) -> i64 {
        1 + self.roll(4) as i64
    }

    fn by_hand(&mut self) -> Step {
        match self.roll(4) {
            0 => Step::PutBack(BY_HAND),
            1 => Step::Acknowledge(BY_HAND),
            _ => Step::Drain(BY_HAND, 1 + self.roll(4) as usize),
        }
    }

    fn flash(&mut self) -> Draft {
        let flash = Flash(self.roll(1_000) as u32);
        Draft::to(self.clerk(), &flash).expect("a flash can be encoded")
    }

    fn drafts(&mut self) -> Vec<Draft> {
        (0..1 + self.roll(6)).map(|_| self.draft()).collect()
    }

    fn draft(&mut self) -> Draft {
        self.letters += 1;
        let (to, number) = (self.clerk(), self.letters);
        let key = format!("letter {number}");
        let letter = match self.roll(14) {
            0 | 1 => Letter::Circular(number, (0..self.roll(5)).map(|_| self.clerk()).collect()),
            2 => Letter::Flaky(number, self.roll(3) as u32),
            3 => Letter::Poison(number),
            4 | 5 => {
                // One in ten takes longer than a routine may.
                let seconds = if self.roll(10) == 0 { 45 } else { self.roll(5) };
                return Draft::to(to, &SlowLetter(number, seconds)).expect("a letter can be encoded").key(key);
            }
            6 => {
                let by_hand = Draft::to(BY_HAND, &Letter::Note(number)).expect("a letter can be encoded").key(key);
                return by_hand.priority(Priority::ALL[self.roll(5) as usize]);
            }
            _ => Letter::Note(number),
        };
        let draft = Draft::to(to, &letter).expect("a letter can be encoded").key(key);
        let draft = draft.priority(Priority::ALL[self.roll(5) as usize]);
        match self.roll(8) {
            0 => draft.not_before(crate::world::START.after(Duration::from_secs(self.roll(SCHEDULED_SECONDS)))),
            _ => draft,
        }
    }
}
