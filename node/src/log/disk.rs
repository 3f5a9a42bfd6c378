//! The system calls that change the disk, in one place: counted, and in tests made to fail.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, retry_on_intr};

/// A write that stopped early.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// How many bytes got into the file.
    pub written: u64,
    /// Why no more did.
    pub source: io::Error,
}

/// The way to the disk of one log.
#[derive(Default)]
pub(super) struct Disk {
    syncs: AtomicU64,
    #[cfg(test)]
    pub faults: super::tests::faults::Faults,
}

impl Disk {
    /// How many times `sync` was called.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Gives `file` a size of `bytes`, all zeros, with the space for it where the file system can promise that.
    pub fn reserve(&self, file: &File, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.reserve()?;
        match retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes),
            done => Ok(done?),
        }
    }

    /// Writes `parts` one after the other at offset `at`: one system call, unless the kernel takes only a part.
    pub fn write(&self, file: &File, mut parts: &mut [IoSlice<'_>], at: u64) -> Result<(), Unwritten> {
        #[cfg(test)]
        self.faults.write(file, parts, at)?;
        let mut written = 0;
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        while left > 0 {
            match rustix::io::pwritev(file, parts, at + written) {
                Ok(0) => return Err(Unwritten { written, source: io::ErrorKind::WriteZero.into() }),
                Ok(count) => {
                    written += count as u64;
                    left -= count;
                    IoSlice::advance_slices(&mut parts, count);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(Unwritten { written, source: error.into() }),
            }
        }
        Ok(())
    }

    /// Overwrites `from..to` of `file` with zeros.
    pub fn wipe(&self, file: &File, from: u64, to: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut at = from;
        while at < to {
            let count = (to - at).min(ZEROS.len() as u64);
            let mut parts = [IoSlice::new(&ZEROS[..count as usize])];
            self.write(file, &mut parts, at).map_err(|unwritten| unwritten.source)?;
            at += count;
        }
        Ok(())
    }

    /// Makes appended batches durable. The size of the last segment never changes, so its data is all there is to sync.
    pub fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        self.faults.sync()?;
        file.sync_data()
    }

    /// Makes names in `dir` durable.
    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}
