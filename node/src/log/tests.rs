//! Tests of the log, and what other tests of this crate may use: [`power_loss`].

mod damage;
pub(in crate::log) mod faults;
mod golden;
mod group_commit;
mod lock;
pub(crate) mod power_loss;
mod rewrite;
mod round_trip;
mod salvage;
mod space;
mod tail;

use std::fs;
use std::path::{Path, PathBuf};

use super::{Batch, Log, LogError, Opened, Options, Pos, Record, Span, segment};

/// Segments so small that a few records fill one.
const SMALL: Options = Options { segment_bytes: 512, max_record_bytes: 4096 };

#[track_caller]
fn open(dir: &Path) -> (Log, Opened) {
    Log::open(dir, SMALL).expect("the log opens")
}

/// A batch of records of kind 1, 2, … with these payloads.
fn batch(payloads: &[&[u8]]) -> Batch {
    let mut batch = Batch::new();
    for (kind, payload) in (1..).zip(payloads) {
        batch.push(kind, &[payload]);
    }
    batch
}

/// A payload of `length` bytes that are not zero and begin with `number`.
fn payload(number: usize, length: usize) -> Vec<u8> {
    let mut bytes = format!("{number}.").into_bytes();
    bytes.resize(length.max(bytes.len()), b'x');
    bytes
}

#[track_caller]
fn append(log: &Log, payloads: &[&[u8]]) -> Span {
    log.append(&batch(payloads), 0).expect("the batch is appended")
}

#[track_caller]
fn append_synced(log: &Log, payloads: &[&[u8]]) -> Span {
    let span = append(log, payloads);
    log.sync_to(span.end).expect("the batch is synced");
    span
}

#[track_caller]
fn records(log: &Log) -> Vec<Record> {
    log.read(Pos::START).collect::<Result<_, _>>().expect("the log can be read")
}

#[track_caller]
fn payloads(log: &Log) -> Vec<Vec<u8>> {
    records(log).iter().map(|record| record.payload.to_vec()).collect()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Reads all of a log that may be damaged.
fn examine(dir: &Path) -> Result<(Log, Opened), LogError> {
    let (log, opened) = Log::open(dir, SMALL)?;
    log.verify(&mut |_, _| {})?;
    Ok((log, opened))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let numbers = segment::list(dir).expect("the directory can be listed");
    numbers.into_iter().map(|number| segment::path(dir, number)).collect()
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().expect("a file has a name")))
            .expect("the segment is copied");
    }
}

/// Changes the bytes of a file.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("the file can be read");
    change(&mut bytes);
    fs::write(path, bytes).expect("the file can be written");
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
