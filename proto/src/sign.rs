//! Signatures (Ed25519, RFC 8032): a city's over where its log stands, the hub's over what it has made durable.
//!
//! What is signed begins with words of its own and has a fixed length, so that no signature can stand for
//! something else. Keys are apart from those of TLS: a certificate authority can mint a city for the wire, but
//! not for the log.

use std::fmt;

use ed25519_dalek::Signer as _;

use crate::entry::Head;
use crate::id::{Hash, Origin, RecordId, SiteCode, hex, sha256};
use crate::position::Position;
use crate::rotation::Rotation;

/// Bytes of a key, of either half.
pub const KEY_BYTES: usize = 32;

/// The secret half: 32 bytes that never leave the site.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

/// The public half.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

/// A signature that does not belong to what it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not belong to the key and what it is said to sign")]
pub struct BadSignature;

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifying().fingerprint())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.fingerprint())
    }
}

/// A receipt as it is signed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Receipted {
    /// Whose entries are durable.
    pub origin: Origin,
    /// Up to where.
    pub up_to: Head,
    /// Where the hub's order stood.
    pub at: Position,
    /// The commit that made them durable.
    pub commit_hash: Hash,
}

fn head_text(origin: Origin, head: &Head) -> Vec<u8> {
    let mut text = b"liandong head 1\0".to_vec();
    push_head(&mut text, origin, head);
    text
}

fn push_head(text: &mut Vec<u8>, origin: Origin, head: &Head) {
    text.extend_from_slice(&origin.site.0.to_be_bytes());
    text.extend_from_slice(&origin.epoch.0);
    text.extend_from_slice(&head.seq.to_be_bytes());
    text.extend_from_slice(&head.hash);
}

fn commit_text(hash: &Hash) -> Vec<u8> {
    [b"liandong commit 1\0".as_slice(), hash].concat()
}

fn receipt_text(receipt: &Receipted) -> Vec<u8> {
    let mut text = b"liandong receipt 1\0".to_vec();
    push_head(&mut text, receipt.origin, &receipt.up_to);
    text.extend_from_slice(&receipt.at.generation.to_be_bytes());
    text.extend_from_slice(&receipt.at.hub_seq.to_be_bytes());
    text.extend_from_slice(&receipt.commit_hash);
    text
}

/// What a holder says of a record that was erased.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Erased {
    /// Number of its kind.
    pub kind: u32,
    /// Which.
    pub record: RecordId,
    /// The log that the entry asking for it stands in, and its place there.
    pub entry: (Origin, u64),
    /// Who holds no payload of it any more.
    pub holder: SiteCode,
    /// Since when, milliseconds since 1970.
    pub at_ms: u64,
}

fn erased_text(erased: &Erased) -> Vec<u8> {
    let mut text = b"liandong erased 1\0".to_vec();
    text.extend_from_slice(&erased.kind.to_be_bytes());
    text.extend_from_slice(&erased.record.0);
    text.extend_from_slice(&erased.entry.0.site.0.to_be_bytes());
    text.extend_from_slice(&erased.entry.0.epoch.0);
    text.extend_from_slice(&erased.entry.1.to_be_bytes());
    text.extend_from_slice(&erased.holder.0.to_be_bytes());
    text.extend_from_slice(&erased.at_ms.to_be_bytes());
    text
}

impl SigningKey {
    /// A key from its 32 random bytes.
    pub fn new(secret: &[u8; KEY_BYTES]) -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(secret))
    }

    /// The public half.
    pub fn verifying(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    /// Signs where the origin's log stands: 64 bytes.
    pub fn sign_head(&self, origin: Origin, head: &Head) -> [u8; 64] {
        self.0.sign(&head_text(origin, head)).to_bytes()
    }

    /// Signs a commit by its hash: 64 bytes.
    pub fn sign_commit(&self, hash: &Hash) -> [u8; 64] {
        self.0.sign(&commit_text(hash)).to_bytes()
    }

    /// Signs that a record is erased here: 64 bytes.
    pub fn sign_erased(&self, erased: &Erased) -> [u8; 64] {
        self.0.sign(&erased_text(erased)).to_bytes()
    }

    /// Signs that another key takes this one's place: 64 bytes.
    pub(crate) fn sign_rotation(&self, rotation: &Rotation) -> [u8; 64] {
        self.0.sign(&rotation.text()).to_bytes()
    }

    /// Signs a receipt: 64 bytes.
    pub fn sign_receipt(&self, receipt: &Receipted) -> [u8; 64] {
        self.0.sign(&receipt_text(receipt)).to_bytes()
    }
}

