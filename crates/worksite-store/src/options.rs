//! How a file is kept: [`SqliteOptions`].

use rusqlite::Transaction;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Writes one named write into the application's own tables, inside the transaction that holds the message about it.
///
/// What it finds in the house's own tables is not promised: an envelope that comes and goes in one transaction, for
/// instance, is never in them.
pub type WriteHandler = Arc<dyn Fn(&Transaction<'_>, &[u8]) -> rusqlite::Result<()> + Send + Sync>;

/// When a commit counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// When the disk has said that it has it: survives the death of the process and of the machine.
    #[default]
    Full,
    /// When the operating system has it: survives the death of the process; the last commits may be lost with the
    /// machine. The file is never damaged by that.
    Normal,
}

/// How a site's file is kept.
#[derive(Clone, Default)]
pub struct SqliteOptions {
    /// When a commit counts as durable. Default: when the disk has it.
    pub sync: SyncMode,
    /// How large the file may grow, in bytes, rounded down to pages. Reaching it is [`StoreError::Full`]. Default: no limit.
    ///
    /// [`StoreError::Full`]: worksite_model::StoreError::Full
    pub file_bytes_max: Option<u64>,
    /// What becomes of [`NamedWrite`](worksite_model::NamedWrite)s, by name.
    pub handlers: HashMap<String, WriteHandler>,
}

impl SqliteOptions {
    /// Registers the handler for writes of this name.
    ///
    /// ```
    /// use worksite_store::SqliteOptions;
    ///
    /// let options = SqliteOptions::default().write_handler("order", |transaction, bytes| {
    ///     transaction.execute("INSERT INTO orders (body) VALUES (?1)", [bytes]).map(drop)
    /// });
    /// assert!(options.handlers.contains_key("order"));
    /// ```
    #[must_use]
    pub fn write_handler(
        mut self,
        name: impl Into<String>,
        handler: impl Fn(&Transaction<'_>, &[u8]) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.handlers.insert(name.into(), Arc::new(handler));
        self
    }
}

impl fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteOptions")
            .field("sync", &self.sync)
            .field("file_bytes_max", &self.file_bytes_max)
            .field("handlers", &self.handlers.len())
            .finish()
    }
}
