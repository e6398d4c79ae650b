//! The tests own what an engine does as a whole: jobs, turns, back-pressure, and that recovery equals life.

use super::*;
use crate::flow::{ActivationPolicy, Call, ErrorStrategy, FlowRoutine, FlowSaved, Job, Post};
use crate::{EnvelopeId, FailureKind, Overflow, Payload, RetryPolicy, RoutineFailure, chance};
use std::time::Duration;

fn at(second: i64) -> FlowMoment<'static> {
    FlowMoment::at(Timestamp::from_seconds(second))
}

fn idle(second: i64) -> FlowMoment<'static> {
    FlowMoment { idle: true, ..at(second) }
}

fn engine(flow: Flow) -> Engine {
    Engine::new(flow, PersonId(1), 7)
}

fn post(engine: &mut Engine, id: i64, slot: &str, data: &[u64]) -> Admission {
    let (routine, slot) = slot.split_once('.').unwrap();
    let post = Post::new(routine, slot, data).unwrap();
    engine.admit(&post, JobId::of(EnvelopeId(id), 0), Timestamp::default(), at(0))
}

fn jobs(saved: &FlowSaved) -> Vec<(i64, JobStatus)> {
    saved.jobs.iter().map(|write| (write.job.id.envelope().unwrap().0, write.job.status)).collect()
}

fn save(engine: &mut Engine) -> FlowSaved {
    engine.save(1 << 20).unwrap()
}

/// Adds up what it gets, and passes it on.
fn sum() -> FlowRoutine {
    let logic = |call: &mut Call<u64>| {
        for number in call.all::<u64>("in") {
            *call.state_mut() += *number;
            if *number == 13 {
                return Err(RoutineFailure::new(FailureKind::Returned, "unlucky"));
            }
            if *number == 666 {
                panic!("as asked");
            }
            call.emit("out", *number)?;
        }
        Ok(())
    };
    FlowRoutine::new(logic).slot::<u64>("in").event::<u64>("out")
}

fn state(engine: &mut Engine, routine: &str) -> u64 {
    *engine.state(routine).unwrap().downcast_ref::<u64>().unwrap()
}

fn one() -> Flow {
    one_with(sum())
}

fn one_with(routine: FlowRoutine) -> Flow {
    Flow::builder("f").routine("a", routine).build().unwrap()
}

fn chain() -> Flow {
    let flow = Flow::builder("f").routine("a", sum()).routine("b", sum()).connect("a.out", "b.in");
    flow.build().unwrap()
}

#[test]
fn each_post_is_a_job_that_ends_with_its_last_consequence() {
    let mut engine = engine(chain());
    for id in 1..=3 {
        assert_eq!(post(&mut engine, id, "a.in", &[id as u64]), Admission::Taken);
    }
    let saved = save(&mut engine);
    assert_eq!(jobs(&saved), [1, 2, 3].map(|id| (id, JobStatus::Completed)));
    assert_eq!((state(&mut engine, "a"), state(&mut engine, "b")), (6, 6));
    assert_eq!((engine.open_count(), engine.unconnected, engine.is_dirty()), (0, 3, false));
    assert_eq!(saved.rows.len(), 2, "the states, once, and nothing of what passed through");
}

#[test]
fn a_failure_stops_its_job_alone_and_leaves_no_trace_in_the_state() {
    let mut engine = engine(chain());
    post(&mut engine, 1, "a.in", &[5, 13, 666, 7]);
    let saved = save(&mut engine);
    let ended: Vec<_> = saved.jobs.iter().map(|write| (write.job.id.place(), write.job.status)).collect();
    use JobStatus::{Completed, Failed};
    assert_eq!(ended, [(0, Completed), (1, Failed), (2, Failed), (3, Completed)]);
    assert_eq!(saved.jobs[1].job.error.as_deref(), Some("a: failed: unlucky"));
    assert_eq!(saved.jobs[2].job.error.as_deref(), Some("a: panicked: as asked"));
    assert_eq!((state(&mut engine, "a"), state(&mut engine, "b")), (12, 12));
}

