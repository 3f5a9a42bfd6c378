//! Damage to what was durable is named, and never taken for a tail.

use super::super::frame::Header;
use super::super::{Cut, LogError, scan};
use super::*;

/// A log of three segments, everything synced.
fn three_segments() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    for number in 0..6 {
        append_synced(&log, &[&payload(number, 60), &payload(number, 70)]);
    }
    assert_eq!(log.end().segment, 3);
    dir
}

/// Where the header, each preface and each frame of segment `number` begin, and where the segment ends.
fn starts(dir: &Path, number: u64) -> (Vec<u64>, u64) {
    let (log, _) = open(dir);
    let mut starts = vec![0];
    let mut end = 40;
    for record in records(&log).iter().filter(|record| record.pos.segment == number) {
        if record.pos.offset != end {
            starts.push(end);
        }
        starts.push(record.pos.offset);
        end = record.next.offset;
    }
    (starts, end)
}

/// Flips one bit at `offset` of segment `number` in a copy of `dir`, and reads it all.
fn flipped(dir: &Path, number: u64, offset: u64) -> Result<(Log, Opened), LogError> {
    let copied = tempfile::tempdir().unwrap();
    copy(dir, copied.path());
    edit(&segment::path(copied.path(), number), |bytes| bytes[offset as usize] ^= 1 << (offset % 8));
    examine(copied.path())
}

#[track_caller]
fn check_named(found: Result<(Log, Opened), LogError>, number: u64, flipped: u64, starts: &[u64]) {
    match found {
        Err(LogError::Damaged { path, offset, what }) => {
            assert!(path.ends_with(format!("{number:020}.log")), "{path:?}");
            let expected = *starts.iter().rfind(|&&start| start <= flipped).unwrap();
            let named = if expected == 0 { offset < 40 } else { offset == expected };
            assert!(named, "bit at {flipped}: named {offset} ({what}), not {expected}");
        }
        Err(LogError::Newer { found, known: 1, .. }) => assert!((8..12).contains(&flipped) && found > 1),
        Err(other) => panic!("bit at {flipped}: {other}"),
        Ok((_, opened)) => panic!("bit at {flipped} went unseen: {opened:?}"),
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_closed_segment() {
    let dir = three_segments();
    let (mut starts, end) = starts(dir.path(), 2);
    // One that was not cut to its end, as a crash leaves it.
    let length = 512;
    edit(&segment::path(dir.path(), 2), |bytes| bytes.resize(length as usize, 0));
    // After the end, the very byte is named.
    starts.extend(end..length);
    for offset in 0..length {
        check_named(flipped(dir.path(), 2, offset), 2, offset, &starts);
    }
}

#[test]
fn a_flipped_bit_anywhere_in_what_was_synced_of_the_last_segment() {
    let dir = three_segments();
    let (starts, end) = starts(dir.path(), 3);
    for offset in 0..end {
        check_named(flipped(dir.path(), 3, offset), 3, offset, &starts);
    }
}

#[test]
fn a_flipped_bit_after_what_was_synced_costs_no_record() {
    let dir = three_segments();
    let (_, end) = starts(dir.path(), 3);
    for offset in end..512 {
        let (log, opened) = flipped(dir.path(), 3, offset).unwrap();
        let at = Pos { segment: 3, offset: end };
        assert!(matches!(opened.cut, Some(Cut { at: cut_at, .. }) if cut_at == at), "{offset}: {opened:?}");
        assert_eq!(log.end(), at);
    }
}

#[test]
fn zeroed_synced_bytes_of_the_last_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), Options { segment_bytes: 64 << 10, ..SMALL }).unwrap();
    let spans: Vec<Span> = (0..80).map(|number| append_synced(&log, &[&payload(number, 100)])).collect();
    drop(log);
    for span in &spans {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        let (from, to) = (span.start.offset as usize, span.end.offset as usize);
        edit(&files(copied.path())[0], |bytes| bytes[from..to].fill(0));
        check_named(examine(copied.path()), 1, span.start.offset, &[0, span.start.offset]);
    }
}

