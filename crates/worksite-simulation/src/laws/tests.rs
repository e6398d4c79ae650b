//! Tests own that a good life breaks no law, and that each can be broken.

use super::*;
use std::sync::Arc;
use worksite_model::{
    Change, Draft, Entry, Envelope, Grant, Payload, Settlement, StateWrite, StoreError, Tally, Timestamp, Waiting,
};

fn envelope(id: i64) -> Arc<Envelope> {
    let draft = Draft::to(1, &1_u64).unwrap();
    Arc::new(Envelope { id: EnvelopeId(id), accepted_at: Timestamp::default(), draft })
}

fn broken(events: &[Event]) -> Option<Law> {
    let mut laws = Laws::new(&Limits { inbox_envelopes_max: 2, ..Limits::default() });
    events.iter().find_map(|event| laws.observe(event).err()).map(|broken| broken.law)
}

fn committed(change: Change, grant: Grant) -> Event {
    let states = change.states.clone();
    Event::Committed { committed: Arc::new(Committed::new(change, grant, Timestamp::default())), states }
}

fn counted(accepted: u64, waiting: u64) -> Event {
    let tally = Tally { accepted, waiting, settled: accepted - waiting, ..Tally::default() };
    Event::Counted { tally, waiting: vec![Waiting { person: PersonId(1), envelopes: waiting as usize, bytes: 0 }] }
}

fn accepted(id: i64) -> Event {
    let grant = Grant { entries: vec![Entry::Accepted(EnvelopeId(id))], ..Grant::default() };
    committed(Change::send(vec![Draft::to(1, &1_u64).unwrap()]), grant)
}

fn settled(id: i64, noted: &[i64]) -> Event {
    let letters = Letters { ids: noted.to_vec(), ..Letters::default() };
    let change = Change {
        author: Some(PersonId(1)),
        settled: vec![Settlement { envelope: envelope(id), routine: "clerk", reply: None }],
        states: vec![StateWrite {
            person: PersonId(1),
            routine: "clerk".into(),
            payload: Payload::encode(&letters).unwrap(),
            keep: None,
        }],
        ..Change::default()
    };
    committed(change, Grant::default())
}

fn opened(waiting: &[i64], roster: &[i64], tally: Tally) -> Event {
    let waiting = waiting.iter().copied().map(EnvelopeId).collect();
    let roster = roster.iter().copied().map(PersonId).collect();
    Event::Opened(Inventory { waiting, roster, tally, ..Inventory::default() })
}

fn told(event: &Event) -> Fact {
    let Event::Committed { committed, .. } = event else { unreachable!() };
    committed.facts().next().unwrap()
}

#[test]
fn a_good_life_breaks_no_law() {
    let tally = Tally { accepted: 2, waiting: 0, settled: 2, ..Tally::default() };
    let first = accepted(1);
    let tell = Event::Told(told(&first));
    assert_eq!(
        broken(&[
            first.clone(),
            counted(1, 1),
            Event::Receipt(EnvelopeId(1)),
            tell,
            accepted(2),
            counted(2, 2),
            Event::Missed { listener: 0, facts: 1 },
            Event::Overheard { listener: 0, fact: told(&accepted(2)) },
            settled(1, &[1]),
            settled(2, &[1, 2]),
            counted(2, 0),
            Event::Quiet,
            opened(&[], &[], tally),
            Event::Closed,
        ]),
        None
    );
}

#[test]
fn each_law_can_be_broken() {
    let person = PersonId(1);
    let by = |routine, id| Event::Performed { person, routine, id: EnvelopeId(id), attempt: 1, pure: false };
    let performed = |id| by("clerk", id);
    let refused = |id| Event::Refused { author: Some(person), refusal: Refusal::NotWaiting(EnvelopeId(id)) };
    let drained = |ids: &[i64]| Event::Drained { person, ids: ids.iter().copied().map(EnvelopeId).collect() };
    let waits = Tally { accepted: 1, waiting: 1, ..Tally::default() };
    assert_eq!(broken(&[accepted(1), performed(3)]), Some(Law::CommitBeforeTell));
    assert_eq!(broken(&[Event::Receipt(EnvelopeId(1))]), Some(Law::CommitBeforeTell));
    assert_eq!(broken(&[Event::Told(Fact::Cleared)]), Some(Law::CommitBeforeTell));
    assert_eq!(broken(&[accepted(1), opened(&[], &[], waits)]), Some(Law::CommitBeforeTell));
    assert_eq!(broken(&[accepted(1), Event::Told(Fact::Cleared)]), Some(Law::Order));
    let overheard = Event::Overheard { listener: 0, fact: Fact::Cleared };
    assert_eq!(broken(&[accepted(1), overheard]), Some(Law::Order));
    assert_eq!(broken(&[accepted(1), Event::Closed]), Some(Law::Order));
    assert_eq!(broken(&[accepted(2), accepted(1)]), Some(Law::Order));
    assert_eq!(broken(&[accepted(1), accepted(2), settled(2, &[2]), settled(1, &[2, 1])]), Some(Law::Order));
    assert_eq!(broken(&[accepted(1), settled(1, &[1]), settled(1, &[1])]), Some(Law::AdmitOnce));
    assert_eq!(broken(&[accepted(1), settled(1, &[1]), performed(1)]), Some(Law::AdmitOnce));
    assert_eq!(broken(&[accepted(1), settled(1, &[1]), opened(&[1], &[], waits)]), Some(Law::AdmitOnce));
    assert_eq!(broken(&[accepted(1), Event::Answered(EnvelopeId(1))]), Some(Law::CommitBeforeTell));
    assert_eq!(broken(&[accepted(1), accepted(2), drained(&[2, 1])]), Some(Law::Order));
    assert_eq!(broken(&[accepted(1), refused(1)]), Some(Law::AdmitOnce));
    let slow = by(SlowClerk::NAME, 1);
    assert_eq!(broken(&[accepted(1), slow.clone(), slow.clone()]), Some(Law::AdmitOnce));
    let failed = Event::Failed(StoreError::Full("no room".into()));
    assert_eq!(broken(&[accepted(1), slow.clone(), failed, slow]), None);
    assert_eq!(broken(&[accepted(1), settled(1, &[])]), Some(Law::AckWithEffects));
    assert_eq!(broken(&[accepted(1), counted(2, 1)]), Some(Law::Conservation));
    assert_eq!(broken(&[accepted(1), opened(&[1], &[], Tally::default())]), Some(Law::Conservation));
    let three = [accepted(1), accepted(2), accepted(3)];
    assert_eq!(broken(&[&three[..], &[counted(3, 3)]].concat()), Some(Law::Bounds));
    assert_eq!(broken(&[&three[..], &[Event::Quiet]].concat()), Some(Law::Bounds));
    let synced = Event::Synced { wanted: vec![], active: vec![], awake: vec![person] };
    assert_eq!(broken(&[synced]), Some(Law::Roster));
    let synced = Event::Synced { wanted: vec![person], active: vec![person], awake: vec![] };
    assert_eq!(broken(&[synced]), Some(Law::Roster));
    assert_eq!(broken(&[opened(&[], &[1], Tally::default())]), Some(Law::Roster));
    let law = |life, recovered| recovery_equals_life(&life, &recovered).err().map(|broken| broken.law);
    assert_eq!((law(1, 1), law(1, 2)), (None, Some(Law::RecoveryEqualsLife)));
}
