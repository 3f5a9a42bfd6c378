//! A copy in place of the store: engines keep values that were overwritten or removed in their files for as long as they
//! please, and of what was erased no byte may stay.
//!
//! The copy is made beside the store (`store.next`), then takes its name. A crash in between leaves the store, or
//! none, which is made again from the log; what else is left is removed at the next open.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::open::{Engine, failed, kept_aside, sync_dir};
use super::{Index, IndexError};
use crate::store::{Guarded, Put, Store, StoreError, require_free};

/// Rows copied in one batch, in bytes.
const BATCH_BYTES: usize = 8 << 20;
/// What must be free beside the copy, in bytes: what an engine keeps free for itself, and a segment of the log.
const MARGIN_BYTES: u64 = 160 << 20;
/// How long scans are waited for; then the copy is put off.
const PATIENCE: Duration = Duration::from_secs(10);
pub(super) const STORE: &str = "store";
const NEXT: &str = "store.next";
const OLD: &str = "store.old";

impl Index {
    /// Leaves no byte on the disk of values that the index no longer shows: the store is replaced by a copy, and the
    /// damaged ones that were kept are removed. What is staged meanwhile is taken along later. Takes seconds per
    /// million rows.
    ///
    /// # Errors
    /// [`IndexError`]; the index is as it was, and old bytes may be there yet. Among them: a disk without room for a
    /// copy, and scans that were open for too long.
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
        tidy(&self.dir).map_err(failed(&self.dir))?;
        require_free(&self.dir, store.disk_bytes().saturating_add(MARGIN_BYTES))?;
        let replaced = self.replace(store);
        if replaced.is_err() {
            // If this fails, the next try begins with it.
            let _ = remove(&self.dir.join(NEXT));
        }
        replaced
    }

    fn replace(&self, store: &Guarded) -> Result<(), IndexError> {
        {
            let next = Guarded::open(|| (self.engine)(&self.dir.join(NEXT)))?;
            copy(store, &next)?;
            next.close()?;
        }
        let mut renamed = Ok(());
        let replaced = store.replace(PATIENCE, || {
            renamed = self.rename();
            let place = self.dir.join(STORE);
            if !place.exists() && self.dir.join(OLD).exists() {
                // What would open here is empty.
                return Err(self.ended("neither the store nor its copy could be given its name"));
            }
            (self.engine)(&place).map_err(|error| match error {
                StoreError::Corrupt(_) => error,
                error => self.ended(&error.to_string()),
            })
        })?;
        if !replaced {
            let why = "the store is being read and cannot be replaced by its copy now".to_owned();
            return Err(StoreError::Io { path: self.dir.clone(), why }.into());
        }
        renamed.map_err(failed(&self.dir))
    }

    /// Gives the copy the store's name, and removes the store; or gives it its name back.
    fn rename(&self) -> io::Result<()> {
        let [store, next, old] = [STORE, NEXT, OLD].map(|name| self.dir.join(name));
        if !store.exists() {
            // In memory there is nothing to rename.
            return Ok(());
        }
        fs::rename(&store, &old)?;
        if let Err(error) = fs::rename(&next, &store) {
            fs::rename(&old, &store)?;
            return Err(error);
        }
        sync_dir(&self.dir)?;
        // Before the copy is opened, which takes room.
        remove(&old)
    }

    fn ended(&self, why: &str) -> StoreError {
        StoreError::Ended { path: self.dir.clone(), why: why.to_owned() }
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
