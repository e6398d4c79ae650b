//! The ledger owns what the office as a whole knows: who works here, who is away, what is going to happen, and how far time
//! has come ([`Ledger`]). Whatever enters, enters here as a numbered row ([`Input`]) with its result.

use super::chronicle::{InputRow, OfficeEntry};
use super::{
    Absence, Almanac, Calendar, Channel, Colleague, Happening, HappeningKind, HubLimits, Mail, MailId, MailKind, Odds,
    OfficeError, StatusOverride, desk,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use worksite_model::{Durable, Encoding, Ended, Outcome, Routine, Turn};

/// The worker who keeps the ledger. The office itself writes under this number, as seed 000's system does.
pub const OFFICE: i64 = 0;

/// Colleagues of one office: the ledger is written whole with every tick.
pub const COLLEAGUES_MAX: usize = 2_000;

/// What has happened and is still shown; what is still to happen is always kept.
pub const HAPPENINGS_MAX: usize = 1_000;

/// What an office is founded with: all that a run follows from, beside what enters and what planners answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charter {
    /// The office's name.
    pub name: String,
    /// From it follows all chance.
    pub seed: u64,
    /// Its days.
    pub calendar: Calendar,
    /// Who works there at first.
    pub colleagues: Vec<Colleague>,
    /// What happens by itself.
    pub odds: Odds,
    /// How much one may say.
    pub limits: HubLimits,
    /// Addresses outside that may be written to.
    pub outside: Vec<String>,
}

impl Charter {
    /// An office of these people under usual circumstances.
    pub fn new(seed: u64, colleagues: Vec<Colleague>) -> Self {
        Self {
            name: "the office".into(),
            seed,
            calendar: Calendar::default(),
            colleagues,
            odds: Odds::default(),
            limits: HubLimits::default(),
            outside: Vec::new(),
        }
    }

    /// An almanac that knows everybody's time zone.
    ///
    /// # Errors
    /// [`OfficeError::Time`] and [`OfficeError::TimeZone`].
    pub fn almanac<'a>(&self, people: impl IntoIterator<Item = &'a Colleague>) -> Result<Almanac, OfficeError> {
        let mut almanac = Almanac::of(&self.calendar)?;
        for colleague in people {
            almanac.learn(&colleague.hours.time_zone)?;
        }
        Ok(almanac)
    }
}

/// What can enter the office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Somebody begins to work here. Mail that was kept for them is there.
    Hire(Colleague),
    /// Somebody has other hours, habits, or another name.
    Update(Colleague),
    /// Somebody no longer works here.
    Dismiss {
        /// Who.
        person: i64,
        /// Whether their mail and memory go, too.
        purge: bool,
    },
    /// Something is going to happen.
    Inject(Happening),
    /// Somebody is away.
    Override {
        /// Who.
        person: i64,
        /// Why.
        absence: Absence,
        /// Until this tick; until the end of the day when it is not said.
        until: Option<u64>,
    },
    /// Somebody is back.
    ClearOverride {
        /// Who.
        person: i64,
    },
    /// Somebody outside writes, or asks a colleague something.
    Write {
        /// To whom.
        to: Vec<i64>,
        /// Under this name.
        from_name: String,
        /// About this.
        subject: String,
        /// Saying this.
        body: String,
    },
}

/// What the office as a whole knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// What it was founded with.
    pub charter: Option<Charter>,
    /// Which run of this site it is; keys of an earlier one mean nothing.
    pub run: u64,
    /// By how much the house's clock is ahead of the calendar, in microseconds: it never goes back, and a run that begins
    /// anew does.
    pub later_micros: i64,
    /// The tick that was begun last.
    pub tick: Option<u64>,
    /// The tick that comes next at the earliest: something has entered before it, or all before it was passed over.
    pub reached: u64,
    /// Who works here.
    pub people: BTreeMap<i64, Colleague>,
    /// Who worked here, and whether their things are to go.
    pub left: BTreeMap<i64, bool>,
    /// Who is away.
    pub away: BTreeMap<i64, StatusOverride>,
    /// What is going to happen, and what has happened lately.
    pub happenings: Vec<Happening>,
    /// How many things happened or are going to.
    pub happenings_ever: u64,
    /// How many inputs there were.
    pub inputs: u64,
    /// How many mails the office has written in which tick.
    mails: (u64, u32),
}

