//! Who works here: hired, changed, dismissed, away and back; everything that enters is a numbered row with its result.

use super::*;
use worksite_simulation::office::{Absence, Habits, Input, OFFICE};

async fn fresh() -> Office {
    let mut charter = charter(7);
    charter.odds = worksite_simulation::office::Odds::none();
    in_memory(&MemoryDisk::default(), charter).await
}

async fn refused(office: &mut Office, input: Input) -> String {
    office.enter(input).await.unwrap().result.unwrap_err()
}

/// Whether somebody planned anything in these ticks.
async fn planned(office: &Office, person: i64, ticks: std::ops::Range<u64>) -> bool {
    let transcript = office.transcript().await.unwrap();
    transcript.answers().any(|row| row.person == person && ticks.contains(&row.tick))
}

#[tokio::test]
async fn what_enters_is_numbered_and_has_a_result() {
    let mut office = fresh().await;
    let hired = office.enter(Input::Hire(Colleague::new(9, "Gil"))).await.unwrap();
    assert_eq!((hired.number, hired.tick, hired.result), (1, 0, Ok("Gil works here".into())));
    run(&mut office, 50).await;
    let refused = office.enter(Input::Hire(Colleague::new(9, "Hal"))).await.unwrap();
    assert_eq!((refused.number, refused.tick, refused.result.is_err()), (2, 50, true));
    let transcript = office.transcript().await.unwrap();
    assert_eq!(transcript.inputs().count(), 2, "what was refused is a row, too");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_reason() {
    let mut office = fresh().await;
    let taken = refused(&mut office, Input::Hire(Colleague::new(9, "ADA"))).await;
    assert!(taken.contains("called"), "whatever the case: {taken}");
    assert!(refused(&mut office, Input::Hire(Colleague::new(0, "nobody"))).await.contains("begin at 1"));
    let mut nowhere = Colleague::new(9, "Gil");
    nowhere.hours.time_zone = "Mars/Olympus".into();
    assert!(refused(&mut office, Input::Hire(nowhere)).await.contains("time zone"));
    assert!(refused(&mut office, Input::Dismiss { person: 77, purge: false }).await.contains("77"));
    assert!(refused(&mut office, Input::Update(Colleague::new(77, "Gil"))).await.contains("77"));
    let absence = Absence::Absent;
    assert!(refused(&mut office, Input::Override { person: 77, absence, until: None }).await.contains("77"));
    assert!(refused(&mut office, Input::Override { person: 1, absence, until: Some(0) }).await.contains("passed"));
    assert_eq!(office.ledger().people.len(), 6);
    let roster = office.runtime().roster();
    assert!(roster.contains(OFFICE.into()) && !roster.contains(9.into()), "no phantom in the house");
}

#[tokio::test]
async fn a_colleague_with_other_habits_behaves_otherwise() {
    let mut office = fresh().await;
    let silent = Habits { begins_per_mille: 0, answers_per_mille: 0, ..Habits::default() };
    let bob = Colleague { habits: silent, ..office.ledger().people[&2].clone() };
    assert!(office.enter(Input::Update(bob)).await.unwrap().result.is_ok());
    run(&mut office, DAY).await;
    let transcript = office.transcript().await.unwrap();
    assert!(transcript.mail().all(|(_, mail)| mail.id.from != 2), "Bob says nothing");
    assert!(transcript.mail().any(|(to, _)| to == 2), "and hears something");
}

#[tokio::test]
async fn who_is_away_does_nothing_and_finds_their_mail_when_they_are_back() {
    for absence in [Absence::Absent, Absence::Offline, Absence::SickLeave, Absence::OnLeave] {
        let mut office = fresh().await;
        office.enter(Input::Override { person: 2, absence, until: Some(300) }).await.unwrap();
        let write = |subject: &str| Input::Write {
            to: vec![2],
            from_name: "a client".into(),
            subject: subject.into(),
            body: "?".into(),
        };
        office.enter(write("first")).await.unwrap();
        run(&mut office, 299).await;
        assert_eq!(office.desks()[&2].tray[0].subject, "first", "{absence:?}: it waits");
        assert!(!planned(&office, 2, 0..299).await, "{absence:?}");
        run(&mut office, 310).await;
        assert!(planned(&office, 2, 300..310).await, "{absence:?}: back at the minute");
        assert!(office.desks()[&2].tray.iter().all(|mail| mail.subject != "first"));
    }
}

#[tokio::test]
async fn an_absence_ends_with_the_day_or_when_it_is_cleared() {
    let mut office = fresh().await;
    let away = |until| Input::Override { person: 2, absence: Absence::Absent, until };
    office.enter(away(None)).await.unwrap();
    assert_eq!(office.ledger().away[&2].until, DAY);
    office.enter(away(Some(200))).await.unwrap();
    assert_eq!(office.ledger().away[&2].until, 200, "the last word counts");
    office.enter(Input::ClearOverride { person: 2 }).await.unwrap();
    assert!(office.ledger().away.is_empty());
    assert!(office.enter(Input::ClearOverride { person: 2 }).await.unwrap().result.is_ok(), "clearing nothing is fine");
}

#[tokio::test]
async fn nobody_works_outside_their_hours() {
    let mut office = fresh().await;
    run(&mut office, 6 * DAY).await;
    let transcript = office.transcript().await.unwrap();
    for row in transcript.answers() {
        let colleague = &office.ledger().people[&row.person];
        assert!(office.almanac().is_at_work(&colleague.hours, row.tick), "{row:?}");
    }
    // Finn lives in New York: his nine o'clock is three in the afternoon here.
    let first = transcript.answers().filter(|row| row.person == 6).map(|row| row.tick).min();
    assert_eq!(first, Some(6 * 60));
}

#[tokio::test]
async fn who_leaves_gets_no_mail_and_their_things_are_kept_or_purged() {
    for purge in [false, true] {
        let mut office = fresh().await;
        let cleo = office.ledger().people[&3].clone();
        office.enter(Input::Override { person: 3, absence: Absence::OnLeave, until: Some(9 * DAY) }).await.unwrap();
        let hello = Input::Write { to: vec![3], from_name: "x".into(), subject: "kept?".into(), body: "?".into() };
        office.enter(hello).await.unwrap();
        office.enter(Input::Dismiss { person: 3, purge }).await.unwrap();
        assert!(!office.runtime().roster().contains(3.into()) && !office.desks().contains_key(&3));
        run(&mut office, 200).await;
        let transcript = office.transcript().await.unwrap();
        assert!(transcript.mail().all(|(to, mail)| to != 3 || mail.subject == "kept?"));
        office.enter(Input::Hire(cleo)).await.unwrap();
        let kept = office.desks()[&3].tray.iter().any(|mail| mail.subject == "kept?");
        assert_eq!(kept, !purge, "purge: {purge}");
        run(&mut office, 260).await;
        assert!(office.verify().await.unwrap().holds());
    }
}

#[tokio::test]
async fn an_office_without_people_has_nothing_to_do() {
    let mut charter = charter(7);
    charter.colleagues.clear();
    let mut office = in_memory(&MemoryDisk::default(), charter).await;
    let end = office.run_to(DAY, &Planning::default(), |_, _| true).await.unwrap();
    assert_eq!((end, office.tick()), (RunEnd::Empty, DAY));
    office.enter(Input::Hire(Colleague::new(1, "Ada"))).await.unwrap();
    run(&mut office, 2 * DAY).await;
    assert!(planned(&office, 1, DAY..2 * DAY).await);
    assert!(office.verify().await.unwrap().holds());
}

#[tokio::test]
async fn every_day_ends_with_a_report_of_who_worked() {
    let mut office = fresh().await;
    run(&mut office, 7 * DAY).await;
    let transcript = office.transcript().await.unwrap();
    assert_eq!(transcript.reports().count(), 6 * 5, "six people, five days, no report of a weekend");
    let written: u32 = transcript.reports().map(|report| report.counts.emails + report.counts.chats).sum();
    let total = office.desks().values().map(|desk| desk.total());
    assert_eq!(written, total.map(|counts| counts.emails + counts.chats).sum::<u32>());
    let sent: usize = transcript.answers().map(|row| row.sent.len()).sum();
    assert_eq!(written as usize, sent);
}

#[tokio::test]
async fn a_reset_begins_anew_and_gives_the_same_again() {
    let mut office = fresh().await;
    run(&mut office, DAY + 100).await;
    let expected = office.transcript().await.unwrap().before(DAY).digest();
    office.enter(Input::Hire(Colleague::new(9, "Gil"))).await.unwrap();
    office.reset().await.unwrap();
    assert_eq!((office.tick(), office.ledger().people.len()), (0, 6));
    assert!(office.transcript().await.unwrap().mail().next().is_none());
    run(&mut office, DAY).await;
    assert_eq!(digest(&office).await, expected);
}

#[tokio::test]
async fn founding_refuses_what_cannot_be_an_office() {
    let open = |charter: Charter| async {
        let clock = ManualClock::default();
        let disk = MemoryDisk::default();
        let runtime = house(&clock).start(Box::new(MemoryStore::open(&disk))).await.unwrap();
        Office::open(runtime, clock, charter).await.map(drop).unwrap_err().to_string()
    };
    let mut twice = charter(7);
    twice.colleagues.push(Colleague::new(7, "eve"));
    assert!(open(twice).await.contains("already"));
    let mut endless = charter(7);
    endless.calendar.ticks_per_day = 0;
    assert!(open(endless).await.contains("time"));
}
