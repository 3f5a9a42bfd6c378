//! Free space, and which failures of the file system are damage.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::StoreError;

/// Refuses when fewer than `needed` bytes are free where `dir` is. Engines that meet a full disk in the middle
/// of a write stay broken, or look damaged at the next open: this is asked first.
///
/// # Errors
/// [`StoreError::Full`]; [`StoreError::Io`] when the directory cannot be looked at.
pub fn require_free(dir: &Path, needed: u64) -> Result<(), StoreError> {
    let space = rustix::fs::statvfs(dir).map_err(|error| other(dir, &error))?;
    if space.f_bavail.saturating_mul(space.f_frsize) < needed {
        return Err(StoreError::Full { path: dir.to_path_buf(), needed });
    }
    Ok(())
}

/// Sorts an error that an engine got from the file system. A full disk, a missing permission, too many open
/// files say nothing about what is stored; a file that is too short or makes no sense does.
pub fn file_error(dir: &Path, needed: u64, error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::Full { path: dir.to_path_buf(), needed }
        }
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::NotFound => {
            StoreError::Corrupt(error.to_string())
        }
        // What a process has left that was killed while it made the store, or what is none of the engine's.
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            StoreError::Corrupt(error.to_string())
        }
        // An engine's own words, in the clothes of an I/O error.
        _ if error.raw_os_error().is_none() && error.kind() == ErrorKind::Other => {
            StoreError::Corrupt(error.to_string())
        }
        _ => other(dir, error),
    }
}

pub(super) fn other(dir: &Path, why: &dyn Display) -> StoreError {
    StoreError::Io { path: dir.to_path_buf(), why: why.to_string() }
}
