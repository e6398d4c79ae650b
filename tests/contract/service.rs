//! The service around agents: durable subscriptions, histories of states, the application's own tables, metrics, traces.

use crate::site::{Circular, Diary, Note, Notes, Plot, note, people, routines, until};
use std::time::Duration;
use worksite::model::NamedWrite;
use worksite::prelude::*;

/// A diary that keeps its earlier states.
struct Chronicle;

impl Routine for Chronicle {
    const NAME: &'static str = "chronicle";
    type State = Notes;
    type Message = Note;

    fn perform(&self, turn: &mut Turn<Notes>, Note(text): Note) -> Ended {
        let id = turn.envelope().id.0;
        turn.state.0.push((id, text));
        Ok(Outcome::Done)
    }

    fn keep_states(&self) -> Option<worksite::model::KeepStates> {
        Some(worksite::model::KeepStates { revisions_max: 5, bytes_max: 1_000 })
    }
}

/// Scenario 18: history bounded by a ring, the oldest trimmed.
#[tokio::test]
async fn earlier_states_are_read_by_envelope_and_time_and_restored() {
    let (plot, clock) = (Plot::new(), ManualClock::new(Timestamp::from_seconds(0)));
    let open = || Worksite::builder().routine(Chronicle).clock(clock.clock()).open(plot.path());
    let site = open().await.unwrap();
    site.sync(people()).await.unwrap();
    let mut ids = Vec::new();
    for text in ["a", "b", "c", "d", "e", "f", "g"] {
        clock.advance(Duration::from_secs(10));
        ids.push(site.send(note(1, text)).await.unwrap().id);
        site.rest().await.unwrap();
    }
    site.shutdown().await;
    let site = open().await.unwrap();
    let texts =
        |notes: Option<Notes>| notes.unwrap_or_default().0.into_iter().map(|(_, text)| text).collect::<String>();
    let revisions = site.revisions(1, "chronicle", 99).await.unwrap();
    let numbers: Vec<_> = revisions.iter().map(|revision| revision.number).collect();
    assert_eq!(numbers, [7, 6, 5, 4, 3], "the ring holds five");
    assert_eq!(texts(site.state_after(1, "chronicle", ids[4]).await.unwrap()), "abcde");
    assert_eq!(texts(site.state_at(1, "chronicle", Timestamp::from_seconds(45)).await.unwrap()), "abcd");
    assert_eq!(texts(site.state_at(1, "chronicle", Timestamp::from_seconds(5)).await.unwrap()), "", "trimmed");
    site.restore(1, "chronicle", 4).await.unwrap();
    assert_eq!(texts(site.state(1, "chronicle").await.unwrap()), "abcd");
    site.send(note(1, "h")).await.unwrap();
    site.rest().await.unwrap();
    assert_eq!(texts(site.state(1, "chronicle").await.unwrap()), "abcdh", "the worker goes on from there");
    assert!(matches!(site.restore(1, "chronicle", 1).await, Err(DeskError::NoRevision(1))), "it is not kept any more");
}

fn table() -> SqliteOptions {
    SqliteOptions::default().write_handler("seen", |transaction, bytes| {
        transaction.execute("CREATE TABLE IF NOT EXISTS seen (place INTEGER PRIMARY KEY, fact INTEGER)", [])?;
        let place = i64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        transaction.execute("INSERT INTO seen (fact) VALUES (?1)", [place]).map(drop)
    })
}

