//! Conformance owns what every store must mean: a table of named cases, passed by `MemoryStore` and `SqliteStore` alike.
//!
//! A case is given a way to open its store. Opening again is a restart: the store before it has been dropped.

mod random;

use std::time::Duration;
use worksite_model::{
    Burial, Change, Departure, Draft, Entry, EnvelopeId, FailureKind, Fate, Grant, NamedWrite, Payload, Person,
    PersonId, Refusal, Retry, Roster, RoutineFailure, Settlement, StateWrite, Store, Tally, Timestamp, Verdict,
    Waiting,
};

/// Opens the case's store, again and again.
pub type Open<'a> = &'a mut dyn FnMut() -> Box<dyn Store>;

/// A named case. It panics where the store does not mean what it should.
pub type Case = (&'static str, fn(Open<'_>));

/// All cases.
pub const CASES: &[Case] = &[
    ("a_new_store_is_empty", a_new_store_is_empty),
    ("ids_follow_the_order_of_changes_and_drafts", ids_follow_the_order_of_changes_and_drafts),
    ("ids_are_never_given_again", ids_are_never_given_again),
    ("a_draft_for_a_stranger_refuses_its_change_alone", a_draft_for_a_stranger_refuses_its_change_alone),
    ("nothing_is_settled_twice", nothing_is_settled_twice),
    ("a_settlement_and_its_effects_are_one", a_settlement_and_its_effects_are_one),
    ("only_the_owner_settles", only_the_owner_settles),
    ("a_retry_waits_and_counts_across_a_restart", a_retry_waits_and_counts_across_a_restart),
    ("a_burial_is_a_dead_letter", a_burial_is_a_dead_letter),
    ("a_known_key_writes_nothing_and_tells_the_fate", a_known_key_writes_nothing_and_tells_the_fate),
    ("keys_are_forgotten_after_their_time", keys_are_forgotten_after_their_time),
    ("the_roster_is_kept_and_its_difference_told", the_roster_is_kept_and_its_difference_told),
    ("mail_is_kept_for_the_return_or_purged", mail_is_kept_for_the_return_or_purged),
    ("acknowledging_ignores_what_does_not_wait", acknowledging_ignores_what_does_not_wait),
    ("clearing_removes_mail_and_states", clearing_removes_mail_and_states),
    ("the_last_state_counts", the_last_state_counts),
    ("every_field_of_a_draft_comes_back", every_field_of_a_draft_comes_back),
    ("an_unknown_write_refuses_its_change_alone", an_unknown_write_refuses_its_change_alone),
    ("an_empty_batch_is_fine", an_empty_batch_is_fine),
    ("a_large_payload_comes_back", a_large_payload_comes_back),
    ("a_bad_change_in_a_crowd_is_refused_alone", a_bad_change_in_a_crowd_is_refused_alone),
    ("what_leaves_by_another_way_is_not_settled_as_well", what_leaves_by_another_way_is_not_settled_as_well),
    ("opening_again_changes_nothing", opening_again_changes_nothing),
    ("random_changes_mean_what_a_plain_model_says", random::random_changes_mean_what_a_plain_model_says),
    ("random_changes_mean_the_same_as_in_memory", random::random_changes_mean_the_same_as_in_memory),
];

const AT: Timestamp = Timestamp::from_seconds(1_000);

fn draft(to: i64) -> Draft {
    Draft::to(to, &format!("for {to}")).expect("text can be encoded")
}

fn people(ids: &[i64]) -> Roster {
    ids.iter().map(|id| Person::new(*id, format!("person {id}"))).collect()
}

fn sync(ids: &[i64]) -> Change {
    Change::sync(people(ids), Departure::Keep)
}

fn settle(author: i64, id: EnvelopeId) -> Change {
    let settlement = Settlement { id, routine: "r", key: None, reply: None };
    Change { author: Some(PersonId(author)), settled: vec![settlement], ..Change::default() }
}

fn state(person: i64, value: u64) -> StateWrite {
    let payload = Payload::encode(&value).expect("a number can be encoded");
    StateWrite { person: PersonId(person), routine: "r".into(), payload }
}

/// Commits and checks that nothing was lost or made up.
fn commit(store: &mut dyn Store, batch: &[Change]) -> Vec<Verdict> {
    let verdicts = store.commit(batch, AT).expect("the store can write");
    let tally = store.tally().expect("the store can count");
    assert!(tally.is_conserved(), "{tally:?}");
    verdicts
}

fn granted(store: &mut dyn Store, change: Change) -> Grant {
    commit(store, &[change]).remove(0).expect("the change is good")
}

