//! Restarts: a real process is killed with `kill -9` at random moments; what it acknowledged is there, once.

use crate::killed;
use crate::site::{Circular, Notes, Plot, note, people, routines};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use worksite::prelude::*;

const LIVES: u64 = 20;

/// A life of the process that is killed: sends without end and reports each receipt, until somebody ends it.
///
/// It is a test so that the test binary can start itself; alone it does nothing.
#[test]
fn a_life_to_be_ended() {
    let (Ok(path), Ok(life)) = (std::env::var("WORKSITE_KILL_PATH"), std::env::var("WORKSITE_KILL_LIFE")) else {
        return;
    };
    worksite::block_on(async {
        let site = routines().open(Path::new(&path)).await.unwrap();
        site.sync(people()).await.unwrap();
        println!("open");
        let mut sent = std::collections::VecDeque::new();
        for index in 0.. {
            let key = format!("{life}:{index}");
            let draft = match index % 5 {
                0 => Draft::to(1 + index % 3, &Circular { route: vec![1, 2, 3] }).unwrap(),
                _ => note(1 + index % 3, &key),
            };
            sent.push_back((key.clone(), site.send(draft.key(key))));
            if sent.len() == 16
                && let Some((key, receipt)) = sent.pop_front()
            {
                println!("ack {key} {}", receipt.await.unwrap().id);
            }
        }
    });
}

/// Starts a life, and kills it after so many acknowledgements; gives those that were heard.
fn live_and_die(path: &Path, life: u64, acknowledgements: usize) -> Vec<(String, i64)> {
    let mut heard = Vec::new();
    let variables: [(&str, &dyn AsRef<OsStr>); 2] =
        [("WORKSITE_KILL_PATH", &path), ("WORKSITE_KILL_LIFE", &life.to_string())];
    killed::live_and_die("restart::a_life_to_be_ended", &variables, |line| {
        if let Some(ack) = line.split_once("ack ").map(|(_, ack)| ack) {
            let (key, id) = ack.split_once(' ').unwrap();
            heard.push((key.to_string(), id.parse().unwrap()));
        }
        heard.len() >= acknowledgements
    });
    heard
}

#[test]
fn a_process_killed_at_twenty_random_moments_loses_nothing_acknowledged_and_settles_nothing_twice() {
    let plot = Plot::new();
    let mut acknowledged = BTreeMap::new();
    for life in 0..LIVES {
        let moment = worksite::model::chance(20_261_121, &[life as i64]) % 400;
        for (key, id) in live_and_die(&plot.path(), life, moment as usize) {
            assert_eq!(acknowledged.insert(id, key), None, "an id was given twice");
        }
    }
    worksite::block_on(async {
        let site = plot.open().await;
        site.quiesce().await.unwrap();
        let tally = site.tally().await.unwrap();
        assert!(tally.is_conserved());
        assert_eq!((tally.waiting, tally.buried, tally.quarantined), (0, 0, 0));
        let mut taken = BTreeMap::new();
        let mut circulars = 0;
        for person in people() {
            for (id, key) in site.state::<Notes>(person.id, "diary").await.unwrap().unwrap_or_default().0 {
                assert_eq!(taken.insert(id, key), None, "envelope {id} was settled twice");
            }
            circulars += site.state::<u64>(person.id, "forwarder").await.unwrap().unwrap_or_default();
        }
        // A circular goes round to four people: all of them, or the chain was broken.
        assert_eq!(taken.len() as u64 + circulars, tally.settled);
        assert_eq!(circulars % 4, 0, "a circular was lost on its way");
        for (id, key) in &acknowledged {
            let index: u64 = key.split_once(':').unwrap().1.parse().unwrap();
            assert!(index.is_multiple_of(5) || taken.get(id) == Some(key), "the acknowledged {key} ({id}) was lost");
        }
        // What was sent under a key before the kill is known after it.
        if let Some((id, key)) = acknowledged.iter().next_back() {
            let again = site.send(note(1, key).key(key.clone())).await.unwrap();
            assert_eq!((again.known, again.id.0), (true, *id));
        }
    });
}