impl VerifyingKey {
    /// A key from its 32 bytes; `None` when they are no key, or a weak one.
    pub fn from_slice(bytes: &[u8]) -> Option<VerifyingKey> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        (!key.is_weak()).then_some(VerifyingKey(key))
    }

    /// Its 32 bytes.
    pub fn to_bytes(self) -> [u8; KEY_BYTES] {
        self.0.to_bytes()
    }

    /// What people compare: the first 16 bytes of SHA-256 over the key, hexadecimal, in groups of four.
    pub fn fingerprint(&self) -> String {
        let digits = hex(&sha256(&self.to_bytes())[..16]);
        let groups: Vec<&str> = (0..8).map(|group| &digits[4 * group..4 * group + 4]).collect();
        groups.join(" ")
    }

    /// Holds a signature against a head.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn check_head(&self, origin: Origin, head: &Head, signature: &[u8]) -> Result<(), BadSignature> {
        self.check(&head_text(origin, head), signature)
    }

    /// Holds a signature against a commit's hash.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn check_commit(&self, hash: &Hash, signature: &[u8]) -> Result<(), BadSignature> {
        self.check(&commit_text(hash), signature)
    }

    /// Holds a signature against a receipt.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn check_receipt(&self, receipt: &Receipted, signature: &[u8]) -> Result<(), BadSignature> {
        self.check(&receipt_text(receipt), signature)
    }

    /// Holds a signature against a word about an erased record.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn check_erased(&self, erased: &Erased, signature: &[u8]) -> Result<(), BadSignature> {
        self.check(&erased_text(erased), signature)
    }

    /// Holds a signature against the rotation that this key is said to have signed.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub(crate) fn check_rotation(&self, rotation: &Rotation, signature: &[u8]) -> Result<(), BadSignature> {
        self.check(&rotation.text(), signature)
    }

    fn check(&self, text: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| BadSignature)?;
        self.0.verify_strict(text, &signature).map_err(|_| BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Epoch, SiteCode};

    const ORIGIN: Origin = Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) };
    const HEAD: Head = Head { seq: 9, hash: [2; 32] };

    fn receipt() -> Receipted {
        let at = Position { generation: 5, hub_seq: 77 };
        Receipted { origin: ORIGIN, up_to: HEAD, at, commit_hash: [3; 32] }
    }

    #[test]
    fn a_signature_stands_for_one_thing_only() {
        let key = SigningKey::new(&[7; 32]);
        let public = key.verifying();
        let head = key.sign_head(ORIGIN, &HEAD);
        assert_eq!(public.check_head(ORIGIN, &HEAD, &head), Ok(()));
        let other = Origin { site: SiteCode(440_300), ..ORIGIN };
        let later = Head { seq: 10, ..HEAD };
        assert_eq!(public.check_head(other, &HEAD, &head), Err(BadSignature));
        assert_eq!(public.check_head(ORIGIN, &later, &head), Err(BadSignature));
        assert_eq!(public.check_receipt(&receipt(), &head), Err(BadSignature));
        assert_eq!(SigningKey::new(&[8; 32]).verifying().check_head(ORIGIN, &HEAD, &head), Err(BadSignature));
        let signed = key.sign_receipt(&receipt());
        assert_eq!(public.check_receipt(&receipt(), &signed), Ok(()));
        let commit = key.sign_commit(&HEAD.hash);
        assert_eq!(public.check_commit(&HEAD.hash, &commit), Ok(()));
        assert_eq!(public.check_commit(&[9; 32], &commit), Err(BadSignature));
        let moved = Receipted { commit_hash: [4; 32], ..receipt() };
        assert_eq!(public.check_receipt(&moved, &signed), Err(BadSignature));
    }

    #[test]
    fn no_bit_of_a_signature_can_be_altered() {
        let key = SigningKey::new(&[7; 32]);
        let signature = key.sign_head(ORIGIN, &HEAD);
        for bit in 0..8 * signature.len() {
            let mut bent = signature;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.verifying().check_head(ORIGIN, &HEAD, &bent), Err(BadSignature), "bit {bit}");
        }
        assert_eq!(key.verifying().check_head(ORIGIN, &HEAD, &signature[..63]), Err(BadSignature));
    }

    #[test]
    fn keys_are_told_apart_and_weak_ones_refused() {
        let key = SigningKey::new(&[7; 32]).verifying();
        assert_eq!(VerifyingKey::from_slice(&key.to_bytes()), Some(key));
        assert_eq!(VerifyingKey::from_slice(&[0; 32]), None, "a point of small order");
        assert_eq!(VerifyingKey::from_slice(&[7; 31]), None);
        assert_eq!(key.fingerprint().len(), 39);
        assert_ne!(key.fingerprint(), SigningKey::new(&[8; 32]).verifying().fingerprint());
    }
}
