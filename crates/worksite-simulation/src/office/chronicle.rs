//! The chronicle owns what happened in the office, line by line ([`OfficeEntry`]): written in the commit that makes it true, read
//! back from the log of facts as a [`Transcript`], whose order follows from ticks and people and from nothing else.

use super::plan::hex;
use super::{Answer, Charter, Counts, Happening, Input, Mail, MailId, OfficeError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use worksite_model::{Draft, Durable, Encoding, Ended, Outcome, PayloadError, Routine, Turn};

/// The worker who writes the chronicle.
pub const CHRONICLE: i64 = -1;

/// Something that entered the office, with its number and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRow {
    /// Its number, from 1.
    pub number: u64,
    /// The tick before which it entered.
    pub tick: u64,
    /// What it was.
    pub input: Input,
    /// What came of it, or why nothing did.
    pub result: Result<String, String>,
}

/// A planner's answer: what entered from there. It is named by its tick and person, so that it does not matter who answered
/// first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRow {
    /// In which tick.
    pub tick: u64,
    /// Whose plan it is.
    pub person: i64,
    /// The hash of the question.
    pub hash: String,
    /// Who answered.
    pub planner: String,
    /// What was answered.
    pub answer: Answer,
    /// How often it was asked.
    pub attempts: u32,
    /// Why the rules answered in its place.
    pub fallback: Option<String>,
    /// How long it took, in milliseconds. Two runs differ in it; the digest leaves it out.
    pub took_ms: u64,
    /// What was read.
    pub read: Vec<MailId>,
    /// What was sent.
    pub sent: Vec<MailId>,
    /// What went to addresses outside.
    pub outside: Vec<(String, MailId)>,
    /// Which lines were refused, and why.
    pub refused: Vec<String>,
}

/// What one colleague did on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DailyReport {
    /// Who.
    pub person: i64,
    /// On which day.
    pub day: u64,
    /// Its last tick.
    pub tick: u64,
    /// What was counted.
    pub counts: Counts,
    /// Mails that lay unread at its end.
    pub unread: u32,
}

/// A line of the chronicle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfficeEntry {
    /// The office was founded.
    Founded(Charter),
    /// Something entered.
    Input(InputRow),
    /// Something happened.
    Fired {
        /// In which tick.
        tick: u64,
        /// What.
        happening: Happening,
    },
    /// A mail came to somebody.
    Mail {
        /// To whom.
        to: i64,
        /// What came.
        mail: Mail,
    },
    /// A planner answered, and that was done.
    Answer(AnswerRow),
    /// A day ended for somebody.
    Report(DailyReport),
}

impl Durable for OfficeEntry {
    const TYPE: &'static str = "office entry";
    const ENCODING: Encoding = Encoding::Json;
}

impl OfficeEntry {
    pub(crate) fn draft(&self) -> Result<Draft, PayloadError> {
        Ok(Draft::to(CHRONICLE, self)?.kind("entry"))
    }

    /// In which tick it belongs.
    pub fn tick(&self) -> u64 {
        match self {
            Self::Founded(_) => 0,
            Self::Input(row) => row.tick,
            Self::Fired { tick, .. } => *tick,
            Self::Mail { mail, .. } => mail.lands,
            Self::Answer(row) => row.tick,
            Self::Report(report) => report.tick,
        }
    }

    /// Its place in a transcript: it follows from what it says, not from when it was committed.
    fn place(&self) -> (u64, u8, u64, i64, MailId) {
        let none = MailId { tick: 0, from: 0, place: 0 };
        match self {
            Self::Founded(_) => (0, 0, 0, 0, none),
            Self::Input(row) => (row.tick, 1, row.number, 0, none),
            Self::Fired { tick, happening } => (*tick, 2, happening.number, 0, none),
            Self::Mail { to, mail } => (mail.lands, 3, 0, *to, mail.id),
            Self::Answer(row) => (row.tick, 4, 0, row.person, none),
            Self::Report(report) => (report.tick, 5, 0, report.person, none),
        }
    }

