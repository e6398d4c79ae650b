//! A desk owns what one colleague has before them: mail that has come and not been read ([`Desk`]), and the routine that
//! takes mail in and carries out what was decided. It decides nothing: an [`Act`] says all.

use super::chronicle::{AnswerRow, CHRONICLE, DailyReport, OfficeEntry};
use super::{Channel, Mail, MailId, MailKind, Outgoing, Said};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use worksite_model::{Draft, Durable, Encoding, Ended, Outcome, PayloadError, Priority, Routine, Timestamp, Turn};

/// Mails of the past that can still be answered.
pub const RECENT_MAILS_MAX: usize = 10;

/// How long it is remembered what was said, in ticks after it has landed.
const SAID_TICKS: u64 = 480;

/// What was counted at a desk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// E-mails written.
    pub emails: u32,
    /// Chats written.
    pub chats: u32,
    /// Mails that came.
    pub received: u32,
    /// Mails answered.
    pub answered: u32,
    /// Lines of plans that were refused.
    pub refused: u32,
    /// Chats left unread since its own to the same person crossed it.
    pub crossed: u32,
    /// Answers of a planner.
    pub plans: u32,
    /// Answers of the rules in place of a planner.
    pub fallbacks: u32,
    /// What the answers cost, in millionths.
    pub cost_micros: i64,
    /// How long they took, in milliseconds. Two runs differ in it.
    pub took_ms: u64,
}

impl Counts {
    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.emails += other.emails;
        self.chats += other.chats;
        self.received += other.received;
        self.answered += other.answered;
        self.refused += other.refused;
        self.crossed += other.crossed;
        self.plans += other.plans;
        self.fallbacks += other.fallbacks;
        self.cost_micros += other.cost_micros;
        self.took_ms += other.took_ms;
    }
}

/// What one colleague has before them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Desk {
    /// Mail that has come and not been read: the urgent first, then in the order of landing and of names.
    pub tray: Vec<Mail>,
    /// Mail that was read and can still be answered, the oldest first.
    pub recent: Vec<Mail>,
    /// What was said lately.
    pub said: Vec<Said>,
    /// Who gets something in later ticks.
    pub in_flight: BTreeMap<u64, Vec<i64>>,
    /// The day of the last plan.
    pub planned_day: Option<u64>,
    /// The tick of the last plan.
    pub acted: Option<u64>,
    /// Mail is looked at again in this tick.
    pub next_look: u64,
    /// The last day that was closed with a report.
    pub closed_day: Option<u64>,
    /// What was counted today.
    pub today: Counts,
    /// What was counted before today.
    pub before: Counts,
}

impl Durable for Desk {
    const TYPE: &'static str = "office desk";
}

impl Desk {
    /// What was counted in all.
    pub fn total(&self) -> Counts {
        let mut total = self.before.clone();
        total.add(&self.today);
        total
    }

    /// A mail that can be answered.
    pub fn find(&self, id: MailId) -> Option<&Mail> {
        self.tray.iter().chain(self.recent.iter().rev()).find(|mail| mail.id == id)
    }

    fn take_in(&mut self, person: i64, mail: Mail) {
        self.today.received += 1;
        // Both wrote to each other in the same tick: the one with the smaller number has the word.
        let is_direct =
            mail.channel == Channel::Chat && mail.room.is_none() && mail.answers.is_none() && mail.cc.is_empty();
        let own = format!("chat>[{}][]", mail.id.from);
        let crosses = |said: &Said| said.lands == mail.lands && said.answers.is_none() && said.place == own;
        if is_direct && mail.kind == MailKind::Message && person < mail.id.from && self.said.iter().any(crosses) {
            self.today.crossed += 1;
            return;
        }
        let order = |mail: &Mail| (!mail.is_urgent, mail.lands, mail.id);
        let place = self.tray.partition_point(|other| order(other) < order(&mail));
        self.tray.insert(place, mail);
    }

    fn read(&mut self, ids: &[MailId]) {
        let (read, tray) = std::mem::take(&mut self.tray).into_iter().partition(|mail| ids.contains(&mail.id));
        self.tray = tray;
        let mut read: Vec<Mail> = read;
        self.recent.append(&mut read);
        let surplus = self.recent.len().saturating_sub(RECENT_MAILS_MAX);
        self.recent.drain(..surplus);
    }
}

