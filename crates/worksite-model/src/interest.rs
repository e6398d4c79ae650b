//! What a subscriber wants to hear: [`Interest`], looked at before a fact is put into anybody's queue. A value; all parts
//! must fit.

use crate::{Durable, Encoding, Fact, PersonId, Priority};
use serde::{Deserialize, Serialize};

/// What a subscriber wants to hear. An empty interest means everything; each part that is set narrows it. A fact that is
/// about no envelope has no kind and no priority; one that is no routine's doing has no routine.
///
/// ```
/// use worksite_model::{Fact, Interest, PersonId};
///
/// let interest = Interest::everything().person(7);
/// assert!(interest.fits(&Fact::Left { person: PersonId(7) }) && !interest.fits(&Fact::Left { person: PersonId(8) }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interest {
    /// About one of these people; about anybody when there is none here.
    pub people: Vec<PersonId>,
    /// About an envelope of one of these kinds; of any when there is none here.
    pub kinds: Vec<String>,
    /// By one of these routines; by any when there is none here.
    pub routines: Vec<String>,
    /// About an envelope of this priority or a higher one.
    pub priority_min: Option<Priority>,
    /// Only what has been dealt with: settled or buried.
    pub processed_only: bool,
}

impl Durable for Interest {
    const TYPE: &'static str = "interest";
    const ENCODING: Encoding = Encoding::Json;
}

impl Interest {
    /// Everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// About this person, or another that was named.
    #[must_use]
    pub fn person(mut self, person: impl Into<PersonId>) -> Self {
        self.people.push(person.into());
        self
    }

    /// About an envelope of this kind, or another that was named.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// By this routine, or another that was named.
    #[must_use]
    pub fn routine(mut self, routine: impl Into<String>) -> Self {
        self.routines.push(routine.into());
        self
    }

    /// About an envelope of this priority or a higher one.
    #[must_use]
    pub fn at_least(mut self, priority: Priority) -> Self {
        self.priority_min = Some(priority);
        self
    }

    /// Only what has been dealt with, well (settled) or badly (buried): seed 004's broadcast after processing.
    #[must_use]
    pub fn processed(mut self) -> Self {
        self.processed_only = true;
        self
    }

    /// Whether this fact is wanted.
    pub fn fits(&self, fact: &Fact) -> bool {
        let envelope = || fact.envelope();
        let kind = || envelope().and_then(|envelope| envelope.draft.kind.as_deref());
        (self.people.is_empty() || fact.person().is_some_and(|person| self.people.contains(&person)))
            && (self.kinds.is_empty() || kind().is_some_and(|kind| self.kinds.iter().any(|named| named == kind)))
            && (self.routines.is_empty()
                || fact.routine().is_some_and(|routine| self.routines.iter().any(|named| named == routine)))
            && self.priority_min.is_none_or(|least| envelope().is_some_and(|envelope| envelope.draft.priority >= least))
            && (!self.processed_only || matches!(fact, Fact::Settled { .. } | Fact::Buried { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Draft, Envelope, EnvelopeId, Timestamp};
    use std::sync::Arc;

    #[test]
    fn each_part_narrows() {
        let draft = Draft::to(1, &1_u64).unwrap().kind("report").priority(Priority::High);
        let envelope = Arc::new(Envelope { id: EnvelopeId(1), accepted_at: Timestamp::default(), draft });
        let accepted = Fact::Accepted { envelope: envelope.clone() };
        let settled = Fact::Settled { person: PersonId(1), envelope, routine: "clerk".into() };
        let all = Interest::everything;
        for fact in [&accepted, &settled] {
            assert!(all().person(2).person(1).kind("report").at_least(Priority::High).fits(fact));
            for other in [all().person(2), all().kind("mail"), all().at_least(Priority::Urgent), all().routine("x")] {
                assert!(!other.fits(fact));
            }
        }
        assert!(all().processed().routine("clerk").fits(&settled) && !all().processed().fits(&accepted));
        assert!(!all().kind("report").fits(&Fact::Cleared));
    }
}
