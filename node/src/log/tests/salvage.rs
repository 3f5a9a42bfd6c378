//! What is salvaged of a damaged log: every record but those that the damage touches, in order, and nothing else.

use super::super::salvage::{Hole, Salvaged, salvage};
use super::*;

type Read = (Vec<(u8, Vec<u8>)>, Vec<Hole>, u64);

fn salvaged(dir: &Path) -> Result<Read, LogError> {
    Ok(salvaged_beside(dir, Pos::START)?.0)
}

/// What is read where all before a place is known to have been synced, and where the log ends.
fn salvaged_beside(dir: &Path, durable: Pos) -> Result<(Read, Pos), LogError> {
    let (mut records, mut holes, mut cut) = (Vec::new(), Vec::new(), 0);
    let end = salvage::<LogError>(dir, durable, &mut |found| {
        match found {
            Salvaged::Record { kind, payload } => records.push((kind, payload.to_vec())),
            Salvaged::Hole(hole) => holes.push(hole),
            Salvaged::Cut(bytes) => cut = bytes,
        }
        Ok(())
    })?;
    Ok(((records, holes, cut), end))
}

/// Three segments with batches of several records; where each record stands.
fn made() -> (tempfile::TempDir, Vec<Record>) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    for number in 0..6 {
        append_synced(&log, &[&payload(number, 50), &payload(number, 30), &payload(number, 40)]);
    }
    let all = records(&log);
    assert_eq!(log.end().segment, 3);
    (dir, all)
}

#[test]
fn a_sound_log_has_no_holes() {
    let (dir, all) = made();
    let (records, holes, cut) = salvaged(dir.path()).unwrap();
    assert_eq!((records.len(), holes.len(), cut), (all.len(), 0, 0));
}

#[test]
fn a_flipped_bit_costs_the_record_that_it_is_in() {
    let (dir, all) = made();
    for number in 1..=3 {
        let end =
            all.iter().filter(|record| record.pos.segment == number).map(|record| record.next.offset).max();
        for offset in 0..end.unwrap() {
            let copied = tempfile::tempdir().unwrap();
            copy(dir.path(), copied.path());
            edit(&segment::path(copied.path(), number), |bytes| bytes[offset as usize] ^= 1 << (offset % 8));
            let is_hit = |record: &&Record| {
                record.pos.segment == number && (record.pos.offset..record.next.offset).contains(&offset)
            };
            let expected: Vec<_> = all
                .iter()
                .filter(|record| !is_hit(record))
                .map(|record| (record.kind, record.payload.to_vec()))
                .collect();
            let (records, holes, _) = salvaged(copied.path()).unwrap();
            assert_eq!(holes.len(), 1, "segment {number}, bit at {offset}: {holes:?}");
            assert_eq!(records, expected, "segment {number}, bit at {offset}: {holes:?}");
            let lost = expected.len() < all.len();
            assert_eq!(holes[0].records, lost, "segment {number}, bit at {offset}: {holes:?}");
        }
    }
}

#[test]
fn what_is_torn_off_the_end_is_no_hole_and_a_batch_is_cut_as_a_whole() {
    let (dir, all) = made();
    let (log, _) = open(dir.path());
    let span = append(&log, &[&payload(7, 20), &payload(8, 20)]);
    drop(log);
    edit(&segment::path(dir.path(), span.end.segment), |bytes| bytes[span.end.offset as usize - 3] ^= 1);
    let (records, holes, cut) = salvaged(dir.path()).unwrap();
    assert_eq!((records.len(), holes.len()), (all.len(), 0));
    assert!(cut > 0);
}

#[test]
fn a_segment_that_is_missing_or_short_is_one_hole() {
    let (dir, all) = made();
    let of = |number: u64| all.iter().filter(|record| record.pos.segment == number).count();
    edit(&segment::path(dir.path(), 2), |bytes| bytes.truncate(60));
    let (records, holes, _) = salvaged(dir.path()).unwrap();
    assert_eq!(records.len(), all.len() - of(2));
    assert!(holes.iter().all(|hole| hole.records) && !holes.is_empty(), "{holes:?}");
    fs::remove_file(segment::path(dir.path(), 1)).unwrap();
    let (records, holes, _) = salvaged(dir.path()).unwrap();
    assert_eq!(records.len(), of(3));
    assert!(holes[0].what.contains("missing"), "{holes:?}");
}

/// Nothing in the log proves that its last batch was synced; whoever has followed it that far does.
#[test]
fn what_is_known_to_have_been_synced_is_never_cut() {
    let (dir, all) = made();
    let (log, _) = open(dir.path());
    let span = append(&log, &[&payload(7, 20), &payload(8, 20), &payload(9, 20)]);
    drop(log);
    let file = segment::path(dir.path(), span.end.segment);
    edit(&file, |bytes| bytes[span.end.offset as usize - 40] ^= 1);
    let damaged = fs::read(&file).unwrap();
    for known in [span.start, Pos::START] {
        let ((records, holes, cut), end) = salvaged_beside(dir.path(), known).unwrap();
        assert_eq!((records.len(), holes.len(), end), (all.len(), 0, span.start), "{known}");
        assert!(cut > 0, "{known}");
    }
    let ((records, holes, cut), end) = salvaged_beside(dir.path(), span.end).unwrap();
    assert_eq!((records.len(), cut, end), (all.len() + 2, 0, span.end), "one of three is lost");
    assert!(matches!(&holes[..], [hole] if hole.records && hole.end() < span.end), "{holes:?}");
    let opened = Log::open_beside(dir.path(), SMALL, || Ok(Some(span.end))).map(|_| ());
    assert!(matches!(opened, Err(LogError::Damaged { offset, .. }) if offset == span.start.offset));
    assert_eq!(fs::read(&file).unwrap(), damaged, "nothing was changed");
    let opened = Log::open_beside(dir.path(), SMALL, || Ok::<_, LogError>(Some(span.start)));
    assert!(opened.unwrap().1.cut.is_some());
}

/// The last batch of a segment that is as long as what is known, and one that ends before it.
#[test]
fn an_end_that_is_missing_is_seen_by_whoever_knows_of_it() {
    let (dir, all) = made();
    let (_, end) = salvaged_beside(dir.path(), Pos::START).unwrap();
    let last = all.last().unwrap();
    assert_eq!(end, last.next);
    edit(&segment::path(dir.path(), 3), |bytes| bytes[last.pos.offset as usize..].fill(0));
    let ((_, holes, _), cut) = salvaged_beside(dir.path(), end).unwrap();
    assert!(cut < end, "{cut}, {holes:?}");
    let hole = Hole::behind(dir.path(), cut, end);
    assert_eq!((hole.from, hole.end()), (cut.offset, end));
}

#[test]
fn looking_changes_nothing() {
    let (dir, all) = made();
    let unfinished = dir.path().join("00000000000000000004.log.tmp");
    fs::write(&unfinished, b"half").unwrap();
    let (records, holes, _) = salvaged(dir.path()).unwrap();
    assert_eq!((records.len(), holes.len()), (all.len(), 0));
    assert!(unfinished.exists());
    open(dir.path());
    assert!(!unfinished.exists(), "opening sees to it");
}
