//! What every engine must do. The hub runs the same over its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Put, Store, StoreError};

/// Opens the engine under test in a directory.
pub(super) type Open<'a> = &'a dyn Fn(&Path) -> Result<Arc<dyn Store>, StoreError>;

/// Runs everything over an engine.
#[track_caller]
pub(super) fn check(open: Open<'_>) {
    for case in [reads_back, ranges, a_scan_stays_at_its_moment, random_batches, large_rows] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path()).expect("the store opens");
        case(store.as_ref());
    }
    reopens(open);
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> Put {
    (bytes(key), Some(bytes(value)))
}

fn rows(store: &dyn Store, from: &str, to: Option<&str>) -> Vec<(String, String)> {
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    let rows = store.scan(from.as_bytes(), to.map(str::as_bytes));
    rows.map(|row| row.expect("a sound row")).map(|(key, value)| (text(key), text(value))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn reads_back(store: &dyn Store) {
    assert_eq!(store.get(b"a"), Ok(None));
    store.apply(&[put("a", "1"), put("b", ""), put("c", "3")]).expect("applied");
    store.apply(&[(bytes("a"), None), put("c", "4"), (bytes("never"), None)]).expect("applied");
    assert_eq!(store.get(b"a"), Ok(None));
    assert_eq!(store.get(b"b"), Ok(Some(Bytes::new())));
    assert_eq!(store.get(b"c"), Ok(Some(bytes("4"))));
    store.apply(&[]).expect("an empty batch is nothing");
    store.checkpoint().expect("durable");
}

fn ranges(store: &dyn Store) {
    store.apply(&[put("\0", "root"), put("a", "1"), put("ab", "2"), put("b", "3")]).expect("applied");
    let all = pairs(&[("\0", "root"), ("a", "1"), ("ab", "2"), ("b", "3")]);
    assert_eq!(rows(store, "", None), all);
    assert_eq!(rows(store, "a", Some("b")), all[1..3]);
    assert_eq!(rows(store, "aa", None), all[2..]);
    assert_eq!(rows(store, "b", Some("b")), []);
    assert_eq!(rows(store, "c", Some("b")), []);
    assert_eq!(rows(store, "c", None), []);
}

fn a_scan_stays_at_its_moment(store: &dyn Store) {
    let names: Vec<String> = (0..200).map(|n| format!("k{n:03}")).collect();
    let batch = |value: &str| names.iter().step_by(2).map(|name| put(name, value)).collect::<Vec<_>>();
    store.apply(&batch("old")).expect("applied");
    let mut scan = store.scan(b"k", Some(b"l"));
    let mut seen = Vec::new();
    // Before each row of the first scan: rows behind it and before it change, come, and go.
    for round in 0.. {
        let at = (round * 7) % 200;
        let mut changes: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        for far in [1, 3, 50, 120] {
            let name = bytes(&names[(at + far) % 200]);
            changes.insert(name, (round % 3 > 0).then(|| bytes(&format!("new{round}"))));
        }
        store.apply(&changes.into_iter().collect::<Vec<_>>()).expect("applied");
        let Some(row) = scan.next() else { break };
        seen.push(row.expect("a sound row"));
    }
    let expected: Vec<_> = names.iter().step_by(2).map(|name| (bytes(name), bytes("old"))).collect();
    assert_eq!(seen, expected);
}

fn random_batches(store: &dyn Store) {
    let mut random = 0x5eed_u64;
    let mut next = move || {
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut model: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    for round in 0..60 {
        // Now and then a batch that an engine may take another way.
        let (count, size) =
            if round % 20 == 10 { (3_000, 2_000) } else { (1 + next() % 80, 1 + next() % 300) };
        let mut batch: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        for _ in 0..count {
            let key = bytes(&format!("{:04}", next() % 4_000));
            let value = (!next().is_multiple_of(4)).then(|| Bytes::from(vec![next() as u8; size as usize]));
            batch.insert(key, value);
        }
        for (key, value) in &batch {
            match value {
                Some(value) => model.insert(key.clone(), value.clone()),
                None => model.remove(key),
            };
        }
        store.apply(&batch.into_iter().collect::<Vec<_>>()).expect("applied");
        if round % 7 == 0 {
            store.checkpoint().expect("durable");
        }
        let key = bytes(&format!("{:04}", next() % 4_000));
        assert_eq!(store.get(&key).as_ref().map(Option::as_ref), Ok(model.get(&key)), "round {round}");
    }
    let found: Vec<_> = store.scan(&[], None).map(|row| row.expect("a sound row")).collect();
    assert!(found.iter().map(|(key, value)| (key, value)).eq(model.iter()), "scan and model differ");
}

fn large_rows(store: &dyn Store) {
    let large = Bytes::from(vec![7; 1 << 20]);
    let batch: Vec<Put> = (0..8).map(|n| (bytes(&format!("large{n}")), Some(large.clone()))).collect();
    store.apply(&batch).expect("applied");
    store.checkpoint().expect("durable");
    assert_eq!(store.get(b"large5"), Ok(Some(large)));
}

fn reopens(open: Open<'_>) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).expect("the store opens");
    store.apply(&[put("a", "1"), put("b", "2")]).expect("applied");
    store.apply(&[(bytes("a"), None)]).expect("applied");
    store.checkpoint().expect("durable");
    drop(store);
    let store = open(dir.path()).expect("it opens again");
    assert_eq!(rows(store.as_ref(), "", None), pairs(&[("b", "2")]));
}
