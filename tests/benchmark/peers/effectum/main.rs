//! Effectum's side of a benchmark line: `peer-effectum single|batch JOBS FILE` prints jobs a second, from the first that
//! is added until the last is finished.
//!
//! Effectum means to keep its file with a write-ahead log, but sets a pragma that does not exist; the file is put into that
//! mode first, as its author wants it. It sets `synchronous = NORMAL` itself.

use effectum::{Error, Job, JobRunner, Queue, RunningJob, Worker};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PRODUCERS: usize = 64;
const BATCH: usize = 1_000;
/// Batches that are added while none of them is finished yet.
const BATCHES_AHEAD: usize = 4;
const GIVE_UP: Duration = Duration::from_secs(120);

/// What the jobs do: the bytes of their payloads, summed, as a worker's routine does.
#[derive(Debug, Default)]
struct Sum {
    bytes: AtomicUsize,
    performed: AtomicUsize,
}

async fn add(job: RunningJob, sum: Arc<Sum>) -> Result<(), Error> {
    sum.bytes.fetch_add(job.payload.len(), Ordering::Relaxed);
    sum.performed.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn job() -> Job {
    Job::builder("work").payload(vec![7; 200]).build()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, jobs, file] = &arguments[..] else { panic!("peer-effectum single|batch JOBS FILE") };
    let (jobs, file) = (jobs.parse().expect("a number of jobs"), PathBuf::from(file));
    force_write_ahead_log(&file);
    let queue = Arc::new(Queue::new(&file).await.expect("a queue"));
    let sum = Arc::new(Sum::default());
    let worker = Worker::builder(&queue, sum.clone())
        .max_concurrency(1_024)
        .jobs([JobRunner::builder("work", add).build()])
        .build()
        .await
        .expect("a worker");
    let start = Instant::now();
    match mode.as_str() {
        "single" => add_singly(&queue, jobs).await,
        _ => add_in_batches(&queue, &worker, jobs).await,
    }
    wait_for(&worker, jobs, start).await;
    let took = start.elapsed();
    assert_eq!(sum.bytes.load(Ordering::Relaxed), jobs * 200, "every job was performed once");
    println!("{}", jobs as f64 / took.as_secs_f64());
    // What it would still write is of no interest.
    std::process::exit(0);
}

fn force_write_ahead_log(file: &Path) {
    let connection = rusqlite::Connection::open(file).expect("a file");
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).expect("a journal mode");
    assert_eq!(mode, "wal");
    // A write, so that the mode is in the file.
    connection.execute_batch("CREATE TABLE peer (id INTEGER); DROP TABLE peer").expect("a write");
}

/// So many producers, each adding one job after the other.
async fn add_singly(queue: &Arc<Queue>, jobs: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let producers = (0..PRODUCERS).map(|_| {
        let (queue, next) = (queue.clone(), next.clone());
        tokio::spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < jobs {
                queue.add_job(job()).await.expect("added");
            }
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.await.expect("a producer ends");
    }
}

async fn add_in_batches(queue: &Queue, worker: &Worker, jobs: usize) {
    let mut added = 0;
    while added < jobs {
        while added as u64 > worker.counts().finished + (BATCHES_AHEAD * BATCH) as u64 {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        queue.add_jobs((0..BATCH).map(|_| job()).collect()).await.expect("added");
        added += BATCH;
    }
}

async fn wait_for(worker: &Worker, jobs: usize, start: Instant) {
    while worker.counts().finished < jobs as u64 {
        assert!(start.elapsed() < GIVE_UP, "only {} of {jobs} jobs were finished", worker.counts().finished);
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}
