//! A copy in place of the store: engines keep values that were overwritten or removed in their files for as long as they
//! please, and of what was erased no byte may stay.
//!
//! The copy is made beside the store (`store.next`), then takes its name. A crash in between leaves the store, or
//! none, which is made again from the log; what else is left is removed at the next open.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::open::{Engine, failed, kept_aside, sync_dir};
use super::{Index, IndexError};
use crate::store::{Guarded, Put, Store};

/// Rows copied in one batch, in bytes.
const BATCH_BYTES: usize = 8 << 20;
pub(super) const STORE: &str = "store";
const NEXT: &str = "store.next";
const OLD: &str = "store.old";

impl Index {
    /// Leaves no byte on the disk of values that the index no longer shows: the store is replaced by a copy, and the
    /// damaged ones that were kept are removed. What is staged meanwhile is taken along later. Takes seconds per
    /// million rows.
    ///
    /// # Errors
    /// [`IndexError`]; the index is as it was, and old bytes may be there yet.
    pub fn scrub(&self) -> Result<(), IndexError> {
        self.overlay.scrub()?;
        for kept in kept_aside(&self.dir).map_err(failed(&self.dir))? {
            remove(&kept).map_err(failed(&kept))?;
        }
        Ok(())
    }
}

/// What the writer needs to replace a store.
pub(super) struct Copying {
    pub engine: Engine,
    pub dir: PathBuf,
}

impl Copying {
    /// Replaces the store by a copy of itself. Nobody applies meanwhile.
    pub fn run(&self, store: &Guarded) -> Result<(), IndexError> {
        let path = |name: &str| self.dir.join(name);
        remove(&path(NEXT)).map_err(failed(&self.dir))?;
        {
            let next = Guarded::open(|| (self.engine)(&path(NEXT)))?;
            copy(store, &next)?;
            next.close()?;
        }
        let moved = || -> io::Result<()> {
            rename(&path(STORE), &path(OLD))?;
            rename(&path(NEXT), &path(STORE))?;
            sync_dir(&self.dir)
        };
        let mut renamed = Ok(());
        store.replace(|| {
            renamed = moved();
            (self.engine)(&path(STORE))
        })?;
        renamed.map_err(failed(&self.dir))?;
        remove(&path(OLD)).map_err(failed(&self.dir))
    }
}

fn copy(from: &Guarded, to: &Guarded) -> Result<(), IndexError> {
    let limit = BATCH_BYTES.min(to.batch_bytes());
    let (mut batch, mut bytes): (Vec<Put>, usize) = (Vec::new(), 0);
    for row in from.scan(&[], None) {
        let (key, sealed) = row?;
        bytes += key.len() + sealed.len();
        batch.push((key, Some(sealed)));
        if bytes >= limit {
            to.apply(&batch)?;
            (batch, bytes) = (Vec::new(), 0);
        }
    }
    Ok(to.apply(&batch)?)
}

/// Removes what a replacement that was cut short has left.
pub(super) fn tidy(dir: &Path) -> io::Result<()> {
    [NEXT, OLD].iter().try_for_each(|name| remove(&dir.join(name)))
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A store in memory has no directory.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
