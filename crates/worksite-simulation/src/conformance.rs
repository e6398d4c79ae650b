//! Conformance owns what every store must mean: a table of named cases, passed by `MemoryStore` and `SqliteStore` alike.
//!
//! A case is given a way to open its store. Opening again is a restart: the store before it has been dropped.

mod random;
mod runs;

use std::sync::Arc;
use std::time::Duration;
use worksite_model::flow::{Job, JobFilter, JobId, JobNotes, JobStatus, JobWrite};
use worksite_model::{
    Burial, Change, CursorChange, Departure, Draft, Entry, Envelope, EnvelopeId, FactOffset, FailureKind, Fate, Grant,
    Interest, Keep, KeepStates, NamedWrite, Numbering, Payload, Person, PersonId, Priority, Pruned, Refusal, Removal,
    Retention, Retry, Roster, RosterChange, RoutineFailure, Settlement, Standing, StateWrite, Store, Tally, Timestamp,
    Verdict, Waiting,
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
    ("drafts_may_be_numbered_before_they_are_written", drafts_may_be_numbered_before_they_are_written),
    ("the_moment_of_the_last_acceptance_survives", the_moment_of_the_last_acceptance_survives),
    ("what_comes_and_goes_in_one_batch_counts", what_comes_and_goes_in_one_batch_counts),
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
    ("somebody_may_join_or_leave_alone", somebody_may_join_or_leave_alone),
    ("an_id_is_created_once", an_id_is_created_once),
    (
        "facts_are_logged_for_who_wants_them_and_cursors_keep_their_place",
        facts_are_logged_for_who_wants_them_and_cursors_keep_their_place,
    ),
    ("facts_stay_for_their_time_and_who_missed_some_is_told", facts_stay_for_their_time_and_who_missed_some_is_told),
    ("earlier_states_are_kept_in_a_ring", earlier_states_are_kept_in_a_ring),
    ("a_job_ends_once_and_comes_back_as_it_was", a_job_ends_once_and_comes_back_as_it_was),
    ("rest_is_kept_until_somebody_leaves", rest_is_kept_until_somebody_leaves),
    ("what_is_dropped_is_counted_apart", what_is_dropped_is_counted_apart),
    ("a_dead_letter_is_redriven_once", a_dead_letter_is_redriven_once),
    ("a_thread_is_read_in_order_wherever_its_mail_is", a_thread_is_read_in_order_wherever_its_mail_is),
    ("a_cooldown_outlives_a_restart_and_ends", a_cooldown_outlives_a_restart_and_ends),
    ("nothing_that_ended_is_kept_beyond_its_age_and_count", nothing_that_ended_is_kept_beyond_its_age_and_count),
    ("an_unknown_write_refuses_its_change_alone", an_unknown_write_refuses_its_change_alone),
    ("an_empty_batch_is_fine", an_empty_batch_is_fine),
    ("a_large_payload_comes_back", a_large_payload_comes_back),
    ("a_bad_change_in_a_crowd_is_refused_alone", a_bad_change_in_a_crowd_is_refused_alone),
    ("what_leaves_by_another_way_is_not_settled_as_well", what_leaves_by_another_way_is_not_settled_as_well),
    ("opening_again_changes_nothing", opening_again_changes_nothing),
    ("every_field_of_a_run_comes_back", runs::every_field_of_a_run_comes_back),
    ("a_guard_that_does_not_hold_refuses_its_change_alone", runs::a_guard_that_does_not_hold_refuses_its_change_alone),
    ("a_unique_key_belongs_to_one_live_run", runs::a_unique_key_belongs_to_one_live_run),
    (
        "a_session_is_opened_once_bound_and_stands_as_its_latest_run",
        runs::a_session_is_opened_once_bound_and_stands_as_its_latest_run,
    ),
    (
        "what_owes_a_callback_is_known_until_it_has_called_once",
        runs::what_owes_a_callback_is_known_until_it_has_called_once,
    ),
    ("the_history_is_filtered_and_paged_the_newest_first", runs::the_history_is_filtered_and_paged_the_newest_first),
    ("a_schedule_moves_once", runs::a_schedule_moves_once),
    ("each_opening_is_another_life", runs::each_opening_is_another_life),
    ("a_session_stays_as_long_as_a_child_may_call_it_back", runs::a_session_stays_as_long_as_a_child_may_call_it_back),
    ("runs_are_forgotten_by_status_age_and_count", runs::runs_are_forgotten_by_status_age_and_count),
    ("random_changes_mean_what_a_plain_model_says", random::random_changes_mean_what_a_plain_model_says),
    ("random_changes_mean_the_same_as_in_memory", random::random_changes_mean_the_same_as_in_memory),
];

const AT: Timestamp = Timestamp::from_seconds(1_000);

/// Bytes of the body of a [`draft`].
const BYTES: usize = 6;

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
    settle_draft(author, id, draft(author), None)
}

