//! Rotation of signing keys: the key before signs the one that comes after it, so that whoever pinned one of them can
//! follow the line.
//!
//! A statement names the place where the old key ends. What it signed up to there stays verifiable; nothing behind it
//! does, also if the old key gets out later.

use bytes::Bytes;

use crate::id::{Epoch, Origin, SiteCode};
use crate::pb::log::v1 as pb;
use crate::sign::{SigningKey, VerifyingKey};

/// The place in a site's log where its signing key gives way to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotation {
    /// Whose log.
    pub origin: Origin,
    /// The last entry the old key may have signed; of the province, the last place of its order.
    pub after_seq: u64,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The key before.
    pub old: VerifyingKey,
    /// The key after.
    pub new: VerifyingKey,
}

/// Why a statement of a rotation is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRotation {
    /// A part is missing or has another length.
    #[error("the rotation of a signing key cannot be read")]
    Malformed,
    /// It is not signed by the key it says it replaces.
    #[error("the rotation of a signing key is not signed by the key before")]
    Signature,
}

impl Rotation {
    /// What is signed: words of its own, then every part at its fixed length.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = b"liandong key rotation 1\0".to_vec();
        text.extend_from_slice(&self.origin.site.0.to_be_bytes());
        text.extend_from_slice(&self.origin.epoch.0);
        text.extend_from_slice(&self.after_seq.to_be_bytes());
        text.extend_from_slice(&self.at_ms.to_be_bytes());
        text.extend_from_slice(&self.old.to_bytes());
        text.extend_from_slice(&self.new.to_bytes());
        text
    }

    /// The statement by which `old` hands over to `new`.
    pub fn sign(
        origin: Origin,
        after_seq: u64,
        at_ms: u64,
        old: &SigningKey,
        new: VerifyingKey,
    ) -> pb::KeyRotation {
        let rotation = Rotation { origin, after_seq, at_ms, old: old.verifying(), new };
        pb::KeyRotation {
            old_key: Bytes::copy_from_slice(&rotation.old.to_bytes()),
            new_key: Bytes::copy_from_slice(&new.to_bytes()),
            site: origin.site.0,
            epoch: Bytes::copy_from_slice(&origin.epoch.0),
            after_seq,
            at_ms,
            signature_by_old: Bytes::copy_from_slice(&old.sign_rotation(&rotation)),
        }
    }

    /// Reads a statement and holds its signature against the old key in it.
    ///
    /// # Errors
    /// [`BadRotation`].
    pub fn check(statement: &pb::KeyRotation) -> Result<Rotation, BadRotation> {
        let key = |bytes: &Bytes| VerifyingKey::from_slice(bytes).ok_or(BadRotation::Malformed);
        let epoch = Epoch::from_slice(&statement.epoch).ok_or(BadRotation::Malformed)?;
        let rotation = Rotation {
            origin: Origin { site: SiteCode(statement.site), epoch },
            after_seq: statement.after_seq,
            at_ms: statement.at_ms,
            old: key(&statement.old_key)?,
            new: key(&statement.new_key)?,
        };
        let signed = rotation.old.check_rotation(&rotation, &statement.signature_by_old);
        signed.map_err(|_| BadRotation::Signature)?;
        Ok(rotation)
    }
}

/// The rotations that lead on from a pinned key of a site, in order: each signed by the key before it. Statements that
/// come before the pin, or do not hold, lead nowhere.
pub fn line(site: SiteCode, pinned: VerifyingKey, statements: &[pb::KeyRotation]) -> Vec<Rotation> {
    let mut newest = pinned;
    let mut line = Vec::new();
    for statement in statements {
        let Ok(rotation) = Rotation::check(statement) else { continue };
        if rotation.origin.site == site && rotation.old == newest && rotation.new != newest {
            newest = rotation.new;
            line.push(rotation);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    const SITE: SiteCode = SiteCode(440_100);
    const ORIGIN: Origin = Origin { site: SITE, epoch: Epoch([1; 16]) };

    fn key(n: u8) -> SigningKey {
        SigningKey::new(&[n; 32])
    }

    fn statement(old: u8, new: u8) -> pb::KeyRotation {
        Rotation::sign(ORIGIN, 9, 1_000, &key(old), key(new).verifying())
    }

    fn reached(pinned: u8, statements: &[pb::KeyRotation]) -> VerifyingKey {
        let pinned = key(pinned).verifying();
        line(SITE, pinned, statements).last().map_or(pinned, |rotation| rotation.new)
    }

    #[test]
    fn a_pin_follows_a_line_that_each_key_has_signed_for_the_next() {
        let all = [statement(1, 2), statement(2, 3)];
        assert_eq!(reached(1, &all), key(3).verifying());
        assert_eq!(reached(2, &all), key(3).verifying(), "pinned in the middle");
        assert_eq!(reached(3, &all), key(3).verifying());
        assert_eq!(reached(1, &all[1..]), key(1).verifying(), "a link is missing");
        assert_eq!(line(SiteCode(440_300), key(1).verifying(), &all), [], "another site's");
    }

    #[test]
    fn a_rotation_that_another_key_has_signed_leads_nowhere() {
        let thief = statement(7, 8);
        let forged = pb::KeyRotation { old_key: statement(1, 8).old_key, ..thief };
        assert_eq!(Rotation::check(&forged), Err(BadRotation::Signature));
        assert_eq!(reached(1, &[forged]), key(1).verifying());
    }

    #[test]
    fn no_bit_of_a_rotation_can_be_altered() {
        let sound = statement(1, 2).encode_to_vec();
        assert!(Rotation::check(&pb::KeyRotation::decode(sound.as_slice()).expect("protobuf")).is_ok());
        for bit in 0..8 * sound.len() {
            let mut bent = sound.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let Ok(bent) = pb::KeyRotation::decode(bent.as_slice()) else { continue };
            assert!(Rotation::check(&bent).is_err(), "bit {bit}");
        }
    }
}
