//! The hub owns what becomes of a plan: names become people, groups become rooms, answers find their conversation, and what
//! is said twice, too soon, too often or to nobody is refused with its reason. A function of values: it sends nothing.

use super::{Channel, Colleague, Desk, Mail, MailId, MailKind, PlanLine};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// How much one may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubLimits {
    /// Ticks in which nobody begins a second conversation with the same people through the same channel.
    pub cooldown_ticks: u64,
    /// E-mails of one person on a day.
    pub emails_per_day_max: u32,
    /// Chats of one person on a day.
    pub chats_per_day_max: u32,
}

impl Default for HubLimits {
    /// The original's.
    fn default() -> Self {
        Self { cooldown_ticks: 10, emails_per_day_max: 50, chats_per_day_max: 100 }
    }
}

/// What the hub knows when somebody's plan is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Hub<'a> {
    /// Who works here.
    pub people: &'a BTreeMap<i64, Colleague>,
    /// Addresses outside that may be written to.
    pub outside: &'a [String],
    /// How much one may say.
    pub limits: HubLimits,
    /// Now.
    pub tick: u64,
}

/// A mail that goes out, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The mail.
    pub mail: Mail,
    /// Who gets it: recipients, copies and hidden copies.
    pub recipients: Vec<i64>,
    /// Addresses outside that get it.
    pub outside: Vec<String>,
}

/// That something was said: what the hub has to remember of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Through which channel, and to whom.
    pub place: String,
    /// What, hashed.
    pub content: String,
    /// When it lands.
    pub lands: u64,
    /// What it answers.
    pub answers: Option<MailId>,
}

/// What becomes of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dispatch {
    /// What goes out.
    pub outgoing: Vec<Outgoing>,
    /// What does not, and why.
    pub refused: Vec<String>,
}

/// Whom a line is for.
#[derive(Default)]
struct Addressees {
    people: Vec<i64>,
    outside: Vec<String>,
    room: Option<String>,
}

