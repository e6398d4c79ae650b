//! Apalis's side of a benchmark line: `peer-apalis JOBS FILE` prints jobs a second, from the first that is pushed until the
//! last is recorded as done.
//!
//! Its `setup()` switches `synchronous` off, which is no durability; here its migrations run on a file with a write-ahead log
//! and `synchronous = NORMAL`. It polls every 5 ms and takes batches of 100; results are persisted, or no job would be
//! acknowledged. The backlog is all jobs: they are pushed at once, before the worker starts.

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};
use futures::stream;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use std::time::{Duration, Instant};

const BATCH: usize = 100;
const POLL: Duration = Duration::from_millis(5);
const GIVE_UP: Duration = Duration::from_secs(120);

async fn perform(work: String) -> Result<(), BoxDynError> {
    assert_eq!(work.len(), 198);
    Ok(())
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [jobs, file] = &arguments[..] else { panic!("peer-apalis JOBS FILE") };
    let jobs: usize = jobs.parse().expect("a number of jobs");
    let pool = open(file).await;
    let config = Config::default().queue("work").batch_size(BATCH);
    let mut storage = SqliteStorage::new(&pool).with_config(config);
    let start = Instant::now();
    let mut work = stream::iter((0..jobs).map(|_| "x".repeat(198)));
    storage.push_stream(&mut work).await.expect("pushed");
    let worker = WorkerBuilder::new("worker").backend(storage.poll_with_interval(POLL)).build(perform);
    let worker = tokio::spawn(async move { worker.run().await });
    wait_for(&pool, jobs, start).await;
    println!("{}", jobs as f64 / start.elapsed().as_secs_f64());
    worker.abort();
    std::process::exit(0);
}

async fn open(file: &str) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(10));
    let pool = SqlitePoolOptions::new().connect_with(options).await.expect("a pool");
    SqliteStorage::migrations().run(&pool).await.expect("its tables");
    pool
}

async fn wait_for(pool: &SqlitePool, jobs: usize, start: Instant) {
    loop {
        let done: i64 = sqlx::query_scalar("SELECT count(*) FROM Jobs WHERE status = 'Done'")
            .fetch_one(pool)
            .await
            .expect("it counts");
        if done as usize >= jobs {
            return;
        }
        assert!(start.elapsed() < GIVE_UP, "only {done} of {jobs} jobs were done");
        tokio::time::sleep(POLL).await;
    }
}
