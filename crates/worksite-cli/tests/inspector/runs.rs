//! The run queue as the inspector shows it.

use crate::{Plot, out};
use serde_json::{Value, json};
use std::time::Duration;
use worksite::block_on;
use worksite::prelude::*;

/// A clock that stands, so that a runner's silence is as long as the test says.
fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_seconds(1_767_225_600))
}

async fn open(plot: &Plot, clock: &ManualClock) -> (Worksite, RunQueue) {
    let site = Worksite::builder().clock(clock.clock()).open(plot.path("site.db")).await.unwrap();
    let queue = site.run_queue().await.unwrap();
    (site, queue)
}

/// A run each that is completed, running, claimed, and pending; the one that runs failed once.
async fn site(plot: &Plot, clock: &ManualClock) -> (Worksite, [RunId; 4]) {
    let (site, queue) = open(plot, clock).await;
    let everything = worksite::model::Interest::everything();
    let _told = site.subscribe_durably("auditor", everything).await.unwrap();
    let gpu = RunnerInfo::new("gaia", Capabilities::none().tag("gpu").field("cores", 16)).slots(2);
    let plain = RunnerInfo::new("luna", Capabilities::none());
    let draft = |text: &str| RunDraft::of(&text.to_string()).unwrap();
    let session = || SessionUse::Start(Some("ses_night".into()));
    let first = queue.add_run(draft("sweep").agent("cleaner").in_session(session())).await.unwrap();
    let claimed = queue.claim_run(&plain).await.unwrap().unwrap();
    let done = Payload::encode(&String::from("swept")).unwrap();
    queue.report(&claimed, RunReport::Completed(Some(done))).await.unwrap();

    let demands = Demands::none().tag("gpu").at_least("cores", 4);
    let render = draft("render").agent("renderer").demands(demands.clone()).lease(Duration::from_secs(60));
    let second = queue.add_run(render.calls_back("ses_night").priority(5)).await.unwrap();
    let claimed = queue.claim_run(&gpu).await.unwrap().unwrap();
    queue.report(&claimed, RunReport::Retry("out of \u{1b}[31mmemory".into())).await.unwrap();
    clock.advance(Duration::from_secs(3_600));
    queue.fail_timed_out_runs().await.unwrap();
    let claimed = queue.claim_run(&gpu).await.unwrap().unwrap();
    queue.report(&claimed, RunReport::Started).await.unwrap();
    let third = queue.add_run(draft("render more").agent("renderer").demands(demands)).await.unwrap();
    queue.claim_run(&gpu).await.unwrap().unwrap();
    let fourth = queue.add_run(RunDraft::new().agent("cleaner")).await.unwrap();
    (site, [first.id, second.id, third.id, fourth.id])
}

fn ids(runs: &[Value]) -> Vec<&str> {
    runs.iter().map(|run| run["id"].as_str().unwrap()).collect()
}

#[test]
fn the_queue_its_runs_and_who_holds_them_are_shown_beside_a_living_owner() {
    let (plot, clock) = (Plot(tempfile::tempdir().unwrap()), clock());
    let (site, runs) = block_on(site(&plot, &clock));
    let [first, second, third, fourth] = runs.map(|id| id.to_string());
    let (queue, code) = plot.json(&["queue"]);
    let expected = json!({
        "pending": 1, "claimed": 1, "running": 1, "stopping": 0, "completed": 1, "failed": 0, "stopped": 0
    });
    assert_eq!((&queue[..], code), (&[expected][..], 0));

    let (all, code) = plot.json(&["runs"]);
    assert_eq!((ids(&all), code), (vec![&*fourth, &third, &second, &first], 0), "the newest first");
    for (words, found) in [
        (&["--status", "running", "--status", "claimed"][..], &[&*third, &second][..]),
        (&["--agent", "renderer"], &[&third, &second]),
        (&["--runner", "luna"], &[&first]),
        (&["--session", "ses_night"], &[&first]),
        (&["--parent", "ses_night"], &[&second]),
        (&["--schedule", "nightly"], &[]),
        (&["--limit", "1", "--before", &third], &[&second]),
    ] {
        let (runs, code) = plot.json(&[&["runs"], words].concat());
        assert_eq!((ids(&runs), code), (found.to_vec(), 0), "{words:?}");
    }

    let (runners, code) = plot.json(&["runners"]);
    let (begun, lease) = (1_767_229_200_000_000_i64, 1_767_229_260_000_000_i64);
    let gaia = json!({
        "runner": "gaia", "claimed": 1, "running": 1, "stopping": 0, "claimed_at": begun, "lease_until": lease
    });
    assert_eq!((&runners[..], code), (&[gaia][..], 0), "who holds nothing is not in the file");
    block_on(site.shutdown());
}

