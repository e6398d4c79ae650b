//! The engine owns the passing of ticks: it moves the clock, lets the house come to rest, has plans made for who has
//! something to do, and hands what was decided to their workers. Every step may be repeated, so a run that was killed goes
//! on from its last commit.
//!
//! A tick is a barrier. What somebody does in it depends on their desk, the ledger and the seed alone, and nothing they send
//! is there before the next: so it does not matter in which order, or on how many threads, workers take their turns.

use super::agenda::{self, Agenda};
use super::planning::{Answered, Calls};
use super::{
    Act, Almanac, AnswerRow, CHRONICLE, Charter, Colleague, Desk, DeskPost, DeskRoutine, Happening, Hub, Input,
    InputRow, Ledger, LedgerPost, LedgerRoutine, Noted, OFFICE, OfficeEntry, OfficeError, OnBudget, Outgoing, Planning,
    Question, Recorded, Transcript, read_plan,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use worksite_model::{
    Departure, Draft, Durable, Fact, FactOffset, Interest, Keep, Person, PersonId, Retention, Routine, Timestamp,
    chance,
};
use worksite_runtime::{ManualClock, Runtime};

/// The durable subscription that keeps the chronicle.
const CURSOR: &str = "office";

/// How many facts are read at once.
const PAGE: usize = 1_000;

/// What the engine's chance is drawn for.
const PLAN: i64 = 2;

/// What a house has to keep for an office: the whole log of facts, of which the transcript is read.
pub fn retention() -> Retention {
    Retention { facts: Keep { age: Duration::MAX, rows: u64::MAX }, ..Retention::default() }
}

/// A running office. It is the only one that writes to its house.
pub struct Office {
    runtime: Runtime,
    clock: ManualClock,
    ledger: Ledger,
    almanac: Almanac,
    desks: BTreeMap<i64, Desk>,
    agenda: Agenda,
    /// The tick that comes next, or is going on.
    next: u64,
    /// Whether it is going on.
    is_begun: bool,
    /// Where the chronicle of this run begins in the log.
    begins: FactOffset,
    calls: u64,
}

/// What a tick brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Which tick.
    pub tick: u64,
    /// What happened.
    pub fired: Vec<Happening>,
    /// On how many desks mail landed.
    pub landed: usize,
    /// Who planned, and what was answered.
    pub answers: Vec<AnswerRow>,
    /// What went out.
    pub outgoing: Vec<Outgoing>,
}

/// Why a run stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// It has come to its tick.
    Reached,
    /// Who watched wanted it to.
    Paused,
    /// The budget is spent, in the middle of this tick; with more it goes on where it is.
    Budget {
        /// Which.
        tick: u64,
    },
    /// Nobody works here.
    Empty,
}

impl Office {
    /// Opens the office in a house with the three routines of an office ([`LedgerRoutine`], [`DeskRoutine`],
    /// [`ChronicleRoutine`](super::ChronicleRoutine)), [`retention`] and this clock: founds it, or goes on where it was.
    ///
    /// # Errors
    /// [`OfficeError::OtherCharter`] when another one was founded here, and [`OfficeError`].
    pub async fn open(runtime: Runtime, clock: ManualClock, charter: Charter) -> Result<Self, OfficeError> {
        let known: Option<Ledger> = runtime.state(OFFICE, LedgerRoutine::NAME).await?;
        match known.and_then(|ledger| ledger.charter) {
            Some(known) if known != charter => return Err(OfficeError::OtherCharter),
            Some(_) => {}
            None => Self::found(&runtime, &clock, &charter).await?,
        }
        Self::resume(runtime, clock).await
    }

    /// Goes on with the office that is in a house.
    ///
    /// # Errors
    /// [`OfficeError::NotFounded`], and [`OfficeError`].
    pub async fn resume(runtime: Runtime, clock: ManualClock) -> Result<Self, OfficeError> {
        let almanac = Almanac::of(&Default::default())?;
        let (ledger, agenda, desks) = (Ledger::default(), Agenda::default(), BTreeMap::new());
        let (next, is_begun, begins, calls) = (0, false, FactOffset::default(), 0);
        let mut office = Self { runtime, clock, ledger, almanac, desks, agenda, next, is_begun, begins, calls };
        office.read_all().await?;
        Ok(office)
    }