/// What somebody does in a tick: all that was decided for them, to become durable as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The answer it follows from, as it goes into the chronicle.
    pub row: AnswerRow,
    /// The day of it.
    pub day: u64,
    /// When the tick after it begins: nothing it sends is there earlier.
    pub outgoing: Vec<(Timestamp, Outgoing)>,
    /// Mail is looked at again in this tick.
    pub next_look: u64,
}

/// What lies in the inbox of a desk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeskPost {
    /// Something has come.
    Mail(Box<Mail>),
    /// Something is to be done.
    Act(Box<Act>),
    /// The day is over.
    Close {
        /// Which.
        day: u64,
        /// In which tick that is said.
        tick: u64,
    },
}

impl Durable for DeskPost {
    const TYPE: &'static str = "office post";
    const ENCODING: Encoding = Encoding::Json;
}

/// The routine of every colleague.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeskRoutine;

impl Routine for DeskRoutine {
    const NAME: &'static str = "desk";
    type State = Desk;
    type Message = DeskPost;

    fn perform(&self, turn: &mut Turn<Desk>, post: DeskPost) -> Ended {
        match post {
            DeskPost::Mail(mail) => {
                let person = turn.person().0;
                turn.state.take_in(person, *mail);
            }
            // A run that was killed asks again; what was done is not done twice.
            DeskPost::Act(act) if turn.state.acted.is_none_or(|acted| acted < act.row.tick) => carry_out(turn, *act)?,
            DeskPost::Act(_) => {}
            DeskPost::Close { day, tick } if turn.state.closed_day.is_none_or(|closed| closed < day) => {
                close(turn, day, tick)?;
            }
            DeskPost::Close { .. } => {}
        }
        turn.reply(&())?;
        Ok(Outcome::Done)
    }
}

fn carry_out(turn: &mut Turn<Desk>, act: Act) -> Result<(), PayloadError> {
    let Act { row, day, outgoing, next_look } = act;
    let desk = &mut turn.state;
    desk.read(&row.read);
    (desk.acted, desk.planned_day, desk.next_look) = (Some(row.tick), Some(day), next_look);
    desk.said.retain(|said| said.lands + SAID_TICKS > row.tick);
    desk.in_flight.retain(|lands, _| *lands > row.tick);
    desk.today.plans += 1;
    desk.today.fallbacks += u32::from(row.fallback.is_some());
    desk.today.cost_micros += row.answer.cost_micros;
    desk.today.took_ms += row.took_ms;
    desk.today.refused += u32::try_from(row.refused.len()).unwrap_or(u32::MAX);
    for (_, outgoing) in &outgoing {
        desk.said.push(Said::of(outgoing));
        desk.in_flight.entry(outgoing.mail.lands).or_default().extend(&outgoing.recipients);
        desk.today.answered += u32::from(outgoing.mail.answers.is_some());
        match outgoing.mail.channel {
            Channel::Chat => desk.today.chats += 1,
            _ => desk.today.emails += 1,
        }
    }
    turn.send(OfficeEntry::Answer(row).draft()?);
    for (moment, Outgoing { mail, recipients, .. }) in outgoing {
        for recipient in recipients {
            turn.send(draft(&mail, recipient)?.not_before(moment));
        }
    }
    Ok(())
}

/// A mail on its way to one of its recipients.
pub(crate) fn draft(mail: &Mail, recipient: i64) -> Result<Draft, PayloadError> {
    let priority = if mail.is_urgent { Priority::Urgent } else { Priority::Normal };
    let draft =
        Draft::to(recipient, &DeskPost::Mail(Box::new(mail.clone())))?.kind("mail").channel(mail.channel.name());
    Ok(draft.thread(mail.thread.clone()).priority(priority))
}

fn close(turn: &mut Turn<Desk>, day: u64, tick: u64) -> Result<(), PayloadError> {
    let person = turn.person().0;
    let desk = &mut turn.state;
    let counts = std::mem::take(&mut desk.today);
    desk.before.add(&counts);
    desk.closed_day = Some(day);
    let unread = u32::try_from(desk.tray.len()).unwrap_or(u32::MAX);
    let report = DailyReport { person, day, tick, counts, unread };
    turn.send(OfficeEntry::Report(report).draft()?);
    Ok(())
}

const _: () = assert!(CHRONICLE < 0, "colleagues have numbers from 1");
