//! Dead letters: what was given up is inspected, sent again singly or in bulk, or forgotten; and nothing twice.

use crate::site::{Notes, Plot, note, people, routines};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use worksite::prelude::*;

/// What a machine has made.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Parts(Vec<u64>);
impl Durable for Parts {
    const TYPE: &'static str = "parts";
}

/// Fails until it is repaired.
struct Machine(Arc<AtomicBool>);

impl Routine for Machine {
    const NAME: &'static str = "machine";
    type State = Parts;
    type Message = u64;

    fn perform(&self, turn: &mut Turn<Parts>, part: u64) -> Ended {
        if !self.0.load(Ordering::SeqCst) {
            return Ok(Outcome::Reject("the machine is broken".into()));
        }
        turn.state.0.push(part);
        turn.reply(&part)?;
        Ok(Outcome::Done)
    }
}

async fn broken(plot: &Plot) -> (Worksite, Arc<AtomicBool>) {
    let repaired = Arc::new(AtomicBool::new(false));
    let site = routines().routine(Machine(repaired.clone())).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    (site, repaired)
}

#[tokio::test]
async fn a_dead_letter_is_redriven_as_a_new_envelope_under_its_old_key_and_once() {
    let plot = Plot::new();
    let (site, repaired) = broken(&plot).await;
    let draft = Draft::to(1, &7_u64).unwrap().key("part 7").thread("t");
    let error = site.ask::<u64>(draft.clone()).await.unwrap_err();
    assert!(matches!(error, AskError::Buried(_)));
    let dead = site.dead_letters(9).await.unwrap();
    let (id, reason) = (dead[0].delivery.id(), dead[0].failure.to_string());
    assert_eq!((dead.len(), reason.as_str()), (1, "failed: the machine is broken"));
    repaired.store(true, Ordering::SeqCst);
    let (first, second) = (site.redrive(vec![id]), site.redrive(vec![id]));
    let (first, second) = tokio::join!(first, second);
    // Either may be the quicker one.
    let (won, lost) = if first.is_ok() { (first, second) } else { (second, first) };
    assert!(won.unwrap()[0].id > id, "ids are never reused");
    assert!(matches!(lost, Err(DeskError::NotBuried(again)) if again == id), "nothing is redriven twice");
    assert_eq!(site.ask::<u64>(draft).await.unwrap(), 7, "asking again under the key finds the new reply");
    assert_eq!(site.state::<Parts>(1, "machine").await.unwrap().unwrap().0, [7]);
    assert!(site.dead_letters(9).await.unwrap().is_empty());
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.settled, tally.buried, tally.is_conserved()), (2, 1, 1, true));
}

#[tokio::test]
async fn many_are_redriven_in_bulk_by_what_they_are() {
    let plot = Plot::new();
    let (site, repaired) = broken(&plot).await;
    let drafts = (0..2_500_u64).map(|part| {
        let kind = if part % 5 == 0 { "spare" } else { "part" };
        Draft::to(1 + (part % 3) as i64, &part).unwrap().kind(kind)
    });
    site.send_all(drafts.collect()).await.unwrap();
    site.quiesce().await.unwrap();
    assert_eq!(site.tally().await.unwrap().buried, 2_500);
    repaired.store(true, Ordering::SeqCst);
    assert_eq!(site.redrive_by(Filter::all().kind("part")).await.unwrap(), 2_000);
    site.quiesce().await.unwrap();
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.settled, tally.is_conserved()), (2_000, true));
    let rest: Vec<_> = site.dead_letters(9_999).await.unwrap().iter().map(|dead| dead.delivery.id()).collect();
    assert_eq!(rest.len(), 500);
    site.forget_dead(rest[..100].to_vec()).await.unwrap();
    assert!(matches!(site.forget_dead(rest[99..101].to_vec()).await, Err(DeskError::NotBuried(_))), "all or none");
    assert_eq!(site.dead_letters(9_999).await.unwrap().len(), 400);
}

#[tokio::test]
async fn what_expired_is_redriven_without_its_expiry_and_what_has_no_place_stays_buried() {
    let plot = Plot::new();
    let (site, _) = broken(&plot).await;
    site.pause(1).await.unwrap();
    let soon = Clock::system().now().after(Duration::from_millis(50));
    let error = site.ask::<String>(note(1, "old news").expires_at(soon)).await.unwrap_err();
    assert!(matches!(error, AskError::Buried(_)));
    let id = site.dead_letters(1).await.unwrap()[0].delivery.id();
    site.leave(1, Departure::Keep).await.unwrap();
    assert!(matches!(site.redrive(vec![id]).await, Err(DeskError::UnknownPerson(PersonId(1)))));
    assert_eq!(site.dead_letters(9).await.unwrap().len(), 1, "it is still there");
    site.join(Person::new(1, "ada")).await.unwrap();
    site.redrive(vec![id]).await.unwrap();
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["old news"]);
    assert!(matches!(site.redrive(vec![EnvelopeId(999)]).await, Err(DeskError::NotBuried(EnvelopeId(999)))));
}

/// Scenario 14: each routine says what is retried, how often, how long, and how much time one delivery may take.
#[tokio::test]
async fn each_routine_has_its_own_attempts_filter_deadline_and_time_limit() {
    struct Fussy;
    impl AsyncRoutine for Fussy {
        const NAME: &'static str = "fussy";
        type State = u64;
        type Message = String;
        async fn perform(&self, turn: &mut Turn<u64>, text: String) -> Ended {
            match text.as_str() {
                "slow" => tokio::time::sleep(Duration::from_secs(60)).await,
                "hopeless" => Err(std::io::Error::other("hopeless"))?,
                "passing" if turn.attempt() < 4 => Err(std::io::Error::other("passing"))?,
                "endless" => Err(std::io::Error::other("endless"))?,
                _ => {}
            }
            turn.reply(&u64::from(turn.attempt()))?;
            Ok(Outcome::Done)
        }
        fn retry(&self) -> RetryPolicy {
            RetryPolicy {
                attempts_max: u32::MAX,
                first_delay: Duration::from_millis(5),
                factor: 1.0,
                deadline: Some(Duration::from_millis(400)),
                retryable: |failure| !failure.reason.contains("hopeless"),
                ..RetryPolicy::default()
            }
        }
        fn time_max(&self) -> Option<Duration> {
            Some(Duration::from_millis(500))
        }
    }
    let plot = Plot::new();
    let site = Worksite::builder().async_routine(Fussy).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let ask = |person: i64, text: &str| site.ask::<u64>(Draft::to(person, &text.to_string()).unwrap());
    assert_eq!(ask(1, "passing").await.unwrap(), 4, "really run again, and counted");
    let slow = ask(1, "slow").await.unwrap_err();
    assert!(slow.to_string().contains("ran too long"), "{slow}");
    let hopeless = ask(2, "hopeless").await.unwrap_err();
    assert!(hopeless.to_string().contains("hopeless"), "{hopeless}");
    assert!(ask(3, "endless").await.is_err());
    let dead = site.dead_letters(9).await.unwrap();
    let attempts = |person: i64| {
        let letter = dead.iter().find(|letter| letter.delivery.envelope.draft.to == PersonId(person));
        letter.unwrap().delivery.attempt
    };
    assert_eq!(attempts(2), 1, "what is not retryable is buried at once");
    assert!(attempts(3) > 5, "the deadline ends what no number of attempts does: {}", attempts(3));
}
