//! What a machine alone has, and the hub does not; and those entries once more, in a newer epoch.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use liandong_proto::entry::{self, Anchor, Encoded, Entry, Header, MOST_SEEN, Op, Patch};
use liandong_proto::id::{Epoch, Hash, RecordId, SiteCode, sha256};
use liandong_proto::merge::Lineage;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::schema;
use liandong_proto::share::{self, CityRing, Projection};
use liandong_proto::state::RecordState;
use prost::Message as _;

use super::super::deliver::erased_by;
use super::super::open::{Replay, read_state};
use super::super::{Author, Record, SiteError, fold_own, lacks, patches, record_kind};
use super::Both;
use crate::index::Index;
use crate::log::{self, Batch, LogView, Pos};
use crate::payload;

/// Entries in one batch.
const BATCH: usize = 1_024;

type Key = (u32, RecordId);

/// What the hub holds of a site.
#[derive(Default)]
pub struct Held {
    /// Entries, by the hash of their headers.
    entries: HashSet<Hash>,
    records: HashSet<Key>,
    erased: payload::Erased,
}

impl Held {
    /// Takes note of an entry as it comes.
    ///
    /// # Errors
    /// [`SiteError::Corrupt`] for one that cannot be read, or does not open: no later start could.
    pub fn note(&mut self, entry: &Entry, key: &CityRing) -> Result<(), SiteError> {
        let header = header_of(entry)?;
        patches(entry, &header, key)?;
        self.entries.insert(sha256(&entry.header));
        self.records.insert((header.kind, header.record));
        if header.op == Op::Erase {
            self.erased.insert((header.kind, header.record));
        }
        Ok(())
    }
}

/// What a machine alone has, and the hub does not.
#[derive(Default)]
pub struct Alone {
    /// Its entries, in order.
    pub entries: Vec<(Entry, Header)>,
    /// The last entry that both have.
    pub seen: Option<Anchor>,
    /// Records that are erased, as either says.
    pub(super) erased: payload::Erased,
    /// The epoch that the log begins with.
    first: Option<Epoch>,
    /// Entries that both have, and the last of each epoch.
    matched: HashSet<Hash>,
    common: HashMap<Epoch, Anchor>,
    /// Where the epochs of the log go on from.
    line: HashMap<Epoch, Anchor>,
    /// Records of the log that are not of its chain, and go along.
    notes: Vec<log::Record>,
    /// Records that the log shows.
    known: HashSet<Key>,
    erased_here: payload::Erased,
}

impl Alone {
    /// Reads the log of a machine.
    ///
    /// # Errors
    /// [`SiteError::Corrupt`] for a log that lacks what was not erased.
    pub fn read(old: &dyn LogView, held: &Held) -> Result<Alone, SiteError> {
        let mut alone = Alone::default();
        let (mut lacking, mut welcomed, mut delivered) = (Vec::new(), None, HashSet::new());
        for raw in old.read(Pos::default()) {
            let raw = raw?;
            match Record::read(&raw)? {
                Record::Opened(opened) => {
                    let epoch = Epoch::from_slice(&opened.epoch);
                    alone.first = alone.first.or(epoch);
                    alone.line.extend(epoch.zip(opened.anchor.as_ref().and_then(Anchor::from_pb)));
                }
                Record::Own(entry) => alone.own(entry, held, &mut lacking)?,
                Record::Received(deliver) => {
                    for item in &deliver.items {
                        let Some(record) = RecordId::from_slice(&item.record) else { continue };
                        delivered.insert((item.kind, record));
                        if erased_by(item).is_some() {
                            alone.erased_here.insert((item.kind, record));
                        }
                    }
                }
                // A proof of this site's own says that nothing is left here, which is not so of what the hub sends: what
                // is erased is proved again.
                Record::Erased(proof) if proof.holder == SiteCode::PROVINCE.0 => {
                    alone.notes.push(raw);
                }
                Record::Accepted(_) => alone.notes.push(raw),
                // The new epoch has had no session.
                Record::Welcomed(told) => {
                    let told = pb::Welcomed { nonce: Bytes::new(), ..told };
                    welcomed = Some(log::Record { payload: told.encode_to_vec().into(), ..raw });
                }
                Record::Erased(_) | Record::Tried(_) | Record::Confirmed(_) | Record::Repaired(_) => {}
            }
        }
        alone.erased = &alone.erased_here | &held.erased;
        if let Some((_, seq)) = lacking.iter().find(|(key, _)| !alone.erased.contains(key)) {
            let why = format!("entry {seq} lacks a payload, and its record was not erased");
            return Err(SiteError::corrupt("the log", why));
        }
        let is_news =
            |key: &Key| (held.records.contains(key) || delivered.contains(key)) && !held.erased.contains(key);
        let Alone { entries, erased, .. } = &mut alone;
        entries.retain(|(_, header)| {
            let key = (header.kind, header.record);
            if header.op == Op::Erase { is_news(&key) } else { !erased.contains(&key) }
        });
        alone.notes.extend(welcomed);
        let mut entries = std::mem::take(&mut alone.entries);
        entries.iter_mut().for_each(|(_, header)| alone.tell_by_the_line(&mut header.seen));
        alone.entries = entries;
        Ok(alone)
    }

