//! Flows outlive `kill -9`: what waits in slots, turns under way, states and jobs are as they were, and every job that was
//! acknowledged ends once.

use crate::killed;
use crate::site::Plot;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;
use worksite::prelude::*;

const LIVES: u64 = 12;

/// Numbers go one by one to a pool, and in threes to a sum; every thirteenth fails twice before.
fn flow() -> Flow {
    let source = |call: &mut Call<u64>| {
        let number = call.first::<u64>("in").map_or(0, |number| *number);
        *call.state_mut() += number;
        call.set_job_data("number", number);
        call.emit("out", number)?;
        Ok(())
    };
    let pooled = |call: &mut Call<()>| {
        let number = call.first::<u64>("in").map_or(0, |number| *number);
        if number.is_multiple_of(13) && call.attempt() < 3 {
            return Err(RoutineFailure::new(worksite::model::FailureKind::Returned, "not yet"));
        }
        Ok(call.emit("out", number)?)
    };
    let add = |call: &mut Call<u64>| {
        *call.state_mut() += call.all::<u64>("in").iter().map(|number| **number).sum::<u64>();
        Ok(())
    };
    let retry = RetryPolicy { first_delay: Duration::from_millis(2), attempts_max: 3, ..RetryPolicy::default() };
    let pooled = FlowRoutine::pooled(pooled).slot::<u64>("in").event::<u64>("out");
    let batch = ActivationPolicy::batch(3).flush_after(Duration::from_millis(200));
    Flow::builder("f")
        .routine("source", FlowRoutine::new(source).slot::<u64>("in").holding(10, Overflow::Wait).event::<u64>("out"))
        .routine("pooled", pooled.on_error(ErrorStrategy::retry(retry)))
        .routine("sum", FlowRoutine::new(add).slot::<u64>("in").policy(batch))
        .connect("source.out", "pooled.in")
        .connect("pooled.out", "sum.in")
        .build()
        .unwrap()
}

async fn open(path: &Path) -> (Worksite, Flows) {
    let site = Worksite::builder().flow(flow()).open(path).await.unwrap();
    let flows = site.flows();
    flows.attach("f", 7).await.unwrap();
    (site, flows)
}

/// A life of the process that is killed; alone it does nothing.
#[test]
fn a_life_of_a_flow_to_be_ended() {
    let (Ok(path), Ok(life)) = (std::env::var("WORKSITE_FLOW_PATH"), std::env::var("WORKSITE_FLOW_LIFE")) else {
        return;
    };
    worksite::block_on(async {
        let (_site, flows) = open(Path::new(&path)).await;
        println!("open");
        for index in 0_u64.. {
            let posting = flows.posting("f", "source", "in").key(format!("{life}:{index}"));
            let posted = if index % 4 == 0 {
                posting.post_all(&[index, index + 1, index + 2]).await
            } else {
                posting.post_all(&[index]).await
            };
            match posted {
                Ok((_, jobs)) => jobs.iter().for_each(|job| println!("ack {} {index}", job.id().0)),
                // Its inbox is full: the slow part has to go on first.
                Err(error) => assert_eq!(error.advice(), Advice::RetryLater),
            }
        }
    });
}

fn live_and_die(path: &Path, life: u64, acknowledgements: usize) -> Vec<i64> {
    let mut heard = Vec::new();
    let variables: [(&str, &dyn AsRef<OsStr>); 2] =
        [("WORKSITE_FLOW_PATH", &path), ("WORKSITE_FLOW_LIFE", &life.to_string())];
    killed::live_and_die("flows_killed::a_life_of_a_flow_to_be_ended", &variables, |line| {
        if let Some(ack) = line.split_once("ack ").map(|(_, ack)| ack) {
            heard.push(ack.split_once(' ').unwrap().0.parse().unwrap());
        }
        heard.len() >= acknowledgements
    });
    heard
}

#[test]
fn a_process_killed_at_random_moments_loses_no_job_and_counts_none_twice() {
    let plot = Plot::new();
    let mut acknowledged = BTreeSet::new();
    for life in 0..LIVES {
        let moment = 1 + worksite::model::chance(20_261_121, &[life as i64]) % 200;
        acknowledged.extend(live_and_die(&plot.path(), life, moment as usize));
    }
    worksite::block_on(async {
        let (site, flows) = open(&plot.path()).await;
        assert!(flows.wait_until_all_jobs_finished(Some(Duration::from_secs(60))).await.unwrap());
        let jobs = flows.list_jobs(JobFilter::default(), usize::MAX).await.unwrap();
        let ids: BTreeSet<_> = jobs.iter().map(|job| job.id.0).collect();
        assert!(acknowledged.is_subset(&ids), "an acknowledged job was lost");
        assert!(jobs.iter().all(|job| job.status == JobStatus::Completed), "each has ended well");
        let worker = flows.worker("f").unwrap();
        let (source, sum) = (worker.state::<u64>("source").await.unwrap(), worker.state::<u64>("sum").await.unwrap());
        let numbers: u64 = jobs.iter().filter_map(|job| job.notes().data["number"].as_u64()).sum();
        assert_eq!((source, sum), (Some(numbers), Some(numbers)), "what went in has come out, once");
        let tally = site.tally().await.unwrap();
        assert!(tally.is_conserved() && tally.waiting == 0 && tally.buried == 0);
        assert!(acknowledged.len() > 200, "{}", acknowledged.len());
        site.shutdown().await;
    });
    let file = rusqlite::Connection::open(plot.path()).unwrap();
    let left: i64 = file
        .query_row("SELECT count(*) FROM states WHERE routine LIKE 'f/item/%' OR routine LIKE 'f/task/%'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(left, 0, "nothing is left behind");
}
