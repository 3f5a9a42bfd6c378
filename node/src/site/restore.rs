//! Making a site again from the entries that the hub kept of it.
//!
//! The log is written as it was: the epochs with their entries, each checked against the chain and opened with the
//! city's key. Behind them a new epoch begins, anchored to the last entry: whatever the lost machine still had is
//! another line, and what is written from here on cannot be taken for it.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use liandong_proto::entry::{self, Anchor, Encoded, Entry, Head};
use liandong_proto::erasure::{self, ErasureProof};
use liandong_proto::id::{Epoch, RecordId, SiteCode};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::share::{CityKey, CityRing, SealError, open_ring};
use liandong_proto::sign::VerifyingKey;
use prost::Message as _;

use super::files::{make_private_dir, write_key};
use super::keyring::keep_older;
use super::places::remove;
use super::{Missing, Paths, RecoveryKey, SiteError, lacks, record_kind};
use crate::log::{self, Batch, DirLock, Log};
use crate::now::random;

/// A site that is being made again.
pub struct Restoring {
    _lock: Option<DirLock>,
    log: Log,
    line: Line,
}

/// The entries of a site's line of epochs as they come from the hub, each held against the chain, and the batches that
/// write them down.
pub struct Line {
    site: SiteCode,
    key: CityRing,
    epoch: Option<Epoch>,
    head: Head,
    /// Entries of all epochs so far.
    entries: u64,
    /// Sealed parts that did not come.
    missing: Missing,
}

impl Restoring {
    /// Begins in a directory that holds no site: the city's key, a new key for signing, an empty log. An attempt that was
    /// cut short has left a key for signing: that stays.
    ///
    /// # Errors
    /// [`SiteError::Exists`] when there is a site already; whatever the error, nothing is changed.
    pub fn begin(dir: &Path, site: SiteCode, key: &RecoveryKey) -> Result<Restoring, SiteError> {
        let paths = Paths::new(dir);
        if paths.log().exists() || paths.city_key().exists() {
            return Err(SiteError::Exists(dir.to_path_buf()));
        }
        make_private_dir(dir)?;
        let lock = DirLock::acquire(dir)?;
        paths.note_layout()?;
        write_key(&paths.city_key(), key.bytes())?;
        let begun = || {
            if !paths.unfinished().exists() {
                write_key(&paths.signing_key(), &random())?;
            }
            Log::open(&paths.log(), log::Options::default()).map_err(|error| {
                if !paths.unfinished().exists() {
                    let _ = fs::remove_file(paths.signing_key());
                }
                SiteError::from(error)
            })
        };
        let (log, _) = begun().inspect_err(|_| {
            let _ = fs::remove_file(paths.city_key());
        })?;
        let key = CityRing::new(CityKey::new(key.bytes()), Vec::new());
        Ok(Restoring::new(Some(lock), log, site, key))
    }

    /// Begins beside a log that is there, for a site that has its keys and whose directory the caller has taken.
    ///
    /// # Errors
    /// [`SiteError`]; what an attempt before has left is removed.
    pub(super) fn beside(paths: &Paths, site: SiteCode, key: CityRing) -> Result<Restoring, SiteError> {
        let next = paths.unfinished_log();
        remove(&next)?;
        let (log, _) = Log::open(&next, log::Options::default())?;
        Ok(Restoring::new(None, log, site, key))
    }

    fn new(lock: Option<DirLock>, log: Log, site: SiteCode, key: CityRing) -> Restoring {
        Restoring { _lock: lock, log, line: Line::new(site, key) }
    }

    /// Takes in the ring of older keys that the hub keeps; nothing for a city that has had one key only.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when it does not open with the recovery key at hand: that one is not the newest.
    pub fn take_ring(&mut self, paths: &Paths, ring: &[u8]) -> Result<(), SiteError> {
        if ring.is_empty() {
            return Ok(());
        }
        let older = open_ring(self.line.key.newest(), ring, self.line.site).map_err(|error| match error {
            SealError::OtherKey { .. } => SiteError::Refused(
                "这不是本市最新的恢复密钥：它已被更换，请使用最后一次更换时抄写的那一个 · this is not the city's newest recovery key: \
                 it was replaced; use the one that was written down at the last recovery-key rotate"
                    .into(),
            ),
            SealError::Damaged => SiteError::Refused(
                "枢纽所存的密钥环已损坏，无法打开 · the ring of older keys that the hub keeps is damaged".into(),
            ),
        })?;
        older.iter().try_for_each(|key| keep_older(paths, key))?;
        let older = older.iter().map(CityKey::new).collect();
        self.line.key = CityRing::new(self.line.key.newest().clone(), older);
        Ok(())
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.line.entries
    }

