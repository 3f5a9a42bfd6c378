//! Dropping payloads from a log that stays as it is otherwise: a segment is written anew beside the old one, every
//! record in its old place, and takes over its name.

use std::fs::{self, OpenOptions};
use std::io::IoSlice;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use super::frame::{self, FRAME_HEAD_BYTES, HEADER_BYTES};
use super::scan::{Found, Scan, read};
use super::{Log, LogError, segment};

/// What takes the place of a payload of the kind given; it has the same length. `None` leaves it alone.
pub type Edit<'a> = &'a mut dyn FnMut(u8, &[u8]) -> Option<Vec<u8>>;

impl Log {
    /// Begins a new segment, so that everything appended so far can be rewritten. `mark` is as for
    /// [`append`](Log::append): no record so far has that number or a higher one, and nobody appends meanwhile.
    ///
    /// # Errors
    /// [`LogError`]; the log is exactly as before.
    pub fn begin_segment(&self, mark: u64) -> Result<(), LogError> {
        let mut writer = self.writer();
        self.ends().alive()?;
        if mark < writer.last_mark {
            return Err(LogError::MarkWentBack { given: mark, last: writer.last_mark });
        }
        if writer.offset > HEADER_BYTES { self.roll(&mut writer, mark, 0) } else { Ok(()) }
    }

    /// Changes payloads in their places, in all segments but the last; every position stays good. Answers how many
    /// records were changed; `None` when it was `stopped` before its end, which is asked between segments.
    ///
    /// A crash leaves each segment as it was or as it is to be: whoever asked asks again. Readers that are on their way
    /// go on with what they have open.
    ///
    /// # Errors
    /// [`LogError`]; the log is as before but for segments that are done.
    pub fn rewrite(&self, edit: Edit<'_>, stopped: &dyn Fn() -> bool) -> Result<Option<u64>, LogError> {
        self.ends().alive()?;
        let (last, mut changed) = (self.end().segment, 0);
        for number in 1..last {
            if stopped() {
                return Ok(None);
            }
            changed += self.rewrite_segment(number, edit)?;
        }
        Ok(Some(changed))
    }

    /// The frames of a segment that change, with their places.
    fn edits(&self, number: u64, end: u64, edit: Edit<'_>) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
        let path = segment::path(&self.dir, number);
        let (file, _) = segment::open(&self.dir, number, false)?;
        let mut scan = Scan::new(Arc::new(file), number, HEADER_BYTES, end);
        let mut edits = Vec::new();
        loop {
            let at = scan.at();
            match scan.next().map_err(LogError::io("read", &path))? {
                Found::Preface => {}
                Found::Record { kind, payload } => {
                    if let Some(new) = edit(kind, &payload) {
                        assert_eq!(new.len(), payload.len(), "a payload keeps its length");
                        let mut whole = Vec::with_capacity(FRAME_HEAD_BYTES + 1 + new.len());
                        frame::push_frame(&mut whole, payload.len() as u32 + 1, kind, &[&new]);
                        edits.push((at, whole));
                    }
                }
                Found::Limit => return Ok(edits),
                Found::Idle => return Err(LogError::damaged(&path, at, "an empty batch")),
                Found::Zeros => return Err(LogError::damaged(&path, at, "zeros before the end")),
                Found::Bad(what) => return Err(LogError::damaged(&path, at, what)),
            }
        }
    }

    fn rewrite_segment(&self, number: u64, edit: Edit<'_>) -> Result<u64, LogError> {
        let end = self.ends().end_of(number).map_or(0, |end| end.offset);
        let edits = self.edits(number, end, edit)?;
        if edits.is_empty() {
            return Ok(0);
        }
        let path = segment::path(&self.dir, number);
        let (file, _) = segment::open(&self.dir, number, false)?;
        let mut bytes = Vec::from(read(&file, 0, end as usize).map_err(LogError::io("read", &path))?);
        for (at, frame) in &edits {
            let at = *at as usize;
            bytes[at..at + frame.len()].copy_from_slice(frame);
        }
        let temporary = segment::temporary(&self.dir, number);
        let written = self.replace(&bytes, &temporary, &path);
        if written.is_err() {
            // If this fails as well, opening the log removes the file.
            let _ = fs::remove_file(&temporary);
        }
        written.map(|()| edits.len() as u64)
    }

    fn replace(
        &self,
        bytes: &[u8],
        temporary: &std::path::Path,
        path: &std::path::Path,
    ) -> Result<(), LogError> {
        let size = bytes.len() as u64;
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temporary);
        let file = file.map_err(LogError::write("make", temporary, size))?;
        self.disk
            .write(&file, &mut [IoSlice::new(bytes)], 0)
            .map_err(|unwritten| LogError::write("write", temporary, size)(unwritten.source))?;
        file.sync_all().map_err(LogError::write("sync", temporary, size))?;
        fs::rename(temporary, path).map_err(LogError::write("rename", temporary, size))?;
        self.disk.sync_dir(&self.dir).map_err(LogError::write("sync", &self.dir, size))
    }
}
