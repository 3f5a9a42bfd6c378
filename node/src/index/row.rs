//! How a row is stored: its value, then its check. And the one row that says what the whole comes to.
//!
//! | key | means | moved by | if lost |
//! |---|---|---|---|
//! | 0x00 | the root: count of rows (8), sum of their checks (8), log position behind them (16), format of all rows (4) | each batch, with its rows | the index is made again from the log |
//!
//! Keys that begin with 0x00 are the index's own; the others are named by those who use it.

use bytes::{BufMut as _, Bytes, BytesMut};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::IndexError;
use crate::rows;
use crate::store::Store;

/// XXH3 of a value under that of its key. It finds what disks do to a row, several times for each change, and
/// guards against nobody: whoever can write an index can write its checks as well. The log's hashes are others.
pub type Check = u64;
/// Where the log stands; opaque here.
pub type Position = [u8; 16];

/// The root row.
pub(super) const ROOT: &[u8] = &[0];
const CHECK_BYTES: usize = 8;

/// The check of a row.
pub fn check_of(key: &[u8], value: &[u8]) -> Check {
    xxh3_64_with_seed(value, xxh3_64(key))
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
    pub(super) fn add(&mut self, check: Check) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(check);
    }

    pub(super) fn remove(&mut self, check: Check) {
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

/// A value with its check behind it, as it is stored.
pub(super) fn seal(key: &[u8], value: &[u8]) -> Bytes {
    let mut sealed = BytesMut::with_capacity(value.len() + CHECK_BYTES);
    sealed.put_slice(value);
    sealed.put_u64(check_of(key, value));
    sealed.freeze()
}

/// Takes apart what [`seal`] made in this process: nothing has to be proved.
pub(super) fn split(sealed: &Bytes) -> Item {
    let at = sealed.len() - CHECK_BYTES;
    Item { value: sealed.slice(..at), check: sealed_check(sealed) }
}

/// The check of what [`seal`] made in this process.
pub(super) fn sealed_check(sealed: &Bytes) -> Check {
    let at = sealed.len() - CHECK_BYTES;
    u64::from_be_bytes(sealed[at..].try_into().expect("eight bytes"))
}

/// Takes apart what comes from a store.
pub(super) fn unseal(key: &[u8], sealed: &Bytes) -> Result<Item, IndexError> {
    let damaged = || IndexError::Damaged { prefix: key.first().copied().unwrap_or(b'?') as char };
    if sealed.len() < CHECK_BYTES {
        return Err(damaged());
    }
    let item = split(sealed);
    if check_of(key, &item.value) != item.check { Err(damaged()) } else { Ok(item) }
}

/// What a store holds, and the log position behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Root {
    pub digest: Digest,
    pub position: Position,
}

impl Root {
    /// The root row's value, sealed.
    pub fn seal(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(36);
        row.put_u64(self.digest.count);
        row.put_u64(self.digest.sum);
        row.put_slice(&self.position);
        row.put_u32(rows::FORMAT);
        seal(ROOT, &row)
    }

    /// The root of a store; `None` for one that was never written.
    pub fn read(store: &dyn Store) -> Result<Option<Root>, IndexError> {
        let Some(sealed) = store.get(ROOT)? else { return Ok(None) };
        let row = unseal(ROOT, &sealed)?.value;
        let Ok(row): Result<[u8; 36], _> = row.as_ref().try_into() else {
            return Err(IndexError::Damaged { prefix: '0' });
        };
        let found = u32::from_be_bytes(row[32..].try_into().expect("four bytes"));
        if found != rows::FORMAT {
            return Err(IndexError::OtherFormat { found, known: rows::FORMAT });
        }
        let number = |at: usize| u64::from_be_bytes(row[at..at + 8].try_into().expect("eight bytes"));
        let position = row[16..32].try_into().expect("sixteen bytes");
        Ok(Some(Root { digest: Digest { count: number(0), sum: number(8) }, position }))
    }
}
