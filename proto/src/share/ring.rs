//! The city's keys, newest first: what is sealed names the key that it was sealed under.
//!
//! The older ones travel to the hub sealed under the newest, so that whoever has that one alone can open everything.

use bytes::Bytes;

use super::seal::{CityKey, KEY_ID, NONCE, SealError, Sealed};
use crate::entry::Patch;
use crate::id::{Origin, SiteCode};

/// Bytes of a key.
const KEY: usize = 32;

/// The keys of a city.
#[derive(Clone, Debug)]
pub struct CityRing {
    newest: CityKey,
    /// Newest first.
    older: Vec<CityKey>,
}

impl CityRing {
    /// A ring with the key that is in use, and those before it, newest first.
    pub fn new(newest: CityKey, older: Vec<CityKey>) -> CityRing {
        CityRing { newest, older }
    }

    /// The key in use.
    pub fn newest(&self) -> &CityKey {
        &self.newest
    }

    /// Goes over to another key; the one in use so far becomes an older one.
    pub fn take(&mut self, next: CityKey) {
        let before = std::mem::replace(&mut self.newest, next);
        self.older.insert(0, before);
    }

    /// Seals with the key in use: [`CityKey::seal`].
    pub fn seal(&self, patch: &Patch, origin: Origin, seq: u64, nonce: [u8; NONCE]) -> Bytes {
        self.newest.seal(patch, origin, seq, nonce)
    }

    /// Opens with the key that the sealed part names: [`CityKey::open`].
    ///
    /// # Errors
    /// [`SealError`]; it names the key in use where none of the ring fits.
    pub fn open(&self, sealed: &[u8], origin: Origin, seq: u64) -> Result<Sealed, SealError> {
        let named = sealed.get(..KEY_ID);
        let fits = |key: &&CityKey| named == Some(key.id().as_slice());
        let key = if named.is_none() || fits(&&self.newest) { None } else { self.older.iter().find(fits) };
        key.unwrap_or(&self.newest).open(sealed, origin, seq)
    }
}

/// Associated data: a ring opens for its own city only, and as nothing else.
fn place(site: SiteCode) -> Vec<u8> {
    [b"liandong key ring 1\0".as_slice(), &site.0.to_be_bytes()].concat()
}

/// The older keys of a city sealed under its newest: key id, nonce, ciphertext with its tag.
pub fn seal_ring(newest: &CityKey, older: &[[u8; KEY]], site: SiteCode, nonce: [u8; NONCE]) -> Bytes {
    let mut out = [newest.id().as_slice(), &nonce, older.as_flattened()].concat();
    newest.encrypt(&mut out, KEY_ID + NONCE, nonce, &place(site));
    out.into()
}

/// Opens what [`seal_ring`] made.
///
/// # Errors
/// [`SealError::OtherKey`] for a ring that belongs to another key: the one at hand is not the newest, or never was the
/// city's. [`SealError::Damaged`].
pub fn open_ring(newest: &CityKey, ring: &[u8], site: SiteCode) -> Result<Vec<[u8; KEY]>, SealError> {
    let plain = newest.decrypt(ring, &place(site))?;
    let keys = plain.chunks(KEY).map(|key| key.try_into().map_err(|_| SealError::Damaged));
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldsBuilder;
    use crate::id::Epoch;

    const SITE: SiteCode = SiteCode(440_100);
    const ORIGIN: Origin = Origin { site: SITE, epoch: Epoch([1; 16]) };

    fn key(n: u8) -> CityKey {
        CityKey::new(&[n; 32])
    }

    #[test]
    fn what_each_key_sealed_opens_with_the_ring_and_with_nothing_less() {
        let patch = Patch { set: FieldsBuilder::new().str(7, "x").take(), cleared: Vec::new() };
        let mut ring = CityRing::new(key(1), Vec::new());
        let first = ring.seal(&patch, ORIGIN, 1, [9; 12]);
        ring.take(key(2));
        ring.take(key(3));
        let third = ring.seal(&patch, ORIGIN, 3, [9; 12]);
        assert_eq!(
            (ring.open(&first, ORIGIN, 1), ring.open(&third, ORIGIN, 3)),
            (Ok(patch.clone()), Ok(patch))
        );
        assert_eq!(ring.open(&[], ORIGIN, 4), Ok(Patch::default()));
        assert_eq!(third[..8], key(3).id());
        let short = CityRing::new(key(3), vec![key(2)]);
        assert!(matches!(short.open(&first, ORIGIN, 1), Err(SealError::OtherKey { .. })));
    }

    #[test]
    fn a_ring_opens_with_its_newest_key_for_its_own_city() {
        let older = [[1; 32], [2; 32]];
        let sealed = seal_ring(&key(3), &older, SITE, [9; 12]);
        assert_eq!(open_ring(&key(3), &sealed, SITE), Ok(older.to_vec()));
        assert!(matches!(open_ring(&key(2), &sealed, SITE), Err(SealError::OtherKey { .. })));
        assert_eq!(open_ring(&key(3), &sealed, SiteCode(440_300)), Err(SealError::Damaged));
        for at in 0..sealed.len() {
            let mut bent = sealed.to_vec();
            bent[at] ^= 1;
            assert!(open_ring(&key(3), &bent, SITE).is_err(), "byte {at}");
        }
        let most = vec![[5; 32]; 100];
        assert!(seal_ring(&key(3), &most, SITE, [0; 12]).len() <= 4 << 10, "what the hub keeps");
    }
}
