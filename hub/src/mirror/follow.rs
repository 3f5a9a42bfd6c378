//! One log's copy in a directory: the same segments, as far as they are durable in the log.
//!
//! What is copied is bytes, at their places. A copy that goes further than the log, or another way, is never written
//! over: it may be all that is left of what a hub from an old backup has forgotten.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use liandong_node::log::{Copied, Log, LogError, Pos, Record, segment_path, segment_start};
use liandong_proto::id::Hash;

/// Bytes that are copied or compared at once.
const CHUNK: usize = 1 << 18;

/// Why a log was not copied.
#[derive(Debug, thiserror::Error)]
pub enum Unfollowed {
    /// A file of the copy, or a directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log itself.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The copy holds what the log does not.
    #[error("{0} holds records that the log does not have")]
    Foreign(PathBuf),
    /// A part of the log is not what was written, so the copy of it is left alone.
    #[error("the log is damaged, and the copy of this part was left as it is: {0}")]
    Damaged(LogError),
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> Unfollowed + '_ {
    move |source| Unfollowed::File { path: path.to_path_buf(), source }
}

/// A log and where its copy stands.
pub struct Follower {
    log: Arc<Log>,
    dir: PathBuf,
    /// Stands for a record, and through its chain for what was before it.
    key: fn(u8, &[u8]) -> Hash,
    /// All before this is copied; `None` before the copy was looked at.
    at: Option<Pos>,
    /// The next segment to be held against the log's; `None` when all were.
    comparing: Option<u64>,
}

impl Follower {
    /// The copy of `log` in a directory, which is made when it is missing.
    pub fn new(log: Arc<Log>, dir: PathBuf, key: fn(u8, &[u8]) -> Hash) -> Follower {
        Follower { log, dir, key, at: None, comparing: Some(1) }
    }

    /// Copies what is new; durable up to the place that is answered.
    ///
    /// # Errors
    /// [`Unfollowed`]; the copy is looked at anew before anything more is written to it.
    pub fn catch_up(&mut self) -> Result<Pos, Unfollowed> {
        let at = self.at.take();
        let mut at = at.map_or_else(|| self.begin(), Ok)?;
        let (first, extents) = (at.segment, self.log.extents()?);
        for (number, end) in (1..).zip(extents).skip_while(|(number, _)| *number < first) {
            let from = if number == at.segment { at.offset } else { 0 };
            if from < end {
                self.append(number, from, end)?;
            }
            at = Pos { segment: number, offset: end };
        }
        self.at = Some(at);
        Ok(at)
    }

    /// Holds the next segment that the log writes to no more against the copy, and copies it again where they differ: a
    /// record was erased, or the copy is damaged. Whether there are more.
    ///
    /// # Errors
    /// [`Unfollowed`].
    pub fn compare_next(&mut self) -> Result<bool, Unfollowed> {
        let Some(number) = self.comparing else { return Ok(false) };
        let extents = self.log.extents()?;
        let end = usize::try_from(number).ok().filter(|number| *number < extents.len());
        let Some(end) = end.map(|number| extents[number - 1]) else {
            self.comparing = None;
            return Ok(false);
        };
        self.comparing = Some(number + 1);
        if !self.is_equal(number, end)? {
            tracing::info!(segment = number, "the mirror's copy of a segment differs, it is made again");
            self.copy(number, end)?;
        }
        Ok(true)
    }

    /// Holds all segments against the log's once more.
    pub fn compare_all(&mut self) {
        self.comparing = Some(1);
    }