/// Settles an envelope of this draft, with a reply.
fn settle_draft(author: i64, id: EnvelopeId, draft: Draft, reply: Option<Payload>) -> Change {
    let settlement = Settlement { envelope: envelope(id, draft), routine: "r", reply };
    Change { author: Some(PersonId(author)), settled: vec![settlement], ..Change::default() }
}

fn envelope(id: EnvelopeId, draft: Draft) -> Arc<Envelope> {
    Arc::new(Envelope { id, accepted_at: AT, draft })
}

fn removal(person: i64, id: EnvelopeId) -> Removal {
    Removal { person: PersonId(person), id, bytes: BYTES }
}

fn state(person: i64, value: u64) -> StateWrite {
    let payload = Payload::encode(&value).expect("a number can be encoded");
    StateWrite { person: PersonId(person), routine: "r".into(), payload, keep: None }
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
    let recovered = store.recover(PersonId(person), AT).expect("the store can be read");
    recovered.waiting.iter().map(|waiting| waiting.delivery.id().0).collect()
}

fn a_new_store_is_empty(open: Open<'_>) {
    let mut store = open();
    assert_eq!(store.tally(), Ok(Tally::default()));
    assert_eq!((store.roster(), store.waiting()), (Ok(Roster::default()), Ok(vec![])));
    assert_eq!(store.recover(PersonId(1), AT), Ok(worksite_model::Recovered::default()));
    assert_eq!((store.state(PersonId(1), "r"), store.dead_letters(EnvelopeId(0), 9)), (Ok(None), Ok(vec![])));
}

fn ids_follow_the_order_of_changes_and_drafts(open: Open<'_>) {
    let mut store = opened(open);
    let batch = [Change::send(vec![draft(1), draft(2)]), Change::send(vec![]), Change::send(vec![draft(1)])];
    let verdicts = commit(store.as_mut(), &batch);
    let ids: Vec<_> = verdicts.into_iter().flat_map(|verdict| verdict.expect("good").entries).collect();
    assert_eq!(ids, [1, 2, 3].map(|id| Entry::Accepted(EnvelopeId(id))));
    assert_eq!((waiting(store.as_mut(), 1), waiting(store.as_mut(), 2)), (vec![1, 3], vec![2]));
    let counts = [(1, 2), (2, 1)].map(|(person, envelopes)| Waiting {
        person: PersonId(person),
        envelopes,
        bytes: envelopes * BYTES,
    });
    assert_eq!(store.waiting(), Ok(counts.to_vec()));
}

fn ids_are_never_given_again(open: Open<'_>) {
    let mut store = opened(open);
    let id = send(store.as_mut(), 1);
    granted(store.as_mut(), settle(1, id));
    drop(store);
    let mut store = open();
    assert_eq!(store.recover(PersonId(1), AT).expect("readable").watermark, id);
    assert!(send(store.as_mut(), 1) > id);
}

fn numbered(first: i64, drafts: Vec<Draft>) -> Change {
    let numbering = Numbering { first: EnvelopeId(first), at: Timestamp::from_seconds(900) };
    Change { numbering: Some(numbering), ..Change::send(drafts) }
}

fn drafts_may_be_numbered_before_they_are_written(open: Open<'_>) {
    let mut store = opened(open);
    let known = draft(1).key("key");
    let batch = [numbered(5, vec![known.clone(), draft(2)]), numbered(9, vec![draft(1)]), numbered(9, vec![draft(2)])];
    let verdicts = commit(store.as_mut(), &batch);
    assert_eq!(verdicts[2], Err(Refusal::IdUsed(EnvelopeId(9))), "an id is given once");
    assert_eq!((waiting(store.as_mut(), 1), waiting(store.as_mut(), 2)), (vec![5, 9], vec![6]));
    let recovered = store.recover(PersonId(2), AT).expect("readable");
    assert_eq!(recovered.waiting[0].delivery.envelope.accepted_at, Timestamp::from_seconds(900));
    granted(store.as_mut(), numbered(20, vec![draft(3), known]));
    assert_eq!(store.last_id(), Ok(EnvelopeId(21)), "the id of a draft that was known is given all the same");
    drop(store);
    let mut store = open();
    assert_eq!(store.last_id(), Ok(EnvelopeId(21)));
    assert_eq!(send(store.as_mut(), 1), EnvelopeId(22), "the store goes on after them");
}

fn the_moment_of_the_last_acceptance_survives(open: Open<'_>) {
    let (mut store, never) = (opened(open), Timestamp::from_micros(i64::MIN));
    assert_eq!(store.last_accepted(), Ok(never), "nothing waits");
    commit(store.as_mut(), &[numbered(5, vec![draft(1)]), Change::send(vec![draft(2)])]);
    for _ in 0..2 {
        assert_eq!(store.last_accepted(), Ok(AT));
        drop(store);
        store = open();
    }
    granted(store.as_mut(), Change::acknowledge(vec![EnvelopeId(6)]));
    assert_eq!(store.last_accepted(), Ok(Timestamp::from_seconds(900)), "that of what waits");
}

