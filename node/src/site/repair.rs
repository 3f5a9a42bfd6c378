//! A damaged log made anew: every record that can be read stays, own entries that cannot come back from the hub, and
//! what the hub had delivered comes again.
//!
//! The chain decides what belongs into a hole: an entry is taken from the hub only where it leads from the entry before
//! the hole to the one behind it, over the epochs in between by their anchors. At the end of the log nothing follows: what
//! stood there is known as far as the index had followed it. Nothing is changed in the damaged log. It is kept beside the
//! new one, until a record is erased: then no old byte may be left.

mod epochs;
mod fetched;
mod line;
mod loss;
mod out;
mod told;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use liandong_proto::entry::{Anchor, Encoded, Entry, Head};
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::session::MOST_NONCES;
use liandong_proto::share::CityRing;
use prost::Message as _;

use super::ahead::Witness;
use super::keyring::read_city_ring;
use super::places::remove;
use super::{Missing, OnProgress, Paths, Progress, SiteError, SiteOptions, lacks, record_kind};
use crate::log::{DirLock, Hole, Pos, Salvaged, salvage};
use crate::now::now_ms;
use fetched::{Fetched, Fill};
use line::Line;
use loss::Loss;
use out::Out;
use told::{lost_at_the_end, nothing_readable, other_index};

/// A repair that has been looked into: what is damaged, and what the hub is asked for.
pub struct Repair {
    _lock: DirLock,
    paths: Paths,
    segment_bytes: u64,
    ring: CityRing,
    line: Line,
    cut: u64,
    /// What the index still knew of the site.
    witness: Option<Witness>,
    /// The epoch in which the hub knows the city to live.
    held: Option<Epoch>,
    fetched: Fetched,
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
    /// Whether later ones are lost as well nobody can tell.
    pub perhaps_more: bool,
    /// The newest own entry.
    pub head: u64,
    /// Deliveries may have been lost: the hub sends what may have been in them again.
    pub again: bool,
    /// Where the damaged log is kept.
    pub kept: PathBuf,
}

