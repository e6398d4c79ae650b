//! Wounds: what a sceptical reader of the inbox broke, each healed, and played every time.

use crate::site::{Circular, Diary, Notes, Plot, Task, note, people, routines};
use std::time::Duration;
use worksite::prelude::*;

fn task(to: i64, ms: u64) -> Draft {
    Draft::to(to, &Task { ms }).unwrap()
}
fn now() -> Timestamp {
    Clock::system().now()
}
fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
async fn nap(time: u64) {
    tokio::time::sleep(ms(time)).await;
}
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(8), future).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}
async fn with_policy(plot: &Plot, policy: InboxPolicy) -> Worksite {
    let site = Worksite::builder().inboxes(move |_| policy).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site
}
fn policy(envelopes_max: usize, overflow: Overflow) -> InboxPolicy {
    InboxPolicy { envelopes_max, overflow, ..InboxPolicy::of(&Limits::default()) }
}

#[tokio::test]
async fn terminate_drain_lets_a_running_routine_end_whose_mail_was_scheduled() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.send(task(1, 600).not_before(now().after(ms(150)))).await.unwrap();
    nap(400).await;
    assert_eq!(site.status(1).unwrap(), Status::Processing);
    site.terminate(1, Termination::Drain, Departure::Purge).await.unwrap();
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.settled, tally.removed), (1, 0));
}

#[tokio::test]
async fn terminate_drain_of_a_worker_with_only_scheduled_mail_ends() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.send(note(1, "tomorrow").not_before(now().after(Duration::from_secs(86_400)))).await.unwrap();
    soon("terminate", site.terminate(1, Termination::Drain, Departure::Keep)).await.unwrap();
}

#[tokio::test]
async fn rest_waits_for_a_worker_that_was_resumed_meanwhile() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.pause(1).await.unwrap();
    site.send(task(1, 900)).await.unwrap();
    site.send(task(2, 300)).await.unwrap();
    let resting = tokio::spawn({
        let site = site.clone();
        async move { site.rest().await }
    });
    nap(80).await;
    site.resume(1).await.unwrap();
    soon("rest", resting).await.unwrap().unwrap();
    assert_eq!(site.state::<u64>(1, "errand").await.unwrap(), Some(1), "rest came back while a routine ran");
}

#[tokio::test]
async fn rest_waits_although_sleeping_mail_is_removed() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.pause(1).await.unwrap();
    let paused = site.send(note(1, "x")).await.unwrap();
    site.send(task(2, 500)).await.unwrap();
    let resting = tokio::spawn({
        let site = site.clone();
        async move { site.rest().await }
    });
    nap(80).await;
    site.acknowledge(vec![paused.id]).await.unwrap();
    soon("rest", resting).await.unwrap().unwrap();
    assert_eq!(site.state::<u64>(2, "errand").await.unwrap(), Some(1), "rest came back while a routine ran");
}

#[tokio::test]
async fn a_change_that_never_fits_does_not_block_the_line() {
    let plot = Plot::new();
    let site = with_policy(&plot, policy(3, Overflow::Wait)).await;
    let _large = site.send_all((0..4).map(|_| note(1, "x")).collect());
    nap(50).await;
    assert_eq!(site.message_count(1), 0, "the inbox is empty");
    soon("a letter to an empty inbox", site.send(note(1, "small"))).await.unwrap();
}

#[tokio::test]
async fn a_line_is_not_blocked_by_somebody_elses_full_inbox() {
    let plot = Plot::new();
    let pick = |person: &Person| policy(1, if person.id == PersonId(1) { Overflow::Wait } else { Overflow::Reject });
    let site = Worksite::builder().inboxes(pick).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let first = site.send(note(1, "in")).await.unwrap();
    site.send(note(2, "in")).await.unwrap();
    let both = site.send_all(vec![note(1, "a"), note(2, "b")]);
    nap(30).await;
    site.acknowledge(vec![first.id]).await.unwrap();
    // 2 refuses at once what finds it full.
    soon("a draft whose other recipient rejects", both).await.unwrap_err();
}

#[tokio::test]
async fn parked_does_not_drift_when_somebody_leaves_and_returns() {
    let plot = Plot::new();
    let site = with_policy(&plot, policy(1, Overflow::Wait)).await;
    site.send(note(1, "in")).await.unwrap();
    let parked = site.send(note(1, "parked"));
    nap(50).await;
    assert_eq!(site.inbox(1).unwrap().parked, 1);
    // The writer is busy, so that the two share a commit.
    let busy = site.send_all((0..1).map(|_| note(2, &"x".repeat(500_000))).collect());
    let (left, joined) = tokio::join!(site.leave(1, Departure::Purge), site.join(Person::new(1, "ada")));
    left.unwrap();
    joined.unwrap();
    busy.await.unwrap();
    let _verdict = soon("the parked sender", parked).await;
    assert_eq!(site.inbox(1).unwrap().parked, 0);
}

