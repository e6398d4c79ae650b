//! Ahead of the disk: a pure routine takes mail while that is written, and nobody can tell but by the time it takes.

use crate::killed;
use crate::site::{Circular, Meter, Note, Notes, Plot, note, people, until};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use worksite::model::{Change, Store, StoreError, Verdict};
use worksite::prelude::*;
use worksite::runtime::{Builder, Runtime};
use worksite_simulation::{Layer, Layered, MemoryDisk, MemoryStore};

/// Writes notes down and passes circulars on, and counts its turns; that it counts them on the side only a test may see.
struct Ledger(Meter);

impl Routine for Ledger {
    const NAME: &'static str = "ledger";
    type State = Notes;
    type Message = Note;

    fn perform(&self, turn: &mut Turn<Notes>, Note(text): Note) -> Ended {
        self.0.tick();
        let id = turn.envelope().id.0;
        turn.state.0.push((id, text.clone()));
        turn.reply(&text)?;
        Ok(Outcome::Done)
    }

    fn is_pure(&self) -> bool {
        true
    }
}

/// Sends circulars on.
struct Relay;

impl Routine for Relay {
    const NAME: &'static str = "relay";
    type State = u64;
    type Message = Circular;

    fn perform(&self, turn: &mut Turn<u64>, mut circular: Circular) -> Ended {
        *turn.state += 1;
        if !circular.route.is_empty() {
            let next = circular.route.remove(0);
            turn.send(Draft::to(next, &circular)?);
        }
        Ok(Outcome::Done)
    }

    fn is_pure(&self) -> bool {
        true
    }
}

/// Lets commits through while it is open, but every so many, for which there is no room.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>, Option<u64>);

impl Gate {
    fn shut(&self) {
        *self.0.0.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }
}

struct Gated {
    store: Box<dyn Store>,
    gate: Gate,
    commits: u64,
}

impl Layer for Gated {
    fn below(&mut self) -> Result<&mut dyn Store, StoreError> {
        Ok(self.store.as_mut())
    }

    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        let shut = self.gate.0.0.lock().unwrap();
        drop(self.gate.0.1.wait_while(shut, |shut| *shut).unwrap());
        self.commits += 1;
        if self.gate.1.is_some_and(|every| self.commits.is_multiple_of(every)) {
            return Err(StoreError::Full("as planned".into()));
        }
        self.store.commit(batch, at)
    }
}

/// A house of three whose writer waits at a gate.
struct Scene {
    house: Runtime,
    gate: Gate,
    turns: Meter,
}

impl Scene {
    async fn new() -> Self {
        Self::of(None, |builder| builder).await
    }

    async fn of(full_every: Option<u64>, with: impl FnOnce(Builder) -> Builder) -> Self {
        let (gate, turns) = (Gate(Arc::default(), full_every), Meter::default());
        let store = Box::new(MemoryStore::open(&MemoryDisk::default()));
        let store = Layered::of(Gated { store, gate: gate.clone(), commits: 0 });
        let builder = Runtime::builder().routine(Ledger(turns.clone())).routine(Relay);
        let house = with(builder).start(Box::new(store)).await.unwrap();
        house.sync(people()).await.unwrap();
        Self { house, gate, turns }
    }

    /// Whether this person's mail goes ahead; afterwards it has one more note.
    async fn goes_ahead(&self, person: i64) -> bool {
        self.house.quiesce().await.unwrap();
        self.gate.shut();
        let turns = self.turns.count();
        let sent = self.house.send(note(person, "probe"));
        for _ in 0..20 {
            if self.turns.count() > turns {
                break;
            }
            nap(5).await;
        }
        let went = self.turns.count() > turns;
        self.gate.open();
        let _full = sent.await;
        self.house.quiesce().await.unwrap();
        went
    }

    /// Sends the first person a note when it is polled, not before.
    async fn later(&self, text: &str) -> Result<Receipt, SendError> {
        self.house.send(note(1, text)).await
    }

    async fn texts(&self, person: i64) -> Vec<String> {
        let notes = self.house.state::<Notes>(person, "ledger").await.unwrap().unwrap_or_default();
        notes.0.into_iter().map(|(_, text)| text).collect()
    }
}

async fn nap(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

#[tokio::test]
async fn a_pure_routine_takes_its_mail_while_that_is_written_and_nobody_hears_of_it_before() {
    let scene = Scene::new().await;
    scene.house.ask::<String>(note(1, "good morning")).await.unwrap();
    scene.gate.shut();
    let mut asked = tokio::spawn(scene.house.ask::<String>(note(1, "ahead")));
    until(|| scene.turns.count() == 2).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut asked).await.is_err(), "it is not durable");
    scene.gate.open();
    assert_eq!(asked.await.unwrap().unwrap(), "ahead");
}

