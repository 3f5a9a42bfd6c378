//! When a site was backed up last: a file in its data directory, for `doctor`.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Milliseconds since 1970, in decimal. No part of a backup: whoever restores one has not made it.
const NAME: &str = "backup.last";

/// Notes that a backup was made. Losing the note costs a warning and no more, so it is not synced.
///
/// # Errors
/// When it cannot be written.
pub fn note_made(dir: &Path, made_at_ms: u64) -> std::io::Result<()> {
    let beside = dir.join(format!("{NAME}.part"));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    file.and_then(|mut file| writeln!(file, "{made_at_ms}")).and_then(|()| fs::rename(beside, dir.join(NAME)))
}

/// When that was; `None` where there is no note, or none that can be read.
pub fn last_made(dir: &Path) -> Option<u64> {
    fs::read_to_string(dir.join(NAME)).ok()?.trim().parse().ok()
}