    /// Appends entries as the hub sends them, in order.
    ///
    /// # Errors
    /// As [`Line::take`].
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), SiteError> {
        let mark = self.line.entries + 1;
        let batch = self.line.take(entries)?;
        self.log.append(&batch, mark)?;
        Ok(())
    }

    /// Takes in the hub's proofs of what other sites have erased. One that is not by its key explains nothing.
    pub fn take_proofs(&mut self, proofs: &[ErasureProof], hub_key: &VerifyingKey) {
        for erased in proofs.iter().filter_map(|proof| erasure::check(hub_key, proof).ok()) {
            if erased.holder.is_province() {
                self.erased((erased.kind, erased.record));
            }
        }
    }

    /// What has come so far.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Notes a record that is known to be erased.
    pub(super) fn erased(&mut self, key: (u32, RecordId)) {
        self.line.missing.erased(key);
    }

    /// Appends what goes on behind the end, up to the entry `mark` of the new epoch.
    pub(super) fn write(&mut self, batch: &Batch, mark: u64) -> Result<(), SiteError> {
        if !batch.is_empty() {
            self.log.append(batch, self.line.entries + mark)?;
        }
        Ok(())
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&self) -> Result<(), SiteError> {
        Ok(self.log.sync_to(self.log.end())?)
    }

    /// Ends with a new epoch that goes on from what the hub holds: the epoch it names, up to `held`, with the anchor of
    /// that epoch. Durable before this returns.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when not all of it has come.
    pub fn finish(mut self, epoch: Epoch, held: Head, anchor: Option<Anchor>) -> Result<(), SiteError> {
        self.end(epoch, held, anchor)?;
        self.sync()
    }

    /// The same, not durable yet. The new epoch, and where it goes on from.
    pub(super) fn end(
        &mut self,
        epoch: Epoch,
        held: Head,
        anchor: Option<Anchor>,
    ) -> Result<(Epoch, Anchor), SiteError> {
        let new = Epoch(random());
        let mark = self.line.entries + 1;
        let (batch, anchor) = self.line.end(epoch, held, anchor, new)?;
        self.log.append(&batch, mark)?;
        Ok((new, anchor))
    }
}

impl Line {
    /// A line of which nothing has come yet; `key` opens what is sealed.
    pub fn new(site: SiteCode, key: CityRing) -> Line {
        Line { site, key, epoch: None, head: Head::default(), entries: 0, missing: Missing::default() }
    }

    /// Takes in entries as the hub sends them, in order: what to append.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when they are not this city's, do not follow one another, or do not open with the key.
    pub fn take(&mut self, entries: &[Entry]) -> Result<Batch, SiteError> {
        let mut batch = Batch::new();
        for entry in entries {
            let wrong = |why: &dyn std::fmt::Display| {
                SiteError::Refused(format!("what the hub sent is not sound: {why}"))
            };
            let (header, hash) = entry::check(entry).map_err(|error| wrong(&error))?;
            if header.origin.site != self.site {
                return Err(wrong(&format!("an entry of {}", header.origin.site)));
            }
            if self.epoch != Some(header.origin.epoch) {
                self.open(&mut batch, header.origin.epoch, header.anchor);
            }
            header.follows(&self.head).map_err(|error| wrong(&error))?;
            // Of its payloads an open one may have been dropped on arrival.
            let (_, lacks_sealed) = lacks(&header, &entry.open, &entry.sealed);
            self.missing.entry(&header, lacks_sealed, header.seq);
            let sealed = self.key.open(&entry.sealed, header.origin, header.seq);
            sealed.map_err(|error| SiteError::Refused(format!("entry {}: {error}", header.seq)))?;
            self.head = Head { seq: header.seq, hash };
            batch.push(record_kind::OWN, &Encoded::new(entry).parts());
            self.entries += 1;
        }
        Ok(batch)
    }

    fn open(&mut self, batch: &mut Batch, epoch: Epoch, anchor: Option<Anchor>) {
        let opened = pb::EpochOpened {
            site: self.site.0,
            epoch: Bytes::copy_from_slice(&epoch.0),
            anchor: anchor.as_ref().map(Anchor::to_pb),
        };
        batch.push(record_kind::OPENED, &[&opened.encode_to_vec()]);
        (self.epoch, self.head) = (Some(epoch), Head::default());
    }