fn send(store: &mut dyn Store, to: i64) -> EnvelopeId {
    granted(store, Change::send(vec![draft(to)])).entries[0].id()
}

fn opened(open: Open<'_>) -> Box<dyn Store> {
    let mut store = open();
    granted(store.as_mut(), sync(&[1, 2, 3]));
    store
}

fn waiting(store: &mut dyn Store, person: i64) -> Vec<i64> {
    let recovered = store.recover(PersonId(person)).expect("the store can be read");
    recovered.waiting.iter().map(|waiting| waiting.delivery.id().0).collect()
}

fn a_new_store_is_empty(open: Open<'_>) {
    let mut store = open();
    assert_eq!(store.tally(), Ok(Tally::default()));
    assert_eq!((store.roster(), store.waiting()), (Ok(Roster::default()), Ok(vec![])));
    assert_eq!(store.recover(PersonId(1)), Ok(worksite_model::Recovered::default()));
    assert_eq!((store.state(PersonId(1), "r"), store.dead_letters(9)), (Ok(None), Ok(vec![])));
}

fn ids_follow_the_order_of_changes_and_drafts(open: Open<'_>) {
    let mut store = opened(open);
    let batch = [Change::send(vec![draft(1), draft(2)]), Change::send(vec![]), Change::send(vec![draft(1)])];
    let verdicts = commit(store.as_mut(), &batch);
    let ids: Vec<_> = verdicts.into_iter().flat_map(|verdict| verdict.expect("good").entries).collect();
    assert_eq!(ids, [1, 2, 3].map(|id| Entry::Accepted(EnvelopeId(id))));
    assert_eq!((waiting(store.as_mut(), 1), waiting(store.as_mut(), 2)), (vec![1, 3], vec![2]));
    let counts = [(1, 2), (2, 1)].map(|(person, envelopes)| Waiting { person: PersonId(person), envelopes });
    assert_eq!(store.waiting(), Ok(counts.to_vec()));
}

fn ids_are_never_given_again(open: Open<'_>) {
    let mut store = opened(open);
    let id = send(store.as_mut(), 1);
    granted(store.as_mut(), settle(1, id));
    drop(store);
    let mut store = open();
    assert_eq!(store.recover(PersonId(1)).expect("readable").watermark, id);
    assert!(send(store.as_mut(), 1) > id);
}

fn a_draft_for_a_stranger_refuses_its_change_alone(open: Open<'_>) {
    let mut store = opened(open);
    let bad = Change { states: vec![state(1, 7)], ..Change::send(vec![draft(1), draft(99)]) };
    let verdicts = commit(store.as_mut(), &[Change::send(vec![draft(1)]), bad, Change::send(vec![draft(2)])]);
    assert!(verdicts[0].is_ok() && verdicts[2].is_ok());
    assert_eq!(verdicts[1], Err(Refusal::UnknownPerson(PersonId(99))));
    assert_eq!((waiting(store.as_mut(), 1).len(), store.state(PersonId(1), "r")), (1, Ok(None)));
}

fn nothing_is_settled_twice(open: Open<'_>) {
    let mut store = opened(open);
    let id = send(store.as_mut(), 1);
    let again = Change { drafts: vec![draft(2)], ..settle(1, id) };
    let verdicts = commit(store.as_mut(), &[settle(1, id), again.clone(), Change::send(vec![draft(3)])]);
    assert_eq!(verdicts[1], Err(Refusal::NotWaiting(id)));
    assert!(verdicts[0].is_ok() && verdicts[2].is_ok());
    assert_eq!(commit(store.as_mut(), &[again])[0], Err(Refusal::NotWaiting(id)));
    let mut twice = settle(1, send(store.as_mut(), 1));
    twice.settled.push(twice.settled[0].clone());
    assert!(commit(store.as_mut(), &[twice])[0].is_err());
    assert_eq!(waiting(store.as_mut(), 2), Vec::<i64>::new(), "a refused change has no effect");
}

fn a_settlement_and_its_effects_are_one(open: Open<'_>) {
    let mut store = opened(open);
    let id = send(store.as_mut(), 1);
    granted(store.as_mut(), Change { states: vec![state(1, 7)], drafts: vec![draft(2)], ..settle(1, id) });
    drop(store);
    let mut store = open();
    assert_eq!((waiting(store.as_mut(), 1).len(), waiting(store.as_mut(), 2).len()), (0, 1));
    assert_eq!(store.state(PersonId(1), "r"), Ok(Some(state(1, 7).payload)));
    assert_eq!(store.tally().map(|tally| (tally.accepted, tally.settled)), Ok((2, 1)));
}

