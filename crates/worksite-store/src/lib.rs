//! The door of Worksite: [`SqliteStore`] keeps a site in one SQLite file, and is the only place that knows SQL.
//!
//! Its contract is [`Store`](worksite_model::Store)'s. One process owns a file and holds the lock beside it; readers in
//! other processes ([`Reader`], the `sqlite3` shell) are welcome at any time.

mod options;
pub use options::{SqliteOptions, SyncMode, WriteHandler};

mod open;
pub use open::SqliteStore;

mod lock;

mod schema;

mod store;

mod commit;

mod fleeting;

mod index;

mod recover;

mod history;
mod jobs;

mod prune;

mod facts;

mod revision;

mod row;

mod run;

mod reader;
pub use reader::{FlowSummary, FoundRun, InboxSummary, Reader, RunnerSummary};

mod copy;
pub use copy::CopyError;

mod backup;

mod export;
pub use export::ExportSummary;

mod import;
pub use import::import;

mod check;
pub use check::CheckReport;

mod error;
pub use error::OpenError;

pub use rusqlite;
