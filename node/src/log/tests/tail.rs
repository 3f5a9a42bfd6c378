//! Torn tails: cut where they begin, whatever they look like, and gone for good.

use super::super::frame::Preface;
use super::super::{Cut, LogError};
use super::*;

/// A log of two synced batches and one of three records that was not synced, and where that one begins and ends.
fn torn() -> (tempfile::TempDir, Span) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append_synced(&log, &[b"one"]);
    append_synced(&log, &[b"two", b"three"]);
    let last = append(&log, &[&payload(4, 15), &payload(5, 1), &payload(6, 20)]);
    (dir, last)
}

/// Opens the log of `torn` after `change`: the last batch must be gone, and nothing else.
#[track_caller]
fn check(change: impl FnOnce(&mut Vec<u8>), expected_cut: Option<u64>) {
    let (dir, last) = torn();
    let path = files(dir.path()).remove(0);
    edit(&path, change);
    let (log, opened) = open(dir.path());
    assert_eq!(opened.end, last.start);
    assert_eq!(opened.cut, expected_cut.map(|bytes| Cut { at: last.start, bytes }));
    let tail = fs::read(&path).unwrap().split_off(last.start.offset as usize);
    assert!(tail.iter().all(|&byte| byte == 0), "what was cut is zeroed");

    append_synced(&log, &[b"new"]);
    drop(log);
    let (log, opened) = open(dir.path());
    assert_eq!(opened.cut, None);
    assert_eq!(payloads(&log), texts(&["one", "two", "three", "new"]));
}

#[test]
fn a_tail_torn_at_every_byte() {
    let (dir, last) = torn();
    let whole = fs::read(&files(dir.path())[0]).unwrap();
    let (start, end) = (last.start.offset as usize, last.end.offset as usize);
    for offset in start..end {
        // What is cut ends with the last byte that is not zero, and some before `offset` are zero anyway.
        let cut = (start..offset).rfind(|&at| whole[at] != 0).map(|at| (at + 1 - start) as u64);
        check(|bytes| bytes[offset..].fill(0), cut);
        check(|bytes| bytes.truncate(offset), cut);
        check(|bytes| bytes[offset..end].fill(0xa5), Some((end - start) as u64));
        check(|bytes| bytes[offset] ^= 1 << (offset % 8), Some((end - start) as u64));
    }
}

#[test]
fn a_whole_unsynced_batch_stays() {
    let (dir, last) = torn();
    let (log, opened) = open(dir.path());
    assert_eq!((opened.end, opened.cut), (last.end, None));
    assert_eq!(records(&log).len(), 6);
    assert_eq!((log.synced(), log.syncs()), (last.end, 1), "opening syncs what it found");
}

#[test]
fn rubbish_after_the_end() {
    let (dir, last) = torn();
    let path = files(dir.path()).remove(0);
    edit(&path, |bytes| bytes[400] = 1);
    let (log, opened) = open(dir.path());
    assert_eq!(opened.cut, Some(Cut { at: last.end, bytes: 401 - last.end.offset }));
    assert_eq!(records(&log).len(), 6);
}

#[test]
fn a_batch_after_a_torn_one_never_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append_synced(&log, &[b"one"]);
    let torn = append(&log, &[b"torn"]);
    append(&log, &[b"whole, but after it"]);
    drop(log);
    edit(&files(dir.path())[0], |bytes| bytes[torn.end.offset as usize - 1] ^= 1);

    let (log, opened) = open(dir.path());
    assert_eq!(opened.end, torn.start);
    // A batch of the same length leads exactly to where the other one stood.
    assert_eq!(append(&log, &[b"here"]), torn);
    drop(log);
    assert_eq!(payloads(&open(dir.path()).0), texts(&["one", "here"]));
}

#[test]
fn a_proof_counts_only_where_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let start = append_synced(&log, &[b"one"]).end;
    // A record that holds a piece of another place of this log, say of a copy of it, which speaks of this one.
    let elsewhere = Preface { synced: start.offset + 40, bytes: 0 }.encode(1, 2000);
    append(&log, &[b"torn", &[b'x'; 60], &elsewhere]);
    drop(log);
    edit(&files(dir.path())[0], |bytes| bytes[start.offset as usize + 30] ^= 1);
    let (log, opened) = open(dir.path());
    assert_eq!(opened.end, start);
    assert_eq!(payloads(&log), texts(&["one"]));
}

#[test]
fn an_idle_log_ends_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (log, first) = open(dir.path());
    assert_eq!(first.end, Pos { segment: 1, offset: 40 });
    let end = append_synced(&log, &[b"one"]).end;
    drop(log);
    // The proof that the batch was synced stands there, and is no part of the log.
    assert_eq!(fs::read(&files(dir.path())[0]).unwrap()[end.offset as usize..][..4], *b"btch");
    for _ in 0..3 {
        let (log, opened) = open(dir.path());
        assert_eq!((opened.end, opened.cut, log.end()), (end, None, end));
    }
    let (log, _) = open(dir.path());
    assert_eq!(append(&log, &[b"two"]).start, end);
    assert_eq!(payloads(&log), texts(&["one", "two"]));
}

#[test]
fn half_made_segments_are_removed_and_other_files_left_alone() {
    let (dir, _) = torn();
    let half_made = dir.path().join("00000000000000000002.log.tmp");
    let other = dir.path().join("notes.log.tmp");
    fs::write(&half_made, b"LDLOG").unwrap();
    fs::write(&other, b"mine").unwrap();
    assert_eq!(records(&open(dir.path()).0).len(), 6);
    assert!(!half_made.exists() && other.exists());
}

#[test]
fn a_torn_batch_in_a_closed_segment_is_damage() {
    let (dir, last) = torn();
    let (log, _) = open(dir.path());
    append(&log, &[&payload(7, 400)]);
    assert_eq!(log.end().segment, 2);
    drop(log);
    edit(&files(dir.path())[0], |bytes| bytes[last.start.offset as usize..].fill(0));
    let (log, opened) = open(dir.path());
    assert_eq!(opened.cut, None);
    let found = log.read(Pos::START).last();
    assert!(
        matches!(found, Some(Err(LogError::Damaged { offset, .. })) if offset == last.start.offset),
        "{found:?}"
    );
}
