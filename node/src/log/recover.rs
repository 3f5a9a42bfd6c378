//! Opening: headers, the tail of the last segment, and the question whether what is unreadable was ever durable.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use super::disk::Disk;
use super::frame::{HEADER_BYTES, Header, PREFACE_BYTES, PREFACE_WORD, Preface};
use super::pos::Pos;
use super::scan::{self, CHUNK_BYTES, Found, Scan};
use super::sync::Ends;
use super::writer::Writer;
use super::{Cut, Log, LogError, Opened, Options, segment};

/// `durable` is asked only before something is cut: everything before the place that it names is known to have been synced.
pub(super) fn open<E: From<LogError>>(
    dir: &Path,
    options: Options,
    durable: impl FnOnce() -> Result<Option<Pos>, E>,
) -> Result<(Log, Opened), E> {
    let disk = Disk::default();
    make_dir(&disk, dir)?;
    segment::tidy(dir)?;
    let mut numbers = segment::list(dir)?;
    if numbers.is_empty() {
        let header = Header { number: 1, first_mark: 0, previous_end: 0 };
        segment::make(&disk, dir, header, options.segment_bytes.max(HEADER_BYTES + PREFACE_BYTES))?.name()?;
        numbers.push(1);
    }
    let segments = headers(dir, &numbers)?;
    let last = segments[segments.len() - 1];
    let path = segment::path(dir, last.number);
    let file = Arc::new(segment::open(dir, last.number, true)?.0);
    let capacity = length(&file, &path)?;
    let tail = Tail::find(&file, &path, last.number, capacity)?;
    if let Some(to) = tail.cut_to {
        let here = Pos { segment: last.number, offset: tail.end };
        if let Some(known) = durable()?.filter(|known| *known > here) {
            let what = format!("it cannot be read from here on; yet all up to {known} had been synced");
            return Err(LogError::damaged(&path, tail.end, what).into());
        }
        let bytes = to - tail.end;
        disk.wipe(&file, tail.end, to).map_err(LogError::write("write", &path, bytes))?;
    }
    // Also without a cut: a process that was killed leaves batches that were read just now but are not on disk.
    disk.sync(&file).map_err(|error| LogError::Broken { path: path.clone(), why: error.to_string() })?;

    let end = Pos { segment: last.number, offset: tail.end };
    let cut = tail.cut_to.map(|to| Cut { at: end, bytes: to - tail.end });
    let ends = Ends {
        written: end,
        synced: end,
        syncing: false,
        last: file.clone(),
        path: path.clone(),
        segments: Arc::new(segments),
        broken: None,
    };
    let writer = Writer {
        file,
        path,
        number: last.number,
        offset: tail.end,
        capacity,
        last_mark: last.first_mark,
        dirty_to: if tail.idle { tail.end + PREFACE_BYTES } else { 0 },
    };
    let log = Log {
        dir: dir.to_owned(),
        options,
        disk,
        writer: Mutex::new(writer),
        ends: Mutex::new(ends),
        moved: Condvar::new(),
    };
    Ok((log, Opened { end, cut }))
}

fn make_dir(disk: &Disk, dir: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(LogError::write("make", dir, 0))?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => disk.sync_dir(parent).map_err(LogError::io("sync", parent)),
        None => Ok(()),
    }
}

/// The headers of all segments, which must follow each other without holes.
fn headers(dir: &Path, numbers: &[u64]) -> Result<Vec<Header>, LogError> {
    let mut headers: Vec<Header> = Vec::with_capacity(numbers.len());
    let mut previous_length = 0;
    for (&number, expected) in numbers.iter().zip(1..) {
        if number != expected {
            return Err(LogError::damaged(&segment::path(dir, expected), 0, "the segment is missing"));
        }
        let path = segment::path(dir, number);
        let (file, header) = segment::open(dir, number, false)?;
        let wrong = |what: String| Err(LogError::damaged(&path, 12, what));
        match headers.last() {
            None if header.first_mark != 0 || header.previous_end != 0 => {
                return wrong("the first segment names one before it".into());
            }
            Some(previous) if previous.first_mark > header.first_mark => {
                return wrong(format!("first mark {} after {}", header.first_mark, previous.first_mark));
            }
            Some(previous) if !(HEADER_BYTES..=previous_length).contains(&header.previous_end) => {
                let path = segment::path(dir, previous.number);
                let what = format!("{previous_length} bytes long, but ends at {}", header.previous_end);
                return Err(LogError::damaged(&path, previous_length, what));
            }
            _ => {}
        }
        previous_length = length(&file, &path)?;
        headers.push(header);
    }
    Ok(headers)
}

