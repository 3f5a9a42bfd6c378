//! When a site was backed up last: files in its data directory, for `doctor`, one for each kind of backup.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Milliseconds since 1970, in decimal, in each. No part of a backup: whoever restores one has not made it. Of one with
/// everything, with the records alone, with the keys alone.
const NAMES: [&str; 3] = ["backup.last", "backup.records", "backup.keys"];

/// Notes that a backup was made, and what was in it. Losing the note costs a warning and no more, so it is not synced.
///
/// # Errors
/// When it cannot be written.
pub fn note_made(dir: &Path, made_at_ms: u64, keys: bool, logs: bool) -> std::io::Result<()> {
    let name = match (keys, logs) {
        (true, true) => NAMES[0],
        (false, _) => NAMES[1],
        (true, false) => NAMES[2],
    };
    let beside = dir.join(format!("{name}.part"));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    file.and_then(|mut file| writeln!(file, "{made_at_ms}")).and_then(|()| fs::rename(beside, dir.join(name)))
}

/// When the newest backups of a site were made; `None` where there is no note, or none that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// With its records.
    pub records: Option<u64>,
    /// With its keys; in the same file or in another.
    pub keys: Option<u64>,
}

impl Made {
    /// As it was noted in a data directory.
    pub fn of(dir: &Path) -> Made {
        let [full, records, keys] =
            NAMES.map(|name| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok());
        Made { records: full.max(records), keys: full.max(keys) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_noted_by_itself() {
        let dir = tempfile::tempdir().expect("a directory");
        let check = |records, keys| assert_eq!(Made::of(dir.path()), Made { records, keys });
        check(None, None);
        note_made(dir.path(), 5, true, false).expect("noted");
        check(None, Some(5));
        note_made(dir.path(), 6, false, true).expect("noted");
        check(Some(6), Some(5));
        note_made(dir.path(), 7, true, true).expect("noted");
        check(Some(7), Some(7));
        note_made(dir.path(), 9, true, false).expect("noted");
        check(Some(7), Some(9));
        fs::write(dir.path().join(NAMES[2]), "soon").expect("written");
        check(Some(7), Some(7));
    }
}