#[test]
fn what_cannot_be_taken_fails_and_is_said() {
    let mut engine = engine(one());
    post(&mut engine, 1, "x.in", &[1]);
    let text = Post::new("a", "in", &["text".to_string()]).unwrap();
    engine.admit(&text, JobId::of(EnvelopeId(2), 0), Timestamp::default(), at(0));
    let saved = save(&mut engine);
    assert_eq!(saved.jobs[0].job.error.as_deref(), Some("the flow has no slot x.in"));
    assert!(saved.jobs[1].job.error.as_deref().unwrap().contains("not a u64"));
}

#[test]
fn a_strategy_of_the_routine_goes_before_that_of_the_flow() {
    let run = |own: Option<ErrorStrategy>, flow: ErrorStrategy| {
        let routine = own.into_iter().fold(sum(), |routine, own| routine.on_error(own));
        let flow = Flow::builder("f").routine("a", routine).on_error(flow).build().unwrap();
        let mut engine = engine(flow);
        post(&mut engine, 1, "a.in", &[13]);
        let status = save(&mut engine).jobs[0].job.status;
        let counts = &engine.nodes[0].counts;
        (status, counts.continued, counts.skipped)
    };
    use ErrorStrategy::{Continue, Skip, Stop};
    assert_eq!(run(None, Stop), (JobStatus::Failed, 0, 0));
    assert_eq!(run(None, Continue), (JobStatus::Completed, 1, 0));
    assert_eq!(run(Some(Skip), Stop), (JobStatus::Completed, 0, 1));
    assert_eq!(run(Some(Stop), Skip), (JobStatus::Failed, 0, 0));
}

fn fails_twice() -> FlowRoutine {
    let logic = |call: &mut Call<()>| match call.attempt() {
        1 | 2 => Err(RoutineFailure::new(FailureKind::Returned, "not yet")),
        _ => Ok(()),
    };
    FlowRoutine::new(logic).slot::<u64>("in")
}

fn retrying(attempts_max: u32) -> ErrorStrategy {
    let policy = RetryPolicy { attempts_max, jitter_percent: 0, factor: 2.0, ..RetryPolicy::default() };
    ErrorStrategy::retry(policy)
}

#[test]
fn a_retry_really_repeats_each_task_for_itself_after_its_back_off() {
    let flow = Flow::builder("f").routine("a", fails_twice().on_error(retrying(3))).build().unwrap();
    let mut engine = engine(flow);
    post(&mut engine, 1, "a.in", &[1]);
    assert_eq!(engine.due(), Some(Timestamp::from_seconds(1)));
    post(&mut engine, 2, "a.in", &[1]);
    engine.wake(at(1));
    assert_eq!((engine.due(), engine.open_count()), (Some(Timestamp::from_seconds(3)), 2));
    engine.wake(at(3));
    assert_eq!(jobs(&save(&mut engine)), [(1, JobStatus::Completed), (2, JobStatus::Completed)]);
    assert_eq!(engine.nodes[0].counts.retried, 4);
}

#[test]
fn who_rests_has_no_moment_at_which_a_retry_comes_due() {
    let flow = Flow::builder("f").routine("a", fails_twice().on_error(retrying(3))).build().unwrap();
    let mut engine = engine(flow);
    post(&mut engine, 1, "a.in", &[1]);
    engine.rest(true);
    assert_eq!(engine.due(), None, "it would be woken again and again for what it may not begin");
    engine.rest(false);
    assert_eq!(engine.due(), Some(Timestamp::from_seconds(1)));
}