#[tokio::test]
async fn a_purge_purges_what_volatile_drafts_have_changed() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    // A volatile turn without effects: its state is written when the worker goes.
    struct Quiet;
    impl Routine for Quiet {
        const NAME: &'static str = "quiet";
        type State = Notes;
        type Message = Task;
        fn perform(&self, turn: &mut Turn<Notes>, _: Task) -> Ended {
            turn.state.0.push((0, "secret".into()));
            Ok(Outcome::Done)
        }
    }
    site.shutdown().await;
    let site = Worksite::builder().routine(Quiet).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send_volatile(task(1, 0)).unwrap();
    nap(100).await;
    site.leave(1, Departure::Purge).await.unwrap();
    nap(100).await;
    site.join(Person::new(1, "somebody new")).await.unwrap();
    assert_eq!(site.state::<Notes>(1, "quiet").await.unwrap(), None, "the state of the purged person is back");
}

fn first_release(plot: &Plot, more: &str) {
    let file = rusqlite::Connection::open(plot.path()).unwrap();
    file.pragma_update(None, "journal_mode", "wal").unwrap();
    file.execute_batch(include_str!("../../crates/worksite-store/migrations/0001_first.sql")).unwrap();
    file.pragma_update(None, "application_id", 0x576F_726B).unwrap();
    file.pragma_update(None, "user_version", 1).unwrap();
    file.execute_batch(more).unwrap();
}

#[test]
fn quarantine_of_an_older_file_is_kept_for_its_time() {
    use worksite::model::Store;
    let plot = Plot::new();
    first_release(
        &plot,
        "INSERT INTO quarantine VALUES (1, 1, 'bad', '{}', x'00'); UPDATE site SET last_envelope=1, accepted=1, quarantined=1",
    );
    let mut store = worksite::store::SqliteStore::open(plot.path(), SqliteOptions::default()).unwrap();
    let pruned = store.prune(&Retention::default(), now()).unwrap();
    assert_eq!(pruned.quarantine, 0, "90 days are promised");
}

#[tokio::test]
async fn a_migration_that_was_interrupted_after_its_copy_can_be_repeated() {
    let plot = Plot::new();
    first_release(&plot, "");
    // The power went after the copy was made and before the step was committed.
    std::fs::copy(plot.path(), format!("{}.before-schema-6", plot.path().display())).unwrap();
    Worksite::open(plot.path()).await.unwrap();
}

#[tokio::test]
async fn redrive_by_ends_and_redrives_each_once() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.send_all((0..4_000).map(|_| note(1, "reject")).collect()).await.unwrap();
    site.quiesce().await.unwrap();
    let redriven = tokio::time::timeout(Duration::from_secs(20), site.redrive_by(Filter::all())).await;
    assert_eq!(redriven.expect("it ends").unwrap(), 4_000);
}

#[tokio::test]
async fn redrive_by_gets_past_somebody_who_left() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.send(note(1, "reject")).await.unwrap();
    site.send(note(2, "reject")).await.unwrap();
    site.quiesce().await.unwrap();
    site.leave(1, Departure::Purge).await.unwrap();
    assert_eq!(site.redrive_by(Filter::all()).await.unwrap(), 1);
}

#[tokio::test]
async fn nothing_that_has_expired_is_handed_out() {
    let (plot, clock) = (Plot::new(), ManualClock::new(Timestamp::from_seconds(0)));
    let site = Worksite::builder().clock(clock.clock()).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let expiry = Timestamp::from_seconds(10);
    site.send_all((0..2_000).map(|_| note(1, "stale").expires_at(expiry)).collect()).await.unwrap();
    site.peek(1, 1).await.unwrap();
    clock.advance(Duration::from_secs(60));
    let mail = site.drain(1, usize::MAX).await.unwrap();
    assert_eq!(mail.len(), 0, "expired mail was drained");
}

