//! Mistakes that flows once had: each test failed before it was mended.

use crate::flows::{SOON, finished, one, open};
use crate::site::Plot;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use worksite::prelude::*;

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Numbers(Vec<u64>);
impl Durable for Numbers {
    const TYPE: &'static str = "numbers";
}

/// Keeps what it gets, in order, and passes it on.
fn keeper() -> FlowRoutine {
    let logic = |call: &mut Call<Numbers>| {
        for slot in ["in", "left", "right"] {
            let numbers = call.all::<u64>(slot);
            call.state_mut().0.extend(numbers.iter().map(|number| **number));
        }
        Ok(())
    };
    FlowRoutine::new(logic)
}

/// What this comes to, or a failed test: some of these mistakes waited for ever.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it waits for ever")
}

#[tokio::test]
async fn a_post_behind_a_full_slot_is_not_overtaken_by_a_later_one() {
    let plot = Plot::new();
    let narrow = |routine: FlowRoutine, slot| routine.slot::<u64>(slot).holding(1, Overflow::Wait);
    let join = narrow(narrow(keeper(), "left"), "right").policy(ActivationPolicy::all_ready());
    let flows = open(&plot, one(join)).await;
    let worker = flows.exec("f").await.unwrap();
    worker.pause().await.unwrap();
    for (slot, number) in [("left", 1_u64), ("left", 2), ("right", 11), ("left", 3), ("right", 12), ("right", 13)] {
        flows.post("f", "a", slot, &number).await.unwrap();
    }
    worker.resume().await.unwrap();
    finished(&flows).await;
    let Numbers(paired) = worker.state("a").await.unwrap().unwrap();
    assert_eq!(paired, [1, 11, 2, 12, 3, 13], "in order of arrival");
}

#[tokio::test]
async fn a_post_behind_a_slot_that_volatile_data_fill_is_taken_when_they_have_gone() {
    let plot = Plot::new();
    let now_and_then = ActivationPolicy::interval(Duration::from_millis(200));
    let routine = keeper().slot::<u64>("in").holding(1, Overflow::Wait).policy(now_and_then);
    let flows = open(&plot, one(routine)).await;
    let worker = flows.exec("f").await.unwrap();
    flows.post("f", "a", "in", &1_u64).await.unwrap();
    finished(&flows).await;
    flows.posting("f", "a", "in").post_volatile(&[2_u64]).unwrap();
    flows.post("f", "a", "in", &3_u64).await.unwrap();
    finished(&flows).await;
    assert_eq!(worker.state::<Numbers>("a").await.unwrap(), Some(Numbers(vec![1, 2, 3])));
}

#[tokio::test]
async fn a_post_waits_for_room_in_its_slot_as_long_as_that_says_also_over_a_restart() {
    let plot = Plot::new();
    let never = || keeper().slot::<u64>("in").policy(ActivationPolicy::all_ready()).slot::<u64>("right");
    let brief = || {
        let routine = never().holding(1, Overflow::Wait);
        let wait = Overflow::WaitFor(Duration::from_millis(300));
        one(routine.slot::<u64>("left").holding(1, wait))
    };
    let flows = open(&plot, brief()).await;
    flows.exec("f").await.unwrap();
    let (_, first) = flows.post("f", "a", "left", &1_u64).await.unwrap();
    let (_, second) = flows.post("f", "a", "left", &2_u64).await.unwrap();
    assert!(!first.wait(Some(Duration::from_millis(20))).await.unwrap());
    flows.shutdown(false).await.unwrap();
    let flows = open(&plot, brief()).await;
    assert!(flows.wait_for(second.id(), SOON).await.unwrap());
    let job = flows.get_job(second.id()).await.unwrap().unwrap();
    assert!(job.status == JobStatus::Failed && job.error.as_ref().unwrap().contains("full for too long"), "{job:?}");
    assert_eq!(flows.get_job(first.id()).await.unwrap().unwrap().status, JobStatus::Running);
    flows.shutdown(false).await.unwrap();
}

