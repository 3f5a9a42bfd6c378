//! Reading one segment from a given place on: prefaces and frames as they come, each checked.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::frame::{
    self, FRAME_HEAD_BYTES, HEADER_BYTES, MAX_BATCH_BYTES, PREFACE_BYTES, PREFACE_WORD, Preface,
};

/// How much is read at once. Payloads are slices of such chunks, so one that is kept keeps its chunk.
pub(super) const CHUNK_BYTES: u64 = 256 << 10;

/// What stands at a place of a segment.
#[derive(Debug)]
pub(super) enum Found {
    /// The preface of a batch that has records.
    Preface,
    /// A record.
    Record { kind: u8, payload: Bytes },
    /// The preface of an empty batch: what an idle log ends with.
    Idle,
    /// Zeros where a batch could begin.
    Zeros,
    /// The limit, and no batch is open.
    Limit,
    /// None of these; the words say what is wrong. The scan stays in front of it.
    Bad(String),
}

/// A place in a segment file that moves forward.
pub(super) struct Scan {
    file: Arc<File>,
    number: u64,
    /// Nothing from here on is looked at.
    limit: u64,
    at: u64,
    /// The bytes of the file from `at` on, as far as they were read.
    chunk: Bytes,
    /// Where the batch around `at` begins and ends. Unknown until the first preface when the scan began inside of one.
    batch: Option<(u64, u64)>,
}

impl Scan {
    /// A scan of segment `number` up to `limit`, from `at`, where a batch or a frame must begin.
    pub fn new(file: Arc<File>, number: u64, at: u64, limit: u64) -> Scan {
        // Only a batch can begin right after the header.
        let batch = (at == HEADER_BYTES).then_some((at, at));
        Scan { file, number, limit, at, chunk: Bytes::new(), batch }
    }

    /// Where the next thing stands.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Where the batch around the next thing begins; the place itself between batches.
    pub fn batch_start(&self) -> u64 {
        match self.batch {
            Some((start, end)) if self.at < end => start,
            _ => self.at,
        }
    }

    /// Where the batch around the next thing ends, as far as that is known.
    pub fn batch_end(&self) -> Option<u64> {
        self.batch.map(|(_, end)| end)
    }

    /// Looks at the next thing, and goes past it if it is a preface or a record.
    ///
    /// Allocates at most a chunk, or the length of a frame that fits before the limit.
    pub fn next(&mut self) -> io::Result<Found> {
        let batch_end = self.batch.map(|(_, end)| end);
        let open = batch_end.is_some_and(|end| self.at < end);
        if self.at >= self.limit {
            return Ok(if open { bad("the batch goes on, the file does not") } else { Found::Limit });
        }
        let left = self.limit - self.at;
        if !self.have(left.min(4))? {
            return Ok(bad("the file ends early"));
        }
        let zeros = self.chunk.iter().take(4).all(|&byte| byte == 0);
        match (zeros, open) {
            (true, true) => return Ok(bad("zeros inside a batch")),
            (true, false) => return Ok(Found::Zeros),
            (false, _) if left < FRAME_HEAD_BYTES as u64 => return Ok(bad("no room for a frame")),
            (false, _) => {}
        }
        if self.chunk[..4] == PREFACE_WORD {
            return if open { Ok(bad("a batch begins inside another one")) } else { self.preface() };
        }
        if batch_end.is_some_and(|end| self.at >= end) {
            return Ok(bad("no batch begins here"));
        }
        self.record(batch_end.unwrap_or(self.limit).min(self.limit))
    }

    fn preface(&mut self) -> io::Result<Found> {
        if self.limit - self.at < PREFACE_BYTES || !self.have(PREFACE_BYTES)? {
            return Ok(bad("the preface is cut off"));
        }
        let Some(preface) = Preface::decode(&self.chunk, self.number, self.at) else {
            return Ok(bad("the preface's checksum does not match"));
        };
        if preface.bytes == 0 {
            return Ok(Found::Idle);
        }
        let end = self.at + PREFACE_BYTES + u64::from(preface.bytes);
        if end > self.limit {
            return Ok(bad("the batch goes on, the file does not"));
        }
        self.batch = Some((self.at, end));
        self.pass(PREFACE_BYTES);
        Ok(Found::Preface)
    }

    fn record(&mut self, end: u64) -> io::Result<Found> {
        // Judged before anything of that size is allocated or read.
        let length = frame::be32(&self.chunk, 0);
        let whole = FRAME_HEAD_BYTES as u64 + u64::from(length);
        if length as usize > MAX_BATCH_BYTES || self.at + whole > end {
            return Ok(bad(format!("a frame of {length} bytes does not fit before {end}")));
        }
        if !self.have(whole)? {
            return Ok(bad("the file ends inside a frame"));
        }
        if !frame::frame_holds(&self.chunk[..whole as usize]) {
            return Ok(bad("the frame's checksum does not match"));
        }
        let kind = self.chunk[FRAME_HEAD_BYTES];
        let payload = self.chunk.slice(FRAME_HEAD_BYTES + 1..whole as usize);
        self.pass(whole);
        Ok(Found::Record { kind, payload })
    }

    fn pass(&mut self, bytes: u64) {
        self.chunk.advance(bytes as usize);
        self.at += bytes;
    }

    /// Makes sure that the chunk has `bytes` bytes, which lie before the limit. False if the file ends earlier.
    fn have(&mut self, bytes: u64) -> io::Result<bool> {
        if (self.chunk.len() as u64) < bytes {
            let want = bytes.max(CHUNK_BYTES).min(self.limit - self.at);
            self.chunk = read(&self.file, self.at, want as usize)?;
        }
        Ok(self.chunk.len() as u64 >= bytes)
    }
}

fn bad(what: impl Into<String>) -> Found {
    Found::Bad(what.into())
}

/// `count` bytes at `at`, or fewer where the file ends.
pub(super) fn read(file: &File, at: u64, count: usize) -> io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(count);
    while chunk.len() < count {
        let from = at + chunk.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut chunk), from) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    chunk.truncate(count);
    Ok(chunk.into())
}

/// What most of a young segment looks like.
static ZEROS: [u8; 4096] = [0; 4096];

/// The first and the last byte of `from..to` that is not zero.
pub(super) fn nonzero(file: &File, from: u64, to: u64) -> io::Result<Option<(u64, u64)>> {
    let mut found = None;
    let mut at = from;
    while at < to {
        let chunk = read(file, at, CHUNK_BYTES.min(to - at) as usize)?;
        for (index, block) in chunk.chunks(ZEROS.len()).enumerate() {
            // Mostly there is nothing else, and comparing slices is the fast way to see that.
            if block == &ZEROS[..block.len()] {
                continue;
            }
            for (offset, _) in block.iter().enumerate().filter(|(_, byte)| **byte != 0) {
                let place = at + (index * ZEROS.len() + offset) as u64;
                found = Some((found.map_or(place, |(first, _)| first), place));
            }
        }
        if chunk.is_empty() {
            break;
        }
        at += chunk.len() as u64;
    }
    Ok(found)
}