fn what_comes_and_goes_in_one_batch_counts(open: Open<'_>) {
    let mut store = opened(open);
    let stays = Change { drafts: vec![draft(99)], ..settle(1, EnvelopeId(2)) };
    let batch = [numbered(1, vec![draft(1), draft(1), draft(2)]), settle(1, EnvelopeId(1)), stays];
    let verdicts = commit(store.as_mut(), &batch);
    assert!(verdicts[0].is_ok() && verdicts[1].is_ok());
    assert_eq!(verdicts[2], Err(Refusal::UnknownPerson(PersonId(99))));
    for _ in 0..2 {
        assert_eq!((waiting(store.as_mut(), 1), waiting(store.as_mut(), 2)), (vec![2], vec![3]));
        assert_eq!(store.tally().map(|tally| (tally.accepted, tally.waiting, tally.settled)), Ok((3, 2, 1)));
        drop(store);
        store = open();
    }
    let twice = [numbered(10, vec![draft(1)]), settle(1, EnvelopeId(10)), settle(1, EnvelopeId(10))];
    let verdicts = commit(store.as_mut(), &twice);
    assert_eq!(verdicts[2], Err(Refusal::NotWaiting(EnvelopeId(10))), "nothing is settled twice");
    let cleared = Change { clear: true, ..Change::default() };
    let grants = commit(store.as_mut(), &[numbered(20, vec![draft(1)]), cleared, settle(1, EnvelopeId(20))]);
    assert_eq!(grants[1].as_ref().map(|grant| grant.removed.len()), Ok(3), "it is found by what clears");
    assert_eq!(grants[2], Err(Refusal::NotWaiting(EnvelopeId(20))));
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
    let recovered = open().recover(PersonId(1), AT).expect("readable");
    assert_eq!((recovered.waiting[0].delivery.attempt, recovered.waiting[0].due), (2, Some(due)));
}

fn a_burial_is_a_dead_letter(open: Open<'_>) {
    let mut store = opened(open);
    let id = send(store.as_mut(), 1);
    let failure = RoutineFailure::new(FailureKind::Panicked, "oh");
    let burial = Burial { envelope: envelope(id, draft(1)), attempts: 3, failure: failure.clone() };
    granted(store.as_mut(), Change { author: Some(PersonId(1)), buried: vec![burial], ..Change::default() });
    drop(store);
    let mut store = open();
    let dead = store.dead_letters(EnvelopeId(0), 9).expect("readable").remove(0);
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
    let mut done = settle_draft(1, EnvelopeId(1), draft(1).key("a"), Some(reply.clone()));
    let failure = RoutineFailure::new(FailureKind::Returned, "no");
    let burial = Burial { envelope: envelope(EnvelopeId(2), draft(1).key("b")), attempts: 1, failure };
    done.buried.push(burial);
    granted(store.as_mut(), done);
    granted(store.as_mut(), Change::acknowledge(vec![EnvelopeId(3)]));
    drop(store);
    let mut store = open();
    let verdicts = commit(store.as_mut(), &[keyed("a"), keyed("b"), keyed("c")]);
    assert_eq!(entries(&verdicts[0]), known(1, Fate::Settled(Some(reply))));
    assert_eq!(entries(&verdicts[1]), known(2, Fate::Buried("failed: no".into())));
    assert_eq!(entries(&verdicts[2]), known(3, Fate::Removed));
    let fate = |store: &mut dyn Store, key: &str| store.fate(key).expect("the store can be read");
    assert_eq!(fate(store.as_mut(), "b"), Some((EnvelopeId(2), Fate::Buried("failed: no".into()))));
    assert_eq!(fate(store.as_mut(), "d"), None);
    granted(store.as_mut(), keyed("d"));
    let (id, waits) = fate(store.as_mut(), "d").expect("it is known");
    assert_eq!(waits, Fate::Waiting);
    granted(store.as_mut(), Change::acknowledge(vec![id]));
    assert_eq!(waiting(store.as_mut(), 1), Vec::<i64>::new());
}

fn keys_are_forgotten_after_their_time(open: Open<'_>) {
    let mut store = opened(open);
    granted(store.as_mut(), Change::send(vec![draft(1).key("done"), draft(1).key("waits")]));
    granted(store.as_mut(), settle_draft(1, EnvelopeId(1), draft(1).key("done"), None));
    let (hour, later) = (Duration::from_secs(3_600), AT.after(Duration::from_secs(3_700)));
    let retention = Retention { keys: Keep { age: hour, rows: 100 }, ..Retention::default() };
    assert_eq!(store.prune(&retention, AT), Ok(Pruned::default()));
    assert_eq!(store.prune(&retention, later).map(|pruned| pruned.keys), Ok(1), "the key of what still waits is kept");
    let again = granted(store.as_mut(), Change::send(vec![draft(1).key("done"), draft(1).key("waits")]));
    assert_eq!(again.entries[0], Entry::Accepted(EnvelopeId(3)));
    assert!(matches!(again.entries[1], Entry::Known { .. }));
}