    async fn found(runtime: &Runtime, clock: &ManualClock, charter: &Charter) -> Result<(), OfficeError> {
        let almanac = charter.almanac(&charter.colleagues)?;
        let mut seen: Vec<&Colleague> = Vec::new();
        for colleague in &charter.colleagues {
            colleague.check()?;
            if seen.iter().any(|other| {
                other.id == colleague.id || other.is_called(&colleague.name) || other.is_called(&colleague.handle)
            }) {
                return Err(OfficeError::Colleague {
                    id: colleague.id,
                    problem: "somebody has that number or name already".into(),
                });
            }
            seen.push(colleague);
        }
        let staff = [Person::new(OFFICE, "office"), Person::new(CHRONICLE, "chronicle")];
        runtime.sync(staff.into_iter().chain(charter.colleagues.iter().map(Colleague::person))).await?;
        // A cursor at the end of the log: what it logs from now on is this run's.
        runtime.close_cursor(CURSOR).await?;
        let interest = Interest::everything().kind("entry").kind("mail").processed();
        drop(runtime.subscribe_durably(CURSOR, interest).await?);
        let run = runtime.tally().await?.accepted + 1;
        let later = clock.now().since(almanac.moment(0)).as_micros();
        let later_micros = i64::try_from(later).unwrap_or(i64::MAX);
        let post = LedgerPost::Found { charter: charter.clone(), run, later_micros };
        let _noted: Noted = runtime.ask(Draft::to(OFFICE, &post)?.key(format!("{run}/found"))).await?;
        runtime.rest().await?;
        Ok(())
    }

    /// Reads everything from the house, as after a restart.
    async fn read_all(&mut self) -> Result<(), OfficeError> {
        self.read_ledger().await?;
        let cursors = self.runtime.cursors().await?;
        self.begins =
            cursors.iter().find(|cursor| cursor.name == CURSOR).map(|cursor| cursor.position).unwrap_or_default();
        self.reconcile().await?;
        let begun = self.ledger.tick.filter(|tick| *tick >= self.ledger.reached);
        // What entered after the last tick was begun entered before a later one.
        self.next = begun.unwrap_or(self.ledger.reached);
        self.is_begun = begun.is_some();
        self.move_clock(self.next);
        self.runtime.rest().await?;
        self.agenda.clear();
        self.desks.clear();
        let people: Vec<i64> = self.ledger.people.keys().copied().collect();
        for person in people {
            self.read_desk(person).await?;
        }
        for desk in self.desks.values() {
            for (lands, recipients) in &desk.in_flight {
                if *lands > self.next || (*lands == self.next && !self.is_begun) {
                    self.agenda.expect(*lands, recipients.iter().copied());
                }
            }
        }
        if self.is_begun && self.due().is_empty() && self.unclosed().is_empty() {
            (self.next, self.is_begun) = (self.next + 1, false);
        }
        self.look_at_all();
        Ok(())
    }

    /// The tick that comes next, or is going on.
    pub fn tick(&self) -> u64 {
        self.next
    }

    /// What the office as a whole knows.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Answers about ticks.
    pub fn almanac(&self) -> &Almanac {
        &self.almanac
    }

    /// What lies on everybody's desk.
    pub fn desks(&self) -> &BTreeMap<i64, Desk> {
        &self.desks
    }

    /// The house it is in.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What the answers of planners have cost so far, in millionths.
    pub fn spent_micros(&self) -> i64 {
        self.desks.values().map(|desk| desk.total().cost_micros).sum()
    }

    /// How often a planner was asked in this life: answers that were known are not among them.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Whether a tick was begun and has not ended.
    pub fn is_mid_tick(&self) -> bool {
        self.is_begun
    }