#[test]
fn a_mapping_that_panics_is_the_end_of_all_that_its_turn_emitted() {
    let twice = |call: &mut Call<()>| {
        let number = call.first::<u64>("in").map_or(0, |number| *number);
        call.emit("out", number)?;
        Ok(call.emit("out", number + 1)?)
    };
    let twice = FlowRoutine::new(twice).slot::<u64>("in").event::<u64>("out");
    let flow = Flow::builder("f").routine("a", twice).routine("b", sum());
    let flow = flow.connect_mapped("a.out", "b.in", |number: &u64| {
        assert_ne!(*number, 13);
        *number
    });
    let mut engine = engine(flow.build().unwrap());
    post(&mut engine, 1, "a.in", &[13]);
    assert_eq!(jobs(&save(&mut engine)), [(1, JobStatus::Failed)]);
    assert_eq!(state(&mut engine, "b"), 0, "nothing goes on for a job that has ended");
}

#[test]
fn a_retry_in_vain_or_of_what_is_not_retryable_is_a_failure() {
    let run = |strategy: ErrorStrategy| {
        let flow = Flow::builder("f").routine("a", fails_twice().on_error(strategy)).build().unwrap();
        let mut engine = engine(flow);
        post(&mut engine, 1, "a.in", &[1]);
        (0..9).for_each(|second| engine.wake(at(second)));
        let saved = save(&mut engine);
        (saved.jobs[0].job.status, engine.nodes[0].counts.failures)
    };
    assert_eq!(run(retrying(2)), (JobStatus::Failed, 2));
    let never = RetryPolicy { retryable: |_| false, ..RetryPolicy::default() };
    assert_eq!(run(ErrorStrategy::retry(never.clone())), (JobStatus::Failed, 1));
    let late = RetryPolicy { deadline: Some(Duration::from_millis(500)), ..RetryPolicy::default() };
    assert_eq!(run(ErrorStrategy::retry(late)), (JobStatus::Failed, 1));
    let then = Box::new(ErrorStrategy::Continue);
    assert_eq!(run(ErrorStrategy::Retry { policy: never, then }), (JobStatus::Completed, 1));
}

fn join(policy: ActivationPolicy) -> Flow {
    let logic = |call: &mut Call<Vec2>| {
        let pair = (call.first::<u64>("left").map_or(0, |x| *x), call.first::<u64>("right").map_or(0, |x| *x));
        call.state_mut().0.push(pair);
        Ok(())
    };
    let routine = FlowRoutine::new(logic).slot::<u64>("left").slot::<u64>("right").policy(policy);
    Flow::builder("f").routine("j", routine).build().unwrap()
}

#[derive(Default, Clone, Serialize, Deserialize)]
struct Vec2(Vec<(u64, u64)>);
impl crate::Durable for Vec2 {
    const TYPE: &'static str = "pairs";
}

#[test]
fn a_join_pairs_in_order_of_arrival_and_drains_its_backlog_without_another_arrival() {
    let mut engine = engine(join(ActivationPolicy::all_ready()));
    post(&mut engine, 1, "j.left", &[1, 2, 3, 4]);
    post(&mut engine, 2, "j.right", &[5, 6]);
    let pairs = engine.state("j").unwrap().downcast_ref::<Vec2>().unwrap().0.clone();
    assert_eq!((pairs, engine.open_count()), (vec![(1, 5), (2, 6)], 2));
}

#[test]
fn a_batch_flushes_its_tail_when_idle_and_its_jobs_end_with_it() {
    let policy = ActivationPolicy::batch(2).flush_when_idle();
    let flow = Flow::builder("f").routine("a", sum().policy(policy)).build().unwrap();
    let mut engine = engine(flow);
    post(&mut engine, 1, "a.in", &[1, 2, 3]);
    assert_eq!((state(&mut engine, "a"), engine.open_count()), (3, 1));
    engine.run(idle(0));
    assert_eq!((state(&mut engine, "a"), engine.open_count()), (6, 0));
}

