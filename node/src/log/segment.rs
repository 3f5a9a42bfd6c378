//! Segment files: names, making one so that it is never half made, opening one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LogError;
use super::disk::Disk;
use super::frame::{HEADER_BYTES, Header, HeaderFlaw, VERSION};

/// The file of segment `number`.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The numbers of all segments in `dir`, ascending; other files are none of the log's.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, LogError> {
    let mut numbers: Vec<u64> = names(dir)?.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes segments that were never finished; other files are left alone.
pub(super) fn tidy(dir: &Path) -> Result<(), LogError> {
    for name in names(dir)?.iter().filter(|name| name.strip_suffix(".tmp").and_then(number_of).is_some()) {
        let path = dir.join(name);
        fs::remove_file(&path).map_err(LogError::io("remove", &path))?;
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<String>, LogError> {
    let found: Result<Vec<_>, _> = fs::read_dir(dir).map_err(LogError::io("list", dir))?.collect();
    let found = found.map_err(LogError::io("list", dir))?;
    Ok(found.iter().filter_map(|found| found.file_name().into_string().ok()).collect())
}

/// Opens segment `number` and reads its header.
pub(super) fn open(dir: &Path, number: u64, write: bool) -> Result<(File, Header), LogError> {
    let path = path(dir, number);
    let opened = OpenOptions::new().read(true).write(write).open(&path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LogError::damaged(&path, 0, "the segment is missing"));
        }
        opened => opened.map_err(LogError::io("open", &path))?,
    };
    let header = header(&file, &path, number)?;
    Ok((file, header))
}

/// Reads the header of segment `number`.
pub(super) fn header(file: &File, path: &Path, number: u64) -> Result<Header, LogError> {
    let mut bytes = [0; HEADER_BYTES as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(LogError::damaged(path, 0, "the file is shorter than a header"));
        }
        done => done.map_err(LogError::io("read", path))?,
    }
    match Header::decode(&bytes) {
        Ok(header) if header.number == number => Ok(header),
        Ok(header) => {
            Err(LogError::damaged(path, 12, format!("holds segment {}, not {number}", header.number)))
        }
        Err(HeaderFlaw::Newer(found)) => {
            Err(LogError::Newer { path: path.to_path_buf(), found, known: VERSION })
        }
        Err(HeaderFlaw::Wrong(offset, what)) => Err(LogError::damaged(path, offset, what)),
    }
}

/// A segment that is complete and durable but has not got its name. Dropped without one, it is removed.
pub(super) struct Unnamed<'a> {
    disk: &'a Disk,
    dir: &'a Path,
    header: Header,
    bytes: u64,
    file: Arc<File>,
    named: bool,
}

/// Makes a segment of `bytes` bytes: space first, then the header, then fsync. On any failure nothing remains.
pub(super) fn make<'a>(
    disk: &'a Disk,
    dir: &'a Path,
    header: Header,
    bytes: u64,
) -> Result<Unnamed<'a>, LogError> {
    let path = temporary(dir, header.number);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(LogError::write("make", &path, bytes))?;
    // From here on, leaving early drops `made`, which takes the file away again.
    let made = Unnamed { disk, dir, header, bytes, file: Arc::new(file), named: false };
    disk.reserve(&made.file, bytes).map_err(LogError::write("reserve space for", &path, bytes))?;
    disk.write(&made.file, &mut [IoSlice::new(&header.encode())], 0)
        .map_err(|unwritten| LogError::write("write", &path, bytes)(unwritten.source))?;
    match made.file.sync_all().map_err(LogError::write("sync", &path, bytes)) {
        Ok(()) => Ok(made),
        // File systems that allocate late say only now that there is no space. No record is in this file, so
        // unlike with any other failed sync nothing can be lost.
        Err(LogError::Io { path, source, .. }) => Err(LogError::Broken { path, why: source.to_string() }),
        Err(full) => Err(full),
    }
}

impl Unnamed<'_> {
    /// Gives the segment its name, durably: from now on it is the last of the log.
    pub fn name(mut self) -> Result<(Arc<File>, PathBuf), LogError> {
        let path = path(self.dir, self.header.number);
        let temporary = temporary(self.dir, self.header.number);
        fs::rename(&temporary, &path).map_err(LogError::write("rename", &temporary, self.bytes))?;
        self.named = true;
        match self.disk.sync_dir(self.dir) {
            Ok(()) => Ok((self.file.clone(), path)),
            Err(error) => Err(LogError::Broken { path: self.dir.to_owned(), why: error.to_string() }),
        }
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if !self.named {
            // If this fails, opening the log removes the file.
            let _ = fs::remove_file(temporary(self.dir, self.header.number));
        }
    }
}

pub(super) fn temporary(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log.tmp"))
}