fn only_the_owner_settles(open: Open<'_>) {
    let mut store = opened(open);
    let id = send(store.as_mut(), 1);
    assert_eq!(commit(store.as_mut(), &[settle(2, id)])[0], Err(Refusal::NotWaiting(id)));
    assert_eq!(waiting(store.as_mut(), 1), [id.0]);
}

fn a_retry_waits_and_counts_across_a_restart(open: Open<'_>) {
    let mut store = opened(open);
    let id = send(store.as_mut(), 1);
    let due = Timestamp::from_seconds(2_000);
    let retry = Retry { id, attempt: 2, due, failure: None };
    granted(store.as_mut(), Change { author: Some(PersonId(1)), retried: vec![retry], ..Change::default() });
    drop(store);
    let recovered = open().recover(PersonId(1)).expect("readable");
    assert_eq!((recovered.waiting[0].delivery.attempt, recovered.waiting[0].due), (2, Some(due)));
}

fn a_burial_is_a_dead_letter(open: Open<'_>) {
    let mut store = opened(open);
    let id = send(store.as_mut(), 1);
    let failure = RoutineFailure::new(FailureKind::Panicked, "oh");
    let burial = Burial { id, attempts: 3, failure: failure.clone(), key: None };
    granted(store.as_mut(), Change { author: Some(PersonId(1)), buried: vec![burial], ..Change::default() });
    drop(store);
    let mut store = open();
    let dead = store.dead_letters(9).expect("readable").remove(0);
    assert_eq!((dead.delivery.id(), dead.delivery.attempt, dead.failure, dead.buried_at), (id, 3, failure, AT));
    assert_eq!(dead.delivery.envelope.draft, draft(1));
    assert_eq!(waiting(store.as_mut(), 1), Vec::<i64>::new());
}

fn a_known_key_writes_nothing_and_tells_the_fate(open: Open<'_>) {
    let mut store = opened(open);
    let keyed = |key: &str| Change::send(vec![draft(1).key(key)]);
    let verdicts = commit(store.as_mut(), &[keyed("a"), keyed("a"), keyed("b"), keyed("c")]);
    let known = |id, fate| Ok(vec![Entry::Known { id: EnvelopeId(id), fate }]);
    let entries = |verdict: &Verdict| verdict.clone().map(|grant| grant.entries);
    assert_eq!(entries(&verdicts[1]), known(1, Fate::Waiting));
    let reply = Payload::encode(&42_u64).expect("a number can be encoded");
    let mut done = settle(1, EnvelopeId(1));
    (done.settled[0].key, done.settled[0].reply) = (Some("a".into()), Some(reply.clone()));
    let failure = RoutineFailure::new(FailureKind::Returned, "no");
    let burial = Burial { id: EnvelopeId(2), attempts: 1, failure, key: Some("b".into()) };
    done.buried.push(burial);
    granted(store.as_mut(), done);
    granted(store.as_mut(), Change::acknowledge(vec![EnvelopeId(3)]));
    drop(store);
    let mut store = open();
    let verdicts = commit(store.as_mut(), &[keyed("a"), keyed("b"), keyed("c")]);
    assert_eq!(entries(&verdicts[0]), known(1, Fate::Settled(Some(reply))));
    assert_eq!(entries(&verdicts[1]), known(2, Fate::Buried("failed: no".into())));
    assert_eq!(entries(&verdicts[2]), known(3, Fate::Removed));
    assert_eq!(waiting(store.as_mut(), 1), Vec::<i64>::new());
}

fn keys_are_forgotten_after_their_time(open: Open<'_>) {
    let mut store = opened(open);
    granted(store.as_mut(), Change::send(vec![draft(1).key("done"), draft(1).key("waits")]));
    let mut done = settle(1, EnvelopeId(1));
    done.settled[0].key = Some("done".into());
    granted(store.as_mut(), done);
    let (hour, later) = (Duration::from_secs(3_600), AT.after(Duration::from_secs(3_700)));
    assert_eq!(store.prune(hour, AT), Ok(0));
    assert_eq!(store.prune(hour, later), Ok(1), "the key of what still waits is kept");
    let again = granted(store.as_mut(), Change::send(vec![draft(1).key("done"), draft(1).key("waits")]));
    assert_eq!(again.entries[0], Entry::Accepted(EnvelopeId(3)));
    assert!(matches!(again.entries[1], Entry::Known { .. }));
}

