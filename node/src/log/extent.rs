//! A log as files: how far each is durable, and reading one that lies elsewhere. What copies of a log are made with.

use std::fs::File;
use std::iter::FusedIterator;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{HEADER_BYTES, Header, MAX_BATCH_BYTES};
use super::scan::{Found, Scan};
use super::{Log, LogError, Pos, Record, segment};

/// No segment is longer: a batch at its longest, or what the settings let a segment be, and what stands around them.
pub const MOST_SEGMENT_BYTES: u64 = MAX_BATCH_BYTES as u64 + (64 << 10);

impl Log {
    /// How many bytes of each segment are durable, from the first one on. A copy of so much of every file is the log as
    /// it stands now; a segment that is rewritten meanwhile keeps its length and its places.
    ///
    /// # Errors
    /// [`LogError::Broken`]: then nobody knows.
    pub fn extents(&self) -> Result<Vec<u64>, LogError> {
        let ends = self.ends();
        ends.alive()?;
        // All but the last are synced to their ends, which the header of the next one names.
        let closed = ends.segments.iter().skip(1).map(|header| header.previous_end);
        Ok(closed.chain([ends.synced.offset]).collect())
    }
}

/// The file of segment `number`, from 1, in a directory.
pub fn segment_path(dir: &Path, number: u64) -> PathBuf {
    segment::path(dir, number)
}

/// How many segments a directory has without a hole, and where each of them but the last ends, by the header of the next.
/// Nothing is changed, and nothing but headers is read: for whoever looks at a log that does not open.
///
/// # Errors
/// [`LogError`].
pub fn segment_ends(dir: &Path) -> Result<Vec<Option<u64>>, LogError> {
    let mut ends = Vec::new();
    while segment::path(dir, ends.len() as u64 + 1).exists() {
        let (_, header) = segment::open(dir, ends.len() as u64 + 1, false)?;
        if let Some(before) = ends.last_mut() {
            *before = Some(header.previous_end);
        }
        ends.push(None);
    }
    Ok(ends)
}

/// Where the first record of a segment stands.
pub fn segment_start(number: u64) -> Pos {
    Pos { segment: number, offset: HEADER_BYTES }
}

/// The records of a copied segment, from its header to the end of the file. After an error it ends.
pub struct Copied {
    path: PathBuf,
    number: u64,
    scan: Scan,
    failed: bool,
    /// It may end where a segment does that is written to: in front of zeros, or what an idle log ends with.
    is_last: bool,
}

impl Copied {
    /// Reads segment `number` from a file that ends where the segment does; `previous` is the length of the one before
    /// it. `path` is what messages call it.
    ///
    /// # Errors
    /// [`LogError`] when the header is not the one of that segment.
    pub fn open(file: File, path: &Path, number: u64, previous: Option<u64>) -> Result<Copied, LogError> {
        let header: Header = segment::header(&file, path, number)?;
        if header.previous_end != previous.unwrap_or(0) {
            let what = format!("follows a segment that ends at {}", header.previous_end);
            return Err(LogError::damaged(path, 12, what));
        }
        let length = file.metadata().map_err(LogError::io("read", path))?.len();
        let scan = Scan::new(Arc::new(file), number, HEADER_BYTES, length);
        Ok(Copied { path: path.to_path_buf(), number, scan, failed: false, is_last: false })
    }

    /// Ends before `offset`.
    #[must_use]
    pub fn until(mut self, offset: u64) -> Copied {
        self.scan.limit_to(offset);
        self
    }

    /// It is one that a log is written to: what follows its last record is no part of it.
    #[must_use]
    pub fn last(mut self) -> Copied {
        self.is_last = true;
        self
    }

    fn step(&mut self) -> Result<Option<Record>, LogError> {
        loop {
            let at = self.scan.at();
            match self.scan.next().map_err(LogError::io("read", &self.path))? {
                Found::Preface => {}
                Found::Record { kind, payload } => {
                    let place = |offset| Pos { segment: self.number, offset };
                    return Ok(Some(Record { pos: place(at), next: place(self.scan.at()), kind, payload }));
                }
                Found::Limit => return Ok(None),
                Found::Idle | Found::Zeros if self.is_last => return Ok(None),
                Found::Idle => return Err(LogError::damaged(&self.path, at, "an empty batch")),
                Found::Zeros => return Err(LogError::damaged(&self.path, at, "zeros before the end")),
                Found::Bad(what) => return Err(LogError::damaged(&self.path, at, what)),
            }
        }
    }
}

impl Iterator for Copied {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

impl FusedIterator for Copied {}