#[tokio::test]
async fn what_is_sent_behind_a_clearing_does_not_meet_what_was_cleared() {
    let scene = Scene::new().await;
    scene.house.ask::<String>(note(1, "before")).await.unwrap();
    scene.gate.shut();
    let opened = async {
        nap(100).await;
        scene.gate.open();
    };
    let (cleared, sent, ()) = tokio::join!(scene.house.clear_all(), scene.later("after"), opened);
    cleared.unwrap();
    sent.unwrap();
    scene.house.quiesce().await.unwrap();
    assert_eq!(scene.texts(1).await, ["after"]);
}

#[tokio::test]
async fn who_was_purged_and_comes_again_remembers_nothing() {
    let scene = Scene::new().await;
    scene.house.ask::<String>(note(1, "secret")).await.unwrap();
    scene.gate.shut();
    let opened = async {
        nap(100).await;
        scene.gate.open();
    };
    let leaves = scene.house.leave(1, Departure::Purge);
    let joins = scene.house.join(Person::new(1, "ada"));
    let (left, joined, sent, ()) = tokio::join!(leaves, joins, scene.later("after"), opened);
    left.unwrap();
    joined.unwrap();
    sent.unwrap();
    scene.house.quiesce().await.unwrap();
    assert_eq!(scene.texts(1).await, ["after"]);
}

#[tokio::test]
async fn what_is_sent_behind_a_pause_waits() {
    let scene = Scene::new().await;
    scene.house.ask::<String>(note(1, "before")).await.unwrap();
    scene.gate.shut();
    let opened = async {
        nap(100).await;
        scene.gate.open();
    };
    let (paused, sent, ()) = tokio::join!(scene.house.pause(1), scene.later("after"), opened);
    paused.unwrap();
    sent.unwrap();
    scene.house.rest().await.unwrap();
    assert_eq!((scene.turns.count(), scene.house.message_count(1)), (1, 1));
}

#[tokio::test]
async fn a_draft_that_is_known_already_undoes_nothing() {
    let scene = Scene::new().await;
    scene.house.ask::<String>(note(1, "order").key("k")).await.unwrap();
    scene.house.send_volatile(note(1, "tick")).unwrap();
    until(|| scene.turns.count() == 2).await;
    assert!(scene.house.send(note(1, "order").key("k")).await.unwrap().known);
    scene.house.quiesce().await.unwrap();
    scene.house.ask::<String>(note(1, "end")).await.unwrap();
    assert_eq!(
        (scene.texts(1).await, scene.house.volatile_lost()),
        (vec!["order".into(), "tick".into(), "end".into()], 0)
    );
}

#[tokio::test]
async fn nobody_is_shown_mail_that_is_still_being_written() {
    let scene = Scene::new().await;
    scene.house.ask::<String>(note(1, "good morning")).await.unwrap();
    scene.gate.shut();
    let first = scene.house.send(note(1, "being performed"));
    until(|| scene.turns.count() == 2).await;
    let second = scene.house.send(note(1, "waits"));
    nap(20).await;
    let peeked = tokio::time::timeout(Duration::from_millis(300), scene.house.peek(1, 9)).await;
    assert!(peeked.is_err() || peeked.unwrap().unwrap().is_empty(), "it could still be lost");
    let lanes = tokio::time::timeout(Duration::from_millis(300), scene.house.lanes(1)).await;
    assert!(lanes.is_err() || lanes.unwrap().unwrap() == [0; 5], "it could still be lost");
    scene.gate.open();
    first.await.unwrap();
    second.await.unwrap();
}

