//! The intake owns what waits for the writer: changes in the order in which they were handed over, and the ids that
//! their drafts get. It is shared by everybody who proposes; the writer takes all of it at once.

use crate::persistence::Answer;
use std::sync::{Mutex, MutexGuard, PoisonError};
use worksite_model::{Change, EnvelopeId, Numbering, Timestamp};

/// Changes that wait for the writer.
pub(crate) struct Intake(Mutex<Line>);

/// What has queued behind the last commit. Changes and answers apart, because the store is given the changes alone.
struct Line {
    changes: Vec<Change>,
    answers: Vec<Answer>,
    /// The id of the last draft that was taken in.
    last: i64,
    /// When that was.
    last_at: Timestamp,
    /// Whether the writer has gone: nothing is taken in any more.
    closed: bool,
}

impl Intake {
    /// An intake whose first id comes after this one.
    pub(crate) fn new(last: EnvelopeId) -> Self {
        let (changes, answers) = (Vec::new(), Vec::new());
        let last_at = Timestamp::from_micros(i64::MIN);
        Self(Mutex::new(Line { changes, answers, last: last.0, last_at, closed: false }))
    }

    /// Takes a change in, and numbers its drafts. Says whether the writer is to be told that something waits. Once the
    /// writer has gone the answer is dropped, which is an answer too.
    pub(crate) fn push(&self, mut change: Change, answer: Answer, now: Timestamp) -> bool {
        let mut line = self.line();
        if line.closed {
            return false;
        }
        if !change.drafts.is_empty() {
            // Moments of acceptance never go back: the order of ids is theirs.
            line.last_at = line.last_at.max(now);
            change.numbering = Some(Numbering { first: EnvelopeId(line.last + 1), at: line.last_at });
            line.last += change.drafts.len() as i64;
        }
        line.changes.push(change);
        line.answers.push(answer);
        line.changes.len() == 1
    }

    /// Takes all that waits, in order.
    pub(crate) fn take(&self) -> (Vec<Change>, Vec<Answer>) {
        let mut line = self.line();
        (std::mem::take(&mut line.changes), std::mem::take(&mut line.answers))
    }

    /// Takes nothing in any more; what waits is dropped.
    pub(crate) fn close(&self) {
        self.line().closed = true;
        drop(self.take());
    }

    // A panic elsewhere leaves the line whole: pushing and taking are the only writes.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
