//! Opening the run queue: what is live is read, what an earlier life left held is resolved, durably, and then somebody
//! decides about runs. A site that never asks for it pays nothing.

use super::dispatcher::Dispatcher;
use super::error::RunError;
use super::letter;
use crate::persistence::{Answer, Read};
use crate::runtime::House;
use crate::supervisor::Supervisor;
use actix::prelude::*;
use std::sync::Arc;
use tokio::sync::oneshot;
use worksite_model::{Change, RecoveryReport, RunBoard, RunPolicy};

/// Reads what is live and begins to decide about runs.
#[derive(Message)]
#[rtype(result = "Result<(Addr<Dispatcher>, RecoveryReport), RunError>")]
pub(crate) struct OpenRuns(pub(crate) RunPolicy);

impl Handler<OpenRuns> for Supervisor {
    type Result = ResponseFuture<Result<(Addr<Dispatcher>, RecoveryReport), RunError>>;

    fn handle(&mut self, OpenRuns(policy): OpenRuns, _: &mut Self::Context) -> Self::Result {
        Box::pin(open(self.house().clone(), policy))
    }
}

async fn open(house: Arc<House>, policy: RunPolicy) -> Result<(Addr<Dispatcher>, RecoveryReport), RunError> {
    let reading = Read(Box::new(|store| store.runs()));
    let recovered = house.persistence.send(reading).await.map_err(|_closed| RunError::Stopped)??;
    for (id, reason) in &recovered.unreadable {
        tracing::error!(%id, reason, "a run cannot be read, and nobody will run it");
    }
    let orphans = recovered.active.iter().filter(|run| run.status.is_held() && run.epoch < recovered.epoch);
    let at_work = letter::of(&house, orphans.map(|run| run.id).collect()).await?;
    let (now, unreadable) = (house.clock.now(), recovered.unreadable.len());
    let mut board = RunBoard::new(policy, recovered, house.seed, now);
    let (writes, report) = board.recover(unreadable, &at_work, now);
    if !writes.is_empty() {
        let (answer, verdict) = oneshot::channel();
        house.directory.count_departure();
        house.propose(Change { runs: writes.clone(), ..Change::default() }, Answer::House(answer));
        verdict.await.map_err(|_closed| RunError::Stopped)??;
        writes.iter().for_each(|write| board.apply(write, now));
        tracing::info!(?report, "runs of an earlier life were resolved");
    }
    let followed: Vec<_> = at_work.into_iter().filter_map(|id| board.get(id).cloned()).collect();
    let dispatcher = Dispatcher::new(house.clone(), board).start();
    for run in followed {
        actix::spawn(letter::follow(dispatcher.clone(), house.clone(), run));
    }
    Ok((dispatcher, report))
}
