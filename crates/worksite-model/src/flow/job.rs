//! A job is one request posted to a flow, followed until its last consequence has ended: its id, its status, which ends
//! exactly once, and what it carries along.

use crate::flow::Post;
use crate::limits::{OUTPUT_BYTES_MAX, TRACE_ENTRIES_MAX};
use crate::{Durable, Encoding, Envelope, EnvelopeId, Payload, PersonId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How many bits of a job's id say which datum of its post it is.
const PLACE_BITS: u32 = 20;

/// Data one post may carry: each becomes a job.
pub const POST_DATA_MAX: usize = 1 << PLACE_BITS;

/// A job's id: it follows from the envelope its post became, so it is known as soon as the post is durable. Those of
/// volatile jobs are negative, and only this life of the house knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub i64);

impl JobId {
    /// The job of this datum of the post that became this envelope.
    pub fn of(envelope: EnvelopeId, place: usize) -> Self {
        let place = i64::try_from(place.min(POST_DATA_MAX - 1)).unwrap_or(0);
        Self((envelope.0 << PLACE_BITS) | place)
    }

    /// The envelope its post became; nothing for a volatile one.
    pub fn envelope(self) -> Option<EnvelopeId> {
        (self.0 > 0).then_some(EnvelopeId(self.0 >> PLACE_BITS))
    }

    /// Which datum of its post it is, counted from 0.
    pub fn place(self) -> usize {
        usize::try_from(self.0 & ((1 << PLACE_BITS) - 1)).unwrap_or(0)
    }

    /// Whether it is never written.
    pub fn is_volatile(self) -> bool {
        self.0 < 0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.envelope() {
            Some(envelope) if self.place() == 0 => write!(f, "job_{envelope}"),
            Some(envelope) => write!(f, "job_{envelope}.{}", self.place()),
            None => write!(f, "job_v{}", -self.0),
        }
    }
}

/// A text is no job's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a job: job_7 is expected, or job_7.3")]
pub struct NotAJobId(pub String);

impl FromStr for JobId {
    type Err = NotAJobId;

    fn from_str(text: &str) -> Result<Self, NotAJobId> {
        let digits =
            |part: &str| part.parse::<i64>().ok().filter(|_| part.starts_with(|digit: char| digit.is_ascii_digit()));
        let read = || {
            let rest = text.strip_prefix("job_")?;
            if let Some(volatile) = rest.strip_prefix('v') {
                return digits(volatile).filter(|number| *number > 0).map(|number| Self(-number));
            }
            let (envelope, place) = rest.split_once('.').unwrap_or((rest, "0"));
            let envelope = digits(envelope).filter(|envelope| (1..=i64::MAX >> PLACE_BITS).contains(envelope))?;
            let place = usize::try_from(digits(place)?).ok().filter(|place| *place < POST_DATA_MAX)?;
            Some(Self::of(EnvelopeId(envelope), place))
        };
        read().ok_or_else(|| NotAJobId(text.to_string()))
    }
}

/// How a job stands. The last three are final: no store writes a job that has one of them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JobStatus {
    /// Its post is accepted, and no routine has it yet.
    Pending = 0,
    /// Something of it waits in a slot, or is being worked on.
    Running = 1,
    /// Its last consequence has ended.
    Completed = 2,
    /// A routine that stops on errors failed, or its deadline passed.
    Failed = 3,
    /// It was called off.
    Cancelled = 4,
}

impl JobStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// Whether it is final.
    pub fn is_final(self) -> bool {
        self >= Self::Completed
    }

    /// The word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with this number in a file.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as i64 == number)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A job, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose worker has it.
    pub worker: PersonId,
    /// Which flow.
    pub flow: Arc<str>,
    /// How it stands.
    pub status: JobStatus,
    /// When its post was accepted.
    pub created_at: Timestamp,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// Failed if it has not ended by then.
    pub deadline: Option<Timestamp>,
    /// The job that posted it.
    pub parent: Option<JobId>,
    /// Why it failed or was cancelled.
    pub error: Option<String>,
    /// What it carries along; nothing when that is nothing.
    pub body: Option<Payload>,
}

impl Job {
    /// A job as it stands while its post waits in this envelope, without what it carries along, and the post; nothing when the
    /// envelope holds no such job.
    pub fn waiting(id: JobId, envelope: &Envelope, flow: Option<&str>) -> Option<(Self, Post)> {
        let post = envelope.draft.payload.decode::<Post>().ok().filter(|post| id.place() < post.len())?;
        let job = Self {
            id,
            worker: envelope.draft.to,
            flow: flow.unwrap_or_default().into(),
            status: JobStatus::Pending,
            created_at: envelope.accepted_at,
            ended_at: None,
            deadline: post.deadline,
            parent: post.parent,
            error: None,
            body: None,
        };
        Some((job, post))
    }

    /// What it carries along; nothing when it cannot be read.
    pub fn notes(&self) -> JobNotes {
        self.body.as_ref().and_then(|body| body.decode().ok()).unwrap_or_default()
    }
}

/// A job as it is to be from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobWrite {
    /// The job.
    pub job: Job,
    /// Whether the store has it already. One that has ended there refuses the whole change.
    pub known: bool,
}

