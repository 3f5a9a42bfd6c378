//! Ordered maps on disk, behind one trait. A store is derived from the log: it may lose its newest batches
//! in a crash, and may be thrown away; it must never answer wrongly.

mod guard;
mod memory;
mod sled;
mod sled_scan;
mod space;

use std::path::PathBuf;

use bytes::Bytes;

pub use guard::{Guarded, guarded};
pub use memory::MemoryStore;
pub use sled::{FREE_BYTES as NODE_FREE_BYTES, WRITTEN_PER_BYTE, open_sled};
pub use space::{file_error, require_free};

/// A row to write: a key, and its new value or `None` to remove it.
pub type Put = (Bytes, Option<Bytes>);

/// Rows in ascending key order. They keep what they read from open.
pub type Rows = Box<dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>> + Send>;

/// An ordered map with atomic batches.
pub trait Store: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Applies a batch as a whole or not at all. Keys ascend, each once; `None` removes. One thread applies.
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::Full`] the same batch may be applied again.
    fn apply(&self, batch: &[Put]) -> Result<(), StoreError>;

    /// Rows from `from` up to, not including, `to`; to the end without it. They are those of the moment of the
    /// call: each batch that was applied before it, and nothing of a later one. The store cannot be opened
    /// again before its scans are gone.
    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows;

    /// Makes everything applied so far durable.
    ///
    /// # Errors
    /// [`StoreError`].
    fn checkpoint(&self) -> Result<(), StoreError>;

    /// Nothing is applied any more: leaves the store durable, and such that damage to its files is noticed when
    /// they are opened or read, and never makes it answer from an earlier state. Reading goes on.
    ///
    /// # Errors
    /// [`StoreError`]; an engine may refuse while scans are open.
    fn close(&self) -> Result<(), StoreError> {
        self.checkpoint()
    }

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;

    /// The batch size in bytes that suits the engine: larger ones cost it memory or delay its readers.
    fn batch_bytes(&self) -> usize {
        usize::MAX
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// What is stored is damaged; throw the store away.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// No space; try again when there is some.
    #[error("disk full: {path} needs {needed} free bytes; free some space, nothing is lost")]
    Full {
        /// Where.
        path: PathBuf,
        /// How much must be free, in bytes.
        needed: u64,
    },
    /// The engine takes no more until it is opened again. What is stored is sound.
    #[error("{path}: {why}; a restart opens it again")]
    Ended {
        /// Where.
        path: PathBuf,
        /// What happened before.
        why: String,
    },
    /// Anything else: no damage, and no reason to throw the store away.
    #[error("{path}: {why}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;