    /// Lets something enter before the next tick. Its row says what came of it; both are durable when it returns.
    ///
    /// # Errors
    /// [`OfficeError::MidTick`], and [`OfficeError`]. What the office refuses is no error: the row says why.
    pub async fn enter(&mut self, input: Input) -> Result<InputRow, OfficeError> {
        if self.is_begun {
            return Err(OfficeError::MidTick(self.next));
        }
        self.move_clock(self.next);
        let post = LedgerPost::Enter { tick: self.next, input };
        let noted: Noted = self.runtime.ask(Draft::to(OFFICE, &post)?).await?;
        self.read_ledger().await?;
        self.reconcile().await?;
        self.runtime.rest().await?;
        let row = noted.row.ok_or(OfficeError::NotFounded)?;
        let mut touched: BTreeSet<i64> = noted.told.into_iter().collect();
        if let Input::Hire(colleague) = &row.input {
            touched.insert(colleague.id);
        }
        let people = self.ledger.people.keys().copied().collect::<BTreeSet<_>>();
        self.desks.retain(|person, _| people.contains(person));
        for person in touched {
            self.read_desk(person).await?;
        }
        self.look_at_all();
        Ok(row)
    }

    /// Begins anew with what the office was founded with: everything that entered, was written or remembered goes.
    ///
    /// # Errors
    /// [`OfficeError`].
    pub async fn reset(&mut self) -> Result<(), OfficeError> {
        let charter = self.ledger.charter.clone().ok_or(OfficeError::NotFounded)?;
        self.runtime.clear_all().await?;
        Self::found(&self.runtime, &self.clock, &charter).await?;
        self.read_all().await
    }

    /// Does the next tick, or ends the one that is going on; nothing when the budget is spent.
    ///
    /// # Errors
    /// [`OfficeError`].
    pub async fn step(&mut self, planning: &Planning) -> Result<Option<Progress>, OfficeError> {
        let tick = self.next;
        let mut progress = Progress { tick, ..Progress::default() };
        if !self.is_begun {
            self.begin(&mut progress).await?;
        }
        if !self.plan(planning, &mut progress).await? {
            return Ok(None);
        }
        self.close().await?;
        self.runtime.rest().await?;
        (self.next, self.is_begun) = (tick + 1, false);
        Ok(Some(progress))
    }

    /// Runs until this tick comes next. Ticks in which nothing happens are passed over. `watch` hears of every other tick, and
    /// says whether to go on.
    ///
    /// # Errors
    /// [`OfficeError`].
    pub async fn run_to(
        &mut self,
        tick: u64,
        planning: &Planning,
        mut watch: impl FnMut(&Self, &Progress) -> bool,
    ) -> Result<RunEnd, OfficeError> {
        while self.next < tick || self.is_begun {
            if !self.is_begun {
                let Some(next) = self.next_active() else {
                    self.pass_to(tick).await?;
                    return Ok(RunEnd::Empty);
                };
                if next >= tick {
                    self.pass_to(tick).await?;
                    break;
                }
                self.next = next;
            }
            let Some(progress) = self.step(planning).await? else { return Ok(RunEnd::Budget { tick: self.next }) };
            if !watch(self, &progress) {
                return Ok(RunEnd::Paused);
            }
        }
        Ok(RunEnd::Reached)
    }

    /// The next tick in which anything happens; nothing when nobody works here.
    pub fn next_active(&self) -> Option<u64> {
        self.agenda.next(&self.ledger, &self.almanac, self.next)
    }

    /// Passes over ticks in which nothing happens, durably: what enters after a restart enters there, too.
    async fn pass_to(&mut self, tick: u64) -> Result<(), OfficeError> {
        if tick > self.next {
            let _noted: Noted = self.runtime.ask(Draft::to(OFFICE, &LedgerPost::Pass { tick })?).await?;
            self.read_ledger().await?;
            self.next = tick;
        }
        Ok(())
    }

