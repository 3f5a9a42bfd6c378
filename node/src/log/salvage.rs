//! Reading what can be read of a damaged log: records in their order, and the holes between them.
//!
//! A hole ends where reading can be taken up again for certain: at a preface, whose checksum covers its place; or inside
//! of a batch at a frame from which sound frames lead exactly to the batch's end. So what a payload holds is never taken
//! for a record.
//!
//! What it cannot see by itself: the loss of whole segments at the end, and of batches at the end that nothing proves to
//! have been synced. The second is told as a tail that was cut, as opening the log would cut it. An index that had followed
//! the log further is such a proof.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{
    FRAME_HEAD_BYTES, HEADER_BYTES, Header, PREFACE_BYTES, PREFACE_WORD, Preface, VERSION, be32, frame_holds,
};
use super::pos::Pos;
use super::recover::proof;
use super::scan::{self, CHUNK_BYTES, Found, Scan};
use super::{LogError, segment};

/// More zeros than the end of any record has.
const ZEROS: u64 = 32;

/// A stretch of a segment that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The segment.
    pub path: PathBuf,
    /// Its number.
    pub segment: u64,
    /// The first byte of the hole.
    pub from: u64,
    /// Where reading goes on.
    pub to: u64,
    /// What is wrong there.
    pub what: String,
    /// Records may have stood in it; not so where only a header or a preface is broken.
    pub records: bool,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        write!(f, "{name}: {}-{}: {}", self.from, self.to, self.what)
    }
}

/// What stands in a damaged log, in order.
#[derive(Debug)]
pub enum Salvaged {
    /// A record that is sound.
    Record {
        /// Kind, as it was pushed.
        kind: u8,
        /// Payload.
        payload: Bytes,
    },
    /// Something that cannot be read.
    Hole(Hole),
    /// The end of the last segment that was never synced, as far as anybody can tell: so many bytes.
    Cut(u64),
}

impl Hole {
    /// Where reading goes on.
    pub fn end(&self) -> Pos {
        Pos { segment: self.segment, offset: self.to }
    }

    /// What is missing behind the end of a log that had been synced up to a place.
    pub fn behind(dir: &Path, end: Pos, durable: Pos) -> Hole {
        let to = if durable.segment == end.segment { durable.offset } else { end.offset };
        let what = format!("the end is missing: all up to {durable} had been synced");
        let path = segment::path(dir, end.segment);
        Hole { path, segment: end.segment, from: end.offset, to, what, records: true }
    }
}

/// Reads the log in `dir`, whatever it is like, and changes nothing. `visit` is given all of it in order. Everything before
/// `durable` is known to have been synced: what cannot be read of it is damage. The answer is where the log ends.
///
/// # Errors
/// [`LogError`] where the disk cannot be read, or a segment is of a newer version; and what `visit` answers.
pub fn salvage<E: From<LogError>>(
    dir: &Path,
    durable: Pos,
    visit: &mut dyn FnMut(Salvaged) -> Result<(), E>,
) -> Result<Pos, E> {
    let last = segment::list(dir)?.last().copied().unwrap_or(0);
    let mut offset = 0;
    for number in 1..=last {
        offset = Segment::open(dir, number, number == last, durable)?.read(visit)?;
    }
    Ok(Pos { segment: last, offset })
}

struct Segment {
    path: PathBuf,
    number: u64,
    is_last: bool,
    /// Everything before this was synced.
    durable: u64,
    /// `None` for a file that is missing.
    file: Option<Arc<File>>,
    length: u64,
    /// Where its records end, as the next header says.
    end: Option<u64>,
    /// What is wrong with the header.
    header: Option<String>,
}

