//! What happens to the office: injected or by chance, it fires in its tick, also after a restart, and is told to whom it is
//! about.

use super::*;
use worksite_simulation::office::{Happening, HappeningKind, Input, Odds, OfficeEntry, Transcript};

fn calm(seed: u64) -> Charter {
    Charter { odds: Odds::none(), ..charter(seed) }
}

fn fired(transcript: &Transcript) -> Vec<(u64, Happening)> {
    let entries = transcript.entries().iter().filter_map(|entry| match entry {
        OfficeEntry::Fired { tick, happening } => Some((*tick, happening.clone())),
        _ => None,
    });
    entries.collect()
}

/// Seed 000 stored the tick of an injected event and never fired it.
#[tokio::test]
async fn an_injected_event_fires_in_its_tick_and_no_other_also_after_a_restart() {
    let disk = MemoryDisk::default();
    let mut office = in_memory(&disk, calm(7)).await;
    let meeting = Happening::new(HappeningKind::Meeting, [2, 3], 137).with("topic", "tea");
    let row = office.enter(Input::Inject(meeting)).await.unwrap();
    assert!(row.result.unwrap().contains("137"));
    run(&mut office, 100).await;
    assert_eq!(fired(&office.transcript().await.unwrap()), []);
    office.runtime().shutdown().await;
    let mut office = in_memory(&disk, calm(7)).await;
    run(&mut office, 300).await;
    let transcript = office.transcript().await.unwrap();
    let fired = fired(&transcript);
    assert_eq!((fired.len(), fired[0].0, fired[0].1.fired), (1, 137, Some(137)));
    let told: Vec<_> =
        transcript.mail().filter(|(_, mail)| mail.id.from == 0).map(|(to, mail)| (to, mail.lands)).collect();
    assert_eq!(told, [(2, 137), (3, 137)], "who it is about, and nobody else");
    let bob = transcript.answers().find(|row| row.person == 2 && row.tick >= 137).unwrap();
    assert!(bob.read.iter().any(|id| id.from == 0), "it is planned with");
}

#[tokio::test]
async fn an_event_of_the_past_fires_at_once_and_one_about_a_stranger_is_refused() {
    let mut office = in_memory(&MemoryDisk::default(), calm(7)).await;
    run(&mut office, 50).await;
    office.enter(Input::Inject(Happening::new(HappeningKind::Other("fire drill".into()), [], 3))).await.unwrap();
    run(&mut office, 60).await;
    let transcript = office.transcript().await.unwrap();
    assert_eq!(fired(&transcript)[0].0, 50);
    assert_eq!(
        transcript.mail().find(|(_, mail)| mail.id.from == 0).unwrap().0,
        1,
        "about nobody: the head hears of it"
    );
    let stranger = office.enter(Input::Inject(Happening::new(HappeningKind::Meeting, [12], 70))).await.unwrap();
    assert!(stranger.result.is_err());
}

#[tokio::test]
async fn events_are_listed_by_project_and_by_person_who_is_exactly_meant() {
    let mut office = in_memory(&MemoryDisk::default(), calm(7)).await;
    for id in [12, 21] {
        office.enter(Input::Hire(Colleague::new(id, format!("P{id}")))).await.unwrap();
    }
    let events = [
        Happening::new(HappeningKind::Meeting, [1], 10).project("a'; --"),
        Happening::new(HappeningKind::Meeting, [12, 21], 20).project("a'; --"),
        Happening::new(HappeningKind::Blocker, [2], 30),
    ];
    for event in events {
        office.enter(Input::Inject(event)).await.unwrap();
    }
    let count = |project, target| office.ledger().happenings(project, target).len();
    assert_eq!((count(None, None), count(Some("a'; --"), None), count(None, Some(1))), (3, 2, 1));
    assert_eq!((count(Some("a'; --"), Some(12)), count(Some("b"), None), count(None, Some(99))), (1, 0, 0));
}

#[tokio::test]
async fn who_falls_ill_is_away_until_the_day_ends_and_the_head_hears_of_it() {
    let mut office = in_memory(&MemoryDisk::default(), calm(7)).await;
    office.enter(Input::Inject(Happening::new(HappeningKind::SickLeave, [4], 60))).await.unwrap();
    run(&mut office, 61).await;
    assert_eq!(office.ledger().away[&4].until, DAY);
    run(&mut office, 2 * DAY).await;
    let transcript = office.transcript().await.unwrap();
    assert!(transcript.answers().all(|row| row.person != 4 || !(60..DAY).contains(&row.tick)));
    assert!(transcript.answers().any(|row| row.person == 4 && row.tick >= DAY), "well again");
    let head = transcript.mail().find(|(to, mail)| *to == 1 && mail.subject == "Sick leave").unwrap();
    assert!(head.1.body.contains("Dan"));
}

#[tokio::test]
async fn what_chance_brings_follows_from_the_seed() {
    let week = |seed| async move {
        let mut charter = charter(seed);
        charter.odds = Odds { sick_per_mille: 100, feature_per_mille: 500, feature_every: 120 };
        let mut office = in_memory(&MemoryDisk::default(), charter).await;
        run(&mut office, 5 * DAY).await;
        fired(&office.transcript().await.unwrap())
    };
    let first = week(7).await;
    assert_eq!(first, week(7).await);
    assert_ne!(first, week(8).await);
    let of = |kind| first.iter().filter(|(_, happening)| happening.kind == kind).count();
    assert!(of(HappeningKind::SickLeave) > 0 && of(HappeningKind::ClientFeatureRequest) > 0);
    let request = first.iter().find(|(_, happening)| happening.kind == HappeningKind::ClientFeatureRequest).unwrap();
    assert!(request.1.targets.contains(&1) || request.1.targets.len() == 2, "the head and a partner");
}