impl Durable for Ledger {
    const TYPE: &'static str = "office ledger";
}

/// What lies in the office's own inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerPost {
    /// The office begins.
    Found {
        /// With this.
        charter: Charter,
        /// As this run of the site.
        run: u64,
        /// So much later for the house, in microseconds.
        later_micros: i64,
    },
    /// Something enters.
    Enter {
        /// Before this tick.
        tick: u64,
        /// What.
        input: Input,
    },
    /// Ticks in which nothing happened have passed.
    Pass {
        /// This one comes next.
        tick: u64,
    },
    /// A tick begins.
    Tick {
        /// Which.
        tick: u64,
    },
}

impl Durable for LedgerPost {
    const TYPE: &'static str = "office ledger post";
    const ENCODING: Encoding = Encoding::Json;
}

/// What the ledger answers: whom something was told, and the row of what entered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Noted {
    /// Who has got mail.
    pub told: Vec<i64>,
    /// The row of what entered.
    pub row: Option<InputRow>,
    /// What happened.
    pub fired: Vec<Happening>,
}

impl Durable for Noted {
    const TYPE: &'static str = "office noted";
    const ENCODING: Encoding = Encoding::Json;
}

/// The routine of the office itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct LedgerRoutine;

impl Routine for LedgerRoutine {
    const NAME: &'static str = "ledger";
    type State = Ledger;
    type Message = LedgerPost;

    fn perform(&self, turn: &mut Turn<Ledger>, post: LedgerPost) -> Ended {
        let mut noted = Noted::default();
        match post {
            LedgerPost::Found { charter, run, later_micros } => {
                let people = charter.colleagues.iter().map(|colleague| (colleague.id, colleague.clone())).collect();
                turn.send(OfficeEntry::Founded(charter.clone()).draft()?);
                *turn.state = Ledger { charter: Some(charter), run, later_micros, people, ..Ledger::default() };
            }
            LedgerPost::Enter { tick, input } => {
                let ledger = &mut turn.state;
                ledger.inputs += 1;
                ledger.reached = ledger.reached.max(tick);
                let number = ledger.inputs;
                let (result, mail) = match ledger.enter(tick, &input) {
                    Ok((said, mail)) => (Ok(said), mail),
                    Err(why) => (Err(why), None),
                };
                let row = InputRow { number, tick, input, result };
                turn.send(OfficeEntry::Input(row.clone()).draft()?);
                noted.row = Some(row);
                tell(turn, mail.into_iter().collect(), &mut noted)?;
            }
            LedgerPost::Pass { tick } => turn.state.reached = turn.state.reached.max(tick),
            LedgerPost::Tick { tick } => {
                let (fired, mail) = turn.state.begin(tick)?;
                for happening in &fired {
                    turn.send(OfficeEntry::Fired { tick, happening: happening.clone() }.draft()?);
                }
                noted.fired = fired;
                tell(turn, mail, &mut noted)?;
            }
        }
        turn.reply(&noted)?;
        Ok(Outcome::Done)
    }
}

/// Mail of the office itself is there at once: it comes before anybody plans.
fn tell(turn: &mut Turn<Ledger>, mail: Vec<Mail>, noted: &mut Noted) -> Result<(), worksite_model::PayloadError> {
    for mail in mail {
        for recipient in &mail.to {
            turn.send(desk::draft(&mail, *recipient)?);
            noted.told.push(*recipient);
        }
    }
    Ok(())
}

