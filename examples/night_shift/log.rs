//! Owns the job log of the Gaia cluster: who wanted how many cores, when, for how long, in the Standard Workload Format.

use flate2::read::GzDecoder;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Cores of the cluster.
pub const CORES: i64 = 2_004;

/// A job of the log.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its number in the log.
    pub number: i64,
    /// When it was submitted, in seconds from the beginning of the log.
    pub submitted: i64,
    /// How long it waited then, in seconds.
    pub waited: i64,
    /// How long it ran, in seconds; unknown (-1) counts as 0.
    pub ran: i64,
    /// How long it was allowed to run.
    pub allowed: i64,
    /// Cores it had.
    pub cores: i64,
    /// Whose it was.
    pub user: i64,
    /// Interactive 0, default 1, besteffort 2.
    pub queue: i64,
}

impl Job {
    /// Besteffort jobs give way to the others.
    pub fn is_besteffort(&self) -> bool {
        self.queue == 2
    }

    /// What it uses of the cluster.
    pub fn core_seconds(&self) -> i64 {
        self.ran * self.cores
    }
}

/// The first `limit` jobs of the log, or all, in the order of their submission.
pub fn read(path: &Path, limit: Option<usize>) -> Result<Vec<Job>, Box<dyn Error>> {
    let lines = BufReader::new(GzDecoder::new(File::open(path)?)).lines();
    let mut jobs = Vec::new();
    for line in lines {
        let line = line?;
        if line.starts_with(';') || line.trim().is_empty() {
            continue;
        }
        let fields: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let field = |place: usize| fields.get(place - 1).map(|value| *value as i64).ok_or("a line is too short");
        jobs.push(Job {
            number: field(1)?,
            submitted: field(2)?,
            waited: field(3)?.max(0),
            ran: field(4)?.max(0),
            allowed: field(9)?.max(field(4)?).max(1),
            cores: field(5)?.max(1),
            user: field(12)?,
            queue: field(15)?,
        });
        if Some(jobs.len()) == limit {
            break;
        }
    }
    jobs.sort_by_key(|job| (job.submitted, job.number));
    Ok(jobs)
}