    /// Puts what an entry that was made again before says of older epochs into terms of those that both still have: a hub
    /// that was restored may know nothing of the others, nor what they went on from.
    fn tell_by_the_line(&self, seen: &mut Vec<Anchor>) {
        for anchor in seen.iter_mut() {
            // A log has few epochs, and none twice.
            for _ in 0..=self.line.len() {
                if let Some(common) = self.common.get(&anchor.epoch) {
                    *anchor = if common.seq < anchor.seq { *common } else { *anchor };
                    break;
                }
                let Some(before) = self.line.get(&anchor.epoch) else {
                    // Nothing of it is held: what the hub may hold there some day is another's.
                    anchor.seq = 0;
                    break;
                };
                *anchor = *before;
            }
        }
        seen.dedup();
    }

    fn own(&mut self, entry: Entry, held: &Held, lacking: &mut Vec<(Key, u64)>) -> Result<(), SiteError> {
        let header = header_of(&entry)?;
        let (hash, key) = (sha256(&entry.header), (header.kind, header.record));
        self.known.insert(key);
        if header.op == Op::Erase {
            self.erased_here.insert(key);
        }
        if held.entries.contains(&hash) {
            let here = Anchor { epoch: header.origin.epoch, seq: header.seq, hash };
            self.matched.insert(hash);
            self.common.insert(here.epoch, here);
            self.seen = Some(here);
            return Ok(());
        }
        let (open, sealed) = lacks(&header, &entry.open, &entry.sealed);
        if open || sealed {
            lacking.push((key, header.seq));
        } else {
            self.entries.push((entry, header));
        }
        Ok(())
    }

    /// How many entries the hub holds that the machine did not have.
    pub(super) fn fetched(&self, held: &Held) -> u64 {
        (held.entries.len() - self.matched.len()) as u64
    }

    /// How many records the machine shows that have been erased by an entry that it did not have.
    pub(super) fn erased_elsewhere(&self, held: &Held) -> u64 {
        let news = held.erased.iter().filter(|key| !self.erased_here.contains(*key));
        news.filter(|key| self.known.contains(*key)).count() as u64
    }

    /// Up to where its writer had seen the line: of nothing that both have, nothing.
    pub fn seen_to(&self, anchor: Anchor) -> Anchor {
        let nothing = Anchor { epoch: self.first.unwrap_or(anchor.epoch), seq: 0, hash: [0; 32] };
        self.seen.unwrap_or(nothing)
    }

    fn records(&self) -> HashSet<Key> {
        self.entries.iter().map(|(_, header)| (header.kind, header.record)).collect()
    }

    /// Sealed fields that it has changed, and the entries of `line` that it does not have as well.
    ///
    /// # Errors
    /// [`SiteError`].
    pub(super) fn both(&self, line: &dyn LogView, ring: &CityRing) -> Result<Vec<Both>, SiteError> {
        let (records, mut theirs) = (self.records(), HashMap::<Key, BTreeSet<u32>>::new());
        if records.is_empty() {
            return Ok(Vec::new());
        }
        for raw in line.read(Pos::default()) {
            let Record::Own(entry) = Record::read(&raw?)? else { continue };
            let header = header_of(&entry)?;
            let key = (header.kind, header.record);
            if records.contains(&key) && !self.matched.contains(&sha256(&entry.header)) {
                theirs.entry(key).or_default().extend(sealed_tags(&entry, &header, ring)?);
            }
        }
        let mut both = HashMap::<Key, BTreeSet<u32>>::new();
        for (entry, header) in &self.entries {
            let Some(theirs) = theirs.get(&(header.kind, header.record)) else { continue };
            let ours = sealed_tags(entry, header, ring)?;
            both.entry((header.kind, header.record))
                .or_default()
                .extend(ours.filter(|tag| theirs.contains(tag)));
        }
        let mut both: Vec<Both> = both
            .into_iter()
            .filter(|(_, tags)| !tags.is_empty())
            .map(|(key, tags)| (key, tags.into_iter().collect()))
            .collect();
        both.sort_unstable();
        Ok(both)
    }

