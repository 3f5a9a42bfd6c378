//! One suite over the engines, and sled after what crashes and disks do to it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{MemoryStore, Store, StoreError, open_sled};
use crate::index::{Index, IndexOptions, Opened, Staged};

const CACHE: u64 = 8 << 20;

fn row(key: &'static str, value: Option<&'static str>) -> (Bytes, Option<Bytes>) {
    (Bytes::from_static(key.as_bytes()), value.map(|value| Bytes::from_static(value.as_bytes())))
}

fn keys(store: &dyn Store, from: &str, to: Option<&str>) -> Vec<String> {
    let rows = store.scan(from.as_bytes(), to.map(str::as_bytes));
    rows.map(|row| String::from_utf8_lossy(&row.expect("sound").0).into_owned()).collect()
}

fn suite(store: &dyn Store) {
    store.apply(&[row("a", Some("1")), row("b", Some("2")), row("c", Some("3"))]).expect("applied");
    assert_eq!(store.get(b"b").expect("readable"), Some(Bytes::from_static(b"2")));
    assert_eq!(store.get(b"x").expect("readable"), None);
    assert_eq!(keys(store, "a", None), ["a", "b", "c"]);
    assert_eq!(keys(store, "b", Some("c")), ["b"], "the end is not part of a range");
    store.apply(&[row("a", Some("4")), row("b", None)]).expect("applied");
    assert_eq!(keys(store, "", None), ["a", "c"]);
    assert_eq!(store.get(b"a").expect("readable"), Some(Bytes::from_static(b"4")));
    store.checkpoint().expect("durable");
}

#[test]
fn every_engine_is_an_ordered_map() {
    suite(&MemoryStore::default());
    let dir = tempfile::tempdir().expect("a directory");
    suite(open_sled(dir.path(), CACHE).expect("opens").as_ref());
}

#[test]
fn a_snapshot_left_half_written_does_not_keep_sled_from_opening() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_sled(dir.path(), CACHE).expect("opens");
    store.apply(&[row("a", Some("1"))]).expect("applied");
    store.checkpoint().expect("durable");
    drop(store);
    fs::write(dir.path().join("snap.00000000000000FF.generating"), b"half").expect("planted");
    let store = open_sled(dir.path(), CACHE).expect("opens all the same");
    assert_eq!(store.get(b"a").expect("readable"), Some(Bytes::from_static(b"1")));
}

fn open_index(dir: &Path) -> (Index, Opened) {
    Index::open(IndexOptions {
        dir: dir.to_path_buf(),
        engine: Box::new(|dir| open_sled(dir, CACHE)),
        overlay_bytes: 1 << 20,
        before_apply: Box::new(|_| Ok(())),
        in_log: Box::new(|_| true),
    })
    .expect("the index opens, whatever the store looks like")
}

const ROWS: u32 = 400;

fn value(n: u32) -> Bytes {
    Bytes::from(format!("value {n} {}", "x".repeat(n as usize % 90)))
}

/// An index over sled with rows in it, stopped cleanly or not.
fn filled(dir: &Path, clean: bool) {
    let (index, _) = open_index(dir);
    let staged = |n: u32| Staged { key: Bytes::from(format!("r{n:05}")), old: None, new: Some(value(n)) };
    index.stage(&(0..ROWS).map(staged).collect::<Vec<_>>(), [1; 16]);
    if clean { index.close().expect("closed") } else { index.flush().expect("stored") }
}

/// After damage the index answers as before, or begins anew and says so, or names a row as damaged; it never
/// answers wrongly and never panics.
#[track_caller]
fn never_wrong(dir: &Path, what: &str) {
    let (index, opened) = open_index(dir);
    if opened.rebuilt.is_some() {
        assert_eq!(opened.position, None, "{what}: everything is replayed");
    }
    if opened.position.is_none() {
        // What is left must be nothing at all: the log is folded into it from its start.
        assert_eq!(index.scan(&[1], None).count(), 0, "{what}");
        return;
    }
    for n in 0..ROWS {
        if let Ok(found) = index.get(format!("r{n:05}").as_bytes()) {
            assert_eq!(found.map(|item| item.value), Some(value(n)), "{what}: row {n}");
        }
    }
}

#[test]
fn a_truncated_store_is_noticed() {
    for part in [1, 3, 7] {
        let dir = tempfile::tempdir().expect("a directory");
        filled(dir.path(), false);
        let db = dir.path().join("store").join("db");
        let length = fs::metadata(&db).expect("there").len();
        let file = fs::OpenOptions::new().write(true).open(&db).expect("writable");
        file.set_len(length * part / 8).expect("cut");
        never_wrong(dir.path(), &format!("cut to {part}/8"));
    }
}

#[test]
fn a_flipped_bit_in_the_store_never_makes_a_wrong_answer() {
    let seed: u64 = std::env::var("LIANDONG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut state = seed;
    for round in 0..24 {
        let dir = tempfile::tempdir().expect("a directory");
        filled(dir.path(), false);
        let db = dir.path().join("store").join("db");
        let mut bytes = fs::read(&db).expect("readable");
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (at, bit) = ((state >> 20) % used, state >> 60 & 7);
        bytes[at as usize] ^= 1 << bit;
        fs::write(&db, bytes).expect("written");
        never_wrong(dir.path(), &format!("LIANDONG_SEED={seed} round {round}: bit {bit} of byte {at}"));
    }
}

#[test]
fn a_store_that_panics_at_open_is_moved_aside_and_begun_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path(), true);
    let mut calls = 0;
    let count = std::sync::Mutex::new(move || {
        calls += 1;
        calls
    });
    let (_, opened) = Index::open(IndexOptions {
        dir: dir.path().to_path_buf(),
        engine: Box::new(move |dir| {
            let call = (count.lock().expect("nobody panics while counting"))();
            if call == 1 {
                return super::sled::guarded(|| panic!("planted"))
                    .map(|(): ()| -> Arc<dyn Store> { Arc::new(MemoryStore::default()) });
            }
            open_sled(dir, CACHE)
        }),
        overlay_bytes: 1 << 20,
        before_apply: Box::new(|_| Ok(())),
        in_log: Box::new(|_| true),
    })
    .expect("the index opens");
    let rebuilt = opened.rebuilt.expect("it says so");
    assert!(rebuilt.why.contains("planted"), "{}", rebuilt.why);
    assert!(
        rebuilt.kept.expect("kept").join("db").exists(),
        "the damaged store is there for whoever wants to look"
    );
}

#[test]
fn a_full_disk_is_not_taken_for_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path(), true);
    let opened = Index::open(IndexOptions {
        dir: dir.path().to_path_buf(),
        engine: Box::new(|dir| Err(StoreError::Full { path: dir.to_path_buf(), needed: 1 })),
        overlay_bytes: 1 << 20,
        before_apply: Box::new(|_| Ok(())),
        in_log: Box::new(|_| true),
    });
    assert!(opened.is_err());
    assert!(dir.path().join("store").join("db").exists(), "nothing was moved");
}
