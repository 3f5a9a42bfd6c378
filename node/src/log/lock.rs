//! One process per directory.

use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::LogError;
use crate::exclusive::Exclusive;

/// Name of the lock file.
const LOCK: &str = "LOCK";

/// A directory that belongs to this process: a lock on its file `LOCK`, in which the process id stands.
///
/// Given back when dropped, and by the kernel when the process dies. The file stays: removing it would let two
/// processes lock two files of the same name.
#[derive(Debug)]
pub struct DirLock {
    _lock: Exclusive,
}

impl DirLock {
    /// Takes `dir` for this process, and makes it if it is missing. [`LogError::Locked`] if another process, or
    /// another place in this one, has it.
    pub fn acquire(dir: &Path) -> Result<DirLock, LogError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(LogError::write("make", dir, 0))?;
        let path = dir.join(LOCK);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(LogError::write("make", &path, 0))?;
        let lock = match Exclusive::try_of(file) {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                return Err(LogError::Locked { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(LogError::io("lock", &path)(error)),
        };
        // The process id only helps a person; without space for it, the lock holds all the same.
        let mut file = lock.file();
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DirLock { _lock: lock })
    }
}
