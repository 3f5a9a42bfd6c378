//! Sealing: AES-256-GCM-SIV (RFC 8452) under the city's own key.
//!
//! A nonce that repeats (a cloned machine, a restored backup) gives away only that two plaintexts are
//! equal; that is why this mode and not plain GCM. The header binds a ciphertext to its place.

use aes_gcm_siv::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};
use bytes::Bytes;
use prost::Message as _;

use crate::entry::Patch;
use crate::fields::{Fields, put_bytes, put_numbers};
use crate::id::{Origin, sha256};
use crate::pb::log::v1 as pb;

pub(super) const KEY_ID: usize = 8;
pub(super) const NONCE: usize = 12;
const TAG: usize = 16;
/// Plaintexts are padded to a multiple of this many bytes.
pub const BUCKET: usize = 64;

/// The city's own key: 32 bytes that never leave it.
#[derive(Clone)]
pub struct CityKey {
    cipher: Aes256GcmSiv,
    id: [u8; KEY_ID],
}

impl std::fmt::Debug for CityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CityKey({})", crate::id::hex(&self.id))
    }
}

/// What `sealed` holds once opened.
pub type Sealed = Patch;

/// Why a sealed part cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Sealed under another key.
    #[error("sealed under key {found}, not under key {have}: use the recovery key that was shown at init")]
    OtherKey {
        /// Key id in the entry.
        found: String,
        /// Key id at hand.
        have: String,
    },
    /// The ciphertext was altered or cut.
    #[error("sealed part is damaged: it does not open under its own key")]
    Damaged,
}

impl CityKey {
    /// A key from its 32 bytes.
    pub fn new(key: &[u8; 32]) -> CityKey {
        let digest = sha256(&[b"liandong city key id".as_slice(), key].concat());
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&digest[..KEY_ID]);
        CityKey { cipher: Aes256GcmSiv::new(key.into()), id }
    }

    /// Names the key and tells nothing of it.
    pub fn id(&self) -> [u8; KEY_ID] {
        self.id
    }

    /// Encrypts the bytes of `out` behind its first `from`, and puts the tag behind them.
    pub(super) fn encrypt(&self, out: &mut Vec<u8>, from: usize, nonce: [u8; NONCE], place: &[u8]) {
        let tag = self
            .cipher
            .encrypt_inout_detached(&Nonce::from(nonce), place, (&mut out[from..]).into())
            .expect("a plaintext is far below 64 GiB");
        out.extend_from_slice(&tag);
    }

    /// The plaintext of key id, nonce, ciphertext and tag.
    pub(super) fn decrypt(&self, sealed: &[u8], place: &[u8]) -> Result<Vec<u8>, SealError> {
        if sealed.len() < KEY_ID + NONCE + TAG {
            return Err(SealError::Damaged);
        }
        let (id, rest) = sealed.split_at(KEY_ID);
        if id != self.id {
            let hex = crate::id::hex;
            return Err(SealError::OtherKey { found: hex(id), have: hex(&self.id) });
        }
        let (nonce, rest) = rest.split_at(NONCE);
        let (text, tag) = rest.split_at(rest.len() - TAG);
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| SealError::Damaged)?;
        let tag: [u8; TAG] = tag.try_into().map_err(|_| SealError::Damaged)?;
        let mut plain = text.to_vec();
        self.cipher
            .decrypt_inout_detached(&Nonce::from(nonce), place, plain.as_mut_slice().into(), &Tag::from(tag))
            .map_err(|_| SealError::Damaged)?;
        Ok(plain)
    }

    /// Seals a patch at place `seq` of `origin`'s log: key id, nonce, ciphertext with its tag. Nothing for
    /// an empty patch.
    pub fn seal(&self, patch: &Patch, origin: Origin, seq: u64, nonce: [u8; NONCE]) -> Bytes {
        if patch.is_empty() {
            return Bytes::new();
        }
        let set = patch.set.bytes();
        let mut out =
            Vec::with_capacity(KEY_ID + NONCE + set.len() + 2 * BUCKET + 5 * patch.cleared.len() + TAG);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&nonce);
        put_bytes(&mut out, 1, set);
        put_numbers(&mut out, 2, &patch.cleared);
        // A padding field costs two bytes of its own, and an empty one would not be written at all.
        let short = BUCKET - (out.len() - KEY_ID - NONCE + 2) % BUCKET;
        put_bytes(&mut out, 15, &[0; BUCKET][..short]);
        self.encrypt(&mut out, KEY_ID + NONCE, nonce, &place(origin, seq));
        out.into()
    }

    /// Opens what [`CityKey::seal`] made for the same place; an empty part is an empty patch.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, sealed: &[u8], origin: Origin, seq: u64) -> Result<Sealed, SealError> {
        if sealed.is_empty() {
            return Ok(Patch::default());
        }
        let plain = self.decrypt(sealed, &place(origin, seq))?;
        let plain = pb::Sealed::decode(plain.as_slice()).map_err(|_| SealError::Damaged)?;
        let set = Fields::split(plain.set).map_err(|_| SealError::Damaged)?;
        Patch::new(set, plain.cleared).map_err(|_| SealError::Damaged)
    }
}