    /// Where the copy ends that is there.
    fn begin(&self) -> Result<Pos, Unfollowed> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(file(&self.dir))?;
        let extents = self.log.extents()?;
        let mut last = 0;
        while segment_path(&self.dir, last + 1).exists() {
            last += 1;
        }
        let Some(before_last) = last.checked_sub(1) else { return Ok(Pos { segment: 1, offset: 0 }) };
        let foreign = || Unfollowed::Foreign(segment_path(&self.dir, last));
        let index = usize::try_from(before_last).unwrap_or(usize::MAX);
        let end = *extents.get(index).ok_or_else(foreign)?;
        let previous = index.checked_sub(1).map(|index| extents[index]);
        let mut theirs = self.records(&self.dir, last, previous, u64::MAX)?;
        let mut ours = self.records(self.log.dir(), last, previous, end)?;
        let mut at = segment_start(last);
        if theirs.is_none() {
            // Its beginning was never finished.
            return Ok(Pos { segment: last, offset: 0 });
        }
        // What cannot be read at its end is of a copying that was cut short.
        while let Some(Ok(copied)) = theirs.as_mut().and_then(Iterator::next) {
            let record = ours.as_mut().and_then(Iterator::next).transpose()?.ok_or_else(foreign)?;
            let same = |record: &Record| (record.pos, record.kind, (self.key)(record.kind, &record.payload));
            if same(&copied) != same(&record) {
                return Err(foreign());
            }
            at = copied.next;
        }
        let path = segment_path(&self.dir, last);
        let length = fs::metadata(&path).map_err(file(&path))?.len();
        if length > end {
            OpenOptions::new().write(true).open(&path).and_then(|it| it.set_len(end)).map_err(file(&path))?;
        }
        Ok(at)
    }

    /// The records of a segment in a directory; `None` when its header cannot be read.
    fn records(
        &self,
        dir: &Path,
        number: u64,
        previous: Option<u64>,
        end: u64,
    ) -> Result<Option<Copied>, Unfollowed> {
        let path = segment_path(dir, number);
        let opened = File::open(&path).map_err(file(&path))?;
        match Copied::open(opened, &path, number, previous) {
            Ok(copied) => Ok(Some(copied.until(end))),
            Err(LogError::Damaged { .. }) if dir == self.dir => {
                let short = fs::metadata(&path).map_err(file(&path))?.len() < segment_start(number).offset;
                if short { Ok(None) } else { Err(Unfollowed::Foreign(path)) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Appends `from..end` of a segment.
    fn append(&self, number: u64, from: u64, end: u64) -> Result<(), Unfollowed> {
        if from == 0 {
            return self.copy(number, end);
        }
        let (source, path) = (segment_path(self.log.dir(), number), segment_path(&self.dir, number));
        let source = File::open(&source).map_err(file(&source))?;
        let target = OpenOptions::new().write(true).open(&path).map_err(file(&path))?;
        if target.metadata().map_err(file(&path))?.len() < from {
            // A hole would make all behind it worthless. The next try looks at what is there.
            let why = "it is shorter than it was left: another disk may have been mounted there";
            return Err(file(&path)(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        bytes(&source, &target, from, end).and_then(|()| target.sync_data()).map_err(file(&path))
    }

    /// Makes a segment of the copy, as a whole, and only from one that can be read.
    fn copy(&self, number: u64, end: u64) -> Result<(), Unfollowed> {
        let (source, path) = (segment_path(self.log.dir(), number), segment_path(&self.dir, number));
        let source = File::open(&source).map_err(file(&source))?;
        let unfinished = path.with_extension("log.part");
        let made = || -> Result<(), Unfollowed> {
            let target = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&unfinished)
                .map_err(file(&unfinished))?;
            bytes(&source, &target, 0, end).and_then(|()| target.sync_all()).map_err(file(&unfinished))?;
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            let previous = index.checked_sub(2).map(|index| self.log.extents().map(|it| it[index]));
            let read = Copied::open(target, &path, number, previous.transpose()?);
            read.and_then(|mut read| read.try_for_each(|record| record.map(drop)))
                .map_err(Unfollowed::Damaged)?;
            fs::rename(&unfinished, &path).map_err(file(&path))?;
            File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(file(&self.dir))
        };
        made().inspect_err(|_| {
            // The next try makes it anew.
            let _ = fs::remove_file(&unfinished);
        })
    }

    fn is_equal(&self, number: u64, end: u64) -> Result<bool, Unfollowed> {
        let (ours, theirs) = (segment_path(self.log.dir(), number), segment_path(&self.dir, number));
        let ours = File::open(&ours).map_err(file(&ours))?;
        let copy = File::open(&theirs).map_err(file(&theirs))?;
        if copy.metadata().map_err(file(&theirs))?.len() != end {
            return Ok(false);
        }
        let (mut a, mut b, mut at) = (vec![0; CHUNK], vec![0; CHUNK], 0);
        while at < end {
            let count = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            ours.read_exact_at(&mut a[..count], at).map_err(file(&self.dir))?;
            copy.read_exact_at(&mut b[..count], at).map_err(file(&theirs))?;
            if a[..count] != b[..count] {
                return Ok(false);
            }
            at += count as u64;
        }
        Ok(true)
    }
}

fn bytes(source: &File, target: &File, from: u64, end: u64) -> io::Result<()> {
    let (mut chunk, mut at) = (vec![0; CHUNK], from);
    while at < end {
        let count = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
        source.read_exact_at(&mut chunk[..count], at)?;
        target.write_all_at(&chunk[..count], at)?;
        at += count as u64;
    }
    Ok(())
}
