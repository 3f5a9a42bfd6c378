//! Checking a whole log.
//!
//! Checks: every header against the one seen at open, every preface and frame and their checksums, that batches
//! follow each other without a gap up to the end that the next header names, and zeros after that.
//!
//! Does not check: what the records mean (chains, sequence numbers: their owner does), zeros after the end of the
//! last segment (writers may be at work there), nor the disk itself where the kernel answers from its cache.

use std::path::Path;
use std::sync::Arc;

use super::frame::{HEADER_BYTES, Header};
use super::scan::{self, Found, Scan};
use super::{Log, LogError, segment};

/// How many bytes lie between two calls of a progress function, at least.
const STEP_BYTES: u64 = 1 << 20;

/// What [`Log::verify`] has read, all of it sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many segments.
    pub segments: u64,
    /// How many records.
    pub records: u64,
    /// How many bytes, headers included.
    pub bytes: u64,
}

impl Log {
    /// Reads everything up to where the log ends now, and stops at the first damage. `progress` hears now and then
    /// how many bytes of how many are done. Writers are not held up.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, LogError> {
        let (segments, end) = {
            let ends = self.ends();
            ends.alive()?;
            (ends.segments.clone(), ends.written)
        };
        let ends_at = |index: usize| segments.get(index + 1).map_or(end.offset, |after| after.previous_end);
        let total = (0..segments.len()).map(ends_at).sum();
        let mut verified = Verified::default();
        for (index, header) in segments.iter().enumerate() {
            let closed = index + 1 < segments.len();
            let before = verified.bytes;
            let mut count = |bytes: u64| progress(before + bytes, total);
            verified.records += check(&self.dir, header, ends_at(index), closed, &mut count)?;
            verified.segments += 1;
            verified.bytes += ends_at(index);
            progress(verified.bytes, total);
        }
        Ok(verified)
    }
}

/// Checks one segment up to `end`, and the zeros after it if it is `closed`. Returns the number of records.
fn check(
    dir: &Path,
    header: &Header,
    end: u64,
    closed: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, LogError> {
    let path = segment::path(dir, header.number);
    let (file, found) = segment::open(dir, header.number, false)?;
    if found != *header {
        return Err(LogError::damaged(&path, 12, "the header is not the one this log was opened with"));
    }
    let file = Arc::new(file);
    let mut scan = Scan::new(file.clone(), header.number, HEADER_BYTES, end);
    let (mut records, mut told) = (0, 0);
    loop {
        let at = scan.at();
        match scan.next().map_err(LogError::io("read", &path))? {
            Found::Preface => {}
            Found::Record { .. } => records += 1,
            Found::Limit => break,
            Found::Idle => return Err(LogError::damaged(&path, at, "an empty batch")),
            Found::Zeros => return Err(LogError::damaged(&path, at, "zeros before the end")),
            Found::Bad(what) => return Err(LogError::damaged(&path, at, what)),
        }
        if at >= told + STEP_BYTES {
            told = at;
            progress(at);
        }
    }
    if closed {
        let length = file.metadata().map_err(LogError::io("read", &path))?.len();
        if let Some((first, _)) = scan::nonzero(&file, end, length).map_err(LogError::io("read", &path))? {
            return Err(LogError::damaged(&path, first, "not zero after the end"));
        }
    }
    Ok(records)
}
