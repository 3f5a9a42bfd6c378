//! Which records are erased, who held them, and who has proved that he does so no more.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use liandong_node::index::{Index, check_of};
use liandong_node::rows;
use liandong_node::site::{SiteError, erasures};
use liandong_node::trust::limits;
use liandong_proto::erasure::{self, ErasureProof, ErasureRow};
use liandong_proto::id::{Origin, RecordId, SiteCode};
use liandong_proto::pb::log::v1::ErasedRecord;
use liandong_proto::sign::VerifyingKey;
use prost::Message as _;

use crate::fold::Key;

/// All erasures.
#[derive(Clone, Debug, Default)]
pub struct Erasures {
    rows: HashMap<Key, ErasureRow>,
    checks: HashMap<Key, u64>,
    changed: BTreeSet<Key>,
}

impl Erasures {
    /// Reads the erasures of an index.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn load(index: &Index) -> Result<Erasures, SiteError> {
        let mut out = Erasures::default();
        for (key, row) in erasures(index)? {
            let check = check_of(&rows::erasure(key.0, key.1), &row.encode_to_vec());
            out.checks.insert(key, check);
            out.rows.insert(key, row);
        }
        Ok(out)
    }

    /// All of them, by kind and id.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &ErasureRow)> {
        self.rows.iter()
    }

    /// Whether the hub has to carry out any.
    pub fn wait(&self) -> bool {
        self.rows.values().any(|row| erasure::proof_of(row, SiteCode::PROVINCE).is_none())
    }

    /// The erasure of a record.
    pub fn get(&self, key: &Key) -> Option<&ErasureRow> {
        self.rows.get(key)
    }

    /// Notes what an entry erased, or that it came late from one more city that holds what was erased before.
    pub fn begin(&mut self, origin: Origin, seq: u64, erased: &[ErasedRecord]) {
        for (key, holders) in erased.iter().filter_map(read) {
            let row = self.rows.entry(key).or_insert_with(|| ErasureRow {
                entry: Some(erasure::entry_ref(origin, seq)),
                ..ErasureRow::default()
            });
            row.holders.extend(holders.iter().map(|site| site.0));
            self.changed.insert(key);
        }
    }

    /// What a late entry of an erased record says: that its city holds the record, where that is news.
    pub fn late(&self, key: Key, site: SiteCode) -> Vec<ErasedRecord> {
        let is_news = |row: &&ErasureRow| !site.is_province() && !row.holders.contains(&site.0);
        let record = Bytes::copy_from_slice(&key.1.0);
        let late = ErasedRecord { kind: key.0, record, holders: vec![site.0] };
        self.rows.get(&key).filter(is_news).map(|_| late).into_iter().collect()
    }

    /// Whether a proof is one to note: it is signed by its holder with one of its keys, of something that is erased, by
    /// somebody who held it and has not proved it before, whenever that was.
    pub fn is_news(&self, proof: &ErasureProof, holder: SiteCode, keys: &[VerifyingKey]) -> bool {
        let Some(erased) = keys.iter().find_map(|key| erasure::check(key, proof).ok()) else { return false };
        let Some(row) = self.rows.get(&(erased.kind, erased.record)) else { return false };
        let held = holder.is_province() || row.holders.contains(&holder.0);
        let known = erasure::proof_of(row, holder).is_some();
        erased.holder == holder && held && row.entry == proof.entry && !known
    }

    /// Whether a row says something to carry out that is not known here.
    pub fn begins(&self, key: &Key, row: &ErasureRow) -> bool {
        let known = self.rows.get(key).is_some_and(|known| known.entry == row.entry);
        !known && erasure::proof_of(row, SiteCode::PROVINCE).is_none()
    }

    /// The hub's proofs of what other sites have erased of a city's.
    pub fn by_others(&self, site: SiteCode) -> Vec<ErasureProof> {
        let concerned = self.rows.values().filter(|row| row.holders.contains(&site.0));
        let by_another = concerned.filter(|row| row.entry.as_ref().is_some_and(|entry| entry.site != site.0));
        by_another
            .filter_map(|row| erasure::proof_of(row, SiteCode::PROVINCE).cloned())
            .take(limits::PROOFS)
            .collect()
    }

    /// Notes a proof.
    pub fn note(&mut self, proof: ErasureProof) {
        let Some(record) = RecordId::from_slice(&proof.record) else { return };
        let key = (proof.kind, record);
        if let Some(row) = self.rows.get_mut(&key) {
            erasure::note(row, proof);
            self.changed.insert(key);
        }
    }

    /// The hub's proofs of what others have proved, as far as there are any.
    pub fn answers(&self, proofs: &[ErasureProof]) -> Vec<ErasureProof> {
        let row = |proof: &ErasureProof| self.rows.get(&(proof.kind, RecordId::from_slice(&proof.record)?));
        let own = |row| erasure::proof_of(row, SiteCode::PROVINCE).cloned();
        proofs.iter().filter_map(row).filter_map(own).collect()
    }

    /// Rows that changed since the last call.
    pub fn take_changed(&mut self) -> Vec<(Key, ErasureRow)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|key| Some((key, self.rows.get(&key)?.clone()))).collect()
    }

    /// The check of the row stored before, and the new row's bytes.
    pub fn stored(&mut self, key: Key, row: &ErasureRow) -> (Option<u64>, Bytes) {
        let value = Bytes::from(row.encode_to_vec());
        (self.checks.insert(key, check_of(&rows::erasure(key.0, key.1), &value)), value)
    }

    /// Takes over a row that has become durable.
    pub fn publish(&mut self, key: Key, row: ErasureRow) {
        self.rows.insert(key, row);
    }
}

