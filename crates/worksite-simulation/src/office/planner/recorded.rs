//! A recording owns answers under the hashes of their questions ([`AnswerBook`]): who plans by it asks nobody.

use super::{Planner, PlannerError};
use crate::office::{Answer, AnswerRow, OfficeError, Question, Transcript};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// An answer as it was once given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
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
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Recorded {
    fn of(row: &AnswerRow) -> Self {
        Self {
            hash: row.hash.clone(),
            planner: row.planner.clone(),
            answer: row.answer.clone(),
            attempts: row.attempts,
            fallback: row.fallback.clone(),
            took_ms: row.took_ms,
        }
    }
}

/// Answers under the hashes of their questions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerBook(BTreeMap<String, Recorded>);

impl AnswerBook {
    /// The answers of a run.
    pub fn of(transcript: &Transcript) -> Self {
        Self(transcript.answers().map(|row| (row.hash.clone(), Recorded::of(row))).collect())
    }

    /// Reads what [`AnswerBook::lines`] wrote.
    ///
    /// # Errors
    /// [`OfficeError::Line`].
    pub fn read(lines: &str) -> Result<Self, OfficeError> {
        let mut book = Self::default();
        for (index, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let recorded: Recorded = serde_json::from_str(line)
                .map_err(|error| OfficeError::Line { line: index + 1, problem: error.to_string() })?;
            book.0.insert(recorded.hash.clone(), recorded);
        }
        Ok(book)
    }

    /// As JSON Lines, in order of hashes.
    pub fn lines(&self) -> String {
        self.0.values().map(|recorded| serde_json::to_string(recorded).unwrap_or_default() + "\n").collect()
    }

    /// What was answered to this question.
    pub fn get(&self, hash: &str) -> Option<&Recorded> {
        self.0.get(hash)
    }

    /// How many answers there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no answer.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Plans by a recording, and knows nothing else.
#[derive(Debug, Clone, Default)]
pub struct RecordedPlanner(pub AnswerBook);

impl Planner for RecordedPlanner {
    fn name(&self) -> &str {
        "recorded"
    }

    fn plan(&self, question: &Question, _time: Duration) -> Result<Answer, PlannerError> {
        let hash = question.hash();
        self.0.get(&hash).map(|recorded| recorded.answer.clone()).ok_or(PlannerError::NotRecorded(hash))
    }

    fn is_quick(&self) -> bool {
        true
    }
}