#[test]
fn a_full_slot_holds_posts_back_and_what_stops_its_routine_loses_nothing() {
    let flow = Flow::builder("f").routine("a", sum().holding(10, Overflow::Wait)).build().unwrap();
    let mut engine = engine(flow);
    engine.set_breakpoint(Breakpoint { routine: "a".into(), job: None });
    let admitted: Vec<_> = (1..=12).map(|id| post(&mut engine, id, "a.in", &[1])).collect();
    assert_eq!(admitted.iter().filter(|admission| **admission == Admission::Held).count(), 2);
    engine.step("a");
    engine.run(at(0));
    assert_eq!((state(&mut engine, "a"), engine.nodes[0].slots[0].len()), (1, 9));
    engine.clear_breakpoints("a");
    engine.run(at(0));
    assert_eq!(state(&mut engine, "a"), 10);
}

#[test]
fn a_routine_before_a_full_slot_waits_and_goes_on_by_itself() {
    let slow = sum().holding(3, Overflow::Wait);
    let flow = Flow::builder("f").routine("a", sum()).routine("b", slow).connect("a.out", "b.in").build().unwrap();
    let mut engine = engine(flow);
    engine.set_breakpoint(Breakpoint { routine: "b".into(), job: None });
    post(&mut engine, 1, "a.in", &[1; 20]);
    assert_eq!((engine.nodes[0].slots[0].len(), engine.nodes[1].slots[0].len()), (17, 3));
    engine.clear_breakpoints("b");
    engine.run(at(0));
    assert_eq!((state(&mut engine, "b"), engine.open_count()), (20, 0));
}

#[test]
fn what_a_full_slot_drops_is_counted_and_its_job_says_so() {
    for (overflow, lost) in [(Overflow::DropOldest, [0, 1]), (Overflow::DropNewest, [2, 3])] {
        let flow = Flow::builder("f").routine("a", sum().holding(2, overflow)).build().unwrap();
        let mut engine = engine(flow);
        engine.set_breakpoint(Breakpoint { routine: "a".into(), job: None });
        post(&mut engine, 1, "a.in", &[1; 4]);
        let saved = save(&mut engine);
        let failed = saved.jobs.iter().filter(|write| write.job.status == JobStatus::Failed);
        assert_eq!(failed.map(|write| write.job.id.place()).collect::<Vec<_>>(), lost);
        assert_eq!((engine.nodes[0].slots[0].dropped, engine.open_count()), (2, 2));
    }
}

#[test]
fn what_is_dropped_on_the_way_is_counted_and_its_job_goes_on() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let flow = Flow::builder("f").routine("a", sum()).routine("b", sum().holding(2, overflow));
        let mut engine = engine(flow.connect("a.out", "b.in").build().unwrap());
        engine.set_breakpoint(Breakpoint { routine: "b".into(), job: None });
        post(&mut engine, 1, "a.in", &[1; 5]);
        assert_eq!((engine.nodes[1].slots[0].dropped, engine.open_count()), (3, 2));
        engine.clear_breakpoints("b");
        engine.run(at(0));
        let saved = save(&mut engine);
        assert!(saved.jobs.iter().all(|write| write.job.status == JobStatus::Completed), "{overflow:?}");
        assert_eq!((saved.jobs.len(), state(&mut engine, "b")), (5, 2));
    }
}

