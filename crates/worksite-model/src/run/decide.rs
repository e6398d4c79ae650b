//! What is decided about runs: adding, claiming, reporting, stopping, and what time brings. Each decision is writes for one
//! change; the runs they are about are reserved until the change is durable or refused.

use crate::run::board::RunBoard;
use crate::run::policy::Rescue;
use crate::run::runner::Standby;
use crate::{
    Capabilities, Conflict, Demands, KeyLimit, Payload, Run, RunDraft, RunId, RunRejection, RunStatus, RunWrite,
    RunnerId, RunnerInfo, RunnerReport, Schedule, Session, SessionUse, Timestamp, chance,
};
use std::sync::Arc;
use std::time::Duration;

/// Why a run failed that nobody claimed in time; seed 002's words.
pub const NO_RUNNER: &str = "No matching runner available within timeout";

/// What went wrong with a run whose runner went; seed 002's words.
pub const DISCONNECTED: &str = "Runner disconnected during execution";

/// What went wrong with a run whose claim ended without a word.
pub const LEASE_ENDED: &str = "the lease ended without a word from the runner";

/// What went wrong with a run whose house ended.
const HOUSE_ENDED: &str = "the house ended during execution";

/// What a runner says of a run it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunReport {
    /// It has begun.
    Started,
    /// It is still at it: the lease begins anew.
    Alive,
    /// It is done, with this result.
    Completed(Option<Payload>),
    /// It has failed for good, for this reason.
    Failed(String),
    /// It has failed, for this reason, and may be tried again: fails for good after its last attempt.
    Retry(String),
    /// It was stopped.
    Stopped,
    /// Somebody else may have it: counts for no attempt.
    GivenBack,
}

/// What becomes of something asked of the board.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<T> {
    /// This is to be written; then the answer is true.
    Write(Vec<RunWrite>, T),
    /// Nothing is to be written: the answer is true already.
    Done(T),
    /// A write to the same run is on its way: ask again when it is durable or refused.
    Wait,
    /// The board does not have it: the store has to be asked.
    LookUp,
}

/// A draft that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// As this new run.
    New(Arc<Run>),
    /// Its unique key is that of this live run: it is the same.
    Existing(Arc<Run>),
}

impl Added {
    /// The run, new or known.
    pub fn into_run(self) -> Arc<Run> {
        match self {
            Self::New(run) | Self::Existing(run) => run,
        }
    }
}

impl RunBoard {
    /// Accepts drafts, all or none, in order. `sessions` are those that drafts resume, as the store has them.
    ///
    /// # Errors
    /// [`RunRejection`].
    pub fn add(
        &mut self,
        drafts: &[RunDraft],
        sessions: &[Session],
        now: Timestamp,
    ) -> Result<Decision<Vec<Added>>, RunRejection> {
        let (mut writes, mut added) = (Vec::with_capacity(drafts.len()), Vec::with_capacity(drafts.len()));
        for draft in drafts {
            match self.add_one(draft, sessions, &mut writes, now) {
                Ok(Some(one)) => added.push(one),
                unfit => {
                    // All or none: what was reserved for the earlier ones is free again.
                    writes.iter().for_each(|write| self.undo(write, now));
                    return unfit.map(|_| Decision::Wait);
                }
            }
        }
        Ok(if writes.is_empty() { Decision::Done(added) } else { Decision::Write(writes, added) })
    }

