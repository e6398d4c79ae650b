//! Lifecycle: pause, resume, terminate, and how a worker stands, seen through handles.

use crate::site::{Notes, Plot, Task, note, people, routines};
use std::time::Duration;
use worksite::prelude::*;

async fn until(handle: &WorkerHandle, status: Status) {
    for _ in 0..2_000 {
        if handle.status() == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the worker is {:?}, and never became {status:?}", handle.status());
}

/// Scenario 19: pause, restart, resume: pending work, state and counts are the same.
#[tokio::test]
async fn a_paused_worker_rests_across_a_restart_and_goes_on_where_it_was() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.ask::<String>(note(1, "before")).await.unwrap();
    site.pause(1).await.unwrap();
    assert_eq!(site.status(1).unwrap(), Status::Paused);
    for index in 0..5 {
        site.send(note(1, &index.to_string())).await.unwrap();
    }
    site.ask::<String>(note(2, "others go on")).await.unwrap();
    site.rest().await.unwrap();
    let before = site.tally().await.unwrap();
    site.shutdown().await;
    let site = plot.open().await;
    site.rest().await.unwrap();
    assert_eq!((site.status(1).unwrap(), site.tally().await.unwrap()), (Status::Paused, before));
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["before"]);
    assert_eq!(site.peek(1, 9).await.unwrap().len(), 5, "what waits can be looked at");
    site.resume(1).await.unwrap();
    site.quiesce().await.unwrap();
    let diary = site.state::<Notes>(1, "diary").await.unwrap().unwrap();
    assert_eq!(diary.texts(), ["before", "0", "1", "2", "3", "4"]);
    until(&site.worker(1).unwrap(), Status::Idle).await;
    assert!(matches!(site.pause(99).await, Err(DeskError::UnknownPerson(PersonId(99)))));
}

#[tokio::test]
async fn a_handle_shows_how_its_worker_stands() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let handle = site.worker(1).unwrap();
    assert_eq!((handle.person(), handle.status(), handle.last_error()), (PersonId(1), Status::Idle, None));
    let running = site.ask::<u64>(Draft::to(1, &Task { ms: 300 }).unwrap());
    until(&handle, Status::Processing).await;
    running.await.unwrap();
    until(&handle, Status::Idle).await;
    for (text, reason) in [("panic", "panicked: as the note says"), ("reject", "failed: as the note says")] {
        assert!(site.ask::<String>(note(1, text)).await.is_err());
        until(&handle, Status::Failed).await;
        assert_eq!(handle.last_error().as_deref(), Some(reason));
        // The loop goes on, and a success ends the failure; what went wrong last is kept.
        site.ask::<String>(note(1, "fine")).await.unwrap();
        until(&handle, Status::Idle).await;
        assert_eq!(handle.last_error().as_deref(), Some(reason));
    }
    assert!(matches!(site.worker(99), Err(DeskError::UnknownPerson(PersonId(99)))));
}

