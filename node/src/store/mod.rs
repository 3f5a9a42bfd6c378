//! Ordered maps on disk, behind one trait. A store is derived from the log: it may lose its newest batches
//! in a crash, and may be thrown away; it must never answer wrongly.

mod memory;
mod sled;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use bytes::Bytes;

pub use memory::MemoryStore;
pub use sled::open_sled;

/// Rows in ascending key order.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>> + Send + 'a>;

/// An ordered map with atomic batches.
pub trait Store: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Applies a batch as a whole or not at all. Keys ascend; `None` removes.
    ///
    /// # Errors
    /// [`StoreError`]; the batch may be applied again.
    fn apply(&self, batch: &[(Bytes, Option<Bytes>)]) -> Result<(), StoreError>;

    /// Rows from `from` up to, not including, `to`; to the end without it. Sees each batch that was applied
    /// before the call; whether it sees later ones is the engine's business.
    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows<'_>;

    /// Makes everything applied so far durable.
    ///
    /// # Errors
    /// [`StoreError`].
    fn checkpoint(&self) -> Result<(), StoreError>;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What is stored is damaged; throw the store away.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// No space; try again when there is some.
    #[error("disk full: {path} needs {needed} bytes; free some space, nothing is lost")]
    Full {
        /// Where.
        path: PathBuf,
        /// How much.
        needed: u64,
    },
    /// Anything else.
    #[error("{path}: {why}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}
