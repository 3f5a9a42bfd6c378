//! Group commit: many writers, one sync.

use std::fs::File;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::frame::{Header, PREFACE_BYTES, Preface};
use super::pos::Pos;
use super::{Log, LogError};

/// How far the log has come.
pub(super) struct Ends {
    /// Where the next batch will begin.
    pub written: Pos,
    /// Everything before is durable; moves only after a sync that began when it was written.
    pub synced: Pos,
    /// Somebody leads a sync.
    pub syncing: bool,
    /// The last segment: where everything between `synced` and `written` lies.
    pub last: Arc<File>,
    /// Its path.
    pub path: PathBuf,
    /// The headers of all segments, in order, the last one included.
    pub segments: Arc<Vec<Header>>,
    /// What could not be synced, and why.
    pub broken: Option<(PathBuf, String)>,
}

impl Ends {
    /// An error once the log is broken.
    pub fn alive(&self) -> Result<(), LogError> {
        match &self.broken {
            Some((path, why)) => Err(LogError::Broken { path: path.clone(), why: why.clone() }),
            None => Ok(()),
        }
    }

    /// Where segment `number` ends, if there is one.
    pub fn end_of(&self, number: u64) -> Option<Pos> {
        if number == self.written.segment {
            return Some(self.written);
        }
        // Segments are numbered from 1, so this is the one after `number`.
        let after = self.segments.get(usize::try_from(number).ok().filter(|&number| number > 0)?)?;
        Some(Pos { segment: number, offset: after.previous_end })
    }
}

impl Log {
    /// Returns when everything before `end` is durable. Many may wait at once: one of them syncs for all that
    /// was appended by then, the others wait for it.
    ///
    /// An error means that nothing is known about what was not synced before; see [`LogError::Broken`].
    pub fn sync_to(&self, end: Pos) -> Result<(), LogError> {
        if self.settle(end)? {
            self.write_idle_preface();
        }
        Ok(())
    }

    /// As `sync_to`. True if this thread led a sync.
    pub(super) fn settle(&self, end: Pos) -> Result<bool, LogError> {
        let mut led = false;
        let mut ends = self.ends();
        loop {
            ends.alive()?;
            if ends.synced >= end {
                return Ok(led);
            }
            if ends.written < end {
                return Err(LogError::NoSuchPos { dir: self.dir.clone(), pos: end, end: ends.written });
            }
            if ends.syncing {
                ends = self.moved.wait(ends).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            led = true;
            ends.syncing = true;
            let (target, file) = (ends.written, ends.last.clone());
            drop(ends);
            let done = self.disk.sync(&file);
            ends = self.ends();
            ends.syncing = false;
            match done {
                Ok(()) => ends.synced = ends.synced.max(target),
                Err(error) => ends.broken = Some((ends.path.clone(), error.to_string())),
            }
            self.moved.notify_all();
        }
    }

    /// When nothing was appended since the sync, puts the preface of an empty batch at the end: proof, once it
    /// reaches the disk by itself, that the batch before it was synced. It is no part of the log; the next batch
    /// overwrites it.
    fn write_idle_preface(&self) {
        // Whoever holds the writer is appending, and says the same in the preface of that batch.
        let Ok(mut writer) = self.writer.try_lock() else { return };
        let end = writer.end();
        if self.ends().synced != end || writer.room() < PREFACE_BYTES {
            return;
        }
        let preface = Preface { synced: end.offset, bytes: 0 }.encode(end.segment, end.offset);
        writer.soil(PREFACE_BYTES);
        // Only a proof is missing if this fails, and `soil` sees to it that the bytes do not stay.
        let _ = self.disk.write(writer.file(), &mut [IoSlice::new(&preface)], end.offset);
    }

    /// Stops the log for good if `error` says that a sync failed.
    pub(super) fn note_broken(&self, error: LogError) -> LogError {
        if let LogError::Broken { path, why } = &error {
            self.ends().broken = Some((path.clone(), why.clone()));
            self.moved.notify_all();
        }
        error
    }
}
