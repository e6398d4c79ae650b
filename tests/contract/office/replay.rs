//! What entered can be done again: a replay asks no planner, a fork shares the past up to its tick, a verification finds the
//! same.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use worksite_simulation::office::{
    Absence, Answer, AnswerBook, Happening, HappeningKind, Input, OfficeError, Planner, PlannerError, Question,
    RecordedPlanner, RulesPlanner, Transcript,
};

/// Answers as the rules do, for money, and counts.
struct Paid(Arc<AtomicUsize>);

impl Planner for Paid {
    fn name(&self) -> &str {
        "paid"
    }

    fn plan(&self, question: &Question, time: Duration) -> Result<Answer, PlannerError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let answer = RulesPlanner.plan(question, time)?;
        Ok(Answer { cost_micros: 7, tokens_in: 100, tokens_out: 20, ..answer })
    }

    fn cost_micros_max(&self) -> i64 {
        10
    }
}

/// A day and a half with things that enter on the way, planned by a paid planner.
async fn eventful(office: &mut Office, planning: &Planning) {
    let at = |tick, input| (tick, input);
    let inputs = [
        at(30, Input::Inject(Happening::new(HappeningKind::Blocker, [2], 90).with("reason", "no coffee"))),
        at(60, Input::Override { person: 3, absence: Absence::Offline, until: Some(200) }),
        at(60, Input::Hire(Colleague::new(9, "Gil"))),
        at(100, Input::Dismiss { person: 99, purge: false }),
        at(DAY + 5, Input::Dismiss { person: 5, purge: true }),
        at(
            DAY + 9,
            Input::Write {
                to: vec![1],
                from_name: "a client".into(),
                subject: "Hello".into(),
                body: "Where is it?".into(),
            },
        ),
    ];
    for (tick, input) in inputs {
        office.run_to(tick, planning, |_, _| true).await.unwrap();
        office.enter(input).await.unwrap();
    }
    office.run_to(DAY + DAY / 2, planning, |_, _| true).await.unwrap();
}

async fn recorded() -> (Office, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let mut office = in_memory(&MemoryDisk::default(), charter(7)).await;
    eventful(&mut office, &Planning::by(Paid(calls.clone()))).await;
    (office, calls)
}

#[tokio::test]
async fn a_replay_of_a_recording_asks_no_planner_and_gives_the_same_digest() {
    let (office, calls) = recorded().await;
    let asked = calls.load(Ordering::SeqCst);
    assert!(asked > 20 && office.calls() == asked as u64, "{asked}");
    let transcript = office.transcript().await.unwrap();
    let book = AnswerBook::read(&AnswerBook::of(&transcript).lines()).unwrap();
    assert_eq!(book.len(), asked, "every answer is kept under the hash of its question");
    let mut again = in_memory(&MemoryDisk::default(), charter(7)).await;
    let planning = Planning { book, falls_back: false, ..Planning::by(Paid(calls.clone())) };
    eventful(&mut again, &planning).await;
    assert_eq!((calls.load(Ordering::SeqCst), again.calls()), (asked, 0), "nobody was asked again");
    assert_eq!(digest(&again).await, transcript.digest());
    assert_eq!(again.spent_micros(), office.spent_micros(), "what it cost is part of the recording");
}

#[tokio::test]
async fn a_recording_of_another_run_is_refused_and_not_filled_in() {
    let (office, _) = recorded().await;
    let book = AnswerBook::of(&office.transcript().await.unwrap());
    let mut other = in_memory(&MemoryDisk::default(), charter(8)).await;
    let planning = Planning { book: book.clone(), falls_back: false, ..Planning::by(RecordedPlanner(book)) };
    let refused = other.run_to(DAY, &planning, |_, _| true).await.unwrap_err();
    assert!(matches!(refused, OfficeError::Planner(PlannerError::NotRecorded(_))), "{refused}");
}