fn the_roster_is_kept_and_its_difference_told(open: Open<'_>) {
    let mut store = opened(open);
    let mut target = people(&[2, 3, 4]);
    target.apply(&Roster::default().difference(&Roster::new([Person::new(2, "renamed")])));
    let grant = granted(store.as_mut(), Change::sync(target.clone(), Departure::Keep));
    let difference = grant.roster.expect("the change named a roster");
    assert_eq!((difference.joined.len(), difference.changed.len(), difference.left), (1, 1, vec![PersonId(1)]));
    drop(store);
    let mut store = open();
    assert_eq!(store.roster(), Ok(target.clone()));
    let grant = granted(store.as_mut(), Change::sync(target, Departure::Keep));
    assert_eq!(grant.roster.map(|difference| difference.is_empty()), Some(true));
}

fn mail_is_kept_for_the_return_or_purged(open: Open<'_>) {
    let mut store = opened(open);
    let (kept, purged) = (send(store.as_mut(), 2), send(store.as_mut(), 3));
    granted(store.as_mut(), Change { states: vec![state(2, 7), state(3, 7)], ..Change::default() });
    granted(store.as_mut(), sync(&[1, 3]));
    let refused = commit(store.as_mut(), &[Change::send(vec![draft(2)])]);
    assert_eq!(refused[0], Err(Refusal::UnknownPerson(PersonId(2))));
    let grant = granted(store.as_mut(), Change::sync(people(&[1]), Departure::Purge));
    assert_eq!(grant.removed, [(PersonId(3), purged)]);
    drop(store);
    let mut store = open();
    granted(store.as_mut(), sync(&[1, 2, 3]));
    assert_eq!((waiting(store.as_mut(), 2), waiting(store.as_mut(), 3)), (vec![kept.0], vec![]));
    assert!(store.state(PersonId(2), "r").is_ok_and(|state| state.is_some()));
    assert_eq!(store.state(PersonId(3), "r"), Ok(None));
}

fn acknowledging_ignores_what_does_not_wait(open: Open<'_>) {
    let mut store = opened(open);
    let (first, second) = (send(store.as_mut(), 1), send(store.as_mut(), 2));
    let grant = granted(store.as_mut(), Change::acknowledge(vec![second, EnvelopeId(99), first, first]));
    assert_eq!(grant.removed, [(PersonId(2), second), (PersonId(1), first)]);
    assert_eq!(granted(store.as_mut(), Change::acknowledge(vec![first])).removed, []);
    assert_eq!(store.tally().map(|tally| tally.removed), Ok(2));
}

fn clearing_removes_mail_and_states(open: Open<'_>) {
    let mut store = opened(open);
    granted(store.as_mut(), Change { states: vec![state(1, 7)], ..Change::send(vec![draft(1), draft(2)]) });
    let grant = granted(store.as_mut(), Change { clear: true, drafts: vec![draft(3)], ..Change::default() });
    assert_eq!((grant.removed.len(), grant.entries.len()), (2, 1));
    drop(store);
    let mut store = open();
    assert_eq!((waiting(store.as_mut(), 1), waiting(store.as_mut(), 3)), (vec![], vec![3]));
    assert_eq!((store.state(PersonId(1), "r"), store.roster().map(|roster| roster.len())), (Ok(None), Ok(3)));
}

fn the_last_state_counts(open: Open<'_>) {
    let mut store = opened(open);
    let write = |value| Change { states: vec![state(1, value)], ..Change::default() };
    commit(store.as_mut(), &[write(1), write(2), write(3)]);
    granted(store.as_mut(), Change { states: vec![state(1, 4), state(1, 5), state(2, 9)], ..Change::default() });
    assert_eq!(store.state(PersonId(1), "r"), Ok(Some(state(1, 5).payload)));
    assert_eq!(store.recover(PersonId(2)).expect("readable").states, [("r".to_string(), state(2, 9).payload)]);
}

fn every_field_of_a_draft_comes_back(open: Open<'_>) {
    let mut store = opened(open);
    let json = serde_json_like("{\"a\": [1, null]}");
    let full = Draft::of(1, json)
        .from(2)
        .routine("r")
        .priority(worksite_model::Priority::Urgent)
        .not_before(Timestamp::from_micros(-5))
        .expires_at(Timestamp::from_micros(i64::MAX))
        .key("k")
        .kind("mail")
        .channel("chat")
        .thread("t")
        .reply_to(EnvelopeId(7));
    granted(store.as_mut(), Change::send(vec![full.clone()]));
    drop(store);
    let recovered = open().recover(PersonId(1)).expect("readable").waiting.remove(0);
    assert_eq!(recovered.delivery.envelope.draft, full);
    assert_eq!((recovered.delivery.attempt, recovered.due), (1, full.not_before));
    assert_eq!(recovered.delivery.envelope.accepted_at, AT);
}