#[tokio::test]
async fn drop_oldest_takes_new_mail_while_the_worker_is_busy() {
    let plot = Plot::new();
    let limits = Limits { changes_in_flight_max: 8, ..Limits::default() };
    let site = routines().limits(limits).inboxes(|_| policy(4, Overflow::DropOldest));
    let site = site.open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send(task(1, 1_500)).await.unwrap();
    nap(50).await;
    for index in 0..30 {
        if let Err(error) = site.send(note(1, &format!("{index}"))).await {
            panic!("note {index}: {error}; {:?}", site.inbox(1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiesce_ends_although_drafts_were_refused_beside_it() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    for _round in 0..30 {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flood = std::thread::spawn({
            let (site, stop) = (site.clone(), stop.clone());
            move || {
                let drafts: Vec<_> = (0..200).map(|_| note(1, "x")).chain([note(99, "x")]).collect();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(site.send_all(drafts.clone()));
                }
            }
        });
        nap(20).await;
        let quiet = tokio::spawn({
            let site = site.clone();
            async move { site.quiesce().await }
        });
        nap(20).await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        flood.join().unwrap();
        soon("quiesce in a house that never had any mail", quiet).await.unwrap().unwrap();
    }
}

fn damage(plot: &Plot) {
    let file = rusqlite::Connection::open(plot.path()).unwrap();
    file.execute("UPDATE envelopes SET checksum = checksum + 1", []).unwrap();
}

#[tokio::test]
async fn quiesce_ends_when_what_waited_is_quarantined() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.pause(1).await.unwrap();
    site.send_all((0..5_000).map(|_| note(1, "x")).collect()).await.unwrap();
    site.shutdown().await;
    damage(&plot);
    let site = plot.open().await;
    soon("quiesce", site.quiesce()).await.unwrap();
}

#[tokio::test]
async fn a_crashed_worker_stands_as_failed() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.ask::<String>(note(1, "awake")).await.unwrap();
    let handle = site.worker(1).unwrap();
    site.crash_worker(1);
    // Its panic may be printed for a while; nobody starts it again, since it has no mail.
    crate::site::until(|| handle.status() == Status::Failed).await;
    assert!(site.awake().is_empty());
}

#[tokio::test]
async fn a_worker_whose_mail_was_cleared_is_not_processing() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let handle = site.worker(1).unwrap();
    site.send(task(1, 20_000)).await.unwrap();
    nap(100).await;
    site.clear_all().await.unwrap();
    nap(200).await;
    assert_eq!((handle.status(), site.awake().len()), (Status::Idle, 0));
}

#[tokio::test]
async fn who_left_while_being_terminated_and_returned_is_not_thrown_out() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.send(task(1, 300)).await.unwrap();
    nap(50).await;
    let terminating = tokio::spawn({
        let site = site.clone();
        async move { site.terminate(1, Termination::Drain, Departure::Purge).await }
    });
    nap(50).await;
    site.leave(1, Departure::Keep).await.unwrap();
    nap(300).await;
    let ended = terminating.is_finished();
    site.join(Person::new(1, "returned")).await.unwrap();
    nap(700).await;
    assert!(ended && site.roster().contains(PersonId(1)), "ended: {ended}, roster: {:?}", site.roster());
}

#[tokio::test]
async fn whoever_is_told_it_was_accepted_has_an_envelope() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let cool = |draft: Draft| draft.cooldown(Duration::from_secs(60));
    match site.send_all(vec![cool(note(1, "a")), cool(note(1, "b").channel(""))]).await {
        Ok(receipts) => assert!(receipts.iter().all(|receipt| receipt.id.0 > 0), "{receipts:?}"),
        Err(SendError::Rejected { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn mail_is_taken_that_came_while_a_volatile_draft_waited_for_its_state() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    for round in 0..100 {
        assert!(site.ask::<String>(note(1, "reject")).await.is_err());
        site.send_volatile(note(1, "volatile")).unwrap();
        for _spin in 0..(round % 10) * 50 {
            std::hint::spin_loop();
        }
        soon(&format!("the mail of round {round}"), site.ask::<String>(note(1, "durable"))).await.unwrap();
    }
}

#[test]
fn no_attempt_begins_after_the_deadline_for_want_of_room_either() {
    use worksite::model::{Delivery, Envelope, FailureKind, Performed, Settling, settle};
    let retry = RetryPolicy { deadline: Some(Duration::from_secs(10)), ..RetryPolicy::default() };
    let settling =
        Settling { person: PersonId(1), routine: "r", retry: &retry, now: Timestamp::from_seconds(10_000), chance: 0 };
    let envelope = Envelope { id: EnvelopeId(1), accepted_at: Timestamp::from_seconds(0), draft: note(1, "x") };
    let delivery = Delivery { envelope: envelope.into(), attempt: 1 };
    let failure = RoutineFailure::new(FailureKind::NoRoom, "full");
    let change = settle(&settling, vec![(delivery, Performed::failed(failure))], None);
    assert_eq!(change.buried.len(), 1);
}

#[test]
fn a_retry_without_bounds_does_not_panic() {
    let policy = RetryPolicy { first_delay: Duration::MAX, delay_max: Duration::MAX, ..RetryPolicy::default() };
    assert!(policy.delay(1, 0).is_some());
}

#[tokio::test]
async fn nothing_is_inherited_from_somebody_purged() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let cool = || note(1, "a").from(2).cooldown(Duration::from_secs(3_600));
    site.send(cool()).await.unwrap();
    site.leave(1, Departure::Purge).await.unwrap();
    site.join(Person::new(1, "somebody new")).await.unwrap();
    site.send(cool()).await.unwrap();
}

#[tokio::test]
async fn dead_letters_of_somebody_purged_do_not_reach_the_successor() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.send(note(1, "reject")).await.unwrap();
    site.quiesce().await.unwrap();
    site.leave(1, Departure::Purge).await.unwrap();
    site.join(Person::new(1, "somebody new")).await.unwrap();
    assert_eq!(site.redrive_by(Filter::all()).await.unwrap_or(0), 0, "private mail of the predecessor");
}

