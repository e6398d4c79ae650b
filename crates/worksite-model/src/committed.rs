//! A fact: [`Committed`] is a change that has become durable, with what the store gave to it, and [`Fact`] is a piece
//! of it that a subscriber is told.

use crate::flow::{JobId, JobStatus, JobWrite};
use crate::{
    Announcement, Burial, Change, Draft, Durable, Entry, Envelope, EnvelopeId, Grant, Person, PersonId, Removal, Retry,
    RosterDifference, Run, RunWrite, Settlement, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// A change that has become durable. Only Persistence makes one (house rule 2).
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Whose worker decided it; nobody when it came from outside.
    pub author: Option<PersonId>,
    /// When it was committed.
    pub at: Timestamp,
    /// Whether all mail and state was cleared before the rest.
    pub cleared: bool,
    /// What changed in the roster.
    pub roster: Option<RosterDifference>,
    /// What was accepted, in order of ids.
    pub envelopes: Vec<Arc<Envelope>>,
    /// What is done.
    pub settled: Vec<Settlement>,
    /// What gets another attempt.
    pub retried: Vec<Retry>,
    /// What was given up.
    pub buried: Vec<Burial>,
    /// What was removed: acknowledged by the application, purged or cleared.
    pub removed: Vec<Removal>,
    /// What gave way to newer mail in a full inbox.
    pub dropped: Vec<Removal>,
    /// Dead letters that have gone, to be sent again or for good.
    pub exhumed: Vec<EnvelopeId>,
    /// Who left with all they had.
    pub purged: Vec<PersonId>,
    /// Whose workers rest from now on, or go on.
    pub paused: Vec<(PersonId, bool)>,
    /// How many drafts of a routine were not accepted because they came too soon after another.
    pub cooled: usize,
    /// Runs that were added, or stand otherwise than before.
    pub runs: Vec<Arc<Run>>,
    /// Jobs as they are now.
    pub jobs: Vec<JobWrite>,
    /// What routines want told.
    pub announcements: Vec<Announcement>,
}

impl Committed {
    /// [`Change::unseats`].
    pub fn unseats(&self) -> bool {
        self.cleared || self.roster.is_some() || !self.paused.is_empty()
    }

    /// The fact that this change, with what the store granted it, is durable.
    pub fn new(change: Change, grant: Grant, at: Timestamp) -> Self {
        let purged = change.roster.as_ref().zip(grant.roster.as_ref());
        let purged = purged.map(|(roster, difference)| roster.purged(difference)).unwrap_or_default();
        let cooled = grant.entries.iter().filter(|entry| matches!(entry, Entry::Cooling { .. })).count();
        let accepted_at = change.numbering.map_or(at, |numbering| numbering.at);
        let envelopes = change.drafts.into_iter().zip(&grant.entries).filter_map(|(draft, entry)| match entry {
            // The cooldown was the door's to keep; the store does not have it either.
            Entry::Accepted(id) => {
                Some(Arc::new(Envelope { id: *id, accepted_at, draft: Draft { cooldown: None, ..draft } }))
            }
            Entry::Known { .. } | Entry::Cooling { .. } => None,
        });
        Self {
            author: change.author,
            at,
            cleared: change.clear,
            envelopes: envelopes.collect(),
            roster: grant.roster,
            settled: change.settled,
            retried: change.retried,
            buried: change.buried,
            removed: grant.removed,
            dropped: grant.dropped,
            exhumed: change.exhumed,
            purged,
            paused: change.paused,
            cooled,
            runs: change.runs.iter().filter_map(moved).cloned().collect(),
            jobs: change.jobs,
            announcements: change.announcements,
        }
    }

    /// What subscribers are told of it, in order.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        let author = self.author.unwrap_or(PersonId(0));
        let roster = self.roster.iter().flat_map(|difference| {
            let joined = difference.joined.iter().cloned().map(|person| Fact::Joined { person });
            let changed = difference.changed.iter().cloned().map(|person| Fact::Renamed { person });
            let left = difference.left.iter().map(|person| Fact::Left { person: *person });
            joined.chain(changed).chain(left)
        });
        let cleared = self.cleared.then_some(Fact::Cleared);
        let accepted = self.envelopes.iter().map(|envelope| Fact::Accepted { envelope: envelope.clone() });
        let settled = self.settled.iter().map(move |settlement| Fact::Settled {
            person: author,
            envelope: settlement.envelope.clone(),
            routine: settlement.routine.into(),
        });
        let retried = self.retried.iter().map(move |retry| Fact::Retried { person: author, retry: retry.clone() });
        let buried = self.buried.iter().map(move |burial| Fact::Buried { person: author, burial: burial.clone() });
        let removed = self.removed.iter().map(|gone| Fact::Removed { person: gone.person, id: gone.id });
        let dropped = self.dropped.iter().map(|gone| Fact::Dropped { person: gone.person, id: gone.id });
        let exhumed = self.exhumed.iter().map(|id| Fact::Exhumed { id: *id });
        let paused = self.paused.iter().map(|(person, rests)| match rests {
            true => Fact::Paused { person: *person },
            false => Fact::Resumed { person: *person },
        });
        let runs = self.runs.iter().map(|run| Fact::RunMoved { run: run.clone() });
        let announced = self
            .announcements
            .iter()
            .map(move |announcement| Fact::Announced { person: author, announcement: announcement.clone() });
        let ended = self.jobs.iter().filter(|write| write.job.status.is_final());
        let ended =
            ended.map(|write| Fact::JobEnded { person: write.job.worker, job: write.job.id, status: write.job.status });
        cleared
            .into_iter()
            .chain(removed)
            .chain(dropped)
            .chain(exhumed)
            .chain(roster)
            .chain(paused)
            .chain(settled)
            .chain(retried)
            .chain(buried)
            .chain(accepted)
            .chain(runs)
            .chain(ended)
            .chain(announced)
    }
}

