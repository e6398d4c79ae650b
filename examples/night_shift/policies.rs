//! Owns the comparison of orders: the same jobs on the same cores, taken first come first served, by priority, by best fit, and
//! with backfill. No house is needed for that: it is arithmetic on the log.

use crate::log::{CORES, Job};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// In which order waiting jobs are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The first one waits for its cores, and everybody behind it waits with it.
    Fifo,
    /// The same, besteffort jobs last.
    Priority,
    /// Of those that fit now, the one that leaves the fewest cores idle.
    BestFit,
    /// First come first served, but a later one that fits may go ahead if it will have ended, as far as it was allowed to
    /// run, when the first one's cores come free (EASY).
    Backfill,
}

impl Policy {
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Fifo, "first come first served"),
        (Self::Priority, "priority"),
        (Self::BestFit, "best fit"),
        (Self::Backfill, "backfill"),
    ];

    /// How long each job waits under it, in seconds, in the order of the jobs.
    pub fn waits(self, jobs: &[Job]) -> Vec<i64> {
        let mut cluster = Cluster { free: CORES, ends: BinaryHeap::new() };
        let mut line: BTreeMap<(bool, usize), usize> = BTreeMap::new();
        let (mut waits, mut next) = (vec![0; jobs.len()], 0);
        while next < jobs.len() || !line.is_empty() {
            let arrival = jobs.get(next).map(|job| job.submitted);
            let end = cluster.ends.peek().map(|Reverse((end, _, _))| *end);
            let Some(now) = [arrival, end].into_iter().flatten().min() else { break };
            cluster.release(now);
            while let Some(job) = jobs.get(next).filter(|job| job.submitted <= now) {
                line.insert((self == Self::Priority && job.is_besteffort(), next), next);
                next += 1;
            }
            while let Some(key) = self.pick(&line, jobs, &cluster, now) {
                if let Some(place) = line.remove(&key) {
                    waits[place] = now - jobs[place].submitted;
                    cluster.start(&jobs[place], now);
                }
            }
        }
        waits
    }

    /// Who starts now.
    fn pick(
        self,
        line: &BTreeMap<(bool, usize), usize>,
        jobs: &[Job],
        cluster: &Cluster,
        now: i64,
    ) -> Option<(bool, usize)> {
        let (first_key, first) = line.first_key_value()?;
        let fits = |place: usize| jobs[place].cores <= cluster.free;
        match self {
            Self::Fifo | Self::Priority => fits(*first).then_some(*first_key),
            Self::BestFit => {
                let fitting = line.iter().filter(|(_, place)| fits(**place));
                fitting.max_by_key(|(key, place)| (jobs[**place].cores, Reverse(**key))).map(|(key, _)| *key)
            }
            Self::Backfill if fits(*first) => Some(*first_key),
            Self::Backfill => {
                let (shadow, spare) = cluster.promise(jobs[*first].cores);
                let harmless = |place: usize| now + jobs[place].allowed <= shadow || jobs[place].cores <= spare;
                line.iter().skip(1).find(|(_, place)| fits(**place) && harmless(**place)).map(|(key, _)| *key)
            }
        }
    }
}

struct Cluster {
    free: i64,
    /// When what runs ends, when it must have ended, and its cores.
    ends: BinaryHeap<Reverse<(i64, i64, i64)>>,
}

impl Cluster {
    fn release(&mut self, now: i64) {
        while let Some(Reverse((end, _, cores))) = self.ends.peek().copied()
            && end <= now
        {
            self.ends.pop();
            self.free += cores;
        }
    }

    fn start(&mut self, job: &Job, now: i64) {
        self.free -= job.cores;
        self.ends.push(Reverse((now + job.ran, now + job.allowed, job.cores)));
    }

    /// When so many cores will be free at the latest, and how many more will be then.
    fn promise(&self, cores: i64) -> (i64, i64) {
        let mut ends: Vec<_> = self.ends.iter().map(|Reverse((_, latest, cores))| (*latest, *cores)).collect();
        ends.sort_unstable();
        let mut free = self.free;
        for (latest, released) in ends {
            free += released;
            if free >= cores {
                return (latest, free - cores);
            }
        }
        (i64::MAX, 0)
    }
}