#[tokio::test]
async fn redrive_answers_for_each_letter() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let dead = site.send(note(1, "reject").key("k")).await.unwrap().id;
    site.quiesce().await.unwrap();
    site.shutdown().await;
    // As after a day: keys are kept for 24 hours, dead letters for 30 days.
    rusqlite::Connection::open(plot.path()).unwrap().execute("DELETE FROM keys", []).unwrap();
    let site = plot.open().await;
    site.ask::<String>(note(1, "another message under the old key").key("k")).await.unwrap();
    let receipts = site.redrive(vec![dead]).await.unwrap();
    let left = site.dead_letters(9).await.unwrap().len();
    assert!(receipts.len() == 1 || left == 1, "gone without a trace: {receipts:?}, {left} dead letters left");
}

#[tokio::test]
async fn what_is_put_back_after_it_expired_goes() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    site.send(note(1, "x").expires_at(now().after(ms(150)))).await.unwrap();
    let mail = site.drain(1, 9).await.unwrap();
    nap(400).await;
    assert_eq!(site.put_back(1, vec![mail[0].id()]).await.unwrap(), 1);
    nap(500).await;
    assert_eq!(site.message_count(1), 0);
}

#[tokio::test]
async fn quarantine_leaves_nothing_in_threads() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    site.send(note(1, "x").thread("t")).await.unwrap();
    site.shutdown().await;
    damage(&plot);
    let site = plot.open_manual().await;
    site.peek(1, 1).await.unwrap();
    site.shutdown().await;
    let file = rusqlite::Connection::open(plot.path()).unwrap();
    let rows: i64 = file.query_row("SELECT count(*) FROM threads", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn an_inbox_full_of_expired_mail_has_room_after_a_restart() {
    let (plot, clock) = (Plot::new(), ManualClock::new(Timestamp::from_seconds(0)));
    let open = || Worksite::builder().clock(clock.clock()).inboxes(|_| policy(2, Overflow::Wait)).open(plot.path());
    let site = open().await.unwrap();
    site.sync(people()).await.unwrap();
    for _ in 0..2 {
        site.send(note(1, "x").expires_at(Timestamp::from_seconds(10))).await.unwrap();
    }
    site.shutdown().await;
    clock.advance(Duration::from_secs(60));
    let site = open().await.unwrap();
    soon("a sender that waits for room held by expired mail", site.send(note(1, "new"))).await.unwrap();
}

#[tokio::test]
async fn the_same_message_twice_in_one_change_is_one_message_with_a_cooldown_too() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let draft = || note(1, "a").key("k").cooldown(Duration::from_secs(60));
    let receipts = site.send_all(vec![draft(), draft()]).await.unwrap();
    assert_eq!(receipts[0].id, receipts[1].id);
}

#[tokio::test]
async fn terminate_drain_ends_when_what_waited_is_quarantined() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.pause(1).await.unwrap();
    site.send_all((0..5_000).map(|_| note(1, "x")).collect()).await.unwrap();
    site.shutdown().await;
    damage(&plot);
    let site = plot.open().await;
    soon("terminate", site.terminate(1, Termination::Drain, Departure::Keep)).await.unwrap();
}

#[tokio::test]
async fn terminate_drain_under_a_manual_clock_takes_what_has_come_due() {
    let (plot, clock) = (Plot::new(), ManualClock::new(Timestamp::from_seconds(0)));
    let site = routines().clock(clock.clock()).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send(note(1, "x").not_before(Timestamp::from_seconds(10))).await.unwrap();
    site.rest().await.unwrap();
    clock.advance(Duration::from_secs(60));
    site.terminate(1, Termination::Drain, Departure::Purge).await.unwrap();
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.settled, tally.removed), (1, 0));
}

#[tokio::test]
async fn a_retry_that_runs_is_not_broken_off_by_terminate_drain() {
    struct Slow;
    impl AsyncRoutine for Slow {
        const NAME: &'static str = "slow";
        type State = u64;
        type Message = Task;
        async fn perform(&self, turn: &mut Turn<u64>, task: Task) -> Ended {
            if turn.attempt() == 1 {
                return Ok(Outcome::Retry("once more".into()));
            }
            tokio::time::sleep(ms(task.ms)).await;
            Ok(Outcome::Done)
        }
        fn retry(&self) -> RetryPolicy {
            RetryPolicy { first_delay: ms(100), jitter_percent: 0, ..RetryPolicy::default() }
        }
    }
    let plot = Plot::new();
    let site = Worksite::builder().routine(Diary).async_routine(Slow).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send(task(1, 600)).await.unwrap();
    nap(350).await;
    assert_eq!(site.status(1).unwrap(), Status::Processing);
    site.terminate(1, Termination::Drain, Departure::Purge).await.unwrap();
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.settled, tally.removed), (1, 0));
}