#[tokio::test]
async fn a_job_that_was_called_off_stays_so_when_its_slot_is_not_in_the_flow_any_more() {
    let plot = Plot::new();
    let both = Flow::builder("f").routine("a", keeper().slot::<u64>("in")).routine("b", keeper().slot::<u64>("in"));
    let flows = open(&plot, both.build().unwrap()).await;
    let worker = flows.exec("f").await.unwrap();
    worker.pause().await.unwrap();
    let (_, jobs) = flows.posting("f", "b", "in").post_all(&[1_u64, 2]).await.unwrap();
    assert!(jobs[0].cancel().await.unwrap());
    flows.shutdown(false).await.unwrap();

    let flows = open(&plot, one(keeper().slot::<u64>("in"))).await;
    let worker = flows.get_worker(worker.id()).unwrap();
    worker.resume().await.unwrap();
    flows.post("f", "a", "in", &7_u64).await.unwrap();
    finished(&flows).await;
    assert_eq!(worker.state::<Numbers>("a").await.unwrap(), Some(Numbers(vec![7])));
    let status = async |job: &JobHandle| flows.get_job(job.id()).await.unwrap().unwrap().status;
    assert_eq!((status(&jobs[0]).await, status(&jobs[1]).await), (JobStatus::Cancelled, JobStatus::Failed));
}

#[tokio::test]
async fn whoever_waits_for_a_job_hears_that_its_worker_was_stopped_or_all_was_cleared() {
    let never = || one(keeper().slot::<u64>("in").policy(ActivationPolicy::batch(9)));
    for (cleared, paused) in [(false, false), (false, true), (true, false), (true, true)] {
        let plot = Plot::new();
        let site = Worksite::builder().flow(never()).open(plot.path()).await.unwrap();
        let flows = site.flows();
        let worker = flows.exec("f").await.unwrap();
        if paused {
            worker.pause().await.unwrap();
        }
        let (_, job) = flows.post("f", "a", "in", &1_u64).await.unwrap();
        let (_, volatile) = flows.posting("f", "a", "in").post_volatile(&[2_u64]).unwrap();
        assert!(!flows.wait_until_all_jobs_finished(Some(Duration::from_millis(50))).await.unwrap());
        let waits = [job.id(), volatile].map(|id| {
            let flows = flows.clone();
            tokio::spawn(async move { flows.wait_for(id, None).await })
        });
        tokio::task::yield_now().await;
        if cleared {
            site.clear_all().await.unwrap();
        } else {
            worker.stop().await.unwrap();
        }
        let [durable, volatile] = waits;
        let heard = soon(durable).await.unwrap();
        match (cleared, paused) {
            // It is in the history, called off.
            (false, false) => assert!(heard.unwrap()),
            _ => assert!(matches!(heard, Err(FlowError::UnknownJob(_))), "{heard:?}"),
        }
        assert!(matches!(soon(volatile).await.unwrap(), Err(FlowError::UnknownJob(_))), "it is lost");
        finished(&flows).await;
        assert_eq!(flows.open_jobs(), 0);
        flows.shutdown(true).await.unwrap();
    }
}

