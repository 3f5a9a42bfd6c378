//! A log that was made anew takes the place of the damaged one, which is kept beside it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::super::{Paths, SiteError};

const KEPT: &str = "log.damaged-";

impl Paths {
    /// The log that is being made anew, or waits to take its place.
    pub(crate) fn next_log(&self) -> PathBuf {
        self.dir.join("log.repaired")
    }

    /// Puts the new log, which is durable, in the place of the damaged one; where that is kept.
    ///
    /// # Errors
    /// [`SiteError::File`]; [`finish_repair`](Paths::finish_repair) goes on.
    pub(crate) fn take_the_place(&self) -> Result<PathBuf, SiteError> {
        let number = self.damaged()?.len() + 1;
        let kept = self.dir.join(format!("{KEPT}{number}"));
        rename(&self.log(), &kept)?;
        sync(&self.dir)?;
        self.finish_repair()?;
        Ok(kept)
    }

    /// Finishes a repair that a crash cut short: a new log without one in its place is complete; one beside a log is not,
    /// and goes.
    ///
    /// # Errors
    /// [`SiteError::File`].
    pub(crate) fn finish_repair(&self) -> Result<(), SiteError> {
        let next = self.next_log();
        if !next.exists() {
            return Ok(());
        }
        if self.log().exists() {
            return remove(&next);
        }
        rename(&next, &self.log())?;
        sync(&self.dir)
    }

    /// Removes damaged logs that were kept: they may hold what is to be erased.
    ///
    /// # Errors
    /// [`SiteError::File`].
    pub(crate) fn forget_damaged(&self) -> Result<(), SiteError> {
        self.damaged()?.iter().try_for_each(|kept| remove(kept))
    }

    fn damaged(&self) -> Result<Vec<PathBuf>, SiteError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed(&self.dir))? {
            let path = entry.map_err(failed(&self.dir))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(KEPT)) {
                found.push(path);
            }
        }
        Ok(found)
    }
}

pub(super) fn remove(dir: &Path) -> Result<(), SiteError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failed(dir)),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), SiteError> {
    fs::rename(from, to).map_err(failed(from))
}

fn sync(dir: &Path) -> Result<(), SiteError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SiteError + '_ {
    move |source| SiteError::File { path: path.to_path_buf(), source }
}
