//! What the audit log promises: nothing in it changes, goes or moves unseen, and it comes back when it can.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use liandong_proto::id::sha256;

use super::*;
use crate::text::Said;

const SMALL: u64 = 4 << 10;

fn note(n: u64) -> Note {
    Note { what: What::Read, who: format!("clerk {n}"), kind: 1, count: n, ..Note::default() }
}

/// Records as they are stored, one after the other.
fn chain(count: u64) -> Vec<Bytes> {
    let mut end = End::default();
    let chained = (1..=count).map(|n| {
        let (bytes, next) = end.chained(note(n).record(n));
        end = next;
        Bytes::from(bytes)
    });
    chained.collect()
}

fn faults(records: &[Bytes]) -> Vec<Said> {
    let mut end = End::default();
    records.iter().filter_map(|stored| end.follow(stored)).collect()
}

#[track_caller]
fn check(records: &[Bytes], expected: &[&str]) {
    let found: Vec<String> = faults(records).into_iter().map(|said| said.en).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_chain_that_nobody_touched_is_sound() {
    check(&chain(5), &[]);
    check(&[], &[]);
    let last = AuditRecord::decode(chain(5)[4].clone()).expect("a record");
    assert_eq!(last.prev_hash, sha256(&chain(5)[3])[..]);
}

#[test]
fn no_bit_of_a_record_changes_unseen() {
    let whole = chain(3);
    for at in 0..2 {
        for bit in 0..whole[at].len() * 8 {
            let mut changed = whole.clone();
            let mut bytes = whole[at].to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            changed[at] = bytes.into();
            let found = faults(&changed);
            assert!(!found.is_empty(), "record {}, bit {bit}", at + 1);
            let near = [at + 1, at + 2].map(|number| format!("record {number}"));
            let names = |said: &Said| near.iter().any(|near| said.en.contains(near.as_str()));
            // Where its number was changed, the record is missed or met in a place that is not its own.
            let misplaced = |said: &Said| said.en.contains("missing") || said.en.contains("moved");
            assert!(found.iter().any(|said| names(said) || misplaced(said)), "{found:?}");
        }
    }
}

#[test]
fn what_was_dropped_moved_or_repeated_is_named() {
    let whole = chain(5);
    let without = |at: usize| [&whole[..at], &whole[at + 1..]].concat();
    check(&without(0), &["records 1 to 1 are missing"]);
    check(&without(2), &["records 3 to 3 are missing"]);
    check(&[&whole[..1], &whole[4..]].concat(), &["records 2 to 4 are missing"]);
    let mut moved = whole.clone();
    moved.swap(1, 3);
    check(
        &moved,
        &[
            "records 2 to 3 are missing",
            "record 3 stands behind record 4: it was repeated or moved",
            "record 2 stands behind record 3: it was repeated or moved",
            "records 3 to 4 are missing",
        ],
    );
    let repeated = [&whole[..3], &whole[2..]].concat();
    check(&repeated, &["record 3 stands behind record 3: it was repeated or moved"]);
    let mut other = AuditRecord::decode(whole[2].clone()).expect("a record");
    other.count += 1;
    let altered = [&whole[..2], &[Bytes::from(other.encode_to_vec())], &whole[3..]].concat();
    check(&altered, &["record 4 does not follow record 3: one of the two was altered"]);
}

fn numbers(audit: &Audit) -> Vec<u64> {
    audit.records().expect("readable").map(|record| record.expect("readable").number).collect()
}

#[test]
fn the_chain_goes_on_over_restarts_and_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit");
    for round in 0..4 {
        let audit = Audit::with_segments(&path, false, SMALL);
        for n in 0..20 {
            audit.note(Note { detail: "x".repeat(200), ..note(n) }).expect("noted");
        }
        assert_eq!(audit.standing().end.number, (round + 1) * 20);
        audit.close();
    }
    let audit = Audit::with_segments(&path, false, SMALL);
    assert_eq!(numbers(&audit), (1..=80).collect::<Vec<_>>());
    let found = audit.verify(&[audit.durable_end()]);
    assert!(found.faults.is_empty() && found.records == 80, "{found:?}");
    assert!(path.join("00000000000000000003.log").exists(), "there are several segments");
}

#[test]
fn many_at_once_make_one_chain() {
    let dir = tempfile::tempdir().expect("a directory");
    let audit = Audit::open(&dir.path().join("audit"), false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..25).for_each(|n| audit.note(note(n)).expect("noted")));
        }
    });
    let found = audit.verify(&[]);
    assert!(found.faults.is_empty() && found.records == 200, "{found:?}");
}

/// A log of some records in one small segment: its file, and what was in it.
fn written(dir: &Path) -> (PathBuf, Vec<u8>, End) {
    let audit = Audit::with_segments(dir, false, SMALL);
    (1..=3).for_each(|n| audit.note(note(n)).expect("noted"));
    let file = dir.join("00000000000000000001.log");
    let bytes = fs::read(&file).expect("a segment");
    (file, bytes, audit.standing().end)
}

