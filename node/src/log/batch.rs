//! Records on their way into the log, framed as they come.

use super::LogError;
use super::frame::{self, FRAME_HEAD_BYTES, MAX_BATCH_BYTES, PREFACE_BYTES};
use super::pos::Pos;

/// Records that go into the log together: after a crash all of them are there, or none.
#[derive(Debug, Default)]
pub struct Batch {
    frames: Vec<u8>,
    /// Where in `frames` each record begins.
    starts: Vec<usize>,
    longest: usize,
    /// Length of the record or batch that passed every limit; it was not framed.
    too_long: Option<usize>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a record whose payload is `parts`, one after the other. They are copied once, into the frame.
    ///
    /// A record that is too long is refused by [`Log::append`](super::Log::append), with the whole batch.
    pub fn push(&mut self, kind: u8, parts: &[&[u8]]) {
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        self.longest = self.longest.max(payload);
        let total = (self.frames.len() + FRAME_HEAD_BYTES + 1).saturating_add(payload);
        match u32::try_from(payload + 1) {
            Ok(length) if total <= MAX_BATCH_BYTES => {
                self.starts.push(self.frames.len());
                frame::push_frame(&mut self.frames, length, kind, parts);
            }
            _ => self.too_long = Some(total),
        }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.too_long.is_none()
    }

    /// Kind and payload of each record, in order.
    pub fn records(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let ends = self.starts.iter().skip(1).copied().chain([self.frames.len()]);
        self.starts.iter().zip(ends).map(|(start, end)| {
            let frame = &self.frames[start + FRAME_HEAD_BYTES..end];
            (frame[0], &frame[1..])
        })
    }

    /// How many bytes of the log it takes.
    pub fn bytes(&self) -> u64 {
        PREFACE_BYTES + self.frames.len() as u64
    }

    /// Empties it and keeps the memory.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.starts.clear();
        self.longest = 0;
        self.too_long = None;
    }

    pub(super) fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// The length of the frames as it stands in the preface, if all is within the limits.
    pub(super) fn checked_length(&self, max_record_bytes: u32) -> Result<u32, LogError> {
        if self.longest > max_record_bytes as usize {
            return Err(LogError::TooLong { bytes: self.longest as u64, max: max_record_bytes.into() });
        }
        let bytes = self.too_long.unwrap_or(self.frames.len());
        match u32::try_from(bytes) {
            Ok(length) if self.too_long.is_none() => Ok(length),
            _ => Err(LogError::TooLong { bytes: bytes as u64, max: MAX_BATCH_BYTES as u64 }),
        }
    }
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where the batch begins; reading from here reads its first record first.
    pub start: Pos,
    /// Where it ends, and the next one begins: what to give to [`Log::sync_to`](super::Log::sync_to).
    pub end: Pos,
}

impl Span {
    /// Where record `index` of `batch` stands, with which this span was made. `None` if there is no such record.
    pub fn pos_of(&self, batch: &Batch, index: usize) -> Option<Pos> {
        let start = *batch.starts.get(index)? as u64;
        Some(Pos { segment: self.start.segment, offset: self.start.offset + PREFACE_BYTES + start })
    }
}