/// How the last segment ends.
struct Tail {
    /// Where the last whole batch ends.
    end: u64,
    /// An idle preface stands there.
    idle: bool,
    /// Everything from `end` up to here must go.
    cut_to: Option<u64>,
}

impl Tail {
    /// Reads the last segment to its end.
    ///
    /// A batch that cannot be read is a torn tail, unless a preface anywhere after it says that it had been synced.
    /// Prefaces are looked for at every offset, since with a broken length nobody knows where the next one is.
    fn find(file: &Arc<File>, path: &Path, number: u64, length: u64) -> Result<Tail, LogError> {
        let read = |error| LogError::io("read", path)(error);
        let mut scan = Scan::new(file.clone(), number, HEADER_BYTES, length);
        let stop = loop {
            match scan.next().map_err(read)? {
                Found::Preface | Found::Record { .. } => {}
                stop => break stop,
            }
        };
        let (end, at) = (scan.batch_start(), scan.at());
        let idle = matches!(stop, Found::Idle);
        let rest = if idle { at + PREFACE_BYTES } else { end };
        let Some((_, last)) = scan::nonzero(file, rest, length).map_err(read)? else {
            return Ok(Tail { end, idle, cut_to: None });
        };
        let proof = proof(file, number, at, length).map_err(read)?;
        if let Some((proof_at, synced)) = proof {
            let what = match stop {
                Found::Bad(what) => what,
                Found::Idle => "an empty batch".into(),
                _ => "zeros".into(),
            };
            let what =
                format!("{what}; yet at byte {proof_at} stands that all up to {synced} had been synced");
            return Err(LogError::damaged(path, at, what));
        }
        Ok(Tail { end, idle: false, cut_to: Some(last + 1) })
    }
}

/// The first preface after `at` which says that more than `at` bytes were synced: where, and how many.
pub(super) fn proof(file: &File, number: u64, at: u64, length: u64) -> std::io::Result<Option<(u64, u64)>> {
    let found = preface(file, number, at, length, &|preface| preface.synced > at)?;
    Ok(found.map(|(place, preface)| (place, preface.synced)))
}

/// The first preface after `at` that is as wanted: where, and what it says.
pub(super) fn preface(
    file: &File,
    number: u64,
    at: u64,
    length: u64,
    is_wanted: &dyn Fn(&Preface) -> bool,
) -> std::io::Result<Option<(u64, Preface)>> {
    let mut from = at + 1;
    while from + PREFACE_BYTES <= length {
        let count = CHUNK_BYTES.min(length - from) as usize;
        let chunk = scan::read(file, from, count)?;
        // Those that begin in the last bytes of this chunk are whole in the next one.
        let starts = chunk.len().saturating_sub(PREFACE_BYTES as usize - 1);
        for start in 0..starts {
            if chunk[start] == PREFACE_WORD[0] {
                let place = from + start as u64;
                match Preface::decode(&chunk[start..], number, place) {
                    Some(preface) if is_wanted(&preface) => return Ok(Some((place, preface))),
                    _ => {}
                }
            }
        }
        if starts == 0 {
            break;
        }
        from += starts as u64;
    }
    Ok(None)
}

fn length(file: &File, path: &Path) -> Result<u64, LogError> {
    Ok(file.metadata().map_err(LogError::io("read", path))?.len())
}
