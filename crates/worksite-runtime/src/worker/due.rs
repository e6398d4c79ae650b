//! When something comes due: for whoever moves the clock by hand, and would skip the time in which nobody has anything to do.

use super::Worker;
use crate::{DeskError, Runtime};
use actix::prelude::*;
use worksite_model::Timestamp;

/// When this worker's next scheduled mail comes due or expires.
#[derive(Message)]
#[rtype(result = "Option<Timestamp>")]
struct NextDue;

impl Handler<NextDue> for Worker {
    type Result = Option<Timestamp>;

    fn handle(&mut self, _: NextDue, _: &mut Self::Context) -> Self::Result {
        self.inbox.next_due().into_iter().chain(self.flow.as_ref().and_then(|flow| flow.due())).min()
    }
}

impl Runtime {
    /// The earliest moment from now on at which anybody's scheduled mail comes due or expires; nothing when there is none.
    /// Ask in a house at [`Runtime::rest`], else mail on its way is not seen.
    ///
    /// # Errors
    /// [`DeskError::Stopped`].
    pub async fn next_due(&self) -> Result<Option<Timestamp>, DeskError> {
        let (directory, now) = (&self.0.house.directory, self.0.house.clock.now());
        if directory.is_closed() {
            return Err(DeskError::Stopped);
        }
        let mut earliest = None;
        for worker in directory.asleep() {
            // One that has gone in between has no mail that waits.
            let due = worker.send(NextDue).await.ok().flatten().filter(|due| *due > now);
            earliest = earliest.into_iter().chain(due).min();
        }
        Ok(earliest)
    }
}
