//! Agents, as in seed 004: typed workflows over state; create, send, ask, look, change, watch, terminate.

use crate::site::{Meter, Plot, until};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use worksite::prelude::*;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    balance: i64,
    bookings: u32,
}
impl Durable for Account {
    const TYPE: &'static str = "account";
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Booking {
    Deposit(i64),
    Withdraw(i64),
    Explode,
}
impl Durable for Booking {
    const TYPE: &'static str = "booking";
}

#[derive(Debug)]
struct Overdrawn(i64);
impl std::fmt::Display for Overdrawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "overdrawn by {}", self.0)
    }
}

struct Bank;
impl Workflow for Bank {
    const NAME: &'static str = "bank";
    type State = Account;
    type Activity = Booking;
    type Error = Overdrawn;

    fn step(&self, mut account: Account, booking: Booking) -> Result<Account, Overdrawn> {
        account.bookings += 1;
        match booking {
            Booking::Deposit(sum) => account.balance += sum,
            Booking::Withdraw(sum) if sum > account.balance => return Err(Overdrawn(sum - account.balance)),
            Booking::Withdraw(sum) => account.balance -= sum,
            Booking::Explode => panic!("as told"),
        }
        Ok(account)
    }
}

async fn open(plot: &Plot) -> (Worksite, AgentService<Bank>) {
    let site = Worksite::builder().workflow(Bank).open(plot.path()).await.unwrap();
    let agents = site.agents();
    (site, agents)
}

#[tokio::test]
async fn an_agent_is_created_told_asked_looked_at_and_survives_a_restart() {
    let plot = Plot::new();
    let (site, agents) = open(&plot).await;
    let agent = agents.create(1, "ada", Account { balance: 10, bookings: 0 }).await.unwrap();
    assert_eq!((agent.id(), agent.status()), (PersonId(1), Status::Idle));
    assert_eq!(agent.get_state().await.unwrap().balance, 10, "the initial state is there at once");
    let (first, second) =
        (agent.send(Booking::Deposit(5)).await.unwrap(), agent.send(Booking::Deposit(1)).await.unwrap());
    assert!(second > first, "sequence numbers on acceptance");
    let after = agent.ask(Booking::Withdraw(6)).await.unwrap();
    assert_eq!(after, Account { balance: 10, bookings: 3 });
    site.shutdown().await;
    let (_site, agents) = open(&plot).await;
    assert_eq!(agents.get_state(1).await.unwrap(), after);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_concurrent_creations_of_one_id_one_succeeds() {
    let plot = Plot::new();
    let (_site, agents) = open(&plot).await;
    for round in 0..10 {
        let ten: Vec<_> = (0..10)
            .map(|one| {
                let agents = agents.clone();
                tokio::spawn(async move { agents.create(round, "x", Account { balance: one, bookings: 0 }).await })
            })
            .collect();
        let (mut created, mut refused) = (0, 0);
        for one in ten {
            match one.await.unwrap() {
                Ok(_) => created += 1,
                Err(error) => {
                    assert!(matches!(error, AgentError::Exists(id) if id == PersonId(round)), "{error}");
                    assert_eq!(error.advice(), Advice::FixRequest);
                    refused += 1;
                }
            }
        }
        assert_eq!((created, refused), (1, 9));
    }
}

#[tokio::test]
async fn an_activity_for_another_agent_is_refused_and_so_is_one_for_nobody() {
    let plot = Plot::new();
    let (site, agents) = open(&plot).await;
    agents.create(1, "ada", Account::default()).await.unwrap();
    agents.create(2, "grace", Account::default()).await.unwrap();
    let error = agents.send(1, Activity::new(2, Booking::Deposit(1))).await.unwrap_err();
    assert!(matches!(error, AgentError::OtherAgent { wanted: PersonId(2), given: PersonId(1) }), "{error}");
    for error in [
        agents.send(9, Activity::new(9, Booking::Deposit(1))).await.unwrap_err(),
        agents.ask(9, Activity::new(9, Booking::Deposit(1))).await.unwrap_err(),
        agents.get_state(9).await.unwrap_err(),
        agents.update_state(9, |_| ()).await.unwrap_err(),
        agents.terminate(9, Termination::Drain).await.unwrap_err(),
        agents.subscribe(9).map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, AgentError::NotFound(PersonId(9))), "{error}");
    }
    assert_eq!(site.tally().await.unwrap().accepted, 0, "nothing of it had an effect");
}

