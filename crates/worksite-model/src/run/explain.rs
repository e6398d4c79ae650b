//! Why a run is not running, and why a runner has nothing to do: [`RunExplanation`] and [`RunnerExplanation`], for people
//! (`Display`) and for programs.

use crate::run::board::RunBoard;
use crate::run::index::Hold;
use crate::run::runner::Standby;
use crate::{Capabilities, Demand, Demands, Run, RunId, RunStatus, RunnerInfo, Timestamp};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a run is not running.
#[derive(Debug, Clone, PartialEq)]
pub struct RunExplanation {
    /// Which run.
    pub id: RunId,
    /// How it stands.
    pub status: RunStatus,
    /// How long it has waited, or waited for the runner that has it.
    pub waited: Duration,
    /// What it asks of a runner.
    pub demands: Arc<Demands>,
    /// Not before this moment, if that is still to come.
    pub due: Option<Timestamp>,
    /// At this moment it fails if nobody has claimed it.
    pub deadline: Option<Timestamp>,
    /// What its key's limit says.
    pub hold: Option<Hold>,
    /// Runners that are registered.
    pub runners: usize,
    /// Those that meet its demands.
    pub able: usize,
    /// Those of them that have a slot free and have been heard of lately.
    pub free: usize,
    /// For each demand that some runner does not meet: how many do not, and the best value any has.
    pub unmet: Vec<Unmet>,
    /// Runners that meet its demands and take only runs that demand one of their tags.
    pub shunned_by: usize,
    /// The fewest runs that stand before it, over the runners that meet its demands.
    pub ahead: usize,
    /// What went wrong at its last attempt.
    pub error: Option<String>,
}

/// A demand that runners do not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Which.
    pub demand: Demand,
    /// How many runners do not meet it.
    pub runners: usize,
    /// The most any runner has of it, where it asks for an amount.
    pub best: Option<i64>,
}

/// What a runner could do.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerExplanation {
    /// Who.
    pub runner: RunnerInfo,
    /// How it stands; nothing when it is not registered.
    pub standby: Option<Standby>,
    /// Runs it holds.
    pub held: usize,
    /// Pending runs, those for later included.
    pub pending: usize,
    /// Pending runs it could take.
    pub takeable: usize,
    /// The one it gets next, if it asks now.
    pub next: Option<RunId>,
    /// For the most frequent demands it does not meet: how many runs wait with them.
    pub lacking: Vec<(Demand, usize)>,
}

/// How many demands are named that a runner does not meet.
const LACKING_MAX: usize = 5;

impl RunBoard {
    /// Why a live run is not running.
    pub fn explain(&mut self, id: RunId, now: Timestamp) -> Option<RunExplanation> {
        let run = self.get(id)?.clone();
        let reports = self.runners(now);
        let all: Vec<_> = reports.iter().map(|report| report.runner.capabilities.clone()).collect();
        let able: Vec<_> = reports.iter().filter(|report| report.runner.capabilities.meet(&run.demands)).collect();
        let free = able
            .iter()
            .filter(|report| report.standby == Standby::Online && report.held.len() < report.runner.slots as usize);
        let free = free.count();
        let mut kinds: Vec<_> = able.iter().map(|report| report.runner.capabilities.clone()).collect();
        kinds.dedup();
        let waits = run.status == RunStatus::Pending;
        let ahead = if waits { kinds.iter().map(|kind| self.index.ahead(&run, kind)).min() } else { None };
        let meets = |capabilities: &&Arc<Capabilities>| run.demands.iter().all(|demand| capabilities.meets(demand));
        Some(RunExplanation {
            id,
            status: run.status,
            waited: run.waited(now),
            due: Some(run.due()).filter(|due| waits && *due > now),
            deadline: run.deadline.filter(|_| waits),
            hold: run.draft.limit.as_deref().filter(|_| waits).and_then(|key| self.index.held_up(key, now)),
            runners: reports.len(),
            able: able.len(),
            free,
            unmet: unmet(&run, &all),
            shunned_by: all.iter().filter(meets).filter(|capabilities| capabilities.shuns(&run.demands)).count(),
            ahead: ahead.unwrap_or(0),
            demands: run.demands.clone(),
            error: run.error.clone(),
        })
    }

    /// What a runner could do now.
    pub fn explain_runner(&mut self, runner: &RunnerInfo, now: Timestamp) -> RunnerExplanation {
        let capabilities = self.shared(&runner.capabilities);
        let mut lacking: Vec<(Demand, usize)> = Vec::new();
        for (demands, runs) in self.index.demanded() {
            for demand in demands.iter().filter(|demand| !capabilities.meets(demand)) {
                match lacking.iter_mut().find(|(known, _)| known == demand) {
                    Some((_, count)) => *count += runs,
                    None => lacking.push((demand.clone(), runs)),
                }
            }
        }
        lacking.sort_by_key(|(_, runs)| std::cmp::Reverse(*runs));
        lacking.truncate(LACKING_MAX);
        RunnerExplanation {
            standby: self.standby(&runner.id, now),
            held: self.held_count(&runner.id),
            pending: self.counts.pending,
            takeable: self.index.takeable(&capabilities),
            next: self.index.first(&capabilities, now),
            lacking,
            runner: runner.clone(),
        }
    }
}

fn unmet(run: &Run, all: &[Arc<Capabilities>]) -> Vec<Unmet> {
    let of = |demand: &Demand| Unmet {
        demand: demand.clone(),
        runners: all.iter().filter(|capabilities| !capabilities.meets(demand)).count(),
        best: match demand {
            Demand::AtLeast(field, _) => {
                let has = all.iter().filter_map(|capabilities| match capabilities.fields.get(field) {
                    Some(crate::Value::Number(has)) => Some(*has),
                    _ => None,
                });
                has.max()
            }
            _ => None,
        },
    };
    run.demands.iter().map(of).filter(|unmet| unmet.runners > 0).collect()
}

impl fmt::Display for RunExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, minutes(self.waited))?;
        if self.status != RunStatus::Pending {
            return Ok(());
        }
        if let Some(due) = self.due {
            write!(f, "; due at {} µs", due.as_micros())?;
        }
        match self.hold {
            Some(Hold::AtOnce(most)) => write!(f, "; {most} with its key are held, as many as may be")?,
            Some(Hold::Until(moment)) => write!(f, "; its key's rate allows the next at {} µs", moment.as_micros())?,
            None => {}
        }
        write!(f, "; needs {}; {} of {} runners can, {} free", self.demands, self.able, self.runners, self.free)?;
        for unmet in &self.unmet {
            write!(f, "; {} without {}", unmet.runners, unmet.demand)?;
            if let Some(best) = unmet.best {
                write!(f, " (best {best})")?;
            }
        }
        if self.shunned_by > 0 {
            write!(f, "; {} take only runs that ask for their tags", self.shunned_by)?;
        }
        write!(f, "; {} ahead", self.ahead)?;
        if let Some(error) = &self.error {
            write!(f, "; last: {error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for RunnerExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standby = match self.standby {
            None => "not registered",
            Some(Standby::Online) => "online",
            Some(Standby::Stale) => "stale",
            Some(Standby::Leaving) => "leaving",
        };
        write!(f, "{}: {standby}, holds {} of {}", self.runner.id, self.held, self.runner.slots)?;
        write!(f, "; could take {} of {} pending", self.takeable, self.pending)?;
        for (demand, runs) in &self.lacking {
            write!(f, "; {runs} need {demand}")?;
        }
        Ok(())
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}
