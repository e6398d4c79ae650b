//! Owns the drive: it hands the lines to the site in order, keeps the roster equal to who is about, and resumes.
//!
//! Each line becomes two envelopes in one change: the message for its target, and a copy for the worker of its sender
//! (his sent folder). Ids are given in the order of lines, so each worker sees its own in the order of lines, whatever
//! the speed; hence its state, and the digest of all states, depend on the input alone. All lines of a minute are one
//! change: after a crash the file holds a whole number of minutes, and its tally says how many lines those are.

use crate::correspondence::Post;
use crate::data::Line;
use crate::program::Done;
use std::collections::{BTreeMap, VecDeque};
use worksite::prelude::*;

/// How many minutes may be on their way to the disk at once.
const MINUTES_IN_FLIGHT: usize = 256;

/// The lines to replay, and who is about when.
pub struct Replay<'a> {
    lines: &'a [Line],
    /// Each person's first line, and the day of the last.
    stays: BTreeMap<i64, (usize, i64)>,
}

impl<'a> Replay<'a> {
    pub fn of(lines: &'a [Line]) -> Self {
        let mut stays = BTreeMap::new();
        for (index, line) in lines.iter().enumerate() {
            for person in [line.source, line.target] {
                stays.entry(person).or_insert((index, 0)).1 = line.day();
            }
        }
        Self { lines, stays }
    }

    /// Everybody who ever occurs.
    pub fn people(&self) -> impl Iterator<Item = i64> {
        self.stays.keys().copied()
    }

    /// Who has joined before this line, and not left before this day.
    fn about(&self, before: usize, day: i64) -> impl Iterator<Item = Person> {
        let about = self.stays.iter().filter(move |(_, (first, last))| *first < before && *last >= day);
        about.map(|(person, _)| Person::new(*person, format!("student {person}")))
    }

    /// Sends what the site does not have yet, from line `next` on; `acknowledged` hears how many lines are durable, and in
    /// which minute.
    pub async fn run(&self, site: &Worksite, mut next: usize, mut acknowledged: impl FnMut(usize, i64)) -> Done<()> {
        let mut in_flight = VecDeque::new();
        while next < self.lines.len() {
            let minute = self.lines[next].minute;
            let end = next + self.lines[next..].partition_point(|line| line.minute == minute);
            let day = self.lines[next].day();
            if self.lines[next..end].iter().any(|line| self.joins(line, next)) || site.roster().is_empty() {
                site.sync(self.about(end, day)).await?;
            }
            let drafts = self.lines[next..end].iter().map(drafts).collect::<Result<Vec<_>, _>>()?;
            // Handed over now, in this order; only the answer is waited for later.
            in_flight.push_back((end, minute, site.send_all(drafts.concat())));
            next = end;
            let day_ends = self.lines.get(next).is_none_or(|line| line.day() != day);
            let keep = if day_ends { 0 } else { MINUTES_IN_FLIGHT };
            while in_flight.len() > keep
                && let Some((lines, minute, receipts)) = in_flight.pop_front()
            {
                receipts.await?;
                acknowledged(lines, minute);
            }
            if day_ends {
                site.quiesce().await?;
                site.sync(self.about(next, day + 1)).await?;
            }
        }
        // A site that was killed at the very end may have mail left to settle.
        site.quiesce().await?;
        site.sync([]).await?;
        Ok(())
    }

    /// Whether somebody of this line is first seen in the minute that begins with line `start`.
    fn joins(&self, line: &Line, start: usize) -> bool {
        [line.source, line.target].iter().any(|person| self.stays[person].0 >= start)
    }
}

fn drafts(line: &Line) -> Result<Vec<Draft>, worksite::model::PayloadError> {
    let Line { source, target, minute } = *line;
    Ok(vec![
        Draft::to(target, &Post::Received { from: source, minute })?.from(source).kind("mail"),
        Draft::to(source, &Post::Sent { to: target, minute })?.from(source).kind("sent"),
    ])
}