fn seen(plot: &Plot) -> Vec<i64> {
    let file = rusqlite::Connection::open(plot.path()).unwrap();
    let Ok(mut rows) = file.prepare("SELECT fact FROM seen ORDER BY place") else { return Vec::new() };
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn row(fact: i64) -> Vec<NamedWrite> {
    vec![NamedWrite { name: "seen".into(), bytes: fact.to_le_bytes().to_vec() }]
}

#[tokio::test]
async fn a_durable_subscription_survives_restarts_and_is_caught_up_without_gap_or_repetition() {
    let plot = Plot::new();
    let open = || routines().store(table()).open(plot.path());
    let site = open().await.unwrap();
    site.sync(people()).await.unwrap();
    let interest = || Interest::everything().processed();
    let mut told = site.subscribe_durably("reader", interest()).await.unwrap();
    let mut expected = Vec::new();
    for round in 0..6 {
        // Some come while it listens, some while it does not.
        for index in 0..20 {
            let receipt = site.send(note(1 + index % 3, &format!("{round} {index}"))).await.unwrap();
            expected.push(receipt.id.0);
        }
        for _ in 0..15 {
            let logged = told.next().await.unwrap().unwrap();
            let Fact::Settled { envelope, .. } = &logged.fact else { panic!("{logged:?}") };
            told.acknowledge_with(logged.offset, row(envelope.id.0)).await.unwrap();
        }
    }
    site.shutdown().await;
    while told.next().await.unwrap().is_some() {}
    let site = open().await.unwrap();
    site.quiesce().await.unwrap();
    let mut told = site.subscribe_durably("reader", interest()).await.unwrap();
    while seen(&plot).len() < expected.len() {
        let logged = told.next().await.unwrap().unwrap();
        let Fact::Settled { envelope, .. } = &logged.fact else { panic!("{logged:?}") };
        told.acknowledge_with(logged.offset, row(envelope.id.0)).await.unwrap();
    }
    let mut once = seen(&plot);
    // Three workers settle beside each other: the order is that of the commits, and each is seen once.
    once.sort_unstable();
    assert_eq!(once, expected);
    let cursors = site.cursors().await.unwrap();
    assert_eq!((cursors.len(), cursors[0].position, cursors[0].missed), (1, cursors[0].last, 0));
    told.seek(worksite::model::FactOffset(0)).await.unwrap();
    let again = told.next().await.unwrap().unwrap();
    assert_eq!(again.offset.0, 1, "a replay from the beginning of what is still there");
    site.close_cursor("reader").await.unwrap();
    assert!(matches!(told.acknowledge(again.offset).await, Err(DeskError::UnknownCursor(_))));
}

/// The child: sends and reads for ever, and writes down what it has seen in the commit that acknowledges it.
#[tokio::test]
#[ignore = "started by the test below"]
async fn reader_child() {
    let Ok(path) = std::env::var("WORKSITE_READER_SITE") else { return };
    let site = routines().store(table()).open(&path).await.unwrap();
    site.sync(people()).await.unwrap();
    let mut told = site.subscribe_durably("reader", Interest::everything().processed()).await.unwrap();
    let sender = site.clone();
    tokio::spawn(async move {
        loop {
            // Of small states, so that it is the log that grows and not the work.
            let circular = |index: i64| Draft::to(1 + index % 3, &Circular { route: vec![] }).unwrap();
            let _sent = sender.send_all((0..20).map(circular).collect()).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    loop {
        let logged = told.next().await.unwrap().unwrap();
        told.acknowledge_with(logged.offset, row(logged.offset.0)).await.unwrap();
    }
}

/// A subscriber with a cursor is killed and restarted at random, over so many facts: each is seen once, in order.
#[test]
fn a_killed_subscriber_sees_each_fact_exactly_once_in_order() {
    let wanted = std::env::var("WORKSITE_FACTS").ok().and_then(|facts| facts.parse().ok()).unwrap_or(1_000);
    let plot = Plot::new();
    let mut life = 0;
    while seen(&plot).len() < wanted {
        life += 1;
        assert!(life < 5_000, "it never gets anywhere");
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "service::reader_child", "--ignored", "--nocapture"])
            .env("WORKSITE_READER_SITE", plot.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A larger site takes longer to open after a kill: its lives are longer, too.
        let time = (250 + worksite_model::chance(7, &[life]) % 350) * (1 + wanted as u64 / 10_000);
        #[expect(clippy::disallowed_methods, reason = "a kill at a random moment")]
        std::thread::sleep(Duration::from_millis(time));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let seen = seen(&plot);
    assert!(life > 1, "it was killed at least once");
    assert_eq!(seen, (1..=seen.len() as i64).collect::<Vec<_>>(), "{life} lives");
}

#[tokio::test]
async fn an_order_row_and_the_message_about_it_commit_together_or_not_at_all() {
    let plot = Plot::new();
    let site = routines().store(table()).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let receipts = site.transact(row(7), vec![note(1, "order 7")]).await.unwrap();
    assert_eq!((seen(&plot), receipts.len()), (vec![7], 1));
    let stranger = site.transact(row(8), vec![note(99, "order 8")]).await.unwrap_err();
    assert!(matches!(stranger, DeskError::UnknownPerson(PersonId(99))));
    let unknown = vec![NamedWrite { name: "nobody".into(), bytes: vec![] }];
    let error = site.transact(unknown, vec![note(1, "order 9")]).await.unwrap_err();
    assert_eq!(error.advice(), Advice::FixRequest, "{error}");
    site.quiesce().await.unwrap();
    let diary = site.state::<Notes>(1, "diary").await.unwrap().unwrap();
    assert_eq!((seen(&plot), diary.texts(), site.message_count(1)), (vec![7], vec!["order 7"], 0));
}

#[tokio::test]
async fn metrics_are_truthful() {
    let plot = Plot::new();
    let site = routines().open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    for text in ["a", "b", "reject", "fail twice", "panic"] {
        let _answer = site.ask::<String>(note(1, text)).await;
    }
    site.pause(2).await.unwrap();
    for (priority, count) in [(Priority::Low, 1), (Priority::Normal, 2), (Priority::Urgent, 3)] {
        for _ in 0..count {
            site.send(note(2, "x").priority(priority)).await.unwrap();
        }
    }
    site.rest().await.unwrap();
    let metrics = site.metrics().await.unwrap();
    assert_eq!((metrics.processed, metrics.buried, metrics.expired, metrics.dropped), (3, 2, 0, 0));
    assert_eq!((metrics.retried, metrics.failed), (4, 6), "two of each kind were tried again, and two given up");
    assert_eq!((metrics.waiting, metrics.awake, metrics.tally.waiting), (6, 2, 6));
    assert_eq!(site.lanes(2).await.unwrap(), [0, 3, 0, 2, 1]);
    assert_eq!(metrics.processing_time.count(), 9);
    assert!(
        metrics.commits >= 10 && metrics.changes >= metrics.commits && metrics.commit_time.count() == metrics.commits
    );
    assert!(metrics.last_error.unwrap().contains("as the note says"));
    assert!(metrics.commit_time.quantile(0.99) >= metrics.commit_time.quantile(0.5));
}

/// A message carries its trace from the sender through the commit to the routine, in another life of the process too.
#[test]
fn a_trace_goes_on_after_a_restart() {
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let plot = Plot::new();
    let life = |work: &dyn Fn(Worksite) -> std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        let log = Log::default();
        let lines = log.clone();
        let spans = tracing_subscriber::fmt::format::FmtSpan::CLOSE;
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_span_events(spans);
        let subscriber = subscriber.with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let clock = Clock::tokio(Timestamp::from_seconds(0));
                let site = Worksite::builder().routine(Diary).clock(clock).open_local(plot.path()).await.unwrap();
                work(site).await;
            });
        });
        let text = lines.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    };
    let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let first = life(&|site| {
        Box::pin(async move {
            site.sync(people()).await.unwrap();
            site.pause(1).await.unwrap();
            site.send(note(1, "x").trace(context)).await.unwrap();
            site.shutdown().await;
        })
    });
    assert!(first.contains("committed") && first.contains(context), "{first}");
    let second = life(&|site| {
        Box::pin(async move {
            site.resume(1).await.unwrap();
            site.quiesce().await.unwrap();
            site.shutdown().await;
        })
    });
    let performed = second.lines().find(|line| line.contains("perform{")).unwrap_or_else(|| panic!("{second}"));
    assert!(performed.contains(context) && performed.contains("envelope=1"), "{performed}");
}

