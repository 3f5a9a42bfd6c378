//! A directory that is one process's for as long as that lives: locked itself, so that nothing is left in it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use crate::exclusive::Exclusive;

/// What trying to take a directory comes to.
#[derive(Debug)]
pub(crate) enum Held {
    /// It is this process's for as long as the lock is kept.
    Mine(Exclusive),
    /// Another process has it.
    Others,
    /// It is no longer there, or another one of that name is.
    Gone,
}

/// Tries to take a directory. A link is followed only where that is wanted.
///
/// # Errors
/// When it cannot be opened or locked.
pub(crate) fn hold(dir: &Path, follows: bool) -> io::Result<Held> {
    let flags = OFlags::DIRECTORY | if follows { OFlags::empty() } else { OFlags::NOFOLLOW };
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(dir);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::Gone),
        opened => opened?,
    };
    let lock = match Exclusive::try_of(file) {
        Ok(lock) => lock,
        Err(fs::TryLockError::WouldBlock) => return Ok(Held::Others),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    };
    let named = if follows { fs::metadata(dir) } else { fs::symlink_metadata(dir) };
    let locked = lock.file().metadata()?;
    let is_same = named.is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino()));
    Ok(if is_same { Held::Mine(lock) } else { Held::Gone })
}
