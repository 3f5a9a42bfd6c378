//! One log's copy in a directory: the same segments, as far as they are durable in the log.
//!
//! What is copied is bytes, at their places. A copy that goes further than the log, or another way, is never written
//! over: it may be all that is left of what a hub from an old backup has forgotten.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use liandong_node::log::{BATCH_HEAD_BYTES, Copied, Log, LogError, Pos, segment_path};
use liandong_proto::id::Hash;

/// Bytes that are copied or compared at once.
const CHUNK: usize = 1 << 18;
/// Bytes that are synced at once: a slow disk that works is not taken for one that hangs.
const SYNCED: u64 = 4 << 20;

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
    /// The hub's note of its mirrors is none.
    #[error("{path} cannot be understood: {why}")]
    Note {
        /// Where it is.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The log itself.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The copy holds what the log does not.
    #[error("{0} holds records that the log does not have")]
    Foreign(PathBuf),
    /// Whether the copy holds what the log does not cannot be told.
    #[error("{0} is missing or cannot be read: whether the log has all that was in the copy cannot be told")]
    Unclear(PathBuf),
    /// A mirror was set up there, and there is none.
    #[error("{0} was set up as the mirror and has no mark of it")]
    Away(PathBuf),
    /// It is marked as another hub's.
    #[error("{0} is the mirror of another hub")]
    Another(PathBuf),
    /// A part of the log is not what was written, so the copy of it is left alone.
    #[error("the log is damaged, and the copy of this part was left as it is: {0}")]
    Damaged(LogError),
}

/// A failure to read or write a file.
pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Unfollowed + '_ {
    move |source| Unfollowed::File { path: path.to_path_buf(), source }
}

/// A log and where its copy stands.
pub struct Follower {
    pub(super) log: Arc<Log>,
    pub(super) dir: PathBuf,
    /// Stands for a record, and through its chain for what was before it.
    pub(super) key: fn(u8, &[u8]) -> Hash,
    /// Goes up with each step, so that a disk that hangs is told from one that is slow.
    beats: Arc<AtomicU64>,
    /// All before this is copied; `None` before the copy was looked at.
    at: Option<Pos>,
    /// The next segment to be held against the log's; `None` when all were.
    comparing: Option<u64>,
}

impl Follower {
    /// The copy of `log` in a directory, which is made when it is missing.
    pub fn new(log: Arc<Log>, dir: PathBuf, key: fn(u8, &[u8]) -> Hash, beats: Arc<AtomicU64>) -> Follower {
        Follower { log, dir, key, beats, at: None, comparing: Some(1) }
    }

    /// One more step is done.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Copies what is new up to where the log's segments ended when `extents` was taken; durable up to the place that is
    /// answered.
    ///
    /// # Errors
    /// [`Unfollowed`]; the copy is looked at anew before anything more is written to it.
    pub fn catch_up(&mut self, extents: Vec<u64>) -> Result<Pos, Unfollowed> {
        let at = self.at.take();
        let mut at = at.map_or_else(|| self.begin(), Ok)?;
        let first = at.segment;
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
    /// [`Unfollowed`]; the next call looks at the same one again, unless it is the log's own that is damaged.
    pub fn compare_next(&mut self) -> Result<bool, Unfollowed> {
        let Some(number) = self.comparing else { return Ok(false) };
        let extents = self.log.extents()?;
        let end = usize::try_from(number).ok().filter(|number| *number < extents.len());
        let Some(end) = end.map(|number| extents[number - 1]) else {
            self.comparing = None;
            return Ok(false);
        };
        let made = self.make_equal(number, end);
        if matches!(made, Ok(()) | Err(Unfollowed::Damaged(_))) {
            self.comparing = Some(number + 1);
        }
        made.map(|()| true)
    }

    fn make_equal(&self, number: u64, end: u64) -> Result<(), Unfollowed> {
        if self.is_equal(number, end)? {
            return Ok(());
        }
        tracing::info!(segment = number, "the mirror's copy of a segment differs, it is made again");
        self.copy(number, end)
    }

    /// Holds all segments against the log's once more.
    pub fn compare_all(&mut self) {
        self.comparing = Some(1);
    }

    /// Appends `from..end` of a segment: whole batches.
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
        // The head of the first batch comes last: where a copying is cut short it is missing, and so it can be told from damage
        // that nothing behind it was ever answered for.
        let head = from + BATCH_HEAD_BYTES;
        let written = self.bytes(&source, &target, head, end);
        written.and_then(|()| self.bytes(&source, &target, from, head)).map_err(file(&path))
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
            self.bytes(&source, &target, 0, end)
                .and_then(|()| target.sync_all())
                .map_err(file(&unfinished))?;
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            let previous = index.checked_sub(2).map(|index| self.log.extents().map(|it| it[index]));
            let read = Copied::open(target, &path, number, previous.transpose()?);
            let each = |record: Result<_, LogError>| {
                self.beat();
                record.map(drop)
            };
            read.and_then(|mut read| read.try_for_each(each)).map_err(Unfollowed::Damaged)?;
            fs::rename(&unfinished, &path).map_err(file(&path))?;
            File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(file(&self.dir))
        };
        made().inspect_err(|_| {
            // The next try makes it anew.
            let _ = fs::remove_file(&unfinished);
        })
    }

    /// A copy that cannot be read is none that is equal.
    fn is_equal(&self, number: u64, end: u64) -> Result<bool, Unfollowed> {
        let (ours, theirs) = (segment_path(self.log.dir(), number), segment_path(&self.dir, number));
        let source = File::open(&ours).map_err(file(&ours))?;
        let Ok(copy) = File::open(&theirs) else { return Ok(false) };
        if copy.metadata().map_err(file(&theirs))?.len() != end {
            return Ok(false);
        }
        let (mut a, mut b, mut at) = (vec![0; CHUNK], vec![0; CHUNK], 0);
        while at < end {
            self.beat();
            let count = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            source.read_exact_at(&mut a[..count], at).map_err(file(&ours))?;
            if copy.read_exact_at(&mut b[..count], at).is_err() || a[..count] != b[..count] {
                return Ok(false);
            }
            at += count as u64;
        }
        Ok(true)
    }

    /// Copies bytes; they are durable when this returns.
    fn bytes(&self, source: &File, target: &File, from: u64, end: u64) -> io::Result<()> {
        let (mut chunk, mut at, mut synced) = (vec![0; CHUNK], from, from);
        while at < end {
            self.beat();
            let count = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            source.read_exact_at(&mut chunk[..count], at)?;
            target.write_all_at(&chunk[..count], at)?;
            at += count as u64;
            if at - synced >= SYNCED {
                target.sync_data()?;
                synced = at;
            }
        }
        target.sync_data()
    }
}
