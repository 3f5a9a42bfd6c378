//! Erasing records: an entry that says so, then every payload out of the log, every old byte out of the index, and a
//! proof of that, signed. What was asked for and not finished is finished by the next process that opens the site.
//!
//! Both chains stay whole: they run over headers. What a record held cannot come back by a restore, a push or an old
//! copy of the log, for the entry that erased it travels with them and does all this again.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use liandong_proto::entry::{Header, Op, Patch};
use liandong_proto::erasure::{self, ErasureProof, ErasureRow};
use liandong_proto::id::{Origin, RecordId, SiteCode};
use liandong_proto::pb::node::v1 as node_pb;
use liandong_proto::sign::{Erased, VerifyingKey};
use prost::Message as _;

use super::{By, Put, Site, SiteError, locked, record_kind};
use crate::index::{Index, Staged};
use crate::log::Batch;
use crate::now::now_ms;
use crate::payload;
use crate::rows;

type Key = (u32, RecordId);

/// The row of an erasure that begins at a site; `None` where it did so before with the same entry.
///
/// # Errors
/// [`SiteError`].
pub fn begin(index: &Index, key: Key, origin: Origin, seq: u64) -> Result<Option<Staged>, SiteError> {
    let (key, entry) = (rows::erasure(key.0, key.1), Some(erasure::entry_ref(origin, seq)));
    let row = ErasureRow { entry, ..ErasureRow::default() };
    let known = index.get(&key)?;
    let before = known.as_ref().map(|item| ErasureRow::decode(item.value.clone())).transpose();
    let before = before.map_err(|e| SiteError::corrupt("the row of an erasure", e))?;
    // One that came back to life by way of a hub's backup and was erased again has to be proved again.
    let is_known = before.is_some_and(|before| before.entry == row.entry);
    let old = known.map(|item| item.check);
    Ok((!is_known).then(|| Staged { key, old, new: Some(row.encode_to_vec().into()) }))
}

/// All erasures that an index knows, by kind and id.
///
/// # Errors
/// [`SiteError`].
pub fn erasures(index: &Index) -> Result<Vec<(Key, ErasureRow)>, SiteError> {
    let mut out = Vec::new();
    for row in index.scan(rows::ERASURES, Some(&rows::after_prefix(rows::ERASURES))) {
        let (key, value) = row?;
        let Some(key) = rows::parse_erasure(&key) else { continue };
        let row = ErasureRow::decode(value).map_err(|e| SiteError::corrupt("the row of an erasure", e))?;
        out.push((key, row));
    }
    Ok(out)
}

/// An erasure as it is told, with those who have not proved it.
pub fn told(
    (kind, record): (u32, RecordId),
    row: ErasureRow,
    holders: impl Iterator<Item = SiteCode>,
) -> node_pb::ErasureStatus {
    let mut outstanding: Vec<u32> =
        holders.filter(|site| erasure::proof_of(&row, *site).is_none()).map(|site| site.0).collect();
    outstanding.sort_unstable();
    outstanding.dedup();
    node_pb::ErasureStatus {
        kind,
        record: Bytes::copy_from_slice(&record.0),
        entry: row.entry,
        proofs: row.proofs,
        outstanding,
    }
}

impl Site {
    /// Erases records of a kind for good: here before this returns, at the other holders as they sync. Answers how many
    /// records of the log were stripped.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when one of them is not this city's, [`SiteError::NotFound`] when one is not there: then
    /// nothing was erased. After any other error the records are erased by the next process at the latest.
    pub(super) fn erase_records(&self, kind: u32, records: &[RecordId], by: &By) -> Result<u64, SiteError> {
        let erase = |record: &RecordId| Put {
            kind,
            record: Some(*record),
            op: Op::Erase,
            patch: Patch::default(),
            expected_version: None,
            touch: false,
        };
        let puts: Vec<Put> = records.iter().map(erase).collect();
        // First as a whole on trial: an erasure is not begun for some of them.
        for dry_run in [true, false] {
            let answers = self.put_batch(&puts, by, dry_run)?;
            if let Some(problem) = answers.iter().flat_map(|answer| &answer.problems).next() {
                return Err(SiteError::Refused(format!("{} / {}", problem.zh, problem.en)));
            }
        }
        self.finish_erasures()
    }