#[tokio::test]
async fn a_failing_or_panicking_workflow_keeps_its_state_and_the_agent_goes_on() {
    let plot = Plot::new();
    let (site, agents) = open(&plot).await;
    let agent = agents.create(1, "ada", Account::default()).await.unwrap();
    let mut told = agent.subscribe().unwrap();
    let error = agent.ask(Booking::Withdraw(3)).await.unwrap_err();
    assert!(error.to_string().contains("overdrawn by 3"), "{error}");
    assert_eq!(agent.get_state().await.unwrap(), Account::default());
    until(|| agent.status() == Status::Failed).await;
    assert_eq!(agent.ask(Booking::Deposit(4)).await.unwrap().balance, 4);
    // A success ends the failure; the error is kept.
    until(|| agent.status() == Status::Idle).await;
    assert_eq!(agent.last_error().as_deref(), Some("failed: overdrawn by 3"));
    // Told after it was processed, the failed one marked as such, in the order of processing.
    let mut heard = Vec::new();
    while heard.len() < 4 {
        heard.push(match told.next().await.unwrap() {
            Told::Fact(Fact::Accepted { .. }) => "accepted",
            Told::Fact(Fact::Buried { .. }) => "failed",
            Told::Fact(Fact::Settled { .. }) => "processed",
            _ => "other",
        });
    }
    assert_eq!(heard, ["accepted", "failed", "accepted", "processed"]);
    assert!(site.tally().await.unwrap().is_conserved());
}

