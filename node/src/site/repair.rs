//! A damaged log made anew: every record that can be read stays, own entries that cannot come back from the hub, and
//! what the hub had delivered comes again.
//!
//! The chain decides what belongs into a hole: an entry is taken from the hub only where it leads from the entry before
//! the hole to the one behind it. Nothing is changed in the damaged log. It is kept beside the new one, until a record is
//! erased: then no old byte may be left.

mod line;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use liandong_proto::entry::{self, Encoded, Entry, Head};
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::session::MOST_NONCES;
use liandong_proto::share::CityRing;
use prost::Message as _;

use super::keyring::read_city_ring;
use super::places::remove;
use super::{Missing, OnProgress, Paths, Progress, SiteError, SiteOptions, lacks, record_kind};
use crate::index::Index;
use crate::log::{self, Batch, DirLock, Hole, Log, Pos, Salvaged, salvage};
use crate::now::now_ms;
use crate::{rows, store};
use line::{Gap, Line};

/// What is written at once.
const BATCH_BYTES: u64 = 1 << 20;

/// A repair that has been looked into: what is damaged, and what the hub is asked for.
pub struct Repair {
    _lock: DirLock,
    paths: Paths,
    segment_bytes: u64,
    ring: CityRing,
    line: Line,
    cut: u64,
    /// What the index still knew of the site.
    witness: Option<pb::SiteRow>,
    /// What came from the hub, in its order.
    order: Vec<(Epoch, u64)>,
    fetched: HashMap<(Epoch, u64), Entry>,
}

/// What a repair has done.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// What could not be read.
    pub holes: Vec<Hole>,
    /// Bytes at the end that were never synced.
    pub cut: u64,
    /// Records that were kept.
    pub records: u64,
    /// Own entries that came back from the hub.
    pub fetched: u64,
    /// Those among them of which the hub itself has no payload any more, though their records were not erased.
    pub bare: Vec<u64>,
    /// Own entries that nobody holds any more, first and last.
    pub lost: Option<(u64, u64)>,
    /// Deliveries may have been lost: the hub sends what may have been in them again.
    pub again: bool,
    /// Where the damaged log is kept.
    pub kept: PathBuf,
}

impl Repair {
    /// Reads the log of a site that is not in use, and finds out what is missing.
    ///
    /// # Errors
    /// [`SiteError::Refused`] for what is no damage of the disk: a chain that is broken where every byte is sound.
    pub fn look(options: &SiteOptions, progress: OnProgress<'_>) -> Result<Repair, SiteError> {
        let paths = Paths::new(&options.data_dir);
        let lock = paths.take()?;
        let ring = read_city_ring(&paths)?;
        let (mut line, mut cut) = (Line::default(), 0);
        let (total, mut done) = (log_bytes(&paths.log()), 0);
        salvage::<SiteError>(&paths.log(), Pos::START, &mut |found| match found {
            Salvaged::Record { kind, payload } => {
                done += payload.len() as u64;
                if line.records.is_multiple_of(4_096) {
                    progress(Progress { what: "log", done, total });
                }
                line.record(kind, payload)
            }
            Salvaged::Hole(hole) => {
                line.hole(hole);
                Ok(())
            }
            Salvaged::Cut(bytes) => {
                cut = bytes;
                Ok(())
            }
        })?;
        line.end();
        let cache = options.cache_bytes;
        let engine: crate::index::Engine = Box::new(move |dir| store::open_sled(dir, cache));
        let witness =
            (!line.holes.is_empty()).then(|| Index::peek(&paths.index(), &engine, rows::SITE)).flatten();
        let witness = witness.and_then(|row| pb::SiteRow::decode(row).ok());
        let (order, fetched) = Default::default();
        let segment_bytes = options.segment_bytes;
        Ok(Repair { _lock: lock, paths, segment_bytes, ring, line, cut, witness, order, fetched })
    }

    /// What cannot be read; nothing has to be done when there is nothing.
    pub fn holes(&self) -> &[Hole] {
        &self.line.holes
    }

    /// Where the site's files are.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Which entries the hub is to be asked for: those of this origin behind a head. `None` when no own entry can be
    /// missing.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when nothing of the log says whose it is.
    pub fn asks(&self) -> Result<Option<(Origin, Head)>, SiteError> {
        if self.line.gaps.is_empty() {
            return Ok(None);
        }
        let origin = self.line.origin().ok_or_else(|| {
            SiteError::Refused(
                "日志里没有一条可读的记录，无从修复：请在另一个空目录用 restore 重建本市站点 · nothing of the log can be read, \
                 so there is nothing to repair: make the city again with restore, in another, empty directory"
                    .into(),
            )
        })?;
        // Places count anew in each epoch: where older ones are concerned, all of it is asked for.
        let only_living = self.line.gaps.iter().all(|gap| gap.epoch == origin.epoch && !gap.is_first);
        let first = self.line.gaps.first().map(|gap| gap.after).filter(|_| only_living);
        Ok(Some((origin, first.unwrap_or_default())))
    }