#[tokio::test]
async fn whatever_was_refused_mail_goes_ahead_again() {
    let scene = Scene::of(None, |builder| {
        builder.inboxes(|_| InboxPolicy { envelopes_max: 50, ..InboxPolicy::of(&Limits::default()) })
    })
    .await;
    let house = &scene.house;
    house.ask::<String>(note(1, "good morning").key("k")).await.unwrap();
    house.ask::<String>(note(2, "good morning")).await.unwrap();
    assert!(scene.goes_ahead(1).await && scene.goes_ahead(2).await);
    for _ in 0..3 {
        assert!(house.send(note(1, "known").key("k")).await.unwrap().known);
        let both = vec![note(1, "known").key("k"), note(1, "new"), note(2, "new")];
        house.send_all(both).await.unwrap();
        house.send(note(1, "cool").cooldown(Duration::from_secs(9))).await.ok();
        assert!(house.send(note(1, "cooled").cooldown(Duration::from_secs(9))).await.is_err());
        assert!(house.send(note(9, "nobody")).await.is_err());
        let writes = vec![NamedWrite { name: "nobody".into(), bytes: vec![] }];
        assert!(house.transact(writes, vec![note(1, "refused"), note(2, "refused")]).await.is_err());
        let (_full, _sent) = tokio::join!(
            house.send_all((0..60).map(|_| note(2, "too many")).collect()),
            house.send_all(vec![note(1, "late").not_before(Timestamp::from_micros(1)), note(2, "late")])
        );
        house.crash_worker(2);
        house.send(note(2, "while it starts")).await.unwrap();
        let (_left, _joined, _sent) = tokio::join!(
            house.leave(1, Departure::Keep),
            house.join(Person::new(1, "ada")),
            house.send_all(vec![note(1, "comes and goes"), note(2, "stays")])
        );
        soon("quiet", house.quiesce()).await.unwrap();
    }
    for person in [1, 2] {
        house.ask::<String>(note(person, "awake")).await.unwrap();
        assert!(scene.goes_ahead(person).await, "{person}");
        assert_eq!(house.message_count(person), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mail_that_goes_ahead_and_mail_that_does_not_are_all_dealt_with_in_order() {
    let plot = Plot::new();
    let site = Worksite::builder().routine(Ledger(Meter::default())).routine(Relay).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let far = Timestamp::from_micros(i64::MAX);
    let senders = (0..6_i64).map(|sender| {
        let site = site.clone();
        tokio::spawn(async move {
            for index in 0..150_i64 {
                let draft = note(1 + index % 3, &format!("{sender}"));
                let draft = match (sender + index) % 4 {
                    0 => draft.expires_at(far),
                    1 => draft.key(format!("{}", index / 2)),
                    _ => draft,
                };
                let sent = site.send(draft);
                if sender == 0 {
                    site.tally().await.unwrap();
                }
                sent.await.unwrap();
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        soon("a sender", sender).await.unwrap();
    }
    soon("quiet", site.quiesce()).await.unwrap();
    let tally = site.tally().await.unwrap();
    assert!(tally.is_conserved());
    let mut taken = 0;
    for person in people() {
        let notes = site.state::<Notes>(person.id, "ledger").await.unwrap().unwrap_or_default().0;
        assert!(notes.is_sorted_by_key(|(id, _)| *id), "out of order");
        taken += notes.len() as u64;
    }
    assert_eq!((taken, tally.waiting), (tally.accepted, 0));
}

/// Sends notes and circulars to everybody from several threads, while somebody meddles; every one that was accepted is dealt
/// with once, in order.
async fn storm<M: Future<Output = ()>>(scene: Scene, meddle: impl Fn(Runtime, u64) -> M) {
    let house = &scene.house;
    let senders = (0..4_i64).map(|sender| {
        let house = house.clone();
        tokio::spawn(async move {
            let (mut notes, mut circulars) = (Vec::new(), 0_u64);
            for index in 0..120_i64 {
                let to = 1 + index % 3;
                if index % 5 == 0 {
                    let circular = Circular { route: vec![2, 3, 1, 2] };
                    circulars += u64::from(house.send(Draft::to(to, &circular).unwrap()).await.is_ok());
                } else if let Ok(receipt) = house.send(note(to, &format!("{sender}:{index}"))).await {
                    notes.push(receipt.id.0);
                }
                assert!(!matches!(house.tally().await, Err(DeskError::Stopped)), "the house has closed");
            }
            (notes, circulars)
        })
    });
    let senders: Vec<_> = senders.collect();
    let mut round = 0;
    while senders.iter().any(|sender| !sender.is_finished()) {
        meddle(house.clone(), round).await;
        nap(3).await;
        round += 1;
    }
    let (mut notes, mut circulars) = (Vec::new(), 0);
    for sender in senders {
        let (accepted, hops) = sender.await.unwrap();
        notes.extend(accepted);
        circulars += hops;
    }
    for person in people() {
        let _settled = house.join(person.clone()).await;
        let _settled = house.resume(person.id).await;
    }
    soon("quiet", house.quiesce()).await.unwrap();
    let tally = house.tally().await.unwrap();
    assert!(tally.is_conserved() && tally.waiting == 0, "{tally:?}");
    let (mut taken, mut hops) = (Vec::new(), 0);
    for person in people() {
        let seen = house.state::<Notes>(person.id, "ledger").await.unwrap().unwrap_or_default().0;
        assert!(seen.is_sorted_by_key(|(id, _)| *id), "out of order");
        taken.extend(seen.into_iter().map(|(id, _)| id));
        hops += house.state::<u64>(person.id, "relay").await.unwrap().unwrap_or_default();
        assert_eq!(house.message_count(person.id), 0);
    }
    taken.sort_unstable();
    notes.sort_unstable();
    assert_eq!(taken, notes, "each once");
    assert_eq!((hops, tally.buried), (5 * circulars, 0));
    for person in [1, 2, 3] {
        let mut went = false;
        // Unless its worker has gone to rest, or the disk is full, just then.
        for _ in 0..20 {
            let _full = house.ask::<String>(note(person, "awake")).await;
            went = went || scene.goes_ahead(person).await;
        }
        assert!(went, "nothing goes ahead to {person} any more");
    }
}

fn restless(builder: Builder) -> Builder {
    let limits = Limits { worker_idle_ms_max: 2, restart_window_ms: 20, commit_changes_max: 7, ..Limits::default() };
    builder.limits(limits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_that_come_and_go_crash_and_rest_lose_nothing_that_went_ahead() {
    let scene = Scene::of(None, restless).await;
    storm(scene, async |house, round| {
        let person = 1 + (round % 3) as i64;
        match round % 4 {
            0 => house.crash_worker(person),
            1 => house.pause(person).await.unwrap(),
            2 => {
                for person in [1, 2, 3] {
                    house.resume(person).await.unwrap();
                }
            }
            _ => drop(house.send_all(vec![]).await),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_that_is_full_at_times_loses_nothing_that_went_ahead() {
    let scene = Scene::of(Some(40), restless).await;
    storm(scene, async |_, _| nap(20).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn people_who_leave_and_return_find_what_went_ahead() {
    let scene = Scene::of(None, restless).await;
    storm(scene, async |house, _| {
        let (_left, _joined) = tokio::join!(house.leave(3, Departure::Keep), house.join(Person::new(3, "barbara")));
    })
    .await;
}

/// A life of the process that is killed: sends and asks without end and reports each answer, until somebody ends it.
///
/// It is a test so that the test binary can start itself; alone it does nothing.
#[test]
fn a_life_ahead_to_be_ended() {
    let (Ok(path), Ok(life)) = (std::env::var("WORKSITE_AHEAD_PATH"), std::env::var("WORKSITE_AHEAD_LIFE")) else {
        return;
    };
    worksite::block_on(async {
        let site = pure(std::path::Path::new(&path)).await;
        site.sync(people()).await.unwrap();
        let (mut sent, mut asked) = (std::collections::VecDeque::new(), std::collections::VecDeque::new());
        for index in 0.. {
            let (to, text) = (1 + index % 3, format!("{life}:{index}"));
            match index % 4 {
                0 => drop(site.send(Draft::to(to, &Circular { route: vec![1, 2, 3] }).unwrap())),
                1 => sent.push_back(site.send(note(to, &text))),
                2 => asked.push_back(site.ask::<String>(note(to, &text))),
                _ => asked.push_back(site.ask::<String>(note(to, &text).key(text.clone()))),
            }
            if sent.len() == 8
                && let Some(receipt) = sent.pop_front()
            {
                println!("sent {}", receipt.await.unwrap().id);
            }
            if asked.len() == 8
                && let Some(reply) = asked.pop_front()
            {
                println!("done {}", reply.await.unwrap());
            }
        }
    });
}

async fn pure(path: &std::path::Path) -> Worksite {
    Worksite::builder().routine(Ledger(Meter::default())).routine(Relay).open(path).await.unwrap()
}

/// Starts a life, and kills it after so many answers; gives the ids that were accepted and the texts that were dealt with.
fn live_and_die(path: &std::path::Path, life: u64, answers: usize) -> (Vec<i64>, Vec<String>) {
    let (mut sent, mut done) = (Vec::new(), Vec::new());
    let variables: [(&str, &dyn AsRef<OsStr>); 2] =
        [("WORKSITE_AHEAD_PATH", &path), ("WORKSITE_AHEAD_LIFE", &life.to_string())];
    killed::live_and_die("ahead::a_life_ahead_to_be_ended", &variables, |line| {
        if let Some((_, id)) = line.split_once("sent ") {
            sent.push(id.parse().unwrap());
        } else if let Some((_, text)) = line.split_once("done ") {
            done.push(text.to_string());
        }
        sent.len() + done.len() >= answers
    });
    (sent, done)
}

#[test]
fn a_process_that_ran_ahead_and_was_killed_keeps_what_it_said_and_does_nothing_twice() {
    let plot = Plot::new();
    let (mut sent, mut done) = (Vec::new(), Vec::new());
    for life in 0..12 {
        let moment = worksite::model::chance(20_261_122, &[life as i64]) % 400;
        let (accepted, answered) = live_and_die(&plot.path(), life, moment as usize);
        sent.extend(accepted);
        done.extend(answered);
    }
    worksite::block_on(async {
        let site = pure(&plot.path()).await;
        site.quiesce().await.unwrap();
        let tally = site.tally().await.unwrap();
        assert!(tally.is_conserved());
        assert_eq!((tally.waiting, tally.buried, tally.quarantined), (0, 0, 0));
        let (mut ids, mut texts, mut hops) = (BTreeSet::new(), BTreeSet::new(), 0);
        for person in people() {
            let notes = site.state::<Notes>(person.id, "ledger").await.unwrap().unwrap_or_default().0;
            assert!(notes.is_sorted_by_key(|(id, _)| *id), "out of order");
            for (id, text) in notes {
                assert!(ids.insert(id), "envelope {id} was dealt with twice");
                assert!(texts.insert(text.clone()), "{text} was accepted twice");
            }
            hops += site.state::<u64>(person.id, "relay").await.unwrap().unwrap_or_default();
        }
        assert_eq!(ids.len() as u64 + hops, tally.settled);
        assert_eq!(hops % 4, 0, "a circular was lost on its way");
        assert!(sent.iter().all(|id| ids.contains(id)), "what had a receipt was lost");
        assert!(done.iter().all(|text| texts.contains(text)), "what was answered was undone");
        // What was answered under a key is answered the same, and nothing is done.
        let keyed = done
            .iter()
            .rev()
            .find(|text| text.rsplit(':').next().is_some_and(|index| index.parse::<u64>().unwrap() % 4 == 3));
        if let Some(text) = keyed {
            assert_eq!(site.ask::<String>(note(1, text).key(text.clone())).await.unwrap(), *text);
            assert_eq!(site.tally().await.unwrap().accepted, tally.accepted);
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_house_that_closes_meanwhile_has_what_it_gave_receipts_for_and_nothing_twice() {
    for round in 0..6_u64 {
        let plot = Plot::new();
        let site = pure(&plot.path()).await;
        site.sync(people()).await.unwrap();
        let senders = (0..4_i64).map(|sender| {
            let site = site.clone();
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                for index in 0..100_000_i64 {
                    let sent = site.send_all(vec![note(1 + index % 3, &format!("{sender}:{index}"))]);
                    match sent.await {
                        Ok(receipts) => accepted.push(receipts[0].id.0),
                        Err(_closed) => break,
                    }
                }
                accepted
            })
        });
        let senders: Vec<_> = senders.collect();
        nap(10 + 7 * round).await;
        soon("shutdown", site.shutdown()).await;
        let mut accepted = BTreeSet::new();
        for sender in senders {
            for id in soon("a sender", sender).await.unwrap() {
                assert!(accepted.insert(id), "an id was given twice");
            }
        }
        drop(site);
        let site = pure(&plot.path()).await;
        soon("quiet", site.quiesce()).await.unwrap();
        let mut taken = BTreeSet::new();
        for person in people() {
            for (id, _) in site.state::<Notes>(person.id, "ledger").await.unwrap().unwrap_or_default().0 {
                assert!(taken.insert(id), "envelope {id} was dealt with twice");
            }
        }
        assert!(taken.is_superset(&accepted), "what had a receipt was lost");
        assert_eq!(site.tally().await.unwrap().settled, taken.len() as u64);
    }
}

#[tokio::test]
async fn what_is_changed_by_hand_behind_a_clearing_or_a_purge_brings_nothing_back() {
    for purges in [false, true] {
        let scene = Scene::new().await;
        scene.house.ask::<String>(note(1, "secret")).await.unwrap();
        scene.gate.shut();
        let opened = async {
            nap(100).await;
            scene.gate.open();
        };
        let gone = async {
            if purges {
                let leaves = scene.house.leave(1, Departure::Purge);
                let (left, joined) = tokio::join!(leaves, scene.house.join(Person::new(1, "ada")));
                (left.map(drop), joined.map(drop))
            } else {
                (scene.house.clear_all().await, Ok(()))
            }
        };
        let updates = scene.house.update_state(1, "ledger", |notes: &mut Notes| notes.0.push((0, "new".into())));
        let (gone, _updated, ()) = tokio::join!(gone, updates, opened);
        gone.0.unwrap();
        gone.1.unwrap();
        scene.house.quiesce().await.unwrap();
        assert!(!scene.texts(1).await.contains(&"secret".to_string()), "purges: {purges}");
    }
}
