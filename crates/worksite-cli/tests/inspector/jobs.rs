//! Flows and their jobs as the inspector shows them.

use crate::{Plot, complaint, out};
use serde_json::{Value, json};
use std::time::Duration;
use worksite::block_on;
use worksite::prelude::*;

/// Sheets are folded, and bound by threes; of too many at once the folding jams, and is tried again in an hour.
fn bindery() -> Flow {
    let fold = |call: &mut Call<()>| {
        let sheets = call.first::<u64>("sheets").map_or(0, |sheets| *sheets);
        call.trace("folded");
        call.say(format!("{sheets} sheets\n"));
        call.set_job_data("sheets", sheets);
        if sheets > 100 {
            return Err(std::io::Error::other("jammed").into());
        }
        Ok(call.emit("quire", sheets)?)
    };
    let hour = Duration::from_secs(3_600);
    let later = RetryPolicy { first_delay: hour, delay_max: hour, jitter_percent: 0, ..RetryPolicy::default() };
    let fold = FlowRoutine::new(fold).slot::<u64>("sheets").event::<u64>("quire").on_error(ErrorStrategy::retry(later));
    let bind = FlowRoutine::new(|_: &mut Call<()>| Ok(())).slot::<u64>("quires").policy(ActivationPolicy::batch(3));
    Flow::builder("bindery")
        .routine("fold", fold)
        .routine("bind", bind)
        .connect("fold.quire", "bind.quires")
        .build()
        .unwrap()
}

/// Six jobs: three are bound, one waits to be, one jammed, and one's post waits.
async fn site(plot: &Plot) -> (Worksite, [String; 4]) {
    let clock = ManualClock::new(Timestamp::from_seconds(1_767_225_600));
    let site = Worksite::builder().flow(bindery()).clock(clock.clock()).open(plot.path("site.db")).await.unwrap();
    let flows = site.flows();
    let worker = flows.attach("bindery", 7).await.unwrap();
    flows.attach("bindery", 8).await.unwrap();
    let fold = || flows.posting("bindery", "fold", "sheets").worker(7);
    let (_, bound) = fold().metadata("a novel").post_all(&[20_u64, 30, 40]).await.unwrap();
    let (_, waits) = fold().metadata(json!({"text": ["a", 1]})).parent(bound[0].id()).post(&50_u64).await.unwrap();
    let (_, jammed) = fold().deadline(Duration::from_secs(86_400)).post(&500_u64).await.unwrap();
    while site.tally().await.unwrap().waiting > 0 {
        site.rest().await.unwrap();
    }
    worker.pause().await.unwrap();
    let (_, pending) = fold().metadata("later").post(&60_u64).await.unwrap();
    let ids = [bound[0].id(), waits.id(), jammed.id(), pending.id()];
    (site, ids.map(|id| id.to_string()))
}

fn job(plot: &Plot, id: &str) -> Value {
    let (mut job, code) = plot.json(&["job", id]);
    assert_eq!((job.len(), code), (1, 0), "{id}");
    job.remove(0)
}

#[test]
fn flows_and_their_jobs_are_shown_beside_a_living_owner_and_on_a_cold_file() {
    let plot = Plot(tempfile::tempdir().unwrap());
    let (site, [bound, waits, jammed, _]) = block_on(site(&plot));
    for _ in ["beside", "cold"] {
        let (flows, code) = plot.json(&["flows"]);
        let first = json!({
            "worker": 7, "name": "bindery 7", "flow": "bindery", "posts": 1,
            "running": 2, "completed": 3, "failed": 0, "cancelled": 0
        });
        assert_eq!((&flows[0], flows.len(), code), (&first, 2, 0));
        assert_eq!((&flows[1]["worker"], &flows[1]["running"]), (&json!(8), &json!(0)), "it never had a job");

        let (jobs, code) = plot.json(&["jobs"]);
        assert_eq!((jobs.len(), &jobs[0]["id"], &jobs[0]["status"], code), (5, &json!(bound), &json!("completed"), 0));
        assert_eq!(
            (&jobs[1]["id"], &jobs[1]["envelope"], &jobs[1]["place"]),
            (&json!(format!("{bound}.1")), &json!(1), &json!(1))
        );
        for (words, found) in [
            (&["--status", "running"][..], vec![&waits, &jammed]),
            (&["--worker", "bindery 7", "--status", "running", "--after", &waits], vec![&jammed]),
            (&["--worker", "8"], vec![]),
            (&["--worker", "99"], vec![]),
            (&["--flow", "bindery", "--limit", "1"], vec![&bound]),
            (&["--flow", "laundry"], vec![]),
            (&["--parent", &bound], vec![&waits]),
        ] {
            let (jobs, code) = plot.json(&[&["jobs"], words].concat());
            let ids: Vec<_> = jobs.iter().map(|job| job["id"].as_str().unwrap()).collect();
            assert_eq!((ids, code), (found.iter().map(|id| id.as_str()).collect(), 0), "{words:?}");
        }
        block_on(site.shutdown());
    }
    let page = out(&plot.call(&["jobs", "--limit", "2"]));
    assert!(page.ends_with(&format!("there may be more: --after {bound}.1\n")), "{page}");
}