    /// It without what two equal runs differ in.
    fn timeless(&self) -> Self {
        let mut entry = self.clone();
        match &mut entry {
            Self::Answer(row) => row.took_ms = 0,
            Self::Report(report) => report.counts.took_ms = 0,
            _ => {}
        }
        entry
    }

    /// It as a line of JSON.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Takes the lines of the chronicle; that each is settled puts it into the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChronicleRoutine;

impl Routine for ChronicleRoutine {
    const NAME: &'static str = "chronicle";
    type State = ();
    type Message = OfficeEntry;

    fn perform(&self, _turn: &mut Turn<()>, _entry: OfficeEntry) -> Ended {
        Ok(Outcome::Done)
    }
}

/// What happened in the office, in order of ticks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transcript {
    entries: Vec<OfficeEntry>,
}

impl Transcript {
    /// The transcript of these entries.
    pub fn new(mut entries: Vec<OfficeEntry>) -> Self {
        entries.sort_by_key(OfficeEntry::place);
        Self { entries }
    }

    /// Reads what [`Transcript::lines`] wrote.
    ///
    /// # Errors
    /// [`OfficeError::Line`].
    pub fn read(lines: &str) -> Result<Self, OfficeError> {
        let read = |(index, line): (usize, &str)| {
            serde_json::from_str(line)
                .map_err(|error| OfficeError::Line { line: index + 1, problem: error.to_string() })
        };
        let lines = lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        Ok(Self::new(lines.map(read).collect::<Result<_, _>>()?))
    }

    /// All entries.
    pub fn entries(&self) -> &[OfficeEntry] {
        &self.entries
    }

    /// The charter.
    pub fn charter(&self) -> Option<&Charter> {
        self.entries.iter().find_map(|entry| match entry {
            OfficeEntry::Founded(charter) => Some(charter),
            _ => None,
        })
    }

    /// What entered, in order.
    pub fn inputs(&self) -> impl Iterator<Item = &InputRow> {
        self.entries.iter().filter_map(|entry| match entry {
            OfficeEntry::Input(row) => Some(row),
            _ => None,
        })
    }

    /// What planners answered, in order.
    pub fn answers(&self) -> impl Iterator<Item = &AnswerRow> {
        self.entries.iter().filter_map(|entry| match entry {
            OfficeEntry::Answer(row) => Some(row),
            _ => None,
        })
    }

    /// The mail that came, with whom it came to, in order.
    pub fn mail(&self) -> impl Iterator<Item = (i64, &Mail)> {
        self.entries.iter().filter_map(|entry| match entry {
            OfficeEntry::Mail { to, mail } => Some((*to, mail)),
            _ => None,
        })
    }

    /// The daily reports, in order.
    pub fn reports(&self) -> impl Iterator<Item = &DailyReport> {
        self.entries.iter().filter_map(|entry| match entry {
            OfficeEntry::Report(report) => Some(report),
            _ => None,
        })
    }

    /// What happened before this tick.
    #[must_use]
    pub fn before(&self, tick: u64) -> Self {
        Self { entries: self.entries.iter().filter(|entry| entry.tick() < tick).cloned().collect() }
    }

    /// SHA-256 of all entries but for how long things took: equal runs have equal digests.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for entry in &self.entries {
            digest.update(entry.timeless().line());
            digest.update("\n");
        }
        hex(&digest.finalize())
    }

    /// The first tick at which two transcripts part; nothing when they are the same.
    pub fn parts_from(&self, other: &Self) -> Option<u64> {
        let by_tick = |transcript: &Self| {
            let mut ticks: BTreeMap<u64, Vec<String>> = BTreeMap::new();
            for entry in &transcript.entries {
                ticks.entry(entry.tick()).or_default().push(entry.timeless().line());
            }
            ticks
        };
        let (ours, theirs) = (by_tick(self), by_tick(other));
        ours.keys().chain(theirs.keys()).filter(|tick| ours.get(*tick) != theirs.get(*tick)).min().copied()
    }

    /// As JSON Lines.
    pub fn lines(&self) -> String {
        self.entries.iter().map(|entry| entry.line() + "\n").collect()
    }
}