    /// Accepts a draft; nothing when it has to wait for another write.
    fn add_one(
        &mut self,
        draft: &RunDraft,
        sessions: &[Session],
        writes: &mut Vec<RunWrite>,
        now: Timestamp,
    ) -> Result<Option<Added>, RunRejection> {
        if draft.attempts_max == 0 {
            return Err(RunRejection::Impossible("attempts_max is zero"));
        }
        if let Some(holder) = draft.unique.as_ref().and_then(|key| self.keys.get(key)).copied() {
            if let Some(twin) = writes.iter().filter_map(RunWrite::run).find(|run| run.id == holder) {
                // Twice in one change.
                return match draft.conflict {
                    Conflict::Existing => Ok(Some(Added::Existing(twin.clone()))),
                    _ => Err(RunRejection::KeyHeld { key: draft.unique.clone().unwrap_or_default(), holder }),
                };
            }
            let Some(card) = self.cards.get(&holder).filter(|card| !card.is_reserved) else { return Ok(None) };
            let known = card.run.clone();
            match draft.conflict {
                Conflict::Existing => return Ok(Some(Added::Existing(known))),
                Conflict::Replace if known.status == RunStatus::Pending => {
                    let after = ended(&known, RunStatus::Stopped, Some("replaced by another with its key"), now);
                    writes.push(self.update(&known, after));
                }
                Conflict::Reject | Conflict::Replace => {
                    let key = draft.unique.clone().unwrap_or_default();
                    return Err(RunRejection::KeyHeld { key, holder });
                }
            }
        }
        let id = self.ids.next(now);
        let mut draft = draft.clone();
        self.enter_session(id, &mut draft, sessions, writes, now)?;
        if let Some(key) = &draft.unique {
            self.keys.insert(key.clone(), id);
        }
        // It has been decided.
        draft.conflict = Conflict::default();
        self.coming += 1;
        let run = Run::new(id, draft, now);
        let demands = self.index.shared(run.demands, run.draft.limit.as_deref());
        let run = Arc::new(Run { demands, ..run });
        writes.push(RunWrite::Add(run.clone()));
        Ok(Some(Added::New(run)))
    }

    /// Gives a draft its session: a new one, or what a known one says of agent, folder and place.
    fn enter_session(
        &self,
        id: RunId,
        draft: &mut RunDraft,
        sessions: &[Session],
        writes: &mut Vec<RunWrite>,
        now: Timestamp,
    ) -> Result<(), RunRejection> {
        match &mut draft.session {
            SessionUse::None => {}
            SessionUse::Start(session) => {
                let name = session.get_or_insert_with(|| format!("ses_{:012x}", chance(id.low(), &[2]) >> 16)).clone();
                if self.sessions.contains_key(&name) {
                    return Err(RunRejection::SessionExists(name));
                }
                writes.push(RunWrite::Open(Box::new(Session {
                    id: name,
                    agent: draft.agent.clone(),
                    project_dir: draft.project_dir.clone(),
                    parent: draft.parent.clone(),
                    created_at: now,
                    place: Demands::none(),
                    status: None,
                })));
            }
            SessionUse::Resume(name) => {
                let known = sessions.iter().find(|session| session.id == *name);
                let known = known.ok_or_else(|| RunRejection::UnknownSession(name.clone()))?;
                draft.agent = draft.agent.take().or_else(|| known.agent.clone());
                draft.project_dir = draft.project_dir.take().or_else(|| known.project_dir.clone());
                let demands = std::mem::take(&mut draft.demands);
                draft.demands = Demands::layered([known.place.clone(), demands]);
            }
        }
        Ok(())
    }

    /// Whether the sessions are there to which these drafts are to report: those that are `known`, those that live runs are in,
    /// and those that start with them.
    ///
    /// # Errors
    /// [`RunRejection::UnknownSession`]: it could never be told.
    pub fn know_parents(&self, drafts: &[RunDraft], known: &[Session]) -> Result<(), RunRejection> {
        let starts =
            |draft: &RunDraft, name: &str| matches!(&draft.session, SessionUse::Start(Some(new)) if new == name);
        for parent in drafts.iter().filter_map(RunDraft::reports_to) {
            let is_there = self.sessions.contains_key(parent)
                || known.iter().any(|session| session.id == parent)
                || drafts.iter().any(|draft| starts(draft, parent));
            if !is_there {
                return Err(RunRejection::UnknownSession(parent.to_string()));
            }
        }
        Ok(())
    }

    /// How many more runs may be pending, those on their way included.
    pub fn room(&self) -> usize {
        self.policy.pending_max.saturating_sub(self.counts.pending + self.coming)
    }

    /// Whether a runner may claim now: one that is registered must have been heard of lately.
    ///
    /// # Errors
    /// [`RunRejection::StaleRunner`], and [`RunRejection::UnknownRunner`] for one that was told to go.
    pub fn may_claim(&self, runner: &RunnerId, now: Timestamp) -> Result<(), RunRejection> {
        match self.runners.standby(runner, &self.policy, now) {
            None | Some(Standby::Online) => Ok(()),
            Some(Standby::Stale) => Err(RunRejection::StaleRunner(runner.clone())),
            Some(Standby::Leaving) => Err(RunRejection::UnknownRunner(runner.clone())),
        }
    }

