//! Who plans may be slow, wrong, dead or dear: each call has a time, a second attempt, a budget and the rules to fall back on.

use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use worksite_simulation::office::{
    Answer, CommandPlanner, HttpPlanner, OfficeError, OnBudget, Planner, PlannerError, Question, RulesPlanner,
    Transcript,
};

/// A planner with bad days.
#[derive(Clone, Default)]
struct Moody {
    calls: Arc<AtomicUsize>,
    /// Which of its first calls fail: how many.
    failures: usize,
    /// It waits to be told to answer, for ever.
    is_stuck: bool,
    panics: bool,
    cost: i64,
}

impl Planner for Moody {
    fn name(&self) -> &str {
        "moody"
    }

    fn plan(&self, question: &Question, time: Duration) -> Result<Answer, PlannerError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "as it wishes");
        if self.is_stuck {
            std::thread::park_timeout(Duration::from_secs(60));
        }
        if call < self.failures {
            return Err(PlannerError::Failed("not today".into()));
        }
        let answer = RulesPlanner.plan(question, time)?;
        Ok(Answer { cost_micros: self.cost, ..answer })
    }

    fn cost_micros_max(&self) -> i64 {
        self.cost
    }
}

async fn fresh() -> Office {
    in_memory(&MemoryDisk::default(), charter(7)).await
}

async fn transcript(office: &Office) -> Transcript {
    office.transcript().await.unwrap()
}

#[tokio::test]
async fn a_call_that_fails_is_made_once_more() {
    let moody = Moody { failures: 1, ..Moody::default() };
    let mut office = fresh().await;
    let planning = Planning { calls_max: 1, ..Planning::by(moody.clone()) };
    office.run_to(1, &planning, |_, _| true).await.unwrap();
    let rows = transcript(&office).await;
    let attempts: Vec<_> = rows.answers().map(|row| (row.planner.as_str(), row.attempts)).collect();
    assert_eq!(attempts, [("moody", 2), ("moody", 1), ("moody", 1), ("moody", 1), ("moody", 1)]);
}

#[tokio::test]
async fn a_planner_that_fails_hangs_or_panics_is_replaced_by_the_rules_and_the_entry_says_so() {
    let cases = [
        (Moody { failures: usize::MAX, ..Moody::default() }, "not today"),
        (Moody { is_stuck: true, ..Moody::default() }, "no answer within 40 ms"),
        (Moody { panics: true, ..Moody::default() }, "panicked"),
    ];
    for (moody, why) in cases {
        let mut office = fresh().await;
        let planning = Planning {
            // Only the one that hangs is to be too slow, however busy the machine is.
            time_ms_max: if moody.is_stuck { 40 } else { 30_000 },
            ..Planning::by(moody.clone())
        };
        office.run_to(1, &planning, |_, _| true).await.unwrap();
        let rows = transcript(&office).await;
        assert_eq!(rows.answers().count(), 5, "everybody in town has planned");
        for row in rows.answers() {
            assert_eq!((row.planner.as_str(), row.attempts), ("rules", 2));
            assert!(row.fallback.as_ref().unwrap().contains(why), "{row:?}");
        }
        assert_eq!(moody.calls.load(Ordering::SeqCst), 10);
        assert_eq!(office.desks()[&1].total().fallbacks, 1, "counted at the desk");
        assert!(office.verify().await.unwrap().holds());
    }
}

#[tokio::test]
async fn without_a_fallback_the_run_ends_with_the_error_and_goes_on_later() {
    let mut expected = fresh().await;
    expected.run_to(200, &Planning::by(Moody::default()), |_, _| true).await.unwrap();
    let mut office = fresh().await;
    let strict = Planning { falls_back: false, ..Planning::by(Moody { failures: usize::MAX, ..Moody::default() }) };
    let refused = office.run_to(200, &strict, |_, _| true).await.unwrap_err();
    assert!(matches!(refused, OfficeError::Planner(PlannerError::Failed(_))));
    assert!(office.is_mid_tick());
    office.run_to(200, &Planning::by(Moody::default()), |_, _| true).await.unwrap();
    assert_eq!(digest(&office).await, digest(&expected).await);
}