/// Scenario 17, by activities and by closures, at once.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_concurrent_increments_are_exactly_ten_thousand() {
    let plot = Plot::new();
    let (_site, agents) = open(&plot).await;
    let agent = agents.create(1, "ada", Account::default()).await.unwrap();
    let meter = Meter::default();
    let tasks: Vec<_> = (0..100)
        .map(|task| {
            let (agent, meter) = (agent.clone(), meter.clone());
            tokio::spawn(async move {
                for _ in 0..100 {
                    if task % 2 == 0 {
                        agent.ask(Booking::Deposit(1)).await.unwrap();
                    } else {
                        agent.update_state(|account| account.balance += 1).await.unwrap();
                    }
                    meter.tick();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((agent.get_state().await.unwrap().balance, meter.count()), (10_000, 10_000));
}

#[tokio::test]
async fn a_change_of_state_is_durable_when_it_returns_and_one_that_panics_is_undone_alone() {
    let plot = Plot::new();
    let (site, agents) = open(&plot).await;
    let agent = agents.create(1, "ada", Account::default()).await.unwrap();
    let before = agent.update_state(|account| std::mem::replace(&mut account.balance, 7)).await.unwrap();
    let reader = worksite::store::Reader::open(plot.path()).unwrap();
    let stored = reader.states(PersonId(1)).unwrap()[0].1.decode::<Account>().unwrap();
    assert_eq!((before, stored.balance), (0, 7));
    let changes = (0..20).map(|index| {
        let agent = agent.clone();
        async move {
            agent
                .update_state(move |account| {
                    account.balance += 100;
                    assert!(index % 5 != 3, "as told");
                    account.bookings += 1;
                })
                .await
        }
    });
    let (mut made, mut panicked) = (0, 0);
    for change in all_at_once(changes).await {
        match change {
            Ok(()) => made += 1,
            Err(AgentError::Desk(DeskError::Panicked)) => panicked += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((made, panicked), (16, 4));
    assert_eq!(agent.get_state().await.unwrap(), Account { balance: 7 + 1_600, bookings: 16 });
    let other: Result<(), _> = site.update_state(1, "bank", |_: &mut u64| ()).await;
    assert!(matches!(other, Err(DeskError::OtherState)));
    let other: Result<(), _> = site.update_state(1, "nobody", |_: &mut Account| ()).await;
    assert!(matches!(other, Err(DeskError::OtherState)));
}

/// All at once, without a further dependency.
async fn all_at_once<F: Future + Send + 'static>(all: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F::Output: Send,
{
    let tasks: Vec<_> = all.map(tokio::spawn).collect();
    let mut outputs = Vec::new();
    for task in tasks {
        outputs.push(task.await.unwrap());
    }
    outputs
}

#[tokio::test]
async fn terminating_ends_streams_and_handles_and_frees_the_id() {
    let plot = Plot::new();
    let (site, agents) = open(&plot).await;
    for round in 0..5 {
        let agent = agents.create(1, &format!("round {round}"), Account::default()).await.unwrap();
        let mut told = agent.subscribe().unwrap();
        for _ in 0..10 {
            agent.send(Booking::Deposit(1)).await.unwrap();
        }
        let how = if round % 2 == 0 { Termination::Drain } else { Termination::AtOnce };
        agent.terminate(how).await.unwrap();
        let (mut facts, mut last) = (0, None);
        while let Some(next) = tokio::time::timeout(Duration::from_secs(30), told.next()).await.unwrap() {
            (facts, last) = (facts + 1, Some(next));
        }
        assert!(facts > 10 && matches!(last, Some(Told::Fact(Fact::Left { .. }))), "{last:?}");
        assert_eq!(agent.status(), Status::Terminated);
        assert!(matches!(agent.send(Booking::Deposit(1)).await, Err(AgentError::NotFound(_))));
        assert!(matches!(agent.get_state().await, Err(AgentError::NotFound(_))));
        assert!(matches!(agent.subscribe(), Err(AgentError::NotFound(_))));
        assert!(matches!(agent.terminate(how).await, Err(AgentError::NotFound(_))));
    }
    assert!(site.tally().await.unwrap().is_conserved());
}

/// The original starved everything but its highest lane; five normal activities to an idle runtime were never processed.
#[tokio::test]
async fn activities_of_all_priorities_are_taken_and_urgent_ones_first() {
    let plot = Plot::new();
    let (site, agents) = open(&plot).await;
    agents.create(1, "ada", Account::default()).await.unwrap();
    for _ in 0..5 {
        agents.send(1, Activity::new(1, Booking::Deposit(1))).await.unwrap();
    }
    site.quiesce().await.unwrap();
    assert_eq!(agents.get_state(1).await.unwrap().bookings, 5);
    site.pause(1).await.unwrap();
    // Only in this order can the account be emptied without an error.
    agents.send(1, Activity::new(1, Booking::Withdraw(100)).priority(Priority::Low)).await.unwrap();
    agents.send(1, Activity::new(1, Booking::Deposit(95)).priority(Priority::Urgent)).await.unwrap();
    site.resume(1).await.unwrap();
    site.quiesce().await.unwrap();
    assert_eq!(agents.get_state(1).await.unwrap().balance, 0);
}

#[tokio::test]
async fn large_states_and_activities_come_through() {
    let plot = Plot::new();
    let site = Worksite::builder().workflow(Scroll).open(plot.path()).await.unwrap();
    let agents = site.agents::<Scroll>();
    let agent = agents.create(1, "scribe", String::new()).await.unwrap();
    let long = "x".repeat(100_000);
    assert_eq!(agent.ask(long.clone()).await.unwrap().len(), 100_000);
    assert_eq!(agent.ask(long).await.unwrap().len(), 200_000);
    let error = agent.send("x".repeat(2 << 20)).await.unwrap_err();
    assert_eq!(error.advice(), Advice::FixRequest);
}

struct Scroll;
impl Workflow for Scroll {
    const NAME: &'static str = "scroll";
    type State = String;
    type Activity = String;
    type Error = String;
    fn step(&self, mut scroll: String, line: String) -> Result<String, String> {
        scroll.push_str(&line);
        Ok(scroll)
    }
}