fn the_roster_is_kept_and_its_difference_told(open: Open<'_>) {
    let mut store = opened(open);
    let target = Roster::new(people(&[2, 3, 4]).people().cloned().chain([Person::new(2, "renamed")]));
    let grant = granted(store.as_mut(), Change::sync(target.clone(), Departure::Keep));
    let difference = grant.roster.expect("the change named a roster");
    assert_eq!((difference.joined.len(), difference.changed.len(), difference.left), (1, 1, vec![PersonId(1)]));
    assert_eq!((&difference.target, store.roster()), (&target, Ok(target.clone())));
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
    assert_eq!(grant.removed, [removal(3, purged)]);
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
    assert_eq!(grant.removed, [removal(2, second), removal(1, first)]);
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
    assert_eq!(store.recover(PersonId(2), AT).expect("readable").states, [("r".to_string(), state(2, 9).payload)]);
}

fn every_field_of_a_draft_comes_back(open: Open<'_>) {
    let mut store = opened(open);
    let json = serde_json_like("{\"a\": [1, null]}");
    let full = Draft::of(1, json)
        .from(2)
        .routine("r")
        .priority(Priority::Control)
        .not_before(Timestamp::from_micros(-5))
        .expires_at(Timestamp::from_micros(i64::MAX))
        .key("k")
        .kind("mail")
        .channel("chat")
        .thread("t")
        .reply_to(EnvelopeId(7))
        .trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    granted(store.as_mut(), Change::send(vec![full.clone()]));
    drop(store);
    let recovered = open().recover(PersonId(1), AT).expect("readable").waiting.remove(0);
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
    let recovered = open().recover(PersonId(1), AT).expect("readable").waiting.remove(0);
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
        let recovered = [1, 2, 3].map(|person| store.recover(PersonId(person), AT));
        (recovered, store.roster(), store.waiting(), store.tally(), store.dead_letters(EnvelopeId(0), 9))
    };
    let before = seen(store.as_mut());
    for _ in 0..3 {
        drop(store);
        store = open();
        assert_eq!(seen(store.as_mut()), before);
    }
}

fn somebody_may_join_or_leave_alone(open: Open<'_>) {
    let mut store = opened(open);
    let join =
        |people| Change { roster: Some(RosterChange::Join(people)), drafts: vec![draft(4)], ..Change::default() };
    let grant = granted(store.as_mut(), join(vec![Person::new(4, "new"), Person::new(1, "renamed")]));
    let difference = grant.roster.expect("the change named a roster");
    assert_eq!((difference.joined.len(), difference.changed.len(), difference.left.len()), (1, 1, 0));
    let leave = |people: &[i64], departure| {
        let people = people.iter().copied().map(PersonId).collect();
        Change { roster: Some(RosterChange::Leave { people, departure }), ..Change::default() }
    };
    let refused = commit(store.as_mut(), &[Change { drafts: vec![draft(4)], ..leave(&[4], Departure::Keep) }]);
    assert_eq!(refused[0], Err(Refusal::UnknownPerson(PersonId(4))));
    let grant = granted(store.as_mut(), leave(&[4, 99, 4], Departure::Keep));
    assert_eq!(grant.roster.map(|difference| difference.left), Some(vec![PersonId(4)]));
    assert_eq!(waiting(store.as_mut(), 4).len(), 1, "mail is kept for the return");
    // Who has left already can still be purged.
    let grant = granted(store.as_mut(), leave(&[4], Departure::Purge));
    assert_eq!((grant.removed.len(), waiting(store.as_mut(), 4).len()), (1, 0));
}

fn rest_is_kept_until_somebody_leaves(open: Open<'_>) {
    let mut store = opened(open);
    let pause = |people: &[(i64, bool)]| {
        let paused = people.iter().map(|(person, rests)| (PersonId(*person), *rests)).collect();
        Change { paused, ..Change::default() }
    };
    granted(store.as_mut(), pause(&[(1, true), (2, true), (3, true)]));
    assert_eq!(commit(store.as_mut(), &[pause(&[(9, true)])])[0], Err(Refusal::UnknownPerson(PersonId(9))));
    granted(store.as_mut(), pause(&[(2, false)]));
    drop(store);
    let mut store = open();
    assert_eq!(store.paused(), Ok(vec![PersonId(1), PersonId(3)]));
    granted(store.as_mut(), sync(&[1, 2]));
    granted(store.as_mut(), sync(&[1, 2, 3]));
    assert_eq!(store.paused(), Ok(vec![PersonId(1)]), "who returns goes on");
}

