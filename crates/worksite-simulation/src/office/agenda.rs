//! The agenda owns when somebody has something to do next, so that a tick in which nobody has costs nothing.

use super::{Almanac, Desk, Ledger};
use std::collections::{BTreeMap, BTreeSet};

/// How many days ahead the agenda looks; who has nothing to do until then is looked at again.
const DAYS_AHEAD: u64 = 8;

/// What is to come.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// When each colleague has something to do next.
    due: BTreeMap<i64, u64>,
    /// Whose desk mail lands on, and when.
    landing: BTreeMap<u64, BTreeSet<i64>>,
}

impl Agenda {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Mail is on its way.
    pub(crate) fn expect(&mut self, lands: u64, recipients: impl IntoIterator<Item = i64>) {
        self.landing.entry(lands).or_default().extend(recipients);
    }

    /// On whose desks mail has landed until this tick.
    pub(crate) fn landed(&mut self, tick: u64) -> BTreeSet<i64> {
        let later = self.landing.split_off(&(tick + 1));
        std::mem::replace(&mut self.landing, later).into_values().flatten().collect()
    }

    /// Looks again when somebody has something to do.
    pub(crate) fn look(&mut self, ledger: &Ledger, almanac: &Almanac, person: i64, desk: &Desk, from: u64) {
        match next_due(ledger, almanac, person, desk, from) {
            Some(tick) => self.due.insert(person, tick),
            None => self.due.remove(&person),
        };
    }

    /// The next tick from this one on in which anything happens.
    pub(crate) fn next(&self, ledger: &Ledger, almanac: &Almanac, from: u64) -> Option<u64> {
        let due = self.due.values().min().copied();
        let landing = self.landing.keys().next().copied();
        let happening = ledger.happenings.iter().filter(|happening| happening.fired.is_none());
        let happening = happening.map(|happening| happening.at_tick).min();
        let close = almanac.begin_of(almanac.day(from) + 1).saturating_sub(1);
        let odds = ledger.charter.as_ref().map(|charter| charter.odds);
        let chance = odds.and_then(|odds| (from..close).find(|tick| odds.are_drawn_in(almanac, *tick)));
        let next = [due, landing, happening, chance].into_iter().flatten().map(|tick| tick.max(from)).min();
        (!ledger.people.is_empty()).then(|| next.unwrap_or(close).min(close))
    }
}

/// Whether somebody has something to do in this tick, if they work in it.
pub(crate) fn is_due(almanac: &Almanac, desk: &Desk, tick: u64) -> bool {
    if desk.acted.is_some_and(|acted| acted >= tick) {
        return false;
    }
    let is_new_day = desk.planned_day.is_none_or(|day| day < almanac.day(tick));
    let urgent = desk.tray.first().is_some_and(|mail| mail.is_urgent);
    is_new_day || urgent || (!desk.tray.is_empty() && tick >= desk.next_look)
}

fn next_due(ledger: &Ledger, almanac: &Almanac, person: i64, desk: &Desk, from: u64) -> Option<u64> {
    let colleague = ledger.people.get(&person)?;
    let day = almanac.day(from);
    // Without mail there is nothing before the next day's plan.
    let begin = if desk.tray.is_empty() && desk.planned_day == Some(day) { almanac.begin_of(day + 1) } else { from };
    let end = almanac.begin_of(day + DAYS_AHEAD);
    let due = |tick: &u64| is_due(almanac, desk, *tick) && ledger.is_at_work(almanac, colleague, *tick);
    Some((begin..end).find(due).unwrap_or(end))
}
