//! Mistakes that the simulation found once, each as small as it could be made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use worksite_model::{
    Advice, AsyncRoutine, Draft, Ended, Outcome, Person, PersonId, Priority, RetryPolicy, Routine, RunDraft, RunFilter,
    Schedule, Timestamp, Turn,
};
use worksite_runtime::{AskError, Builder, Clock, ManualClock, Runtime, SendError};
use worksite_simulation::{Fault, FaultyStore, MemoryDisk, MemoryStore};

const START: Timestamp = Timestamp::from_seconds(1_000);

/// Plays on one thread under a paused clock, on a store with these faults.
fn play<F: Future>(
    faults: Vec<Fault>,
    house: impl FnOnce(Builder) -> Builder,
    story: impl FnOnce(Runtime) -> F,
) -> F::Output {
    let time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let store = FaultyStore::new(Box::new(MemoryStore::open(&MemoryDisk::default())), faults);
    tokio::task::LocalSet::new().block_on(&time, async move {
        let runtime = house(Runtime::builder().clock(Clock::tokio(START))).start_local(Box::new(store)).await.unwrap();
        let story = tokio::time::timeout(Duration::from_secs(3 * 3_600), story(runtime.clone()));
        story.await.expect("three hours are enough for everything")
    })
}

/// Adds what it is told and answers the sum.
struct Adder;
impl Routine for Adder {
    const NAME: &'static str = "adder";
    type State = u64;
    type Message = u64;
    fn perform(&self, turn: &mut Turn<u64>, add: u64) -> Ended {
        *turn.state += add;
        let sum = *turn.state;
        turn.reply(&sum)?;
        Ok(Outcome::Done)
    }
}

struct Slow;
impl AsyncRoutine for Slow {
    const NAME: &'static str = "slow";
    type State = u64;
    type Message = String;
    async fn perform(&self, turn: &mut Turn<u64>, _: String) -> Ended {
        tokio::time::sleep(Duration::from_secs(1)).await;
        *turn.state += 1;
        let sum = *turn.state;
        turn.reply(&sum)?;
        Ok(Outcome::Done)
    }
}

fn house(builder: Builder) -> Builder {
    builder.routine(Adder).async_routine(Slow)
}

#[test]
fn two_who_ask_under_one_key_both_hear_the_answer() {
    play(vec![], house, async |runtime| {
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        let draft = Draft::to(1, &String::from("how many?")).unwrap().key("one");
        let (first, second) = (runtime.ask::<u64>(draft.clone()), runtime.ask::<u64>(draft));
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first.unwrap(), second.unwrap()), (1, 1));
    });
}

/// Wants what nobody handles written; urgent mail comes in at the first such moment.
struct Careless(Arc<Mutex<Option<Runtime>>>);
impl Routine for Careless {
    const NAME: &'static str = "careless";
    type State = u64;
    type Message = bool;
    fn perform(&self, turn: &mut Turn<u64>, is_bad: bool) -> Ended {
        *turn.state += 1;
        if is_bad {
            turn.write("nobody", []);
            let urgent = Draft::to(turn.person(), &false)?.priority(Priority::Urgent);
            let runtime = self.0.lock().unwrap().take();
            runtime.iter().for_each(|runtime| drop(runtime.send(urgent.clone())));
        }
        Ok(Outcome::Done)
    }
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }
}

#[test]
fn the_one_whose_change_is_refused_is_blamed_and_not_the_most_urgent() {
    let site = Arc::new(Mutex::new(None));
    let house = |builder: Builder| builder.routine(Careless(site.clone()));
    play(vec![], house, async |runtime| {
        *site.lock().unwrap() = Some(runtime.clone());
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        let bad = runtime.send(Draft::to(1, &true).unwrap()).await.unwrap();
        runtime.quiesce().await.unwrap();
        let dead = runtime.dead_letters(9).await.unwrap();
        assert_eq!(dead.iter().map(|letter| letter.delivery.id()).collect::<Vec<_>>(), [bad.id]);
        assert!(runtime.state::<u64>(1, "careless").await.unwrap() >= Some(1));
    });
}

