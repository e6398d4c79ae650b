//! A process that is killed with `kill -9` in the middle of ticks and calls goes on from its last commit: the digest is that of
//! an unbroken run, and no answer that was kept is paid for again.

use super::*;
use crate::killed;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use worksite_model::chance;
use worksite_simulation::office::{Answer, Planner, PlannerError, Question, RulesPlanner};

/// Answers as the rules do, for money, and writes each question's hash into a file.
struct Metered(PathBuf);

impl Planner for Metered {
    fn name(&self) -> &str {
        "metered"
    }

    fn plan(&self, question: &Question, time: Duration) -> Result<Answer, PlannerError> {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.0).unwrap();
        writeln!(file, "{}", question.hash()).unwrap();
        let answer = RulesPlanner.plan(question, time)?;
        Ok(Answer { cost_micros: 3, ..answer })
    }
}

/// A life of the process that is killed: runs the office to its tick and tells of each step.
///
/// It is a test so that the test binary can start itself; alone it does nothing.
#[test]
fn a_life_to_be_ended() {
    let Ok(path) = std::env::var("WORKSITE_OFFICE_PATH") else { return };
    let path = Path::new(&path);
    worksite::block_on(async {
        let mut office = on_file(path, charter(7)).await;
        let planning = Planning::by(Metered(path.with_extension("calls")));
        let tell = |_: &Office, progress: &worksite_simulation::office::Progress| {
            println!("ticks {}", progress.tick);
            true
        };
        office.run_to(2 * DAY, &planning, tell).await.unwrap();
        println!("done");
        std::future::pending::<()>().await;
    });
}

/// Starts a life, and kills it after so many steps, and so much of the next as the machine has done by then; says whether it
/// had come to its end.
fn live_and_die(path: &Path, steps: u64) -> bool {
    let (mut heard, mut is_done) = (0, false);
    let variables: [(&str, &dyn AsRef<OsStr>); 1] = [("WORKSITE_OFFICE_PATH", &path)];
    killed::live_and_die("office::restart::a_life_to_be_ended", &variables, |line| {
        heard += u64::from(line.contains("ticks "));
        is_done |= line.contains("done");
        heard >= steps || is_done
    });
    is_done
}

/// The hashes of all questions that were asked, in order.
fn asked(path: &Path) -> Vec<String> {
    let calls = std::fs::read_to_string(path.with_extension("calls")).unwrap_or_default();
    calls.lines().map(str::to_string).collect()
}

/// The hashes of all answers that are kept.
fn kept(path: &Path) -> BTreeSet<String> {
    worksite::block_on(async {
        let office = on_file(path, charter(7)).await;
        let kept = office.transcript().await.unwrap().answers().map(|row| row.hash.clone()).collect();
        office.runtime().shutdown().await;
        kept
    })
}

#[test]
fn an_office_killed_ten_times_ends_as_an_unbroken_one_and_pays_for_no_kept_answer_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.db");
    let mut lives = 0;
    loop {
        let is_done = live_and_die(&path, 1 + chance(31, &[lives]) % 12);
        lives += 1;
        let (before, kept) = (asked(&path).len(), kept(&path));
        if is_done {
            break;
        }
        // What follows in the next lives is looked at from here.
        let next = live_and_die(&path, 1 + chance(32, &[lives]) % 10);
        lives += 1;
        let again: Vec<_> = asked(&path).split_off(before).into_iter().filter(|hash| kept.contains(hash)).collect();
        assert_eq!(again, Vec::<String>::new(), "paid for twice");
        if next {
            break;
        }
    }
    assert!(lives >= 10, "{lives} lives are too few");
    worksite::block_on(async {
        let mut unbroken = in_memory(&MemoryDisk::default(), charter(7)).await;
        let planning = Planning::by(Metered(folder.path().join("unbroken.calls")));
        unbroken.run_to(2 * DAY, &planning, |_, _| true).await.unwrap();
        let mut office = on_file(&path, charter(7)).await;
        run(&mut office, 2 * DAY).await;
        assert_eq!(digest(&office).await, digest(&unbroken).await);
        assert_eq!(office.spent_micros(), unbroken.spent_micros());
        let tally = office.runtime().tally().await.unwrap();
        assert!(tally.is_conserved() && tally.buried + tally.quarantined + tally.dropped == 0, "{tally:?}");
    });
}