/// What a job carries along: written by whoever posts it and by the routines that work on it, bounded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobNotes {
    /// What the poster said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    /// What routines keep for it, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, serde_json::Value>,
    /// What happened to it, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<TraceEntry>,
    /// How many older entries of the trace have gone.
    #[serde(default)]
    pub trace_lost: u64,
    /// What routines have said, the newest last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// How many older bytes of the output have gone.
    #[serde(default)]
    pub output_lost: u64,
}

impl Durable for JobNotes {
    const TYPE: &'static str = "job notes";
    const ENCODING: Encoding = Encoding::Json;
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// When, in microseconds.
    pub at: i64,
    /// At which routine.
    pub routine: String,
    /// What.
    pub action: String,
}

impl JobNotes {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds to the trace; the oldest entry gives way.
    pub(crate) fn note(&mut self, entry: TraceEntry) {
        if self.trace.len() >= TRACE_ENTRIES_MAX {
            self.trace.remove(0);
            self.trace_lost += 1;
        }
        self.trace.push(entry);
    }

    /// Adds to the output; the oldest bytes give way, in whole characters.
    pub(crate) fn say(&mut self, text: &str) {
        self.output.push_str(text);
        let surplus = self.output.len().saturating_sub(OUTPUT_BYTES_MAX);
        if surplus > 0 {
            let cut = (surplus..=self.output.len()).find(|cut| self.output.is_char_boundary(*cut));
            let cut = cut.unwrap_or(self.output.len());
            self.output.drain(..cut);
            self.output_lost += cut as u64;
        }
    }
}

/// The jobs a datum belongs to: one, or those of all data it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobSet {
    /// One.
    One(JobId),
    /// Several, in order, each once.
    Many(Arc<[JobId]>),
}

impl JobSet {
    /// The jobs, in order.
    pub fn ids(&self) -> &[JobId] {
        match self {
            Self::One(job) => std::slice::from_ref(job),
            Self::Many(jobs) => jobs,
        }
    }

    /// All of these together; nothing when there are none.
    pub fn union<'a>(sets: impl IntoIterator<Item = &'a JobSet>) -> Option<Self> {
        let mut sets = sets.into_iter();
        let first = sets.next()?;
        let mut all: Option<Vec<JobId>> = None;
        for set in sets.filter(|set| *set != first) {
            all.get_or_insert_with(|| first.ids().to_vec()).extend_from_slice(set.ids());
        }
        let Some(mut all) = all else { return Some(first.clone()) };
        all.sort_unstable();
        all.dedup();
        Some(match all[..] {
            [one] => Self::One(one),
            _ => Self::Many(all.into()),
        })
    }
}

/// Which jobs are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only this worker's.
    pub worker: Option<PersonId>,
    /// Only this flow's.
    pub flow: Option<String>,
    /// Only those that stand so.
    pub status: Option<JobStatus>,
    /// Only those that this job posted.
    pub parent: Option<JobId>,
    /// Only those that have not ended.
    pub open: bool,
    /// Only those after this one.
    pub after: Option<JobId>,
}

impl JobFilter {
    /// Whether this job is meant.
    pub fn fits(&self, job: &Job) -> bool {
        self.worker.is_none_or(|worker| worker == job.worker)
            && self.flow.as_deref().is_none_or(|flow| flow == &*job.flow)
            && self.status.is_none_or(|status| status == job.status)
            && self.parent.is_none_or(|parent| job.parent == Some(parent))
            && (!self.open || !job.status.is_final())
            && self.after.is_none_or(|after| job.id > after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_envelope_and_its_place() {
        let job = JobId::of(EnvelopeId(77), 1_000);
        assert_eq!((job.envelope(), job.place(), job.is_volatile()), (Some(EnvelopeId(77)), 1_000, false));
        assert_eq!(job.to_string(), "job_77.1000");
        assert!(JobId::of(EnvelopeId(78), 0) > job);
    }

    #[test]
    fn an_id_comes_back_from_its_text_and_other_texts_are_none() {
        for id in [JobId::of(EnvelopeId(7), 0), JobId::of(EnvelopeId(i64::MAX >> 20), POST_DATA_MAX - 1), JobId(-3)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in [
            "",
            "7",
            "job_",
            "job_0",
            "job_-7",
            "job_+7",
            "job_7.",
            "job_7.1048576",
            "job_8796093022208",
            "job_v0",
            "job_v-1",
        ] {
            assert_eq!(text.parse::<JobId>(), Err(NotAJobId(text.into())));
        }
    }

    #[test]
    fn together_jobs_are_in_order_and_each_once() {
        let one = |id| JobSet::One(JobId(id));
        let two = JobSet::union([&one(9), &one(3)]).unwrap();
        assert_eq!(two.ids(), [JobId(3), JobId(9)]);
        assert_eq!(JobSet::union([&two, &one(9), &two]), Some(two));
        assert_eq!(JobSet::union([&one(9), &one(9)]), Some(one(9)));
        assert_eq!(JobSet::union([]), None);
    }

    #[test]
    fn trace_and_output_are_bounded_and_say_what_has_gone() {
        let mut notes = JobNotes::default();
        for at in 0..300 {
            notes.note(TraceEntry { at, routine: "r".into(), action: "a".into() });
        }
        assert_eq!((notes.trace.len(), notes.trace[0].at, notes.trace_lost), (256, 44, 44));
        notes.say(&"ä".repeat(OUTPUT_BYTES_MAX / 2));
        notes.say("x");
        assert_eq!((notes.output.len(), notes.output_lost), (OUTPUT_BYTES_MAX - 1, 2), "no half character stays");
    }
}