    /// Whether records wait to be erased here.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn erasures_wait(&self) -> Result<bool, SiteError> {
        let me = self.code();
        Ok(erasures(&self.index)?.iter().any(|(_, row)| erasure::proof_of(row, me).is_none()))
    }

    /// Carries out what has been asked for and is not done: drops the payloads, and notes the proofs. Answers how many
    /// records of the log were stripped.
    ///
    /// Whoever opens a site for writing calls it: before it does its work, or beside it where that takes long.
    ///
    /// # Errors
    /// [`SiteError`], also when the site is being closed; what is not done stays asked for.
    pub fn finish_erasures(&self) -> Result<u64, SiteError> {
        let _one_at_a_time = locked(&self.erasing);
        let me = self.code();
        let mut open = erasures(&self.index)?;
        open.retain(|(_, row)| erasure::proof_of(row, me).is_none());
        if open.is_empty() {
            return Ok(0);
        }
        let keys: payload::Erased = open.iter().map(|(key, _)| *key).collect();
        {
            let writer = locked(&self.writer);
            self.log.begin_segment(writer.next_mark())?;
        }
        let mut edit = |kind, payload: &[u8]| payload::dropped(kind, payload, &keys);
        let is_closing = || self.closing.load(Ordering::Relaxed);
        let dropped = self.log.rewrite(&mut edit, &is_closing)?;
        let Some(dropped) = dropped.filter(|_| !is_closing()) else {
            return Err(SiteError::Refused(
                "the site is being closed; the next start goes on erasing".into(),
            ));
        };
        self.paths.remove_kept()?;
        self.index.scrub()?;
        let signer = locked(&self.signer).clone();
        let proofs: Vec<ErasureProof> = open
            .into_iter()
            .filter_map(|((kind, record), row)| {
                let entry = erasure::named(row.entry.as_ref()?)?;
                let erased = Erased { kind, record, entry, holder: me, at_ms: now_ms() };
                Some(erasure::prove(&signer, &erased))
            })
            .collect();
        self.note_proofs(&proofs)?;
        tracing::info!(records = keys.len(), dropped, "erased");
        Ok(dropped)
    }

    /// As [`finish_erasures`](Site::finish_erasures), for those who can do their work without.
    pub fn try_erasures(&self) {
        if let Err(error) = self.finish_erasures() {
            tracing::error!(%error, "records wait to be erased; it is tried again");
        }
    }

    /// Own proofs of the erasures that `wanted` picks, by kind and id.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn proofs(&self, wanted: impl Fn(&ErasureRow) -> bool) -> Result<Vec<ErasureProof>, SiteError> {
        let me = self.code();
        let rows = erasures(&self.index)?.into_iter().filter(|(_, row)| wanted(row));
        Ok(rows.filter_map(|(_, row)| erasure::proof_of(&row, me).cloned()).collect())
    }

    /// Takes in the hub's proofs. One that is not signed with a key of its line, or is of something else, is left out.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn hub_proved(&self, proofs: Vec<ErasureProof>, hub_keys: &[VerifyingKey]) -> Result<(), SiteError> {
        let known = erasures(&self.index)?;
        let mut proved: BTreeSet<Key> = known
            .iter()
            .filter(|(_, row)| erasure::proof_of(row, SiteCode::PROVINCE).is_some())
            .map(|(key, _)| *key)
            .collect();
        let holds = |proof: &ErasureProof| {
            let read = hub_keys.iter().find_map(|key| erasure::check(key, proof).ok());
            let read = read.filter(|it| it.holder == SiteCode::PROVINCE);
            let row = |erased: &Erased| known.iter().find(|(key, _)| *key == (erased.kind, erased.record));
            read.and_then(|erased| row(&erased)).is_some_and(|(_, row)| row.entry == proof.entry)
        };
        let (mut good, bad): (Vec<_>, Vec<_>) = proofs.into_iter().partition(holds);
        // Said once more it is no news.
        good.retain(|proof| erasure::read(proof).is_some_and(|it| proved.insert((it.kind, it.record))));
        if !bad.is_empty() {
            tracing::error!(proofs = bad.len(), "the hub sent proofs of erasures that do not hold");
        }
        self.note_proofs(&good)
    }

    fn note_proofs(&self, proofs: &[ErasureProof]) -> Result<(), SiteError> {
        if proofs.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for proof in proofs {
            batch.push(record_kind::ERASED, &[&proof.encode_to_vec()]);
        }
        let end = locked(&self.writer).whole(|writer| {
            let staged =
                proofs.iter().map(|proof| proved(&self.index, proof)).collect::<Result<Vec<_>, _>>()?;
            let end = self.log.append(&batch, writer.next_mark())?.end;
            self.stage(writer, staged, end);
            Ok(end)
        })?;
        Ok(self.log.sync_to(end)?)
    }

    pub(super) fn read_erasures(&self) -> Result<Vec<node_pb::ErasureStatus>, SiteError> {
        let holders = || [self.code(), SiteCode::PROVINCE].into_iter();
        let told = |(key, row)| told(key, row, holders());
        Ok(erasures(&self.index)?.into_iter().map(told).collect())
    }
}