impl Segment {
    fn open(dir: &Path, number: u64, is_last: bool, durable: Pos) -> Result<Segment, LogError> {
        let path = segment::path(dir, number);
        let file = match File::open(&path) {
            Ok(file) => Some(Arc::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(LogError::io("open", &path)(error)),
        };
        let header = match segment::open(dir, number, false) {
            Ok(_) => None,
            Err(LogError::Damaged { what, .. }) => Some(what),
            Err(LogError::Newer { .. }) if is_of_this_version(file.as_deref()) => {
                Some("the format version is broken".into())
            }
            Err(error) => return Err(error),
        };
        let length = file.as_ref().map(|file| file.metadata().map(|it| it.len())).transpose();
        let length = length.map_err(LogError::io("read", &path))?.unwrap_or(0);
        let next: Option<Header> = (!is_last)
            .then(|| segment::open(dir, number + 1, false).ok())
            .flatten()
            .map(|(_, header)| header);
        let end = next.map(|next| next.previous_end);
        let durable = match number.cmp(&durable.segment) {
            Ordering::Less => length,
            Ordering::Equal => durable.offset.min(length),
            Ordering::Greater => 0,
        };
        Ok(Segment { path, number, is_last, durable, file, length, end, header })
    }

    fn hole(&self, from: u64, to: u64, what: impl Into<String>, records: bool) -> Salvaged {
        let (path, segment) = (self.path.clone(), self.number);
        Salvaged::Hole(Hole { path, segment, from, to, what: what.into(), records })
    }

    /// Reads it all; where it ends.
    fn read<E: From<LogError>>(&self, visit: &mut dyn FnMut(Salvaged) -> Result<(), E>) -> Result<u64, E> {
        let Some(file) = &self.file else {
            let to = self.end.unwrap_or(0);
            visit(self.hole(0, to, "the segment is missing", true))?;
            return Ok(to);
        };
        let failed = |error| LogError::io("read", &self.path)(error);
        let nonzero = |from, to| scan::nonzero(file, from, to).map_err(failed);
        if let Some(what) = &self.header {
            visit(self.hole(0, HEADER_BYTES.min(self.length), what.clone(), false))?;
        }
        let mut limit = self.end.unwrap_or(self.length).min(self.length);
        if self.is_last {
            // A batch that is cut is cut as a whole.
            let end = self.walk::<LogError>(file, limit, &mut |_| Ok(()))?;
            let idle = Preface::decode(
                &scan::read(file, end, PREFACE_BYTES as usize).map_err(failed)?,
                self.number,
                end,
            );
            let rest = end + idle.filter(|idle| idle.bytes == 0).map_or(0, |_| PREFACE_BYTES);
            let cut = nonzero(rest, limit)?.map_or(0, |(_, last)| last + 1 - rest);
            limit = end;
            self.walk(file, limit, visit)?;
            if cut > 0 {
                visit(Salvaged::Cut(cut))?;
            }
            return Ok(end);
        }
        let walked = self.walk(file, limit, visit)?;
        let Some(end) = self.end else { return Ok(walked) };
        if self.length < end {
            visit(self.hole(self.length, end, "the file ends early", true))?;
        } else if let Some((first, last)) = nonzero(end, self.length)? {
            visit(self.hole(first, last + 1, "not zero after the end", false))?;
        }
        Ok(end)
    }

    /// Goes through the segment up to `limit`; where it ends.
    fn walk<E: From<LogError>>(
        &self,
        file: &Arc<File>,
        limit: u64,
        visit: &mut dyn FnMut(Salvaged) -> Result<(), E>,
    ) -> Result<u64, E> {
        let failed = |error| LogError::io("read", &self.path)(error);
        let (mut at, mut batch_end) = (HEADER_BYTES, None);
        let mut scan = Scan::new(file.clone(), self.number, at, limit);
        while at < limit {
            let what = match scan.next().map_err(failed)? {
                Found::Preface => {
                    (at, batch_end) = (scan.at(), scan.batch_end());
                    continue;
                }
                Found::Record { kind, payload } => {
                    at = scan.at();
                    visit(Salvaged::Record { kind, payload })?;
                    continue;
                }
                Found::Limit => break,
                // What an idle log ends with, and nothing behind it.
                Found::Idle
                    if self.is_last
                        && scan::nonzero(file, at + PREFACE_BYTES, limit).map_err(failed)?.is_none() =>
                {
                    return Ok(at);
                }
                Found::Idle => "an empty batch".to_owned(),
                Found::Zeros => "zeros before the end".to_owned(),
                Found::Bad(what) => what,
            };
            let is_known = at < self.durable;
            if self.is_last
                && !is_known
                && proof(file, self.number, at, self.length).map_err(failed)?.is_none()
            {
                return Ok(scan.batch_start());
            }
            if self.end.is_none() && scan::nonzero(file, at, limit).map_err(failed)?.is_none() {
                // Nobody says where this segment ends: here, it seems.
                return Ok(at);
            }
            let open = batch_end.filter(|end| *end > at);
            // A record begins where something is known to have been synced up to, or the log ends there.
            let limit_here = if is_known { limit.min(self.durable) } else { limit };
            let (to, records) = resume(file, self.number, at, open, limit_here).map_err(failed)?;
            if is_known && self.is_last && to == self.durable {
                // No record ends with so many zeros: what is known to have been there is not.
                let written =
                    scan::nonzero(file, at, limit).map_err(failed)?.map_or(at, |(_, last)| last + 1);
                if written + ZEROS < to {
                    visit(self.hole(at, written, what, records))?;
                    return Ok(written);
                }
            }
            visit(self.hole(at, to, what, records))?;
            (at, batch_end) = (to, open.filter(|end| *end > to));
            scan = Scan::new(file.clone(), self.number, at, limit);
        }
        Ok(at.min(limit))
    }
}

/// Whether a header that names another format version is one of this version but for that.
fn is_of_this_version(file: Option<&File>) -> bool {
    let mut bytes = [0; HEADER_BYTES as usize];
    let read = file.is_some_and(|file| file.read_exact_at(&mut bytes, 0).is_ok());
    bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
    read && Header::decode(&bytes).is_ok()
}

/// Where reading goes on behind `at`, and whether records may have stood in between. `open` is where the batch ends
/// that `at` lies in.
fn resume(file: &Arc<File>, number: u64, at: u64, open: Option<u64>, limit: u64) -> io::Result<(u64, bool)> {
    let stop = match open {
        Some(end) => end.min(limit),
        None => next_preface(file, number, at + 1, limit)?.unwrap_or(limit),
    };
    if open.is_none() && at + PREFACE_BYTES <= stop && leads_to(file, at + PREFACE_BYTES, stop)? {
        // Only the preface is broken; but what it said of where the last records before it end is gone with it.
        return Ok((at + PREFACE_BYTES, false));
    }
    let mut from = at + 1;
    while from + (FRAME_HEAD_BYTES as u64) < stop {
        let chunk = scan::read(file, from, CHUNK_BYTES.min(stop - from) as usize)?;
        let starts = chunk.len().saturating_sub(3);
        for start in 0..starts {
            let place = from + start as u64;
            let length = u64::from(be32(&chunk, start));
            if length > 0 && length <= stop - place && leads_to(file, place, stop)? {
                return Ok((place, true));
            }
        }
        if starts == 0 {
            break;
        }
        from += starts as u64;
    }
    Ok((stop, true))
}

/// Whether sound frames lead from `at` exactly to `stop`, one at least.
fn leads_to(file: &Arc<File>, mut at: u64, stop: u64) -> io::Result<bool> {
    let mut any = false;
    while at < stop {
        if stop - at <= FRAME_HEAD_BYTES as u64 {
            return Ok(false);
        }
        let head = scan::read(file, at, FRAME_HEAD_BYTES)?;
        let Some(word) = head.first_chunk::<4>() else { return Ok(false) };
        let whole = FRAME_HEAD_BYTES as u64 + u64::from(u32::from_be_bytes(*word));
        if whole <= FRAME_HEAD_BYTES as u64 || at + whole > stop {
            return Ok(false);
        }
        let frame = scan::read(file, at, whole as usize)?;
        if frame.len() as u64 != whole || !frame_holds(&frame) {
            return Ok(false);
        }
        (at, any) = (at + whole, true);
    }
    Ok(any)
}

/// The first preface from `from` on that was written for its place.
fn next_preface(file: &File, number: u64, mut from: u64, limit: u64) -> io::Result<Option<u64>> {
    while from + PREFACE_BYTES <= limit {
        let chunk = scan::read(file, from, CHUNK_BYTES.min(limit - from) as usize)?;
        let starts = (chunk.len() + 1).saturating_sub(PREFACE_BYTES as usize);
        for start in (0..starts).filter(|start| chunk[*start] == PREFACE_WORD[0]) {
            let place = from + start as u64;
            if Preface::decode(&chunk[start..], number, place).is_some() {
                return Ok(Some(place));
            }
        }
        if starts == 0 {
            break;
        }
        from += starts as u64;
    }
    Ok(None)
}
