//! The index: what the log says, ready to be read. An overlay in memory shows changes at once; one thread
//! brings them into the store in large sorted batches: when it is full, when nothing more comes, and at the latest
//! after a minute; within two it makes them durable there ([`Pace`]).
//!
//! * Every stored value ends with its check, an XXH3 of value and key: a flipped bit is found when it is read,
//!   and the caller makes the index again from the log.
//! * The digest of the whole (count and sum of checks) and the log position it belongs to are one row, and
//!   go into the store in the same batch as what they describe. A batch holds whole calls of
//!   [`stage`](Index::stage): the store is at every moment what the log says at one position, never a mixture.
//! * The store is never ahead of the log: before a batch is applied, `before_apply` makes the log durable up
//!   to its position.
//! * So a store that is ahead of its log proves that the log has lost what was durable: then nothing is opened.
//! * An index is opened for use or made anew, never repaired: see [`Opened`].

mod end;
mod key;
mod layer;
mod open;
mod overlay;
mod pace;
mod row;
mod scan;
mod scrub;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::store::{Guarded, Store as _, StoreError};
use end::End;
use overlay::Overlay;

pub use open::{Engine, InLog, IndexOptions, Opened, Peeked, Rebuilt};
pub use overlay::Health;
pub use pace::Pace;
pub use row::{Check, Digest, Item, Position, check_of};
pub use scan::Scan;
pub use writer::BeforeApply;

/// A change to one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Staged {
    /// Which row. 1 to 31 bytes; a first byte of 0 is the index's own.
    pub key: Bytes,
    /// Check of the value being replaced, as [`Index::get`] answered it; `None` for a new row. Whoever stages
    /// reads first, and nobody else stages the same row in between.
    pub old: Option<Check>,
    /// The new value; `None` removes the row.
    pub new: Option<Bytes>,
}

/// Why the index did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IndexError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored row is not what was written.
    #[error(
        "the index is damaged: a row under {prefix} does not match its check; a restart makes it again from the log"
    )]
    Damaged {
        /// First byte of the key, as a letter.
        prefix: char,
    },
    /// The whole does not match its digest.
    #[error(
        "the index is damaged: its rows come to {found}, and {kept} was kept; a restart makes it again from the log"
    )]
    DigestDiffers {
        /// As counted.
        found: Digest,
        /// As kept.
        kept: Digest,
    },
    /// Another version of the program has written it.
    #[error(
        "the index has format {found}, and this version writes {known}; a restart makes it again from the log"
    )]
    OtherFormat {
        /// Its format.
        found: u32,
        /// That of this program.
        known: u32,
    },
    /// The log has lost its end, or was replaced by an older copy: what was saved is missing. Not damage of the index, which
    /// may be the last that knows of it.
    #[error(
        "the log has lost its end, or is an older copy: the index has seen more of it than there is; nothing was changed, keep \
         the directory as it is: at a city run repair, or put back a backup; the hub comes back by backup restore, or goes on \
         without what is lost by rebuild --accept-loss"
    )]
    AheadOfLog,
    /// The log cannot be made durable; what it may lose must not be in the store.
    #[error("the log cannot be made durable, so the index waits: {0}")]
    NotDurable(String),
    /// The index was closed meanwhile.
    #[error("the index is closed")]
    Closed,
    /// The directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
}

impl IndexError {
    /// Whether the index has to be made again: dropping it and opening it does that.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            IndexError::Damaged { .. }
                | IndexError::DigestDiffers { .. }
                | IndexError::OtherFormat { .. }
                | IndexError::Store(StoreError::Corrupt(_))
        )
    }

    /// Whether the index can be used no more before it is opened again.
    pub fn is_final(&self) -> bool {
        self.is_damage() || matches!(self, IndexError::Store(StoreError::Ended { .. }))
    }

    /// Whether space has to be freed; nothing is lost.
    pub fn is_full(&self) -> bool {
        matches!(self, IndexError::Store(StoreError::Full { .. }))
    }
}

/// The index of a site.
///
/// Dropping it without [`close`](Index::close) is what a crash does: what is not in the store yet comes from the
/// log at the next open.
pub struct Index {
    store: Arc<Guarded>,
    overlay: Arc<Overlay>,
    writer: Mutex<Option<JoinHandle<()>>>,
    dir: PathBuf,
    /// Once it has come there is no clean stop any more, so that the next open looks at everything.
    end: Arc<End>,
}