    /// The runs a runner gets now, at most so many.
    pub fn claim(
        &mut self,
        runner: &RunnerId,
        capabilities: &Arc<Capabilities>,
        most: usize,
        now: Timestamp,
    ) -> (Vec<RunWrite>, Vec<Arc<Run>>) {
        self.put_due_in_line(now);
        let (mut writes, mut claimed) = (Vec::new(), Vec::new());
        while claimed.len() < most
            && let Some(id) = self.index.first(capabilities, now)
            && let Some(run) = self.get(id).cloned()
        {
            let lease = run.draft.lease.unwrap_or(self.policy.lease);
            let after = Run {
                status: RunStatus::Claimed,
                runner: Some(runner.clone()),
                fence: run.fence.saturating_add(1),
                epoch: self.epoch,
                claimed_at: Some(now),
                started_at: None,
                lease_until: Some(now.after(lease)),
                ..Run::clone(&run)
            };
            let write = self.update(&run, after);
            claimed.extend(write.run().cloned());
            writes.push(write);
            if let Some(session) = run.session() {
                writes.push(RunWrite::Bind { session: session.to_string(), place: capabilities.place() });
            }
        }
        (writes, claimed)
    }

    /// Whether there is anything for a runner with these capabilities.
    pub fn has_work(&mut self, capabilities: &Arc<Capabilities>, now: Timestamp) -> bool {
        self.put_due_in_line(now);
        self.index.first(capabilities, now).is_some()
    }

    /// Time has passed: what was not claimable may be.
    pub fn look_at_the_clock(&mut self, now: Timestamp) {
        self.put_due_in_line(now);
        self.index.is_fresh = true;
    }

    /// A session's callback is being made.
    pub fn expect_callback(&mut self, session: &str) {
        self.calling.insert(session.to_string());
    }

    /// It was not made, or is to be decided now.
    pub fn expect_no_callback(&mut self, session: &str) {
        self.calling.remove(session);
    }

    /// Runs whose moment has come may be claimed.
    fn put_due_in_line(&mut self, now: Timestamp) {
        while let Some((moment, id)) = self.later.first().copied()
            && moment <= now
        {
            self.later.pop_first();
            if let Some(card) = self.cards.get(&id) {
                let run = self.put_in_line(card.run.clone());
                if let Some(card) = self.cards.get_mut(&id) {
                    card.run = run;
                }
            }
        }
    }

    /// A runner says something of a run it holds, under the fencing token of its claim. Said twice it counts once; said
    /// under an earlier claim, or after the run has ended otherwise, it is refused.
    ///
    /// # Errors
    /// [`RunRejection::StaleClaim`] and [`RunRejection::Illegal`].
    pub fn report(
        &mut self,
        id: RunId,
        fence: u32,
        report: &RunReport,
        now: Timestamp,
    ) -> Result<Decision<Arc<Run>>, RunRejection> {
        let Some(card) = self.cards.get(&id) else { return Ok(Decision::LookUp) };
        if card.is_reserved {
            return Ok(Decision::Wait);
        }
        let run = card.run.clone();
        match reported(&run, fence, report, self.policy.lease, now)? {
            None => Ok(Decision::Done(run)),
            Some(after) => Ok(self.rewrite(run, after)),
        }
    }

    /// Stops a run: a pending one at once; one that is held is to be stopped by its runner. Again, or when it has ended, it
    /// changes nothing.
    pub fn stop(&mut self, id: RunId, now: Timestamp) -> Decision<Arc<Run>> {
        let Some(card) = self.cards.get(&id) else { return Decision::LookUp };
        let run = card.run.clone();
        if run.status == RunStatus::Stopping {
            return Decision::Done(run);
        }
        if card.is_reserved {
            return Decision::Wait;
        }
        let stopping = Run { stop_requested_at: Some(now), ..Run::clone(&run) };
        let after = match run.status {
            RunStatus::Pending => ended(&stopping, RunStatus::Stopped, None, now),
            _ => Run { status: RunStatus::Stopping, ..stopping },
        };
        self.rewrite(run, after)
    }

    /// The one write that makes a run this.
    fn rewrite(&mut self, run: Arc<Run>, after: Run) -> Decision<Arc<Run>> {
        let write = self.update(&run, after);
        let run = write.run().cloned().unwrap_or(run);
        Decision::Write(vec![write], run)
    }

