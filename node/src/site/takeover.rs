//! Going on with a site whose log and the hub's copy of it have parted: by an old backup, a copy of the machine, or the
//! same site started twice.
//!
//! A person decides which machine is to live. Its log is written anew beside the old one: what the hub holds, then a new
//! epoch that is anchored to the end of that, and in it once more what this machine alone has. Each of those entries
//! keeps its base and its time, and says up to where its writer had seen the line: what the other machine wrote meanwhile
//! is concurrent with it, and both values are shown. Then the logs change places; the old one is kept.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use liandong_proto::entry::{Anchor, Encoded, Entry, Head, Header, MOST_SEEN, Op};
use liandong_proto::erasure::ErasureProof;
use liandong_proto::id::{Epoch, Hash, Origin, SiteCode, sha256};
use liandong_proto::share::CityRing;
use liandong_proto::sign::VerifyingKey;

use super::deliver::erased_by;
use super::keyring::read_city_ring;
use super::places::remove;
use super::{Author, Keys, Paths, Record, Restoring, SiteError, lacks, patches, record_kind};
use crate::log::{self, Batch, DirLock, Log, LogView, Pos};
use crate::now::{generator, now_ms};
use crate::payload;

/// Entries in one batch.
const BATCH: usize = 1_024;

/// A site that is being taken over. Nothing of what it has is touched before [`Takeover::finish`].
pub struct Takeover {
    _lock: DirLock,
    paths: Paths,
    old: Log,
    site: SiteCode,
    key: CityRing,
    restoring: Restoring,
    /// Entries that the hub holds, by the hash of their headers.
    held: HashSet<Hash>,
}

/// What a takeover comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Entries that the hub holds and this machine did not have.
    pub fetched: u64,
    /// Entries that this machine alone has, made again in the new epoch.
    pub again: u64,
    /// Where the log that was is kept; nothing before it is done.
    pub kept: PathBuf,
}

/// What a machine alone has, and the hub does not.
#[derive(Default)]
pub struct Alone {
    /// Its entries, in order.
    pub entries: Vec<(Entry, Header)>,
    /// The last entry that both have.
    pub seen: Option<Anchor>,
    matched: u64,
    /// Records of the log that are not of its chain, and go along.
    notes: Vec<log::Record>,
    erased: payload::Erased,
}

impl Takeover {
    /// Begins in a site's directory, which nobody else uses meanwhile.
    ///
    /// # Errors
    /// [`SiteError`]; the site is as it was.
    pub fn begin(dir: &Path) -> Result<Takeover, SiteError> {
        let paths = Paths::new(dir);
        paths.check_layout()?;
        if !paths.has_log() {
            return Err(SiteError::NoSite(dir.to_path_buf()));
        }
        let lock = DirLock::acquire(dir)?;
        paths.note_layout()?;
        paths.settle_log()?;
        let (old, _) = Log::open(&paths.log(), log::Options::default())?;
        let first = old.read(Pos::default()).next().transpose()?;
        let Some(Record::Opened(opened)) = first.as_ref().map(Record::read).transpose()? else {
            return Err(SiteError::corrupt("the log", "it does not begin with an epoch"));
        };
        let (site, key) = (SiteCode(opened.site), read_city_ring(&paths)?);
        let restoring = Restoring::beside(&paths, site, key.clone())?;
        Ok(Takeover { _lock: lock, paths, old, site, key, restoring, held: HashSet::new() })
    }

    /// Which site it is.
    pub fn site(&self) -> SiteCode {
        self.site
    }

    /// Its files.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// As [`Restoring::take_proofs`].
    pub fn take_proofs(&mut self, proofs: &[ErasureProof], hub_key: &VerifyingKey) {
        self.restoring.take_proofs(proofs, hub_key);
    }

    /// Takes in entries as the hub sends them, in order.
    ///
    /// # Errors
    /// As [`Restoring::append`].
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), SiteError> {
        self.restoring.append(entries)?;
        self.held.extend(entries.iter().map(|entry| sha256(&entry.header)));
        Ok(())
    }

    /// What it would come to, once all has come that the hub holds.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn preview(&self) -> Result<TakenOver, SiteError> {
        let alone = Alone::read(&self.old, &self.held)?;
        Ok(TakenOver {
            fetched: self.held.len() as u64 - alone.matched,
            again: alone.entries.len() as u64,
            kept: PathBuf::new(),
        })
    }

    /// Puts the new log in the place of the old one. `held` is what the hub named: the epoch, up to where, and where that
    /// epoch goes on from.
    ///
    /// # Errors
    /// [`SiteError`]; the site is as it was, unless the disk fails between the last two steps: those are made up for by
    /// the next start.
    pub fn finish(
        mut self,
        epoch: Epoch,
        held: Head,
        anchor: Option<Anchor>,
    ) -> Result<TakenOver, SiteError> {
        let alone = Alone::read(&self.old, &self.held)?;
        let fetched = self.held.len() as u64 - alone.matched;
        alone.erased.iter().for_each(|key| self.restoring.erased(*key));
        let (new, anchor) = self.restoring.end(epoch, held, anchor)?;
        self.go_on(Origin { site: self.site, epoch: new }, anchor, &alone)?;
        let kept = self.paths.parted_log(now_ms());
        let Takeover { _lock, paths, old, restoring, .. } = self;
        drop((old, restoring));
        // It is made again from the log.
        remove(&paths.index())?;
        paths.change_logs(&kept)?;
        Ok(TakenOver { fetched, again: alone.entries.len() as u64, kept })
    }

    /// Writes what goes on in the new epoch, durable before this returns.
    fn go_on(&mut self, origin: Origin, anchor: Anchor, alone: &Alone) -> Result<(), SiteError> {
        let keys = Keys { city: self.key.clone(), linking: None };
        let mut author = Author::new(origin, keys, generator());
        author.anchor = Some(anchor);
        alone.go_on(&mut author, anchor, &mut |batch, mark| self.restoring.write(batch, mark))?;
        self.restoring.sync()
    }
}

