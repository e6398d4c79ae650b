//! The rules own a plan that costs nothing: a function of the question. They answer mail as the person's habits say, and
//! begin conversations in the morning.

use super::{Planner, PlannerError};
use crate::office::{Answer, Mail, MailKind, Question};
use std::time::Duration;
use worksite_model::chance;

/// Plans by rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct RulesPlanner;

/// A conversation ends after so many answers, whatever habits say.
const DEPTH_MAX: u32 = 12;

impl Planner for RulesPlanner {
    fn name(&self) -> &str {
        "rules"
    }

    fn plan(&self, question: &Question, _time: Duration) -> Result<Answer, PlannerError> {
        Ok(Answer::free(Self::answer(question)))
    }

    fn is_quick(&self) -> bool {
        true
    }
}

impl RulesPlanner {
    fn answer(question: &Question) -> String {
        let mut lines: Vec<String> =
            question.mail.iter().enumerate().flat_map(|(place, mail)| answers(question, place, mail)).collect();
        if question.is_first_of_day {
            lines.extend(begin(question));
        }
        lines.join("\n")
    }
}

/// A number for this purpose.
fn roll(question: &Question, purpose: i64, place: usize) -> u64 {
    chance(question.chance, &[purpose, place as i64])
}

fn pick<'a>(texts: &[&'a str], chance: u64) -> &'a str {
    texts[(chance % texts.len() as u64) as usize]
}

fn answers(question: &Question, place: usize, mail: &Mail) -> Vec<String> {
    // The office hears no answers; what it asks for is passed on instead.
    if mail.id.from < 1 {
        return pass_on(question, place, mail);
    }
    if mail.kind == MailKind::Acknowledgement || mail.depth >= DEPTH_MAX {
        return Vec::new();
    }
    // A copy needs no answer, and a word to everybody seldom does.
    let is_meant = mail.to.contains(&question.person);
    let share = u64::from(question.habits.answers_per_mille) / if mail.to.len() > 2 { 4 } else { 1 };
    let mut lines = Vec::new();
    if mail.action_item.is_some() || mail.is_urgent {
        lines.push(format!("Ack [{}]", mail.id));
    }
    if is_meant && roll(question, 1, place) % 1_000 < share {
        let delay = question.habits.answer_delay(roll(question, 2, place));
        let said = pick(&ANSWERS, roll(question, 3, place));
        lines.push(format!("Reply in {delay} to [{}]: {said}", mail.id));
    }
    lines
}

/// What happened is passed on to who should know.
fn pass_on(question: &Question, place: usize, mail: &Mail) -> Vec<String> {
    let Some(item) = &mail.action_item else { return Vec::new() };
    let Some(other) = question.suggested_copies.first() else { return Vec::new() };
    if roll(question, 4, place).is_multiple_of(2) {
        return vec![format!("Chat now with {other}: {item}")];
    }
    vec![format!("Email in {} to {other}: {} | {item}", 1 + roll(question, 5, place) % 20, mail.subject)]
}

/// How many conversations are begun: a whole number near the habit, by chance.
fn begin(question: &Question) -> Vec<String> {
    let habit = u64::from(question.habits.begins_per_mille);
    // From none to twice the habit, so that days differ.
    let thousandths = roll(question, 6, 0) % (2 * habit + 1);
    let count = (thousandths / 1_000 + u64::from(roll(question, 7, 0) % 1_000 < thousandths % 1_000)) as usize;
    (0..count).filter_map(|place| conversation(question, place)).collect()
}

fn conversation(question: &Question, place: usize) -> Option<String> {
    // Mostly within the team.
    let team = question.colleagues.iter().filter(|[_, _, team]| *team == question.team);
    let team: Vec<&str> = team.map(|[handle, _, _]| handle.as_str()).collect();
    let all: Vec<&str> = question.colleagues.iter().map(|[handle, _, _]| handle.as_str()).collect();
    let others = if team.is_empty() || roll(question, 8, place).is_multiple_of(4) { all } else { team };
    if others.is_empty() {
        return None;
    }
    let other = pick(&others, roll(question, 9, place));
    let wait = 1 + roll(question, 10, place) % question.ticks_left.max(1);
    let topic = pick(&TOPICS, roll(question, 11, place));
    if roll(question, 12, place) % 1_000 < u64::from(question.habits.chats_per_mille) {
        let whom = if roll(question, 13, place).is_multiple_of(10) { "team" } else { other };
        return Some(format!("Chat in {wait} with {whom}: Shall we talk about {topic}?"));
    }
    let copy = question.suggested_copies.iter().find(|copy| *copy != other);
    let copy = copy
        .filter(|_| roll(question, 14, place).is_multiple_of(5))
        .map(|copy| format!(" cc {copy}"))
        .unwrap_or_default();
    let said = pick(&OPENINGS, roll(question, 15, place));
    Some(format!("Email in {wait} to {other}{copy}: About {topic} | {said}"))
}

const ANSWERS: [&str; 6] = [
    "Agreed, go on like that.",
    "I need a day for it.",
    "Who decides that?",
    "Done, have a look.",
    "Let us talk tomorrow morning.",
    "The figures say otherwise, see the report.",
];
const TOPICS: [&str; 8] = [
    "the release",
    "the budget",
    "the new printer",
    "the client's questions",
    "the test results",
    "the office party",
    "the migration",
    "the holiday plan",
];
const OPENINGS: [&str; 4] = [
    "How far are you?",
    "I have put a draft on the shelf, what do you think?",
    "We should decide this week.",
    "Could you take that over?",
];