/// Associated data: a ciphertext opens only in the place it was made for.
fn place(origin: Origin, seq: u64) -> [u8; 28] {
    let mut out = [0; 28];
    out[..4].copy_from_slice(&origin.site.0.to_be_bytes());
    out[4..20].copy_from_slice(&origin.epoch.0);
    out[20..].copy_from_slice(&seq.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldsBuilder;
    use crate::id::{Epoch, SiteCode};

    const ORIGIN: Origin = Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) };

    fn patch(value: &str) -> Patch {
        Patch { set: FieldsBuilder::new().str(7, value).take(), cleared: vec![9] }
    }

    #[test]
    fn what_was_sealed_opens_again_and_only_in_its_place() {
        let key = CityKey::new(&[3; 32]);
        let sealed = key.seal(&patch("440100198503121239"), ORIGIN, 5, [9; 12]);
        assert_eq!(key.open(&sealed, ORIGIN, 5), Ok(patch("440100198503121239")));
        assert_eq!(key.open(&sealed, ORIGIN, 6), Err(SealError::Damaged));
    }

    #[test]
    fn a_plaintext_is_the_proto() {
        let key = CityKey::new(&[3; 32]);
        let sealed = key.seal(&patch("x"), ORIGIN, 5, [9; 12]);
        let mut plain = sealed[KEY_ID + NONCE..sealed.len() - TAG].to_vec();
        let tag: [u8; TAG] = sealed[sealed.len() - TAG..].try_into().expect("a tag");
        key.cipher
            .decrypt_inout_detached(
                &Nonce::from([9; 12]),
                &place(ORIGIN, 5),
                plain.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .expect("its own key");
        let generic = pb::Sealed::decode(plain.as_slice()).expect("protobuf");
        assert_eq!(generic.encode_to_vec(), plain);
        assert_eq!((generic.cleared, generic.padding.len() % BUCKET > 0), (vec![9], true));
    }

    #[test]
    fn no_part_of_a_ciphertext_can_be_altered() {
        let key = CityKey::new(&[3; 32]);
        let sealed = key.seal(&patch("x"), ORIGIN, 5, [9; 12]);
        for at in 0..sealed.len() {
            let mut bent = sealed.to_vec();
            bent[at] ^= 1;
            assert!(key.open(&bent, ORIGIN, 5).is_err(), "byte {at}");
        }
    }

    #[test]
    fn lengths_fall_into_buckets() {
        let key = CityKey::new(&[3; 32]);
        let lengths: std::collections::BTreeSet<usize> =
            (0..200).map(|n| key.seal(&patch(&"x".repeat(n)), ORIGIN, 1, [0; 12]).len()).collect();
        assert!(lengths.iter().all(|len| (len - KEY_ID - NONCE - TAG).is_multiple_of(BUCKET)), "{lengths:?}");
        assert!(lengths.len() <= 5, "{lengths:?}");
    }

    #[test]
    fn another_key_is_named() {
        let sealed = CityKey::new(&[3; 32]).seal(&patch("x"), ORIGIN, 1, [0; 12]);
        assert!(matches!(CityKey::new(&[4; 32]).open(&sealed, ORIGIN, 1), Err(SealError::OtherKey { .. })));
    }
}
