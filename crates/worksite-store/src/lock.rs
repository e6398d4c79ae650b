//! The lock owns the right to a site: one process holds it, on a file of its own beside the database.
//!
//! Not on the database itself: POSIX drops all locks that a process has on a file as soon as *any* descriptor of that
//! file is closed, so opening the database by other means than SQLite would silently give SQLite's own locks away.

use crate::OpenError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The right to a site, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Held for its lock alone.
    file: File,
}

impl Drop for Lock {
    /// Not by closing alone: the lock belongs to what is open, and a child that another thread is just starting has that open,
    /// too, from its fork until it becomes its program. Until then nobody could have the site.
    fn drop(&mut self) {
        let _closed_at_least = self.file.unlock();
    }
}

impl Lock {
    /// Takes the lock beside this database, and writes the process id into it for whoever is refused.
    pub(crate) fn take(database: &Path) -> Result<Self, OpenError> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let io = |error| OpenError::Io { path: path.clone(), error };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { owner: owner(&mut file), path }),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        file.set_len(0).map_err(io)?;
        write!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { file })
    }
}

fn owner(file: &mut File) -> String {
    let mut owner = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut owner));
    if read.is_err() || owner.is_empty() { "unknown".into() } else { owner }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_that_was_given_up_is_free_although_somebody_has_inherited_the_file_of_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("site.db");
        let lock = Lock::take(&site).unwrap();
        // As a child has it between its fork and its program.
        let inherited = lock.file.try_clone().unwrap();
        assert!(matches!(Lock::take(&site), Err(OpenError::Locked { .. })));
        drop(lock);
        Lock::take(&site).unwrap();
        drop(inherited);
    }
}
