//! The weather of Worksite: seeds, virtual time, crashes, faults and traces.
//!
//! A [`World`] plays a [`Scenario`] on one thread under a paused clock, on any store; what happens is a list of
//! [`Event`]s, the same for the same seed, over which [`Laws`] watch. [`MemoryStore`] is the second store beside SQLite,
//! and [`conformance`] is the suite that both pass. [`office`] is a simulated company on a real house.

mod memory_runs;

mod memory;
pub use memory::{MemoryDisk, MemoryStore};

pub mod conformance;

mod layer;
pub use layer::{Layer, Layered};

mod hands;
pub use hands::Hands;

mod weather;
pub use weather::{Incident, Listener, Mishap, Weather};

mod fault;
pub use fault::{Fault, Faults, FaultyStore};

mod power;
pub use power::{Power, PowerDisk, PowerStore};

mod trace;
pub use trace::{Event, Inventory, Recording, RecordingStore, Trace};

mod laws;
pub use laws::{Broken, LAWS, Law, Laws, recovery_equals_life};

mod scenario;
pub use scenario::{BY_HAND, Letter, Letters, Scenario, Step};

mod play;

mod world;
pub use world::{Ending, Remembered, World};

mod tick;
pub use tick::{Beat, Chances, Ticks};

pub mod office;
