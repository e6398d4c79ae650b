//! Owns the night shift: each job of the log is a run of a real queue, and a thousand simulated runners work them off on 2,004
//! cores, minute by minute under a clock that is moved by hand.
//!
//! What a runner holds is known here, too, so that it can be checked: who holds how many cores, and that nobody is given
//! what another holds. A shift that was killed goes on from what the store has.

use crate::log::{CORES, Job};
use crate::program::Done;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use worksite::model::chance;
use worksite::prelude::*;

/// When the log begins: 22 May 2014, 10:57:59 in Luxembourg.
const START: Timestamp = Timestamp::from_seconds(1_400_749_079);

/// The shift looks around every simulated minute.
const MINUTE: i64 = 60;

/// So many that a job of three weeks may well outlive the killing of one an hour.
const RUNNERS: u64 = 1_000;

/// A claim without a word from its runner for so long is taken back.
const LEASE: Duration = Duration::from_secs(2 * 3_600);

/// One in so many jobs is stopped by its user right after it has begun.
const STOPPED_ONE_IN: u64 = 200;

/// What happened on the shift, beside what the store knows.
#[derive(Debug, Default, Clone)]
pub struct Told {
    pub cores_most: i64,
    pub claims: u64,
    pub claimed_twice: u64,
    pub preempted: u64,
    pub runners_lost: u64,
    pub taken_back: u64,
    pub late_reports: u64,
    pub late_refused: u64,
}

pub struct Shift<'a> {
    jobs: &'a [Job],
    by_number: BTreeMap<i64, usize>,
    site: Worksite,
    queue: RunQueue,
    clock: ManualClock,
    /// Runs that are held, with what they hold and until when.
    held: BTreeMap<RunId, Held>,
    free: i64,
    /// The next job to be submitted.
    next: usize,
    /// Jobs that have ended.
    ended: BTreeSet<usize>,
    /// How often each runner has been replaced.
    replaced: Vec<u64>,
    kills: bool,
    /// The minute of the last look around, in seconds from the start.
    now: i64,
    pub told: Told,
}

struct Held {
    run: Arc<Run>,
    job: usize,
    ends: i64,
    /// Its runner is dead, and nobody knows yet.
    is_dead: bool,
}

/// Opens the queue of a shift, new or begun.
pub async fn open<'a>(path: &std::path::Path, jobs: &'a [Job], kills: bool) -> Done<Shift<'a>> {
    let clock = ManualClock::new(START);
    // Three months pass in a few minutes: what ended weeks ago is still to be counted at the end.
    let kept = Keep { age: Duration::MAX, rows: u64::MAX };
    let retention = Retention { runs_completed: kept, runs_failed: kept, runs_stopped: kept, ..Retention::default() };
    let site = Worksite::builder().clock(clock.clock()).retention(retention).open(path).await?;
    let policy =
        RunPolicy { lease: LEASE, lost_after: Duration::MAX, stale_after: Duration::MAX, ..RunPolicy::default() };
    // What was at work when the process died is known by its epoch, and waits again.
    let queue = site.run_queue_with(policy).await?;
    let by_number: BTreeMap<i64, usize> = jobs.iter().enumerate().map(|(place, job)| (job.number, place)).collect();
    let (mut known, mut ended, mut latest) = (BTreeSet::new(), BTreeSet::new(), START);
    for run in queue.get_all_runs_from_db(&[]).await? {
        let place = number_of(&run).and_then(|number| by_number.get(&number));
        let place = place.ok_or("the site has runs of other jobs: give or leave out --cut, or take another --site")?;
        known.insert(*place);
        if run.status.is_terminal() {
            ended.insert(*place);
        }
        latest = [run.claimed_at, run.ended_at].into_iter().flatten().fold(latest.max(run.created_at), Timestamp::max);
    }
    clock.advance(latest.since(START));
    let next = known.len();
    let (held, told, replaced) = (BTreeMap::new(), Told::default(), vec![0; RUNNERS as usize]);
    let now = i64::try_from(latest.since(START).as_secs())?;
    Ok(Shift { jobs, by_number, site, queue, clock, held, free: CORES, next, ended, replaced, kills, now, told })
}

fn number_of(run: &Run) -> Option<i64> {
    run.draft.unique.as_ref()?.strip_prefix("job ")?.parse().ok()
}

