//! Where a copy ends that is there. What it has is held against the log, and where that cannot be done it is left alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::Path;

use liandong_node::log::{
    BATCH_HEAD_BYTES, Copied, LogError, Pos, Record, batch_end, segment_path, segment_start,
};

use super::follow::{Follower, Unfollowed, file};

/// How many segments a directory has, from the first on.
///
/// # Errors
/// [`Unfollowed::Unclear`] when one is missing among them.
pub fn count(dir: &Path) -> Result<u64, Unfollowed> {
    let (mut count, mut greatest) = (0, 0);
    for entry in fs::read_dir(dir).map_err(file(dir))? {
        let name = entry.map_err(file(dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
        if let Some(number) = number.filter(|number| segment_path(dir, *number) == dir.join(&name)) {
            (count, greatest) = (count + 1, greatest.max(number));
        }
    }
    if count == greatest {
        return Ok(count);
    }
    let missing = (1..greatest).map(|number| segment_path(dir, number)).find(|path| !path.exists());
    Err(Unfollowed::Unclear(missing.unwrap_or_else(|| dir.to_path_buf())))
}

/// No write tears a sector.
const SECTOR: u64 = 512;

/// Whether a copying was cut short at `at`: the head of the batch that begins there is missing, or lies across two sectors of which
/// one was written.
///
/// # Errors
/// When the file cannot be read.
pub fn is_bare_head(opened: &File, number: u64, at: u64) -> io::Result<bool> {
    let left = opened.metadata()?.len().saturating_sub(at).min(BATCH_HEAD_BYTES);
    if batch_end(opened, number, at)?.is_some() || left == 0 {
        return Ok(false);
    }
    let mut head = vec![0; usize::try_from(left).unwrap_or(0)];
    opened.read_exact_at(&mut head, at)?;
    let split = usize::try_from(SECTOR - at % SECTOR).map_or(head.len(), |split| split.min(head.len()));
    let (one, other) = head.split_at(split);
    let is_bare = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    Ok(is_bare(one) || !other.is_empty() && is_bare(other))
}

impl Follower {
    /// Where the copy ends that is there.
    pub(super) fn begin(&self) -> Result<Pos, Unfollowed> {
        // The directory around it is the mirror's, and was looked at: it is not made here.
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(file(&self.dir)(error));
            }
            _ => {}
        }
        let extents = self.log.extents()?;
        let last = count(&self.dir)?;
        if last == 0 {
            return Ok(Pos { segment: 1, offset: 0 });
        }
        let (mut end, mut number) = (None, last);
        // Each record stands for all before it, so that one of the newest segment that can be read is enough.
        loop {
            let (at, has_met) = self.held(number, &extents)?;
            end.get_or_insert(at);
            if has_met {
                break;
            }
            number -= 1;
            if number == 0 {
                return Err(Unfollowed::Unclear(segment_path(&self.dir, 1)));
            }
        }
        let end = end.unwrap_or_default();
        let path = segment_path(&self.dir, last);
        if end.offset > 0 && fs::metadata(&path).map_err(file(&path))?.len() > end.offset {
            // What a copying has left that was cut short.
            let cut = OpenOptions::new().write(true).open(&path).and_then(|it| {
                it.set_len(end.offset)?;
                it.sync_all()
            });
            cut.map_err(file(&path))?;
        }
        Ok(end)
    }

    /// Holds the records of a segment that can be read against the log's: where they end without a break, in whole batches, and
    /// whether there were any.
    ///
    /// # Errors
    /// [`Unfollowed::Foreign`] where one of them is not the log's, wherever it stands, or there is more than the log has; but
    /// nothing counts behind a copying that was cut short.
    fn held(&self, number: u64, extents: &[u64]) -> Result<(Pos, bool), Unfollowed> {
        let path = segment_path(&self.dir, number);
        let foreign = || Unfollowed::Foreign(path.clone());
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let end = *extents.get(index).ok_or_else(foreign)?;
        let previous = index.checked_sub(1).map(|index| extents[index]);
        let Some(mut theirs) = self.copied(&path, number, previous)? else {
            // Its beginning was never finished.
            return Ok((Pos { segment: number, offset: 0 }, false));
        };
        let source = segment_path(self.log.dir(), number);
        let opened = File::open(&source).map_err(file(&source))?;
        let mut ours = Copied::open(opened, &source, number, previous)?.until(end);
        let (mut torn_at, mut has_met, mut is_cut) = (None, false, false);
        loop {
            self.beat();
            match theirs.next() {
                None => break,
                Some(Ok(copied)) => {
                    // Behind a break it is one further on.
                    let is_before = |record: &Result<Record, LogError>| {
                        record.as_ref().is_ok_and(|it| it.pos < copied.pos)
                    };
                    let record = ours.find(|record| !is_before(record)).transpose()?.ok_or_else(foreign)?;
                    if self.same(&copied) != self.same(&record) {
                        return Err(foreign());
                    }
                    has_met = true;
                }
                Some(Err(LogError::Damaged { .. })) => {
                    let at = theirs.whole_to();
                    is_cut = torn_at.is_none()
                        && File::open(&path)
                            .and_then(|opened| is_bare_head(&opened, number, at))
                            .map_err(file(&path))?;
                    torn_at.get_or_insert(at);
                    if is_cut {
                        break;
                    }
                    if !theirs.take_up_again().map_err(|error| read(&path, &error))? {
                        break;
                    }
                }
                Some(Err(error)) => return Err(read(&path, &error)),
            }
        }
        // So much was durable in the log before any of it was copied.
        if !is_cut && fs::metadata(&path).map_err(file(&path))?.len() > end {
            return Err(foreign());
        }
        let offset = torn_at.unwrap_or_else(|| theirs.whole_to()).max(segment_start(number).offset);
        Ok((Pos { segment: number, offset }, has_met))
    }

    fn same(&self, record: &Record) -> (Pos, u8, liandong_proto::id::Hash) {
        (record.pos, record.kind, (self.key)(record.kind, &record.payload))
    }

    /// The records of a segment of the copy; `None` where not even its header was finished.
    fn copied(&self, path: &Path, number: u64, previous: Option<u64>) -> Result<Option<Copied>, Unfollowed> {
        let opened = File::open(path).map_err(file(path))?;
        let length = opened.metadata().map_err(file(path))?.len();
        match Copied::open(opened, path, number, previous) {
            Ok(copied) => Ok(Some(copied)),
            Err(LogError::Damaged { .. }) if length < segment_start(number).offset => Ok(None),
            Err(LogError::Damaged { .. }) => Err(Unfollowed::Foreign(path.to_path_buf())),
            Err(error) => Err(read(path, &error)),
        }
    }
}

fn read(path: &Path, error: &LogError) -> Unfollowed {
    file(path)(io::Error::other(error.to_string()))
}
