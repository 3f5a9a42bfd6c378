//! What can go wrong with a log, sorted by what the caller can do.

use std::io;
use std::path::{Path, PathBuf};

use super::pos::Pos;

/// Why the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No space. The log is exactly as before and works again as soon as there is space.
    #[error(
        "disk full: no {needed} bytes for {path} ({source}); nothing is lost and the log is as before: \
         free some space on this disk, then write again"
    )]
    Full {
        /// The file that was to be made or written.
        path: PathBuf,
        /// How many bytes were asked for.
        needed: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Something that had been durable cannot be read.
    #[error(
        "log damaged: {path} at byte {offset}: {what}; change nothing in the directory (rebuild reads the log too and \
         cannot help): stop the program and run repair, or put back a backup"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it the unreadable header, preface or frame begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A segment of a format that this program does not know.
    #[error(
        "{path} was written by a newer version: log format {found}, this program knows up to {known}; nothing was \
         changed: install the newer version again"
    )]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// An fsync failed earlier. What was not synced by then may be lost.
    #[error(
        "the log stopped when {path} could not be synced ({why}); nothing more is written: \
         check the disk, then start again"
    )]
    Broken {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The directory is in use.
    #[error("{dir} is in use by {}; stop that first", .holder.map_or("another process".into(), |pid| format!("process {pid}")))]
    Locked {
        /// The locked directory.
        dir: PathBuf,
        /// Process id of the holder, when it could be read.
        holder: Option<u32>,
    },
    /// A record or a batch is too long. Refused before anything was written.
    #[error("{bytes} bytes are too long for the log, which takes at most {max}; split it")]
    TooLong {
        /// Length of the payload or batch.
        bytes: u64,
        /// The limit that it passes.
        max: u64,
    },
    /// Marks must not go back: [`Log::seek`](super::Log::seek) would miss records. Refused before anything was written.
    #[error("mark {given} after mark {last}: marks of a log never go back")]
    MarkWentBack {
        /// The mark of the refused batch.
        given: u64,
        /// The highest before it.
        last: u64,
    },
    /// A position that this log does not have.
    #[error(
        "no place {pos} in the log in {dir}, which ends at {end}; what remembers this place is newer than \
         the log: rebuild it"
    )]
    NoSuchPos {
        /// The directory.
        dir: PathBuf,
        /// The place asked for.
        pos: Pos,
        /// Where the log (or the segment asked for) ends.
        end: Pos,
    },
    /// Any other failure of the file system.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl LogError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        move |source| LogError::Io { action, path: path.to_owned(), source }
    }

    pub(super) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> LogError {
        LogError::Damaged { path: path.to_owned(), offset, what: what.into() }
    }

    /// A failed write or reservation of `needed` bytes: full when the system says so.
    pub(super) fn write(
        action: &'static str,
        path: &Path,
        needed: u64,
    ) -> impl FnOnce(io::Error) -> LogError {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                LogError::Full { path: path.to_owned(), needed, source }
            }
            _ => LogError::Io { action, path: path.to_owned(), source },
        }
    }
}
