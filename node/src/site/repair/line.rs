//! What a damaged log lacks: its own entries as one line, with gaps where it has holes.

use bytes::Bytes;
use liandong_proto::entry::{self, Entry, Head, Op};
use liandong_proto::id::{Epoch, RecordId, SiteCode};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::session::{head_from_pb, position_from_pb};

use super::super::deliver::erased_by;
use super::super::{Record, SiteError, record_kind};
use super::epochs::{Epochs, anchor_of};
use super::told::{broken, other_index};
use crate::log::{self, Hole, Pos};
use crate::payload;

/// Own entries, and epochs that begin, that may be missing.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    /// Number of the hole where they go.
    pub hole: usize,
    /// The epoch before it, and the newest entry there; `None` where nothing of the line stands before.
    pub after: Option<(Epoch, Head)>,
    pub before: Before,
}

/// What stands behind a gap.
#[derive(Clone, Copy, Debug)]
pub(super) enum Before {
    /// The log ends: there may be any number, none among them.
    Nothing,
    /// This epoch begins, and the record that says so is there.
    Opened(Epoch),
    /// An entry of this epoch, which follows that one.
    Entry(Epoch, Head),
}

impl Before {
    /// Whether nothing but entries of this epoch goes before it, as far as that is known.
    pub fn is_of(&self, epoch: Epoch) -> bool {
        match self {
            Before::Nothing => true,
            Before::Opened(_) => false,
            Before::Entry(of, _) => *of == epoch,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Line {
    pub records: u64,
    pub holes: Vec<Hole>,
    pub gaps: Vec<Gap>,
    pub epochs: Epochs,
    pub site: Option<SiteCode>,
    /// The epoch at hand, and its newest entry.
    pub at: Option<(Epoch, Head)>,
    /// The newest entry that the hub has signed for: of the epoch that the log lives in.
    pub confirmed: Head,
    /// Cursor of the newest delivery before the first hole.
    pub cursor: (u64, u64),
    /// It ends before its index does, or with bytes that cannot be read and may have been synced: nobody knows how it went on.
    pub is_cut: bool,
    /// Records that the log says were erased, by an entry, a delivery or a proof.
    pub erased: payload::Erased,
    /// The log has lived in the epoch at hand: of older ones nothing but their entries is left in a log.
    pub lives: bool,
    /// An entry that the index knows of.
    known: Option<(Epoch, Head)>,
    /// Runs of entries that are there: the epoch, the first and the last of each.
    kept: Vec<(Epoch, u64, u64)>,
    opened: Vec<Epoch>,
    /// The first hole since the newest own entry that may have held one.
    pending: Option<usize>,
}

impl Line {
    /// A line of which nothing has been read, held against an entry that the index knows of.
    pub fn beside(known: Option<(Epoch, Head)>) -> Line {
        Line { known, ..Line::default() }
    }

    /// Whether something of an epoch is there.
    pub fn has(&self, epoch: Epoch) -> bool {
        self.opened.contains(&epoch) || self.kept.iter().any(|(kept, ..)| *kept == epoch)
    }

    /// Whether an entry is missing, or may be.
    pub fn misses(&self, epoch: Epoch, seq: u64) -> bool {
        let is_kept =
            |(kept, first, last): &(Epoch, u64, u64)| *kept == epoch && (*first..=*last).contains(&seq);
        !self.gaps.is_empty() && !self.kept.iter().any(is_kept)
    }

    /// The gap that the log ends with, if it does.
    pub fn tail(&self) -> Option<&Gap> {
        self.gaps.last().filter(|gap| matches!(gap.before, Before::Nothing))
    }

    pub fn hole(&mut self, hole: Hole) {
        if hole.records {
            self.pending.get_or_insert(self.holes.len());
        }
        self.holes.push(hole);
    }

    pub fn record(&mut self, kind: u8, payload: Bytes) -> Result<(), SiteError> {
        let raw = log::Record { pos: Pos::default(), next: Pos::default(), kind, payload };
        let record = Record::read(&raw)?;
        self.records += 1;
        if !matches!(record, Record::Opened(_) | Record::Own(_)) && self.pending.is_none() {
            self.lives = true;
        }
        match record {
            Record::Opened(opened) => self.opened(&opened)?,
            Record::Own(entry) => self.own(&entry)?,
            Record::Received(deliver) => {
                if !self.holes.iter().any(|hole| hole.records) {
                    let cursor = position_from_pb(deliver.cursor.as_ref());
                    self.cursor = (cursor.generation, cursor.hub_seq);
                }
                let erased = deliver.items.iter().filter(|item| erased_by(item).is_some());
                self.erased
                    .extend(erased.filter_map(|item| Some((item.kind, RecordId::from_slice(&item.record)?))));
            }
            Record::Erased(proof) => {
                self.erased.extend(RecordId::from_slice(&proof.record).map(|record| (proof.kind, record)));
            }
            Record::Confirmed(receipt) => {
                let head = head_from_pb(receipt.up_to.as_ref());
                if head.seq > self.confirmed.seq {
                    self.confirmed = head;
                }
            }
            _ => debug_assert_ne!(kind, record_kind::OWN),
        }
        Ok(())
    }

    fn opened(&mut self, opened: &pb::EpochOpened) -> Result<(), SiteError> {
        let epoch = Epoch::from_slice(&opened.epoch)
            .ok_or_else(|| SiteError::corrupt("the log", "an epoch of another length"))?;
        let anchor = anchor_of(opened.anchor.as_ref())?;
        self.epochs.learn(epoch, anchor)?;
        let follows = anchor.map(|anchor| (anchor.epoch, Head { seq: anchor.seq, hash: anchor.hash }));
        if let Some(hole) = self.pending.take().filter(|_| self.at != follows) {
            self.gaps.push(Gap { hole, after: self.at, before: Before::Opened(epoch) });
        }
        self.site = Some(SiteCode(opened.site));
        self.opened.push(epoch);
        (self.at, self.confirmed, self.lives) = (Some((epoch, Head::default())), Head::default(), false);
        Ok(())
    }

    fn own(&mut self, entry: &Entry) -> Result<(), SiteError> {
        let (header, hash) = entry::check(entry)
            .map_err(|error| SiteError::corrupt("an own entry whose bytes are sound", error))?;
        let (epoch, seq) = (header.origin.epoch, header.seq);
        if header.op == Op::Erase {
            self.erased.insert((header.kind, header.record));
        }
        if seq == 1 {
            self.epochs.learn(epoch, header.anchor)?;
        }
        let known = self.known.filter(|(known, head)| *known == epoch && head.seq == seq);
        if known.is_some_and(|(_, head)| head.hash != hash) {
            return Err(other_index());
        }
        let before = Before::Entry(epoch, Head { seq: seq - 1, hash: header.prev.unwrap_or_default() });
        match self.at.filter(|(at, _)| *at == epoch) {
            None => {
                let hole = self.pending.ok_or_else(|| broken(seq, "it is of another epoch"))?;
                self.gaps.push(Gap { hole, after: self.at, before });
                (self.site, self.lives) = (Some(header.origin.site), false);
            }
            Some((_, head)) => {
                if let Err(error) = header.follows(&head) {
                    let hole = self.pending.filter(|_| seq > head.seq + 1);
                    let hole = hole.ok_or_else(|| broken(seq, &error.to_string()))?;
                    self.gaps.push(Gap { hole, after: self.at, before });
                }
            }
        }
        self.pending = None;
        self.keep(epoch, seq);
        self.at = Some((epoch, Head { seq, hash }));
        Ok(())
    }

    fn keep(&mut self, epoch: Epoch, seq: u64) {
        match self.kept.last_mut() {
            Some((kept, _, last)) if *kept == epoch && *last + 1 == seq => *last = seq,
            _ => self.kept.push((epoch, seq, seq)),
        }
    }

    /// The log ends: what stood in a hole behind its newest entry may be entries.
    pub fn end(&mut self) {
        if let Some(hole) = self.pending.take() {
            self.gaps.push(Gap { hole, after: self.at, before: Before::Nothing });
        }
    }

    /// The hash of the newest entry that the hub has signed for, and that of the index, are held against what comes.
    pub fn known(&self, living: Epoch) -> impl Iterator<Item = (Epoch, Head)> {
        let confirmed = (self.confirmed != Head::default()).then_some((living, self.confirmed));
        self.known.into_iter().chain(confirmed)
    }
}
