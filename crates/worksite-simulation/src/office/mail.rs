//! What colleagues write to each other: [`Mail`], with a name ([`MailId`]) that follows from who wrote it in which tick,
//! and so does not depend on the order in which workers took their turns.

use serde::{Deserialize, Serialize};
use std::fmt;
use worksite_model::{Durable, Encoding};

/// The name of a mail: in which tick it was written, by whom, and which of theirs it was. The office writes as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MailId {
    /// The tick in which it was written.
    pub tick: u64,
    /// Who wrote it.
    pub from: i64,
    /// Which of theirs in that tick, from 0.
    pub place: u32,
}

impl fmt::Display for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}.{}.{}", self.tick, self.from, self.place)
    }
}

impl std::str::FromStr for MailId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.trim().trim_matches(['[', ']']).strip_prefix('m').ok_or(())?.split('.');
        let mut part = || parts.next().ok_or(());
        let id = Self {
            tick: part()?.parse().map_err(drop)?,
            from: part()?.parse().map_err(drop)?,
            place: part()?.parse().map_err(drop)?,
        };
        if parts.next().is_some() { Err(()) } else { Ok(id) }
    }
}

/// How a mail goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// By e-mail.
    Email,
    /// In a chat.
    Chat,
    /// From the office itself.
    System,
}

impl Channel {
    /// Its name in the house.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Chat => "chat",
            Self::System => "system",
        }
    }
}

/// What kind of mail it is. An acknowledgement is never acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MailKind {
    /// Something somebody says.
    Message,
    /// It has been seen, and will be dealt with.
    Acknowledgement,
    /// Something has happened.
    Event,
}

/// A mail on its way to one colleague; one with several recipients is one mail to each of them, under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// Its name.
    pub id: MailId,
    /// The tick in which it is there.
    pub lands: u64,
    /// The name of who wrote it.
    pub from_name: String,
    /// All whom it is for.
    pub to: Vec<i64>,
    /// All who get a copy.
    pub cc: Vec<i64>,
    /// The room it was said in, when it was said to a group.
    pub room: Option<String>,
    /// How it goes.
    pub channel: Channel,
    /// What kind it is.
    pub kind: MailKind,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub body: String,
    /// What is to be done.
    pub action_item: Option<String>,
    /// Whether it is to be seen at once.
    pub is_urgent: bool,
    /// The conversation it belongs to.
    pub thread: String,
    /// What it answers.
    pub answers: Option<MailId>,
    /// How many of its conversation came before it.
    pub depth: u32,
}

impl Durable for Mail {
    const TYPE: &'static str = "office mail";
    const ENCODING: Encoding = Encoding::Json;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mails_name_is_read_back() {
        let id = MailId { tick: 12, from: 3, place: 0 };
        assert_eq!(id.to_string(), "m12.3.0");
        assert_eq!("[m12.3.0]".parse(), Ok(id));
        for wrong in ["", "m1.2", "m1.2.3.4", "1.2.3", "mx.2.3"] {
            assert!(wrong.parse::<MailId>().is_err(), "{wrong}");
        }
    }
}
