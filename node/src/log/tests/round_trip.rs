//! What goes in comes out, over several segments and reopens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::{Batch, LogError};
use super::*;

fn shared<T: Send + Sync>() {}

#[test]
fn the_log_can_be_shared() {
    shared::<Arc<Log>>();
    shared::<super::super::Reader>();
}

#[test]
fn records_come_back_over_segments_and_reopens() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for life in 0..4 {
        let (log, opened) = open(dir.path());
        assert_eq!(opened.cut, None);
        assert_eq!(payloads(&log), expected);
        for number in 0..10 {
            let payload = payload(life * 10 + number, 100);
            append_synced(&log, &[&payload, b""]);
            expected.extend([payload, Vec::new()]);
        }
        assert_eq!(payloads(&log), expected);
    }
    let (log, opened) = open(dir.path());
    assert!(opened.end.segment > 5, "{opened:?}");
    let mut told = Vec::new();
    let verified = log.verify(&mut |done, total| told.push((done, total))).unwrap();
    assert_eq!((verified.segments, verified.records), (opened.end.segment, expected.len() as u64));
    assert_eq!(told.last(), Some(&(verified.bytes, verified.bytes)));
}

#[test]
fn kinds_and_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let mut batch = Batch::new();
    batch.push(0, &[b"a", b"", b"bc"]);
    batch.push(255, &[]);
    assert_eq!((batch.len(), batch.bytes()), (2, 20 + 12 + 9));
    let span = log.append(&batch, 0).unwrap();
    assert_eq!(span.end.offset - span.start.offset, batch.bytes());
    let found = records(&log);
    assert_eq!((found[0].kind, &found[0].payload[..]), (0, &b"abc"[..]));
    assert_eq!((found[1].kind, &found[1].payload[..]), (255, &b""[..]));

    batch.clear();
    assert!(batch.is_empty());
    assert_eq!(log.append(&batch, 0).unwrap(), Span { start: span.end, end: span.end });
}

#[test]
fn every_place_can_be_read_from() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let mut placed = Vec::new();
    for number in 0..12 {
        let (one, two) = (payload(number, 70), payload(number, 30));
        let batch = batch(&[&one, &two]);
        let span = log.append(&batch, 0).unwrap();
        placed.push((span.start, one.clone()));
        placed.extend([(span.pos_of(&batch, 0).unwrap(), one), (span.pos_of(&batch, 1).unwrap(), two)]);
        assert_eq!(span.pos_of(&batch, 2), None);
    }
    for (pos, payload) in placed {
        assert_eq!(log.read(pos).next().unwrap().unwrap().payload, payload, "{pos}");
    }
    let all = records(&log);
    for (index, record) in all.iter().enumerate() {
        let rest: Vec<_> = log.read(record.next).map(Result::unwrap).collect();
        assert_eq!(rest, all[index + 1..], "from {}", record.next);
    }
    assert!(log.read(log.end()).next().is_none());
}

#[test]
fn places_the_log_does_not_have() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let end = append(&log, &[b"one"]).end;
    for pos in
        [Pos { offset: end.offset + 1, ..end }, Pos { segment: 2, offset: 40 }, Pos::from_bytes([255; 16])]
    {
        let mut reader = log.read(pos);
        assert!(matches!(reader.next(), Some(Err(LogError::NoSuchPos { pos: at, .. })) if at == pos));
        assert!(reader.next().is_none());
        assert!(matches!(log.sync_to(pos), Err(LogError::NoSuchPos { .. })));
    }
}

#[test]
fn a_batch_larger_than_a_segment_gets_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let large = payload(1, 3000);
    append(&log, &[b"before"]);
    append_synced(&log, &[&large]);
    append_synced(&log, &[b"after"]);
    assert_eq!(log.end().segment, 3);
    assert_eq!(payloads(&log), [b"before".to_vec(), large, b"after".to_vec()]);
    drop(log);
    assert_eq!(records(&open(dir.path()).0).len(), 3);
}

#[test]
fn records_larger_than_a_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), Options::default()).unwrap();
    let sizes = [10, 300 << 10, 1 << 20, 5, (256 << 10) - 9, 256 << 10, 7];
    let written: Vec<_> = sizes.iter().enumerate().map(|(number, &size)| payload(number, size)).collect();
    for payload in &written {
        append(&log, &[payload]);
    }
    assert_eq!(payloads(&log), written);
}

#[test]
fn too_long_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let end = append(&log, &[b"one"]).end;
    let refused = log.append(&batch(&[b"two", &[1; 4097]]), 0);
    assert!(matches!(refused, Err(LogError::TooLong { bytes: 4097, max: 4096 })), "{refused:?}");
    let huge = vec![1; 1 << 20];
    let mut batch = Batch::new();
    batch.push(1, &vec![&huge[..]; 1024]);
    let (log2, _) = Log::open(dir.path(), Options { max_record_bytes: u32::MAX, ..SMALL }).unwrap();
    assert!(matches!(log2.append(&batch, 0), Err(LogError::TooLong { .. })));
    assert_eq!((log.end(), log2.end()), (end, end));
}

#[test]
fn marks_find_segments_and_never_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    for mark in 1..60 {
        log.append(&batch(&[mark.to_string().as_bytes(), &[b'x'; 40]]), mark).unwrap();
    }
    let segments = log.end().segment;
    assert!(segments > 5);
    let check = |log: &Log| {
        for mark in 1..60 {
            let found = log.read(log.seek(mark)).map(|record| record.unwrap().payload);
            let steps = found.take_while(|payload| *payload != mark.to_string()).count();
            assert!(steps < 12, "{steps} records between the place for {mark} and its record");
        }
        assert_eq!(log.seek(0), Pos { segment: 1, offset: 40 });
        assert_eq!(log.seek(u64::MAX).segment, segments);
        assert!(matches!(
            log.append(&batch(&[b"x"]), 1),
            Err(LogError::MarkWentBack { given: 1, last }) if last > 50
        ));
    };
    check(&log);
    log.sync_to(log.end()).unwrap();
    drop(log);
    check(&open(dir.path()).0);
}

#[test]
fn places_sort_as_their_bytes_do() {
    let places = [(0, 0), (1, 40), (1, 256), (2, 0), (256, 1), (u64::MAX, 0)];
    let places = places.map(|(segment, offset)| Pos { segment, offset });
    assert!(places.is_sorted() && places.map(Pos::to_bytes).is_sorted());
    assert_eq!(places.map(|pos| Pos::from_bytes(pos.to_bytes())), places);
}

#[test]
fn reading_goes_on_while_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), Options { segment_bytes: 8192, ..SMALL }).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) || rounds == 0 {
                for (number, payload) in payloads(&log).iter().enumerate() {
                    assert!(payload.starts_with(format!("{number}.").as_bytes()), "record {number}");
                }
                rounds += 1;
            }
        });
        for number in 0..2000 {
            append(&log, &[&payload(number, number % 90)]);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(records(&log).len(), 2000);
}
