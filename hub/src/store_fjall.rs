//! fjall as the hub's store: a log-structured merge tree, chosen by measurement.
//!
//! Measured on 2 cores with 34-byte keys of 21 cities and 350-byte values, each key looked up before it is put,
//! a feed key added for every tenth record and an older one deleted, 64 MiB of cache (redb: 128), no sync per
//! batch, a checkpoint every 10 s. CPU in µs per record, of all threads until merging has settled; 0.8 of it
//! makes the data. Disk and peak memory in MiB:
//!
//! | engine, records per batch | load 1 M | change at 1 M | load 2 M | change at 2 M | disk | memory |
//! |---|---|---|---|---|---|---|
//! | fjall, 60 k, as tables | 3.9 | 7.6 | 7.4 | 11.8 | 1,351 | 165 |
//! | fjall, 10 k, journal | 5.7 | 12.0 | 8.1 | 17.7 | 1,373 | 267 |
//! | fjall, 10 k, journal, lz4 | 6.2 | 15.7 | 8.7 | 19.7 | 610 | 375 |
//! | redb, 10 k | 4.9 | 19.8 | 5.3 | 24.8 | 1,989 | 160 |
//! | redb, 60 k | 5.3 | 21.9 | 5.0 | 23.7 | 2,208 | 195 |
//!
//! So: large batches are written as a sorted table at once (no journal, no memtable), small ones go through the
//! journal; no compression, no separation of values, a filter for every table, indexes and filters in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::config::{
    BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry, PinningPolicy,
};
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable as _,
};
use liandong_node::store::{Put, Rows, Store, StoreError, file_error, guarded, require_free};

/// Free space in bytes below which the store is neither opened nor written: its journal alone takes 64 MiB.
pub(crate) const FREE_BYTES: u64 = 96 << 20;
/// Of each byte that is written: once in the journal or a table, once more while tables are merged.
pub(crate) const WRITTEN_PER_BYTE: u64 = 2;
/// From this size in bytes on a batch becomes a table of its own, at the price of some syncs.
const TABLE_BYTES: usize = 4 << 20;
/// With this many tables not yet merged, batches take the way that waits for merging.
const UNMERGED_TABLES: usize = 16;
const MEMTABLE_BYTES: u64 = 16 << 20;
const FILTER_BITS_PER_KEY: f32 = 10.0;

struct FjallStore {
    db: Database,
    rows: Keyspace,
    dir: PathBuf,
}

/// Opens or makes a fjall store. `cache_bytes` bounds its block cache.
///
/// # Errors
/// [`StoreError::Full`] when there is no space to open it, [`StoreError::Corrupt`] when it is damaged,
/// [`StoreError::Io`] when it is open elsewhere or cannot be reached. It panics on some damage.
pub fn open(dir: &Path, cache_bytes: u64) -> Result<Arc<dyn Store>, StoreError> {
    fs::create_dir_all(dir).map_err(|error| file_error(dir, FREE_BYTES, &error))?;
    require_free(dir, FREE_BYTES)?;
    let db = Database::builder(dir)
        .cache_size(cache_bytes)
        .worker_threads(1)
        .manual_journal_persist(true)
        .journal_compression(CompressionType::None)
        .max_journaling_size(64 << 20)
        .open()
        .map_err(|error| failed(dir, error))?;
    // A panic in here must not drop the database on its way out: dropping panics as well where a lock is poisoned,
    // and two panics at once end the process.
    let rows = guarded(|| db.keyspace("rows", options).map_err(|error| failed(dir, error)))?;
    Ok(Arc::new(FjallStore { db, rows, dir: dir.to_path_buf() }))
}

fn options() -> KeyspaceCreateOptions {
    let bloom = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(FILTER_BITS_PER_KEY));
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .manual_journal_persist(true)
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .filter_policy(FilterPolicy::all(bloom))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .index_block_pinning_policy(PinningPolicy::all(true))
        .filter_block_partitioning_policy(PinningPolicy::all(false))
        .index_block_partitioning_policy(PinningPolicy::all(false))
        .compaction_strategy(Arc::new(Leveled::default()))
}

fn failed(dir: &Path, error: fjall::Error) -> StoreError {
    let io = match &error {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => io,
        fjall::Error::Locked => {
            let why = "the store is open elsewhere; close it there first".to_owned();
            return StoreError::Io { path: dir.to_path_buf(), why };
        }
        // A write failed earlier, and fjall takes no more until it is opened again. What is stored is sound.
        fjall::Error::Poisoned => {
            let why = "an earlier write failed, and the store takes no more".to_owned();
            return StoreError::Ended { path: dir.to_path_buf(), why };
        }
        _ => return StoreError::Corrupt(error.to_string()),
    };
    file_error(dir, FREE_BYTES, io)
}

impl FjallStore {
    fn failed(&self, error: fjall::Error) -> StoreError {
        failed(&self.dir, error)
    }

    /// Through the journal and the memtable.
    fn commit(&self, batch: &[Put]) -> fjall::Result<()> {
        let mut out = OwnedWriteBatch::with_capacity(self.db.clone(), batch.len());
        for (key, value) in batch {
            match value {
                Some(value) => out.insert(&self.rows, key.as_ref(), value.as_ref()),
                None => out.remove(&self.rows, key.as_ref()),
            }
        }
        out.commit()
    }

    /// As a table, which is durable when it is there.
    fn add_table(&self, batch: &[Put]) -> fjall::Result<()> {
        let mut out = self.rows.start_ingestion()?;
        for (key, value) in batch {
            match value {
                Some(value) => out.write(key.as_ref(), value.as_ref())?,
                None => out.write_tombstone(key.as_ref())?,
            }
        }
        out.finish()
    }
}

impl Store for FjallStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.rows.get(key).map_err(|error| self.failed(error))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn apply(&self, batch: &[Put]) -> Result<(), StoreError> {
        let size: usize =
            batch.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len)).sum();
        require_free(&self.dir, FREE_BYTES + WRITTEN_PER_BYTE * size as u64)?;
        let as_table = size >= TABLE_BYTES && self.rows.l0_table_count() < UNMERGED_TABLES;
        let written = if as_table { self.add_table(batch) } else { self.commit(batch) };
        written.map_err(|error| self.failed(error))
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows {
        if to.is_some_and(|to| to <= from) {
            return Box::new(std::iter::empty());
        }
        // A range of the keyspace itself sees half of a batch that is going in; a snapshot does not.
        let snapshot = self.db.snapshot();
        let rows = match to {
            Some(to) => snapshot.range(&self.rows, from..to),
            None => snapshot.range(&self.rows, from..),
        };
        let dir = self.dir.clone();
        Box::new(rows.map(move |row| {
            let (key, value) = row.into_inner().map_err(|error| failed(&dir, error))?;
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

#[cfg(test)]
#[path = "../../node/src/store/suite.rs"]
mod suite;
#[cfg(test)]
mod tests;
