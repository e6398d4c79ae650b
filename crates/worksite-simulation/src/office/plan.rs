//! What a planner is asked ([`Question`]), what it says ([`Answer`]), and how the lines of its plan are read ([`PlanLine`]).

use super::{Almanac, Channel, Mail, MailId, parse_minute};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// All that a planner is told. Its hash names the answer: the same question is asked once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Who plans.
    pub person: i64,
    /// Their name.
    pub name: String,
    /// What they do.
    pub role: String,
    /// Whom they work with.
    pub team: String,
    /// How they correspond.
    pub habits: super::Habits,
    /// Now.
    pub tick: u64,
    /// Now, as people write it.
    pub clock: String,
    /// How many ticks of this day are left.
    pub ticks_left: u64,
    /// Whether this is their first plan of the day.
    pub is_first_of_day: bool,
    /// What has come.
    pub mail: Vec<Mail>,
    /// What has happened means this.
    pub adjustments: Vec<String>,
    /// The others: handle, role, team.
    pub colleagues: Vec<[String; 3]>,
    /// Who may want a copy: the head and somebody of the same team, by handle.
    pub suggested_copies: Vec<String>,
    /// How many messages they have sent today.
    pub sent_today: u32,
    /// A number from the seed, the person and the tick: all the chance a planner needs.
    pub chance: u64,
}

impl Question {
    /// The question's hash, SHA-256 in hexadecimal.
    pub fn hash(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        hex(&Sha256::digest(text))
    }

    /// The question as a person, or a model, reads it.
    pub fn prompt(&self) -> String {
        let mut lines = vec![format!(
            "You are {}, {} in the team {}. It is {}, and {} minutes of the day are left.",
            self.name, self.role, self.team, self.clock, self.ticks_left
        )];
        let others: Vec<_> =
            self.colleagues.iter().map(|[handle, role, team]| format!("{handle} ({role}, {team})")).collect();
        lines.push(format!("Colleagues: {}.", others.join("; ")));
        lines.extend(self.adjustments.iter().map(|adjustment| format!("To do: {adjustment}")));
        for mail in &self.mail {
            lines.push(format!("[{}] from {}: {} | {}", mail.id, mail.from_name, mail.subject, mail.body));
        }
        lines.push(HOW_TO_ANSWER.into());
        lines.join("\n")
    }
}

/// What a planner is told about its answer.
const HOW_TO_ANSWER: &str = "Answer with lines of these forms only, or with none:\n\
    Email at HH:MM to NAME [cc NAME] [bcc NAME]: SUBJECT | BODY\n\
    Reply at HH:MM to [ID]: BODY\n\
    Ack [ID]\n\
    Chat at HH:MM with NAME, team or everyone: TEXT\n\
    In place of `at HH:MM` you may write `now`, or `in N` for so many minutes from now.";

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a planner said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The plan, line by line.
    pub plan: String,
    /// What it cost, in millionths of the currency.
    #[serde(default)]
    pub cost_micros: i64,
    /// How many tokens were read.
    #[serde(default)]
    pub tokens_in: u64,
    /// How many tokens were written.
    #[serde(default)]
    pub tokens_out: u64,
}

impl Answer {
    /// An answer that cost nothing.
    pub fn free(plan: impl Into<String>) -> Self {
        Self { plan: plan.into(), ..Self::default() }
    }
}

/// When a line is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    In(u64),
    At(u32),
}

/// A line of a plan that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLine {
    /// In which tick it is to be there.
    pub lands: u64,
    /// How it goes.
    pub channel: Channel,
    /// What it answers.
    pub answers: Option<MailId>,
    /// Whether it is an acknowledgement.
    pub is_acknowledgement: bool,
    /// Whom it is for, as written.
    pub to: Vec<String>,
    /// Who gets a copy, as written.
    pub cc: Vec<String>,
    /// Who gets a copy that nobody sees, as written.
    pub bcc: Vec<String>,
    /// What it is about; empty in a chat.
    pub subject: String,
    /// What it says.
    pub body: String,
}

/// Reads a plan: the lines that could be read, and why others were left out. A line that is no command is left out without
/// a word: planners like to talk.
pub fn read_plan(plan: &str, almanac: &Almanac, now: u64) -> (Vec<PlanLine>, Vec<String>) {
    let (mut read, mut refused) = (Vec::new(), Vec::new());
    for line in plan.lines().take(PLAN_LINES_MAX) {
        match read_line(line.trim().trim_start_matches(['-', '*', ' ']), almanac, now) {
            Some(Ok(line)) => read.push(line),
            Some(Err(why)) => refused.push(format!("{}: {why}", line.trim())),
            None => {}
        }
    }
    (read, refused)
}

/// Lines of a plan that are looked at: a planner that goes on for ever is not listened to for ever.
pub const PLAN_LINES_MAX: usize = 200;

fn read_line(line: &str, almanac: &Almanac, now: u64) -> Option<Result<PlanLine, String>> {
    let (command, rest) = line.split_once(' ')?;
    let command = command.to_lowercase();
    if command == "ack" {
        return Some(acknowledgement(rest, now));
    }
    let channel = match command.as_str() {
        "email" | "reply" => Channel::Email,
        "chat" => Channel::Chat,
        _ => return None,
    };
    let (when, rest) = read_when(rest)?;
    let lands = match lands(when, almanac, now) {
        Ok(lands) => lands,
        Err(why) => return Some(Err(why)),
    };
    let rest = rest.trim_start();
    let (word, rest) = rest.split_once(' ')?;
    if !matches!(word, "to" | "with") {
        return None;
    }
    // A mail's name has no colon, and neither has anybody's.
    let (whom, said) = rest.split_once(':')?;
    let empty = PlanLine {
        lands,
        channel,
        answers: None,
        is_acknowledgement: false,
        to: vec![],
        cc: vec![],
        bcc: vec![],
        subject: String::new(),
        body: String::new(),
    };
    let (subject, body) = match said.split_once('|') {
        Some((subject, body)) if channel == Channel::Email => (subject.trim(), body.trim()),
        _ => ("", said.trim()),
    };
    let said = PlanLine { subject: subject.into(), body: body.into(), ..empty };
    if command == "reply" {
        let Ok(id) = whom.parse() else { return Some(Err("it names no mail".into())) };
        return Some(Ok(PlanLine { answers: Some(id), ..said }));
    }
    let [to, cc, bcc] = read_people(whom);
    if to.is_empty() {
        return Some(Err("it is for nobody".into()));
    }
    Some(Ok(PlanLine { to, cc, bcc, ..said }))
}