#[tokio::test]
async fn a_thousand_subscribers_and_a_stalled_one_hear_everything() {
    let plot = Plot::new();
    let site = routines().open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let stalled = site.subscribe_to(SubscriptionOptions { facts_max: 3, ..site.subscription(Interest::everything()) });
    let subscribers: Vec<_> = (0..1_000).map(|_| site.subscribe()).collect();
    for _ in 0..20 {
        site.ask::<String>(note(1, "x")).await.unwrap();
    }
    until(|| subscribers.iter().all(|subscriber| subscriber.report().lag == 40)).await;
    assert!(subscribers.iter().all(|subscriber| subscriber.report().dropped == 0));
    assert_eq!((stalled.report().dropped, stalled.report().lag), (37, 3));
}

/// A ledger as the first release had it, and as the second has it.
mod releases {
    use serde::{Deserialize, Serialize};
    use worksite::model::PayloadError;
    use worksite::prelude::*;

    #[derive(Default, Serialize, Deserialize)]
    pub struct First(pub Vec<i64>);
    impl Durable for First {
        const TYPE: &'static str = "ledger";
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    pub struct Second {
        pub entries: u32,
        pub sum: i64,
    }
    impl Durable for Second {
        const TYPE: &'static str = "ledger";
        const VERSION: u16 = 2;
        const ENCODING: Encoding = Encoding::Json;