#[tokio::test]
async fn terminating_drains_or_breaks_off_and_the_id_may_be_used_again() {
    for how in [Termination::Drain, Termination::AtOnce] {
        let plot = Plot::new();
        let site = plot.open().await;
        site.sync(people()).await.unwrap();
        let handle = site.worker(1).unwrap();
        // Together: all are there before the first has ended, however slow the machine is.
        let notes = (0..20).map(|index| note(1, &index.to_string()));
        site.send_all(std::iter::once(Draft::to(1, &Task { ms: 150 }).unwrap()).chain(notes).collect()).await.unwrap();
        until(&handle, Status::Processing).await;
        site.terminate(1, how, Departure::Purge).await.unwrap();
        assert_eq!(handle.status(), Status::Terminated);
        let error = site.send(note(1, "late")).await.unwrap_err();
        assert!(matches!(error, SendError::Rejected { .. }), "{error}");
        assert!(matches!(site.peek(1, 9).await, Err(DeskError::UnknownPerson(PersonId(1)))));
        let tally = site.tally().await.unwrap();
        let expected = if how == Termination::Drain { (21, 0) } else { (0, 21) };
        assert_eq!((tally.settled, tally.removed, tally.waiting), (expected.0, expected.1, 0), "{how:?}");
        assert!(!site.roster().contains(PersonId(1)) && site.message_count(1) == 0);
        // The id is somebody else's now; the old handle is not fooled.
        for round in 0..5 {
            site.join(Person::new(1, format!("successor {round}"))).await.unwrap();
            assert_eq!(site.ask::<String>(note(1, "new")).await.unwrap(), "new");
            assert_eq!(
                site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(),
                ["new"],
                "nothing is inherited"
            );
            assert_eq!(handle.status(), Status::Terminated);
            site.terminate(1, how, Departure::Purge).await.unwrap();
        }
        site.quiesce().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_who_terminate_one_succeeds() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    for round in 0..10 {
        site.join(Person::new(7, format!("{round}"))).await.unwrap();
        let ten: Vec<_> = (0..10)
            .map(|_| {
                let site = site.clone();
                tokio::spawn(async move { site.terminate(7, Termination::Drain, Departure::Purge).await.is_ok() })
            })
            .collect();
        let mut successes = 0;
        for one in ten {
            successes += u32::from(one.await.unwrap());
        }
        assert_eq!(successes, 1);
    }
}

/// Scenario 8: terminate during load.
#[tokio::test(flavor = "multi_thread")]
async fn senders_that_wait_for_room_wake_with_an_error_when_the_worker_is_terminated() {
    let plot = Plot::new();
    let policy = InboxPolicy { envelopes_max: 1, overflow: Overflow::Wait, ..InboxPolicy::of(&Limits::default()) };
    let site = Worksite::builder().inboxes(move |_| policy).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send(note(1, "in")).await.unwrap();
    let blocked: Vec<_> = (0..10).map(|_| site.send(note(1, "blocked"))).collect();
    tokio::time::sleep(Duration::from_millis(30)).await;
    site.terminate(1, Termination::AtOnce, Departure::Purge).await.unwrap();
    for blocked in blocked {
        let error = tokio::time::timeout(Duration::from_secs(20), blocked).await.unwrap().unwrap_err();
        assert!(matches!(&error, SendError::Rejected { .. }), "{error}");
        assert_eq!(error.into_drafts().len(), 1);
    }
    site.join(Person::new(1, "new")).await.unwrap();
    assert_eq!(site.inbox(1).unwrap(), InboxReport::default());
    site.send(note(1, "works again")).await.unwrap();
}

#[tokio::test]
async fn draining_leaves_what_is_scheduled_and_keeps_it_when_asked() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let tomorrow = Clock::system().now().after(Duration::from_secs(86_400));
    site.send(note(1, "tomorrow").not_before(tomorrow)).await.unwrap();
    site.send(note(1, "now")).await.unwrap();
    site.terminate(1, Termination::Drain, Departure::Keep).await.unwrap();
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.settled, tally.waiting, tally.removed), (1, 1, 0));
    site.join(Person::new(1, "back")).await.unwrap();
    assert_eq!(site.message_count(1), 1);
}

#[tokio::test]
async fn somebody_may_join_and_leave_while_others_do() {
    let plot = Plot::new();
    let site = routines().open(plot.path()).await.unwrap();
    let joining: Vec<_> = (1..=50).map(|id| site.join(Person::new(id, "x"))).collect();
    for joining in joining {
        joining.await.unwrap();
    }
    assert_eq!(site.roster().len(), 50, "nobody was overwritten by a roster read earlier");
    let leaving: Vec<_> = (1..=50).filter(|id| id % 2 == 0).map(|id| site.leave(id, Departure::Keep)).collect();
    for leaving in leaving {
        assert!(leaving.await.unwrap());
    }
    assert!(!site.leave(2, Departure::Purge).await.unwrap(), "who is away already");
    assert_eq!(site.roster().len(), 25);
}