#[test]
fn no_byte_of_the_file_changes_a_record_unseen() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, whole, end) = written(dir.path());
    let used = whole.iter().rposition(|byte| *byte != 0).expect("something") + 2;
    let mut found = 0;
    for at in 0..used {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, &bytes).expect("written");
        let audit = Audit::with_segments(dir.path(), false, SMALL);
        let verified = audit.verify(&[]);
        if verified.faults.is_empty() {
            // Behind the last record: nothing that anybody was told is there.
            assert_eq!((verified.records, verified.end), (3, end), "byte {at}");
        } else {
            found += 1;
        }
    }
    assert!(found > used * 3 / 4, "{found} of {used}");
}

#[test]
fn an_end_that_was_cut_off_is_missed_by_whoever_noted_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, _, noted) = written(dir.path());
    let other = tempfile::tempdir().expect("a directory");
    let audit = Audit::open(other.path(), false);
    (1..=2).for_each(|n| audit.note(note(n)).expect("noted"));
    let en = |expected| -> Vec<String> {
        audit.verify(&[End::default(), expected]).faults.into_iter().map(|said| said.en).collect()
    };
    assert!(audit.verify(&[]).faults.is_empty(), "the chain alone does not show it");
    assert_eq!(en(noted), ["there was a record 3, and the log ends with record 2: the end was cut off"]);
    audit.note(note(3)).expect("noted");
    let end = audit.standing().end;
    assert!(en(end).is_empty(), "it is as it was seen");
    let other = End { hash: [7; 32], ..end };
    assert!(en(other)[0].starts_with("record 3 is not the one that was seen before"));
}

#[test]
fn one_that_cannot_be_written_says_so_and_comes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit");
    fs::write(&path, "in the way").expect("written");
    let audit = Audit::open(&path, false);
    assert!(!audit.standing().failure.is_empty(), "the start has met it");
    assert!(audit.note(note(1)).is_err() && audit.records().is_err());
    assert!(!audit.verify(&[]).faults.is_empty());
    fs::remove_file(&path).expect("removed");
    audit.note(note(2)).expect("noted");
    assert_eq!((audit.standing().failure, numbers(&audit)), (String::new(), vec![1]));
}

fn log_of(audit: &Audit) -> Arc<Log> {
    audit.with(|opened| Ok(Arc::clone(&opened.log))).expect("it is open")
}

#[test]
fn a_full_disk_is_told_and_passes() {
    let dir = tempfile::tempdir().expect("a directory");
    let audit = Audit::open(dir.path(), false);
    audit.note(note(1)).expect("noted");
    log_of(&audit).leave_room(Some(30));
    let failed = audit.note(note(2)).expect_err("there is no room");
    assert!(failed.to_string().contains("disk full"), "{failed}");
    assert!(audit.standing().failure.contains("disk full"));
    log_of(&audit).leave_room(None);
    audit.note(note(3)).expect("noted");
    let found = audit.verify(&[]);
    assert!(found.faults.is_empty() && found.records == 2, "{found:?}");
    assert_eq!(audit.standing().failure, "");
}

#[test]
fn what_could_not_be_synced_is_not_taken_for_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    let audit = Audit::open(dir.path(), false);
    audit.note(note(1)).expect("noted");
    log_of(&audit).fail_syncs();
    assert!(audit.note(note(2)).is_err() && audit.note(note(3)).is_err());
    assert_eq!(audit.durable_end(), End::default(), "nothing to be sure of");
    assert!(!audit.standing().failure.is_empty());
}

/// The chain is free while the disk is busy: what is recorded meanwhile shares the next sync.
#[test]
fn many_share_one_sync() {
    let dir = tempfile::tempdir().expect("a directory");
    let audit = Audit::open(dir.path(), false);
    audit.note(note(1)).expect("noted");
    let (log, watched) = (log_of(&audit), Arc::clone(&audit));
    let before = log.syncs();
    log.before_sync(move || {
        while watched.standing().end.number < 9 {
            std::thread::yield_now();
        }
    });
    std::thread::scope(|scope| {
        for n in 2..10 {
            let audit = &audit;
            scope.spawn(move || audit.note(note(n)).expect("noted"));
        }
    });
    assert_eq!(log.syncs() - before, 2, "one for the first of them, one for all others");
    log.before_sync(|| {});
}

#[test]
fn whoever_is_turned_away_all_day_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let audit = Audit::open(dir.path(), false);
    let refused = || Note { what: What::Refused, ..Note::default() };
    (0..1_000).for_each(|_| audit.turned_away(refused()));
    audit.close();
    let counts: Vec<u64> =
        audit.records().expect("readable").map(|record| record.expect("readable").count).collect();
    assert!(counts.len() < 10 && counts.iter().sum::<u64>() == 1_000, "{counts:?}");
}
