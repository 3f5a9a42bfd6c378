//! sled as the node's store. What it does not promise by itself is seen to here:
//!
//! * a `snap.*.generating` left by a crash makes open fail: deleted first;
//! * some damage panics at open: caught, and answered as damage;
//! * its `flush` uses `sync_file_range` on Linux, which does not survive a power loss: a checkpoint also
//!   syncs the `db` file;
//! * it cannot be opened on a full disk, which must not be taken for damage: free space is looked at first.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Rows, Store, StoreError};

/// Free space below which sled is not opened.
const FREE_BYTES: u64 = 8 << 20;

struct SledStore {
    db: sled::Db,
    dir: PathBuf,
}

/// Opens or makes a sled store.
///
/// # Errors
/// [`StoreError::Full`] when there is no space to open it, [`StoreError::Corrupt`] when it is damaged.
pub fn open_sled(dir: &Path, cache_bytes: u64) -> Result<Arc<dyn Store>, StoreError> {
    let failed = |error: io::Error| StoreError::Io { path: dir.to_path_buf(), why: error.to_string() };
    fs::create_dir_all(dir).map_err(failed)?;
    let space = rustix::fs::statvfs(dir).map_err(|error| failed(error.into()))?;
    if space.f_bavail.saturating_mul(space.f_frsize) < FREE_BYTES {
        return Err(StoreError::Full { path: dir.to_path_buf(), needed: FREE_BYTES });
    }
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    let config = sled::Config::new()
        .path(dir)
        .flush_every_ms(None)
        .cache_capacity(cache_bytes)
        .print_profile_on_drop(false);
    let db = guarded(|| config.open())?;
    Ok(Arc::new(SledStore { db, dir: dir.to_path_buf() }))
}

/// Runs a call into sled; a panic inside it is damage, as is any error but one of the file system.
pub(super) fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(StoreError::Corrupt(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no word why");
            Err(StoreError::Corrupt(format!("sled panicked: {text}")))
        }
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = guarded(|| self.db.get(key))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn apply(&self, batch: &[(Bytes, Option<Bytes>)]) -> Result<(), StoreError> {
        let mut out = sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => out.insert(key.as_ref(), value.as_ref()),
                None => out.remove(key.as_ref()),
            }
        }
        guarded(|| self.db.apply_batch(out))
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows<'_> {
        let rows = match to {
            Some(to) => self.db.range(from..to),
            None => self.db.range(from..),
        };
        let mut rows = rows;
        Box::new(std::iter::from_fn(move || match guarded(|| rows.next().transpose()) {
            Ok(Some((key, value))) => {
                Some(Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value))))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }))
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        guarded(|| self.db.flush())?;
        let failed = |error: io::Error| StoreError::Io { path: self.dir.clone(), why: error.to_string() };
        let db = self.dir.join("db");
        File::open(&db).and_then(|file| file.sync_all()).map_err(failed)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }

    fn disk_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}
