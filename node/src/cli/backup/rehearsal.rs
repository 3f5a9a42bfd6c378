//! Where a rehearsal puts things: a directory that goes with it, whatever ends it.
//!
//! It is locked for as long as its process lives. What a process has left that was killed, the next rehearsal of the same
//! account removes.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use liandong_proto::id::hex;

use crate::backup::{BackupError, Held, hold};
use crate::exclusive::Exclusive;
use crate::now::random;

const NAME: &str = "liandong-rehearsal-";

/// A directory that goes with the rehearsal.
pub(super) struct Rehearsal {
    dir: PathBuf,
    _lock: Exclusive,
}

impl Rehearsal {
    /// Begins one in a directory for temporary files.
    pub fn begin(parent: &Path) -> Result<Rehearsal, BackupError> {
        sweep(parent);
        loop {
            let dir = parent.join(format!("{NAME}{}", hex(&random::<8>())));
            DirBuilder::new().mode(0o700).create(&dir).map_err(BackupError::file(&dir))?;
            // Another one that sweeps may have come between.
            if let Held::Mine(lock) = hold(&dir, false).map_err(BackupError::file(&dir))? {
                return Ok(Rehearsal { dir, _lock: lock });
            }
        }
    }

    /// The data directory.
    pub fn site(&self) -> PathBuf {
        self.dir.join("site")
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        // Where that fails the next rehearsal does it.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes what rehearsals have left whose processes are gone. What belongs to others, or looks otherwise, stays.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let digits = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(NAME));
        let is_one =
            digits.is_some_and(|it| it.len() == 16 && it.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if !is_one {
            continue;
        }
        if let Ok(Held::Mine(lock)) = hold(&path, false)
            && lock.file().metadata().is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw())
        {
            // Held until it is gone, so that nobody takes it for theirs.
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).expect("listed").map(|it| it.expect("one").file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_rehearsal_has_left_goes_with_the_next_and_nothing_else_does() {
        let parent = tempfile::tempdir().expect("a directory");
        let elsewhere = tempfile::tempdir().expect("a directory");
        fs::write(elsewhere.path().join("kept"), "mine").expect("written");
        let left = parent.path().join(format!("{NAME}0123456789abcdef"));
        fs::create_dir_all(left.join("site/keys")).expect("made");
        fs::write(left.join("site/keys/city.key"), "secret").expect("written");
        let link = parent.path().join(format!("{NAME}fedcba9876543210"));
        std::os::unix::fs::symlink(elsewhere.path(), &link).expect("linked");
        fs::create_dir(parent.path().join(format!("{NAME}notes"))).expect("made");

        let first = Rehearsal::begin(parent.path()).expect("begun");
        assert!(!left.exists(), "its process is gone");
        assert!(elsewhere.path().join("kept").exists(), "a link is not followed");
        fs::create_dir(first.site()).expect("made");
        let second = Rehearsal::begin(parent.path()).expect("begun");
        assert!(first.site().exists(), "it still goes on");
        assert_ne!(first.dir, second.dir);
        drop((first, second));
        assert_eq!(names(parent.path()), [format!("{NAME}fedcba9876543210"), format!("{NAME}notes")]);
    }
}
