//! Copying owns a new file that appears whole or not at all, and why it did not ([`CopyError`]).

use crate::OpenError;
use crate::error::read_error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;
use worksite_model::{Advice, StoreError};

/// Why a site was not copied. Nothing is left of the copy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CopyError {
    /// There is something under the name of the copy. Give another name, or move it away.
    #[error("{path:?} is there already; give another name, or move it away")]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The operating system refused the new file.
    #[error("{path:?} cannot be written: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// The lines cannot be written, or read.
    #[error("the lines of the export cannot be passed on: {0}")]
    Stream(#[source] io::Error),
    /// The site cannot be read, or the copy cannot be made; the store's error says what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The new file cannot be made a site; its error names the remedy.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The application keeps something in the file that lines cannot carry. Make a backup instead.
    #[error("{name:?} is a virtual table, which lines cannot carry; make a backup instead")]
    Virtual {
        /// The application's table.
        name: String,
    },
    /// The export was made under another schema.
    #[error(
        "the export has schema {found}, this build {supported}: import it with the build that made it, and open the \
         site with the newer one"
    )]
    OtherSchema {
        /// The export's schema.
        found: i64,
        /// The schema of this build.
        supported: i64,
    },
    /// A line of the export is not what it should be. Correct it, or export again.
    #[error("line {line} of the export is broken: {reason}; correct it, or export again")]
    Line {
        /// Its number, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The export ended too early, or has too much: its first line says how many rows each table has.
    #[error("the export has {found} rows of {table:?} and announces {announced}: it was cut or edited; export again")]
    Incomplete {
        /// The table.
        table: String,
        /// How many rows the first line announces.
        announced: u64,
        /// How many there are.
        found: u64,
    },
    /// All lines were read, and what they make breaks the laws of a site.
    #[error("the export makes no sound site: {}; let its owner open the original once, and export again", .problems.join("; "))]
    Unsound {
        /// What [`Reader::check`](crate::Reader::check) says of it.
        problems: Vec<String>,
    },
}

impl CopyError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Store(error) => error.advice(),
            Self::Open(error) => error.advice(),
            Self::Io { .. } | Self::Stream(_) | Self::Unsound { .. } => Advice::CallForHelp,
            _ => Advice::FixRequest,
        }
    }
}

impl From<rusqlite::Error> for CopyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(read_error(&error))
    }
}

/// A file that is written under a name of its own beside its place, and takes its place when it is whole.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
}

impl NewFile {
    /// Looks whether the place is free, and chooses the other name.
    pub(crate) fn begin(path: &Path) -> Result<Self, CopyError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // A log or journal without its file would be played back into ours.
        for beside in ["", "-wal", "-journal"] {
            let path = with_ending(path, beside);
            if path.try_exists().map_err(refused(&path))? {
                return Err(CopyError::Exists { path });
            }
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = with_ending(path, &format!(".{}-{number}.partial", std::process::id()));
        Ok(Self { path: path.to_path_buf(), temporary })
    }

    /// Where to write.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Syncs the file, which nobody has open any more, and lets it take its place, unless somebody else was quicker.
    pub(crate) fn land(self) -> Result<(), CopyError> {
        let file = File::open(&self.temporary).map_err(refused(&self.temporary))?;
        file.sync_all().map_err(refused(&self.temporary))?;
        drop(file);
        // A rename would replace what is there; a second name is refused. Not every file system has second names.
        match fs::hard_link(&self.temporary, &self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(CopyError::Exists { path: self.path.clone() });
            }
            Err(_) if self.path.exists() => return Err(CopyError::Exists { path: self.path.clone() }),
            Err(_) => fs::rename(&self.temporary, &self.path).map_err(refused(&self.path))?,
        }
        let _gone = fs::remove_file(&self.temporary);
        sync_folder(&self.path).inspect_err(|_| drop(fs::remove_file(&self.path)))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        for beside in ["", "-wal", "-shm", "-journal"] {
            let _gone = fs::remove_file(with_ending(&self.temporary, beside));
        }
    }
}

/// Makes the new name durable. Elsewhere than on Unix a folder cannot be opened, and needs not be.
fn sync_folder(path: &Path) -> Result<(), CopyError> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused(folder))?;
    }
    Ok(())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}

fn refused(path: &Path) -> impl Fn(io::Error) -> CopyError {
    let path = path.to_path_buf();
    move |error| CopyError::Io { path: path.clone(), error }
}