    /// What the records of its entries come to by a line of entries.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn merged(&self, line: &dyn LogView, ring: &CityRing) -> Result<Merged, SiteError> {
        let (index, records) = (Index::in_memory(), self.records());
        let mut replay = Replay::new(pb::SiteRow::default(), ring);
        replay.only = Some(records.clone());
        replay.run(line, Pos::default(), &index, &mut |_| {})?;
        let mut states = HashMap::new();
        for key in records {
            states.extend(read_state(&index, key)?.map(|(state, _)| (key, state)));
        }
        Ok(Merged { states, lineage: replay.lineage })
    }

    /// Writes in the epoch of `author`, which goes on from an anchor, what goes on there: batches, each with the seq of its
    /// first entry. `merged` is what its records have come to by then.
    ///
    /// # Errors
    /// [`SiteError`], also of `write`.
    pub fn go_on(
        &self,
        author: &mut Author,
        merged: &mut Merged,
        write: &mut dyn FnMut(&Batch, u64) -> Result<(), SiteError>,
    ) -> Result<(), SiteError> {
        let mut notes = Batch::new();
        self.notes.iter().for_each(|raw| notes.push(raw.kind, &[&raw.payload]));
        write(&notes, 1)?;
        let Some(seen) = author.anchor.map(|anchor| self.seen_to(anchor)) else { return Ok(()) };
        for chunk in self.entries.chunks(BATCH) {
            let (mut batch, mark) = (Batch::new(), author.head.seq + 1);
            for (entry, header) in chunk {
                let made = author.again(entry, header, merged, seen)?;
                batch.push(record_kind::OWN, &Encoded::new(&made).parts());
            }
            write(&batch, mark)?;
        }
        Ok(())
    }
}

/// Records as they have come to be when entries are made again.
pub struct Merged {
    states: HashMap<Key, RecordState>,
    lineage: Lineage,
}

impl Author {
    /// An entry of an older epoch once more, as the next one of this: with its base and its time, and up to where its writer
    /// had seen the older epochs. What of it leaves the city goes by what its record is by now.
    fn again(
        &mut self,
        entry: &Entry,
        header: &Header,
        merged: &mut Merged,
        seen: Anchor,
    ) -> Result<Entry, SiteError> {
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
        let key = (header.kind, header.record);
        let (open, sealed) = patches(entry, &header_of(entry)?, &self.keys().city)?;
        let mut was = Projection { open, sealed };
        let mut open = entry.open.clone();
        if let Some(kind) = schema::kind(header.kind).filter(|_| header.op == Op::Put) {
            let before = merged.states.get(&key).map(RecordState::visible).unwrap_or_default();
            if let Some(anew) = share::again(kind, &before, &was, self.keys().linking.as_ref()) {
                open = self.open(&anew.open);
                was = anew;
            }
        }
        let state = fold_own(merged.states.remove(&key), &header, &was.open, &was.sealed, &merged.lineage);
        merged.states.insert(key, state);
        let sealed = self.seal(&was.sealed, seq);
        let (entry, head) = entry::make(header, open, sealed);
        self.head = head;
        Ok(entry)
    }
}

fn header_of(entry: &Entry) -> Result<Header, SiteError> {
    Header::decode(&entry.header).map_err(|error| SiteError::corrupt("an own entry", error))
}

/// Tags that the sealed part of an entry sets or clears.
fn sealed_tags(
    entry: &Entry,
    header: &Header,
    ring: &CityRing,
) -> Result<impl Iterator<Item = u32> + use<>, SiteError> {
    let (_, Patch { set, cleared }) = patches(entry, header, ring)?;
    let tags: Vec<u32> = set.iter().map(|(tag, _)| tag).chain(cleared).collect();
    Ok(tags.into_iter())
}
