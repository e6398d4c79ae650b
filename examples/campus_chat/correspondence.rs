//! Owns what a worker of this example does: it keeps its person's correspondence.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use worksite::prelude::*;

/// What lies in an inbox: a message somebody wrote, or the copy of one that the person wrote.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Post {
    Received { from: i64, minute: i64 },
    Sent { to: i64, minute: i64 },
}
impl Durable for Post {
    const TYPE: &'static str = "post";
}

/// What a worker remembers of its person's correspondence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Correspondence {
    pub sent: u64,
    /// Messages received, by day since 1970.
    pub received: BTreeMap<i64, u64>,
    /// Everybody this person ever wrote to.
    pub written_to: BTreeSet<i64>,
    /// Who waits for an answer, since which minute.
    pub unanswered: BTreeMap<i64, i64>,
    /// How often an answer took so many minutes.
    pub reply_minutes: BTreeMap<u32, u32>,
}
impl Durable for Correspondence {
    const TYPE: &'static str = "correspondence";
}

/// Keeps a person's correspondence.
pub struct Correspond;

impl Routine for Correspond {
    const NAME: &'static str = "correspond";
    type State = Correspondence;
    type Message = Post;

    fn perform(&self, turn: &mut Turn<Correspondence>, post: Post) -> Ended {
        let person = turn.person().0;
        let state = &mut turn.state;
        match post {
            Post::Received { from, minute } => {
                *state.received.entry(minute.div_euclid(crate::data::DAY)).or_default() += 1;
                if from != person {
                    state.unanswered.entry(from).or_insert(minute);
                }
            }
            Post::Sent { to, minute } => {
                state.sent += 1;
                state.written_to.insert(to);
                // The first message back ends the turn, however many had come.
                if let Some(first) = state.unanswered.remove(&to) {
                    let delay = u32::try_from(minute - first)?;
                    *state.reply_minutes.entry(delay).or_default() += 1;
                }
            }
        }
        Ok(Outcome::Done)
    }
}
