//! Owns the files of a site, and whether a run begins on new ones.

use super::flags::Flags;
use std::path::{Path, PathBuf};

/// The files of a site.
pub fn files(path: &Path) -> impl Iterator<Item = PathBuf> {
    let path = path.to_path_buf();
    ["", "-wal", "-shm", ".lock"].into_iter().map(move |suffix| {
        let mut path = path.clone().into_os_string();
        path.push(suffix);
        path.into()
    })
}

/// Removes a site that nobody has open.
pub fn remove(path: &Path) -> std::io::Result<()> {
    for file in files(path) {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Says whether a site that has come so far is to be replaced: it is finished, and not to be kept. An unfinished one is resumed.
pub fn is_replaced(
    flags: &Flags,
    (done, whole): (usize, usize),
    what: &str,
    is_finished: bool,
) -> Result<bool, String> {
    let so_far = format!("{} has come to {done} of {whole} {what}", flags.site.display());
    match is_finished {
        _ if done > whole => return Err(format!("{so_far}: give or leave out --cut, or take another --site")),
        false if flags.keep => return Err(format!("{so_far}: finish it without --keep")),
        true if flags.replaces() => println!("{} is finished: starting afresh", flags.site.display()),
        false if done > 0 => println!("{so_far}: resuming"),
        _ => {}
    }
    Ok(is_finished && flags.replaces())
}