fn what_is_dropped_is_counted_apart(open: Open<'_>) {
    let mut store = opened(open);
    let (first, second) = (send(store.as_mut(), 1), send(store.as_mut(), 1));
    let change = Change { dropped: vec![first, EnvelopeId(99)], author: Some(PersonId(1)), ..Change::default() };
    assert_eq!(granted(store.as_mut(), change).dropped, [removal(1, first)]);
    drop(store);
    let mut store = open();
    let tally = store.tally().expect("readable");
    assert_eq!((tally.dropped, tally.removed, waiting(store.as_mut(), 1)), (1, 0, vec![second.0]));
}

/// Buries an envelope of person 1.
fn bury(store: &mut dyn Store, id: EnvelopeId, key: Option<&str>) {
    let failure = RoutineFailure::new(FailureKind::Returned, "no");
    let buried = Draft { key: key.map(Into::into), ..draft(1) };
    let burial = Burial { envelope: envelope(id, buried), attempts: 1, failure };
    granted(store, Change { author: Some(PersonId(1)), buried: vec![burial], ..Change::default() });
}

fn a_dead_letter_is_redriven_once(open: Open<'_>) {
    let mut store = opened(open);
    let id = granted(store.as_mut(), Change::send(vec![draft(1).key("k").thread("t")])).entries[0].id();
    bury(store.as_mut(), id, Some("k"));
    let again = Change { exhumed: vec![id], ..Change::send(vec![draft(1).key("k").thread("t")]) };
    let verdicts = commit(store.as_mut(), &[again.clone(), again]);
    let entries = verdicts[0].clone().map(|grant| grant.entries);
    assert_eq!(entries, Ok(vec![Entry::Accepted(EnvelopeId(id.0 + 1))]), "under its key, as another envelope");
    assert_eq!(verdicts[1], Err(Refusal::NotBuried(id)));
    drop(store);
    let mut store = open();
    assert_eq!((store.dead_letters(EnvelopeId(0), 9), waiting(store.as_mut(), 1)), (Ok(vec![]), vec![id.0 + 1]));
    let thread = store.thread("t", EnvelopeId(0), 9).expect("readable");
    assert_eq!(thread.len(), 1, "the thread has it once");
    let twice = Change { exhumed: vec![id, id], ..Change::default() };
    assert!(commit(store.as_mut(), &[twice])[0].is_err());
}

fn a_thread_is_read_in_order_wherever_its_mail_is(open: Open<'_>) {
    let mut store = opened(open);
    let drafts = (0..6).map(|place| draft(1 + place % 2).thread(if place < 5 { "t" } else { "u" })).collect();
    granted(store.as_mut(), Change::send(drafts));
    granted(store.as_mut(), settle_draft(1, EnvelopeId(1), draft(1).thread("t"), None));
    bury(store.as_mut(), EnvelopeId(3), None);
    granted(store.as_mut(), Change::acknowledge(vec![EnvelopeId(2)]));
    let drop_it = Change { dropped: vec![EnvelopeId(4)], author: Some(PersonId(2)), ..Change::default() };
    granted(store.as_mut(), drop_it);
    drop(store);
    let mut store = open();
    let read = |store: &mut dyn Store, after, limit| {
        let entries = store.thread("t", EnvelopeId(after), limit).expect("readable").into_iter();
        entries.map(|entry| (entry.envelope.id.0, entry.standing)).collect::<Vec<_>>()
    };
    use Standing::{Buried, Dropped, Removed, Settled, Waiting};
    let all = [(1, Settled), (2, Removed), (3, Buried), (4, Dropped), (5, Waiting)];
    assert_eq!(read(store.as_mut(), 0, 99), all);
    assert_eq!(read(store.as_mut(), 2, 2), all[2..4]);
    let entry = store.thread("t", EnvelopeId(0), 1).expect("readable").remove(0);
    assert_eq!((entry.envelope.draft.clone(), entry.envelope.accepted_at), (draft(1).thread("t"), AT));
    // What is purged leaves no trace.
    granted(store.as_mut(), Change::sync(people(&[2]), Departure::Purge));
    assert_eq!(read(store.as_mut(), 4, 99), []);
}

