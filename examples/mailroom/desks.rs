//! Owns the other desks: the archive keeps threads, the watch reads urgent mail first, the screen shows subjects.

use crate::house::fold;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use worksite::prelude::*;

/// Tells the archive which thread a mail belongs to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Filed {
    pub mail: u32,
    pub thread: usize,
}
impl Durable for Filed {
    const TYPE: &'static str = "filed";
}

/// How many mails each thread has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shelf(pub BTreeMap<usize, usize>);
impl Durable for Shelf {
    const TYPE: &'static str = "shelf";
}

/// Keeps threads.
pub struct Archive;

impl Routine for Archive {
    const NAME: &'static str = "archive";
    type State = Shelf;
    type Message = Filed;

    fn perform(&self, turn: &mut Turn<Shelf>, filed: Filed) -> Ended {
        *turn.state.0.entry(filed.thread).or_default() += 1;
        Ok(Outcome::Done)
    }
}

/// Tells the watch of a mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Told {
    pub mail: u32,
    pub urgent: bool,
}
impl Durable for Told {
    const TYPE: &'static str = "told";
}

/// What the watch remembers of the order in which it read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    pub mails: usize,
    /// Urgent ones that were read before any other.
    pub urgent_first: usize,
    pub order: u64,
}
impl Durable for Watched {
    const TYPE: &'static str = "watched";
}

impl Watched {
    pub fn read(&mut self, mail: u32, urgent: bool) {
        if urgent && self.mails == self.urgent_first {
            self.urgent_first += 1;
        }
        self.mails += 1;
        self.order = fold(self.order, mail);
    }
}

/// Reads whatever waits, the most urgent first.
pub struct Watch;

impl Routine for Watch {
    const NAME: &'static str = "watch";
    type State = Watched;
    type Message = Told;

    fn perform(&self, turn: &mut Turn<Watched>, Told { mail, urgent }: Told) -> Ended {
        turn.state.read(mail, urgent);
        Ok(Outcome::Done)
    }
}

/// What the screen shows of a mail. No routine takes it: the application looks at the screen's inbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shown {
    pub mail: u32,
    pub subject: String,
}
impl Durable for Shown {
    const TYPE: &'static str = "shown";
}
