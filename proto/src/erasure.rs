//! Erasures as they travel and are stored: which entry asked for one, and who has proved it.

use bytes::Bytes;

use crate::id::{Epoch, Origin, RecordId, SiteCode};
use crate::pb::log::v1 as pb;
use crate::sign::{BadSignature, Erased, SigningKey, VerifyingKey};

pub use pb::{EntryRef, ErasureProof, ErasureRow};

/// Names an entry.
pub fn entry_ref(origin: Origin, seq: u64) -> EntryRef {
    EntryRef { site: origin.site.0, epoch: Bytes::copy_from_slice(&origin.epoch.0), seq }
}

/// The log and the place in it that a name stands for; `None` when it is none.
pub fn named(entry: &EntryRef) -> Option<(Origin, u64)> {
    let epoch = Epoch::from_slice(&entry.epoch)?;
    Some((Origin { site: SiteCode(entry.site), epoch }, entry.seq))
}

/// A holder's proof, signed.
pub fn prove(key: &SigningKey, erased: &Erased) -> ErasureProof {
    ErasureProof {
        kind: erased.kind,
        record: Bytes::copy_from_slice(&erased.record.0),
        entry: Some(entry_ref(erased.entry.0, erased.entry.1)),
        holder: erased.holder.0,
        at_ms: erased.at_ms,
        signature: Bytes::copy_from_slice(&key.sign_erased(erased)),
    }
}

/// What a proof says; `None` when it lacks a part.
pub fn read(proof: &ErasureProof) -> Option<Erased> {
    Some(Erased {
        kind: proof.kind,
        record: RecordId::from_slice(&proof.record)?,
        entry: named(proof.entry.as_ref()?)?,
        holder: SiteCode(proof.holder),
        at_ms: proof.at_ms,
    })
}

/// Holds a proof against its holder's key, and answers what it says.
///
/// # Errors
/// [`BadSignature`], also for a proof that lacks a part.
pub fn check(key: &VerifyingKey, proof: &ErasureProof) -> Result<Erased, BadSignature> {
    let erased = read(proof).ok_or(BadSignature)?;
    key.check_erased(&erased, &proof.signature)?;
    Ok(erased)
}

/// Notes a proof in a row, in place of an older one of the same holder.
pub fn note(row: &mut ErasureRow, proof: ErasureProof) {
    row.proofs.retain(|known| known.holder != proof.holder);
    row.proofs.push(proof);
    row.proofs.sort_by_key(|proof| proof.holder);
}

/// The proof of one holder.
pub fn proof_of(row: &ErasureRow, holder: SiteCode) -> Option<&ErasureProof> {
    row.proofs.iter().find(|proof| proof.holder == holder.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_what_it_says_and_for_nothing_else() {
        let key = SigningKey::new(&[7; 32]);
        let origin = Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) };
        let record = RecordId([3; 16]);
        let holder = SiteCode(440_300);
        let proof = prove(&key, &Erased { kind: 1, record, entry: (origin, 9), holder, at_ms: 5 });
        assert!(check(&key.verifying(), &proof).is_ok());
        assert!(check(&SigningKey::new(&[8; 32]).verifying(), &proof).is_err());
        let bent: [fn(&mut ErasureProof); 6] = [
            |proof| proof.kind = 2,
            |proof| proof.record = Bytes::from_static(&[4; 16]),
            |proof| proof.holder = 440_400,
            |proof| proof.at_ms += 1,
            |proof| proof.entry.as_mut().expect("an entry").seq += 1,
            |proof| proof.entry = None,
        ];
        for (at, bend) in bent.iter().enumerate() {
            let mut other = proof.clone();
            bend(&mut other);
            assert!(check(&key.verifying(), &other).is_err(), "{at}");
        }
    }

    #[test]
    fn of_one_holder_the_newest_proof_is_kept() {
        let mut row = ErasureRow::default();
        for (holder, at_ms) in [(2, 1), (1, 1), (2, 3)] {
            note(&mut row, ErasureProof { holder, at_ms, ..ErasureProof::default() });
        }
        let kept: Vec<(u32, u64)> = row.proofs.iter().map(|proof| (proof.holder, proof.at_ms)).collect();
        assert_eq!(kept, [(1, 1), (2, 3)]);
        assert!(proof_of(&row, SiteCode(2)).is_some() && proof_of(&row, SiteCode(3)).is_none());
    }
}