#[tokio::test]
async fn at_the_budget_the_run_pauses_and_loses_nothing() {
    let dear = Moody { cost: 10, ..Moody::default() };
    let mut expected = fresh().await;
    expected.run_to(DAY, &Planning::by(dear.clone()), |_, _| true).await.unwrap();
    let whole = expected.spent_micros();
    let (asked, disk) = (dear.calls.load(Ordering::SeqCst), MemoryDisk::default());
    let mut pauses = 0;
    for budget in [0, 30, 135, whole / 2, whole] {
        // Each time in another life.
        let mut office = in_memory(&disk, charter(7)).await;
        let planning = Planning { budget_micros: Some(budget), ..Planning::by(dear.clone()) };
        let end = office.run_to(DAY, &planning, |_, _| true).await.unwrap();
        assert!(office.spent_micros() <= budget, "never more than that");
        assert!(office.spent_micros() + 10 > budget.min(whole), "and as much of it as can be");
        if let RunEnd::Budget { tick } = end {
            pauses += 1;
            assert_eq!(office.tick(), tick);
            let refused = office.enter(worksite_simulation::office::Input::ClearOverride { person: 1 }).await;
            if office.is_mid_tick() {
                assert!(matches!(refused, Err(OfficeError::MidTick(_))));
            }
        } else {
            assert_eq!(digest(&office).await, digest(&expected).await);
        }
        office.runtime().shutdown().await;
    }
    assert_eq!(pauses, 4);
    assert_eq!(dear.calls.load(Ordering::SeqCst), 2 * asked, "nothing was asked twice");
}