impl Index {
    /// The value of a key, with its check.
    ///
    /// # Errors
    /// [`IndexError::Damaged`] when the stored value is not what was written.
    pub fn get(&self, key: &[u8]) -> Result<Option<Item>, IndexError> {
        if let Some(staged) = self.overlay.get(key)? {
            return Ok(staged.map(|sealed| row::split(&sealed)));
        }
        // A layer leaves the overlay only when it is in the store, so that a row is never in neither.
        let stored = || -> Result<Option<Item>, IndexError> {
            self.store.get(key)?.map(|sealed| row::unseal(key, &sealed)).transpose()
        };
        stored().inspect_err(|error| self.end.note(error))
    }

    /// Shows changes at once, and brings them into the store later. `position` is where the log stands
    /// behind them. Values are copied. Waits while two overlays are full; see [`health`](Index::health) for why.
    pub fn stage(&self, changes: &[Staged], position: Position) {
        self.overlay.stage(changes, position);
    }

    /// Rows from `from` up to, not including, `to`, as they were when the call was made. Staged rows of the
    /// range are gathered in the call, the others are read as it goes.
    pub fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Scan<'_> {
        let view = self.overlay.view(from, to, || self.store.scan(from, to));
        Scan::new(view, from, to, &self.end)
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
        self.overlay.health().lag
    }

    /// How the index is doing.
    pub fn health(&self) -> Health {
        let mut health = self.overlay.health();
        if let Some(why) = self.end.why() {
            health.damaged = why.is_damage();
            health.failure = Some(why.to_string());
        }
        health
    }

    /// Whether it still brings into the store what is staged.
    ///
    /// # Errors
    /// Why not; [`IndexError::Closed`] where the thread that does it has ended.
    pub fn alive(&self) -> Result<(), IndexError> {
        if let Some(why) = self.end.why() {
            return Err(why);
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let is_alive = writer.as_ref().is_some_and(|writer| !writer.is_finished());
        if is_alive { Ok(()) } else { Err(IndexError::Closed) }
    }

    /// Waits until the index can be used no more: then whoever runs the process ends it and starts it again.
    pub async fn ended(&self) -> IndexError {
        self.end.come().await
    }

    /// Digest of what the index shows.
    pub fn digest(&self) -> Digest {
        self.overlay.digest()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }

    /// Reads every row, and compares the whole with the digest that was kept. `progress` hears rows read, and
    /// how many there are.
    ///
    /// # Errors
    /// [`IndexError::Damaged`], [`IndexError::DigestDiffers`].
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Digest, IndexError> {
        let view = self.overlay.view(&[], None, || self.store.scan(&[], None));
        let kept = view.as_ref().map(|view| view.digest).unwrap_or_default();
        let mut found = Digest::default();
        for row in Scan::new(view, &[], None, &self.end) {
            let (key, value) = row?;
            found.add(check_of(&key, &value));
            if found.count.is_multiple_of(16_384) {
                progress(found.count, kept.count);
            }
        }
        if found == kept {
            return Ok(found);
        }
        let error = IndexError::DigestDiffers { found, kept };
        self.end.note(&error);
        Err(error)
    }

    /// Brings everything into the store and marks it clean, so that the next open need not look at it. Scans have
    /// to be over. What is staged afterwards is read here and comes from the log at the next open.
    ///
    /// # Errors
    /// [`IndexError`]; the next open looks, and the log has it all.
    pub fn close(&self) -> Result<(), IndexError> {
        let flushed = self.flush();
        self.stop();
        flushed?;
        if self.end.why().is_some() {
            return Ok(());
        }
        match self.store.close() {
            Ok(()) => self.mark_clean(),
            Err(error) => {
                tracing::warn!(%error, "the index is up to date, but the next start will have to look at all of it");
                Ok(())
            }
        }
    }

    /// Ends as the writer does that meets `error`.
    #[cfg(test)]
    pub(crate) fn condemn(&self, error: IndexError) {
        self.overlay.failed(error);
    }

    fn stop(&self) {
        self.overlay.stop();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A writer that panicked has said so itself; what it held is in the log.
            let _ = writer.join();
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
