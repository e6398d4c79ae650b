//! How a house is put together: [`Builder`] takes routines and limits, and starts the actors, on the house's own
//! threads or on the caller's.

use crate::broadcast::Broadcast;
use crate::directory::{Directory, Setting};
use crate::flows::{Board, FlowSettings};
use crate::hub::Hub;
use crate::intake::Intake;
use crate::metrics::Counters;
use crate::persistence::{Listen, Persistence};
use crate::runtime::{Handle, House, Thread};
use crate::supervisor::Supervisor;
use crate::{Clock, Runtime, StartError};
use actix::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::{Semaphore, oneshot};
use worksite_model::flow::Flow;
use worksite_model::{AsyncRoutine, InboxPolicy, Limits, Person, Registry, RegistryError, Retention, Routine, Store};

/// Says whose mail the application takes by hand.
type IsManual = Box<dyn Fn(&Person) -> bool + Send + Sync>;

/// Says how somebody's inbox takes mail.
type Policies = Box<dyn Fn(&Person) -> InboxPolicy + Send + Sync>;

/// A house to be started: its routines, limits, clock and seed.
#[derive(Default)]
pub struct Builder {
    registry: Registry,
    /// The first routine that could not be registered; told at the start, so that calls can be chained.
    refused: Option<RegistryError>,
    limits: Limits,
    clock: Option<Clock>,
    seed: u64,
    manual: Option<IsManual>,
    inboxes: Option<Policies>,
    retention: Retention,
    flows: BTreeMap<String, Flow>,
    flow_settings: FlowSettings,
}

impl Builder {
    /// Adds a synchronous routine to all workers that are not manual.
    #[must_use]
    pub fn routine<R: Routine>(mut self, routine: R) -> Self {
        let added = self.registry.add(routine);
        self.refused = self.refused.or(added.err());
        self
    }

    /// Adds an asynchronous routine to all workers that are not manual.
    #[must_use]
    pub fn async_routine<R: AsyncRoutine>(mut self, routine: R) -> Self {
        let added = self.registry.add_async(routine);
        self.refused = self.refused.or(added.err());
        self
    }

    /// Adds a flow, which [`Flows`](crate::Flows) starts workers of. The workers it has in the store go on at once.
    #[must_use]
    pub fn flow(mut self, flow: Flow) -> Self {
        let name = flow.name().to_string();
        if self.flows.insert(name.clone(), flow).is_some() {
            self.refused = self.refused.or(Some(RegistryError::FlowTaken { name }));
        }
        self
    }

    /// Sets how flows are run.
    #[must_use]
    pub fn flow_settings(mut self, settings: FlowSettings) -> Self {
        self.flow_settings = settings;
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the seed from which all chance in the house follows. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the clock. Default [`Clock::system`].
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Says whose mail the application takes by hand; asked when somebody joins, and at the start. Default: everybody's
    /// when there is no routine, else nobody's.
    #[must_use]
    pub fn manual(mut self, manual: impl Fn(&Person) -> bool + Send + Sync + 'static) -> Self {
        self.manual = Some(Box::new(manual));
        self
    }

    /// Says how somebody's inbox takes mail: how much it holds, what becomes of the rest, whether low mail grows more
    /// urgent. Asked when somebody joins, and at the start. Default: [`InboxPolicy::of`] the limits.
    #[must_use]
    pub fn inboxes(mut self, policy: impl Fn(&Person) -> InboxPolicy + Send + Sync + 'static) -> Self {
        self.inboxes = Some(Box::new(policy));
        self
    }

    /// Sets how long what has ended is kept.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Starts the house on its own threads: one for the workers, one for the writer. Works under any executor.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self, store: Box<dyn Store>) -> Result<Runtime, StartError> {
        self.start_with(move || Ok(store)).await
    }