#[test]
fn a_run_is_shown_whole_with_how_it_has_moved() {
    let (plot, clock) = (Plot(tempfile::tempdir().unwrap()), clock());
    let (site, runs) = block_on(site(&plot, &clock));
    let [first, second, ..] = runs.map(|id| id.to_string());
    for _ in ["beside", "cold"] {
        let (run, code) = plot.json(&["run", &second]);
        let run = &run[0];
        assert_eq!(
            (&run["status"], &run["attempts"], &run["fence"], code),
            (&json!("running"), &json!(1), &json!(2), 0)
        );
        assert_eq!((&run["mode"], &run["parent"]), (&json!("async_callback"), &json!("ses_night")));
        assert_eq!((&run["demands"], &run["lease_ms"]), (&json!(["tag gpu", "cores >= 4"]), &json!(60_000)));
        assert_eq!((&run["payload"]["text"], &run["due"]), (&json!("render"), &Value::Null));
        let moves: Vec<_> = run["moves"].as_array().unwrap().iter().map(|moved| &moved["status"]).collect();
        assert_eq!(moves, ["pending", "claimed", "pending", "claimed", "running"]);
        assert_eq!(run["moves"][2]["error"], "out of \u{1b}[31mmemory");
        block_on(site.shutdown());
    }
    let (run, _) = plot.json(&["run", &first]);
    assert_eq!((&run[0]["result"]["text"], &run[0]["demands"]), (&json!("swept"), &Value::Null));

    let shown = out(&plot.call(&["run", &second]));
    let (object, moves) = shown.split_once("\n\n").unwrap();
    assert!(object.contains("\ndemands       tag gpu, cores >= 4\n"), "{shown}");
    assert!(object.contains("\nerror         out of \\u{1b}[31mmemory\n") && !object.contains("result"), "{shown}");
    assert_eq!(moves.lines().count(), 6, "{shown}");
    assert!(moves.starts_with("moved at             status   runner  fence  attempts  error"), "{shown}");
    let page = out(&plot.call(&["runs", "--limit", "3"]));
    assert!(page.ends_with(&format!("there may be more: --before {second}\n")), "{page}");
    let facts = out(&plot.call(&["facts"]));
    assert!(facts.contains(&format!("run   {second} running\n")), "{facts}");
}

#[test]
fn a_run_that_cannot_be_read_is_shown_as_such_and_an_unknown_one_is_none() {
    let (plot, clock) = (Plot(tempfile::tempdir().unwrap()), clock());
    let (site, runs) = block_on(site(&plot, &clock));
    let [first, second, ..] = runs.map(|id| id.to_string());
    block_on(site.shutdown());
    let file = worksite::store::rusqlite::Connection::open(plot.path("site.db")).unwrap();
    file.execute_batch("UPDATE runs SET demands = '7' WHERE agent = 'cleaner' AND ended_at IS NOT NULL").unwrap();
    drop(file);
    let (all, code) = plot.json(&["runs"]);
    assert_eq!((all.len(), &all[3]["id"], code), (4, &json!(first), 1));
    let (run, code) = plot.json(&["run", &first]);
    assert_eq!((&run[0]["unreadable"], code), (&json!("its status or its demands cannot be read"), 1));
    assert!(out(&plot.call(&["runs"])).contains("cannot be read: its status or its demands cannot be read"));

    let unknown = second.replace(char::is_numeric, "7");
    let missing = plot.call(&["run", &unknown]);
    assert!(
        missing.status.code() == Some(1) && crate::complaint(&missing).contains("there is no run run_"),
        "{missing:?}"
    );
    for words in [&["run", "7"][..], &["run"], &["runs", "--status", "done"], &["runs", "--limit", "0"]] {
        assert_eq!(plot.call(words).status.code(), Some(2), "{words:?}");
    }
}
