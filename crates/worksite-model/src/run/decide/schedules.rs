//! Schedules own what cron asks for: runs at their moments, each with the schedule's next one.

use super::Decision;
use crate::run::board::RunBoard;
use crate::{RunDraft, RunRejection, RunWrite, Schedule, SessionUse, Timestamp};
use std::sync::Arc;

impl RunBoard {
    /// What schedules ask for by now. Each is one decision, for a change of its own.
    pub fn fire(&mut self, now: Timestamp) -> Vec<Vec<RunWrite>> {
        let idle = self.schedules.values().filter(|schedule| !self.firing.contains(&schedule.name));
        let (due, later): (Vec<_>, Vec<_>) =
            idle.cloned().partition(|schedule| schedule.next.is_some_and(|next| next <= now));
        let mut fired: Vec<_> = due.into_iter().map(|schedule| self.fire_one(&schedule, now)).collect();
        for schedule in later {
            let Some(back) = schedule.put_back(now) else { continue };
            self.firing.insert(schedule.name.clone());
            fired.push(vec![RunWrite::Schedule { guard: schedule.next, schedule: Arc::new(back) }]);
        }
        fired
    }

    fn fire_one(&mut self, schedule: &Arc<Schedule>, now: Timestamp) -> Vec<RunWrite> {
        let (moments, after) = schedule.come(now);
        let mut writes = Vec::new();
        for moment in moments {
            let draft = RunDraft { due: Some(moment), ..schedule.draft.clone() };
            // A schedule whose last run is still there under its unique key has nothing to add.
            if let Ok(Decision::Write(added, _)) = self.add(&[draft], &[], now) {
                writes.extend(added);
            }
        }
        self.firing.insert(schedule.name.clone());
        writes.push(RunWrite::Schedule { guard: schedule.next, schedule: Arc::new(after) });
        writes
    }

    /// The write by which a schedule whose run was refused goes on without it: the last of what it asked for.
    pub fn pass_over(&mut self, asked_for: &[RunWrite]) -> Option<RunWrite> {
        let write = asked_for.last()?;
        let RunWrite::Schedule { schedule, .. } = write else { return None };
        self.firing.insert(schedule.name.clone()).then(|| write.clone())
    }

    /// Sets or replaces a schedule.
    ///
    /// # Errors
    /// [`RunRejection::Schedule`] for one whose runs would all be in one session.
    pub fn schedule(&mut self, schedule: Schedule, now: Timestamp) -> Result<Decision<Arc<Schedule>>, RunRejection> {
        if !matches!(schedule.draft.session, SessionUse::None | SessionUse::Start(None)) {
            let reason = "its runs may start sessions of their own (Start(None)), or have none";
            return Err(RunRejection::Schedule(reason.into()));
        }
        if !self.firing.insert(schedule.name.clone()) {
            return Ok(Decision::Wait);
        }
        // From now on it would notice that the clock goes back.
        let schedule = Arc::new(Schedule { heard: Some(now), ..schedule });
        Ok(Decision::Write(vec![RunWrite::Schedule { guard: None, schedule: schedule.clone() }], schedule))
    }

    /// Ends a schedule.
    ///
    /// # Errors
    /// [`RunRejection::UnknownSchedule`].
    pub fn unschedule(&mut self, name: &str) -> Result<Decision<()>, RunRejection> {
        if !self.schedules.contains_key(name) {
            return Err(RunRejection::UnknownSchedule(name.to_string()));
        }
        if !self.firing.insert(name.to_string()) {
            return Ok(Decision::Wait);
        }
        Ok(Decision::Write(vec![RunWrite::Unschedule(name.to_string())], ()))
    }
}
