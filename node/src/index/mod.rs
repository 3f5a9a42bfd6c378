//! The index: what the log says, ready to be read. An overlay in memory shows changes at once; one thread
//! brings them into the store in large sorted batches, when it is full or nothing more comes.
//!
//! * Every stored value ends with its check, the first 8 bytes of SHA-256 over key and value: a flipped bit
//!   is found when it is read, and the caller makes the index again from the log.
//! * The digest of the whole (count and sum of checks) and the log position it belongs to are one row, and
//!   go into the store in the same batch as what they describe.
//! * The store is never ahead of the log: before a batch is applied, `before_apply` makes the log durable up
//!   to its position.
//! * When the store cannot take a batch (a full disk), the overlay keeps it and it is tried again; once two
//!   overlays are full, staging waits. Nothing is lost by that: the log has it all.

mod flusher;
mod open;
mod overlay;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::{BufMut as _, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use crate::store::{Store, StoreError};
use overlay::Overlay;

pub use open::{IndexOptions, Opened, Rebuilt};

/// First 8 bytes of SHA-256 over key and value.
pub type Check = u64;

/// The row that says what the store holds: digest and position.
pub(crate) const ROOT: &[u8] = &[0];
const CHECK_BYTES: usize = 8;

/// The check of a row.
pub fn check_of(key: &[u8], value: &[u8]) -> Check {
    let mut sha = Sha256::new();
    sha.update((key.len() as u32).to_be_bytes());
    sha.update(key);
    sha.update(value);
    let hash: [u8; 32] = sha.finalize().into();
    u64::from_be_bytes(hash[..8].try_into().expect("eight bytes"))
}

/// Count of rows and sum of their checks, modulo 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Rows.
    pub count: u64,
    /// Sum of their checks.
    pub sum: u64,
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}-{}", self.sum, self.count)
    }
}

impl Digest {
    fn add(&mut self, check: Check) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(check);
    }

    fn remove(&mut self, check: Check) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(check);
    }
}

/// A value as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The value.
    pub value: Bytes,
    /// Its check: to be named when the value is replaced.
    pub check: Check,
}

/// A change to one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Staged {
    /// Which row.
    pub key: Bytes,
    /// Check of the value being replaced; `None` for a new row.
    pub old: Option<Check>,
    /// The new value; `None` removes the row.
    pub new: Option<Bytes>,
}

/// Why the index did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored row is not what was written.
    #[error("the index is damaged: a row under {prefix} does not match its check; run rebuild")]
    Damaged {
        /// First byte of the key, as a letter.
        prefix: char,
    },
    /// The whole does not match its digest.
    #[error("the index is damaged: its rows come to {found}, and {kept} was kept; run rebuild")]
    DigestDiffers {
        /// As counted.
        found: Digest,
        /// As kept.
        kept: Digest,
    },
    /// The log has lost its end, or was replaced by an older copy.
    #[error("the index is ahead of the log: the end of the log is missing")]
    AheadOfLog,
    /// The directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The index of a site.
pub struct Index {
    store: Arc<dyn Store>,
    overlay: Arc<Overlay>,
    flusher: Mutex<Option<JoinHandle<()>>>,
    /// Present while the store may differ from what a clean stop would leave.
    clean_marker: PathBuf,
}

pub(crate) fn seal(key: &[u8], value: &[u8]) -> (Bytes, Check) {
    let check = check_of(key, value);
    let mut sealed = BytesMut::with_capacity(value.len() + CHECK_BYTES);
    sealed.put_slice(value);
    sealed.put_u64(check);
    (sealed.freeze(), check)
}

pub(crate) fn unseal(key: &[u8], sealed: &Bytes) -> Result<Item, IndexError> {
    let damaged = || IndexError::Damaged { prefix: key.first().copied().unwrap_or(b'?') as char };
    let at = sealed.len().checked_sub(CHECK_BYTES).ok_or_else(damaged)?;
    let check = u64::from_be_bytes(sealed[at..].try_into().map_err(|_| damaged())?);
    let value = sealed.slice(..at);
    if check_of(key, &value) != check { Err(damaged()) } else { Ok(Item { value, check }) }
}

