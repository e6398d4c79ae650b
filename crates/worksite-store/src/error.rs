//! Why a file would not open ([`OpenError`]), and what SQLite's own errors mean for a caller.

use rusqlite::ErrorCode;
use std::path::PathBuf;
use thiserror::Error;
use worksite_model::{Advice, StoreError};

/// Why a file could not be opened as a site. The file was left as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is no database at all. Give another path; nothing was changed.
    #[error("{path:?} is not a database; give the path of a site, or of a file that does not exist yet")]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database of another program. Give another path; nothing was changed.
    #[error("{path:?} is a database of another program (application id {application_id}); give another path")]
    NotASite {
        /// The file.
        path: PathBuf,
        /// What the file says it is.
        application_id: i32,
    },
    /// The file was written by a newer Worksite. Open it with that version; nothing was changed.
    #[error("the file has schema {found}; this build knows up to {supported}: open it with a newer worksite")]
    NewerSchema {
        /// The file's schema.
        found: i64,
        /// The newest schema this build knows.
        supported: i64,
    },
    /// The file was written by an older Worksite, and is opened read-only. Open it once as its owner: that brings it up to
    /// date, and leaves a copy beside it.
    #[error("the file has schema {found}; this build reads {wanted}: open it once with its owner")]
    OlderSchema {
        /// The file's schema.
        found: i64,
        /// The schema this build reads.
        wanted: i64,
    },
    /// The copy that is made before an older file is brought up to date could not be put in its place; nothing was changed.
    #[error("the copy of the older file could not be kept: {0}; look at the folder's rights and room")]
    Copy(String),
    /// Another process owns the site, or this one has it open already. Stop it, or use a reader.
    #[error("the site is locked by process {owner}: stop it, or open the file read-only (lock file {path:?})")]
    Locked {
        /// Who owns it, as far as the lock file says.
        owner: String,
        /// The lock file.
        path: PathBuf,
    },
    /// SQLite finds the file damaged. Restore it from a copy, or export what can be read; nothing was changed.
    #[error("the file is damaged: {0}; restore it from a copy")]
    Damaged(String),
    /// A setting did not take effect, so that the promised durability would not hold.
    #[error(
        "sqlite refused the setting {pragma}: asked for {wanted}, got {found}; check the file system and the build"
    )]
    SettingRefused {
        /// Which setting.
        pragma: &'static str,
        /// What was asked for.
        wanted: String,
        /// What is in force.
        found: String,
    },
    /// The SQLite library linked here has a known corruption bug. Build with the bundled one.
    #[error("sqlite {found} can corrupt a write-ahead log; build with the bundled library (3.51.3 or newer)")]
    OldSqlite {
        /// The version linked.
        found: String,
    },
    /// The operating system refused access to the file or the lock beside it.
    #[error("{path:?} cannot be opened: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
    /// SQLite could not open or read the file.
    #[error("the file cannot be opened: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl OpenError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        Advice::CallForHelp
    }

    /// Damage has many codes; callers have one thing to do about it.
    pub(crate) fn of(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}

/// What an SQLite error means for the whole batch, or nothing when it is about one change alone.
pub(crate) fn batch_error(error: &rusqlite::Error) -> Option<StoreError> {
    let text = error.to_string();
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some(StoreError::Full(text)),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Some(StoreError::Busy(text)),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(StoreError::Corrupt(text)),
        ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => None,
        // A failed write, sync or allocation in the middle: nobody can say what the disk has (fsync study, USENIX 2020).
        _ => Some(StoreError::Unknown(text)),
    }
}

/// What an SQLite error means for a reader: nothing was to be written, so nothing is unknown.
pub(crate) fn read_error(error: &rusqlite::Error) -> StoreError {
    match batch_error(error) {
        Some(StoreError::Unknown(text)) => StoreError::Corrupt(text),
        Some(error) => error,
        None => StoreError::Corrupt(error.to_string()),
    }
}