impl Ledger {
    /// What is going to happen or has happened, of this project and about this person.
    pub fn happenings(&self, project: Option<&str>, target: Option<i64>) -> Vec<&Happening> {
        self.happenings.iter().filter(|happening| happening.fits(project, target)).collect()
    }

    /// Whether somebody works in this tick.
    pub fn is_at_work(&self, almanac: &Almanac, colleague: &Colleague, tick: u64) -> bool {
        self.away.get(&colleague.id).is_none_or(|status| status.until <= tick)
            && almanac.is_at_work(&colleague.hours, tick)
    }

    fn almanac(&self) -> Result<Almanac, OfficeError> {
        let charter = self.charter.as_ref().ok_or(OfficeError::NotFounded)?;
        charter.almanac(self.people.values())
    }

    fn enter(&mut self, tick: u64, input: &Input) -> Result<(String, Option<Mail>), String> {
        let said = match input {
            Input::Hire(colleague) => {
                if self.people.contains_key(&colleague.id) {
                    return Err(format!("{} works here already", colleague.id));
                }
                if self.people.len() >= COLLEAGUES_MAX {
                    return Err(format!("the office holds {COLLEAGUES_MAX} colleagues"));
                }
                self.check(colleague)?;
                self.left.remove(&colleague.id);
                self.people.insert(colleague.id, colleague.clone());
                format!("{} works here", colleague.name)
            }
            Input::Update(colleague) => {
                self.known(colleague.id)?;
                self.check(colleague)?;
                self.people.insert(colleague.id, colleague.clone());
                format!("{} is as said", colleague.name)
            }
            Input::Dismiss { person, purge } => {
                let name = self.known(*person)?.name.clone();
                self.people.remove(person);
                self.away.remove(person);
                self.left.insert(*person, *purge);
                format!("{name} has left")
            }
            Input::Inject(happening) => {
                for target in &happening.targets {
                    self.known(*target)?;
                }
                let happening = self.note(Happening { at_tick: happening.at_tick.max(tick), ..happening.clone() });
                format!("event {} fires in tick {}", happening.number, happening.at_tick)
            }
            Input::Override { person, absence, until } => {
                let almanac = self.almanac().map_err(|error| error.to_string())?;
                let name = self.known(*person)?.name.clone();
                let until = until.unwrap_or(almanac.begin_of(almanac.day(tick) + 1));
                if until <= tick {
                    return Err(format!("tick {until} has passed"));
                }
                self.away.insert(*person, StatusOverride { absence: *absence, until });
                format!("{name} is away until tick {until}")
            }
            Input::ClearOverride { person } => {
                let name = self.known(*person)?.name.clone();
                // Clearing what is not there is fine, as in the original.
                self.away.remove(person);
                format!("{name} is here")
            }
            Input::Write { to, from_name, subject, body } => {
                for recipient in to {
                    self.known(*recipient)?;
                }
                if to.is_empty() {
                    return Err("it is for nobody".into());
                }
                let mail = Mail {
                    from_name: from_name.clone(),
                    subject: subject.clone(),
                    body: body.clone(),
                    kind: MailKind::Message,
                    channel: Channel::Email,
                    ..self.mail(tick, to.clone())
                };
                return Ok((format!("mail {} is there", mail.id), Some(mail)));
            }
        };
        Ok((said, None))
    }

    fn known(&self, person: i64) -> Result<&Colleague, String> {
        self.people.get(&person).ok_or_else(|| format!("nobody here has number {person}"))
    }

    /// Looks at a colleague beside all others.
    fn check(&self, colleague: &Colleague) -> Result<(), String> {
        colleague.check().map_err(|error| error.to_string())?;
        let mut others = self.people.values().filter(|other| other.id != colleague.id);
        if others.any(|other| other.is_called(&colleague.name) || other.is_called(&colleague.handle)) {
            return Err(format!("somebody is called {} already", colleague.name));
        }
        let charter = self.charter.as_ref().ok_or_else(|| OfficeError::NotFounded.to_string())?;
        charter.almanac([colleague]).map(drop).map_err(|error| error.to_string())
    }