impl Index {
    /// The value of a key, with its check.
    ///
    /// # Errors
    /// [`IndexError::Damaged`] when the stored value is not what was written.
    pub fn get(&self, key: &[u8]) -> Result<Option<Item>, IndexError> {
        if let Some(found) = self.overlay.get(key) {
            // What the overlay holds has not left this process: its check needs no second look.
            return Ok(found.map(|sealed| split(&sealed)));
        }
        self.store.get(key)?.map(|sealed| unseal(key, &sealed)).transpose()
    }

    /// Shows changes at once, and brings them into the store later. `position` is where the log stands
    /// behind them. Waits while two overlays are full.
    pub fn stage(&self, changes: &[Staged], position: [u8; 16]) {
        self.overlay.stage(changes, position);
    }

    /// Rows from `from` up to, not including, `to`, as they were when the call was made.
    pub fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), IndexError>> + Send + '_ {
        let mut staged = self.overlay.range(from, to).into_iter().peekable();
        let mut stored = self.store.scan(from, to).peekable();
        std::iter::from_fn(move || {
            loop {
                let next_stored = match stored.peek() {
                    Some(Ok((key, _))) => Some(key.clone()),
                    Some(Err(_)) => return stored.next().map(|row| row.map_err(IndexError::from)),
                    None => None,
                };
                let take_staged = match (staged.peek(), &next_stored) {
                    (None, None) => return None,
                    (Some(_), None) => true,
                    (None, Some(_)) => false,
                    (Some((key, _)), Some(other)) => key <= other,
                };
                if take_staged {
                    let (key, value) = staged.next()?;
                    if next_stored.as_ref() == Some(&key) {
                        stored.next();
                    }
                    match value {
                        Some(sealed) => return Some(Ok((key, split(&sealed).value))),
                        None => continue,
                    }
                }
                let Some(Ok((key, sealed))) = stored.next() else { return None };
                if key == ROOT {
                    continue;
                }
                return Some(unseal(&key, &sealed).map(|item| (key, item.value)));
            }
        })
    }

    /// Waits until everything staged so far is in the store and durable there.
    ///
    /// # Errors
    /// [`IndexError`] when the store could not take it; it stays staged.
    pub fn flush(&self) -> Result<(), IndexError> {
        self.overlay.flush()?;
        Ok(self.store.checkpoint()?)
    }

    /// How many rows are staged and not yet in the store.
    pub fn lag(&self) -> usize {
        self.overlay.lag()
    }

    /// Digest of what the index shows.
    pub fn digest(&self) -> Digest {
        self.overlay.digest()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }

    /// Reads every row, and compares the whole with the digest that was kept.
    ///
    /// # Errors
    /// [`IndexError::Damaged`], [`IndexError::DigestDiffers`].
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Digest, IndexError> {
        let mut found = Digest::default();
        let kept = self.digest();
        for row in self.scan(&[1], None) {
            let (key, value) = row?;
            found.add(check_of(&key, &value));
            if found.count.is_multiple_of(16_384) {
                progress(found.count, kept.count);
            }
        }
        if found == kept { Ok(found) } else { Err(IndexError::DigestDiffers { found, kept }) }
    }

    /// Brings everything into the store and marks it clean, so that the next open need not look at it.
    ///
    /// # Errors
    /// [`IndexError`]; the next open looks, and the log has it all.
    pub fn close(&self) -> Result<(), IndexError> {
        self.flush()?;
        self.stop();
        self.store.checkpoint()?;
        open::mark_clean(&self.clean_marker)
    }

    fn stop(&self) {
        self.overlay.stop();
        let flusher = self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(flusher) = flusher {
            // A flusher that panicked has said so itself; what it held is in the log.
            let _ = flusher.join();
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.stop();
    }
}

fn split(sealed: &Bytes) -> Item {
    let at = sealed.len() - CHECK_BYTES;
    let check = u64::from_be_bytes(sealed[at..].try_into().expect("eight bytes"));
    Item { value: sealed.slice(..at), check }
}

#[cfg(test)]
mod tests;
