//! The roster: workers are the active people; mail of those who left waits for their return, or goes with them.

use crate::site::{Notes, Plot, note, people, routines};
use worksite::prelude::*;

#[tokio::test]
async fn the_roster_is_durable_and_its_difference_is_told() {
    let plot = Plot::new();
    let site = plot.open().await;
    let difference = site.sync(people()).await.unwrap();
    assert_eq!(difference.joined.len(), 3);
    let difference = site.sync([Person::new(1, "Ada"), Person::new(4, "alan")]).await.unwrap();
    assert_eq!((difference.changed.len(), difference.joined.len(), difference.left.len()), (1, 1, 2));
    assert!(site.sync([Person::new(1, "Ada"), Person::new(4, "alan")]).await.unwrap().is_empty());
    site.shutdown().await;
    let site = plot.open().await;
    assert_eq!(site.roster().people().map(|person| person.name.as_str()).collect::<Vec<_>>(), ["Ada", "alan"]);
}

#[tokio::test]
async fn mail_sent_to_somebody_who_left_is_refused_and_mail_that_waited_is_there_on_the_return() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    site.send(note(3, "waiting")).await.unwrap();
    site.sync(people().into_iter().take(2)).await.unwrap();
    let error = site.send(note(3, "too late")).await.unwrap_err();
    assert!(matches!(error, SendError::Rejected { .. }));
    assert!(matches!(site.drain(3, 9).await.unwrap_err(), DeskError::UnknownPerson(PersonId(3))));
    site.sync(people()).await.unwrap();
    assert_eq!((site.message_count(3), site.drain(3, 9).await.unwrap().len()), (1, 1));
}

#[tokio::test]
async fn purged_mail_does_not_come_back() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    site.send(note(3, "gone")).await.unwrap();
    site.sync_with(people().into_iter().take(2), Departure::Purge).await.unwrap();
    site.sync(people()).await.unwrap();
    assert_eq!((site.message_count(3), site.drain(3, 9).await.unwrap().len()), (0, 0));
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.removed, tally.is_conserved()), (1, true));
}

#[tokio::test]
async fn somebody_who_returns_goes_on_where_they_left() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.ask::<String>(note(2, "before")).await.unwrap();
    for _ in 0..3 {
        site.sync(people().into_iter().filter(|person| person.id != PersonId(2))).await.unwrap();
        site.sync(people()).await.unwrap();
    }
    site.ask::<String>(note(2, "after")).await.unwrap();
    assert_eq!(site.state::<Notes>(2, "diary").await.unwrap().unwrap().texts(), ["before", "after"]);
}

#[tokio::test]
async fn workers_are_the_active_people_while_the_roster_changes_under_load() {
    let plot = Plot::new();
    let site = routines().open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let mut accepted = 0;
    for round in 0..40 {
        let sent: Vec<_> = (0..20).map(|index| site.send(note(1 + index % 3, "x"))).collect();
        let present = people().into_iter().filter(|person| person.id.0 != 1 + round % 3);
        site.sync(present).await.unwrap();
        let active = site.roster();
        assert!(site.awake().iter().all(|person| active.contains(*person)));
        for sent in sent {
            accepted += u64::from(sent.await.is_ok());
        }
    }
    site.sync(people()).await.unwrap();
    site.quiesce().await.unwrap();
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.settled, tally.waiting), (accepted, accepted, 0));
    let mut taken = 0;
    for person in people() {
        taken += site.state::<Notes>(person.id, "diary").await.unwrap().unwrap().0.len() as u64;
    }
    assert_eq!(taken, accepted);
}
