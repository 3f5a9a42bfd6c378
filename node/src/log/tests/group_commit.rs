//! Many writers share one sync, and none is told that it is done too early.

use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use super::super::LogError;
use super::*;

const THREADS: usize = 8;

#[test]
fn one_sync_serves_all_who_wait() {
    const ROUNDS: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), Options::default()).unwrap();
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, barrier) = (&log, &barrier);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let end = append(log, &[&payload(thread * ROUNDS + round, 60)]).end;
                    // Everybody has appended before anybody asks, so the first sync covers them all.
                    barrier.wait();
                    log.sync_to(end).unwrap();
                    assert!(log.synced() >= end);
                    barrier.wait();
                }
            });
        }
    });
    // The first was when it was opened.
    assert_eq!(log.syncs(), 1 + ROUNDS as u64);
    assert_eq!(records(&log).len(), THREADS * ROUNDS);
}

#[test]
fn writers_that_come_during_a_sync_share_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let (entered, leader_is_syncing) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    *log.disk.faults.before_sync.lock().unwrap() = Some(Box::new(move || {
        entered.send(()).unwrap();
        // Waits in the first sync only: after it, nobody holds the other side.
        let _ = gate.recv();
    }));
    std::thread::scope(|scope| {
        let first = append(&log, &[b"first"]).end;
        let log = &log;
        scope.spawn(move || log.sync_to(first).unwrap());
        leader_is_syncing.recv().unwrap();
        let ends: Vec<Pos> = (0..THREADS).map(|number| append(log, &[&payload(number, 20)]).end).collect();
        assert!(log.synced() < first);
        for end in ends {
            scope.spawn(move || log.sync_to(end).unwrap());
        }
        drop(go_on);
    });
    assert_eq!((log.syncs(), log.synced()), (1 + 2, log.end()));
}

#[test]
fn free_running_writers_lose_nothing() {
    const APPENDS: usize = 150;
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), Options { segment_bytes: 16 << 10, ..SMALL }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                for round in 0..APPENDS {
                    append_synced(log, &[&payload(thread * APPENDS + round, 100)]);
                }
            });
        }
    });
    println!("{} syncs for {} appends", log.syncs(), THREADS * APPENDS);
    drop(log);
    let (log, opened) = Log::open(dir.path(), SMALL).unwrap();
    assert_eq!(opened.cut, None);
    let mut numbers: Vec<usize> = payloads(&log)
        .iter()
        .map(|payload| std::str::from_utf8(payload).unwrap().split_once('.').unwrap().0.parse().unwrap())
        .collect();
    // Each writer's records in its own order; all of them there.
    for thread in 0..THREADS {
        let own = numbers.iter().filter(|&&number| number / APPENDS == thread);
        assert!(own.is_sorted());
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..THREADS * APPENDS));
}

#[test]
fn a_segment_is_synced_to_its_end_before_there_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, &[b"one"]);
    append(&log, &[&payload(2, 500)]);
    assert_eq!((log.end().segment, log.syncs()), (2, 1 + 1));
    assert_eq!(log.synced(), Pos { segment: 2, offset: 40 });
    let end = log.end();

    log.disk.faults.no_sync.store(true, Ordering::Relaxed);
    let refused = log.append(&batch(&[&payload(3, 500)]), 0);
    assert!(matches!(refused, Err(LogError::Broken { .. })), "{refused:?}");
    assert_eq!(log.end(), end);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no third segment, not even a half made one");
}

#[test]
fn after_a_failed_sync_nothing_is_promised_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let saved = append_synced(&log, &[b"saved"]).end;
    let lost = append(&log, &[b"perhaps lost"]).end;
    log.disk.faults.no_sync.store(true, Ordering::Relaxed);
    let refused = log.sync_to(lost).unwrap_err().to_string();
    assert!(refused.contains("00000000000000000001.log") && refused.contains("medium error"), "{refused}");

    // The disk seems fine again, but what it says is worth nothing now.
    log.disk.faults.no_sync.store(false, Ordering::Relaxed);
    assert!(matches!(log.sync_to(lost), Err(LogError::Broken { .. })));
    assert!(matches!(log.sync_to(saved), Err(LogError::Broken { .. })));
    assert!(matches!(log.append(&batch(&[b"x"]), 0), Err(LogError::Broken { .. })));
    assert!(matches!(log.read(Pos::START).next(), Some(Err(LogError::Broken { .. }))));
    assert!(matches!(log.verify(&mut |_, _| {}), Err(LogError::Broken { .. })));
    assert_eq!((log.synced(), log.syncs()), (saved, 1 + 2));
}