fn a_cooldown_outlives_a_restart_and_ends(open: Open<'_>) {
    let mut store = opened(open);
    let minute = Duration::from_secs(60);
    let chat = |to: i64| draft(to).from(3).channel("chat").cooldown(minute);
    granted(store.as_mut(), Change::send(vec![chat(1).key("k")]));
    drop(store);
    let mut store = open();
    let until = AT.after(minute);
    let send = |draft| Change::send(vec![draft]);
    let worker = |draft| Change { author: Some(PersonId(3)), ..Change::send(vec![draft]) };
    let batch = [
        send(chat(1)),
        send(chat(2)),
        send(chat(1).channel("mail")),
        send(chat(1).from(2)),
        send(chat(1).key("k")),
        worker(chat(1)),
        send(draft(1).from(3).channel("chat")),
        Change::send(vec![draft(1), chat(3), chat(3)]),
    ];
    let verdicts = commit(store.as_mut(), &batch);
    assert_eq!(verdicts[0], Err(Refusal::Cooling { to: PersonId(1), until }));
    assert!(verdicts[1..4].iter().all(Result::is_ok), "another recipient, channel or sender: {verdicts:?}");
    let entry = |place: usize| verdicts[place].clone().expect("not refused").entries.remove(0);
    assert!(matches!(entry(4), Entry::Known { .. }), "a repetition is no new message");
    assert_eq!(entry(5), Entry::Cooling { until }, "a routine is not refused");
    assert!(matches!(entry(6), Entry::Accepted(_)), "who has no cooldown is not kept out");
    assert!(verdicts[7].is_err(), "all or none");
    let later = store.commit(&[send(chat(1))], until).expect("the store can write").remove(0);
    assert!(later.is_ok());
}

fn nothing_that_ended_is_kept_beyond_its_age_and_count(open: Open<'_>) {
    let mut store = opened(open);
    let drafts = (0..30).map(|place| draft(1).thread("t").key(format!("{place}"))).collect();
    granted(store.as_mut(), Change::send(drafts));
    for id in 1..=10 {
        bury(store.as_mut(), EnvelopeId(id), Some(&format!("{}", id - 1)));
    }
    granted(store.as_mut(), Change::acknowledge((11..=20).map(EnvelopeId).collect()));
    granted(store.as_mut(), sync(&[1]));
    let (long, short) = (Duration::from_secs(9_999), Duration::from_secs(5));
    let keep = |age, rows| Keep { age, rows };
    let all = |age, rows| {
        let keep = keep(age, rows);
        let keys = Retention { keys: keep, dead_letters: keep, history: keep, ..Retention::default() };
        Retention { quarantine: keep, facts: keep, jobs: keep, people: keep, ..keys }
    };
    let soon = AT.after(Duration::from_secs(1));
    assert_eq!(store.prune(&all(long, 100), soon), Ok(Pruned::default()));
    let by_count = Pruned { keys: 10, dead_letters: 4, history: 4, people: 0, ..Pruned::default() };
    let retention = Retention { keys: keep(long, 20), ..all(long, 6) };
    assert_eq!(store.prune(&retention, soon), Ok(by_count));
    assert_eq!(store.thread("t", EnvelopeId(0), 99).map(|entries| entries.len()), Ok(22));
    let by_age = Pruned { keys: 10, dead_letters: 6, history: 6, people: 2, ..Pruned::default() };
    assert_eq!(store.prune(&all(short, 100), AT.after(Duration::from_secs(10))), Ok(by_age));
    assert_eq!(waiting(store.as_mut(), 1).len(), 10, "what waits is not touched");
    let known = granted(store.as_mut(), Change::send(vec![draft(1).key("25")]));
    assert!(matches!(known.entries[0], Entry::Known { .. }), "nor is its key");
    assert_eq!(store.thread("t", EnvelopeId(0), 99).map(|entries| entries.len()), Ok(10));
}

fn an_id_is_created_once(open: Open<'_>) {
    let mut store = opened(open);
    let create = |id: i64| {
        let roster = Some(RosterChange::Create(vec![Person::new(id, "new")]));
        Change { roster, states: vec![state(id, 7)], ..Change::default() }
    };
    let verdicts = commit(store.as_mut(), &[create(7), create(7), create(1)]);
    assert!(verdicts[0].is_ok());
    assert_eq!(verdicts[1..], [Err(Refusal::Taken(PersonId(7))), Err(Refusal::Taken(PersonId(1)))]);
    drop(store);
    let mut store = open();
    assert_eq!(store.state(PersonId(7), "r"), Ok(Some(state(7, 7).payload)));
    assert_eq!(store.state(PersonId(1), "r"), Ok(None), "a refused change has no effect");
}

fn open_cursor(name: &str, interest: Interest) -> Change {
    Change { cursors: vec![CursorChange::Open { name: name.into(), interest }], ..Change::default() }
}

fn move_cursor(change: CursorChange) -> Change {
    Change { cursors: vec![change], ..Change::default() }
}

fn acknowledge(name: &str, to: i64) -> Change {
    move_cursor(CursorChange::Acknowledge { name: name.into(), to: FactOffset(to) })
}

/// Where a cursor stands, what it missed, and the offsets it would be told next.
fn cursor(store: &mut dyn Store, name: &str) -> (i64, u64, Vec<i64>) {
    let cursors = store.cursors().expect("readable");
    let cursor = cursors.iter().find(|cursor| cursor.name == name).expect("it is open");
    let facts = store.facts(&cursor.interest, cursor.position, 99).expect("readable");
    (cursor.position.0, cursor.missed, facts.iter().map(|logged| logged.offset.0).collect())
}