    /// Changes what a pending run asks of a runner, and how long it waits for one from now on.
    ///
    /// # Errors
    /// [`RunRejection::Illegal`] when it is no longer pending.
    pub fn set_demands(
        &mut self,
        id: RunId,
        demands: Demands,
        within: Option<Duration>,
        now: Timestamp,
    ) -> Result<Decision<Arc<Run>>, RunRejection> {
        let Some(card) = self.cards.get(&id) else { return Ok(Decision::LookUp) };
        if card.is_reserved {
            return Ok(Decision::Wait);
        }
        let run = card.run.clone();
        if run.status != RunStatus::Pending {
            return Err(RunRejection::Illegal { id, from: run.status, to: RunStatus::Pending });
        }
        let deadline = within.map(|time| run.due().max(now).after(time));
        let after = Run { demands: Arc::new(demands), deadline, ..Run::clone(&run) };
        Ok(self.rewrite(run, after))
    }

    /// Fails pending runs that nobody claimed in time. Seed 002 `fail_timed_out_runs`.
    pub fn fail_timed_out(&mut self, now: Timestamp) -> Vec<RunWrite> {
        let late = self.deadlines.iter().take_while(|(moment, _)| *moment <= now);
        let late: Vec<_> = late.map(|(_, id)| *id).collect();
        let runs = late.into_iter().filter_map(|id| self.free(id)).collect::<Vec<_>>();
        runs.into_iter().map(|run| self.update(&run, ended(&run, RunStatus::Failed, Some(NO_RUNNER), now))).collect()
    }

    /// Takes runs from runners whose leases have ended, and from those that are lost. The lost are deregistered.
    pub fn reclaim(&mut self, now: Timestamp) -> Vec<RunWrite> {
        let ended = self.leases.iter().take_while(|(moment, _)| *moment <= now);
        let ended: Vec<_> = ended.map(|(_, id)| *id).collect();
        let mut writes: Vec<_> = ended.into_iter().filter_map(|id| self.take_from(id, LEASE_ENDED, now)).collect();
        for runner in self.runners.lost(&self.policy, now) {
            writes.extend(self.deregister(&runner, now));
        }
        writes
    }

    /// Whether a word about something this runner holds is on its way: only when that has landed can all be taken from it.
    pub fn is_speaking(&self, runner: &RunnerId) -> bool {
        let mut held = self.holders.get(runner).into_iter().flatten();
        held.any(|id| self.cards.get(id).is_some_and(|card| card.is_reserved))
    }

    /// A runner has gone: what it holds waits again, or fails after its last attempt; what was to stop has.
    pub fn deregister(&mut self, runner: &RunnerId, now: Timestamp) -> Vec<RunWrite> {
        self.runners.forget(runner);
        let held: Vec<_> = self.holders.get(runner).into_iter().flatten().copied().collect();
        held.into_iter().filter_map(|id| self.take_from(id, DISCONNECTED, now)).collect()
    }

    fn take_from(&mut self, id: RunId, why: &'static str, now: Timestamp) -> Option<RunWrite> {
        let run = self.free(id)?;
        let after = taken_back(&run, true, why, now);
        Some(self.update(&run, after))
    }

    fn free(&self, id: RunId) -> Option<Arc<Run>> {
        self.cards.get(&id).filter(|card| !card.is_reserved).map(|card| card.run.clone())
    }

    /// A run that stays claimed from one life to the next: its lease begins anew.
    pub(crate) fn taken_along(&self, run: &Run, now: Timestamp) -> Run {
        let lease = run.draft.lease.unwrap_or(self.policy.lease);
        Run { epoch: self.epoch, lease_until: Some(now.after(lease)), ..run.clone() }
    }

    /// What becomes of a run that an earlier life left so.
    pub(crate) fn rescued(&self, run: &Run, now: Timestamp) -> Option<Run> {
        match self.policy.recovery.rescue(run, self.epoch, now) {
            Rescue::Keep => None,
            Rescue::Requeue { counts } => Some(taken_back(run, counts, HOUSE_ENDED, now)),
            Rescue::Fail(why) => Some(ended(run, RunStatus::Failed, Some(why), now)),
            Rescue::Stop => Some(ended(run, RunStatus::Stopped, None, now)),
        }
    }

