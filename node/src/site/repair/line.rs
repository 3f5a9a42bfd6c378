//! What a damaged log lacks: its own entries as one line, with gaps where it has holes.

use bytes::Bytes;
use liandong_proto::entry::{self, Anchor, Head, Op};
use liandong_proto::id::{Epoch, Hash, Origin, RecordId, SiteCode};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::session::position_from_pb;

use super::super::deliver::erased_by;
use super::super::{Record, SiteError, record_kind};
use crate::log::{self, Hole, Pos};

/// Own entries that may be missing.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    /// Number of the hole where they go.
    pub hole: usize,
    /// Of this epoch.
    pub epoch: Epoch,
    /// Behind this entry.
    pub after: Head,
    /// Up to before the entry of this place, which names that hash as the one before it. `None` where nothing follows:
    /// there may be any number, none among them.
    pub before: Option<(u64, Hash)>,
    /// The epoch begins here, and the record that says so is missing.
    pub opens: bool,
    /// Nothing of the log stands before it: epochs of which nothing is left belong here.
    pub is_first: bool,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    pub records: u64,
    pub holes: Vec<Hole>,
    pub gaps: Vec<Gap>,
    site: Option<SiteCode>,
    epoch: Option<Epoch>,
    /// The newest own entry of the living epoch.
    pub head: Head,
    /// What the hub has signed for in the living epoch.
    pub confirmed: u64,
    /// Cursor of the newest delivery before the first hole.
    pub cursor: (u64, u64),
    /// Records that the log says were erased.
    pub erased: Vec<(u32, RecordId)>,
    /// Epochs of which something is there, with their anchors.
    epochs: Vec<(Epoch, Option<Anchor>)>,
    /// The first hole since the newest own entry that may have held one.
    pending: Option<usize>,
}

impl Line {
    /// Whose log it is, and the epoch it lives in.
    pub fn origin(&self) -> Option<Origin> {
        Some(Origin { site: self.site?, epoch: self.epoch? })
    }

    pub fn knows(&self, epoch: Epoch) -> bool {
        self.epochs.iter().any(|(known, _)| *known == epoch)
    }

    pub fn anchor_of(&self, epoch: Epoch) -> Option<pb::Anchor> {
        let known = self.epochs.iter().find(|(known, _)| *known == epoch)?;
        known.1.as_ref().map(Anchor::to_pb)
    }

    /// Whether an entry is missing, or may be.
    pub fn misses(&self, epoch: Epoch, seq: u64) -> bool {
        let is_in = |gap: &Gap| {
            gap.epoch == epoch && seq > gap.after.seq && gap.before.is_none_or(|(before, _)| seq < before)
        };
        self.gaps.iter().any(|gap| is_in(gap) || gap.is_first && !self.knows(epoch))
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
        match record {
            Record::Opened(opened) => {
                let epoch = Epoch::from_slice(&opened.epoch)
                    .ok_or_else(|| SiteError::corrupt("the log", "an epoch of another length"))?;
                let first = self.pending.filter(|_| self.epoch.is_none());
                self.tail();
                if let Some(hole) = first {
                    self.pending = None;
                    let (after, before) = (Head::default(), Some((1, Hash::default())));
                    self.gaps.push(Gap { hole, epoch, after, before, opens: false, is_first: true });
                }
                self.site = Some(SiteCode(opened.site));
                self.begin(epoch, opened.anchor.as_ref().and_then(Anchor::from_pb));
            }
            Record::Own(entry) => {
                let (header, hash) = entry::check(&entry)
                    .map_err(|error| SiteError::corrupt("an own entry whose bytes are sound", error))?;
                if header.op == Op::Erase {
                    self.erased.push((header.kind, header.record));
                }
                if self.epoch != Some(header.origin.epoch) {
                    let hole = self.pending.ok_or_else(|| broken(header.seq, "it is of another epoch"))?;
                    let is_first = self.epoch.is_none();
                    self.tail();
                    self.site = Some(header.origin.site);
                    self.begin(header.origin.epoch, header.anchor);
                    let before = Some((header.seq, header.prev.unwrap_or_default()));
                    let (epoch, after) = (header.origin.epoch, Head::default());
                    self.gaps.push(Gap { hole, epoch, after, before, opens: true, is_first });
                } else if let Err(error) = header.follows(&self.head) {
                    let hole = self.pending.filter(|_| header.seq > self.head.seq + 1);
                    let hole = hole.ok_or_else(|| broken(header.seq, &error.to_string()))?;
                    let before = Some((header.seq, header.prev.unwrap_or_default()));
                    let (epoch, after) = (header.origin.epoch, self.head);
                    self.gaps.push(Gap { hole, epoch, after, before, opens: false, is_first: false });
                }
                self.pending = None;
                self.head = Head { seq: header.seq, hash };
            }
            Record::Received(deliver) => {
                if !self.holes.iter().any(|hole| hole.records) {
                    let cursor = position_from_pb(deliver.cursor.as_ref());
                    self.cursor = (cursor.generation, cursor.hub_seq);
                }
                let erased = deliver.items.iter().filter(|item| erased_by(item).is_some());
                self.erased
                    .extend(erased.filter_map(|item| Some((item.kind, RecordId::from_slice(&item.record)?))));
            }
            Record::Confirmed(receipt) => {
                let seq = receipt.up_to.map_or(0, |head| head.seq);
                self.confirmed = self.confirmed.max(seq);
            }
            _ => debug_assert_ne!(kind, record_kind::OWN),
        }
        Ok(())
    }

    /// The log ends.
    pub fn end(&mut self) {
        self.tail();
    }

    fn begin(&mut self, epoch: Epoch, anchor: Option<Anchor>) {
        self.epochs.push((epoch, anchor));
        (self.epoch, self.head, self.confirmed) = (Some(epoch), Head::default(), 0);
    }

    /// Nothing more comes of the epoch: what stood in a hole behind its newest entry may be entries.
    fn tail(&mut self) {
        let Some((hole, epoch)) = self.pending.zip(self.epoch) else { return };
        self.pending = None;
        let after = self.head;
        self.gaps.push(Gap { hole, epoch, after, before: None, opens: false, is_first: false });
    }
}

fn broken(seq: u64, why: &str) -> SiteError {
    SiteError::Refused(format!(
        "条目 {seq} 的字节完好，却接不上前一条：这不是磁盘损坏，无法修复。请把整个目录原样保留，联系维护人员 · the bytes of entry \
         {seq} are sound, and yet it does not follow the one before ({why}): this is no damage of the disk and cannot be \
         repaired. Keep the whole directory as it is, and tell whoever maintains this"
    ))
}
