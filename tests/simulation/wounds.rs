//! Mistakes that the simulation found once, each as small as it could be made.

use std::time::Duration;
use worksite_model::{
    AsyncRoutine, Draft, Ended, Limits, Outcome, Person, PersonId, Priority, RetryPolicy, Routine, Timestamp, Turn,
};
use worksite_runtime::{Builder, Clock, Runtime};
use worksite_simulation::{Fault, FaultyStore, MemoryDisk, MemoryStore};

const START: Timestamp = Timestamp::from_seconds(1_000);

/// Plays on one thread under a paused clock, on a store with these faults.
fn play<F: Future>(faults: Vec<Fault>, house: impl FnOnce(Builder) -> Builder, story: impl FnOnce(Runtime) -> F) -> F::Output {
    let time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let store = FaultyStore::new(Box::new(MemoryStore::open(&MemoryDisk::default())), faults);
    tokio::task::LocalSet::new().block_on(&time, async move {
        let runtime = house(Runtime::builder()).clock(Clock::tokio(START)).start_local(Box::new(store)).await.unwrap();
        let story = tokio::time::timeout(Duration::from_secs(3_600), story(runtime.clone()));
        story.await.expect("an hour is enough for everything")
    })
}

/// Adds what it is told and answers the sum; 0 is refused by the store, since nobody handles such writes.
struct Adder;
impl Routine for Adder {
    const NAME: &'static str = "adder";
    type State = u64;
    type Message = u64;
    fn perform(&self, turn: &mut Turn<u64>, add: u64) -> Ended {
        if add == 0 {
            turn.write("nobody", []);
        }
        *turn.state += add;
        turn.reply(&turn.state.clone())?;
        Ok(Outcome::Done)
    }
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
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
        turn.reply(&turn.state.clone())?;
        Ok(Outcome::Done)
    }
}

fn house(builder: Builder) -> Builder {
    builder.routine(Adder).async_routine(Slow).limits(Limits::default())
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

#[test]
fn the_one_whose_change_is_refused_is_blamed_and_not_the_most_urgent() {
    play(vec![], house, async |runtime| {
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        let bad = runtime.send(Draft::to(1, &0_u64).unwrap());
        let bad = bad.await.unwrap();
        let good = runtime.send(Draft::to(1, &7_u64).unwrap().priority(Priority::Urgent)).await.unwrap();
        runtime.quiesce().await.unwrap();
        let dead: Vec<_> = runtime.dead_letters(9).await.unwrap().iter().map(|letter| letter.delivery.id()).collect();
        assert_eq!((dead, good.id), (vec![bad.id], good.id));
        assert_eq!(runtime.state::<u64>(1, "adder").await.unwrap(), Some(7));
    });
}

#[test]
fn a_volatile_draft_for_an_asynchronous_routine_is_refused_or_performed_but_no_crash() {
    play(vec![], house, async |runtime| {
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        runtime.send(Draft::to(1, &1_u64).unwrap()).await.unwrap();
        runtime.quiesce().await.unwrap();
        let sent = runtime.send_volatile(Draft::to(1, &String::from("tick")).unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(runtime.awake(), [PersonId(1)], "{sent:?}");
    });
}

#[test]
fn who_gets_a_routine_instead_of_a_desk_has_the_mail_taken() {
    let house = |builder: Builder| house(builder).manual(|person| person.role == "by hand");
    play(vec![], house, async |runtime| {
        runtime.sync([Person::new(1, "ada").with_role("by hand")]).await.unwrap();
        runtime.send(Draft::to(1, &1_u64).unwrap()).await.unwrap();
        assert_eq!(runtime.peek(1, 9).await.unwrap().len(), 1);
        runtime.sync([Person::new(1, "ada")]).await.unwrap();
        runtime.send(Draft::to(1, &1_u64).unwrap()).await.unwrap();
        runtime.quiesce().await.unwrap();
        assert_eq!(runtime.message_count(1), 0);
        runtime.sync([Person::new(1, "ada").with_role("by hand")]).await.unwrap();
        runtime.send(Draft::to(1, &1_u64).unwrap()).await.unwrap();
        runtime.quiesce().await.unwrap();
        assert_eq!(runtime.drain(1, 9).await.unwrap().len(), 1);
    });
}