/// The run this write leaves, if it stands otherwise than before.
fn moved(write: &RunWrite) -> Option<&Arc<Run>> {
    match write {
        RunWrite::Add(run) => Some(run),
        RunWrite::Update { guard, run } => Some(run).filter(|run| run.status != guard.status),
        _ => None,
    }
}

/// What subscribers are told, after it has become durable and in commit order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fact {
    /// Somebody became active.
    Joined {
        /// Who.
        person: Person,
    },
    /// Somebody active has another name or role.
    Renamed {
        /// Who, as they are now.
        person: Person,
    },
    /// Somebody is no longer active.
    Left {
        /// Who.
        person: PersonId,
    },
    /// A draft became an envelope.
    Accepted {
        /// The envelope.
        envelope: Arc<Envelope>,
    },
    /// A worker is done with an envelope.
    Settled {
        /// Whose worker.
        person: PersonId,
        /// Which envelope.
        envelope: Arc<Envelope>,
        /// Which routine did it.
        routine: Cow<'static, str>,
    },
    /// An envelope gets another attempt.
    Retried {
        /// Whose.
        person: PersonId,
        /// Which, when, and why.
        retry: Retry,
    },
    /// An envelope was given up and is a dead letter now.
    Buried {
        /// Whose.
        person: PersonId,
        /// Which, and why.
        burial: Burial,
    },
    /// The application acknowledged or removed an envelope.
    Removed {
        /// Whose.
        person: PersonId,
        /// Which.
        id: EnvelopeId,
    },
    /// An envelope gave way to a newer one in a full inbox.
    Dropped {
        /// Whose.
        person: PersonId,
        /// Which.
        id: EnvelopeId,
    },
    /// A dead letter has gone: it is sent again, as another envelope, or nobody wants it.
    Exhumed {
        /// Which.
        id: EnvelopeId,
    },
    /// A worker rests: only its control mail is taken.
    Paused {
        /// Whose.
        person: PersonId,
    },
    /// A worker goes on.
    Resumed {
        /// Whose.
        person: PersonId,
    },
    /// All mail and state was cleared.
    Cleared,
    /// A run was added, or stands otherwise than before.
    RunMoved {
        /// The run, as it is now.
        run: Arc<Run>,
    },
    /// A job of a flow has ended.
    JobEnded {
        /// Whose worker.
        person: PersonId,
        /// Which job.
        job: JobId,
        /// How.
        status: JobStatus,
    },
    /// A routine had something to tell.
    Announced {
        /// Whose worker.
        person: PersonId,
        /// What.
        announcement: Announcement,
    },
}

impl Durable for Fact {
    const TYPE: &'static str = "fact";
}

impl Fact {
    /// Whom it is about, if anybody.
    pub fn person(&self) -> Option<PersonId> {
        match self {
            Self::Joined { person } | Self::Renamed { person } => Some(person.id),
            Self::Accepted { envelope } => Some(envelope.draft.to),
            Self::Left { person }
            | Self::Settled { person, .. }
            | Self::Retried { person, .. }
            | Self::Buried { person, .. }
            | Self::Removed { person, .. }
            | Self::Dropped { person, .. }
            | Self::Paused { person }
            | Self::Resumed { person }
            | Self::JobEnded { person, .. }
            | Self::Announced { person, .. } => Some(*person),
            Self::Exhumed { .. } | Self::Cleared | Self::RunMoved { .. } => None,
        }
    }

    /// The envelope it is about, where it carries it: accepted, settled and buried ones do.
    pub fn envelope(&self) -> Option<&Arc<Envelope>> {
        match self {
            Self::Accepted { envelope } | Self::Settled { envelope, .. } => Some(envelope),
            Self::Buried { burial, .. } => Some(&burial.envelope),
            _ => None,
        }
    }

    /// The routine whose doing it is, where it says so.
    pub fn routine(&self) -> Option<&str> {
        match self {
            Self::Settled { routine, .. } => Some(routine),
            _ => None,
        }
    }
}
