//! Crashes own how an actor of the house dies as from a mistake of our own: for simulations of exactly that.
//!
//! A worker that crashes is rebuilt from the store. Without its supervisor or its writer a house would take mail that nobody
//! deals with: it closes, whoever waits is told so, and what was durable is there when it is opened again.

use crate::Runtime;
use crate::broadcast::Broadcast;
use crate::supervisor::Supervisor;
use actix::prelude::*;
use std::sync::PoisonError;

/// Dies.
#[derive(Message)]
#[rtype(result = "()")]
struct CrashHouse;

impl Handler<CrashHouse> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: CrashHouse, _: &mut Self::Context) {
        panic!("the supervisor was told to crash");
    }
}

impl Handler<CrashHouse> for Broadcast {
    type Result = ();

    fn handle(&mut self, _: CrashHouse, _: &mut Self::Context) {
        panic!("the one who tells subscribers was told to crash");
    }
}

impl Runtime {
    /// Kills the supervisor as a mistake of our own would: for simulations of exactly that. The house closes; nothing that
    /// was accepted is lost.
    pub fn crash_supervisor(&self) {
        self.0.supervisor.do_send(CrashHouse);
    }

    /// Kills the one who tells subscribers as a mistake of our own would: for simulations of exactly that. All
    /// subscriptions end; mail goes on.
    pub fn crash_broadcast(&self) {
        let broadcast = self.0.broadcast.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broadcast) = broadcast.as_ref() {
            broadcast.do_send(CrashHouse);
        }
    }
}
