//! Whether there is room for what is to be written, as far as that can be known before.

use std::path::Path;

use super::BackupError;

/// Room on the disk that a path is on, or will be; `None` where that cannot be seen.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let space = there.filter(|path| path.exists()).find_map(|path| rustix::fs::statvfs(path).ok())?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Refuses what cannot fit.
///
/// # Errors
/// [`BackupError::NoRoom`].
pub fn fits(path: &Path, needed: u64) -> Result<(), BackupError> {
    match free_bytes(path) {
        Some(free) if free < needed => Err(BackupError::NoRoom { path: path.to_path_buf(), needed, free }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_than_the_disk_does_not_fit_also_where_nothing_is_yet() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("not/there/yet");
        assert!(free_bytes(&path).is_some_and(|free| free > 0));
        assert!(free_bytes(Path::new("relative")).is_some());
        fits(&path, 0).expect("nothing fits everywhere");
        let refused = fits(&path, u64::MAX).expect_err("more than there is").said();
        assert!(
            refused.en.contains("not/there/yet") && refused.en.contains("free some space"),
            "{}",
            refused.en
        );
        assert!(!path.exists());
    }
}
