//! Owns mailing lists and their members: a list sends a copy of each mail to every member, all in one commit.

use crate::clerk::{Heading, thread_name};
use crate::house::fold;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use worksite::prelude::*;

/// What lies in a list's inbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ListPost {
    Members(Vec<i64>),
    Mail(Heading),
}
impl Durable for ListPost {
    const TYPE: &'static str = "list post";
}

/// What a list remembers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MailingList {
    members: Vec<i64>,
    mails: u64,
}
impl Durable for MailingList {
    const TYPE: &'static str = "mailing list";
}

/// Sends what a list gets to its members.
pub struct Spread;

impl Routine for Spread {
    const NAME: &'static str = "spread";
    type State = MailingList;
    type Message = ListPost;

    fn perform(&self, turn: &mut Turn<MailingList>, post: ListPost) -> Ended {
        let heading = match post {
            ListPost::Members(members) => {
                turn.state.members = members;
                return Ok(Outcome::Done);
            }
            ListPost::Mail(heading) => heading,
        };
        turn.state.mails += 1;
        let copy = Copy { list: turn.person().0, mail: heading.mail, subject: heading.subject };
        // Encoded once, however many members there are.
        let (payload, thread) = (Payload::encode(&copy)?, thread_name(heading.thread));
        for member in turn.state.members.clone() {
            let draft = Draft::of(member, payload.clone()).kind("copy").channel("email");
            turn.send(draft.thread(thread.clone()));
        }
        Ok(Outcome::Done)
    }
}

/// A mail as a member gets it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Copy {
    list: i64,
    mail: u32,
    subject: String,
}
impl Durable for Copy {
    const TYPE: &'static str = "copy";
}

/// What somebody read of one list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Read {
    pub copies: u64,
    /// Tells the order in which they came.
    pub order: u64,
}

impl Read {
    pub fn add(&mut self, mail: u32) {
        self.copies += 1;
        self.order = fold(self.order, mail);
    }
}

/// What a member remembers: what was read, by list. Lists overtake each other, so each has an order of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Folders(pub BTreeMap<i64, Read>);
impl Durable for Folders {
    const TYPE: &'static str = "folders";
}

/// Reads what the lists send.
pub struct Browse;

impl Routine for Browse {
    const NAME: &'static str = "browse";
    type State = Folders;
    type Message = Copy;

    fn perform(&self, turn: &mut Turn<Folders>, copy: Copy) -> Ended {
        turn.state.0.entry(copy.list).or_default().add(copy.mail);
        Ok(Outcome::Done)
    }
}
