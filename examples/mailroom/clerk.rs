//! Owns the door: the clerk files every mail, that is, passes it on to all who have to do with it.

use crate::desks::{Filed, Shown, Told};
use crate::house::{self, SCREEN, WATCH};
use crate::lists::ListPost;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use worksite::prelude::*;

/// What stands on a mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heading {
    /// The mail's number, from 0 in the order of the file.
    pub mail: u32,
    pub writer: i64,
    pub list: Option<usize>,
    pub thread: usize,
    pub bytes: u64,
    pub subject: String,
}

/// What lies in the clerk's inbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Letter {
    /// How many mails there are to be, and from how many bytes on one is to be looked at first.
    Opening {
        mails: usize,
        large: u64,
    },
    Mail(Heading),
    /// Somebody has looked at this large mail, and it is well.
    Inspected {
        mail: u32,
    },
}
impl Durable for Letter {
    const TYPE: &'static str = "letter";
}

/// What the clerk remembers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    pub mails: usize,
    large: u64,
    pub filed: usize,
    /// The mail after the last one filed in order.
    pub next: u32,
    pub writers: BTreeSet<i64>,
    inspected: BTreeSet<u32>,
    /// Large mails, filed after they were looked at.
    pub redriven: BTreeSet<u32>,
}
impl Durable for Journal {
    const TYPE: &'static str = "journal";
}

/// Files mails.
pub struct File;

impl Routine for File {
    const NAME: &'static str = "file";
    type State = Journal;
    type Message = Letter;

    fn perform(&self, turn: &mut Turn<Journal>, letter: Letter) -> Ended {
        match letter {
            Letter::Opening { mails, large } => (turn.state.mails, turn.state.large) = (mails, large),
            Letter::Inspected { mail } => drop(turn.state.inspected.insert(mail)),
            Letter::Mail(heading) => return file(turn, heading),
        }
        Ok(Outcome::Done)
    }
}

fn file(turn: &mut Turn<Journal>, heading: Heading) -> Ended {
    let Heading { mail, writer, bytes, thread, .. } = heading;
    let journal = &mut turn.state;
    if bytes >= journal.large {
        if !journal.inspected.contains(&mail) {
            return Ok(Outcome::Reject(format!("{bytes} bytes are to be looked at first")));
        }
        journal.redriven.insert(mail);
    }
    journal.filed += 1;
    journal.next = journal.next.max(mail + 1);
    journal.writers.insert(writer);
    let urgent = is_urgent(&heading.subject);
    let lane = if urgent { Priority::Urgent } else { Priority::Normal };
    turn.send(Draft::to(house::archive(thread), &Filed { mail, thread })?.kind("filed"));
    turn.send(Draft::to(WATCH, &Told { mail, urgent })?.kind("told").priority(lane));
    turn.send(Draft::to(SCREEN, &Shown { mail, subject: heading.subject.clone() })?.kind("shown"));
    if let Some(list) = heading.list {
        let to_list = Draft::to(house::list(list), &ListPost::Mail(heading))?;
        turn.send(to_list.from(writer).kind("mail to list").channel("email").thread(thread_name(thread)));
    }
    Ok(Outcome::Done)
}

/// The conversation's name in the house.
pub fn thread_name(thread: usize) -> String {
    format!("thread {thread}")
}

/// Whether a subject cries.
pub fn is_urgent(subject: &str) -> bool {
    let subject = subject.to_lowercase();
    ["urgent", "alert", "warning", "security", "problem", "help"].iter().any(|word| subject.contains(word))
}