    /// [`Builder::start`] with a store that is opened on the house's own thread, so that a long opening scan blocks
    /// nobody.
    ///
    /// # Errors
    /// What `open` returns, or [`StartError`].
    pub async fn start_with<E: From<StartError> + Send + 'static>(
        self,
        open: impl FnOnce() -> Result<Box<dyn Store>, E> + Send + 'static,
    ) -> Result<Runtime, E> {
        self.check()?;
        let (ready, started) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let house = move || {
            // Dropped when this thread ends, however it ends.
            let _end = end;
            let store = match open() {
                Ok(store) => store,
                Err(error) => return drop(ready.send(Err(error))),
            };
            System::new().block_on(async move {
                let writer = Arbiter::new();
                let started = self.start_actors(store, true, |persistence| {
                    Persistence::start_in_arbiter(&writer.handle(), move |_| persistence.alone())
                });
                let _gone = ready.send(started.map_err(E::from));
                let _dropped = stopped.await;
                writer.stop();
                let _ended = writer.join();
            });
        };
        std::thread::Builder::new().name("worksite".into()).spawn(house).map_err(StartError::Thread)?;
        let handle = started.await.map_err(|_died| StartError::Died)??;
        *handle.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(Thread { stop, ended });
        Ok(Runtime::from_handle(handle))
    }

    /// Starts the house on the calling thread, which must run a tokio `LocalSet` or an actix `System`. The writer blocks
    /// it. With [`Clock::tokio`] under a paused clock a run is deterministic: that is what the simulation uses.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_local(self, store: Box<dyn Store>) -> Result<Runtime, StartError> {
        self.check()?;
        Ok(Runtime::from_handle(self.start_actors(store, false, Actor::start)?))
    }

    fn check(&self) -> Result<(), StartError> {
        self.limits.check()?;
        match &self.refused {
            Some(refused) => Err(refused.clone().into()),
            None => Ok(()),
        }
    }

    /// Starts the actors from the lowest room up, each with a strong address of the room below.
    fn start_actors(
        self,
        mut store: Box<dyn Store>,
        has_threads: bool,
        place: impl FnOnce(Persistence) -> Addr<Persistence>,
    ) -> Result<Handle, StartError> {
        let clock = self.clock.unwrap_or_else(Clock::system);
        let by_default = self.registry.is_empty();
        let manual = self.manual.unwrap_or_else(|| Box::new(move |_| by_default));
        let usual = InboxPolicy::of(&self.limits);
        let posts_max = self.flow_settings.queue_posts_max;
        let by_flow = move |person: &Person| match Flow::named_in(&person.role) {
            Some(_) => InboxPolicy { envelopes_max: posts_max, ..usual },
            None => usual,
        };
        let policy = self.inboxes.unwrap_or_else(|| Box::new(by_flow));
        let flows = self.flows.clone();
        let flow = Box::new(move |person: &Person| Flow::named_in(&person.role).map(|name| flows.get(name).cloned()));
        let mut board = Board::new(self.flows, self.flow_settings, store.open_jobs()?);
        board.pool = has_threads.then(|| Arc::new(Semaphore::new(board.settings.pool_size.max(1))));
        let directory = Arc::new(Directory::new(Setting { manual, policy, flow, usual }));
        directory.open(store.roster()?, &store.waiting()?, &store.paused()?);
        let counters = Arc::new(Counters::default());
        let (limits, retention) = (self.limits.clone(), self.retention);
        let intake = Arc::new(Intake::new(store.last_id()?, store.last_accepted()?));
        let (writer_intake, writer_clock) = (intake.clone(), clock.clone());
        let persistence = Persistence::new(
            store,
            writer_intake,
            directory.clone(),
            writer_clock,
            limits,
            retention,
            counters.clone(),
        );
        let persistence = place(persistence);
        let house = Arc::new(House {
            registry: self.registry,
            limits: self.limits,
            clock,
            seed: self.seed,
            directory,
            counters,
            board: Arc::new(board),
            intake,
            persistence: persistence.clone(),
            supervisor: OnceLock::new(),
        });
        let hub = Arc::new(Hub::default());
        let broadcast = Broadcast::new(hub.clone()).start();
        let supervisor = Supervisor::new(house.clone()).start();
        let _first = house.supervisor.set(supervisor.downgrade());
        persistence.do_send(Listen { supervisor: supervisor.downgrade(), broadcast: broadcast.downgrade() });
        Ok(Handle {
            house,
            supervisor,
            hub,
            broadcast: Mutex::new(Some(broadcast)),
            thread: Mutex::new(None),
            runs: tokio::sync::Mutex::new(None),
        })
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("routines", &self.registry).field("limits", &self.limits).finish()
    }
}