impl Shift<'_> {
    /// Works until every run has ended. `look` is called each minute something happens.
    pub async fn work(&mut self, mut look: impl FnMut(&Self)) -> Done<()> {
        while self.ended.len() < self.jobs.len() {
            let hour = self.now / 3_600;
            self.end_runs().await?;
            self.submit().await?;
            self.assign().await?;
            look(self);
            self.move_on();
            if self.now / 3_600 > hour {
                self.on_the_hour().await?;
            }
        }
        Ok(())
    }

    /// Reports of runs that have had their time.
    async fn end_runs(&mut self) -> Done<()> {
        let over: Vec<_> = self.held.iter().filter(|(_, held)| held.ends <= self.now && !held.is_dead).collect();
        let mut reports = Vec::with_capacity(over.len());
        for (id, held) in over {
            let result = Payload::encode(&self.jobs[held.job].core_seconds())?;
            reports.push((*id, self.queue.report(&held.run, RunReport::Completed(Some(result)))));
        }
        for (id, report) in reports {
            report.await?;
            self.let_go(id, true);
        }
        Ok(())
    }

    fn let_go(&mut self, id: RunId, ended: bool) {
        if let Some(held) = self.held.remove(&id) {
            self.free += self.jobs[held.job].cores;
            if ended {
                self.ended.insert(held.job);
            }
        }
    }

    async fn submit(&mut self) -> Done<()> {
        let from = self.next;
        while self.jobs.get(self.next).is_some_and(|job| job.submitted <= self.now) {
            self.next += 1;
        }
        let drafts: Vec<_> = self.jobs[from..self.next].iter().map(draft).collect();
        if !drafts.is_empty() {
            self.queue.add_runs(drafts).await?;
        }
        Ok(())
    }

    /// Runners claim in turn what fits into the free cores; besteffort runs give way to others.
    async fn assign(&mut self) -> Done<()> {
        loop {
            let runner = self.runner(self.told.claims % RUNNERS, self.free);
            match self.queue.claim_run(&runner).await? {
                Some(run) => self.take(run).await?,
                None if self.make_room().await? => {}
                None => return Ok(()),
            }
        }
    }

    fn job_of(&self, run: &Run) -> Option<usize> {
        self.by_number.get(&number_of(run)?).copied()
    }

    fn runner(&self, number: u64, cores: i64) -> RunnerInfo {
        let name = format!("rack {number}.{}", self.replaced[number as usize]);
        RunnerInfo::new(name, Capabilities::none().field("cores", cores))
    }

    async fn take(&mut self, run: Arc<Run>) -> Done<()> {
        self.told.claims += 1;
        let job = self.job_of(&run).ok_or("a run without a job")?;
        self.told.claimed_twice += u64::from(self.held.contains_key(&run.id));
        self.free -= self.jobs[job].cores;
        self.told.cores_most = self.told.cores_most.max(CORES - self.free);
        let ends = self.now + self.jobs[job].ran;
        let id = run.id;
        self.held.insert(id, Held { run: run.clone(), job, ends, is_dead: false });
        if is_stopped(&self.jobs[job]) {
            // Its user stops it: durably, by command; the runner says that it has stopped.
            self.queue.stop_run(id).await?;
            self.queue.report(&run, RunReport::Stopped).await?;
            self.let_go(id, true);
        }
        Ok(())
    }

    /// Preempts besteffort runs for the first one that is none and could run then; says whether there was one.
    async fn make_room(&mut self) -> Done<bool> {
        let yielding = |held: &&Held| self.jobs[held.job].is_besteffort() && !held.is_dead;
        let besteffort: i64 = self.held.values().filter(yielding).map(|held| self.jobs[held.job].cores).sum();
        if besteffort == 0 {
            return Ok(false);
        }
        let all = self.runner(0, self.free + besteffort);
        let Some(wanted) = self.queue.explain_runner(&all).await?.next else { return Ok(false) };
        let Some(wanted) = self.queue.get_run(wanted).await? else { return Ok(false) };
        let needs = self.job_of(&wanted).map(|place| &self.jobs[place]);
        let Some(needs) = needs.filter(|job| !job.is_besteffort()).map(|job| job.cores) else { return Ok(false) };
        // Those that began last have the least to lose.
        let mut yielding: Vec<_> = self.held.values().filter(yielding).map(|held| held.run.clone()).collect();
        yielding.sort_by_key(|run| std::cmp::Reverse((run.claimed_at, run.id)));
        for run in yielding {
            if self.free >= needs {
                break;
            }
            self.queue.report(&run, RunReport::GivenBack).await?;
            self.let_go(run.id, false);
            self.told.preempted += 1;
        }
        Ok(true)
    }

    /// To the next minute in which something is to be done.
    fn move_on(&mut self) {
        let submission = self.jobs.get(self.next).map(|job| job.submitted);
        let end = self.held.values().filter(|held| !held.is_dead).map(|held| held.ends).min();
        let hour = (self.now / 3_600 + 1) * 3_600;
        let wanted = [submission, end, Some(hour)].into_iter().flatten().min().unwrap_or(hour).max(self.now + 1);
        let minute = (wanted + MINUTE - 1) / MINUTE * MINUTE;
        self.clock.advance(Duration::from_secs((minute - self.now).unsigned_abs()));
        self.now = minute;
    }

    /// Runners give a sign of life; leases that have ended are taken back; and, if it is such a shift, a runner is killed.
    async fn on_the_hour(&mut self) -> Done<()> {
        let alive: BTreeSet<_> = self.held.values().filter(|held| !held.is_dead).map(|held| held.run.id).collect();
        let signs: Vec<_> = alive.iter().map(|id| self.queue.report(&self.held[id].run, RunReport::Alive)).collect();
        for sign in signs {
            sign.await?;
        }
        for taken in self.queue.fail_timed_out_runs().await? {
            self.told.taken_back += 1;
            let before = self.held.get(&taken.id).map(|held| held.run.clone());
            self.let_go(taken.id, false);
            // The dead runner was only cut off, and reports when it is too late.
            if let Some(before) = before {
                self.told.late_reports += 1;
                let late = self.queue.report(&before, RunReport::Completed(None)).await;
                self.told.late_refused += u64::from(late.is_err());
            }
        }
        if self.kills {
            self.kill_one((self.now / 3_600).unsigned_abs()).await?;
        }
        Ok(())
    }

    /// Every other hour it is seen at once; in the hours between nobody notices before the leases end.
    async fn kill_one(&mut self, hour: u64) -> Done<()> {
        let victim = chance(2_014, &[hour.cast_signed()]) % RUNNERS;
        let name = self.runner(victim, 0).id;
        self.replaced[victim as usize] += 1;
        self.told.runners_lost += 1;
        let mine = |held: &&mut Held| held.run.runner.as_ref() == Some(&name);
        if hour.is_multiple_of(2) {
            for run in self.queue.deregister(&name).await? {
                self.told.taken_back += 1;
                self.let_go(run.id, false);
            }
        } else {
            self.held.values_mut().filter(mine).for_each(|held| held.is_dead = true);
        }
        Ok(())
    }

    pub fn day(&self) -> i64 {
        self.now / 86_400
    }

    pub fn busy(&self) -> i64 {
        CORES - self.free
    }

    pub fn ended(&self) -> usize {
        self.ended.len()
    }

    pub fn waiting(&self) -> usize {
        self.next - self.ended.len() - self.held.len()
    }

    /// All runs of the store, in the order of the jobs.
    pub async fn runs(&self) -> Done<Vec<Run>> {
        let mut runs = self.queue.get_all_runs_from_db(&[]).await?;
        runs.sort_by_key(number_of);
        Ok(runs)
    }

    pub async fn close(self) {
        self.site.shutdown().await;
    }
}

/// The run of a job.
fn draft(job: &Job) -> RunDraft {
    RunDraft::new()
        .agent(format!("user {}", job.user))
        .demands(Demands::none().at_least("cores", job.cores))
        .priority(if job.is_besteffort() { 0 } else { 1 })
        .unique(format!("job {}", job.number), Conflict::Existing)
        // A runner is killed every hour, and some jobs run for days.
        .attempts_max(1_000_000)
}

/// Whether its user stops it.
pub fn is_stopped(job: &Job) -> bool {
    chance(31, &[job.number]).is_multiple_of(STOPPED_ONE_IN)
}
