//! A disk that fails on demand.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::Log;
use super::super::disk::Unwritten;

/// What the disk of one log does wrong. Nothing, until a test says so.
#[derive(Default)]
pub(in crate::log) struct Faults {
    /// Reserving space for a new segment finds the disk full.
    pub no_reserve: AtomicBool,
    /// How many more bytes can be written.
    pub room: Mutex<Option<usize>>,
    /// Syncing appended batches fails.
    pub no_sync: AtomicBool,
    /// Called before each sync of appended batches.
    pub before_sync: Mutex<Option<Box<dyn Fn() + Send>>>,
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Faults {
    pub fn reserve(&self) -> io::Result<()> {
        if self.no_reserve.load(Ordering::Relaxed) { Err(full()) } else { Ok(()) }
    }

    /// Writes what there is room for and fails, if that is not all.
    pub fn write(&self, file: &File, parts: &[IoSlice<'_>], at: u64) -> Result<(), Unwritten> {
        let mut room = self.room.lock().unwrap();
        let Some(left) = *room else { return Ok(()) };
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        if bytes.len() <= left {
            *room = Some(left - bytes.len());
            return Ok(());
        }
        file.write_all_at(&bytes[..left], at).unwrap();
        *room = Some(0);
        Err(Unwritten { written: left as u64, source: full() })
    }

    pub fn sync(&self) -> io::Result<()> {
        if let Some(wait) = &*self.before_sync.lock().unwrap() {
            wait();
        }
        if self.no_sync.load(Ordering::Relaxed) { Err(io::Error::other("medium error")) } else { Ok(()) }
    }
}

/// For whoever keeps something in a log, and has to live with a disk that fails.
impl Log {
    /// From now on there is room for so many bytes; `None`: for all.
    pub(crate) fn leave_room(&self, bytes: Option<usize>) {
        *self.disk.faults.room.lock().unwrap() = bytes;
    }

    /// From now on no sync succeeds.
    pub(crate) fn fail_syncs(&self) {
        self.disk.faults.no_sync.store(true, Ordering::Relaxed);
    }

    /// Runs something before each sync.
    pub(crate) fn before_sync(&self, run: impl Fn() + Send + 'static) {
        *self.disk.faults.before_sync.lock().unwrap() = Some(Box::new(run));
    }
}