#[test]
fn a_job_is_shown_with_what_waits_of_it_what_it_posted_and_what_it_carries_along() {
    let plot = Plot(tempfile::tempdir().unwrap());
    let (site, [bound, waits, jammed, pending]) = block_on(site(&plot));
    for _ in ["beside", "cold"] {
        let first = job(&plot, &bound);
        assert_eq!((&first["status"], &first["waiting"]), (&json!("completed"), &json!([])));
        assert_eq!((&first["posted"][0]["id"], &first["metadata"]), (&json!(waits), &json!("a novel")));
        assert_eq!((&first["output"], &first["data"]), (&json!("20 sheets\n"), &json!({"sheets": 20})));
        assert_eq!(first["trace"][0]["action"], "folded");

        let second = job(&plot, &waits);
        assert_eq!((&second["status"], &second["parent"]), (&json!("running"), &json!(bound)));
        let slot = &second["waiting"][0];
        assert_eq!((&slot["routine"], &slot["attempt"], &slot["due"]), (&json!("bind"), &Value::Null, &Value::Null));
        assert_eq!((&slot["data"][0]["slot"], &slot["data"][0]["payload"]["type"]), (&json!("quires"), &json!("u64")));

        let third = job(&plot, &jammed);
        let turn = &third["waiting"][0];
        assert_eq!((&turn["routine"], &turn["attempt"]), (&json!("fold"), &json!(2)));
        assert_eq!(
            (&turn["due"], &third["deadline"]),
            (&json!(1_767_229_200_000_000_i64), &json!(1_767_312_000_000_000_i64))
        );

        let fourth = job(&plot, &pending);
        assert_eq!((&fourth["status"], &fourth["flow"]), (&json!("pending"), &json!("bindery")));
        assert_eq!(fourth["post"], json!({"routine": "fold", "slot": "sheets", "type": "u64"}));
        assert_eq!((&fourth["metadata"], &fourth["waiting"]), (&json!("later"), &json!([])));
        block_on(site.shutdown());
    }
    let shown = out(&plot.call(&["job", &jammed]));
    assert!(
        shown.contains("\nstatus       running\n") && shown.contains("\ndeadline     2026-01-02 00:00:00\n"),
        "{shown}"
    );
    assert!(shown.contains("\nfold     sheets  2026-01-01 00:00:00        2  2026-01-01 01:00:00  u64 v1"), "{shown}");
    let shown = out(&plot.call(&["job", &waits]));
    assert!(shown.contains("\nmetadata  {\"text\":[\"a\",1]}\n") && shown.contains("\nsheets    50\n"), "{shown}");
    assert!(shown.contains("\noutput    50 sheets\\n\n"), "{shown}");
}

#[test]
fn a_job_that_is_not_there_and_one_that_cannot_be_read_are_told() {
    let plot = Plot(tempfile::tempdir().unwrap());
    let (site, [bound, ..]) = block_on(site(&plot));
    block_on(site.shutdown());
    let file = worksite::store::rusqlite::Connection::open(plot.path("site.db")).unwrap();
    file.execute_batch("UPDATE jobs SET body = x'00' WHERE status = 2").unwrap();
    drop(file);
    let (first, code) = plot.json(&["job", &bound]);
    assert!(code == 1 && first[0]["unreadable"].is_string(), "{first:?}");
    assert_eq!(plot.json(&["jobs"]).1, 1);
    for id in ["job_77", "job_v3", "job_1.3"] {
        let missing = plot.call(&["job", id]);
        assert!(
            missing.status.code() == Some(1) && complaint(&missing).contains(&format!("there is no {id}")),
            "{missing:?}"
        );
    }
    assert!(complaint(&plot.call(&["jobs", "--worker", "nobody"])).contains("nobody here has the name or number"));
    for words in [&["job"][..], &["job", "7"], &["jobs", "--status", "pending"], &["jobs", "--after", "1"]] {
        assert_eq!(plot.call(words).status.code(), Some(2), "{words:?}");
    }
}