    /// Sessions that are owed a callback, and have nothing else to do now.
    pub fn callable(&self) -> Vec<String> {
        let idle = self.owing.keys().filter(|session| !self.sessions.contains_key(*session));
        idle.filter(|session| !self.calling.contains(*session)).cloned().collect()
    }

    /// Resumes a session with what its children came to, all of them in one run. They owe nothing then. A session that is
    /// gone, or never was, is owed nothing: that is written down, so that its children can be forgotten, and counted.
    ///
    /// # Errors
    /// [`RunRejection`] when the report cannot be encoded.
    pub fn call_back(
        &mut self,
        session: &str,
        known: Option<&Session>,
        now: Timestamp,
    ) -> Result<Vec<RunWrite>, RunRejection> {
        if self.sessions.contains_key(session) || self.calling.contains(session) {
            return Ok(Vec::new());
        }
        let Some(children) = self.owing.get(session).cloned() else { return Ok(Vec::new()) };
        let Some(known) = known else {
            self.calling.insert(session.to_string());
            let unheard = |child: &Arc<Run>| Run { called_back: Some(child.id), ..Run::clone(child) };
            let write = |child: &Arc<Run>| RunWrite::Update { guard: child.guard(), run: Arc::new(unheard(child)) };
            return Ok(children.values().map(write).collect());
        };
        let news = crate::CallbackReport::of(children.values());
        let payload = Payload::encode(&news).map_err(|error| RunRejection::Refused(error.to_string()))?;
        let draft = RunDraft {
            payload: Some(payload),
            session: SessionUse::Resume(session.to_string()),
            parent: known.parent.clone(),
            ..RunDraft::default()
        };
        let Decision::Write(mut writes, _) = self.add(&[draft], std::slice::from_ref(known), now)? else {
            return Ok(Vec::new());
        };
        let caller = writes.iter().filter_map(RunWrite::run).next_back().map(|run| run.id);
        writes.extend(children.values().map(|child| {
            let run = Arc::new(Run { called_back: caller, ..Run::clone(child) });
            RunWrite::Update { guard: child.guard(), run }
        }));
        self.calling.insert(session.to_string());
        Ok(writes)
    }

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
    pub fn schedule(&mut self, schedule: Schedule) -> Result<Decision<Arc<Schedule>>, RunRejection> {
        if !matches!(schedule.draft.session, SessionUse::None | SessionUse::Start(None)) {
            let reason = "its runs may start sessions of their own (Start(None)), or have none";
            return Err(RunRejection::Schedule(reason.into()));
        }
        if !self.firing.insert(schedule.name.clone()) {
            return Ok(Decision::Wait);
        }
        let schedule = Arc::new(schedule);
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

    /// Sets the limits of a key, from now on and until the house closes.
    pub fn set_limit(&mut self, key: &str, limit: KeyLimit) {
        self.index.set_limit(key, limit);
    }

    /// Registers a runner. Runs that an earlier one of its name held, when it was stale, stay its own.
    ///
    /// # Errors
    /// [`RunRejection::RunnerExists`].
    pub fn register(&mut self, info: RunnerInfo, now: Timestamp) -> Result<(), RunRejection> {
        self.runners.register(info, &self.policy, now)
    }

    /// A runner has been heard of.
    ///
    /// # Errors
    /// [`RunRejection::UnknownRunner`].
    pub fn hear(&mut self, runner: &RunnerId, now: Timestamp) -> Result<(), RunRejection> {
        self.runners.hear(runner, now)
    }

    /// The writes by which all leases of a runner begin anew.
    pub fn renew(&mut self, runner: &RunnerId, now: Timestamp) -> Vec<RunWrite> {
        let held: Vec<_> = self.holders.get(runner).into_iter().flatten().copied().collect();
        let runs: Vec<_> = held.into_iter().filter_map(|id| self.free(id)).collect();
        let renewed = runs.into_iter().map(|run| {
            let lease = run.draft.lease.unwrap_or(self.policy.lease);
            let after = Run { lease_until: Some(now.after(lease)), ..Run::clone(&run) };
            self.update(&run, after)
        });
        renewed.collect()
    }

    /// A runner is to be told to go when it next asks for work.
    ///
    /// # Errors
    /// [`RunRejection::UnknownRunner`].
    pub fn dismiss(&mut self, runner: &RunnerId) -> Result<(), RunRejection> {
        self.runners.dismiss(runner)
    }

    /// How a runner stands; nothing when it is not registered.
    pub fn standby(&self, runner: &RunnerId, now: Timestamp) -> Option<Standby> {
        self.runners.standby(runner, &self.policy, now)
    }

    /// A registered runner as it introduced itself.
    pub fn runner(&self, runner: &RunnerId) -> Option<&RunnerInfo> {
        self.runners.info(runner)
    }

    /// All registered runners, in order of ids.
    pub fn runners(&self, now: Timestamp) -> Vec<RunnerReport> {
        let held = |report: RunnerReport| RunnerReport {
            held: self.holders.get(&report.runner.id).into_iter().flatten().copied().collect(),
            ..report
        };
        self.runners.reports(&self.policy, now).map(held).collect()
    }
}

/// What a report makes of a run; nothing when it says what is so already.
///
/// # Errors
/// [`RunRejection::StaleClaim`] and [`RunRejection::Illegal`].
pub fn reported(
    run: &Run,
    fence: u32,
    report: &RunReport,
    lease: Duration,
    now: Timestamp,
) -> Result<Option<Run>, RunRejection> {
    if fence != run.fence {
        return Err(RunRejection::StaleClaim { id: run.id, given: fence, current: run.fence });
    }
    let to = match report {
        RunReport::Started => RunStatus::Running,
        RunReport::Alive => run.status,
        RunReport::Completed(_) => RunStatus::Completed,
        RunReport::Failed(_) => RunStatus::Failed,
        RunReport::Stopped => RunStatus::Stopped,
        RunReport::GivenBack | RunReport::Retry(_) => RunStatus::Pending,
    };
    let again = *report != RunReport::Alive && run.status == to;
    // A runner that is to stop and fails, or gives up, has stopped.
    let to = if to == RunStatus::Pending && run.status == RunStatus::Stopping { RunStatus::Stopped } else { to };
    let legal = if *report == RunReport::Alive { run.status.is_held() } else { again || run.status.may_become(to) };
    if !legal {
        return Err(RunRejection::Illegal { id: run.id, from: run.status, to });
    }
    if again {
        return Ok(None);
    }
    let lease_until = Some(now.after(run.draft.lease.unwrap_or(lease)));
    Ok(Some(match report {
        RunReport::Started => Run { status: to, started_at: Some(now), lease_until, ..run.clone() },
        RunReport::Alive => Run { lease_until, ..run.clone() },
        RunReport::Completed(result) => Run { result: result.clone().map(Box::new), ..ended(run, to, None, now) },
        RunReport::Failed(why) => ended(run, to, Some(why), now),
        RunReport::Stopped => ended(run, to, None, now),
        RunReport::GivenBack => taken_back(run, false, "", now),
        RunReport::Retry(why) => taken_back(run, true, why, now),
    }))
}

/// A run that has ended so.
fn ended(run: &Run, status: RunStatus, why: Option<&str>, now: Timestamp) -> Run {
    let error = why.map(str::to_string).or_else(|| run.error.clone().filter(|_| status != RunStatus::Completed));
    Run { status, error, ended_at: Some(now), lease_until: None, ..run.clone() }
}

/// A run whose runner does not have it any more: it waits again, fails after its last attempt, or has stopped if it was to.
fn taken_back(run: &Run, counts: bool, why: &str, now: Timestamp) -> Run {
    let error = if why.is_empty() { run.error.clone() } else { Some(why.to_string()) };
    let attempts = run.attempts.saturating_add(u32::from(counts));
    let run = Run { attempts, error, ..run.clone() };
    if run.status == RunStatus::Stopping {
        return ended(&run, RunStatus::Stopped, None, now);
    }
    if attempts >= run.draft.attempts_max && counts {
        let why = format!("{why} (attempt {attempts} of {})", run.draft.attempts_max);
        return ended(&run, RunStatus::Failed, Some(&why), now);
    }
    // Its time to be claimed in begins anew: it has been claimed once in time.
    let deadline = run.draft.claimed_within.map(|time| now.after(time));
    Run { status: RunStatus::Pending, lease_until: None, deadline, ..run }
}