    /// Takes in entries as the hub sends them. Those that are in the log are passed over.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when one is not sound, not this city's, or does not open with its key.
    pub fn take(&mut self, entries: &[Entry]) -> Result<(), SiteError> {
        for entry in entries {
            let wrong = |why: &dyn std::fmt::Display| {
                SiteError::Refused(format!("what the hub sent is not sound: {why}; nothing was changed"))
            };
            let (header, _) = entry::check(entry).map_err(|error| wrong(&error))?;
            if self.line.origin().is_some_and(|origin| origin.site != header.origin.site) {
                return Err(wrong(&format!("an entry of {}", header.origin.site)));
            }
            let key = (header.origin.epoch, header.seq);
            if self.line.misses(key.0, key.1) {
                let opened = self.ring.open(&entry.sealed, header.origin, header.seq);
                opened.map_err(|error| wrong(&format!("entry {}: {error}", header.seq)))?;
                self.order.push(key);
                self.fetched.insert(key, entry.clone());
            }
        }
        Ok(())
    }

    /// Own entries so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.len() as u64
    }

    /// Writes the log anew, durably, and puts it in the place of the damaged one. The index goes aside; the next start makes
    /// it again.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when entries are missing that nobody holds: those in the middle always, those at the end
    /// unless that is `accepted`. Nothing is changed then.
    pub fn finish(mut self, author: &str, accepted: bool) -> Result<Repaired, SiteError> {
        let mut fills = Vec::new();
        for gap in std::mem::take(&mut self.line.gaps) {
            fills.push((gap.hole, self.fill(&gap)?));
        }
        let living = self.line.origin().map(|origin| origin.epoch);
        let reached = fills.iter().flat_map(|(_, fill)| fill.iter().flat_map(|(_, entries)| entries));
        let reached = reached.filter(|key| Some(key.0) == living).map(|(_, seq)| *seq).max().unwrap_or(0);
        let reached = reached.max(self.line.head.seq);
        let witness =
            self.witness.take().filter(|row| living.is_some_and(|epoch| row.epoch == epoch.0.as_slice()));
        let known = witness.as_ref().map_or(0, |row| row.seq).max(self.line.confirmed);
        let lost = (known > reached).then_some((reached + 1, known));
        if let Some((first, last)) = lost.filter(|_| !accepted) {
            return Err(lost_at_the_end(first, last));
        }
        let again = self.line.holes.iter().any(|hole| hole.records);
        let mut done = Repaired { cut: self.cut, lost, again, ..Repaired::default() };
        let next = self.paths.next_log();
        remove(&next)?;
        let mut out = Out::begin(&next, self.segment_bytes)?;
        let (mut hole, mut missing) = (0, Missing::default());
        salvage::<SiteError>(&self.paths.log(), Pos::START, &mut |found| {
            match found {
                Salvaged::Record { kind, payload } => {
                    done.records += 1;
                    out.push(kind, &[&payload])?;
                }
                Salvaged::Hole(_) => {
                    for (_, fill) in fills.iter().filter(|(at, _)| *at == hole) {
                        for (opened, entries) in fill {
                            opened.iter().try_for_each(|opened| {
                                out.push(record_kind::OPENED, &[&opened.encode_to_vec()])
                            })?;
                            for key in entries {
                                let entry = &self.fetched[key];
                                let (header, _) = entry::check(entry)
                                    .map_err(|error| SiteError::corrupt("an entry of the hub", error))?;
                                let (open, sealed) = lacks(&header, &entry.open, &entry.sealed);
                                missing.entry(&header, open || sealed, header.seq);
                                out.push(record_kind::OWN, &Encoded::new(entry).parts())?;
                                done.fetched += 1;
                            }
                        }
                    }
                    hole += 1;
                }
                Salvaged::Cut(_) => {}
            }
            Ok(())
        })?;
        self.line.erased.iter().for_each(|key| missing.erased(*key));
        done.bare = missing.unexplained().collect();
        let (generation, hub_seq) = self.line.cursor;
        let repaired = pb::Repaired {
            at_ms: now_ms(),
            author: author.to_owned(),
            places: self.line.holes.iter().map(ToString::to_string).collect(),
            fetched: done.fetched,
            lost: lost.map_or(0, |(first, last)| last - first + 1),
            again,
            generation,
            hub_seq,
            nonces: witness.map(|row| row.nonces).unwrap_or_default(),
        };
        out.push(record_kind::REPAIRED, &[&repaired.encode_to_vec()])?;
        out.finish()?;
        // Its positions are those of the damaged log.
        Index::set_aside(&self.paths.index())?;
        done.kept = self.paths.damaged_log(now_ms());
        self.paths.change_logs(&done.kept)?;
        done.holes = std::mem::take(&mut self.line.holes);
        Ok(done)
    }

    /// What goes into a gap: epochs that begin there, and entries. Checked against the chain.
    fn fill(&self, gap: &Gap) -> Result<Vec<Fill>, SiteError> {
        let mut fills = Vec::new();
        if gap.is_first {
            let mut strangers: Vec<Epoch> = self.order.iter().map(|(epoch, _)| *epoch).collect();
            strangers.dedup();
            strangers.retain(|epoch| *epoch != gap.epoch && !self.line.knows(*epoch));
            for epoch in strangers {
                fills.push(self.run(epoch, Head::default(), None, true)?);
            }
        }
        fills.push(self.run(gap.epoch, gap.after, gap.before, gap.opens)?);
        Ok(fills)
    }

    /// The entries of an epoch behind a head, up to the one whose place and hash are given.
    fn run(
        &self,
        epoch: Epoch,
        after: Head,
        before: Option<(u64, liandong_proto::id::Hash)>,
        opens: bool,
    ) -> Result<Fill, SiteError> {
        let (mut head, mut entries) = (after, Vec::new());
        let mut anchor = self.line.anchor_of(epoch);
        while before.is_none_or(|(seq, _)| head.seq + 1 < seq) {
            let key = (epoch, head.seq + 1);
            let Some(entry) = self.fetched.get(&key) else { break };
            let (header, hash) =
                entry::check(entry).map_err(|error| SiteError::corrupt("an entry of the hub", error))?;
            header.follows(&head).map_err(|error| other_entry(key.1, &error))?;
            anchor = anchor.or_else(|| header.anchor.as_ref().map(liandong_proto::entry::Anchor::to_pb));
            head = Head { seq: key.1, hash };
            entries.push(key);
        }
        if let Some((seq, prev)) = before {
            if head.seq + 1 < seq {
                return Err(lost_in_the_middle(head.seq + 1, seq - 1));
            }
            if head.hash != prev {
                return Err(other_entry(head.seq, &"its hash is another one"));
            }
        }
        let site = self.line.origin().map_or(SiteCode(0), |origin| origin.site);
        let opened =
            opens.then(|| pb::EpochOpened { site: site.0, epoch: Bytes::copy_from_slice(&epoch.0), anchor });
        Ok((opened, entries))
    }
}