fn serde_json_like(text: &str) -> Payload {
    Payload::from_body(worksite_model::Encoding::Json, "json".into(), 1, text.as_bytes().into())
}

fn an_unknown_write_refuses_its_change_alone(open: Open<'_>) {
    let mut store = opened(open);
    let write = NamedWrite { name: "nobody".into(), bytes: vec![1] };
    let bad = Change { writes: vec![write], ..Change::send(vec![draft(1)]) };
    let verdicts = commit(store.as_mut(), &[Change::send(vec![draft(1)]), bad]);
    assert!(verdicts[0].is_ok());
    assert_eq!(verdicts[1], Err(Refusal::UnknownWrite("nobody".into())));
    assert_eq!(waiting(store.as_mut(), 1).len(), 1);
}

fn an_empty_batch_is_fine(open: Open<'_>) {
    let mut store = opened(open);
    assert_eq!(commit(store.as_mut(), &[]), []);
    assert_eq!(granted(store.as_mut(), Change::default()), Grant::default());
}

fn a_large_payload_comes_back(open: Open<'_>) {
    let mut store = opened(open);
    let text: String = (0..3_000_000_u32).map(|place| char::from(b'a' + (place % 26) as u8)).collect();
    let large = Draft::to(1, &text).expect("text can be encoded");
    granted(store.as_mut(), Change::send(vec![large]));
    drop(store);
    let recovered = open().recover(PersonId(1)).expect("readable").waiting.remove(0);
    assert_eq!(recovered.delivery.envelope.draft.payload.decode::<String>(), Ok(text));
}

fn a_bad_change_in_a_crowd_is_refused_alone(open: Open<'_>) {
    let mut store = opened(open);
    let id = send(store.as_mut(), 1);
    let mut batch: Vec<_> = (0..100).map(|_| Change::send(vec![draft(2)])).collect();
    batch[40] = Change { drafts: vec![draft(3)], ..settle(1, EnvelopeId(9_999)) };
    // Settled and acknowledged in one change: only a statement may find that out, after others have been written.
    batch[60] = Change { removed: vec![id], drafts: vec![draft(3)], ..settle(1, id) };
    let verdicts = commit(store.as_mut(), &batch);
    let bad: Vec<_> = (0..100).filter(|place| verdicts[*place].is_err()).collect();
    assert_eq!((bad, waiting(store.as_mut(), 3)), (vec![40, 60], vec![]));
    let ids: Vec<_> = verdicts.into_iter().flatten().flat_map(|grant| grant.entries).map(|entry| entry.id()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "ids follow the order of changes: {ids:?}");
    assert_eq!((waiting(store.as_mut(), 2).len(), waiting(store.as_mut(), 1)), (98, vec![id.0]));
}

fn what_leaves_by_another_way_is_not_settled_as_well(open: Open<'_>) {
    let mut store = opened(open);
    let id = send(store.as_mut(), 1);
    let ways = [
        Change { clear: true, ..settle(1, id) },
        Change { removed: vec![id], ..settle(1, id) },
        Change {
            author: Some(PersonId(1)),
            ..Change { settled: settle(1, id).settled, ..Change::sync(people(&[2, 3]), Departure::Purge) }
        },
    ];
    for change in ways {
        assert_eq!(commit(store.as_mut(), &[change])[0], Err(Refusal::NotWaiting(id)));
    }
    assert_eq!(waiting(store.as_mut(), 1), [id.0], "nor has it left");
    assert_eq!(store.roster().map(|roster| roster.len()), Ok(3));
}

fn opening_again_changes_nothing(open: Open<'_>) {
    let mut store = opened(open);
    granted(store.as_mut(), Change { states: vec![state(1, 7)], ..Change::send(vec![draft(1), draft(2).key("k")]) });
    granted(store.as_mut(), settle(1, EnvelopeId(1)));
    let seen = |store: &mut dyn Store| {
        let recovered = [1, 2, 3].map(|person| store.recover(PersonId(person)));
        (recovered, store.roster(), store.waiting(), store.tally(), store.dead_letters(9))
    };
    let before = seen(store.as_mut());
    for _ in 0..3 {
        drop(store);
        store = open();
        assert_eq!(seen(store.as_mut()), before);
    }
}
