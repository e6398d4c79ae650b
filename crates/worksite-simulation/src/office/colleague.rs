//! Who works in the office: a [`Colleague`] with hours and habits, and what keeps one away for a while ([`Absence`]).

use super::{Hours, OfficeError};
use serde::{Deserialize, Serialize};
use worksite_model::{Person, PersonId};

/// Somebody who works in the office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Colleague {
    /// The number under which mail finds them, from 1.
    pub id: i64,
    /// Their name; no two are called the same, whatever the case.
    pub name: String,
    /// Their handle: a short name without spaces, and the first half of their address.
    pub handle: String,
    /// What they do here.
    pub role: String,
    /// Whom they work with.
    pub team: String,
    /// Whether they lead: told of sick leave and of what clients want.
    pub is_head: bool,
    /// When they work.
    pub hours: Hours,
    /// How they correspond.
    pub habits: Habits,
}

/// How somebody corresponds, in whole numbers, so that a run is the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Habits {
    /// How many conversations they begin on a day, in thousandths.
    pub begins_per_mille: u32,
    /// How many of a thousand messages they answer.
    pub answers_per_mille: u32,
    /// How many minutes an answer takes: quantiles at equal steps, the shortest first.
    pub answer_minutes: Vec<u32>,
    /// How many of a thousand conversations are chats; the others are e-mails.
    pub chats_per_mille: u32,
    /// They look at their mail so many minutes apart; urgent mail they see at once.
    pub look_every: u32,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            begins_per_mille: 3_000,
            answers_per_mille: 600,
            answer_minutes: vec![1, 5, 15, 40, 120],
            chats_per_mille: 400,
            look_every: 10,
        }
    }
}

impl Habits {
    /// How many minutes an answer takes, by chance.
    pub fn answer_delay(&self, chance: u64) -> u64 {
        let Some(last) = self.answer_minutes.len().checked_sub(1) else { return 1 };
        // A place between two quantiles, in thousandths.
        let place = chance % (last as u64 * 1_000 + 1);
        let (index, part) = ((place / 1_000) as usize, place % 1_000);
        let low = u64::from(self.answer_minutes[index]);
        let high = self.answer_minutes.get(index + 1).map_or(low, |high| u64::from(*high));
        (low + high.saturating_sub(low) * part / 1_000).max(1)
    }
}

impl Colleague {
    /// A colleague with usual hours and habits, in UTC.
    pub fn new(id: i64, name: impl Into<String>) -> Self {
        let name = name.into();
        let handle = name.to_lowercase().replace(' ', ".");
        let hours = Hours { from_minute: 9 * 60, until_minute: 17 * 60, time_zone: "UTC".into(), weekends: false };
        let (role, team) = (String::new(), "office".to_string());
        Self { id, name, handle, role, team, is_head: false, hours, habits: Habits::default() }
    }

    /// Where mail reaches them from inside.
    pub fn address(&self) -> String {
        format!("{}@office.example", self.handle)
    }

    /// Whether somebody means them by this: their name, handle or address, whatever the case.
    pub fn is_called(&self, name: &str) -> bool {
        let name = name.trim().trim_start_matches('@').to_lowercase();
        name == self.name.to_lowercase() || name == self.handle.to_lowercase() || name == self.address().to_lowercase()
    }

    /// Them in the house.
    pub fn person(&self) -> Person {
        Person::new(PersonId(self.id), self.name.clone()).with_role(self.role.clone())
    }

    /// Looks at what can be wrong with one alone.
    ///
    /// # Errors
    /// [`OfficeError::Colleague`].
    pub fn check(&self) -> Result<(), OfficeError> {
        let problem = if self.id < 1 {
            "numbers begin at 1"
        } else if self.name.trim().is_empty() || self.handle.is_empty() {
            "a name and a handle are needed"
        } else if self.handle.contains(char::is_whitespace) {
            "a handle has no spaces"
        } else if self.habits.answer_minutes.windows(2).any(|pair| pair[0] > pair[1]) {
            "the quantiles of answers do not rise"
        } else {
            return Ok(());
        };
        Err(OfficeError::Colleague { id: self.id, problem: problem.into() })
    }
}

/// Why somebody is away for a while. Seed 000's engine forgot that leave is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Absence {
    /// They are not here.
    Absent,
    /// They are here and cannot be reached.
    Offline,
    /// They are ill.
    SickLeave,
    /// They are on holiday.
    OnLeave,
}

/// A status that holds for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusOverride {
    /// Why they are away.
    pub absence: Absence,
    /// In this tick they are back.
    pub until: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colleague_is_found_by_name_handle_and_address() {
        let ada = Colleague::new(1, "Ada Byron");
        for name in ["ada byron", "ADA.BYRON", "@ada.byron", " ada.byron@office.example "] {
            assert!(ada.is_called(name), "{name}");
        }
        assert!(!ada.is_called("ada") && !ada.is_called(""));
    }

    #[test]
    fn delays_lie_between_the_quantiles_and_follow_them() {
        let habits = Habits { answer_minutes: vec![2, 10, 100], ..Habits::default() };
        let mut delays: Vec<_> = (0..2_001).map(|chance| habits.answer_delay(chance)).collect();
        delays.sort_unstable();
        assert_eq!((delays[0], delays[1_000], delays[2_000]), (2, 10, 100));
        assert_eq!(Habits { answer_minutes: vec![], ..habits }.answer_delay(7), 1);
    }

    #[test]
    fn what_is_wrong_with_a_colleague_is_said() {
        assert!(Colleague::new(1, "ada").check().is_ok());
        assert!(Colleague::new(0, "ada").check().is_err() && Colleague::new(1, " ").check().is_err());
        let mut falling = Colleague::new(1, "ada");
        falling.habits.answer_minutes = vec![3, 2];
        assert!(falling.check().is_err());
    }
}