fn acknowledgement(rest: &str, now: u64) -> Result<PlanLine, String> {
    let id = rest.parse().map_err(|()| "it names no mail".to_string())?;
    Ok(PlanLine {
        lands: now + 1,
        channel: Channel::Chat,
        answers: Some(id),
        is_acknowledgement: true,
        to: vec![],
        cc: vec![],
        bcc: vec![],
        subject: String::new(),
        body: "Seen, I will look into it.".into(),
    })
}

fn read_when(rest: &str) -> Option<(When, &str)> {
    let (word, rest) = rest.trim_start().split_once(' ')?;
    match word.to_lowercase().as_str() {
        "now" => Some((When::Now, rest)),
        "in" => {
            let (number, rest) = rest.trim_start().split_once(' ')?;
            Some((When::In(number.parse().ok()?), rest))
        }
        "at" => {
            let (time, rest) = rest.trim_start().split_once(' ')?;
            Some((When::At(parse_minute(time).ok()?), rest))
        }
        _ => None,
    }
}

/// Nothing lands in the tick in which it is written: that is the barrier between ticks.
fn lands(when: When, almanac: &Almanac, now: u64) -> Result<u64, String> {
    match when {
        When::Now => Ok(now + 1),
        When::In(ticks) if ticks > AHEAD_MAX => Err("that is too far ahead".into()),
        When::In(ticks) => Ok(now + ticks.max(1)),
        When::At(minute) => match almanac.tick_at(now, minute) {
            Some(tick) if tick > now => Ok(tick),
            Some(_) => Err("that time has passed".into()),
            None => Err("the office is closed then".into()),
        },
    }
}

/// How many ticks ahead anything may be sent: about two months of office days.
pub const AHEAD_MAX: u64 = 20_000;

/// Reads `a, b cc c bcc d, e`.
fn read_people(text: &str) -> [Vec<String>; 3] {
    let mut people: [Vec<String>; 3] = Default::default();
    let mut place = 0;
    let mut name = String::new();
    let mut end = |name: &mut String, place: usize| {
        for part in name.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()) {
            people[place].push(part.to_string());
        }
        name.clear();
    };
    for word in text.split_whitespace() {
        match word.to_lowercase().as_str() {
            "cc" => {
                end(&mut name, place);
                place = 1;
            }
            "bcc" => {
                end(&mut name, place);
                place = 2;
            }
            _ => {
                name.push_str(word);
                name.push(' ');
            }
        }
    }
    end(&mut name, place);
    people
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::office::Calendar;

    fn read(plan: &str, now: u64) -> (Vec<PlanLine>, Vec<String>) {
        read_plan(plan, &Almanac::of(&Calendar::default()).unwrap(), now)
    }

    #[test]
    fn every_form_is_read() {
        let plan = "Here is my plan.\n\
            Email at 10:30 to ada cc Grace Hopper, bob bcc eve: The plan | It is done: all of it.\n\
            - Reply at 11:00 to [m3.2.0]: Thank you | Really.\n\
            Chat now with team: Tea: anybody?\n\
            Ack [m3.2.0]\n\
            Reply in 90 to m3.2.0: later";
        let (lines, refused) = read(plan, 0);
        assert_eq!((lines.len(), refused.len()), (5, 0));
        assert_eq!(lines[0].lands, 90);
        assert_eq!(
            (lines[0].to.as_slice(), lines[0].bcc.as_slice()),
            (&["ada".to_string()][..], &["eve".to_string()][..])
        );
        assert_eq!(lines[0].cc, ["Grace Hopper", "bob"]);
        assert_eq!((lines[0].subject.as_str(), lines[0].body.as_str()), ("The plan", "It is done: all of it."));
        assert_eq!(lines[1].answers, Some(MailId { tick: 3, from: 2, place: 0 }));
        assert_eq!((lines[2].lands, lines[2].body.as_str()), (1, "Tea: anybody?"));
        assert!(lines[3].is_acknowledgement && lines[3].lands == 1);
        assert_eq!(lines[4].lands, 90);
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_its_reason() {
        let (lines, refused) = read(
            "Email at 09:10 to ada: a | b\nChat at 20:00 with ada: late\nReply now to [ada]: no\nEmail now to cc ada: a | b\n\
             Email in 99999999 to ada: a | b",
            30,
        );
        assert_eq!(lines, []);
        let reasons = ["has passed", "is closed", "names no mail", "for nobody", "too far"];
        for (refused, reason) in refused.iter().zip(reasons) {
            assert!(refused.contains(reason), "{refused}");
        }
        assert_eq!(refused.len(), reasons.len());
    }

    #[test]
    fn talk_is_left_out() {
        for talk in ["", "I will email ada.", "Email ada", "Email at noon to ada: x | y", "Chat", "Chat now: x"] {
            assert_eq!(read(talk, 0), (vec![], vec![]), "{talk}");
        }
    }
}