mod more {
    use super::*;
    use worksite::model::{Change, Store};
    use worksite::runtime::Runtime;
    use worksite_simulation::{Fault, FaultyStore, MemoryDisk, MemoryStore};

    fn house() -> worksite::runtime::Builder {
        Runtime::builder().routine(Diary).async_routine(crate::site::Errand)
    }

    #[tokio::test]
    async fn who_asks_for_what_was_quarantined_hears_it() {
        let plot = Plot::new();
        let site = plot.open().await;
        site.sync(people()).await.unwrap();
        site.pause(1).await.unwrap();
        site.send(note(1, "x").key("k")).await.unwrap();
        site.shutdown().await;
        damage(&plot);
        let site = plot.open().await;
        nap(300).await;
        assert_eq!(site.tally().await.unwrap().quarantined, 1);
        let _any =
            soon("an ask under the key of a quarantined envelope", site.ask::<String>(note(1, "x").key("k"))).await;
    }

    #[tokio::test]
    async fn a_policy_that_panics_does_not_end_the_house() {
        let plot = Plot::new();
        let pick =
            |person: &Person| if person.name == "boom" { panic!("mistake") } else { policy(9, Overflow::Reject) };
        let site = routines().inboxes(pick).open(plot.path()).await.unwrap();
        site.sync(people()).await.unwrap();
        let _joined = soon("join", site.join(Person::new(7, "boom"))).await;
        let _sent = site.send(note(2, "x")).await;
        soon("an ask", site.ask::<String>(note(2, "others go on"))).await.unwrap();
    }

    #[tokio::test]
    async fn extremes_panic_nowhere() {
        let max = usize::MAX;
        let limits = Limits {
            inbox_envelopes_max: max,
            inbox_bytes_max: max,
            site_envelopes_max: max,
            site_bytes_max: max,
            changes_parked_max: max,
            changes_in_flight_max: max,
            commit_changes_max: max,
            activation_deliveries_max: max,
            volatile_drafts_max: max,
            routine_time_ms_max: u64::MAX,
            worker_idle_ms_max: u64::MAX,
            restart_window_ms: u64::MAX,
            recovery_ms_max: u64::MAX,
            restarts_max: u32::MAX,
            ..Limits::default()
        };
        let far = Timestamp::from_micros(i64::MAX);
        let plot = Plot::new();
        let inboxes = |person: &Person| InboxPolicy {
            envelopes_max: if person.id == PersonId(3) { 1 } else { usize::MAX },
            bytes_max: usize::MAX,
            overflow: if person.id == PersonId(3) { Overflow::WaitFor(Duration::MAX) } else { Overflow::DropOldest },
            ageing: Ageing::Step(Duration::ZERO),
        };
        let site = routines().limits(limits).inboxes(inboxes).open(plot.path()).await.unwrap();
        site.sync(people()).await.unwrap();
        site.send(note(1, "far").not_before(far)).await.unwrap();
        site.send(note(1, "old").not_before(Timestamp::from_micros(i64::MIN))).await.unwrap();
        site.send(note(1, "keeps").expires_at(far)).await.unwrap();
        site.send(note(2, "cool").cooldown(Duration::MAX)).await.unwrap();
        assert!(site.send(note(2, "cool").cooldown(Duration::ZERO)).await.is_err());
        site.pause(3).await.unwrap();
        let first = site.send(note(3, "in")).await.unwrap();
        let parked = site.send(note(3, "parked"));
        nap(50).await;
        site.acknowledge(vec![first.id]).await.unwrap();
        soon("parked", parked).await.unwrap();
        site.ask::<String>(note(1, "still there")).await.unwrap();
        soon("rest", site.rest()).await.unwrap();
        assert_eq!(site.message_count(1), 1);
    }

    #[tokio::test]
    async fn rest_ends_with_a_dead_store_also_when_mail_has_expired() {
        let clock = ManualClock::new(Timestamp::from_seconds(0));
        let store = FaultyStore::new(Box::new(MemoryStore::open(&MemoryDisk::default())), vec![Fault::UnknownLost(4)]);
        let site = house().clock(clock.clock()).start(Box::new(store)).await.unwrap();
        site.sync(people()).await.unwrap();
        site.pause(1).await.unwrap();
        site.send(note(1, "x").expires_at(Timestamp::from_seconds(10))).await.unwrap();
        soon("rest before", site.rest()).await.unwrap();
        clock.advance(Duration::from_secs(60));
        soon("rest: the worker proposes to a dead store for ever", site.rest()).await.unwrap();
    }

