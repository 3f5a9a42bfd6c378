//! The log: checksummed records in numbered segment files. It knows nothing about what the records mean.
//!
//! # Files
//!
//! A log is a directory with the segments `00000000000000000001.log`, `…2.log` and so on, without holes.
//! All integers are big-endian; all checksums are CRC-32C (RFC 3720, appendix B.4).
//!
//! | part | bytes | content |
//! |---|---|---|
//! | header | 40 | magic `LDLOGSEG`, version `u32`, segment number `u64`, first mark `u64`, end of the segment before `u64` (0 in the first), checksum `u32` |
//! | preface of a batch | 20 | `btch`, checksum `u32`, synced `u64`, length of the batch's frames `u32` |
//! | frame of a record | 8 + length | length `u32` (kind and payload), checksum `u32` (of length, kind and payload), kind `u8`, payload |
//!
//! After the header come batches (a preface, then its frames), then zeros: a segment is preallocated, and
//! the zeros after the last batch are the defined end. They go when the next segment begins. Since a length is never 0, zeros never look like a frame.
//!
//! # What holds
//!
//! * A segment gets records only after it has its full size, its header and its name durably. So a full disk
//!   is seen before anything is written, and the header of a segment is never torn.
//! * Before a segment gets its name, the one before it is synced to its end. So only the **last** segment can
//!   have a torn tail, and the header of the next one says where a segment must end.
//! * A batch comes back whole or not at all. What [`Log::sync_to`] has covered always comes back.
//! * The preface says up to where the segment was synced when the batch was written, and its checksum covers
//!   segment number and offset, so a preface holds only where it was written. When the log is idle after a
//!   sync, a preface of an empty batch stands at the end (and is overwritten by the next batch). Both prove, if
//!   something before that point cannot be read, that this is damage and no torn tail.
//! * A tail that was cut is zeroed and synced before the log is used, so it cannot come back to life behind
//!   batches written later.
//! * After a failed fsync nothing is known about what is on disk, and asking again would lie (the kernel marks
//!   the pages clean): every later call answers [`LogError::Broken`].
//!
//! What it cannot see: the loss of whole segments at the end, and damage to the last synced batch when the power
//! fails before the idle preface reaches the disk. The hash chains of the entries are there for that.
//!
//! # Locks
//!
//! `writer` is held while a batch goes into the file, `ends` only to look at or move positions. `writer` comes
//! before `ends`; nobody syncs or reads while holding `ends`, and a sync leader takes `writer` only if it is free.

mod batch;
mod disk;
mod error;
mod extent;
mod frame;
mod lock;
mod pos;
mod reader;
mod recover;
mod rewrite;
mod salvage;
mod scan;
mod segment;
mod sync;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
mod view;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub use batch::{Batch, Span};
pub use error::LogError;
pub use extent::{
    BATCH_HEAD_BYTES, Copied, MOST_SEGMENT_BYTES, batch_end, segment_ends, segment_path, segment_start,
};
pub use frame::VERSION as FORMAT;
pub use lock::DirLock;
pub use pos::Pos;
pub use reader::{Reader, Record};
pub use rewrite::Edit;
pub use salvage::{Hole, Salvaged, salvage};
pub use verify::Verified;
pub use view::{LogView, Records};

/// How a log cuts its files. Both may change between two opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of a segment file in bytes. A batch that does not fit gets a segment of its own size.
    pub segment_bytes: u64,
    /// Longest payload that [`Log::append`] takes, in bytes. Reading is not bound by it.
    pub max_record_bytes: u32,
}

impl Default for Options {
    /// 16 MiB segments, payloads of at most 64 MiB.
    fn default() -> Options {
        Options { segment_bytes: 16 << 20, max_record_bytes: 64 << 20 }
    }
}

/// What [`Log::open`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Where the log ends; everything before it is durable.
    pub end: Pos,
    /// What was cut from the tail: batches that nobody was told are saved. `None` after a clean stop.
    pub cut: Option<Cut>,
}

/// A torn tail that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the log ends now.
    pub at: Pos,
    /// How many bytes after that were not zero-filled.
    pub bytes: u64,
}

/// A log that is open for reading and writing; share it in an `Arc`.
pub struct Log {
    dir: PathBuf,
    options: Options,
    disk: disk::Disk,
    writer: Mutex<writer::Writer>,
    ends: Mutex<sync::Ends>,
    /// Told whenever `synced` moves or the log breaks.
    moved: Condvar,
}

impl Log {
    /// Opens the log in `dir`, or makes one when the directory holds no segment (or is missing).
    ///
    /// Reads all headers and the whole last segment; earlier segments are checked as they are read, and by
    /// [`Log::verify`]. Hold a [`DirLock`] before: two writers would ruin each other's batches.
    pub fn open(dir: &Path, options: Options) -> Result<(Log, Opened), LogError> {
        recover::open(dir, options, || Ok(None))
    }

    /// As [`Log::open`], for whoever may know that more of the log was synced than its own files prove: `durable` names up
    /// to where, and is asked only before a tail is cut. What cannot be read before that place is damage, and nothing is
    /// changed.
    pub fn open_beside<E: From<LogError>>(
        dir: &Path,
        options: Options,
        durable: impl FnOnce() -> Result<Option<Pos>, E>,
    ) -> Result<(Log, Opened), E> {
        recover::open(dir, options, durable)
    }

    /// The directory of the segments.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the next batch will begin. Everything before can be read, but need not be durable.
    pub fn end(&self) -> Pos {
        self.ends().written
    }

    /// Everything before this is durable.
    pub fn synced(&self) -> Pos {
        self.ends().synced
    }

    /// How many times the log asked the disk to sync batches, for metrics; the first was when it was opened.
    pub fn syncs(&self) -> u64 {
        self.disk.syncs()
    }

    /// The start of the newest segment whose first mark is at most `mark`: nothing before it was appended
    /// with a mark above `mark`. See [`Log::append`] for what a mark is.
    pub fn seek(&self, mark: u64) -> Pos {
        let segments = self.ends().segments.clone();
        let after = segments.partition_point(|header| header.first_mark <= mark);
        Pos { segment: segments[after.saturating_sub(1)].number, offset: frame::HEADER_BYTES }
    }

    /// How many bytes lie between a place and the end, for progress and status.
    pub fn bytes_from(&self, from: Pos) -> u64 {
        let ends = self.ends();
        let mut bytes = 0;
        for (at, header) in ends.segments.iter().enumerate().filter(|(_, h)| h.number >= from.segment) {
            let end = ends.segments.get(at + 1).map_or(ends.written.offset, |next| next.previous_end);
            let start = if header.number == from.segment { from.offset } else { frame::HEADER_BYTES };
            bytes += end.saturating_sub(start.max(frame::HEADER_BYTES));
        }
        bytes
    }

    /// The lock is entered even if a thread panicked in it: positions move only as the last step, so what a
    /// panic leaves behind is the log as before.
    fn ends(&self) -> MutexGuard<'_, sync::Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