    /// What has happened.
    ///
    /// # Errors
    /// [`OfficeError`].
    pub async fn transcript(&self) -> Result<Transcript, OfficeError> {
        let interest = Interest::everything().kind("entry").kind("mail").processed();
        let (mut entries, mut after) = (Vec::new(), self.begins);
        loop {
            let page = self.runtime.facts(interest.clone(), after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(Transcript::new(entries)) };
            after = last.offset;
            for logged in page {
                let Fact::Settled { person, envelope, .. } = &logged.fact else { continue };
                let payload = &envelope.draft.payload;
                if payload.type_name == OfficeEntry::TYPE {
                    entries.push(payload.decode()?);
                } else if payload.type_name == DeskPost::TYPE
                    && let DeskPost::Mail(mail) = payload.decode()?
                {
                    entries.push(OfficeEntry::Mail { to: person.0, mail: *mail });
                }
            }
        }
    }

    async fn begin(&mut self, progress: &mut Progress) -> Result<(), OfficeError> {
        let tick = self.next;
        self.move_clock(tick);
        let key = format!("{}/tick/{tick}", self.ledger.run);
        let noted: Noted = self.runtime.ask(Draft::to(OFFICE, &LedgerPost::Tick { tick })?.key(key)).await?;
        self.runtime.rest().await?;
        let was_away = !self.ledger.away.is_empty();
        self.read_ledger().await?;
        let mut touched = self.agenda.landed(tick);
        progress.landed = touched.len();
        progress.fired = noted.fired;
        touched.extend(noted.told);
        for person in touched {
            self.read_desk(person).await?;
        }
        if was_away || !self.ledger.away.is_empty() {
            self.look_at_all();
        }
        self.is_begun = true;
        Ok(())
    }

