//! How much may stand in a backup. Whoever reads one does not know who made it, and what is packed small may be huge
//! inside; so each kind of member has a limit, which is known before any of it is read. Backups are made within them.

use super::BackupError;
use super::manifest::{FORMAT_NAME, MANIFEST_NAME};
use super::member::{LAYOUT_NAME, LOGS};
use crate::log::MOST_SEGMENT_BYTES;

/// Settings, and each file among the keys.
pub(super) const SMALL_BYTES: u64 = 4 << 20;
/// One line each.
const LINE_BYTES: u64 = 4 << 10;
/// All that is no segment, and how many of them.
const ALL_SMALL_BYTES: u64 = 64 << 20;
const MOST_SMALL: u64 = 4_096;
/// A segment of the log is as long as its format admits; those of the audit log hold no large records.
const SEGMENT_BYTES: [u64; LOGS.len()] = [MOST_SEGMENT_BYTES, 128 << 20];
/// Of each log: a terabyte, as segments are by themselves.
const MOST_SEGMENTS: u64 = 1 << 16;
/// What a manifest says of itself, and of each member.
const MANIFEST_HEAD_BYTES: u64 = 4 << 10;
const MANIFEST_ROW_BYTES: u64 = 512;
/// As far as a reader looks back while it unpacks: 8 MiB, by its logarithm. What wants more is not unpacked.
pub(super) const WINDOW_LOG: u32 = 23;
/// Zeros behind the last member, with which tar fills its blocks.
pub(super) const TAIL_BYTES: u64 = 1 << 20;
/// A longer name takes an extension of tar.
pub(super) const NAME_BYTES: usize = 100;

/// What has been met so far.
#[derive(Default)]
pub(super) struct Bounds {
    small: u64,
    small_bytes: u64,
    segments: [u64; LOGS.len()],
}

impl Bounds {
    /// Another member that is no segment, of so many bytes.
    pub fn small(&mut self, name: &str, bytes: u64) -> Result<(), BackupError> {
        let most = match name {
            FORMAT_NAME | LAYOUT_NAME => LINE_BYTES,
            MANIFEST_NAME => {
                let members = self.small + self.segments.iter().sum::<u64>();
                return within(name, bytes, MANIFEST_HEAD_BYTES + MANIFEST_ROW_BYTES * members);
            }
            _ => SMALL_BYTES,
        };
        within(name, bytes, most)?;
        self.small += 1;
        self.small_bytes += bytes;
        if self.small > MOST_SMALL || self.small_bytes > ALL_SMALL_BYTES {
            let mib = ALL_SMALL_BYTES >> 20;
            return Err(BackupError::damaged(
                format!("密钥和设置之类的文件太多（至多 {MOST_SMALL} 个，共 {mib} MiB）"),
                format!("it holds too many small files ({MOST_SMALL} at most, and {mib} MiB of them)"),
            ));
        }
        Ok(())
    }

    /// Another segment of a log.
    pub fn segment(&mut self, log: usize, name: &str, bytes: u64) -> Result<(), BackupError> {
        within(name, bytes, SEGMENT_BYTES[log])?;
        self.segments[log] += 1;
        if self.segments[log] > MOST_SEGMENTS {
            let of = LOGS[log];
            return Err(BackupError::damaged(
                format!("{of}/ 的日志段太多（至多 {MOST_SEGMENTS} 个）"),
                format!("it holds too many segments of {of}/ ({MOST_SEGMENTS} at most)"),
            ));
        }
        Ok(())
    }
}

fn within(name: &str, bytes: u64, most: u64) -> Result<(), BackupError> {
    if bytes <= most {
        return Ok(());
    }
    let name = shown(name);
    Err(BackupError::damaged(
        format!("{name} 有 {bytes} 字节，至多只能有 {most} 字节，没有读取"),
        format!("{name} has {bytes} bytes where {most} are the most there can be, and was not read"),
    ))
}

/// A name from a backup as it may be shown to people: nothing in it steers their terminal, and it is no page long.
pub(super) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(NAME_BYTES).flat_map(char::escape_debug).collect();
    if name.chars().nth(NAME_BYTES).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bounds: &mut Bounds, name: &str, bytes: u64, expected: bool) {
        let found = match LOGS.iter().position(|log| name.starts_with(&format!("{log}/"))) {
            Some(log) => bounds.segment(log, name, bytes),
            None => bounds.small(name, bytes),
        };
        assert_eq!(found.is_ok(), expected, "{name} {bytes}: {found:?}");
    }

    #[test]
    fn each_kind_has_its_limit() {
        for (name, most) in [
            ("format", LINE_BYTES),
            ("layout", LINE_BYTES),
            ("config.toml", SMALL_BYTES),
            ("keys/city.key", SMALL_BYTES),
            ("log/1.log", MOST_SEGMENT_BYTES),
            ("audit/1.log", 128 << 20),
        ] {
            check(&mut Bounds::default(), name, most, true);
            check(&mut Bounds::default(), name, most + 1, false);
            check(&mut Bounds::default(), name, u64::MAX, false);
        }
        let mut bounds = Bounds::default();
        (0..16).for_each(|_| check(&mut bounds, "keys/x", SMALL_BYTES, true));
        check(&mut bounds, "keys/x", 1, false);
        // A manifest is no longer than what stood before it wants.
        check(&mut Bounds::default(), "manifest.json", MANIFEST_HEAD_BYTES, true);
        check(&mut Bounds::default(), "manifest.json", MANIFEST_HEAD_BYTES + 1, false);
        let mut bounds = Bounds::default();
        check(&mut bounds, "format", 9, true);
        check(&mut bounds, "log/1.log", 9, true);
        check(&mut bounds, "manifest.json", MANIFEST_HEAD_BYTES + 2 * MANIFEST_ROW_BYTES, true);
    }

    #[test]
    fn nothing_in_a_name_steers_a_terminal() {
        assert_eq!(shown("keys/城市.key"), "keys/城市.key");
        assert_eq!(shown("a\x1b]0;x\x07\r\n\u{202e}b"), r"a\u{1b}]0;x\u{7}\r\n\u{202e}b");
        assert_eq!(shown(&"x".repeat(2_000)).chars().count(), NAME_BYTES + 1);
    }
}
