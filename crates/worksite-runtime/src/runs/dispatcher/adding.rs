//! What comes in: drafts and schedules, with the sessions they are about.

use super::Dispatcher;
use crate::runs::command::{Command, Reply, Then};
use crate::runs::error::RunError;
use actix::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use worksite_model::{Added, Decision, RunDraft, RunRejection, Schedule, Session, SessionUse, Timestamp};

impl Dispatcher {
    pub(super) fn add(
        &mut self,
        drafts: Vec<RunDraft>,
        sessions: Option<Vec<Session>>,
        reply: Reply<Vec<Added>>,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) {
        let refuse = |reply: Reply<_>, error: RunError, drafts| drop(reply.send(Err(error.with(drafts))));
        if drafts.len() > self.board.room() {
            let full = RunError::Overloaded { limit: "runs_pending_max", drafts: Vec::new() };
            return refuse(reply, full, drafts);
        }
        let payload = |draft: &RunDraft| draft.payload.as_ref().map_or(0, |payload| payload.len());
        if drafts.iter().any(|draft| payload(draft) > self.house.limits.payload_bytes_max) {
            return refuse(reply, RunRejection::Impossible("its payload exceeds payload_bytes_max").into(), drafts);
        }
        let Some(sessions) = sessions else {
            return self.read_sessions(drafts, reply, ctx);
        };
        let known = self.board.know_parents(&drafts, &sessions);
        match known.and_then(|()| self.board.add(&drafts, &sessions, now)) {
            Err(rejection) => refuse(reply, rejection.into(), drafts),
            Ok(Decision::Done(added)) => drop(reply.send(Ok(added))),
            Ok(Decision::Wait | Decision::LookUp) => {
                self.parked.push(Command::Add { drafts, sessions: Some(sessions), reply });
            }
            Ok(Decision::Write(writes, added)) => {
                let then: Then = Box::new(move |said| {
                    let _gone = reply.send(said.map(|()| added).map_err(|setback| setback.into_error().with(drafts)));
                    None
                });
                self.propose(writes, then);
            }
        }
    }

    /// Reads the sessions that drafts resume, and those they are to report to.
    fn read_sessions(&mut self, drafts: Vec<RunDraft>, reply: Reply<Vec<Added>>, ctx: &mut Context<Self>) {
        let resumed = |draft: &RunDraft| match &draft.session {
            SessionUse::Resume(session) => Some(session.clone()),
            _ => None,
        };
        let told = drafts.iter().filter_map(RunDraft::reports_to).map(str::to_string);
        let wanted: BTreeSet<_> = drafts.iter().filter_map(resumed).chain(told).collect();
        if wanted.is_empty() {
            return self.perform(Command::Add { drafts, sessions: Some(Vec::new()), reply }, ctx);
        }
        let read = self.read(move |store| {
            let sessions = wanted.iter().map(|session| store.session(session));
            Ok(sessions.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>())
        });
        ctx.spawn(read.into_actor(self).map(move |read, dispatcher, ctx| {
            match read {
                Ok(sessions) => dispatcher.perform(Command::Add { drafts, sessions: Some(sessions), reply }, ctx),
                Err(error) => drop(reply.send(Err(error.with(drafts)))),
            }
            dispatcher.go_on(ctx);
        }));
    }

    /// Reads the session that a schedule's runs are to report to.
    pub(super) fn read_parent(
        &mut self,
        schedule: Box<Schedule>,
        reply: Reply<Arc<Schedule>>,
        ctx: &mut Context<Self>,
    ) {
        let wanted = schedule.draft.reports_to().unwrap_or_default().to_string();
        let read = self.read(move |store| Ok((store.session(&wanted)?, wanted)));
        ctx.spawn(read.into_actor(self).map(move |read, dispatcher, ctx| {
            match read {
                Ok((parent @ Some(_), _)) => dispatcher.perform(Command::Schedule { schedule, parent, reply }, ctx),
                Ok((None, wanted)) => drop(reply.send(Err(RunRejection::UnknownSession(wanted).into()))),
                Err(error) => drop(reply.send(Err(error))),
            }
            dispatcher.go_on(ctx);
        }));
    }
}