#[test]
fn a_turn_whose_emission_is_rejected_has_failed_and_its_strategy_decides() {
    use ErrorStrategy::{Continue, Skip, Stop};
    for (strategy, ended) in [(Stop, JobStatus::Failed), (Continue, JobStatus::Completed), (Skip, JobStatus::Completed)]
    {
        let flow = Flow::builder("f").routine("a", sum().on_error(strategy));
        let flow = flow.routine("b", sum().holding(2, Overflow::Reject)).routine("c", sum());
        let mut engine = engine(flow.connect("a.out", "c.in").connect("a.out", "b.in").build().unwrap());
        engine.set_breakpoint(Breakpoint { routine: "b".into(), job: None });
        post(&mut engine, 1, "a.in", &[1; 5]);
        let saved = save(&mut engine);
        let ends = saved.jobs.iter().filter(|write| write.job.status.is_final()).map(|write| write.job.status);
        assert_eq!(ends.collect::<Vec<_>>(), [ended; 3]);
        // Such a turn leaves no trace, at the other ends of its connections either.
        assert_eq!((state(&mut engine, "a"), state(&mut engine, "c"), engine.nodes[1].slots[0].len()), (2, 2, 2));
    }
    let flow = Flow::builder("f").routine("a", sum().on_error(retrying(9)));
    let flow = flow.routine("b", sum().holding(1, Overflow::Reject));
    let mut engine = engine(flow.connect("a.out", "b.in").build().unwrap());
    engine.set_breakpoint(Breakpoint { routine: "b".into(), job: None });
    post(&mut engine, 1, "a.in", &[1; 2]);
    engine.clear_breakpoints("b");
    engine.run(at(0));
    engine.wake(at(1));
    let saved = save(&mut engine);
    assert!(saved.jobs.iter().all(|write| write.job.status == JobStatus::Completed));
    assert_eq!((state(&mut engine, "b"), engine.open_count()), (2, 0));
}

#[test]
fn a_cycle_goes_round_until_nothing_is_emitted() {
    let countdown = |call: &mut Call<()>| {
        let number = call.first::<u64>("in").map_or(0, |number| *number);
        if number > 0 {
            call.emit("again", number - 1)?;
        }
        Ok(())
    };
    let routine = FlowRoutine::new(countdown).slot::<u64>("in").holding(1, Overflow::Wait).event::<u64>("again");
    let flow = Flow::builder("f").routine("a", routine).connect("a.again", "a.in").build().unwrap();
    let mut engine = engine(flow);
    post(&mut engine, 1, "a.in", &[1_000]);
    assert_eq!((engine.nodes[0].counts.activations, engine.open_count()), (1_001, 0));
}

#[test]
fn a_deadline_fails_a_job_and_takes_what_waits_of_it() {
    let mut engine = engine(join(ActivationPolicy::all_ready()));
    let mut post = Post::new("j", "left", &[1_u64]).unwrap();
    post.deadline = Some(Timestamp::from_seconds(9));
    engine.admit(&post, JobId::of(EnvelopeId(1), 0), Timestamp::default(), at(0));
    assert_eq!(engine.due(), Some(Timestamp::from_seconds(9)));
    engine.wake(at(9));
    assert_eq!(jobs(&save(&mut engine)), [(1, JobStatus::Failed)]);
    assert_eq!((engine.nodes[0].slots[0].len(), engine.due()), (0, None));
}

#[test]
fn a_job_ends_once_and_one_called_off_before_it_came_never_begins() {
    let mut engine = engine(join(ActivationPolicy::all_ready()));
    post(&mut engine, 1, "j.left", &[1]);
    let job = JobId::of(EnvelopeId(1), 0);
    assert!(engine.cancel(job, None, Timestamp::default()));
    assert!(!engine.cancel(job, None, Timestamp::default()));
    let next = JobId::of(EnvelopeId(2), 0);
    assert!(engine.cancel(next, Some(Timestamp::default()), Timestamp::default()));
    post(&mut engine, 2, "j.left", &[1]);
    assert_eq!(jobs(&save(&mut engine)), [(1, JobStatus::Cancelled), (2, JobStatus::Cancelled)]);
    assert_eq!((engine.open_count(), engine.cancelled.len()), (0, 0));
}

#[test]
fn pooled_turns_wait_for_their_row_and_end_once() {
    let pooled = FlowRoutine::pooled(|call: &mut Call<u64>| {
        *call.state_mut() += 1;
        Ok(())
    });
    let flow = Flow::builder("f").routine("p", pooled.slot::<u64>("in")).build().unwrap();
    let mut engine = engine(flow);
    post(&mut engine, 1, "p.in", &[1, 1]);
    assert!(engine.starting(Timestamp::default()).is_empty(), "nothing of it is durable");
    save(&mut engine);
    for left in [1, 0] {
        let mut runs = engine.starting(Timestamp::default());
        assert_eq!(runs.len(), 1, "with a state, one at a time");
        engine.finish(runs.remove(0).perform(), at(1));
        save(&mut engine);
        assert_eq!(engine.open_count(), left);
    }
    assert_eq!(state(&mut engine, "p"), 2);
}