#[test]
fn the_proof_may_be_far_away() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), Options::default()).unwrap();
    let first = append_synced(&log, &[b"first"]).start;
    let (large, mut ends) = (payload(0, 4000), Vec::new());
    for _ in 0..300 {
        ends.push(append(&log, &[&large]).end.offset);
    }
    // Only the last preface says that more than the first batch was synced.
    log.sync_to(log.end()).unwrap();
    drop(log);
    edit(&files(dir.path())[0], |bytes| bytes[ends[0] as usize - 5] ^= 1);
    let found = examine(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(found.contains(&format!("stands that all up to {} had been synced", ends[299])), "{found}");
    assert!(first.offset < ends[0]);
}

#[test]
fn the_proof_may_lie_across_two_reads() {
    for before_edge in 0..=21 {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 600 << 10, max_record_bytes: 1 << 20 };
        let (log, _) = Log::open(dir.path(), options).unwrap();
        // The only frame is at 60, its end, where the proof stands, around the end of the first read after that.
        let end = 61 + scan::CHUNK_BYTES - before_edge;
        append_synced(&log, &[&payload(1, (end - 69) as usize)]);
        assert_eq!(log.end().offset, end);
        drop(log);
        edit(&files(dir.path())[0], |bytes| bytes[100] ^= 1);
        check_named(examine(dir.path()), 1, 100, &[0, 40, 60]);
    }
}

#[track_caller]
fn check_refused(change: impl FnOnce(&Path), expected: &[&str]) {
    let dir = three_segments();
    change(dir.path());
    let found = Log::open(dir.path(), SMALL).map(|_| ()).unwrap_err().to_string();
    for part in expected {
        assert!(found.contains(part), "{found:?} does not say {part:?}");
    }
}

fn write_header(path: &Path, header: Header) {
    edit(path, |bytes| bytes[..40].copy_from_slice(&header.encode()));
}

#[test]
fn segments_that_do_not_fit_together() {
    let second = |dir: &Path| segment::path(dir, 2);
    check_refused(
        |dir| fs::remove_file(second(dir)).unwrap(),
        &["00000000000000000002.log at byte 0", "missing"],
    );
    check_refused(
        |dir| fs::remove_file(segment::path(dir, 1)).unwrap(),
        &["00000000000000000001.log", "missing"],
    );
    check_refused(
        |dir| assert_eq!(fs::copy(segment::path(dir, 3), second(dir)).unwrap(), 512),
        &["00000000000000000002.log", "holds segment 3, not 2"],
    );
    check_refused(
        |dir| edit(&second(dir), |bytes| bytes.truncate(20)),
        &["0002.log", "shorter than a header"],
    );
    check_refused(|dir| edit(&second(dir), |bytes| bytes.truncate(100)), &["0002.log", "100 bytes long"]);
    check_refused(
        |dir| write_header(&second(dir), Header { number: 2, first_mark: 9, previous_end: 344 }),
        &["0003.log", "first mark 0 after 9"],
    );
    check_refused(
        |dir| write_header(&segment::path(dir, 1), Header { number: 1, first_mark: 0, previous_end: 1 }),
        &["0001.log", "the first segment names one before it"],
    );
}

#[test]
fn a_newer_version_is_refused_by_name() {
    for number in 1..=3 {
        check_refused(
            |dir| edit(&segment::path(dir, number), |bytes| bytes[11] = 7),
            &["newer version: log format 7, this program knows up to 1; nothing was changed"],
        );
    }
}

#[test]
fn a_segment_exchanged_while_the_log_is_open() {
    let dir = three_segments();
    let (log, _) = open(dir.path());
    write_header(&segment::path(dir.path(), 2), Header { number: 2, first_mark: 0, previous_end: 41 });
    let found = log.read(Pos::START).last().unwrap().unwrap_err();
    assert!(matches!(found, LogError::Damaged { offset: 12, .. }), "{found}");
    assert!(matches!(log.verify(&mut |_, _| {}), Err(LogError::Damaged { .. })));
}