#[tokio::test]
async fn a_turn_that_comes_due_and_cannot_be_written_fails_and_harms_nobody_else() {
    let plot = Plot::new();
    let late = |call: &mut Call<()>| {
        let to = call.first::<u64>("in").map_or(0, |to| *to);
        call.send(Draft::to(to as i64, &"from a flow".to_string())?);
        Ok(())
    };
    let late = FlowRoutine::new(late).slot::<u64>("in");
    let late = late.policy(ActivationPolicy::batch(9).flush_after(Duration::from_millis(50)));
    let flow = Flow::builder("f").routine("late", late).routine("a", keeper().slot::<u64>("in")).build().unwrap();
    let flows = open(&plot, flow).await;
    let worker = flows.exec("f").await.unwrap();
    let (_, bad) = flows.post("f", "late", "in", &8_u64).await.unwrap();
    let mut good = Vec::new();
    for number in 0..40_u64 {
        good.push(flows.post("f", "a", "in", &number).await.unwrap().1);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    finished(&flows).await;
    let bad = bad.get().await.unwrap().unwrap();
    assert!(bad.status == JobStatus::Failed && bad.error.as_ref().unwrap().contains("not on the roster"), "{bad:?}");
    for job in good {
        assert_eq!(job.get().await.unwrap().unwrap().status, JobStatus::Completed);
    }
    assert_eq!(worker.state::<Numbers>("a").await.unwrap(), Some(Numbers((0..40).collect())));
}

#[tokio::test]
async fn drafts_that_fit_one_by_one_are_not_held_back_because_they_do_not_all_together() {
    let plot = Plot::new();
    let send = |call: &mut Call<()>| {
        let number = call.first::<u64>("in").map_or(0, |number| *number);
        call.send(Draft::to(7, &number)?);
        Ok(())
    };
    let small = |_: &Person| InboxPolicy { envelopes_max: 4, ..InboxPolicy::of(&Limits::default()) };
    let site = Worksite::builder().flow(one(FlowRoutine::new(send).slot::<u64>("in"))).inboxes(small);
    let site = site.open(plot.path()).await.unwrap();
    site.join(Person::new(7, "ada")).await.unwrap();
    let flows = site.flows();
    let worker = flows.exec("f").await.unwrap();
    worker.pause().await.unwrap();
    for number in 0..4_u64 {
        flows.post("f", "a", "in", &number).await.unwrap();
    }
    let blocked = site.send(Draft::to(7, &100_u64).unwrap()).await.unwrap();
    worker.resume().await.unwrap();
    crate::site::until(|| site.message_count(7) == 4).await;
    site.acknowledge(vec![blocked.id]).await.unwrap();
    finished(&flows).await;
    assert_eq!(site.message_count(7), 4);
}

#[tokio::test]
async fn what_a_damaged_row_still_says_of_its_jobs_fails_them_and_the_row_is_kept() {
    let plot = Plot::new();
    let pairs = || {
        let split = |call: &mut Call<()>| {
            let number = call.first::<u64>("in").map_or(0, |number| *number);
            call.emit("left", number)?;
            call.emit("right", number)?;
            Ok(())
        };
        let split = FlowRoutine::new(split).slot::<u64>("in").event::<u64>("left").event::<u64>("right");
        let batch = |size| keeper().slot::<u64>("in").policy(ActivationPolicy::batch(size));
        let flow = Flow::builder("f").routine("split", split).routine("a", batch(3)).routine("b", batch(2));
        flow.connect("split.left", "a.in").connect("split.right", "b.in").build().unwrap()
    };
    let flows = open(&plot, pairs()).await;
    let worker = flows.exec("f").await.unwrap();
    let (_, first) = flows.post("f", "split", "in", &1_u64).await.unwrap();
    assert!(!first.wait(Some(Duration::from_millis(50))).await.unwrap());
    flows.shutdown(false).await.unwrap();
    let file = Connection::open(plot.path()).unwrap();
    let rows = "SELECT count(*) FROM states WHERE routine LIKE 'f/item/%'";
    assert_eq!(file.query_row(rows, [], |row| row.get::<_, i64>(0)).unwrap(), 2);
    let last_byte = "UPDATE states SET body = CAST(substr(body, 1, length(body) - 1) || x'55' AS BLOB) \
                     WHERE routine = (SELECT min(routine) FROM states WHERE routine LIKE 'f/item/%')";
    assert_eq!(file.execute(last_byte, []).unwrap(), 1);
    drop(file);

    let flows = open(&plot, pairs()).await;
    finished(&flows).await;
    let job = flows.get_job(first.id()).await.unwrap().unwrap();
    assert_eq!(job.status, JobStatus::Failed, "it lost a part: {job:?}");
    let (_, second) = flows.posting("f", "split", "in").worker(worker.id()).post(&2_u64).await.unwrap();
    assert!(!second.wait(Some(Duration::from_millis(50))).await.unwrap());
    flows.shutdown(false).await.unwrap();
    let file = Connection::open(plot.path()).unwrap();
    let kept = file.query_row(rows, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(kept, 3, "the damaged one, and the two of the second job");
}

#[tokio::test]
async fn a_state_in_an_encoding_that_is_not_known_is_not_begun_anew() {
    let plot = Plot::new();
    let flow = || one(keeper().slot::<u64>("in"));
    let flows = open(&plot, flow()).await;
    let worker = flows.exec("f").await.unwrap();
    flows.post("f", "a", "in", &1_u64).await.unwrap();
    finished(&flows).await;
    flows.shutdown(true).await.unwrap();
    let file = Connection::open(plot.path()).unwrap();
    let change = |encoding: i64| {
        file.execute("UPDATE states SET encoding = ?1 WHERE routine = 'f/state/a'", [encoding]).unwrap();
    };
    let before: i64 =
        file.query_row("SELECT encoding FROM states WHERE routine = 'f/state/a'", [], |row| row.get(0)).unwrap();
    change(77);
    let flows = open(&plot, flow()).await;
    flows.post("f", "a", "in", &2_u64).await.unwrap();
    let held = flows.get_worker(worker.id()).unwrap();
    crate::site::until(|| held.status() == Status::Failed).await;
    flows.shutdown(false).await.unwrap();
    change(before);
    let flows = open(&plot, flow()).await;
    finished(&flows).await;
    let worker = flows.get_worker(worker.id()).unwrap();
    assert_eq!(worker.state::<Numbers>("a").await.unwrap(), Some(Numbers(vec![1, 2])));
}

#[tokio::test]
async fn a_full_slot_costs_a_job_what_its_policy_says_and_not_all_it_is() {
    for (overflow, ends) in [
        (Overflow::DropNewest, JobStatus::Completed),
        (Overflow::DropOldest, JobStatus::Completed),
        // The turn that emits has failed, and its strategy, to continue, decides.
        (Overflow::Reject, JobStatus::Completed),
    ] {
        let plot = Plot::new();
        let pass = |call: &mut Call<()>| {
            let number = call.first::<u64>("in").map_or(0, |number| *number);
            Ok(call.emit("out", number)?)
        };
        let first = FlowRoutine::new(pass).slot::<u64>("in").event::<u64>("out").on_error(ErrorStrategy::Continue);
        let second = keeper().slot::<u64>("in").holding(2, overflow);
        let flow = Flow::builder("f").routine("first", first).routine("second", second);
        let flows = open(&plot, flow.connect("first.out", "second.in").build().unwrap()).await;
        let worker = flows.exec("f").await.unwrap();
        worker.set_breakpoint(Breakpoint { routine: "second".into(), job: None }).await.unwrap();
        let (_, jobs) = flows.posting("f", "first", "in").post_all(&[1_u64, 2, 3, 4, 5]).await.unwrap();
        // Three of them have lost their way; two wait.
        let done =
            || async { flows.list_jobs(JobFilter { open: true, ..JobFilter::default() }, 9).await.unwrap().len() };
        while done().await != 2 {}
        let report = worker.report().await.unwrap();
        assert_eq!(report.routines[0].continued, if overflow == Overflow::Reject { 3 } else { 0 });
        assert_eq!(report.routines[1].slots[0].dropped, if overflow == Overflow::Reject { 0 } else { 3 });
        worker.clear_breakpoints("second").await.unwrap();
        finished(&flows).await;
        for job in &jobs {
            assert_eq!(flows.get_job(job.id()).await.unwrap().unwrap().status, ends, "{overflow:?}");
        }
        let kept = if overflow == Overflow::DropOldest { vec![4, 5] } else { vec![1, 2] };
        assert_eq!(worker.state::<Numbers>("second").await.unwrap(), Some(Numbers(kept)));
    }
}

#[tokio::test]
async fn a_flow_that_waits_for_a_full_recipient_is_seen_and_goes_on_when_there_is_room() {
    let plot = Plot::new();
    let tell = |call: &mut Call<u64>| {
        *call.state_mut() += 1;
        call.send(crate::site::note(1, "from the flow"));
        Ok(())
    };
    let flow = one(FlowRoutine::new(tell).slot::<u64>("in"));
    let narrow = |person: &Person| {
        let usual = InboxPolicy::of(&Limits::default());
        if person.id == PersonId(1) { InboxPolicy { envelopes_max: 1, ..usual } } else { usual }
    };
    // She takes her mail by hand.
    let builder = Worksite::builder().manual(|person| person.id == PersonId(1)).inboxes(narrow).flow(flow);
    let site = builder.open(plot.path()).await.unwrap();
    site.sync([Person::new(1, "ada")]).await.unwrap();
    let full = site.send(crate::site::note(1, "in the way")).await.unwrap();
    let flows = site.flows();
    let worker = flows.exec("f").await.unwrap();
    flows.post("f", "a", "in", &1_u64).await.unwrap();
    let seen = soon(async {
        loop {
            if let Some(blocked) = site.blocked().await.unwrap().pop() {
                return blocked;
            }
        }
    });
    let blocked = seen.await;
    assert_eq!(blocked.person, worker.id());
    assert!(blocked.reason.contains("the inbox of person 1 is full"), "{blocked:?}");
    site.acknowledge(vec![full.id]).await.unwrap();
    finished(&flows).await;
    assert_eq!((site.blocked().await.unwrap(), worker.state::<u64>("a").await.unwrap()), (vec![], Some(1)));
    assert_eq!(site.message_count(1), 1);
}
