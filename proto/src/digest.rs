//! Digests: proof that two sites show the same set of records.
//!
//! A set's digest is the sum, modulo 2^256, of the SHA-256 of its items (AdHash, Bellare & Micciancio 1997):
//! independent of order, one addition to add or remove an item. It guards against faults, not against
//! somebody who chooses the items.

use sha2::{Digest as _, Sha256};

use crate::fields::Fields;
use crate::id::{Hash, RecordId, sha256};

/// How many buckets a kind is divided into on a difference.
pub const BUCKETS: usize = 4096;

/// Digest of one record as every site that may see it shows it. `fields` are those that travel in clear.
pub fn item(kind: u32, record: RecordId, deleted: bool, fields: &Fields) -> Hash {
    let mut sha = Sha256::new();
    sha.update(kind.to_be_bytes());
    sha.update(record.0);
    sha.update([u8::from(deleted)]);
    sha.update(fields.bytes());
    sha.finalize().into()
}

/// The bucket a record falls into: the first 12 bits of SHA-256 of its id.
pub fn bucket(record: RecordId) -> usize {
    let hash = sha256(&record.0);
    usize::from(hash[0]) << 4 | usize::from(hash[1] >> 4)
}

/// Digest and size of a set of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetDigest {
    /// How many items.
    pub count: u64,
    sum: [u64; 4],
}

impl SetDigest {
    /// Adds an item.
    pub fn add(&mut self, item: &Hash) {
        self.count += 1;
        let mut carry = false;
        for (i, limb) in self.sum.iter_mut().enumerate() {
            let word = word(item, i);
            let (sum, over_a) = limb.overflowing_add(word);
            let (sum, over_b) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over_a || over_b;
        }
    }

    /// Takes an item out.
    pub fn remove(&mut self, item: &Hash) {
        self.count -= 1;
        let mut borrow = false;
        for (i, limb) in self.sum.iter_mut().enumerate() {
            let word = word(item, i);
            let (diff, under_a) = limb.overflowing_sub(word);
            let (diff, under_b) = diff.overflowing_sub(u64::from(borrow));
            *limb = diff;
            borrow = under_a || under_b;
        }
    }

    /// The sum as 32 bytes.
    pub fn bytes(&self) -> Hash {
        let mut out = [0; 32];
        for (i, limb) in self.sum.iter().enumerate() {
            out[i * 8..i * 8 + 8].copy_from_slice(&limb.to_le_bytes());
        }
        out
    }
}

fn word(item: &Hash, i: usize) -> u64 {
    u64::from_le_bytes(item[i * 8..i * 8 + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_one_digest_in_any_order() {
        let items: Vec<Hash> = (0..50u8).map(|n| sha256(&[n])).collect();
        let (mut forth, mut back) = (SetDigest::default(), SetDigest::default());
        items.iter().for_each(|item| forth.add(item));
        items.iter().rev().for_each(|item| back.add(item));
        assert_eq!(forth, back);
        forth.add(&[0xff; 32]);
        assert_ne!(forth, back);
        forth.remove(&[0xff; 32]);
        assert_eq!(forth, back);
    }

    #[test]
    fn an_item_tells_kind_record_tombstone_and_fields_apart() {
        let fields = Fields::split(vec![0x08, 0x01]).expect("a message");
        let id = RecordId([1; 16]);
        let one = item(1, id, false, &fields);
        assert_ne!(one, item(2, id, false, &fields));
        assert_ne!(one, item(1, RecordId([2; 16]), false, &fields));
        assert_ne!(one, item(1, id, true, &fields));
        assert_ne!(one, item(1, id, false, &Fields::default()));
    }
}
