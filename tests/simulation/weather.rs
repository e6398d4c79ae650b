//! Each kind of weather by itself: what it does to a house, and that it does nothing else.

use super::{letter, lives, played, small_scenario};
use std::time::Duration;
use worksite_model::{Draft, InboxPolicy, Limits, Overflow};
use worksite_simulation::{
    Event, Fault, Incident, Letter, Listener, MemoryDisk, MemoryStore, Mishap, Remembered, Scenario, Step, Weather,
    World, recovery_equals_life,
};

/// Plays a scenario through all lives it takes; the first one has this weather.
fn weathered(scenario: &Scenario, weather: impl Into<Weather>) -> (Remembered, World) {
    let (mut world, disk, mut weather) = (World::new(1), MemoryDisk::default(), Some(weather.into()));
    let remembered =
        world.lives(scenario, |_| (Box::new(MemoryStore::open(&disk)), weather.take().unwrap_or_default()));
    (remembered.unwrap_or_else(|broken| panic!("{broken}\n{}", world.trace())), world)
}

fn at_every_event(mishap: Mishap, lives_expected: usize) {
    let scenario = small_scenario();
    let (calm, world) = played(1, &scenario, &[]);
    let events = world.trace().len();
    assert!(events > 60, "{events} events are few");
    for after in 1..events - 1 {
        let (remembered, world) = weathered(&scenario, vec![Incident { after, mishap }]);
        recovery_equals_life(&calm, &remembered).unwrap_or_else(|broken| panic!("{mishap:?} after {after}: {broken}"));
        assert!(lives(&world) <= lives_expected, "{mishap:?} after {after} took {} lives", lives(&world));
        let happened = world.trace().events().iter().any(|event| matches!(event, Event::Mishap(_)));
        assert!(happened, "{mishap:?} after {after} did not happen");
    }
}

#[test]
fn the_process_may_die_after_any_event() {
    at_every_event(Mishap::Kill, 2);
}

#[test]
fn any_worker_may_crash_after_any_event() {
    (1..=3).for_each(|person| at_every_event(Mishap::CrashWorker(person), 1));
}

#[test]
fn the_supervisor_may_crash_after_any_event_and_the_house_closes() {
    at_every_event(Mishap::CrashSupervisor, 2);
}

#[test]
fn the_one_who_tells_may_crash_after_any_event_and_mail_goes_on() {
    at_every_event(Mishap::CrashBroadcast, 1);
}

#[test]
fn the_writer_may_crash_at_any_commit_and_whoever_waits_is_told() {
    let (calm, _) = played(1, &small_scenario(), &[]);
    for commit in 1.. {
        let (remembered, world) = weathered(&small_scenario(), vec![Fault::Panic(commit)]);
        assert_eq!(remembered, calm, "commit {commit}");
        if lives(&world) == 1 {
            assert!(commit > 10);
            break;
        }
    }
}

#[test]
fn a_torn_batch_and_a_damaged_file_and_a_stall_are_survived_at_any_commit() {
    let (calm, _) = played(1, &small_scenario(), &[]);
    let kinds = [Fault::Torn, Fault::Damaged, |commit| Fault::Stall(commit, Duration::from_secs(20))];
    for kind in kinds {
        for commit in 1..14 {
            let (remembered, world) = weathered(&small_scenario(), vec![kind(commit)]);
            assert_eq!(remembered, calm, "{:?}", kind(commit));
            let stalls = matches!(kind(commit), Fault::Stall(..));
            assert_eq!(lives(&world), if stalls { 1 } else { 2 }, "{:?}", kind(commit));
        }
    }
}

#[test]
fn the_clock_may_jump_after_any_event_by_an_hour_forward_or_back() {
    at_every_event(Mishap::Jump(3_600), 1);
    at_every_event(Mishap::Jump(-3_600), 1);
}

fn notes(count: u32, to: i64) -> Vec<Draft> {
    (0..count).map(|number| letter(to, Letter::Note(number), &format!("n{number}"))).collect()
}

#[test]
fn who_listens_slowly_misses_facts_and_knows_how_many_and_harms_nobody() {
    let scenario = Scenario {
        steps: vec![Step::Sync(vec![1]), Step::Send(notes(50, 1)), Step::Quiesce, Step::Wait(Duration::from_secs(60))],
    };
    let slow = Listener::Slow { facts_max: 4, time: Duration::from_millis(100) };
    let weather = Weather { listeners: vec![slow, Listener::Dead, Listener::Gone(5)], ..Weather::default() };
    let (remembered, world) = weathered(&scenario, weather);
    assert_eq!(remembered, played(1, &scenario, &[]).0);
    let events = world.trace().events();
    let told = events.iter().filter(|event| matches!(event, Event::Told(_))).count();
    let overheard = |event: &Event| if let Event::Overheard { listener, .. } = event { Some(*listener) } else { None };
    let heard = |who| events.iter().filter(|event| overheard(event) == Some(who)).count();
    let missed = events.iter().map(|event| if let Event::Missed { facts, .. } = event { *facts as usize } else { 0 });
    let missed: usize = missed.sum();
    assert!(missed > 0, "it kept up");
    assert_eq!((heard(0) + missed, heard(1), heard(2)), (told, 0, 5));
}

#[test]
fn an_inbox_that_drops_its_oldest_mail_is_over_by_what_is_on_its_way_at_most_and_within_its_bound_at_rest() {
    let limits = Limits { changes_in_flight_max: 6, ..Limits::default() };
    let policy = InboxPolicy { envelopes_max: 3, overflow: Overflow::DropOldest, ..InboxPolicy::of(&limits) };
    let scenario = Scenario {
        steps: vec![
            Step::Sync(vec![1, 2]),
            Step::Pause(1),
            Step::Send(notes(40, 1)),
            Step::Rest,
            Step::Resume(1),
            Step::Quiesce,
        ],
    };
    let (mut world, disk) = (World::with_inboxes(3, policy, limits), MemoryDisk::default());
    let remembered = world.lives(&scenario, |_| (Box::new(MemoryStore::open(&disk)), Weather::default()));
    let remembered = remembered.unwrap_or_else(|broken| panic!("{broken}\n{}", world.trace()));
    let kept = remembered.noted[&(1, "clerk")].len();
    let most = world.trace().events().into_iter().map(|event| match event {
        Event::Counted { waiting, .. } => waiting.iter().map(|entry| entry.envelopes).max().unwrap_or(0),
        _ => 0,
    });
    let most = most.max().unwrap_or(0);
    assert!(kept == 3 && (4..=9).contains(&most), "{kept} were kept, {most} stood at once");
}