#[test]
fn a_volatile_draft_for_an_asynchronous_routine_is_rejected_and_nobody_crashes() {
    play(vec![], house, async |runtime| {
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        runtime.send(Draft::to(1, &1_u64).unwrap()).await.unwrap();
        runtime.quiesce().await.unwrap();
        let sent = runtime.send_volatile(Draft::to(1, &String::from("tick")).unwrap());
        assert!(matches!(sent, Err(SendError::Rejected { .. })), "{sent:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(runtime.awake(), [PersonId(1)]);
    });
}

#[test]
fn a_new_role_does_not_lose_count_of_the_mail() {
    let house = |builder: Builder| house(builder).manual(|person| person.role == "by hand");
    play(vec![], house, async |runtime| {
        runtime.sync([Person::new(1, "ada").with_role("by hand")]).await.unwrap();
        runtime.send(Draft::to(1, &1_u64).unwrap()).await.unwrap();
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        let taken = runtime.drain(1, 9).await.unwrap();
        runtime.acknowledge(taken.iter().map(|delivery| delivery.id()).collect()).await.unwrap();
        runtime.quiesce().await.unwrap();
        runtime.sync([]).await.unwrap();
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        runtime.send(Draft::to(1, &1_u64).unwrap()).await.unwrap();
        runtime.quiesce().await.unwrap();
        assert_eq!((runtime.message_count(1), runtime.state::<u64>(1, "adder").await.unwrap()), (0, Some(1)));
    });
}

/// Fails when it is told to, so that its state has to be read again.
struct Moody;
impl Routine for Moody {
    const NAME: &'static str = "moody";
    type State = u64;
    type Message = bool;
    fn perform(&self, turn: &mut Turn<u64>, fails: bool) -> Ended {
        *turn.state += 1;
        Ok(if fails && turn.attempt() == 1 { Outcome::Retry("not now".into()) } else { Outcome::Done })
    }
}

#[test]
fn a_state_that_cannot_be_read_now_is_read_later_and_the_worker_goes_on() {
    // The worker itself is the first that is read, its state the second and third.
    let busy = vec![Fault::ReadBusy(2, 3)];
    play(
        busy,
        |builder| builder.routine(Moody),
        async |runtime| {
            runtime.sync([Person::new(1, "ada")]).await.unwrap();
            for fails in [false, true, false] {
                runtime.send(Draft::to(1, &fails).unwrap()).await.unwrap();
            }
            runtime.quiesce().await.unwrap();
            assert_eq!(runtime.state::<u64>(1, "moody").await.unwrap(), Some(3));
        },
    );
}

#[test]
fn who_takes_mail_by_hand_finds_it_although_the_file_was_busy_at_first() {
    play(
        vec![Fault::ReadBusy(1, 2)],
        |builder| builder,
        async |runtime| {
            runtime.sync([Person::new(1, "ada")]).await.unwrap();
            runtime.send(Draft::to(1, &1_u64).unwrap()).await.unwrap();
            assert_eq!(runtime.drain(1, 9).await.unwrap().len(), 1);
        },
    );
}

/// Counts how often it is performed, whatever becomes of that.
struct Counted(Arc<Mutex<u64>>);
impl Routine for Counted {
    const NAME: &'static str = "counted";
    type State = u64;
    type Message = u64;
    fn perform(&self, turn: &mut Turn<u64>, add: u64) -> Ended {
        *self.0.lock().unwrap() += 1;
        *turn.state += add;
        Ok(Outcome::Done)
    }
}

#[test]
fn a_worker_whose_person_left_while_it_was_being_read_takes_nothing_from_its_successor() {
    let performed = Arc::new(Mutex::new(0));
    let house = |builder: Builder| builder.routine(Counted(performed.clone())).async_routine(Slow);
    // The first reading finds the file busy: the worker waits for half a second, and is deaf.
    play(vec![Fault::ReadBusy(1, 1)], house, async |runtime| {
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        runtime.send(Draft::to(1, &String::from("takes a second")).unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        runtime.sync([]).await.unwrap();
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Its successor is busy, and takes this next; nobody else does.
        runtime.send(Draft::to(1, &5_u64).unwrap().priority(Priority::Urgent)).await.unwrap();
        runtime.quiesce().await.unwrap();
        assert_eq!(runtime.state::<u64>(1, "counted").await.unwrap(), Some(5));
        assert_eq!(*performed.lock().unwrap(), 1);
    });
}

#[test]
fn mail_stands_in_the_same_order_after_a_restart_although_the_clock_was_set_back() {
    let time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&time, async {
        let disk = MemoryDisk::default();
        let at = Timestamp::from_seconds;
        let open = async |seconds| {
            let clock = ManualClock::new(at(seconds));
            let store = Box::new(MemoryStore::open(&disk));
            (Runtime::builder().clock(clock.clock()).start_local(store).await.unwrap(), clock)
        };
        let order = async |runtime: &Runtime| {
            let mail = runtime.peek(1, 9).await.unwrap();
            mail.iter().map(|delivery| delivery.envelope.draft.payload.decode::<u64>().unwrap()).collect::<Vec<_>>()
        };
        let (runtime, _) = open(1_000).await;
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        runtime.send(Draft::to(1, &1_u64).unwrap()).await.unwrap();
        runtime.shutdown().await;
        // Now the machine believes that it is earlier.
        let (runtime, clock) = open(500).await;
        runtime.send(Draft::to(1, &2_u64).unwrap().not_before(at(700))).await.unwrap();
        runtime.send(Draft::to(1, &3_u64).unwrap()).await.unwrap();
        assert_eq!(order(&runtime).await, [1, 3]);
        clock.advance(Duration::from_secs(300));
        assert_eq!(order(&runtime).await, [1, 2, 3], "scheduled mail stands where it was accepted, at the earliest");
        runtime.shutdown().await;
        let (runtime, _) = open(800).await;
        assert_eq!(order(&runtime).await, [1, 2, 3]);
        runtime.shutdown().await;
    });
}

#[test]
fn scheduled_mail_is_not_late_by_more_than_a_minute_when_the_clock_is_put_forward() {
    let jumped = Arc::new(Mutex::new(Duration::ZERO));
    let hands = jumped.clone();
    play(vec![], house, async |runtime| {
        let passed = Clock::tokio(START);
        let clock = Clock::of(move || passed.now().after(*hands.lock().unwrap()));
        let store = Box::new(MemoryStore::open(&MemoryDisk::default()));
        let site = house(Runtime::builder()).clock(clock).start_local(store).await.unwrap();
        site.sync([Person::new(1, "ada")]).await.unwrap();
        let due = START.after(Duration::from_secs(3_000));
        site.send(Draft::to(1, &1_u64).unwrap().not_before(due)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        // As when the machine has slept for an hour.
        *jumped.lock().unwrap() = Duration::from_secs(3_600);
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(site.state::<u64>(1, "adder").await.unwrap(), Some(1));
        site.shutdown().await;
        runtime.shutdown().await;
    });
}

#[test]
fn whoever_asks_a_worker_that_is_held_because_the_store_died_hears_so() {
    // Commits: the roster, the message, its settlement.
    play(vec![Fault::Damaged(3)], house, async |runtime| {
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        let draft = Draft::to(1, &String::from("how many?")).unwrap().key("one");
        let (first, second) = (runtime.ask::<u64>(draft.clone()), runtime.ask::<u64>(draft));
        let (first, second) = tokio::join!(first, second);
        for asked in [first, second] {
            let error = asked.unwrap_err();
            assert!(matches!(error, AskError::Held(PersonId(1))), "{error:?}");
            assert_eq!(error.advice(), Advice::CallForHelp);
        }
    });
}

#[test]
fn schedules_go_on_within_a_minute_when_a_clock_that_was_far_ahead_is_put_back() {
    let ahead = Arc::new(AtomicU64::new(0));
    let running = {
        let (ahead, origin) = (ahead.clone(), tokio::time::Instant::now());
        Clock::of(move || START.after(origin.elapsed()).after(Duration::from_secs(ahead.load(Ordering::Relaxed))))
    };
    play(
        vec![],
        |builder| builder.clock(running),
        async |runtime| {
            let queue = runtime.run_queue().await.unwrap();
            let draft = RunDraft::new().agent("hourly");
            queue.set_schedule(Schedule::new("hourly", "0 * * * *", "UTC", draft, START).unwrap()).await.unwrap();
            let made = async || queue.history(RunFilter::all()).await.unwrap().len();
            ahead.store(10 * 365 * 86_400, Ordering::Relaxed);
            // Nobody asks for anything: the clock is looked at each minute.
            tokio::time::sleep(Duration::from_secs(61)).await;
            assert_eq!(made().await, 1, "one run makes up for ten years");
            ahead.store(0, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
            assert_eq!(made().await, 3, "and two hours have passed since");
        },
    );
}
