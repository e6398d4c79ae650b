//! Owns the sites the contract tests play on: a folder of its own for each, and a few plain routines.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use worksite::prelude::*;

/// A folder that is removed at the end, with a site file in it that can be opened again and again.
pub struct Plot {
    folder: tempfile::TempDir,
}

impl Plot {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("site.db")
    }

    /// Damages the states of this person's worker, while nobody has the file.
    pub fn damage_states(&self, person: i64) {
        let file = rusqlite::Connection::open(self.path()).unwrap();
        file.execute("UPDATE states SET body = x'00' WHERE person = ?1", [person]).unwrap();
    }

    /// Opens a site whose workers have all the routines of this file.
    pub async fn open(&self) -> Worksite {
        routines().open(self.path()).await.unwrap()
    }

    /// Opens a site whose workers are all manual.
    pub async fn open_manual(&self) -> Worksite {
        Worksite::open(self.path()).await.unwrap()
    }
}

pub fn routines() -> Builder {
    Worksite::builder().routine(Diary).routine(Forwarder).async_routine(Errand)
}

/// Two people and a third.
pub fn people() -> Vec<Person> {
    vec![Person::new(1, "ada"), Person::new(2, "grace"), Person::new(3, "barbara")]
}

pub fn note(to: i64, text: &str) -> Draft {
    Draft::to(to, &Note(text.into())).unwrap()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note(pub String);
impl Durable for Note {
    const TYPE: &'static str = "note";
}

/// What a worker remembers of its notes: each with the envelope it came in.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notes(pub Vec<(i64, String)>);
impl Durable for Notes {
    const TYPE: &'static str = "notes";
}

impl Notes {
    pub fn texts(&self) -> Vec<&str> {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }
}

/// Writes each note down, with its envelope; "panic", "fail" and "reject" do so in vain.
pub struct Diary;

impl Routine for Diary {
    const NAME: &'static str = "diary";
    type State = Notes;
    type Message = Note;

    fn perform(&self, turn: &mut Turn<Notes>, Note(text): Note) -> Ended {
        let id = turn.envelope().id.0;
        turn.state.0.push((id, text.clone()));
        match text.as_str() {
            "panic" => panic!("as the note says"),
            "fail" => Err(std::io::Error::other("as the note says"))?,
            "reject" => return Ok(Outcome::Reject("as the note says".into())),
            "fail twice" if turn.attempt() <= 2 => return Ok(Outcome::Retry("not yet".into())),
            _ => {}
        }
        turn.reply(&text)?;
        Ok(Outcome::Done)
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { attempts_max: 3, first_delay: Duration::from_millis(1), ..RetryPolicy::default() }
    }
}

/// A letter to be passed on to the people it names, one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Circular {
    pub route: Vec<i64>,
}
impl Durable for Circular {
    const TYPE: &'static str = "circular";
}

/// Counts circulars and sends each on.
pub struct Forwarder;

impl Routine for Forwarder {
    const NAME: &'static str = "forwarder";
    type State = u64;
    type Message = Circular;

    fn perform(&self, turn: &mut Turn<u64>, mut circular: Circular) -> Ended {
        *turn.state += 1;
        turn.announce("passed", &(circular.route.len() as u64))?;
        if !circular.route.is_empty() {
            let next = circular.route.remove(0);
            turn.send(Draft::to(next, &circular)?);
        }
        Ok(Outcome::Done)
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }
}

/// Something that takes so many milliseconds outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    pub ms: u64,
}
impl Durable for Task {
    const TYPE: &'static str = "task";
}

/// Runs errands, and counts them.
pub struct Errand;

impl AsyncRoutine for Errand {
    const NAME: &'static str = "errand";
    type State = u64;
    type Message = Task;

    async fn perform(&self, turn: &mut Turn<u64>, task: Task) -> Ended {
        tokio::time::sleep(Duration::from_millis(task.ms)).await;
        *turn.state += 1;
        let total = *turn.state;
        turn.reply(&total)?;
        Ok(Outcome::Done)
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }
}

/// Counts how often something was done outside.
#[derive(Clone, Default)]
pub struct Meter(Arc<AtomicUsize>);

impl Meter {
    pub fn tick(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Waits for what is told beside an answer and not before it.
pub async fn until(holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came true");
}