impl Hub<'_> {
    /// Carries out the lines of somebody's plan. The original wrote down what was said before it was sent, so that a send
    /// that failed kept its own repetition out; here both are one commit.
    pub fn dispatch(&self, sender: &Colleague, desk: &Desk, lines: Vec<PlanLine>) -> Dispatch {
        let mut dispatch = Dispatch::default();
        let mut said = desk.said.clone();
        let mut today = [desk.today.emails, desk.today.chats];
        for line in lines {
            let place = u32::try_from(dispatch.outgoing.len()).unwrap_or(u32::MAX);
            let id = MailId { tick: self.tick, from: sender.id, place };
            let checked = self.compose(sender, desk, id, &line).and_then(|outgoing| {
                self.may_be_said(&outgoing, &said, &mut today)?;
                Ok(outgoing)
            });
            match checked {
                Ok(outgoing) => {
                    said.push(Said::of(&outgoing));
                    dispatch.outgoing.push(outgoing);
                }
                Err(why) => dispatch.refused.push(format!("{:?} to {}: {why}", line.channel, line.to.join(", "))),
            }
        }
        dispatch
    }

    /// Who may want a copy of a sender's mail: the head, and somebody of the same team.
    pub fn suggested_copies(&self, sender: i64) -> Vec<i64> {
        let Some(team) = self.people.get(&sender).map(|sender| sender.team.as_str()) else { return Vec::new() };
        let others = || self.people.values().filter(|colleague| colleague.id != sender);
        let head = others().find(|colleague| colleague.is_head);
        let peer = others().find(|other| other.team == team && head.is_none_or(|head| head.id != other.id));
        head.into_iter().chain(peer).map(|colleague| colleague.id).collect()
    }

    fn compose(&self, sender: &Colleague, desk: &Desk, id: MailId, line: &PlanLine) -> Result<Outgoing, String> {
        let original = match line.answers {
            Some(id) => Some(desk.find(id).ok_or(format!("there is no mail {id} to be answered"))?),
            None => None,
        };
        let to = match original {
            Some(original) if original.id.from < 1 => return Err("nobody hears an answer to the office".into()),
            Some(original) if !self.people.contains_key(&original.id.from) => {
                return Err("who wrote it has left".into());
            }
            Some(original) if line.is_acknowledgement => self.acknowledged(sender, original)?,
            Some(original) => Addressees { people: vec![original.id.from], ..Addressees::default() },
            None => self.addressees(sender, &line.to, line.channel)?,
        };
        let copies = self.addressees_or_none(sender, &line.cc)?;
        let hidden = self.addressees_or_none(sender, &line.bcc)?;
        let mut recipients: Vec<i64> = [&to.people[..], &copies.people, &hidden.people].concat();
        recipients.retain(|recipient| *recipient != sender.id);
        recipients.sort_unstable();
        recipients.dedup();
        let outside = [to.outside, copies.outside, hidden.outside].concat();
        if recipients.is_empty() && outside.is_empty() {
            return Err("it is for nobody else".into());
        }
        // Who answers a chat does so in the chat, whatever word they use.
        let channel = match original {
            Some(original) if original.channel == Channel::Chat => Channel::Chat,
            _ => line.channel,
        };
        let subject = match original {
            Some(original) if line.subject.is_empty() => answered(&original.subject),
            _ => line.subject.clone(),
        };
        let kind = if line.is_acknowledgement { MailKind::Acknowledgement } else { MailKind::Message };
        let mail = Mail {
            id,
            lands: line.lands,
            from_name: sender.name.clone(),
            to: to.people,
            cc: copies.people,
            room: to.room,
            channel,
            kind,
            subject,
            body: line.body.clone(),
            action_item: None,
            is_urgent: line.body.to_lowercase().contains("urgent") || line.subject.to_lowercase().contains("urgent"),
            thread: original.map_or_else(|| id.to_string(), |original| original.thread.clone()),
            answers: original.map(|original| original.id),
            depth: original.map_or(0, |original| original.depth + 1),
        };
        Ok(Outgoing { mail, recipients, outside })
    }

    /// Acknowledgements go between colleagues of a team or to a head, and never answer one another.
    fn acknowledged(&self, sender: &Colleague, original: &Mail) -> Result<Addressees, String> {
        if original.kind == MailKind::Acknowledgement {
            return Err("an acknowledgement is not acknowledged".into());
        }
        let share = self
            .people
            .get(&original.id.from)
            .is_some_and(|writer| writer.team == sender.team || writer.is_head || sender.is_head);
        if !share {
            return Err("they work on different things".into());
        }
        Ok(Addressees { people: vec![original.id.from], ..Addressees::default() })
    }

    fn addressees_or_none(&self, sender: &Colleague, names: &[String]) -> Result<Addressees, String> {
        if names.is_empty() { Ok(Addressees::default()) } else { self.addressees(sender, names, Channel::Email) }
    }

    fn addressees(&self, sender: &Colleague, names: &[String], channel: Channel) -> Result<Addressees, String> {
        let mut found = Addressees::default();
        for name in names {
            let lower = name.to_lowercase();
            if let Some(colleague) = self.people.values().find(|colleague| colleague.is_called(name)) {
                found.people.push(colleague.id);
            } else if matches!(lower.as_str(), "everyone" | "everybody" | "all") {
                found.people.extend(self.people.keys());
                found.room = Some("everyone".into());
            } else if matches!(lower.as_str(), "team" | "group" | "project") {
                let team = self.people.values().filter(|colleague| colleague.team == sender.team);
                found.people.extend(team.map(|colleague| colleague.id));
                found.room = Some(sender.team.clone());
            } else if channel == Channel::Email && self.outside.iter().any(|known| known.to_lowercase() == lower) {
                found.outside.push(lower);
            } else {
                return Err(format!("{name:?} is neither a colleague nor a known address"));
            }
        }
        found.people.retain(|person| *person != sender.id);
        found.people.dedup();
        Ok(found)
    }

    fn may_be_said(&self, outgoing: &Outgoing, before: &[Said], today: &mut [u32; 2]) -> Result<(), String> {
        let said = Said::of(outgoing);
        if before
            .iter()
            .any(|other| other.place == said.place && other.content == said.content && other.lands == said.lands)
        {
            return Err("it was said already".into());
        }
        match said.answers {
            Some(id) if before.iter().any(|other| other.answers == said.answers && other.place == said.place) => {
                return Err(format!("{id} was answered already"));
            }
            Some(_) => {}
            None => {
                let near = |other: &&Said| other.place == said.place && other.answers.is_none();
                let gap = |other: &Said| other.lands.abs_diff(said.lands);
                if before.iter().filter(near).any(|other| gap(other) < self.limits.cooldown_ticks) {
                    return Err(format!("they were written to less than {} ticks apart", self.limits.cooldown_ticks));
                }
            }
        }
        let (count, most) = match outgoing.mail.channel {
            Channel::Chat => (&mut today[1], self.limits.chats_per_day_max),
            _ => (&mut today[0], self.limits.emails_per_day_max),
        };
        if *count >= most {
            return Err(format!("{most} a day are enough"));
        }
        *count += 1;
        Ok(())
    }
}

impl Said {
    /// That this was said.
    pub fn of(outgoing: &Outgoing) -> Self {
        let mail = &outgoing.mail;
        let place = format!("{}>{:?}{:?}", mail.channel.name(), outgoing.recipients, outgoing.outside);
        let content = super::plan::hex(&Sha256::digest(format!("{}|{}", mail.subject, mail.body))[..8]);
        Self { place, content, lands: mail.lands, answers: mail.answers }
    }
}

fn answered(subject: &str) -> String {
    if subject.is_empty() || subject.starts_with("Re: ") { subject.to_string() } else { format!("Re: {subject}") }
}