    fn note(&mut self, mut happening: Happening) -> Happening {
        self.happenings_ever += 1;
        happening.number = self.happenings_ever;
        self.happenings.push(happening.clone());
        happening
    }

    /// A mail of the office itself to these people.
    fn mail(&mut self, tick: u64, to: Vec<i64>) -> Mail {
        if self.mails.0 != tick {
            self.mails = (tick, 0);
        }
        let id = MailId { tick, from: OFFICE, place: self.mails.1 };
        self.mails.1 += 1;
        Mail {
            id,
            lands: tick,
            from_name: "Office".into(),
            to,
            cc: vec![],
            room: None,
            channel: Channel::System,
            kind: MailKind::Event,
            subject: String::new(),
            body: String::new(),
            action_item: None,
            is_urgent: false,
            thread: id.to_string(),
            answers: None,
            depth: 0,
        }
    }

    /// Begins a tick: who was away is back, what was due happens, and what chance brings.
    fn begin(&mut self, tick: u64) -> Result<(Vec<Happening>, Vec<Mail>), OfficeError> {
        let almanac = self.almanac()?;
        let charter = self.charter.clone().ok_or(OfficeError::NotFounded)?;
        self.tick = Some(tick);
        self.away.retain(|_, status| status.until > tick);
        for drawn in charter.odds.draw(charter.seed, &almanac, tick, &self.people, &self.away) {
            self.note(drawn);
        }
        let due = |happening: &Happening| happening.fired.is_none() && happening.at_tick <= tick;
        let mut fired: Vec<_> = self.happenings.iter().filter(|happening| due(happening)).cloned().collect();
        let mut mail = Vec::new();
        for happening in &mut fired {
            happening.fired = Some(tick);
            mail.extend(self.fire(tick, &almanac, happening));
        }
        for kept in &mut self.happenings {
            if due(kept) {
                kept.fired = Some(tick);
            }
        }
        self.forget_happenings();
        Ok((fired, mail))
    }

    /// Keeps what is to come, and the newest of what has been.
    fn forget_happenings(&mut self) {
        let past = self.happenings.iter().filter(|happening| happening.fired.is_some()).count();
        let mut surplus = past.saturating_sub(HAPPENINGS_MAX);
        self.happenings.retain(|happening| {
            let goes = surplus > 0 && happening.fired.is_some();
            surplus -= usize::from(goes);
            !goes
        });
    }

    fn fire(&mut self, tick: u64, almanac: &Almanac, happening: &Happening) -> Vec<Mail> {
        let heads: Vec<i64> = self.people.values().filter(|other| other.is_head).map(|head| head.id).collect();
        let mut targets: Vec<i64> = happening.targets.clone();
        targets.retain(|target| self.people.contains_key(target));
        let is_sick = happening.kind == HappeningKind::SickLeave;
        let mut mails = Vec::new();
        if is_sick {
            let until = almanac.begin_of(almanac.day(tick) + 1);
            for target in &targets {
                self.away.insert(*target, StatusOverride { absence: Absence::SickLeave, until });
            }
            let names: Vec<_> =
                targets.iter().filter_map(|target| Some(self.people.get(target)?.name.clone())).collect();
            let told: Vec<i64> = heads.iter().copied().filter(|head| !targets.contains(head)).collect();
            if !told.is_empty() && !names.is_empty() {
                let body = format!("{} cannot work today.", names.join(", "));
                mails.push(Mail { subject: "Sick leave".into(), body, ..self.mail(tick, told) });
            }
        }
        let to = if targets.is_empty() { heads } else { targets };
        if !to.is_empty() {
            let adjustments = happening.adjustments();
            mails.push(Mail {
                subject: happening.summary(),
                action_item: adjustments.first().cloned(),
                body: adjustments.join(" "),
                is_urgent: happening.kind == HappeningKind::Blocker,
                ..self.mail(tick, to)
            });
        }
        mails
    }
}
