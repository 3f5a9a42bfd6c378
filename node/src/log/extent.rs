//! A log as files: how far each is durable, and reading one that lies elsewhere. What copies of a log are made with.

use std::fs::File;
use std::iter::FusedIterator;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{HEADER_BYTES, Header, MAX_BATCH_BYTES, PREFACE_BYTES, Preface};
use super::recover::preface;
use super::scan::{self, Found, Scan};
use super::{Log, LogError, Pos, Record, segment};

/// No segment is longer: a batch at its longest, or what the settings let a segment be, and what stands around them.
pub const MOST_SEGMENT_BYTES: u64 = MAX_BATCH_BYTES as u64 + (64 << 10);
/// How long what stands in front of a batch is: what says that there is one, and how long it is.
pub const BATCH_HEAD_BYTES: u64 = PREFACE_BYTES;

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

/// Where the batch ends that begins at `at` in a file of segment `number`; `None` where none begins there.
///
/// # Errors
/// When the file cannot be read.
pub fn batch_end(file: &File, number: u64, at: u64) -> std::io::Result<Option<u64>> {
    let head = scan::read(file, at, PREFACE_BYTES as usize)?;
    let preface = Preface::decode(&head, number, at);
    Ok(preface.map(|preface| at + PREFACE_BYTES + u64::from(preface.bytes)))
}

/// The records of a copied segment, from its header to the end of the file. After an error it ends, unless it is taken up
/// again.
pub struct Copied {
    path: PathBuf,
    number: u64,
    file: Arc<File>,
    /// Nothing from here on is looked at.
    limit: u64,
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
        let limit = file.metadata().map_err(LogError::io("read", path))?.len();
        let file = Arc::new(file);
        let scan = Scan::new(Arc::clone(&file), number, HEADER_BYTES, limit);
        Ok(Copied { path: path.to_path_buf(), number, file, limit, scan, failed: false, is_last: false })
    }

    /// Ends before `offset`.
    #[must_use]
    pub fn until(mut self, offset: u64) -> Copied {
        self.limit = self.limit.min(offset);
        self.scan.limit_to(offset);
        self
    }

    /// Up to where it has come in whole batches: the start of the one that it stands in, or where one could begin.
    pub fn whole_to(&self) -> u64 {
        self.scan.batch_start()
    }

    /// After an error: goes on with the next batch that surely begins behind it. False when there is none.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn take_up_again(&mut self) -> Result<bool, LogError> {
        let at = self.scan.at();
        let next = preface(&self.file, self.number, at, self.limit, &|_| true);
        let Some((place, _)) = next.map_err(LogError::io("read", &self.path))? else { return Ok(false) };
        self.scan = Scan::new(Arc::clone(&self.file), self.number, place, self.limit);
        self.failed = false;
        Ok(true)
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