impl Repair {
    /// Reads the log of a site that is not in use, and finds out what is missing.
    ///
    /// # Errors
    /// [`SiteError::Refused`] for what is no damage of the disk: a chain that is broken where every byte is sound, an index
    /// of another log.
    pub fn look(options: &SiteOptions, progress: OnProgress<'_>) -> Result<Repair, SiteError> {
        let paths = Paths::new(&options.data_dir);
        let lock = paths.take()?;
        let ring = read_city_ring(&paths)?;
        let witness = Witness::ask(&paths, options.cache_bytes)?;
        let mut line = Line::beside(witness.as_ref().and_then(Witness::head));
        let (mut cut, total, mut done) = (0, log_bytes(&paths.log()), 0);
        let durable = durable(witness.as_ref());
        let end = salvage::<SiteError>(&paths.log(), durable, &mut |found| match found {
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
        if durable > end {
            line.hole(Hole::behind(&paths.log(), end, durable));
        }
        line.is_cut = durable > end || cut > 0;
        line.end();
        if let Some(witness) = witness.as_ref().filter(|_| !line.gaps.is_empty()) {
            line.epochs.learn_row(&witness.row)?;
            line.site = line.site.or(witness.head().map(|_| SiteCode(witness.row.site)));
        }
        let (segment_bytes, held, fetched) = (options.segment_bytes, None, Fetched::default());
        Ok(Repair { _lock: lock, paths, segment_bytes, ring, line, cut, witness, held, fetched })
    }

    /// What cannot be read; nothing has to be done when there is nothing.
    pub fn holes(&self) -> &[Hole] {
        &self.line.holes
    }

    /// Where the site's files are.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Whether the hub has to be asked for own entries.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when nothing says whose log it is.
    pub fn asks(&self) -> Result<bool, SiteError> {
        if self.line.site.is_none() { Err(nothing_readable()) } else { Ok(!self.line.gaps.is_empty()) }
    }

    /// Takes note of the epoch in which the hub knows the city to live. Which entries it is to be asked for: those of this
    /// origin behind a head, and of the epochs before it.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when log and hub do not agree where that epoch goes on from.
    pub fn ask(&mut self, epoch: Epoch, anchor: Option<Anchor>) -> Result<(Origin, Head), SiteError> {
        let site = self.line.site.ok_or_else(nothing_readable)?;
        if anchor.is_some() {
            self.line.epochs.learn(epoch, anchor)?;
        }
        self.held = Some(epoch);
        // Places count anew in each epoch: where others are concerned, all of it is asked for.
        let only = |gap: &line::Gap| {
            gap.after.filter(|(after, _)| *after == epoch && gap.before.is_of(epoch)).map(|(_, head)| head)
        };
        let heads: Option<Vec<Head>> = self.line.gaps.iter().map(only).collect();
        let first = heads.and_then(|heads| heads.first().copied());
        Ok((Origin { site, epoch }, first.unwrap_or_default()))
    }

    /// Takes in entries as the hub sends them. Those that are in the log are passed over.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when one is not sound, not this city's, or does not open with its key.
    pub fn take(&mut self, entries: &[Entry]) -> Result<(), SiteError> {
        self.fetched.take(&mut self.line, &self.ring, entries)
    }

    /// Own entries so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.count()
    }

    /// Writes the log anew, durably, and puts it in the place of the damaged one. The index goes aside; the next start makes
    /// it again.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when entries are missing that nobody holds: those in the middle always, those at the end, or
    /// that may have stood there, unless that is `accepted`. Nothing is changed then.
    pub fn finish(mut self, author: &str, accepted: bool) -> Result<Repaired, SiteError> {
        let mut done = self.write(author, accepted)?;
        done.kept = self.paths.damaged_log(now_ms());
        self.paths.change_logs(&done.kept)?;
        Ok(done)
    }

    /// Writes the log anew beside the damaged one.
    fn write(&mut self, author: &str, accepted: bool) -> Result<Repaired, SiteError> {
        let living = self.living()?;
        let mut fills = Vec::new();
        let mut head = self.line.at.map_or(Head::default(), |(_, head)| head);
        for gap in &self.line.gaps {
            let (fill, reached) = self.fetched.fill(&self.line, living, gap)?;
            if matches!(gap.before, line::Before::Nothing) {
                head = reached;
            }
            fills.push((gap.hole, fill));
        }
        self.check_witness(living)?;
        let loss = Loss::of(&self.line, self.witness.as_ref(), living, head);
        if !loss.is_none() && !accepted {
            return Err(lost_at_the_end(loss, head.seq));
        }
        let mut done = Repaired {
            cut: self.cut,
            lost: loss.known,
            perhaps_more: loss.perhaps_more,
            head: head.seq,
            again: self.line.holes.iter().any(|hole| hole.records),
            ..Repaired::default()
        };
        let next = self.paths.unfinished_log();
        remove(&next)?;
        let mut out = Out::begin(&next, self.segment_bytes)?;
        let (mut hole, mut missing) = (0, Missing::default());
        let mut fill = |hole: usize, out: &mut Out, done: &mut Repaired| -> Result<(), SiteError> {
            for fill in fills.iter().filter(|(at, _)| *at == hole).flat_map(|(_, fill)| fill) {
                match fill {
                    Fill::Opened(opened) => out.push(record_kind::OPENED, &[&opened.encode_to_vec()])?,
                    Fill::Own(entry, header) => {
                        let (open, sealed) = lacks(header, &entry.open, &entry.sealed);
                        missing.entry(header, open || sealed, header.seq);
                        out.push(record_kind::OWN, &Encoded::new(entry).parts())?;
                        done.fetched += 1;
                    }
                }
            }
            Ok(())
        };
        salvage::<SiteError>(&self.paths.log(), durable(self.witness.as_ref()), &mut |found| {
            match found {
                Salvaged::Record { kind, payload } => {
                    done.records += 1;
                    out.push(kind, &[&payload])?;
                }
                Salvaged::Hole(_) => {
                    fill(hole, &mut out, &mut done)?;
                    hole += 1;
                }
                Salvaged::Cut(_) => {}
            }
            Ok(())
        })?;
        // What is missing behind the end.
        (hole..self.line.holes.len()).try_for_each(|hole| fill(hole, &mut out, &mut done))?;
        self.line.erased.iter().for_each(|key| missing.erased(*key));
        done.bare = missing.unexplained().collect();
        out.push(record_kind::REPAIRED, &[&self.note(author, &done, living).encode_to_vec()])?;
        out.finish()?;
        done.holes.clone_from(&self.line.holes);
        Ok(done)
    }

    /// The epoch that the log lives in. Where its end is lost a newer one may have begun there, which the index knows, or the
    /// hub; of an epoch that others follow nothing but its entries is left in a log.
    fn living(&self) -> Result<Epoch, SiteError> {
        let line = &self.line;
        let witness = self.witness.as_ref().and_then(Witness::head).map(|(epoch, _)| epoch);
        let Some((here, head)) = line.at else { return witness.ok_or_else(nothing_readable) };
        if line.tail().is_none() {
            return Ok(here);
        }
        if let Some(epoch) = witness.filter(|epoch| line.epochs.end_of(here, *epoch).is_some()) {
            return Ok(epoch);
        }
        let follows = |epoch: &Epoch| line.epochs.end_of(here, *epoch).is_some_and(|end| end.seq >= head.seq);
        Ok(self.held.filter(|epoch| !line.lives && follows(epoch)).unwrap_or(here))
    }

    /// The index is of this line.
    fn check_witness(&self, living: Epoch) -> Result<(), SiteError> {
        match self.witness.as_ref().and_then(Witness::head) {
            Some((epoch, _)) if epoch != living && !self.line.has(epoch) => {
                let is_between = self.line.epochs.end_of(epoch, living).is_some();
                if is_between { Ok(()) } else { Err(other_index()) }
            }
            _ => Ok(()),
        }
    }

    /// What the new log says of the repair.
    fn note(&self, author: &str, done: &Repaired, living: Epoch) -> pb::Repaired {
        let witness = self.witness.as_ref().filter(|witness| witness.row.epoch == living.0.as_slice());
        let (generation, hub_seq) = self.line.cursor;
        pb::Repaired {
            at_ms: now_ms(),
            author: author.to_owned(),
            places: self.line.holes.iter().map(ToString::to_string).collect(),
            fetched: done.fetched,
            lost: done.lost.map_or(0, |(first, last)| last - first + 1),
            again: done.again,
            generation,
            hub_seq,
            nonces: witness.map(|witness| witness.row.nonces.clone()).unwrap_or_default(),
            perhaps_more: done.perhaps_more,
        }
    }
}

fn durable(witness: Option<&Witness>) -> Pos {
    witness.map_or(Pos::START, |witness| witness.position)
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

#[cfg(test)]
mod tests;