#[test]
fn a_turn_gets_nothing_of_one_that_failed_before_it() {
    let pooled = |call: &mut Call<()>| match (call.attempt(), call.all::<u64>("in").len()) {
        (1, _) => Err(RoutineFailure::new(FailureKind::Returned, "not yet")),
        (_, 1) => Ok(()),
        (_, count) => panic!("{count} data"),
    };
    let pooled = FlowRoutine::pooled(pooled).slot::<u64>("in").on_error(retrying(2));
    let flow = Flow::builder("f").routine("p", pooled).build().unwrap();
    let mut engine = engine(flow);
    for second in 0..6 {
        post(&mut engine, 1 + second, "p.in", &[7]);
        save(&mut engine);
        for run in engine.starting(Timestamp::from_seconds(2 * second)) {
            engine.finish(run.perform(), at(2 * second));
        }
    }
    for _ in 0..3 {
        save(&mut engine);
        for run in engine.starting(Timestamp::from_seconds(99)) {
            engine.finish(run.perform(), at(99));
        }
    }
    assert_eq!((engine.open_count(), engine.nodes[0].counts.activations, engine.nodes[0].counts.failures), (0, 6, 6));
}

/// A store of one worker: rows and open jobs.
#[derive(Default)]
struct Disk {
    rows: BTreeMap<String, Payload>,
    jobs: BTreeMap<JobId, Job>,
}

impl Disk {
    fn write(&mut self, saved: FlowSaved) {
        for name in &saved.forgotten {
            self.rows.remove(name);
        }
        self.rows.extend(saved.rows.into_iter().map(|row| (row.name, row.payload)));
        for JobWrite { job, known } in saved.jobs {
            let before = self.jobs.insert(job.id, job);
            assert_eq!(before.is_some(), known);
            assert!(before.is_none_or(|before| !before.status.is_final()), "terminal exactly once");
        }
    }

    fn recover(&self, flow: Flow) -> Engine {
        let rows: Vec<_> = self.rows.iter().map(|(name, row)| (name.clone(), row.clone())).collect();
        let open = self.jobs.values().filter(|job| !job.status.is_final()).cloned().collect();
        Engine::recovered(flow, PersonId(1), 7, &rows, open, Timestamp::default()).unwrap()
    }
}

fn everything() -> Flow {
    let pooled = FlowRoutine::pooled(|call: &mut Call<u64>| {
        for number in call.all::<u64>("in") {
            *call.state_mut() += *number;
            call.emit("out", *number)?;
        }
        Ok(())
    });
    Flow::builder("f")
        .routine("a", sum().holding(4, Overflow::Wait))
        .routine("p", pooled.slot::<u64>("in").event::<u64>("out"))
        .routine("b", sum().policy(ActivationPolicy::batch(3).flush_when_idle()).on_error(ErrorStrategy::Skip))
        .routine("r", fails_twice().on_error(retrying(3)))
        .connect("a.out", "p.in")
        .connect("a.out", "b.in")
        .connect("p.out", "r.in")
        .build()
        .unwrap()
}

type Ending = (Vec<(JobId, JobStatus)>, Vec<(String, Payload)>);

