//! A log in memory that loses what was not synced. It stands for `liandong_node::log`: batches that come back whole or
//! not at all, a sync that covers all before it, a full disk that is seen before anything is written.

use std::sync::Arc;

use bytes::Bytes;
use liandong_node::log::{Batch, LogError, LogView, Pos, Record, Records};
use liandong_proto::id::RecordId;
use rand::RngExt as _;
use rand::rngs::StdRng;

/// Places of the hub's order, each named for good: a place that a restore gives out again has another name.
pub type Sight = Arc<Vec<u64>>;

/// What the simulator knows of a record of a log and no program reads.
#[derive(Clone, Debug, Default)]
pub enum Beside {
    /// Nothing.
    #[default]
    Nothing,
    /// At a node, of a delivery: which places are part of each state.
    Sights(Arc<Vec<((u32, RecordId), Sight)>>),
    /// At the hub, of a commit: the name of the place of its first entry; the others follow.
    Places(u64),
}

#[derive(Clone, Debug)]
struct Kept {
    kind: u8,
    payload: Bytes,
    beside: Beside,
    /// A bit has flipped: what is read is not what its checksum says.
    flipped: bool,
}

/// A disk with one log.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    records: Vec<Kept>,
    /// Behind which record each batch ends.
    ends: Vec<usize>,
    synced: usize,
    /// Nothing can be written.
    pub full: bool,
}

/// The disk is full; the log is as before.
#[derive(Debug)]
pub struct Full;

impl Disk {
    /// Appends a batch whose first record has something beside it.
    pub fn append(&mut self, batch: &Batch, beside: Beside) -> Result<Pos, Full> {
        if self.full {
            return Err(Full);
        }
        let mut beside = Some(beside);
        for (kind, payload) in batch.records() {
            let is_marked = !matches!(beside, Some(Beside::Places(_))) || kind == COMMIT;
            let beside = if is_marked { beside.take().unwrap_or_default() } else { Beside::Nothing };
            self.records.push(Kept {
                kind,
                payload: Bytes::copy_from_slice(payload),
                beside,
                flipped: false,
            });
        }
        self.ends.push(self.records.len());
        Ok(self.end())
    }

    /// Makes everything appended so far durable.
    pub fn sync(&mut self) {
        self.synced = self.records.len();
    }

    /// Whether there is something to sync.
    pub fn is_synced(&self) -> bool {
        self.synced == self.records.len()
    }

    /// The power fails: of the batches behind the last sync, some of the first survive.
    pub fn crash(&mut self, random: &mut StdRng) {
        let unsynced = self.ends.iter().filter(|end| **end > self.synced).count();
        let lost = random.random_range(0..=unsynced);
        self.ends.truncate(self.ends.len() - lost);
        self.records.truncate(self.ends.last().copied().unwrap_or(0).max(self.synced));
        self.synced = self.records.len();
    }

    /// What a backup holds: all that is durable.
    pub fn backup(&self) -> Disk {
        let mut copy = self.clone();
        copy.full = false;
        copy.records.truncate(copy.synced);
        copy.ends.retain(|end| *end <= copy.synced);
        copy
    }

    /// A bit of something durable flips. False where there is nothing.
    pub fn flip(&mut self, random: &mut StdRng) -> bool {
        if self.synced == 0 {
            return false;
        }
        let at = random.random_range(0..self.synced);
        self.records[at].flipped = true;
        true
    }

    /// Whether something cannot be read.
    pub fn is_damaged(&self) -> bool {
        self.records.iter().any(|kept| kept.flipped)
    }

    /// What is durable, as a log.
    pub fn durable(&self) -> Durable<'_> {
        Durable(self)
    }

    /// What is durable of a kind, newest first.
    pub fn newest_durable(&self, kind: u8) -> impl Iterator<Item = &Bytes> {
        let durable = self.records[..self.synced].iter().rev();
        durable.filter(move |kept| kept.kind == kind).map(|kept| &kept.payload)
    }

    /// The records from one on, with what is beside each. What has been read once stays readable to whoever checks.
    pub fn beside(&self, from: usize) -> impl Iterator<Item = (Record, &Beside)> {
        self.records.iter().enumerate().skip(from).map(|(at, kept)| (record(at, kept), &kept.beside))
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

const COMMIT: u8 = liandong_node::site::record_kind::COMMIT;

fn record(at: usize, kept: &Kept) -> Record {
    let at = at as u64;
    let place = |offset| Pos { segment: 1, offset };
    Record { pos: place(at), next: place(at + 1), kind: kept.kind, payload: kept.payload.clone() }
}

/// What of a disk is durable.
pub struct Durable<'a>(&'a Disk);

fn read(records: &[Kept], from: Pos) -> Records<'_> {
    let from = if from.segment == 0 { 0 } else { from.offset as usize };
    let mut over = false;
    Box::new(records.iter().enumerate().skip(from).map_while(move |(at, kept)| {
        if over {
            return None;
        }
        over = kept.flipped;
        Some(if over { Err(damaged(at)) } else { Ok(record(at, kept)) })
    }))
}

fn damaged(at: usize) -> LogError {
    let what = "the checksum does not match".to_owned();
    LogError::Damaged { path: "log".into(), offset: at as u64, what }
}

impl LogView for Disk {
    fn read(&self, from: Pos) -> Records<'_> {
        read(&self.records, from)
    }

    /// The log has one segment.
    fn seek(&self, _mark: u64) -> Pos {
        Pos { segment: 1, offset: 0 }
    }

    fn end(&self) -> Pos {
        Pos { segment: 1, offset: self.records.len() as u64 }
    }

    fn bytes_from(&self, from: Pos) -> u64 {
        self.records.iter().skip(from.offset as usize).map(|kept| kept.payload.len() as u64).sum()
    }
}

impl LogView for Durable<'_> {
    fn read(&self, from: Pos) -> Records<'_> {
        read(&self.0.records[..self.0.synced], from)
    }

    fn seek(&self, mark: u64) -> Pos {
        self.0.seek(mark)
    }

    fn end(&self) -> Pos {
        Pos { segment: 1, offset: self.0.synced as u64 }
    }

    fn bytes_from(&self, from: Pos) -> u64 {
        self.0.bytes_from(from)
    }
}