fn facts_are_logged_for_who_wants_them_and_cursors_keep_their_place(open: Open<'_>) {
    let mut store = opened(open);
    send(store.as_mut(), 1);
    assert_eq!(store.facts(&Interest::everything(), FactOffset(0), 9), Ok(vec![]), "nobody wants any yet");
    granted(store.as_mut(), open_cursor("ones", Interest::everything().person(1)));
    let (first, _) = (send(store.as_mut(), 1), send(store.as_mut(), 2));
    granted(store.as_mut(), Change { drafts: vec![draft(2)], ..settle(1, first) });
    let settled = Interest::everything().processed();
    granted(store.as_mut(), open_cursor("settled", settled.clone()));
    let second = send(store.as_mut(), 1);
    granted(store.as_mut(), settle(1, second));
    drop(store);
    let mut store = open();
    assert_eq!(cursor(store.as_mut(), "ones"), (0, 0, vec![1, 2, 3, 4]), "accepted, settled, twice");
    assert_eq!(cursor(store.as_mut(), "settled"), (2, 0, vec![4]), "from its beginning on");
    let facts = store.facts(&settled, FactOffset(0), 1).expect("readable");
    assert!(matches!(&facts[0].fact, worksite_model::Fact::Settled { envelope, .. } if envelope.id == first));
    assert_eq!((facts.len(), facts[0].at), (1, AT));
    granted(store.as_mut(), acknowledge("ones", 3));
    granted(store.as_mut(), acknowledge("ones", 1));
    assert_eq!(cursor(store.as_mut(), "ones"), (3, 0, vec![4]), "it never moves back that way");
    granted(store.as_mut(), acknowledge("ones", 77));
    assert_eq!(cursor(store.as_mut(), "ones").0, 4, "nor beyond the end");
    granted(store.as_mut(), move_cursor(CursorChange::Seek { name: "ones".into(), to: FactOffset(1) }));
    granted(store.as_mut(), open_cursor("ones", settled));
    assert_eq!(cursor(store.as_mut(), "ones"), (1, 0, vec![2, 4]), "opened again it keeps its place");
    let refused =
        commit(store.as_mut(), &[acknowledge("nobody", 1), move_cursor(CursorChange::Close { name: "x".into() })]);
    assert_eq!(refused[0], Err(Refusal::UnknownCursor("nobody".into())));
    assert!(refused[1].is_ok());
}

fn facts_stay_for_their_time_and_who_missed_some_is_told(open: Open<'_>) {
    let mut store = opened(open);
    granted(store.as_mut(), open_cursor("a", Interest::everything()));
    granted(store.as_mut(), open_cursor("b", Interest::everything().person(2)));
    for person in [1, 2, 1, 2, 1, 2] {
        send(store.as_mut(), person);
    }
    let keep = |rows| Retention { facts: Keep { age: Duration::from_secs(9_999), rows }, ..Retention::default() };
    granted(store.as_mut(), acknowledge("a", 4));
    granted(store.as_mut(), acknowledge("b", 2));
    assert_eq!(store.prune(&keep(99), AT).map(|pruned| pruned.facts), Ok(0), "they can be told again");
    assert_eq!(store.prune(&keep(1), AT).map(|pruned| pruned.facts), Ok(5));
    drop(store);
    let mut store = open();
    assert_eq!(cursor(store.as_mut(), "a"), (4, 1, vec![6]), "one that it had not acknowledged");
    assert_eq!(cursor(store.as_mut(), "b"), (2, 1, vec![6]));
    granted(store.as_mut(), move_cursor(CursorChange::Close { name: "a".into() }));
    granted(store.as_mut(), move_cursor(CursorChange::Close { name: "b".into() }));
    assert_eq!(store.prune(&keep(99), AT).map(|pruned| pruned.facts), Ok(1), "nobody wants them any more");
    granted(store.as_mut(), open_cursor("c", Interest::everything()));
    send(store.as_mut(), 1);
    assert_eq!(cursor(store.as_mut(), "c"), (6, 0, vec![7]), "no offset is given again");
}

