//! The backup owns a second file that opens as the site did at one moment, made while the owner goes on writing.

use crate::copy::{CopyError, NewFile};
use crate::reader::Reader;
use std::io;
use std::path::Path;

impl Reader {
    /// Copies the site, of one moment, to a new file that opens as a site: to restore is to open the copy. Takes no
    /// lock, and the owner goes on writing meanwhile; the write-ahead log is not emptied until the copy is made. The copy
    /// is compact, and on the disk when this returns. If the process dies meanwhile, a file that ends in `.partial` is left
    /// beside it.
    ///
    /// The copy's `closed_cleanly` is the original's: 0 when it was made beside a living owner, so that the first opening
    /// of the copy looks for damage as after an unclean stop, and 1 when the file was cold.
    ///
    /// # Errors
    /// [`CopyError`]; nothing is left of the copy.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<(), CopyError> {
        let new = NewFile::begin(to.as_ref())?;
        let Some(name) = new.temporary().to_str() else {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8; give another name");
            return Err(CopyError::Io { path: to.as_ref().to_path_buf(), error });
        };
        self.connection.execute("VACUUM INTO ?1", [name])?;
        new.land()
    }
}
