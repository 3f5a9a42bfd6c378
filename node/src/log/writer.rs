//! Appending: one write per batch, and a new segment when the last one has no room.

use std::fs::File;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::batch::{Batch, Span};
use super::disk::Disk;
use super::frame::{HEADER_BYTES, Header, PREFACE_BYTES, Preface};
use super::pos::Pos;
use super::{Log, LogError, segment};

/// The end of the last segment.
pub(super) struct Writer {
    pub file: Arc<File>,
    pub path: PathBuf,
    pub number: u64,
    /// Where the next batch begins.
    pub offset: u64,
    /// Size of the file.
    pub capacity: u64,
    /// The highest mark so far.
    pub last_mark: u64,
    /// Bytes before this may be other than zero though they are no part of the log: an idle preface, or what a
    /// failed write left. At most `offset` when there are none.
    pub dirty_to: u64,
}

impl Writer {
    pub fn end(&self) -> Pos {
        Pos { segment: self.number, offset: self.offset }
    }

    pub fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.offset)
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Notes that `bytes` bytes after the end may no longer be zero.
    pub fn soil(&mut self, bytes: u64) {
        self.dirty_to = self.dirty_to.max(self.offset + bytes);
    }

    /// Zeros what is no part of the log, from `skip` bytes after the end on (those are about to be overwritten).
    fn clean(&mut self, disk: &Disk, skip: u64) -> Result<(), LogError> {
        let from = self.offset + skip;
        if self.dirty_to > from {
            let bytes = self.dirty_to - from;
            disk.wipe(&self.file, from, self.dirty_to)
                .map_err(LogError::write("write", &self.path, bytes))?;
            self.dirty_to = from;
        }
        Ok(())
    }
}

impl Log {
    /// Appends `batch` as a whole, without waiting for the disk: give the end of the returned span to
    /// [`Log::sync_to`] before telling anyone that it is saved. An empty batch changes nothing.
    ///
    /// `mark` is the owner's number for [`Log::seek`]: the lowest number (own seq, hub_seq) that a record of this
    /// batch or of any later one can have. It never goes back.
    ///
    /// After any error but [`LogError::Broken`] the log is exactly as before.
    pub fn append(&self, batch: &Batch, mark: u64) -> Result<Span, LogError> {
        let length = batch.checked_length(self.options.max_record_bytes)?;
        let needed = batch.bytes();
        let mut writer = self.writer();
        let writer = &mut *writer;
        self.ends().alive()?;
        if length == 0 {
            return Ok(Span { start: writer.end(), end: writer.end() });
        }
        if mark < writer.last_mark {
            return Err(LogError::MarkWentBack { given: mark, last: writer.last_mark });
        }
        if writer.room() < needed {
            self.roll(writer, mark, needed)?;
        }
        writer.clean(&self.disk, needed)?;

        let start = writer.end();
        let synced = self.ends().synced;
        // What was synced last may still lie in the segment before; then nothing of this one is known to be.
        let synced = if synced.segment == start.segment { synced.offset } else { HEADER_BYTES };
        let preface = Preface { synced, bytes: length }.encode(start.segment, start.offset);
        let mut parts = [IoSlice::new(&preface), IoSlice::new(batch.frames())];
        if let Err(unwritten) = self.disk.write(&writer.file, &mut parts, start.offset) {
            writer.soil(unwritten.written);
            // If even this fails, the next batch tries again before it is written.
            let _ = writer.clean(&self.disk, 0);
            return Err(LogError::write("write", &writer.path, needed)(unwritten.source));
        }
        writer.offset += needed;
        writer.last_mark = mark;
        self.ends().written = writer.end();
        Ok(Span { start, end: writer.end() })
    }

    /// Begins a new segment for a batch of `needed` bytes.
    ///
    /// In this order, so that at every moment all segments but the last are synced to their ends, and a full disk
    /// stops it before anything has changed: the new segment without a name; the old one's tail zeroed and
    /// synced; the name; the old one cut to its end.
    pub(super) fn roll(&self, writer: &mut Writer, mark: u64, needed: u64) -> Result<(), LogError> {
        let header = Header { number: writer.number + 1, first_mark: mark, previous_end: writer.offset };
        let bytes = self.options.segment_bytes.max(HEADER_BYTES + needed + PREFACE_BYTES);
        let unnamed = segment::make(&self.disk, &self.dir, header, bytes).map_err(|e| self.note_broken(e))?;
        writer.clean(&self.disk, 0)?;
        self.settle(writer.end())?;
        let (file, path) = unnamed.name().map_err(|error| self.note_broken(error))?;
        // Only space is lost if this fails, or if a crash undoes it: what goes is zeros.
        let _ = writer.file.set_len(writer.offset);

        *writer = Writer {
            file: file.clone(),
            path: path.clone(),
            number: header.number,
            offset: HEADER_BYTES,
            capacity: bytes,
            last_mark: mark,
            dirty_to: 0,
        };
        let mut ends = self.ends();
        Arc::make_mut(&mut ends.segments).push(header);
        ends.written = writer.end();
        ends.synced = writer.end();
        ends.last = file;
        ends.path = path;
        Ok(())
    }

    /// Entered even if a thread panicked in it, as `ends` is, and for the same reason.
    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