/// Key and holders of what an entry erased; `None` when it cannot be read.
pub fn read(erased: &ErasedRecord) -> Option<(Key, Vec<SiteCode>)> {
    let key = (erased.kind, RecordId::from_slice(&erased.record)?);
    Some((key, erased.holders.iter().map(|site| SiteCode(*site)).collect()))
}

#[cfg(test)]
mod tests {
    use liandong_proto::id::Epoch;
    use liandong_proto::sign::{Erased, SigningKey};

    use super::*;

    #[test]
    fn only_a_holder_can_prove_and_only_what_was_asked_for() {
        let origin = Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) };
        let (kind, record) = (1, RecordId([3; 16]));
        let mut erasures = Erasures::default();
        let bytes = Bytes::copy_from_slice(&record.0);
        erasures.begin(origin, 9, &[ErasedRecord { kind, record: bytes, holders: vec![440_100] }]);
        let key = SigningKey::new(&[7; 32]);
        let proof = |holder: u32, seq: u64| {
            let erased = Erased { kind, record, entry: (origin, seq), holder: SiteCode(holder), at_ms: 5 };
            erasure::prove(&key, &erased)
        };
        let public = [key.verifying()];
        let mine = proof(440_100, 9);
        let is_news = |erasures: &Erasures, proof: &ErasureProof, holder: u32| {
            erasures.is_news(proof, SiteCode(holder), &public)
        };
        assert!(is_news(&erasures, &mine, 440_100));
        assert!(!is_news(&erasures, &mine, 440_300), "another's");
        assert!(!is_news(&erasures, &proof(440_300, 9), 440_300), "who never held it");
        assert!(!is_news(&erasures, &proof(440_100, 8), 440_100), "another entry");
        assert!(!erasures.is_news(&mine, SiteCode(440_100), &[SigningKey::new(&[8; 32]).verifying()]));
        erasures.note(mine.clone());
        assert!(!is_news(&erasures, &mine, 440_100), "known already");
        let later = Erased { kind, record, entry: (origin, 9), holder: SiteCode(440_100), at_ms: 6 };
        assert!(!is_news(&erasures, &erasure::prove(&key, &later), 440_100), "said once more");
        assert_eq!(erasures.answers(std::slice::from_ref(&mine)), []);
        erasures.note(proof(SiteCode::PROVINCE.0, 9));
        assert_eq!(erasures.answers(&[mine]).len(), 1);
    }
}