/// Plays posts with crashes before or after commits, at moments that follow from the seed; gives what was left.
fn play(seed: u64, crashes: bool) -> Ending {
    let (mut disk, mut engine, mut step) = (Disk::default(), engine(everything()), 0);
    let mut dice = |sides: u64| {
        step += 1;
        chance(seed, &[step]) % sides
    };
    let (mut next, mut second) = (1, 0);
    while next <= 20 || engine.open_count() > 0 {
        second += 1;
        let taken = next <= 20 && {
            let number = if next % 7 == 0 { 13 } else { next as u64 };
            post(&mut engine, next, "a.in", &[number]) == Admission::Taken
        };
        engine.wake(FlowMoment { idle: next > 20, ..at(second) });
        if crashes && dice(3) == 0 {
            engine = disk.recover(everything());
            continue;
        }
        disk.write(save(&mut engine));
        next += i64::from(taken);
        if crashes && dice(3) == 0 {
            engine = disk.recover(everything());
        }
        for run in engine.starting(Timestamp::from_seconds(second)) {
            engine.finish(run.perform(), at(second));
        }
        if crashes && dice(3) == 0 {
            engine = disk.recover(everything());
            continue;
        }
        disk.write(save(&mut engine));
    }
    let jobs = disk.jobs.values().map(|job| (job.id, job.status)).collect();
    (jobs, disk.rows.into_iter().collect())
}

#[test]
fn recovery_equals_life_wherever_it_is_cut() {
    let (jobs, rows) = play(0, false);
    assert_eq!((jobs.len(), rows.len()), (20, 3), "three states and nothing else: {rows:?}");
    assert_eq!(jobs.iter().filter(|(_, status)| *status == JobStatus::Failed).count(), 3);
    for seed in 1..300 {
        assert_eq!(play(seed, true), (jobs.clone(), rows.clone()), "seed {seed}");
    }
}

#[test]
fn turns_that_a_new_version_may_not_have_at_once_wait_for_their_place() {
    fn pooled<S: crate::Durable + Default + Clone>(count: fn(&mut S)) -> Flow {
        let logic = move |call: &mut Call<S>| {
            count(call.state_mut());
            Ok(())
        };
        Flow::builder("f").routine("p", FlowRoutine::pooled(logic).slot::<u64>("in")).build().unwrap()
    }
    let mut engine = engine(pooled::<()>(|()| ()));
    post(&mut engine, 1, "p.in", &[1, 1, 1]);
    let mut disk = Disk::default();
    disk.write(save(&mut engine));
    assert_eq!(engine.starting(Timestamp::default()).len(), 3, "without a state, side by side");
    let mut engine = disk.recover(pooled::<u64>(|count| *count += 1));
    for left in [2, 1, 0] {
        let mut runs = engine.starting(Timestamp::default());
        assert_eq!(runs.len(), 1, "with a state, one at a time");
        engine.finish(runs.remove(0).perform(), at(1));
        disk.write(save(&mut engine));
        assert_eq!(engine.open_count(), left);
    }
    assert_eq!(state(&mut engine, "p"), 3);
}

#[test]
fn an_interval_goes_on_over_a_restart() {
    let every_ten = || one_with(sum().policy(ActivationPolicy::interval(Duration::from_secs(10))));
    let mut engine = engine(every_ten());
    post(&mut engine, 1, "a.in", &[1]);
    let mut disk = Disk::default();
    disk.write(save(&mut engine));
    let mut engine = disk.recover(every_ten());
    post(&mut engine, 2, "a.in", &[2]);
    assert_eq!((state(&mut engine, "a"), engine.due()), (1, Some(Timestamp::from_seconds(10))));
    engine.wake(at(10));
    assert_eq!(state(&mut engine, "a"), 3);
}

#[test]
fn what_a_new_version_of_the_flow_has_no_place_for_fails_and_says_so() {
    let mut engine = engine(join(ActivationPolicy::all_ready()));
    post(&mut engine, 1, "j.left", &[1]);
    let mut disk = Disk::default();
    disk.write(save(&mut engine));
    let mut engine = disk.recover(one());
    disk.write(save(&mut engine));
    let job = disk.jobs.values().next().unwrap();
    assert_eq!(job.error.as_deref(), Some("the slot j.left is not in this flow any more"));
    assert_eq!(disk.rows.len(), 0);
}
