//! fjall as the hub's store: an LSM tree, chosen by measurement for the hub's mix of reads and puts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use liandong_node::store::{Rows, Store, StoreError};

struct FjallStore {
    db: Database,
    rows: Keyspace,
    dir: PathBuf,
}

/// Opens or makes a fjall store.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is damaged.
pub fn open(dir: &Path, cache_bytes: u64) -> Result<Arc<dyn Store>, StoreError> {
    fs::create_dir_all(dir).map_err(|error| io(dir, &error))?;
    let failed = |error: fjall::Error| classify(dir, error);
    let db = Database::builder(dir)
        .cache_size(cache_bytes)
        .worker_threads(1)
        .manual_journal_persist(true)
        .max_journaling_size(64 << 20)
        .open()
        .map_err(failed)?;
    let options =
        || KeyspaceCreateOptions::default().max_memtable_size(24 << 20).manual_journal_persist(true);
    let rows = db.keyspace("rows", options).map_err(failed)?;
    Ok(Arc::new(FjallStore { db, rows, dir: dir.to_path_buf() }))
}

fn io(dir: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Io { path: dir.to_path_buf(), why: error.to_string() }
}

fn classify(dir: &Path, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            StoreError::Full { path: dir.to_path_buf(), needed: 64 << 20 }
        }
        error => StoreError::Corrupt(error.to_string()),
    }
}

impl FjallStore {
    fn failed(&self, error: fjall::Error) -> StoreError {
        classify(&self.dir, error)
    }
}

impl Store for FjallStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.rows.get(key).map_err(|error| self.failed(error))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn apply(&self, batch: &[(Bytes, Option<Bytes>)]) -> Result<(), StoreError> {
        let mut out = OwnedWriteBatch::with_capacity(self.db.clone(), batch.len());
        for (key, value) in batch {
            match value {
                Some(value) => out.insert(&self.rows, key.as_ref(), value.as_ref()),
                None => out.remove(&self.rows, key.as_ref()),
            }
        }
        out.commit().map_err(|error| self.failed(error))
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows<'_> {
        let from = from.to_vec();
        let rows = match to {
            Some(to) => self.rows.range(from..to.to_vec()),
            None => self.rows.range(from..),
        };
        Box::new(rows.map(|row| {
            let (key, value) = row.into_inner().map_err(|error| self.failed(error))?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        }))
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        self.db.persist(PersistMode::SyncAll).map_err(|error| self.failed(error))
    }

    fn disk_bytes(&self) -> u64 {
        self.db.disk_space().unwrap_or(0)
    }
}