/// The epoch that begins, if one does, and the entries that follow.
type Fill = (Option<pb::EpochOpened>, Vec<(Epoch, u64)>);

fn other_entry(seq: u64, why: &dyn std::fmt::Display) -> SiteError {
    SiteError::Refused(format!(
        "省级枢纽的条目 {seq} 与本日志的链不符，没有改动任何内容：请把整个目录原样保留，联系维护人员 · the hub's entry {seq} \
         does not fit the chain of this log ({why}); nothing was changed: keep the whole directory as it is, and tell whoever \
         maintains this"
    ))
}

fn lost_in_the_middle(first: u64, last: u64) -> SiteError {
    SiteError::Refused(format!(
        "条目 {first} 至 {last} 已损坏，且尚未上报，省级枢纽没有：没有改动任何内容。请把整个目录原样保留，从备份恢复，或在另一个空目录用 \
         restore 重建，再补录之后的改动 · entries {first} to {last} are damaged, and had not been sent: the hub does not have \
         them, and nothing was changed. Keep the whole directory as it is; put back a backup, or make the city again with \
         restore in another, empty directory, and enter again what came after"
    ))
}

fn lost_at_the_end(first: u64, last: u64) -> SiteError {
    SiteError::Refused(format!(
        "日志末尾的条目 {first} 至 {last} 已损坏，且尚未上报，省级枢纽没有：没有改动任何内容。有备份请先用备份；没有备份，用 repair \
         --accept-loss 舍去这几条，然后补录 · entries {first} to {last} at the end of the log are damaged, and had not been \
         sent: the hub does not have them, and nothing was changed. Put back a backup if there is one; if not, repair \
         --accept-loss goes on without them, and they have to be entered again"
    ))
}

fn log_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|it| it.len()).sum()
}

/// A repair's effect on the site's row.
pub(super) fn note_repair(row: &mut pb::SiteRow, repaired: pb::Repaired) {
    if repaired.again {
        (row.generation, row.hub_seq) = (repaired.generation, repaired.hub_seq);
    }
    let since = std::mem::take(&mut row.nonces);
    row.nonces = repaired.nonces;
    let known: Vec<Bytes> = since.into_iter().filter(|nonce| !row.nonces.contains(nonce)).collect();
    row.nonces.extend(known);
    // One more must fit, as before every session.
    let goes = row.nonces.len().saturating_sub(MOST_NONCES - 1);
    row.nonces.drain(..goes);
}

/// The log that is being written.
struct Out {
    log: Log,
    batch: Batch,
    /// Own entries before the batch, and with it.
    before: u64,
    own: u64,
}

impl Out {
    fn begin(dir: &Path, segment_bytes: u64) -> Result<Out, SiteError> {
        let options = log::Options { segment_bytes, ..log::Options::default() };
        Ok(Out { log: Log::open(dir, options)?.0, batch: Batch::new(), before: 0, own: 0 })
    }

    fn push(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), SiteError> {
        self.batch.push(kind, parts);
        self.own += u64::from(kind == record_kind::OWN);
        if self.batch.bytes() >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), SiteError> {
        self.log.append(&self.batch, self.before + 1)?;
        self.batch.clear();
        self.before = self.own;
        Ok(())
    }

    fn finish(mut self) -> Result<(), SiteError> {
        self.flush()?;
        Ok(self.log.sync_to(self.log.end())?)
    }
}
