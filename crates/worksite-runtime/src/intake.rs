//! The intake owns what waits for the writer: changes in the order in which they were handed over, and the ids that
//! their drafts get. It is shared by everybody who proposes; the writer takes all of it at once.
//!
//! **Ahead of the disk.** A draft for a pure routine goes to its worker from here, while it is being written (ruling 6). What
//! the worker makes of it comes back here, behind it, and mostly into the same group: then the envelope is never written. If
//! it is not accepted after all, the worker is told, and what it made of it is refused, because that envelope does not wait.

use crate::persistence::Answer;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use worksite_model::{Change, Envelope, EnvelopeId, Numbering, Timestamp};

/// Changes that wait for the writer.
pub(crate) struct Intake {
    line: Mutex<Line>,
    /// Told when the last of those that went ahead has come back, if the writer waits for it.
    back: Condvar,
}

/// What has queued behind the last commit. Changes and answers apart, because the store is given the changes alone.
struct Line {
    changes: Vec<Change>,
    answers: Vec<Handed>,
    /// What stands on a worker's memory, which a change on its way may take from it.
    held: Vec<(Change, Answer)>,
    /// Envelopes that go to their workers while they are being written.
    ahead: Vec<Arc<Envelope>>,
    /// How many of the envelopes that went ahead with these changes have not come back with a change of their worker.
    away: usize,
    /// Whether the writer waits for them.
    is_awaited: bool,
    /// The id of the last draft before these changes.
    before: i64,
    /// The id of the last draft that was taken in.
    last: i64,
    /// When that was.
    last_at: Timestamp,
    /// Whether the writer has gone: nothing is taken in any more.
    closed: bool,
}

/// Who waits for a change, and whether its drafts have gone ahead to their workers.
pub(crate) struct Handed {
    pub(crate) answer: Answer,
    pub(crate) ahead: bool,
}

impl Line {
    /// Counts what a worker has done with envelopes that went ahead with the changes that wait; says whether they were the
    /// last.
    fn come_back(&mut self, change: &Change) -> bool {
        if self.away == 0 {
            return false;
        }
        let done = change.settled.iter().map(|settlement| settlement.id());
        let done = done.chain(change.retried.iter().map(|retry| retry.id));
        let done = done.chain(change.buried.iter().map(|burial| burial.id()));
        self.away = self.away.saturating_sub(done.filter(|id| id.0 > self.before).count());
        self.away == 0
    }
}

/// What becomes of a change that is handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// It is written, and its drafts go to their workers then.
    Usual,
    /// Its drafts go to their workers while it is written.
    Ahead,
    /// It waits until it is known whether its author is still at its desk.
    Held,
}

/// Who is to be told that something waits at the intake.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wake {
    pub(crate) writer: bool,
    pub(crate) supervisor: bool,
}

impl Intake {
    /// An intake whose first id comes after this one, and whose moments of acceptance do not go back behind this one.
    pub(crate) fn new(last: EnvelopeId, last_at: Timestamp) -> Self {
        let (changes, answers, held, ahead) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (before, last) = (last.0, last.0);
        let line =
            Line { changes, answers, held, ahead, away: 0, is_awaited: false, before, last, last_at, closed: false };
        Self { line: Mutex::new(line), back: Condvar::new() }
    }

    /// Takes a change in, numbers its drafts, and asks `course` whether they go to their workers at once: in the order
    /// of ids, because nobody else is let in meanwhile. Says who is to be told. Once the writer has gone the answer is
    /// dropped, which is an answer too.
    pub(crate) fn push(
        &self,
        mut change: Change,
        answer: Answer,
        now: Timestamp,
        course: impl FnOnce(&Change) -> Course,
    ) -> Wake {
        let mut line = self.line();
        if line.closed {
            return Wake::default();
        }
        let course = course(&change);
        if course == Course::Held {
            line.held.push((change, answer));
            return Wake::default();
        }
        let ahead = course == Course::Ahead;
        let mut wake = Wake { writer: line.changes.is_empty(), supervisor: false };
        // To wake somebody is a system call, also when nobody waits.
        if line.come_back(&change) && line.is_awaited {
            self.back.notify_one();
        }
        if !change.drafts.is_empty() {
            // Moments of acceptance never go back: the order of ids is theirs.
            line.last_at = line.last_at.max(now);
            let numbering = Numbering { first: EnvelopeId(line.last + 1), at: line.last_at };
            change.numbering = Some(numbering);
            line.last += change.drafts.len() as i64;
            if ahead {
                wake.supervisor = line.ahead.is_empty();
                line.away += change.drafts.len();
                line.ahead.extend(change.drafts.iter().enumerate().map(|(place, draft)| {
                    let (id, accepted_at) = (numbering.id(place), numbering.at);
                    Arc::new(Envelope { id, accepted_at, draft: draft.clone() })
                }));
            }
        }
        line.changes.push(change);
        line.answers.push(Handed { answer, ahead });
        wake
    }

    /// Takes the envelopes that go to their workers while they are being written, in order of ids.
    pub(crate) fn take_ahead(&self) -> Vec<Arc<Envelope>> {
        std::mem::take(&mut self.line().ahead)
    }

    /// Takes what was held, in order.
    pub(crate) fn take_held(&self) -> Vec<(Change, Answer)> {
        std::mem::take(&mut self.line().held)
    }

    /// Takes all that waits, in order.
    pub(crate) fn take(&self) -> (Vec<Change>, Vec<Handed>) {
        let mut line = self.line();
        (line.away, line.before) = (0, line.last);
        // The next group will be about as large: nothing is moved while it grows.
        let room = line.changes.len();
        let changes = std::mem::replace(&mut line.changes, Vec::with_capacity(room));
        (changes, std::mem::replace(&mut line.answers, Vec::with_capacity(room)))
    }

    /// Whether something went ahead with the changes that wait now, and has not come back.
    pub(crate) fn is_anybody_away(&self) -> bool {
        self.line().away > 0
    }

    /// Blocks until all that went ahead has come back, at most so long.
    pub(crate) fn wait_for_all(&self, most: Duration) {
        let mut line = self.line();
        if line.away > 0 {
            line.is_awaited = true;
            let waited = self.back.wait_timeout_while(line, most, |line| line.away > 0);
            let (mut line, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            line.is_awaited = false;
        }
    }

    /// Takes nothing in any more; what waits is dropped.
    pub(crate) fn close(&self) {
        self.line().closed = true;
        drop((self.take(), self.take_held(), self.take_ahead()));
    }

    // A panic elsewhere leaves the line whole: pushing and taking are the only writes.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