#[tokio::test]
async fn beyond_the_budget_the_rules_may_go_on_and_it_does_not_matter_who_is_quicker() {
    let mut digests = Vec::new();
    for calls_max in [1, 2, 8] {
        let mut office = fresh().await;
        let dear = Moody { cost: 10, ..Moody::default() };
        let planning = Planning {
            budget_micros: Some(205),
            on_budget: OnBudget::FallBack,
            calls_max,
            ..Planning::by(dear.clone())
        };
        assert_eq!(office.run_to(DAY, &planning, |_, _| true).await.unwrap(), RunEnd::Reached);
        assert_eq!((office.spent_micros(), dear.calls.load(Ordering::SeqCst)), (200, 20));
        let rows = transcript(&office).await;
        assert!(rows.answers().any(|row| row.fallback.as_deref() == Some("the budget is spent")));
        digests.push(digest(&office).await);
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

/// A planner of three lines of shell; "slow" never answers, "wrong" answers nonsense, "dead" ends.
fn shell(mood: &str) -> CommandPlanner {
    let id = r#"id=$(printf '%s' "$line" | sed 's/^{"id":"\([0-9a-f]*\)".*/\1/')"#;
    let say = r#"printf '{"id":"%s","plan":"Chat now with everyone: good morning","cost_micros":5}\n' "$id""#;
    let script = match mood {
        "good" => format!("echo starting up; while read -r line; do {id}; {say}; done"),
        "slow" => "while read -r line; do :; done".to_string(),
        "wrong" => "while read -r line; do echo '{nonsense'; done".to_string(),
        _ => "read -r line; exit 3".to_string(),
    };
    CommandPlanner::new("sh", ["-c".to_string(), script]).cost_micros_max(5)
}

#[tokio::test]
async fn a_child_process_plans_line_by_line() {
    let mut office = fresh().await;
    office.run_to(3, &Planning::by(shell("good")), |_, _| true).await.unwrap();
    let rows = transcript(&office).await;
    assert!(rows.answers().all(|row| row.planner == "command" && row.fallback.is_none()));
    assert_eq!(office.spent_micros(), 5 * rows.answers().count() as i64);
    assert!(rows.mail().any(|(_, mail)| mail.body == "good morning"));
}

#[tokio::test]
async fn a_child_that_is_slow_wrong_or_dead_is_started_again_and_then_replaced() {
    for (mood, why) in [("slow", "no answer within"), ("wrong", "cannot be read"), ("dead", "the child ended")] {
        let mut office = fresh().await;
        // Only the slow one is to be too slow.
        let time_ms_max = if mood == "slow" { 300 } else { 30_000 };
        let planning = Planning { time_ms_max, calls_max: 1, ..Planning::by(shell(mood)) };
        office.run_to(1, &planning, |_, _| true).await.unwrap();
        for row in transcript(&office).await.answers() {
            let fallback = row.fallback.as_deref().unwrap_or_default();
            assert!(fallback.contains(why), "{mood}: {fallback}");
        }
    }
    let missing = CommandPlanner::new("no-such-program-anywhere", ["x"]);
    let mut office = fresh().await;
    office.run_to(1, &Planning::by(missing), |_, _| true).await.unwrap();
    assert!(transcript(&office).await.answers().all(|row| row.fallback.is_some()));
}

/// What a planner says is bounded, and nobody is paid for planning.
#[tokio::test]
async fn an_answer_without_end_or_below_price_is_not_believed() {
    struct Odd(Answer);
    impl Planner for Odd {
        fn name(&self) -> &str {
            "odd"
        }
        fn plan(&self, _: &Question, _: Duration) -> Result<Answer, PlannerError> {
            Ok(self.0.clone())
        }
    }
    let endless = Answer::free("Chat now with everyone: and\n".repeat(10_000));
    let mut office = fresh().await;
    office.run_to(1, &Planning::by(Odd(endless)), |_, _| true).await.unwrap();
    let rows = transcript(&office).await;
    assert!(rows.answers().all(|row| row.fallback.as_deref().is_some_and(|why| why.contains("bytes"))));
    let generous = Answer { cost_micros: -5, ..Answer::free("") };
    let mut office = fresh().await;
    office.run_to(1, &Planning::by(Odd(generous)), |_, _| true).await.unwrap();
    assert_eq!(office.spent_micros(), 0);
}

/// A server of our own on this machine, for a few requests.
struct Server {
    url: String,
    seen: Arc<std::sync::Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(reply: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/chat/completions", listener.local_addr().unwrap());
        let (seen, ends) = (Arc::<std::sync::Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(false)));
        let (log, end) = (seen.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                log.lock().unwrap().push(read_request(&stream));
                if reply.is_empty() {
                    // It never answers: the connection stays open as long as the client wants.
                    let _silence = stream.read(&mut [0; 16]);
                    continue;
                }
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reply}",
                    reply.len()
                )
                .unwrap();
            }
        });
        Self { url, seen, ends, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let address = self.url.trim_start_matches("http://").split('/').next().unwrap();
        drop(std::net::TcpStream::connect(address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn read_request(stream: &std::net::TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn a_server_plans_and_its_tokens_are_paid_for() {
    let server = Server::start(
        r#"{"choices":[{"message":{"role":"assistant","content":"Good morning!\nEmail now to Bob: Plan | Mine."}}],
            "usage":{"prompt_tokens":2000,"completion_tokens":500}}"#,
    );
    let mut office = fresh().await;
    let planner = HttpPlanner::new(&server.url, "small").key("secret").prices_micros(150, 600, 10_000);
    office.run_to(1, &Planning { calls_max: 1, ..Planning::by(planner) }, |_, _| true).await.unwrap();
    let rows = transcript(&office).await;
    let ada = rows.answers().next().unwrap();
    assert_eq!((ada.planner.as_str(), ada.answer.cost_micros, ada.sent.len()), ("small", 600, 1));
    assert_eq!((ada.answer.tokens_in, ada.answer.tokens_out), (2000, 500));
    let seen = server.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 5);
    let first = seen[0].to_lowercase();
    assert!(first.contains(&format!("idempotency-key: {}", ada.hash)), "{first}");
    assert!(first.contains("authorization: bearer secret") && first.contains("you are ada"), "{first}");
}

#[tokio::test]
async fn a_server_that_is_silent_absent_or_talks_nonsense_is_replaced() {
    let absent = "http://127.0.0.1:1/v1/chat/completions".to_string();
    let (silent, nonsense) = (Server::start(""), Server::start("<html>"));
    for (url, why, time_ms_max) in
        [(&silent.url, "no answer within", 200), (&nonsense.url, "cannot be read", 30_000), (&absent, "failed", 30_000)]
    {
        let mut office = fresh().await;
        let planning =
            Planning { time_ms_max, calls_max: 1, attempts_max: 1, ..Planning::by(HttpPlanner::new(url, "m")) };
        office.run_to(1, &planning, |_, _| true).await.unwrap();
        for row in transcript(&office).await.answers() {
            assert!(row.fallback.as_deref().unwrap_or_default().contains(why), "{row:?}");
        }
    }
}