    /// Ends with the epoch `new` that goes on from what the hub holds: what to append, and where it goes on from.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when not all of it has come.
    pub fn end(
        &mut self,
        epoch: Epoch,
        held: Head,
        anchor: Option<Anchor>,
        new: Epoch,
    ) -> Result<(Batch, Anchor), SiteError> {
        let mut batch = Batch::new();
        if self.epoch != Some(epoch) {
            // It was opened and never written to; the lines before it have come all the same.
            self.open(&mut batch, epoch, anchor);
        }
        if self.head != held {
            return Err(SiteError::Refused(format!(
                "the hub holds entries up to {}, and {} came; try again",
                held.seq, self.head.seq
            )));
        }
        if let Some(seq) = self.missing.unexplained().next() {
            return Err(SiteError::Refused(format!(
                "what the hub sent is not sound: entry {seq} has lost its sealed part, and its record was not erased"
            )));
        }
        let anchor = Anchor { epoch, seq: held.seq, hash: held.hash };
        self.open(&mut batch, new, Some(anchor));
        Ok((batch, anchor))
    }
}

#[cfg(test)]
mod tests {
    use liandong_proto::entry::{Header, Op, Patch};
    use liandong_proto::fields::FieldsBuilder;
    use liandong_proto::id::Origin;
    use liandong_proto::position::Position;
    use liandong_proto::stamp::Stamp;

    use super::*;
    use crate::site::Site;

    const SITE: SiteCode = SiteCode(440_100);

    fn entry(key: &RecoveryKey) -> Entry {
        let origin = Origin { site: SITE, epoch: Epoch([1; 16]) };
        let patch = Patch { set: FieldsBuilder::new().str(9, "x").take(), cleared: Vec::new() };
        let header = Header {
            origin,
            seq: 1,
            stamp: Stamp::at_ms(1),
            base: Position::default(),
            kind: 1,
            record: RecordId([2; 16]),
            op: Op::Put,
            author: String::new(),
            import_id: Bytes::new(),
            prev: None,
            open_hash: None,
            sealed_hash: None,
            anchor: None,
            seen: Vec::new(),
        };
        let sealed = CityKey::new(key.bytes()).seal(&patch, origin, 1, [3; 12]);
        entry::make(header, Bytes::new(), sealed).0
    }

    fn begun(dir: &Path) -> (Restoring, RecoveryKey) {
        let other = dir.join("other");
        Site::init(&other, SITE).expect("a site is made");
        let key = RecoveryKey::of(&Paths::new(&other)).expect("a key");
        (Restoring::begin(&dir.join("new"), SITE, &key).expect("begun"), key)
    }

    #[test]
    fn an_attempt_that_cannot_begin_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        let (_, key) = begun(dir.path());
        let paths = Paths::new(&dir.path().join("again"));
        make_private_dir(&paths.dir.join("keys")).expect("made");
        // A name that is taken, and a log that cannot be made.
        std::os::unix::fs::symlink("nowhere", paths.signing_key()).expect("taken");
        assert!(Restoring::begin(&paths.dir, SITE, &key).is_err());
        assert!(!paths.city_key().exists(), "the key");
        fs::remove_file(paths.signing_key()).expect("free");
        std::os::unix::fs::symlink("nowhere", paths.log()).expect("taken");
        assert!(Restoring::begin(&paths.dir, SITE, &key).is_err());
        assert!(!paths.city_key().exists() && !paths.signing_key().exists(), "both keys");
        fs::remove_file(paths.log()).expect("free");
        assert!(Restoring::begin(&paths.dir, SITE, &key).is_ok());
    }

    #[test]
    fn what_is_sealed_must_come_and_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut restoring, key) = begun(dir.path());
        let whole = entry(&key);
        let stripped = Entry { sealed: Bytes::new(), ..whole.clone() };
        let (_, head) =
            (restoring.append(&[stripped]).expect("it may have been erased"), restoring.line.head);
        let finished = restoring.finish(Epoch([1; 16]), head, None);
        assert!(matches!(finished, Err(SiteError::Refused(why)) if why.contains("sealed part")));
        let again = dir.path().join("again");
        std::fs::create_dir_all(&again).expect("made");
        let mut restoring = Restoring::begin(&again.join("new"), SITE, &key).expect("begun");
        let foreign = dir.path().join("foreign");
        std::fs::create_dir_all(&foreign).expect("made");
        let (_, other) = begun(&foreign);
        assert!(matches!(restoring.append(&[entry(&other)]), Err(SiteError::Refused(_))), "another key's");
        restoring.append(&[whole]).expect("sound");
        assert_eq!(restoring.entries(), 1);
    }
}
