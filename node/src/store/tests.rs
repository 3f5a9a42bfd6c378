//! The suite over the engines of this crate, and what is sled's alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;

const CACHE: u64 = 8 << 20;

#[test]
fn memory_does_what_a_store_must() {
    let made: RefCell<BTreeMap<PathBuf, Arc<MemoryStore>>> = RefCell::default();
    suite::check(&|dir| {
        let store = Arc::clone(made.borrow_mut().entry(dir.to_path_buf()).or_default());
        Ok(store)
    });
}

#[test]
fn sled_does_what_a_store_must() {
    suite::check(&|dir| open_sled(dir, CACHE));
}

#[test]
fn sled_is_opened_beside_an_unfinished_snapshot() {
    let dir = tempfile::tempdir().expect("a directory");
    let put = |value: &'static str| [(Bytes::from_static(b"k"), Some(Bytes::from_static(value.as_bytes())))];
    let store = open_sled(dir.path(), CACHE).expect("opens");
    store.apply(&put("v")).expect("applied");
    store.checkpoint().expect("durable");
    drop(store);
    fs::write(dir.path().join("snap.00000000000FFFFF.generating"), b"cut sho").expect("planted");
    let store = open_sled(dir.path(), CACHE).expect("opens all the same");
    assert_eq!(store.get(b"k"), Ok(Some(Bytes::from_static(b"v"))));
}

#[test]
fn a_store_that_is_open_elsewhere_is_not_taken_for_a_damaged_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let _held = open_sled(dir.path(), CACHE).expect("opens");
    let second = open_sled(dir.path(), CACHE);
    assert!(matches!(second.err(), Some(StoreError::Io { .. })));
}

#[test]
fn a_full_disk_is_asked_for_and_not_taken_for_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(require_free(dir.path(), 1), Ok(()));
    let path = dir.path().to_path_buf();
    assert_eq!(
        require_free(dir.path(), u64::MAX),
        Err(StoreError::Full { path: path.clone(), needed: u64::MAX })
    );
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert_eq!(file_error(dir.path(), 9, &full), StoreError::Full { path, needed: 9 });
    let short = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    assert!(matches!(file_error(dir.path(), 9, &short), StoreError::Corrupt(_)));
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    assert!(matches!(file_error(dir.path(), 9, &denied), StoreError::Io { .. }));
}

#[test]
fn a_panic_of_an_engine_is_damage() {
    let answer: Result<(), _> = guarded(|| panic!("index out of bounds: {}", 7));
    let Err(StoreError::Corrupt(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("index out of bounds: 7"), "{why}");
}

/// Scans and batches at the same time, without either waiting for the other.
#[test]
fn sled_scans_see_one_moment_while_another_thread_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_sled(dir.path(), CACHE).expect("opens");
    let keys: Vec<Bytes> = (0..400_u32).map(|n| Bytes::copy_from_slice(&n.to_be_bytes())).collect();
    // Round n writes n into every row, except those it removes: the same for every round of a kind.
    let batch = |round: u32| -> Vec<Put> {
        let value = Bytes::copy_from_slice(&round.to_be_bytes());
        let row =
            |(n, key): (usize, &Bytes)| (key.clone(), (n as u32 % 5 != round % 5).then(|| value.clone()));
        keys.iter().enumerate().map(row).collect()
    };
    store.apply(&batch(0)).expect("applied");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (1..150).for_each(|round| store.apply(&batch(round)).expect("applied")));
        while !writer.is_finished() {
            let rows: Vec<(Bytes, Bytes)> = store.scan(&[], None).map(|row| row.expect("sound")).collect();
            let round = u32::from_be_bytes(rows[0].1.as_ref().try_into().expect("four bytes"));
            let expected: Vec<_> =
                batch(round).into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            assert!(rows == expected, "a scan that began in round {round}");
        }
    });
}

/// Without a collection after each batch, a thread that only writes keeps every page it has replaced.
#[test]
fn sled_frees_what_a_writing_thread_replaces() {
    let resident = || -> u64 {
        let status = fs::read_to_string("/proc/self/statm").expect("readable");
        status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4_096
    };
    let dir = tempfile::tempdir().expect("a directory");
    // Far more rows than the cache holds, and batches that touch each page once.
    let store = open_sled(dir.path(), 1 << 20).expect("opens");
    let batch = |round: u8, part: u32| -> Vec<Put> {
        let key = |n: u32| Bytes::copy_from_slice(&(n * 20 + part).to_be_bytes());
        (0..2_000).map(|n| (key(n), Some(Bytes::from(vec![round; 400])))).collect()
    };
    for part in 0..20 {
        store.apply(&batch(0, part)).expect("applied");
    }
    let before = resident();
    for round in 1..3 {
        for part in 0..20 {
            store.apply(&batch(round, part)).expect("applied");
        }
    }
    let grown = resident().saturating_sub(before) >> 20;
    assert!(grown < 96, "{grown} MiB more after each of 40,000 rows was written twice again");
}

/// Scans find the files of an engine by their paths.
#[test]
fn a_store_is_not_replaced_while_it_is_scanned() {
    let store = Guarded::open(|| Ok(Arc::<MemoryStore>::default())).expect("opens");
    store.apply(&[(Bytes::from_static(b"k"), Some(Bytes::from_static(b"v")))]).expect("applied");
    let replace = || store.replace(Duration::from_millis(50), || Ok(Arc::<MemoryStore>::default()));
    let scan = store.scan(b"", None);
    assert_eq!(replace(), Ok(false));
    assert_eq!(store.get(b"k"), Ok(Some(Bytes::from_static(b"v"))), "it is there yet");
    drop(scan);
    assert_eq!(replace(), Ok(true));
    assert_eq!(store.get(b"k"), Ok(None));
}
