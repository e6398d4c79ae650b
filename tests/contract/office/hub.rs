//! What becomes of plans: people are found, groups are rooms, answers stay in their conversation; what is said twice, too
//! soon, too often or to nobody is refused with its reason.

use super::*;
use std::collections::BTreeMap;
use std::time::Duration;
use worksite_simulation::office::{
    Answer, Channel, Input, Mail, MailKind, Odds, Planner, PlannerError, Question, Transcript,
};

/// Plans as a script says: the lines for a person's first plan at or after a tick.
struct Script(BTreeMap<(i64, u64), &'static str>);

impl Planner for Script {
    fn name(&self) -> &str {
        "script"
    }

    fn plan(&self, question: &Question, _time: Duration) -> Result<Answer, PlannerError> {
        Ok(Answer::free(self.0.get(&(question.person, question.tick)).copied().unwrap_or_default()))
    }

    fn is_quick(&self) -> bool {
        true
    }
}

/// Runs a script; everybody plans in tick 0 and looks at their mail at once.
async fn play(lines: &[((i64, u64), &'static str)], tick: u64) -> (Office, Transcript) {
    let mut charter = Charter { odds: Odds::none(), ..charter(7) };
    for colleague in &mut charter.colleagues {
        colleague.habits.look_every = 1;
    }
    let mut office = in_memory(&MemoryDisk::default(), charter).await;
    let planning = Planning::by(Script(lines.iter().copied().collect()));
    office.run_to(tick, &planning, |_, _| true).await.unwrap();
    let transcript = office.transcript().await.unwrap();
    (office, transcript)
}

fn to(transcript: &Transcript, person: i64) -> Vec<&Mail> {
    transcript.mail().filter(|(to, _)| *to == person).map(|(_, mail)| mail).collect()
}

fn refused(transcript: &Transcript) -> Vec<String> {
    transcript.answers().flat_map(|row| row.refused.clone()).collect()
}

#[tokio::test]
async fn an_email_comes_at_its_time_with_its_copies() {
    let plan = "Email at 10:00 to bob cc Cleo bcc dan@office.example: Plan | Have a look.";
    let (_, transcript) = play(&[((1, 0), plan)], 100).await;
    for person in [2, 3, 4] {
        let mail = to(&transcript, person);
        assert_eq!((mail.len(), mail[0].lands, mail[0].channel), (1, 60, Channel::Email));
        assert_eq!((&mail[0].to, &mail[0].cc), (&vec![2], &vec![3]), "the hidden copy is hidden");
    }
    assert_eq!(to(&transcript, 5).len(), 0);
}

#[tokio::test]
async fn an_answer_goes_to_who_wrote_and_stays_in_the_conversation() {
    let lines = [((1, 0), "Email now to bob: Plan | ?"), ((2, 1), "Reply in 5 to [m0.1.0]: Fine.")];
    let (_, transcript) = play(&lines, 50).await;
    let asked = to(&transcript, 2)[0].clone();
    let answer = to(&transcript, 1)[0].clone();
    assert_eq!((answer.lands, answer.subject.as_str(), answer.body.as_str()), (6, "Re: Plan", "Fine."));
    assert_eq!((&answer.thread, answer.answers, answer.depth), (&asked.thread, Some(asked.id), 1));
}

#[tokio::test]
async fn the_house_knows_the_conversation() {
    let lines = [((1, 0), "Email now to bob: Plan | ?"), ((2, 1), "Reply in 5 to [m0.1.0]: Fine.")];
    let (office, _) = play(&lines, 50).await;
    let thread = office.runtime().thread("m0.1.0", worksite::prelude::EnvelopeId(0), 10).await.unwrap();
    assert_eq!(thread.len(), 2);
}

#[tokio::test]
async fn what_answers_nothing_known_is_refused() {
    let (_, transcript) = play(&[((1, 0), "Reply now to [m9.9.9]: ?")], 10).await;
    assert!(refused(&transcript)[0].contains("m9.9.9"), "{:?}", refused(&transcript));
}

#[tokio::test]
async fn only_the_last_ten_mails_can_still_be_answered() {
    let many = "Email now to bob: 0 | a\nEmail at 09:20 to bob: 1 | a\nEmail at 09:40 to bob: 2 | a\n\
        Email at 10:00 to bob: 3 | a\nEmail at 10:20 to bob: 4 | a\nEmail at 10:40 to bob: 5 | a\n\
        Email at 11:00 to bob: 6 | a\nEmail at 11:20 to bob: 7 | a\nEmail at 11:40 to bob: 8 | a\n\
        Email at 12:00 to bob: 9 | a\nEmail at 12:20 to bob: 10 | a\nEmail at 12:40 to bob: 11 | a";
    let late = "Reply now to [m0.1.0]: late\nReply now to [m0.1.5]: in time";
    let (office, transcript) = play(&[((1, 0), many), ((2, 220), late)], 300).await;
    assert_eq!(office.desks()[&2].recent.len(), 10);
    assert_eq!(to(&transcript, 2).len(), 12, "all came");
    assert_eq!(refused(&transcript).len(), 1, "{:?}", refused(&transcript));
    assert_eq!(to(&transcript, 1)[0].body, "in time");
}

#[tokio::test]
async fn what_is_said_twice_or_too_soon_is_refused_and_others_are_independent() {
    let plan = "Email now to bob: A | a\nEmail now to bob: A | a\nEmail at 09:05 to bob: B | b\nEmail at 09:12 to bob: C | c\n\
        Email now to cleo: A | a\nChat now with bob: a";
    let (_, transcript) = play(&[((1, 0), plan)], 50).await;
    let refused = refused(&transcript);
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].contains("already") && refused[1].contains("10 ticks"));
    assert_eq!((to(&transcript, 2).len(), to(&transcript, 3).len()), (3, 1), "after the cooldown it goes again");
}

#[tokio::test]
async fn the_cooldown_is_remembered_from_plan_to_plan() {
    let write = Input::Write { to: vec![1], from_name: "x".into(), subject: "s".into(), body: "b".into() };
    let mut charter = Charter { odds: Odds::none(), ..charter(7) };
    charter.colleagues[0].habits.look_every = 1;
    let mut office = in_memory(&MemoryDisk::default(), charter).await;
    let again =
        [((1, 0), "Chat now with bob: one"), ((1, 5), "Chat now with bob: two"), ((1, 20), "Chat now with bob: three")];
    let planning = Planning::by(Script(again.into_iter().collect()));
    for tick in [5, 20, 40] {
        office.run_to(tick, &planning, |_, _| true).await.unwrap();
        office.enter(write.clone()).await.unwrap();
    }
    let transcript = office.transcript().await.unwrap();
    let bodies: Vec<_> = to(&transcript, 2).into_iter().map(|mail| mail.body.as_str()).collect();
    assert_eq!(bodies, ["one", "three"]);
}

#[tokio::test]
async fn nobody_answers_a_mail_twice() {
    let lines = [
        ((1, 0), "Email now to bob: Plan | ?"),
        ((2, 1), "Reply in 5 to [m0.1.0]: Fine.\nReply in 90 to [m0.1.0]: Really."),
    ];
    let (_, transcript) = play(&lines, 100).await;
    assert_eq!(to(&transcript, 1).len(), 1);
    assert!(refused(&transcript)[0].contains("answered already"));
}

#[tokio::test]
async fn an_address_that_nobody_has_is_refused_and_a_known_one_outside_is_not() {
    let plan = "Email now to gustav: A | a\nEmail now to client@example.org: B | b\nEmail now to who@example.org: C | c\n\
        Chat now with client@example.org: d";
    let (_, transcript) = play(&[((1, 0), plan)], 10).await;
    assert_eq!(refused(&transcript).len(), 3);
    let row = transcript.answers().find(|row| row.person == 1).unwrap();
    assert_eq!((row.outside.len(), row.outside[0].0.as_str()), (1, "client@example.org"));
}

#[tokio::test]
async fn groups_are_rooms() {
    let (_, transcript) = play(&[((1, 0), "Chat now with team: us\nChat now with everyone: all")], 10).await;
    let rooms = |person| to(&transcript, person).into_iter().filter_map(|mail| mail.room.clone()).collect::<Vec<_>>();
    assert_eq!(rooms(3), ["sell", "everyone"], "Cleo sells, too");
    assert_eq!(rooms(2), ["everyone"]);
    assert_eq!(to(&transcript, 1).len(), 0, "not to oneself");
}

/// Both sides of a chat had planned it; in seed 000 the lexicographically smaller handle sends, here the smaller number.
#[tokio::test]
async fn of_two_chats_that_cross_one_is_read() {
    let (office, transcript) =
        play(&[((1, 0), "Chat at 09:30 with bob: hi"), ((2, 0), "Chat at 09:30 with ada: hello")], 60).await;
    let read: Vec<_> = transcript.answers().filter(|row| row.tick == 30).map(|row| row.person).collect();
    assert_eq!(read, [2], "Ada does not read what crossed hers");
    assert_eq!(office.desks()[&1].total().crossed, 1, "and it is counted");
}

#[tokio::test]
async fn an_acknowledgement_goes_within_a_team_and_is_never_acknowledged() {
    let lines = [
        ((2, 0), "Email now to dan, cleo: Plan | ?"),
        ((4, 1), "Ack [m0.2.0]"),
        ((3, 1), "Ack [m0.2.0]"),
        ((2, 2), "Ack [m1.4.0]"),
    ];
    let (_, transcript) = play(&lines, 20).await;
    let acks: Vec<_> = transcript.mail().filter(|(_, mail)| mail.kind == MailKind::Acknowledgement).collect();
    assert_eq!((acks.len(), acks[0].0, acks[0].1.id.from), (1, 2, 4));
    let refused = refused(&transcript);
    assert!(refused.iter().any(|why| why.contains("different things")), "{refused:?}");
    assert!(refused.iter().any(|why| why.contains("not acknowledged")), "{refused:?}");
}

#[tokio::test]
async fn a_day_has_room_for_so_much() {
    let mut charter = Charter { odds: Odds::none(), ..charter(7) };
    charter.limits.chats_per_day_max = 2;
    let mut office = in_memory(&MemoryDisk::default(), charter).await;
    let plan = "Chat now with bob: a\nChat now with cleo: b\nChat now with dan: c\nEmail now to dan: d | d";
    let planning = Planning::by(Script([((1, 0), plan), ((1, DAY), plan)].into_iter().collect()));
    office.run_to(DAY + 10, &planning, |_, _| true).await.unwrap();
    let transcript = office.transcript().await.unwrap();
    assert_eq!(refused(&transcript).len(), 2, "once a day");
    assert_eq!(to(&transcript, 4).len(), 2, "e-mails are counted apart");
}

#[tokio::test]
async fn who_may_want_a_copy_is_suggested() {
    let office = in_memory(&MemoryDisk::default(), charter(7)).await;
    let hub = worksite_simulation::office::Hub {
        people: &office.ledger().people,
        outside: &[],
        limits: Default::default(),
        tick: 0,
    };
    assert_eq!(hub.suggested_copies(2), [1, 4], "the head, and somebody of the team");
    assert_eq!(hub.suggested_copies(1), [3], "the head has a peer and no head");
    assert!(hub.suggested_copies(99).is_empty());
}

#[tokio::test]
async fn urgent_mail_is_read_at_once_and_other_mail_when_somebody_looks() {
    let mut charter = Charter { odds: Odds::none(), ..charter(7) };
    charter.colleagues[1].habits.look_every = 30;
    let mut office = in_memory(&MemoryDisk::default(), charter).await;
    let lines = [((1, 0), "Email at 09:05 to bob: A | usual"), ((3, 0), "Email at 09:10 to bob: Urgent | now!")];
    office.run_to(60, &Planning::by(Script(lines.into_iter().collect())), |_, _| true).await.unwrap();
    let transcript = office.transcript().await.unwrap();
    let reads: Vec<_> =
        transcript.answers().filter(|row| row.person == 2).map(|row| (row.tick, row.read.len())).collect();
    assert_eq!(reads, [(0, 0), (10, 2)], "the usual one lay there, and is read along");
}