#[tokio::test]
async fn a_transcript_alone_is_enough_to_do_it_again() {
    let (office, calls) = recorded().await;
    let asked = calls.load(Ordering::SeqCst);
    let transcript = office.transcript().await.unwrap();
    let read = Transcript::read(&transcript.lines()).unwrap();
    assert_eq!(read, transcript);
    let again = read.replay_in_memory(office.tick()).await.unwrap();
    assert_eq!(digest(&again).await, transcript.digest());
    let verified = office.verify().await.unwrap();
    assert!(verified.holds(), "{verified:?}");
    assert_eq!(calls.load(Ordering::SeqCst), asked);
    assert!(matches!(Transcript::read("{\n"), Err(OfficeError::Line { line: 1, .. })));
}

#[tokio::test]
async fn a_transcript_that_was_touched_does_not_verify() {
    let (office, _) = recorded().await;
    let lines = office.transcript().await.unwrap().lines();
    let touched = Transcript::read(&lines.replace("no coffee", "no tea")).unwrap();
    let again = touched.replay_in_memory(office.tick()).await;
    let parted = match again {
        Ok(again) => touched.parts_from(&again.transcript().await.unwrap()),
        // Somebody was asked about what never happened.
        Err(OfficeError::Planner(_)) => Some(0),
        Err(other) => panic!("{other}"),
    };
    assert!(parted.is_some());
}

#[tokio::test]
async fn a_fork_shares_the_past_and_differs_only_after_its_tick() {
    let (office, calls) = recorded().await;
    let asked = calls.load(Ordering::SeqCst);
    let transcript = office.transcript().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for tick in [0, 1, 60, 61, 300, DAY] {
        let clock = ManualClock::default();
        let path = folder.path().join(format!("{tick}.db"));
        let store = SqliteStore::open(path, SqliteOptions::default()).unwrap();
        let runtime = house(&clock).start(Box::new(store)).await.unwrap();
        let mut fork = office.fork(tick, runtime, clock).await.unwrap();
        assert_eq!(fork.tick(), tick);
        assert_eq!(fork.transcript().await.unwrap().before(tick), transcript.before(tick), "the past before {tick}");
        assert_eq!(calls.load(Ordering::SeqCst), asked, "the past is not paid for twice");
        let flood = Happening::new(HappeningKind::Meeting, [1, 2, 3], tick).with("topic", "the flood");
        fork.enter(Input::Inject(flood)).await.unwrap();
        run(&mut fork, tick + 120).await;
        let forked = fork.transcript().await.unwrap();
        assert_eq!(transcript.before(tick + 120).parts_from(&forked), Some(tick), "they part at {tick}");
        fork.runtime().shutdown().await;
    }
}

#[tokio::test]
async fn a_rewound_office_goes_on_as_it_did() {
    let (office, _) = recorded().await;
    let transcript = office.transcript().await.unwrap();
    // The last input was before this tick: what follows is only time.
    let tick = DAY + 20;
    let mut rewound = transcript.replay_in_memory(tick).await.unwrap();
    let planning = Planning { book: AnswerBook::of(&transcript), ..Planning::by(RecordedPlanner::default()) };
    rewound.run_to(office.tick(), &planning, |_, _| true).await.unwrap();
    assert_eq!(rewound.transcript().await.unwrap().digest(), transcript.digest());
}

#[tokio::test]
async fn equal_transcripts_do_not_part() {
    let mut office = in_memory(&MemoryDisk::default(), charter(7)).await;
    run(&mut office, 100).await;
    let transcript = office.transcript().await.unwrap();
    assert_eq!(transcript.parts_from(&transcript), None);
    assert_eq!(transcript.parts_from(&transcript.before(50)).unwrap(), {
        transcript
            .entries()
            .iter()
            .map(worksite_simulation::office::OfficeEntry::tick)
            .find(|tick| *tick >= 50)
            .unwrap()
    });
}