    #[tokio::test]
    async fn a_policy_without_room_is_refused_or_refuses() {
        let plot = Plot::new();
        let site = with_policy(&plot, policy(0, Overflow::Wait)).await;
        let _verdict = soon("a letter to an inbox that can hold none", site.send(note(1, "x"))).await;
    }

    #[test]
    fn both_stores_agree_who_cools() {
        let plot = Plot::new();
        let sqlite = worksite::store::SqliteStore::open(plot.path(), SqliteOptions::default()).unwrap();
        let memory = MemoryStore::open(&MemoryDisk::default());
        let stores: [Box<dyn Store>; 2] = [Box::new(sqlite), Box::new(memory)];
        let verdicts = stores.map(|mut store| {
            store.commit(&[Change::sync(Roster::new(people()), Departure::Keep)], Timestamp::default()).unwrap();
            let cool = |draft: Draft| Change::send(vec![draft.cooldown(Duration::from_secs(60))]);
            let changes = [cool(note(1, "outside")), cool(note(1, "person 0").from(0))];
            store.commit(&changes, Timestamp::default()).unwrap().iter().map(Result::is_ok).collect::<Vec<_>>()
        });
        assert_eq!(verdicts[0], verdicts[1]);
    }

    #[tokio::test]
    async fn who_could_not_leave_stays() {
        let faults = vec![Fault::Busy(2, 2)];
        let store = FaultyStore::new(Box::new(MemoryStore::open(&MemoryDisk::default())), faults);
        let site = house().start(Box::new(store)).await.unwrap();
        site.sync(people()).await.unwrap();
        site.terminate(1, Termination::Drain, Departure::Purge).await.unwrap_err();
        site.ask::<String>(note(1, "still here")).await.unwrap();
        site.terminate(1, Termination::Drain, Departure::Purge).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn counts_do_not_drift_whatever_happens_at_once() {
        for seed in 0..6_u64 {
            let disk = MemoryDisk::default();
            let faults = (2..12).map(|place| Fault::Busy(place * 37, place * 37 + 1)).collect();
            let store = FaultyStore::new(Box::new(MemoryStore::open(&disk)), faults);
            let clock = Clock::system();
            let overflow = [Overflow::Reject, Overflow::DropOldest, Overflow::WaitFor(ms(50)), Overflow::DropNewest];
            let site = house()
                .clock(clock)
                .inboxes(move |person| policy(6, overflow[(person.id.0 as usize + seed as usize) % 4]))
                .manual(|person| person.name.starts_with("manual"))
                .start(Box::new(store))
                .await
                .unwrap();
            let person = |id: i64, name: &str| Person::new(id, name);
            while site.sync((1..=4).map(|id| person(id, "x"))).await.is_err() {}
            let tasks: Vec<_> = (0..8_u64)
                .map(|task_number| {
                    let site = site.clone();
                    tokio::spawn(async move {
                        for step in 0..120_u64 {
                            let roll = worksite_model::chance(seed, &[task_number as i64, step as i64]);
                            let who = 1 + (roll >> 8) as i64 % 4;
                            let act = async {
                                match roll % 24 {
                                    0..=5 => drop(site.send(note(who, "x")).await),
                                    6 => drop(site.send(note(who, "x").expires_at(now().after(ms(5)))).await),
                                    7 => drop(site.send(note(who, "x").not_before(now().after(ms(8)))).await),
                                    8 => drop(site.send(note(who, "x").key(format!("{}", step % 7))).await),
                                    9 => drop(site.send(task(who, 3)).await),
                                    10 => drop(site.send_all(vec![note(who, "x"), note(5 - who, "y")]).await),
                                    11 => drop(site.leave(who, Departure::Keep).await),
                                    12 => drop(site.leave(who, Departure::Purge).await),
                                    13..=14 => {
                                        let name = if roll & 1024 > 0 { "manual" } else { "x" };
                                        drop(site.join(person(who, name)).await)
                                    }
                                    15 => site.crash_worker(who),
                                    16 => drop(site.remove_by(who, Filter::all()).await),
                                    17 => drop(site.drain(who, 3).await),
                                    18 => drop(site.pause(who).await),
                                    19 => drop(site.resume(who).await),
                                    20 => drop(site.send(note(who, "reject")).await),
                                    21 => drop(site.redrive_by(Filter::all()).await),
                                    22 if step % 9 == 0 => drop(site.clear_all().await),
                                    _ => drop(site.terminate(who, Termination::AtOnce, Departure::Keep).await),
                                }
                            };
                            let _late = tokio::time::timeout(ms(400), act).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            while site.sync((1..=4).map(|id| person(id, "x"))).await.is_err() {}
            for id in 1..=4 {
                drop(site.resume(id).await);
            }
            // Whoever is manual stays so: they left and return.
            while site.sync([]).await.is_err() {}
            while site.sync((1..=4).map(|id| person(id, "x"))).await.is_err() {}
            tokio::time::timeout(Duration::from_secs(30), site.quiesce())
                .await
                .unwrap_or_else(|_| {
                    let reports: Vec<_> = (1..=4).map(|id| (site.inbox(id), site.status(id))).collect();
                    panic!("seed {seed}: quiesce hangs: {reports:?}, awake {:?}", site.awake())
                })
                .unwrap();
            let reports: Vec<_> = (1..=4).map(|id| site.inbox(id).unwrap()).collect();
            let tally = site.tally().await.unwrap();
            site.shutdown().await;
            let waiting = MemoryStore::open(&disk).waiting().unwrap();
            assert!(waiting.is_empty() && tally.is_conserved(), "seed {seed}: {waiting:?} {tally:?}");
            assert!(
                reports.iter().all(|report| (report.waiting, report.bytes, report.parked) == (0, 0, 0)),
                "seed {seed}: {reports:?}"
            );
        }
    }
}

#[tokio::test]
async fn drop_oldest_drops_something_older_than_what_it_accepts() {
    let plot = Plot::new();
    let site = with_policy(&plot, policy(2, Overflow::DropOldest)).await;
    let tomorrow = now().after(Duration::from_secs(86_400));
    for _ in 0..2 {
        site.send(note(1, "low, tomorrow").priority(Priority::Low).not_before(tomorrow)).await.unwrap();
    }
    site.send(note(1, "urgent, now").priority(Priority::Urgent)).await.unwrap();
    nap(100).await;
    assert_eq!(site.peek(1, 9).await.unwrap().len(), 1, "the newest, most urgent envelope was dropped itself");
}

#[tokio::test]
async fn a_turn_that_never_finds_room_is_given_up() {
    struct Many;
    impl Routine for Many {
        const NAME: &'static str = "many";
        type State = u64;
        type Message = Task;
        fn perform(&self, turn: &mut Turn<u64>, task: Task) -> Ended {
            for _ in 0..task.ms {
                turn.send(note(2, "x"));
            }
            Ok(Outcome::Done)
        }
    }
    let plot = Plot::new();
    let site = Worksite::builder().routine(Many).routine(Diary).inboxes(|_| policy(3, Overflow::Reject));
    let site = site.open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send(task(1, 4)).await.unwrap();
    soon("a turn that sends four letters to an inbox for three", site.quiesce()).await.unwrap();
}

#[tokio::test]
async fn threads_have_any_name() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    for name in ["a\0b", "a\0c", "a", &"é".repeat(256), ""] {
        let id = site.send(note(1, "x").thread(name)).await.unwrap().id;
        site.acknowledge(vec![id]).await.unwrap();
        let entries = site.thread(name, EnvelopeId(0), usize::MAX).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.envelope.id).collect::<Vec<_>>(), [id], "{name:?}");
    }
    assert!(site.send(note(1, "x").thread("é".repeat(257))).await.is_err());
}

#[tokio::test]
async fn dropping_newest_spares_the_other_recipients() {
    let plot = Plot::new();
    let pick =
        |person: &Person| policy(1, if person.id == PersonId(1) { Overflow::DropNewest } else { Overflow::Reject });
    let site = Worksite::builder().inboxes(pick).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send(note(1, "in")).await.unwrap();
    let error = site.send_all(vec![note(2, "b"), note(1, "a")]).await.unwrap_err();
    assert_eq!(site.inbox(1).unwrap().dropped, 1, "one draft was for 1: {error}");
}

#[tokio::test]
async fn drain_termination_hears_that_what_it_waits_for_was_acknowledged() {
    // Control: expected to hold.
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let id = site.send(task(1, 20_000)).await.unwrap().id;
    nap(50).await;
    let terminating = tokio::spawn({
        let site = site.clone();
        async move { site.terminate(1, Termination::Drain, Departure::Purge).await }
    });
    nap(50).await;
    site.acknowledge(vec![id]).await.unwrap();
    soon("terminate", terminating).await.unwrap().unwrap();
}

#[tokio::test]
async fn rest_ends_although_an_inbox_holds_more_control_mail_than_it_should() {
    let plot = Plot::new();
    let site = with_policy(&plot, policy(1, Overflow::DropOldest)).await;
    for _ in 0..2 {
        site.send(note(1, "x").priority(Priority::Control)).await.unwrap();
    }
    soon("rest", site.rest()).await.unwrap();
}

#[tokio::test]
async fn whoever_asks_a_worker_whose_state_cannot_be_read_hears_so_before_and_after() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.ask::<String>(note(1, "first")).await.unwrap();
    site.shutdown().await;
    plot.damage_states(1);
    let site = plot.open().await;
    let unanswered = soon("an ask to a held worker", site.ask::<String>(note(1, "second").key("k"))).await.unwrap_err();
    assert!(matches!(unanswered, AskError::Held(PersonId(1))), "{unanswered:?}");
    // By now it is known to be held; the message is the same, and another fares no better.
    for key in ["k", "other"] {
        let asked = site.ask::<String>(note(1, "second").key(key));
        let unanswered = soon("another ask to a held worker", asked).await.unwrap_err();
        assert!(matches!(unanswered, AskError::Held(PersonId(1))), "{unanswered:?}");
    }
    assert_eq!(site.message_count(1), 2, "what was accepted waits");
    // Its successor has an answer again.
    site.clear_all().await.unwrap();
    let answer = soon("an ask to its successor", site.ask::<String>(note(1, "third"))).await.unwrap();
    assert_eq!(answer, "third");
}

#[tokio::test]
async fn nobody_waits_for_room_or_for_a_change_at_a_worker_that_is_held() {
    let plot = Plot::new();
    let open = async || {
        let narrow = |_: &Person| policy(1, Overflow::Wait);
        let site = routines().inboxes(narrow).open(plot.path()).await.unwrap();
        site.sync(people()).await.unwrap();
        site
    };
    let site = open().await;
    site.ask::<String>(note(1, "first")).await.unwrap();
    site.shutdown().await;
    plot.damage_states(1);
    let site = open().await;
    let changed = site.update_state(1, "diary", |notes: &mut Notes| notes.0.clear());
    let changed = soon("a change of what cannot be read", changed).await;
    assert!(matches!(changed, Err(DeskError::Held(PersonId(1)))), "{changed:?}");
    soon("mail for which there is room", site.send(note(1, "second"))).await.unwrap();
    let unanswered = soon("an ask without room", site.ask::<String>(note(1, "third"))).await.unwrap_err();
    assert!(matches!(unanswered, AskError::Send(SendError::Overloaded { .. })), "{unanswered:?}");
    let refused = soon("a send without room", site.send(note(1, "fourth"))).await.unwrap_err();
    assert!(matches!(refused, SendError::Overloaded { ref drafts, .. } if drafts.len() == 1), "{refused:?}");
}

#[tokio::test]
async fn an_update_that_a_clearing_overtakes_is_not_said_to_have_panicked() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    // It is at an errand, so that the change waits for its turn.
    site.send(task(1, 60_000)).await.unwrap();
    nap(50).await;
    let changed = tokio::spawn({
        let site = site.clone();
        async move { site.update_state(1, "diary", |notes: &mut Notes| notes.0.clear()).await }
    });
    nap(50).await;
    site.clear_all().await.unwrap();
    let changed = soon("an update", changed).await.unwrap();
    assert!(matches!(changed, Err(DeskError::Removed)), "{changed:?}");
    let panicked = site.update_state(1, "diary", |_: &mut Notes| panic!("as told")).await;
    assert!(matches!(panicked, Err(DeskError::Panicked)), "{panicked:?}");
}

#[tokio::test]
async fn two_workers_whose_full_inboxes_hold_mail_for_each_other_are_seen() {
    let plot = Plot::new();
    let narrow = |_: &Person| policy(1, Overflow::Reject);
    let site = routines().inboxes(narrow).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    for person in [1, 2] {
        site.pause(person).await.unwrap();
    }
    let circular = |to: i64, next: i64| Draft::to(to, &Circular { route: vec![next] }).unwrap();
    site.send(circular(1, 2)).await.unwrap();
    let stuck = site.send(circular(2, 1)).await.unwrap();
    assert_eq!(site.blocked().await.unwrap(), []);
    for person in [1, 2] {
        site.resume(person).await.unwrap();
    }
    let seen = async {
        loop {
            let blocked = site.blocked().await.unwrap();
            if blocked.len() == 2 && blocked.iter().all(|blocked| blocked.tries > 1) {
                return blocked;
            }
        }
    };
    let blocked = soon("that they are seen", seen).await;
    assert_eq!([blocked[0].person, blocked[1].person], [PersonId(1), PersonId(2)]);
    assert!(blocked[0].reason.contains("person 2 is full") && blocked[1].reason.contains("person 1 is full"));
    assert_eq!(site.tally().await.unwrap().waiting, 2, "nobody's mail goes for it");
    // Somebody says which may go.
    site.acknowledge(vec![stuck.id]).await.unwrap();
    soon("that they go on", async { while !site.blocked().await.unwrap().is_empty() {} }).await;
    soon("that all is done", site.quiesce()).await.unwrap();
    assert_eq!(site.state::<u64>(1, "forwarder").await.unwrap(), Some(1));
}
