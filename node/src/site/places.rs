//! A log that is made anew takes the place of the one there is, which is kept beside it until a record is erased.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Paths, SiteError};
use crate::backup;
use crate::index::Index;
use crate::log::DirLock;

/// What the names of kept logs begin with: those that have parted from the hub's, and damaged ones.
const KEPT: [&str; 2] = ["log.parted-", "log.damaged-"];

impl Paths {
    /// A log that is being made, to take the place of the one there is. It never does under this name.
    pub(super) fn unfinished_log(&self) -> PathBuf {
        self.dir.join("log.unfinished")
    }

    /// The same once it is whole and durable: its name says so.
    pub fn next_log(&self) -> PathBuf {
        self.dir.join("log.next")
    }

    /// Where the log is kept that has parted from the hub's.
    pub(super) fn parted_log(&self, now_ms: u64) -> PathBuf {
        self.dir.join(format!("{}{now_ms}", KEPT[0]))
    }

    /// Where a damaged log is kept.
    pub(super) fn damaged_log(&self, now_ms: u64) -> PathBuf {
        self.dir.join(format!("{}{now_ms}", KEPT[1]))
    }

    /// Whether there is a log, or one that may wait to take its place.
    fn has_log(&self) -> bool {
        self.log().exists() || self.next_log().exists()
    }

    /// Takes the directory of a site, which nobody else uses from then on, with its log in its place.
    ///
    /// # Errors
    /// [`SiteError::NoSite`], [`SiteError::Newer`]: nothing is changed; that another process has it; [`SiteError::File`].
    pub(super) fn take(&self) -> Result<DirLock, SiteError> {
        self.check_layout()?;
        if !self.has_log() {
            return Err(SiteError::NoSite(self.dir.clone()));
        }
        let lock = DirLock::acquire(&self.dir)?;
        self.note_layout()?;
        backup::tidy(&self.dir);
        self.settle_log()?;
        Ok(lock)
    }

    /// Puts the log that was being made, which is whole and durable, in the place of the log, which is kept. Before the log has
    /// been put aside nothing has happened; behind that the rest is done by whoever comes next.
    ///
    /// # Errors
    /// [`SiteError::File`]; [`settle_log`](Paths::settle_log) goes on.
    pub(super) fn change_logs(&self, kept: &Path) -> Result<(), SiteError> {
        remove(&self.next_log())?;
        self.replace(&self.unfinished_log(), &self.next_log())?;
        self.replace(&self.log(), kept)?;
        self.settle_log()
    }

    /// Makes up for what a crash has cut short: a next log takes the place of one that has been put aside, and goes where that has
    /// not been; one that is unfinished goes. The index is that of the log that was put aside, so that it has to go first. The
    /// caller has taken the directory.
    ///
    /// # Errors
    /// [`SiteError::File`].
    fn settle_log(&self) -> Result<(), SiteError> {
        let (log, next) = (self.log(), self.next_log());
        remove(&self.unfinished_log())?;
        if log.exists() {
            return remove(&next);
        }
        if !self.has_log() {
            return Ok(());
        }
        Index::set_aside(&self.index())?;
        self.replace(&next, &log)
    }

    /// Removes the logs that were kept: what they hold of an erased record would stay in them.
    ///
    /// # Errors
    /// [`SiteError::File`].
    pub(super) fn remove_kept(&self) -> Result<(), SiteError> {
        self.kept_logs()?.iter().try_for_each(|dir| remove(dir))?;
        remove(&self.unfinished_log())?;
        remove(&self.next_log())
    }

    fn kept_logs(&self) -> Result<Vec<PathBuf>, SiteError> {
        let failed = |source| SiteError::File { path: self.dir.clone(), source };
        let entries: Result<Vec<_>, _> = fs::read_dir(&self.dir).map_err(failed)?.collect();
        let is_kept = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            KEPT.iter().any(|kept| name.to_string_lossy().starts_with(kept))
        };
        Ok(entries.map_err(failed)?.iter().filter(|entry| is_kept(entry)).map(fs::DirEntry::path).collect())
    }
}

/// Removes a directory, if it is there.
///
/// # Errors
/// [`SiteError::File`].
pub(super) fn remove(dir: &Path) -> Result<(), SiteError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(SiteError::File { path: dir.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}