    /// Has a plan made for everybody who has something to do, and carries it out; says whether the budget has sufficed.
    async fn plan(&mut self, planning: &Planning, progress: &mut Progress) -> Result<bool, OfficeError> {
        let mut questions: BTreeMap<i64, Question> =
            self.due().into_iter().filter_map(|person| Some((person, self.question(person)?))).collect();
        let mut waiting: Vec<i64> = questions.keys().rev().copied().collect();
        let (mut calls, mut ready) = (Calls::new(), Vec::new());
        let mut spent = self.spent_micros();
        let mut is_enough = true;
        let mut failed = None;
        loop {
            while let Some(person) = waiting.last().copied().filter(|_| is_enough && failed.is_none()) {
                let question = &questions[&person];
                let hash = question.hash();
                if let Some(known) = planning.known(&hash) {
                    spent += known.answer.cost_micros;
                    ready.push(Answered { person, recorded: Ok(known) });
                } else if !planning.affords(spent, calls.running) {
                    if calls.running > 0 {
                        // What the calls that are being made really cost decides.
                        break;
                    }
                    match planning.on_budget {
                        OnBudget::Pause => {
                            is_enough = false;
                            break;
                        }
                        OnBudget::FallBack => {
                            let recorded = planning.fall_back(question, hash, 0, "the budget is spent".into());
                            ready.push(Answered { person, recorded: Ok(recorded) });
                        }
                    }
                } else if planning.planner.is_quick() {
                    self.calls += 1;
                    let recorded = planning.ask(question, hash);
                    spent += recorded.as_ref().map_or(0, |recorded| recorded.answer.cost_micros);
                    ready.push(Answered { person, recorded });
                } else if calls.running < planning.calls_max.max(1) {
                    self.calls += 1;
                    planning.call(&mut calls, question.clone(), hash);
                } else {
                    break;
                }
                waiting.pop();
            }
            // An answer is made durable as soon as it is there, whoever else is still being asked.
            let mut acts = Vec::new();
            for Answered { person, recorded } in ready.drain(..) {
                match (recorded, questions.remove(&person)) {
                    (Ok(recorded), Some(question)) => acts.push(self.act(question, recorded)),
                    (Err(error), _) => failed = failed.or(Some(error)),
                    (Ok(_), None) => {}
                }
            }
            self.carry_out(acts, progress).await?;
            match calls.next().await {
                Some(answered) => {
                    spent += answered.recorded.as_ref().map_or(0, |recorded| recorded.answer.cost_micros);
                    ready.push(answered);
                }
                None if waiting.is_empty() || !is_enough || failed.is_some() => break,
                None => {}
            }
        }
        progress.answers.sort_by_key(|row| row.person);
        progress.outgoing.sort_by_key(|outgoing| outgoing.mail.id);
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(is_enough),
        }
    }

    /// Hands what was decided to the workers, all at once, and waits until it is durable and done.
    async fn carry_out(&mut self, acts: Vec<Act>, progress: &mut Progress) -> Result<(), OfficeError> {
        let mut asked = Vec::new();
        for act in &acts {
            let key = format!("{}/act/{}/{}", self.ledger.run, act.row.person, act.row.tick);
            let draft = Draft::to(act.row.person, &DeskPost::Act(Box::new(act.clone())))?.kind("act").key(key);
            asked.push(self.runtime.ask::<()>(draft));
        }
        for asked in asked {
            asked.await?;
        }
        for act in acts {
            self.read_desk(act.row.person).await?;
            for (_, outgoing) in &act.outgoing {
                self.agenda.expect(outgoing.mail.lands, outgoing.recipients.iter().copied());
            }
            progress.answers.push(act.row);
            progress.outgoing.extend(act.outgoing.into_iter().map(|(_, outgoing)| outgoing));
        }
        Ok(())
    }

    /// Who has something to do in this tick.
    fn due(&self) -> Vec<i64> {
        let tick = self.next;
        let due = self.ledger.people.values().filter(|colleague| {
            self.desks.get(&colleague.id).is_some_and(|desk| agenda::is_due(&self.almanac, desk, tick))
                && self.ledger.is_at_work(&self.almanac, colleague, tick)
        });
        due.map(|colleague| colleague.id).collect()
    }

    fn hub<'a>(&'a self, charter: &'a Charter) -> Hub<'a> {
        Hub { people: &self.ledger.people, outside: &charter.outside, limits: charter.limits, tick: self.next }
    }

    fn question(&self, person: i64) -> Option<Question> {
        let (tick, charter) = (self.next, self.ledger.charter.as_ref()?);
        let (colleague, desk) = (self.ledger.people.get(&person)?, self.desks.get(&person)?);
        let others = self.ledger.people.values().filter(|other| other.id != person);
        let copies = self.hub(charter).suggested_copies(person);
        let handle = |id: &i64| self.ledger.people.get(id).map(|other| other.handle.clone());
        let adjustments = desk.tray.iter().filter_map(|mail| mail.action_item.clone());
        Some(Question {
            person,
            name: colleague.name.clone(),
            role: colleague.role.clone(),
            team: colleague.team.clone(),
            habits: colleague.habits.clone(),
            tick,
            clock: self.almanac.clock(tick),
            ticks_left: self.almanac.begin_of(self.almanac.day(tick) + 1) - tick,
            is_first_of_day: desk.planned_day.is_none_or(|day| day < self.almanac.day(tick)),
            mail: desk.tray.clone(),
            adjustments: adjustments.collect(),
            colleagues: others.map(|other| [other.handle.clone(), other.role.clone(), other.team.clone()]).collect(),
            suggested_copies: copies.iter().filter_map(handle).collect(),
            sent_today: desk.today.emails + desk.today.chats,
            chance: chance(charter.seed, &[PLAN, person, tick.cast_signed()]),
        })
    }

    /// What follows from an answer.
    fn act(&self, question: Question, recorded: Recorded) -> Act {
        let (tick, person) = (question.tick, question.person);
        let (lines, mut refused) = read_plan(&recorded.answer.plan, &self.almanac, tick);
        let mut outgoing = Vec::new();
        let mut next_look = tick + 1;
        if let (Some(charter), Some(colleague), Some(desk)) =
            (&self.ledger.charter, self.ledger.people.get(&person), self.desks.get(&person))
        {
            let mut dispatch = self.hub(charter).dispatch(colleague, desk, lines);
            refused.append(&mut dispatch.refused);
            outgoing = dispatch.outgoing;
            next_look = tick + u64::from(colleague.habits.look_every.max(1));
        }
        let outside = outgoing
            .iter()
            .flat_map(|sent| sent.outside.iter().map(|address| (address.clone(), sent.mail.id)).collect::<Vec<_>>());
        let row = AnswerRow {
            tick,
            person,
            hash: recorded.hash,
            planner: recorded.planner,
            answer: recorded.answer,
            attempts: recorded.attempts,
            fallback: recorded.fallback,
            took_ms: recorded.took_ms,
            read: question.mail.iter().map(|mail| mail.id).collect(),
            sent: outgoing.iter().map(|sent| sent.mail.id).collect(),
            outside: outside.collect(),
            refused,
        };
        let moment = |sent: Outgoing| (self.moment(sent.mail.lands), sent);
        Act { row, day: self.almanac.day(tick), outgoing: outgoing.into_iter().map(moment).collect(), next_look }
    }

    /// Whose day is over and has no report yet.
    fn unclosed(&self) -> Vec<i64> {
        if !self.almanac.is_last_of_day(self.next) {
            return Vec::new();
        }
        let day = self.almanac.day(self.next);
        // Mail that came to who did not work is told of with their next day's.
        let open = |desk: &Desk| desk.planned_day == Some(day) && desk.closed_day.is_none_or(|closed| closed < day);
        self.desks.iter().filter(|(_, desk)| open(desk)).map(|(person, _)| *person).collect()
    }

    async fn close(&mut self) -> Result<(), OfficeError> {
        let (day, tick, people) = (self.almanac.day(self.next), self.next, self.unclosed());
        let mut asked = Vec::new();
        for person in &people {
            let key = format!("{}/close/{person}/{day}", self.ledger.run);
            let draft = Draft::to(*person, &DeskPost::Close { day, tick })?.kind("close").key(key);
            asked.push(self.runtime.ask::<()>(draft));
        }
        for asked in asked {
            asked.await?;
        }
        for person in people {
            self.read_desk(person).await?;
        }
        Ok(())
    }

    fn move_clock(&self, tick: u64) {
        self.clock.advance(self.moment(tick).since(self.clock.now()));
    }

    /// When a tick begins for the house.
    fn moment(&self, tick: u64) -> Timestamp {
        self.almanac.moment(tick).after(Duration::from_micros(self.ledger.later_micros.unsigned_abs()))
    }

    async fn read_ledger(&mut self) -> Result<(), OfficeError> {
        self.ledger = self.runtime.state(OFFICE, LedgerRoutine::NAME).await?.ok_or(OfficeError::NotFounded)?;
        let charter = self.ledger.charter.as_ref().ok_or(OfficeError::NotFounded)?;
        self.almanac = charter.almanac(self.ledger.people.values())?;
        Ok(())
    }

    async fn read_desk(&mut self, person: i64) -> Result<(), OfficeError> {
        if !self.ledger.people.contains_key(&person) {
            return Ok(());
        }
        let desk: Desk = self.runtime.state(person, DeskRoutine::NAME).await?.unwrap_or_default();
        self.agenda.look(&self.ledger, &self.almanac, person, &desk, self.next);
        self.desks.insert(person, desk);
        Ok(())
    }

    fn look_at_all(&mut self) {
        let gone: Vec<_> = self.ledger.left.keys().filter(|person| !self.desks.contains_key(person)).copied().collect();
        for person in gone {
            self.agenda.look(&self.ledger, &self.almanac, person, &Desk::default(), self.next);
        }
        for (person, desk) in &self.desks {
            self.agenda.look(&self.ledger, &self.almanac, *person, desk, self.next);
        }
    }

    /// Makes the roster what the ledger says, also after a kill between the two.
    async fn reconcile(&self) -> Result<(), OfficeError> {
        let staff = [Person::new(OFFICE, "office"), Person::new(CHRONICLE, "chronicle")];
        let wanted: Vec<_> = staff.into_iter().chain(self.ledger.people.values().map(Colleague::person)).collect();
        let roster = self.runtime.roster();
        if !wanted.iter().eq(roster.people()) {
            self.runtime.sync(wanted).await?;
        }
        for (person, purge) in &self.ledger.left {
            if *purge {
                self.runtime.leave(PersonId(*person), Departure::Purge).await?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Office").field("next", &self.next).field("people", &self.ledger.people.len()).finish()
    }
}
