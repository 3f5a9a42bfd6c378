//! One layer of the overlay: what was staged, in the order it came, and the newest row of each key.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::key::Key;
use super::row::{ROOT, Root};
use crate::store::Put;

/// Rough cost of a row in memory beside its own bytes: twice its key's handle, once its value's, a map entry.
const ROW_BYTES: usize = 160;

/// Rows of calls to `stage`. The calls are kept apart: what goes into the store in one batch is always a whole
/// number of them, so that the store is at every moment exactly what the log says at one position.
#[derive(Default)]
pub(super) struct Layer {
    rows: Vec<Put>,
    /// Key → place in `rows` of its newest.
    newest: BTreeMap<Key, u32>,
    marks: Vec<Mark>,
    bytes: usize,
}

/// The end of a call.
struct Mark {
    /// Rows up to and including the call.
    rows: usize,
    root: Root,
}

impl Layer {
    /// Adds a row; answers the row of the same key that was staged here before.
    ///
    /// # Panics
    /// When the key is longer than [`MAX_KEY_BYTES`](super::key::MAX_KEY_BYTES): the keys of an index are few and known.
    pub fn put(&mut self, key: Bytes, sealed: Option<Bytes>) -> Option<&Option<Bytes>> {
        self.bytes += row_bytes(&key, &sealed);
        let place = u32::try_from(self.rows.len()).expect("a layer is bounded far below 2^32 rows");
        let short = Key::of(&key);
        let before =
            self.newest.insert(short.unwrap_or_else(|| panic!("a key of {} bytes", key.len())), place);
        self.rows.push((key, sealed));
        before.map(|place| &self.rows[place as usize].1)
    }

    /// Ends a call.
    pub fn mark(&mut self, root: Root) {
        self.marks.push(Mark { rows: self.rows.len(), root });
    }

    pub fn get(&self, key: &Key) -> Option<&Option<Bytes>> {
        self.newest.get(key).map(|place| &self.rows[*place as usize].1)
    }

    /// The first row behind `after`, or at `from` when there is none yet.
    pub fn next(&self, after: Option<&Bytes>, from: &[u8], to: Option<&[u8]>) -> Option<&Put> {
        let after = after.and_then(|after| Key::of(after));
        let low = after.map_or_else(|| Key::at_or_behind(from), Bound::Excluded);
        let (_, place) = self.newest.range((low, Bound::Unbounded)).next()?;
        let row = &self.rows[*place as usize];
        to.is_none_or(|to| row.0.as_ref() < to).then_some(row)
    }

    /// The newest rows of a range.
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> Vec<Put> {
        if to.is_some_and(|to| to <= from) {
            return Vec::new();
        }
        let bounds = (Key::at_or_behind(from), Key::before(to));
        self.newest.range(bounds).map(|(_, place)| self.rows[*place as usize].clone()).collect()
    }

    /// Keys staged.
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    /// Whether nothing was staged: a call without rows moves the position, and counts.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Calls.
    pub fn calls(&self) -> usize {
        self.marks.len()
    }

    /// Memory taken, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the log stands behind the last call.
    pub fn position(&self) -> Option<super::Position> {
        self.marks.last().map(|mark| mark.root.position)
    }

    /// The batch that follows the first `done` calls, and how many calls are done behind it: whole calls, at
    /// least one, more while they fit into `limit` bytes. Keys ascend, each once; the root comes first.
    /// `None`: nothing is left.
    pub fn batch(&self, done: usize, limit: usize) -> Option<(usize, Vec<Put>)> {
        let first = done.checked_sub(1).map_or(0, |last| self.marks[last].rows);
        let mut end = done;
        let (mut place, mut bytes) = (first, 0usize);
        for mark in self.marks.get(done..)? {
            let call = &self.rows[place..mark.rows];
            bytes = call.iter().fold(bytes, |sum, (key, value)| sum.saturating_add(row_bytes(key, value)));
            if end > done && bytes > limit {
                break;
            }
            (place, end) = (mark.rows, end + 1);
        }
        let root = self.marks[..end].last().filter(|_| end > done)?.root;
        let mut batch = Vec::with_capacity(place - first + 1);
        batch.push((Bytes::from_static(ROOT), Some(root.seal())));
        if (first, place) == (0, self.rows.len()) {
            batch.extend(self.newest.values().map(|place| self.rows[*place as usize].clone()));
        } else {
            let mut rows: Vec<&Put> = self.rows[first..place].iter().collect();
            // Stable: of equal keys the newest stays last, and the last stays.
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            let newest = rows
                .iter()
                .enumerate()
                .filter(|(at, row)| rows.get(at + 1).is_none_or(|next| next.0 != row.0));
            batch.extend(newest.map(|(_, row)| (*row).clone()));
        }
        Some((end, batch))
    }
}

fn row_bytes(key: &Bytes, sealed: &Option<Bytes>) -> usize {
    key.len() + sealed.as_ref().map_or(0, Bytes::len) + ROW_BYTES
}
