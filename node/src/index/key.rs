//! Keys as the overlay's maps hold them: in place, so that a search compares words within a node of the map
//! and does not follow a pointer for every step.

use std::ops::Bound;

/// The longest key that can be staged, in bytes.
pub(super) const MAX_KEY_BYTES: usize = 31;

/// A key of at most [`MAX_KEY_BYTES`], with zeros behind it and its length at the end: ordered as the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key([u64; 4]);

impl Key {
    /// The first bytes of `key`, as many as fit.
    fn cut(key: &[u8]) -> Key {
        let key = &key[..key.len().min(MAX_KEY_BYTES)];
        let mut bytes = [0; MAX_KEY_BYTES + 1];
        bytes[..key.len()].copy_from_slice(key);
        bytes[MAX_KEY_BYTES] = key.len() as u8;
        let (words, _) = bytes.as_chunks::<8>();
        Key(std::array::from_fn(|at| u64::from_be_bytes(words[at])))
    }

    /// `None` for a key that is too long to be staged, and so never is.
    pub fn of(key: &[u8]) -> Option<Key> {
        (key.len() <= MAX_KEY_BYTES).then(|| Key::cut(key))
    }

    /// The lower bound of the keys at or behind `from`, which may be of any length.
    pub fn at_or_behind(from: &[u8]) -> Bound<Key> {
        let key = Key::cut(from);
        // What was cut off puts `from` behind every key that fits.
        if from.len() > MAX_KEY_BYTES { Bound::Excluded(key) } else { Bound::Included(key) }
    }

    /// The upper bound of the keys before `to`.
    pub fn before(to: Option<&[u8]>) -> Bound<Key> {
        match to {
            None => Bound::Unbounded,
            Some(to) if to.len() > MAX_KEY_BYTES => Bound::Included(Key::cut(to)),
            Some(to) => Bound::Excluded(Key::cut(to)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds as _;

    use super::*;

    /// All keys over a few bytes up to a length, and some around the greatest length.
    fn keys() -> Vec<Vec<u8>> {
        let mut keys = vec![Vec::new()];
        for length in 1..4 {
            for n in 0..3_usize.pow(length) {
                keys.push((0..length).map(|at| [0, 1, 255][n / 3_usize.pow(at) % 3]).collect());
            }
        }
        for length in MAX_KEY_BYTES - 1..=MAX_KEY_BYTES + 2 {
            keys.extend([0, 7, 255].map(|byte| vec![byte; length]));
        }
        keys
    }

    #[test]
    fn keys_are_ordered_as_their_bytes_and_bounds_hold_what_they_say() {
        for a in keys() {
            let Some(key) = Key::of(&a) else {
                assert!(a.len() > MAX_KEY_BYTES);
                continue;
            };
            for b in keys() {
                if let Some(other) = Key::of(&b) {
                    assert_eq!(key.cmp(&other), a.cmp(&b), "{a:?} and {b:?}");
                }
                assert_eq!(
                    (Key::at_or_behind(&b), Bound::Unbounded).contains(&key),
                    a >= b,
                    "{a:?} from {b:?}"
                );
                assert_eq!((Bound::Unbounded, Key::before(Some(&b))).contains(&key), a < b, "{a:?} to {b:?}");
            }
        }
    }
}