/// A proof's effect on its row.
pub fn proved(index: &Index, proof: &ErasureProof) -> Result<Staged, SiteError> {
    let record = RecordId::from_slice(&proof.record)
        .ok_or_else(|| SiteError::corrupt("a proof of an erasure", "a record id of another length"))?;
    let key = rows::erasure(proof.kind, record);
    let known = index.get(&key)?;
    let old = known.as_ref().map(|item| item.check);
    let mut row = match known {
        Some(item) => {
            ErasureRow::decode(item.value).map_err(|e| SiteError::corrupt("the row of an erasure", e))?
        }
        None => ErasureRow { entry: proof.entry.clone(), ..ErasureRow::default() },
    };
    erasure::note(&mut row, proof.clone());
    Ok(Staged { key, old, new: Some(row.encode_to_vec().into()) })
}

/// Payloads that entries name and do not have. An erasure explains them, wherever in the log it stands.
#[derive(Debug, Default)]
pub struct Missing {
    lacking: Vec<((u32, RecordId), u64)>,
    erased: payload::Erased,
}

impl Missing {
    /// Notes an entry of the own log, and whether it lacks something; one that erases its record explains it.
    pub fn entry(&mut self, header: &Header, lacks: bool, place: u64) {
        if header.op == Op::Erase {
            self.erased((header.kind, header.record));
        }
        self.lacking(header, lacks, place);
    }

    /// Notes whether an entry at a place lacks something.
    pub fn lacking(&mut self, header: &Header, lacks: bool, place: u64) {
        if lacks {
            self.lacking.push(((header.kind, header.record), place));
        }
    }

    /// Notes a record that was erased.
    pub fn erased(&mut self, key: (u32, RecordId)) {
        self.erased.insert(key);
    }

    /// The places of entries that lack a payload without an erasure of their record.
    pub fn unexplained(&self) -> impl Iterator<Item = u64> {
        self.lacking.iter().filter(|(key, _)| !self.erased.contains(key)).map(|(_, place)| *place)
    }
}

/// Whether an entry lacks a payload that its header names.
pub fn lacks(header: &Header, open: &[u8], sealed: &[u8]) -> (bool, bool) {
    (header.open_hash.is_some() && open.is_empty(), header.sealed_hash.is_some() && sealed.is_empty())
}
