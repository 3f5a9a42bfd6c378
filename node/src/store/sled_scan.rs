//! A range of a sled tree as it was when the scan began, whatever is applied while it is read.
//!
//! sled reads a range as it goes. So before a batch changes a row, its old value is kept for each scan that has
//! not passed it yet; the scan puts the kept values in the place of what it finds. A scan costs nothing while
//! nothing is applied; one that is left half read costs the memory of what was changed behind its place.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::StoreError;

/// What was there when the scan began, of the rows that have changed since.
pub(super) struct Undo {
    from: Bytes,
    to: Option<Bytes>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The scan has answered up to here.
    passed: Option<Bytes>,
    old: BTreeMap<Bytes, Option<Bytes>>,
}

impl Undo {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, key: &Bytes) -> bool {
        let in_range = *key >= self.from && self.to.as_ref().is_none_or(|to| key < to);
        in_range && self.state().wants(key)
    }

    /// Keeps an old value, unless the scan has passed it while it was read.
    fn keep(&self, key: &Bytes, old: Option<Bytes>) {
        let mut state = self.state();
        if state.wants(key) {
            state.old.insert(key.clone(), old);
        }
    }
}

impl State {
    fn wants(&self, key: &Bytes) -> bool {
        self.passed.as_ref().is_none_or(|passed| key > passed) && !self.old.contains_key(key)
    }
}

/// A scan that may still be read, as the writer sees it.
pub(super) struct Open(Weak<Undo>);

impl Open {
    /// The two sides of a new scan.
    pub(super) fn new(from: &[u8], to: Option<&[u8]>) -> (Open, Arc<Undo>) {
        let (from, to) = (Bytes::copy_from_slice(from), to.map(Bytes::copy_from_slice));
        let undo = Arc::new(Undo { from, to, state: Mutex::default() });
        (Open(Arc::downgrade(&undo)), undo)
    }

    /// Whether anybody still reads it.
    pub(super) fn is_read(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Keeps the old value of a row that is about to change, for the scans that have it before them.
    pub(super) fn keep_old(
        scans: &[Open],
        key: &Bytes,
        read: impl FnOnce() -> Result<Option<Bytes>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut wanting =
            scans.iter().filter_map(|open| open.0.upgrade()).filter(|undo| undo.wants(key)).peekable();
        if wanting.peek().is_none() {
            return Ok(());
        }
        let old = read()?;
        for undo in wanting {
            undo.keep(key, old.clone());
        }
        Ok(())
    }
}

/// The reading side of a scan.
pub(super) struct SledScan<I: Iterator> {
    rows: Peekable<I>,
    undo: Arc<Undo>,
}

impl<I: Iterator<Item = Result<(Bytes, Bytes), StoreError>>> SledScan<I> {
    pub(super) fn new(rows: I, undo: Arc<Undo>) -> SledScan<I> {
        SledScan { rows: rows.peekable(), undo }
    }
}

impl<I: Iterator<Item = Result<(Bytes, Bytes), StoreError>>> Iterator for SledScan<I> {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // The tree is read before the kept values are looked at: what it shows of a later batch is then
            // already among them.
            let found = match self.rows.peek() {
                Some(Err(_)) => return self.rows.next(),
                Some(Ok((key, _))) => Some(key.clone()),
                None => None,
            };
            let mut state = self.undo.state();
            let kept = state.old.first_key_value().map(|(key, _)| key);
            let undone = match (kept, &found) {
                (None, None) => return None,
                (Some(kept), Some(found)) => kept <= found,
                (kept, _) => kept.is_some(),
            };
            if !undone {
                state.passed = found;
                return self.rows.next();
            }
            let (key, old) = state.old.pop_first()?;
            if found.as_ref() == Some(&key) {
                self.rows.next();
            }
            state.passed = Some(key.clone());
            if let Some(value) = old {
                return Some(Ok((key, value)));
            }
        }
    }
}