fn earlier_states_are_kept_in_a_ring(open: Open<'_>) {
    let mut store = opened(open);
    let write = |value, keep| StateWrite { keep: Some(keep), ..state(1, value) };
    let ring = KeepStates { revisions_max: 3, bytes_max: 1_000 };
    for value in 1..=5 {
        let id = send(store.as_mut(), 1);
        granted(store.as_mut(), Change { states: vec![write(value, ring)], ..settle(1, id) });
    }
    granted(store.as_mut(), Change { states: vec![write(6, ring), state(2, 9)], ..Change::default() });
    drop(store);
    let mut store = open();
    let revisions = store.revisions(PersonId(1), "r", 9).expect("readable");
    let seen: Vec<_> = revisions
        .iter()
        .map(|revision| (revision.number, revision.payload.decode::<u64>().expect("a number"), revision.envelope))
        .collect();
    assert_eq!(seen, [(6, 6, None), (5, 5, Some(EnvelopeId(5))), (4, 4, Some(EnvelopeId(4)))]);
    assert_eq!(store.revisions(PersonId(1), "r", 1).map(|revisions| revisions.len()), Ok(1));
    assert_eq!(store.revisions(PersonId(2), "r", 9), Ok(vec![]), "who keeps none has none");
    let tight = KeepStates { revisions_max: 99, bytes_max: 2 };
    granted(store.as_mut(), Change { states: vec![write(7, tight)], ..Change::default() });
    let numbers = |store: &mut dyn Store| {
        let revisions = store.revisions(PersonId(1), "r", 9).expect("readable").into_iter();
        revisions.map(|revision| revision.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(store.as_mut()), [7, 6], "a byte each");
    granted(store.as_mut(), Change { clear: true, ..Change::default() });
    assert_eq!(numbers(store.as_mut()), Vec::<i64>::new());
}

fn job(id: i64, worker: i64, status: JobStatus) -> Job {
    Job {
        id: JobId(id),
        worker: PersonId(worker),
        flow: "f".into(),
        status,
        created_at: AT,
        ended_at: status.is_final().then_some(AT),
        deadline: None,
        parent: None,
        error: None,
        body: None,
    }
}

fn write_job(job: Job, known: bool) -> Change {
    Change { jobs: vec![JobWrite { job, known }], ..Change::default() }
}

fn a_job_ends_once_and_comes_back_as_it_was(open: Open<'_>) {
    use JobStatus::{Cancelled, Completed, Failed, Running};
    let mut store = opened(open);
    let notes = JobNotes { metadata: Some(7.into()), output: "said".into(), ..JobNotes::default() };
    let whole = Job {
        deadline: Some(AT),
        parent: Some(JobId(1)),
        error: Some("no".into()),
        body: Some(Payload::encode(&notes).expect("notes can be encoded")),
        ..job(3, 1, Failed)
    };
    for job in [job(1, 1, Running), job(2, 2, Running), whole.clone(), job(4, 1, Completed)] {
        granted(store.as_mut(), write_job(job, false));
    }
    granted(store.as_mut(), write_job(job(2, 2, Completed), true));
    let refused = [(2, true), (2, false), (1, false), (9, true)];
    let refused = refused.map(|(id, known)| write_job(job(id, 1, Cancelled), known));
    for (change, verdict) in refused.iter().zip(commit(store.as_mut(), &refused)) {
        assert_eq!(verdict, Err(Refusal::JobEnded(change.jobs[0].job.id)));
    }
    drop(store);
    let mut store = open();
    assert_eq!(store.job(JobId(3)), Ok(Some(whole)));
    assert_eq!((store.job(JobId(9)), store.open_jobs()), (Ok(None), Ok(vec![(PersonId(1), 1)])));
    assert_eq!(store.recover(PersonId(1), AT).map(|recovered| recovered.jobs), Ok(vec![job(1, 1, Running)]));
    let page = |store: &mut dyn Store, filter: JobFilter| {
        store.jobs(&filter, 2).expect("readable").iter().map(|job| job.id.0).collect::<Vec<_>>()
    };
    assert_eq!(page(store.as_mut(), JobFilter { after: Some(JobId(1)), ..JobFilter::default() }), [2, 3]);
    assert_eq!(page(store.as_mut(), JobFilter { worker: Some(PersonId(2)), ..JobFilter::default() }), [2]);
    assert_eq!(page(store.as_mut(), JobFilter { status: Some(Completed), ..JobFilter::default() }), [2, 4]);
    assert_eq!(page(store.as_mut(), JobFilter { parent: Some(JobId(1)), ..JobFilter::default() }), [3]);
    granted(store.as_mut(), Change::sync(people(&[2, 3]), Departure::Purge));
    let ended = store.job(JobId(1)).expect("readable").expect("it is kept");
    assert_eq!((ended.status, ended.ended_at), (Cancelled, Some(AT)), "a purged worker's jobs are called off");
    let keep = Keep { age: Duration::from_secs(9_999), rows: 1 };
    let pruned = store.prune(&Retention { jobs: keep, ..Retention::default() }, AT);
    assert_eq!(pruned.map(|pruned| pruned.jobs), Ok(3));
    assert_eq!(page(store.as_mut(), JobFilter::default()), [4]);
    let forget = Change { forgotten: vec![(PersonId(2), "r".into()), (PersonId(2), "x".into())], ..Change::default() };
    granted(store.as_mut(), Change { states: vec![state(2, 7)], ..Change::default() });
    granted(store.as_mut(), forget);
    assert_eq!(store.state(PersonId(2), "r"), Ok(None));
}