impl Alone {
    /// Reads the log of a machine; `held` are the entries that the hub holds, by the hash of their headers.
    ///
    /// # Errors
    /// [`SiteError::Corrupt`] for a log that lacks what was not erased.
    pub fn read(old: &dyn LogView, held: &HashSet<Hash>) -> Result<Alone, SiteError> {
        let mut alone = Alone::default();
        let mut lacking = Vec::new();
        let mut welcomed = None;
        for raw in old.read(Pos::default()) {
            let raw = raw?;
            match Record::read(&raw)? {
                Record::Own(entry) => {
                    let header = Header::decode(&entry.header)
                        .map_err(|error| SiteError::corrupt("an own entry", error))?;
                    let hash = sha256(&entry.header);
                    let key = (header.kind, header.record);
                    if header.op == Op::Erase {
                        alone.erased.insert(key);
                    }
                    if held.contains(&hash) {
                        alone.matched += 1;
                        alone.seen = Some(Anchor { epoch: header.origin.epoch, seq: header.seq, hash });
                        continue;
                    }
                    let (open, sealed) = lacks(&header, &entry.open, &entry.sealed);
                    if open || sealed {
                        lacking.push((key, header.seq));
                        continue;
                    }
                    alone.entries.push((entry, header));
                }
                Record::Received(deliver) => {
                    let gone = deliver.items.iter().filter(|item| erased_by(item).is_some());
                    alone.erased.extend(gone.filter_map(|item| {
                        Some((item.kind, liandong_proto::id::RecordId::from_slice(&item.record)?))
                    }));
                }
                Record::Erased(_) | Record::Accepted(_) => alone.notes.push(raw),
                Record::Welcomed(_) => welcomed = Some(raw),
                Record::Opened(_) | Record::Tried(_) | Record::Confirmed(_) | Record::Repaired(_) => {}
            }
        }
        if let Some((_, seq)) = lacking.iter().find(|(key, _)| !alone.erased.contains(key)) {
            let why = format!("entry {seq} lacks a payload, and its record was not erased");
            return Err(SiteError::corrupt("the log", why));
        }
        alone.entries.retain(|(_, header)| {
            header.op == Op::Erase || !alone.erased.contains(&(header.kind, header.record))
        });
        alone.notes.extend(welcomed);
        Ok(alone)
    }

    /// Writes in the epoch of `author`, which goes on from `anchor`, what goes on there: batches, each with the seq of its
    /// first entry.
    ///
    /// # Errors
    /// [`SiteError`], also of `write`.
    pub fn go_on(
        &self,
        author: &mut Author,
        anchor: Anchor,
        write: &mut dyn FnMut(&Batch, u64) -> Result<(), SiteError>,
    ) -> Result<(), SiteError> {
        // Of nothing that both have, its writer has seen nothing.
        let seen = self.seen.unwrap_or(Anchor { epoch: anchor.epoch, seq: 0, hash: [0; 32] });
        let key = author.keys().city.clone();
        let mut notes = Batch::new();
        self.notes.iter().for_each(|raw| notes.push(raw.kind, &[&raw.payload]));
        write(&notes, 1)?;
        for chunk in self.entries.chunks(BATCH) {
            let (mut batch, mark) = (Batch::new(), author.head.seq + 1);
            for (entry, header) in chunk {
                let (_, sealed) = patches(entry, header, &key)?;
                let made = author.again(entry, header, &sealed, seen);
                batch.push(record_kind::OWN, &Encoded::new(&made).parts());
            }
            write(&batch, mark)?;
        }
        Ok(())
    }
}

impl Author {
    /// An entry of an older epoch once more, as the next one of this: with its base and its time, and up to where its writer
    /// had seen the older epochs.
    fn again(
        &mut self,
        entry: &Entry,
        header: &Header,
        sealed: &liandong_proto::entry::Patch,
        seen: Anchor,
    ) -> Entry {
        let seq = self.head.seq + 1;
        // Made again before, it names what its first writer had seen, and what both had of the epoch that this was in.
        let is_new = header.seen.is_empty() || seen.epoch == header.origin.epoch;
        let header = Header {
            origin: self.origin,
            seq,
            prev: (self.head.seq > 0).then_some(self.head.hash),
            anchor: if seq == 1 { self.anchor } else { None },
            seen: header.seen.iter().copied().chain(is_new.then_some(seen)).take(MOST_SEEN).collect(),
            ..header.clone()
        };
        let sealed: Bytes = self.seal(sealed, seq);
        let (entry, head) = liandong_proto::entry::make(header, entry.open.clone(), sealed);
        self.head = head;
        entry
    }
}
