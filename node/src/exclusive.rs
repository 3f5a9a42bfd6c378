//! The lock of an open file, for as long as somebody keeps it.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// An open file that is locked for this process. Given back when dropped, and by the kernel when the process dies.
///
/// Closing the file would not be enough: a process that another thread is starting at this moment has a copy of it
/// until it runs its program, and the lock belongs to both (`flock(2)`). So it is given back by name.
#[derive(Debug)]
pub(crate) struct Exclusive(File);

impl Exclusive {
    /// Locks a file, unless somebody else has.
    pub fn try_of(file: File) -> Result<Exclusive, TryLockError> {
        file.try_lock().map(|()| Exclusive(file))
    }

    /// Locks a file once nobody else has; it is made if it is missing, and stays.
    pub fn at(path: &Path) -> io::Result<Exclusive> {
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.lock().map(|()| Exclusive(file))
    }

    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        // What cannot be unlocked is closed next.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_file_holds_nothing_once_the_lock_is_dropped() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("LOCK");
        let open = || File::options().write(true).create(true).truncate(false).open(&path).expect("opened");
        let lock = Exclusive::try_of(open()).expect("free");
        let _copy = lock.file().try_clone().expect("a copy");
        assert!(matches!(Exclusive::try_of(open()), Err(TryLockError::WouldBlock)));
        drop(lock);
        Exclusive::try_of(open()).expect("free again");
    }
}
