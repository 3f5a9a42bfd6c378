//! Reading records in the order of the log, without getting in the way of writers.

use std::iter::FusedIterator;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{HEADER_BYTES, Header};
use super::pos::Pos;
use super::scan::{Found, Scan};
use super::{Log, LogError, segment};

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it begins; reading from here gives it again.
    pub pos: Pos,
    /// Where to go on reading after it.
    pub next: Pos,
    /// Kind, as it was pushed.
    pub kind: u8,
    /// Payload: a slice of what was read from the file. Copy it to keep it for long, or a chunk of 256 KiB stays
    /// with it.
    pub payload: Bytes,
}

/// An iterator over the records between two places of a log. After an error it ends.
pub struct Reader {
    dir: PathBuf,
    segments: Arc<Vec<Header>>,
    at: Pos,
    /// Where the log ended when the reader was made.
    end: Pos,
    scan: Option<Scan>,
    /// What there is to say before the end.
    failed: Option<LogError>,
}

impl Log {
    /// Reads from `from` (the place of a record, a [`Record::next`], either end of a [`Span`](super::Span), or
    /// [`Pos::START`]) to where the log ends now. What is appended later, and whether all of it is durable, is not
    /// the reader's business: compare [`Record::next`] with [`Log::synced`].
    ///
    /// Opens the segments itself and takes no lock that a writer waits for.
    pub fn read(&self, from: Pos) -> Reader {
        let ends = self.ends();
        let (segments, end) = (ends.segments.clone(), ends.written);
        let at = match from {
            Pos { segment: 0, .. } => Pos { segment: 1, offset: HEADER_BYTES },
            Pos { segment, offset } => Pos { segment, offset: offset.max(HEADER_BYTES) },
        };
        let failed = match (ends.alive(), ends.end_of(at.segment)) {
            (Err(error), _) => Some(error),
            (Ok(()), Some(segment_end)) if at <= segment_end => None,
            (Ok(()), other) => {
                Some(LogError::NoSuchPos { dir: self.dir.clone(), pos: from, end: other.unwrap_or(end) })
            }
        };
        drop(ends);
        Reader { dir: self.dir.clone(), segments, at, end, scan: None, failed }
    }
}

impl Reader {
    fn step(&mut self) -> Result<Option<Record>, LogError> {
        while self.at < self.end {
            let Some(scan) = &mut self.scan else {
                self.scan = Some(self.open()?);
                continue;
            };
            let path = || segment::path(&self.dir, self.at.segment);
            let pos = Pos { offset: scan.at(), ..self.at };
            match scan.next().map_err(|error| LogError::io("read", &path())(error))? {
                Found::Preface => {}
                Found::Record { kind, payload } => {
                    self.at.offset = scan.at();
                    return Ok(Some(Record { pos, next: self.at, kind, payload }));
                }
                Found::Limit if self.at.segment < self.end.segment => {
                    self.at = Pos { segment: self.at.segment + 1, offset: HEADER_BYTES };
                    self.scan = None;
                }
                Found::Limit => self.at = self.end,
                Found::Idle => return Err(LogError::damaged(&path(), pos.offset, "an empty batch")),
                Found::Zeros => return Err(LogError::damaged(&path(), pos.offset, "zeros before the end")),
                Found::Bad(what) => return Err(LogError::damaged(&path(), pos.offset, what)),
            }
        }
        Ok(None)
    }

    fn open(&self) -> Result<Scan, LogError> {
        let number = self.at.segment;
        let (file, header) = segment::open(&self.dir, number, false)?;
        // Numbers are from 1 without holes, so the header of this segment stands at `number - 1`.
        let index = number as usize;
        if self.segments.get(index - 1) != Some(&header) {
            let path = segment::path(&self.dir, number);
            return Err(LogError::damaged(&path, 12, "the header is not the one this log was opened with"));
        }
        let limit = self.segments.get(index).filter(|_| number < self.end.segment);
        let limit = limit.map_or(self.end.offset, |after| after.previous_end);
        Ok(Scan::new(Arc::new(file), number, self.at.offset, limit))
    }
}

impl Iterator for Reader {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = match self.failed.take() {
            Some(error) => Err(error),
            None => self.step(),
        };
        if step.is_err() {
            self.at = self.end;
        }
        step.transpose()
    }
}

impl FusedIterator for Reader {}