        fn upgrade(old: &Payload) -> Result<Self, PayloadError> {
            match old.version {
                1 => old.decode_body::<Vec<i64>>().map(|all| Self { entries: all.len() as u32, sum: all.iter().sum() }),
                version => Err(PayloadError::UnknownVersion { type_name: Self::TYPE, version }),
            }
        }
    }

    pub struct OldBook;
    impl Routine for OldBook {
        const NAME: &'static str = "book";
        type State = First;
        type Message = i64;
        fn perform(&self, turn: &mut Turn<First>, sum: i64) -> Ended {
            turn.state.0.push(sum);
            Ok(Outcome::Done)
        }
    }

    pub struct NewBook;
    impl Routine for NewBook {
        const NAME: &'static str = "book";
        type State = Second;
        type Message = i64;
        fn perform(&self, turn: &mut Turn<Second>, sum: i64) -> Ended {
            turn.state.entries += 1;
            turn.state.sum += sum;
            Ok(Outcome::Done)
        }
    }
}

#[tokio::test]
async fn a_state_of_an_older_release_is_brought_along_and_an_unknown_one_holds_its_worker() {
    use releases::{NewBook, OldBook, Second};
    let plot = Plot::new();
    let site = Worksite::builder().routine(OldBook).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send_all((1..=4_i64).map(|sum| Draft::to(1, &sum).unwrap()).collect()).await.unwrap();
    site.quiesce().await.unwrap();
    site.shutdown().await;
    // Golden bytes: what the first release wrote stays readable.
    let file = rusqlite::Connection::open(plot.path()).unwrap();
    let body: Vec<u8> = file.query_row("SELECT body FROM states", [], |row| row.get(0)).unwrap();
    assert_eq!(body, [4, 2, 4, 6, 8], "a length, and numbers in zigzag");
    drop(file);
    let site = Worksite::builder().routine(NewBook).open(plot.path()).await.unwrap();
    site.send(Draft::to(1, &5_i64).unwrap()).await.unwrap();
    site.quiesce().await.unwrap();
    let state: Second = site.state(1, "book").await.unwrap().unwrap();
    assert_eq!(state, Second { entries: 5, sum: 15 });
    site.shutdown().await;
    let site = Worksite::builder().routine(OldBook).open(plot.path()).await.unwrap();
    site.send(Draft::to(1, &6_i64).unwrap()).await.unwrap();
    site.rest().await.unwrap();
    assert_eq!((site.status(1).unwrap(), site.message_count(1)), (Status::Failed, 1), "its mail waits");
    assert!(site.worker(1).unwrap().last_error().unwrap().contains("version 2"));
}
