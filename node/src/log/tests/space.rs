//! A full disk: said in time, nothing half written, and the log works again when there is space.

use std::process::Command;
use std::sync::atomic::Ordering;

use super::super::LogError;
use super::*;

/// Appends until the log says that the disk is full; returns what was appended.
#[track_caller]
fn fill(log: &Log) -> (Vec<Vec<u8>>, LogError) {
    let mut written = Vec::new();
    for number in 0..100_000 {
        let payload = payload(number, 100);
        let before = log.end();
        match log.append(&batch(&[&payload]), 0) {
            Ok(_) => written.push(payload),
            Err(error) => {
                assert_eq!(log.end(), before);
                return (written, error);
            }
        }
    }
    panic!("the disk was never full");
}

#[track_caller]
fn check_message(error: &LogError, path: &str, needed: u64) {
    assert!(matches!(error, LogError::Full { needed: bytes, .. } if *bytes == needed), "{error:?}");
    let text = error.to_string();
    for part in [path, &needed.to_string(), "nothing is lost", "free some space"] {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

#[test]
fn no_space_for_the_next_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    log.disk.faults.no_reserve.store(true, Ordering::Relaxed);
    let (mut written, error) = fill(&log);
    check_message(&error, "00000000000000000002.log.tmp", 512);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half made remains");
    log.sync_to(log.end()).unwrap();
    assert_eq!(payloads(&log), written);

    log.disk.faults.no_reserve.store(false, Ordering::Relaxed);
    written.push(payload(written.len(), 100));
    append_synced(&log, &[&written[written.len() - 1]]);
    drop(log);
    let (log, opened) = open(dir.path());
    assert_eq!((opened.end.segment, opened.cut), (2, None));
    assert_eq!(payloads(&log), written);
}

#[test]
fn no_space_inside_a_segment() {
    // File systems that cannot reserve space say so as late as this.
    for room in 0..147 {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path());
        let before = append_synced(&log, &[b"before"]).end;
        *log.disk.faults.room.lock().unwrap() = Some(room);
        let large = payload(1, 118);
        let refused = log.append(&batch(&[&large]), 0).unwrap_err();
        check_message(&refused, "00000000000000000001.log", 147);
        assert_eq!(log.end(), before);
        // Not even the bytes could be taken back, for the same reason: the next batch does it.
        *log.disk.faults.room.lock().unwrap() = None;
        append_synced(&log, &[b"x"]);
        drop(log);
        let (log, opened) = examine(dir.path()).unwrap();
        assert_eq!((opened.cut, payloads(&log)), (None, texts(&["before", "x"])), "room {room}");
    }
}

#[test]
fn a_refused_batch_is_gone_before_the_segment_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, &[b"before"]);
    *log.disk.faults.room.lock().unwrap() = Some(140);
    log.append(&batch(&[&payload(1, 118)]), 0).unwrap_err();
    *log.disk.faults.room.lock().unwrap() = None;
    append_synced(&log, &[&payload(2, 600)]);
    drop(log);
    let (log, opened) = examine(dir.path()).unwrap();
    assert_eq!((opened.end.segment, opened.cut), (2, None));
    assert_eq!(payloads(&log), [b"before".to_vec(), payload(2, 600)]);
}

/// A small file system in memory, gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(kib: u64) -> Result<SmallDisk, String> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(dir.path())
            .output()
            .map_err(|error| format!("mount: {error}"))?;
        if mounted.status.success() {
            Ok(SmallDisk(dir))
        } else {
            Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned())
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_real_full_disk() {
    let disk = match SmallDisk::mount(256) {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let options = Options { segment_bytes: 64 << 10, ..SMALL };
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![1; 80 << 10]).unwrap();
    let dir = disk.0.path().join("log");
    let (log, _) = Log::open(&dir, options).unwrap();
    let (mut written, error) = fill(&log);
    check_message(&error, ".log.tmp", 64 << 10);
    log.sync_to(log.end()).unwrap();
    assert_eq!(payloads(&log), written);

    fs::remove_file(&ballast).unwrap();
    written.push(payload(written.len(), 100));
    append_synced(&log, &[&written[written.len() - 1]]);
    drop(log);
    let (log, opened) = Log::open(&dir, options).unwrap();
    assert_eq!((opened.cut, payloads(&log)), (None, written));
}
