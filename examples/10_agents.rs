//! 10 · Workers under the names of seed 004: typed, created one by one, and ended. One new word: *agent*.
//!
//! `cargo run --example 10_agents [SITE]`. An agent is a worker with a workflow: a function of a state and an activity. An
//! activity that fails leaves the state as it was, and the agent goes on.

use serde::{Deserialize, Serialize};
use worksite::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    worksite::block_on(async {
        let site = Worksite::builder().workflow(Bank).open(path).await?;
        let agents: AgentService<Bank> = site.agents();
        let ada = agents.create(1, "ada", Account { balance: 10 }).await?;
        println!("agent {} has {:?}", ada.id(), ada.get_state().await?);
        if let Err(error) = agents.create(1, "ada again", Account::default()).await {
            println!("created again: {error}");
        }
        let mut told = ada.subscribe()?;

        println!("told to deposit 5: {:?}", ada.ask(Booking::Deposit(5)).await?);
        let before = ada.update_state(|account| std::mem::replace(&mut account.balance, 20)).await?;
        println!("set by hand, from {before}: {:?}", ada.get_state().await?);
        if let Err(error) = ada.ask(Booking::Withdraw(99)).await {
            println!("told to withdraw 99: {error}");
        }
        println!("she still has {:?}", ada.get_state().await?);
        println!("told to withdraw 20: {:?}", ada.ask(Booking::Withdraw(20)).await?);
        println!("what went wrong last is kept: {:?}", ada.last_error());
        let misdirected = Activity::new(2, Booking::Deposit(1)).priority(Priority::Urgent);
        if let Err(error) = agents.send(1, misdirected).await {
            println!("given what is another's: {error}");
        }

        ada.terminate(Termination::Drain).await?;
        println!("she is {:?}", ada.status());
        if let Err(error) = ada.ask(Booking::Deposit(1)).await {
            println!("told to deposit 1: {error}");
        }
        while let Some(Told::Fact(fact)) = told.next().await {
            println!("subscribers have heard: {}", word(&fact));
        }
        site.shutdown().await;
        Ok(())
    })
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}
impl Durable for Account {
    const TYPE: &'static str = "account";
}

#[derive(Serialize, Deserialize)]
enum Booking {
    Deposit(i64),
    Withdraw(i64),
}
impl Durable for Booking {
    const TYPE: &'static str = "booking";
}

struct Bank;

impl Workflow for Bank {
    const NAME: &'static str = "bank";
    type State = Account;
    type Activity = Booking;
    type Error = String;

    fn step(&self, Account { balance }: Account, booking: Booking) -> Result<Account, String> {
        match booking {
            Booking::Deposit(sum) => Ok(Account { balance: balance + sum }),
            Booking::Withdraw(sum) if sum > balance => Err(format!("overdrawn by {}", sum - balance)),
            Booking::Withdraw(sum) => Ok(Account { balance: balance - sum }),
        }
    }
}

fn word(fact: &Fact) -> &'static str {
    match fact {
        Fact::Accepted { .. } => "accepted",
        Fact::Settled { .. } => "processed",
        Fact::Buried { .. } => "failed",
        Fact::Left { .. } => "terminated",
        _ => "something else",
    }
}

// Scaffolding from here on.

/// The given site, or one in a temporary folder, which goes with the first value.
fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
