//! The index over a store that forgets and a store that lies.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::store::MemoryStore;

fn open_over(dir: &Path, store: &Arc<MemoryStore>) -> (Index, Opened) {
    let mut first = Some(Arc::clone(store));
    // A store that was moved aside does not come back: the second call begins a new one.
    let calls = std::sync::Mutex::new(move || first.take().unwrap_or_default());
    Index::open(IndexOptions {
        dir: dir.to_path_buf(),
        engine: Box::new(move |_| {
            let store: Arc<dyn Store> = (calls.lock().unwrap_or_else(PoisonError::into_inner))();
            Ok(store)
        }),
        overlay_bytes: 1 << 20,
        before_apply: Box::new(|_| Ok(())),
        in_log: Box::new(|_| true),
    })
    .expect("the index opens")
}

fn put(index: &Index, key: &str, value: &str, position: u8) {
    let old = index.get(key.as_bytes()).expect("readable").map(|item| item.check);
    let key = Bytes::copy_from_slice(key.as_bytes());
    let new = Some(Bytes::copy_from_slice(value.as_bytes()));
    index.stage(&[Staged { key, old, new }], [position; 16]);
}

fn rows(index: &Index) -> Vec<(String, String)> {
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    index.scan(&[1], None).map(|row| row.expect("sound")).map(|(k, v)| (text(k), text(v))).collect()
}

#[test]
fn what_is_staged_is_seen_at_once_and_after_it_is_stored() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, opened) = open_over(dir.path(), &store);
    assert_eq!(opened.position, None);
    put(&index, "b", "1", 1);
    put(&index, "a", "2", 2);
    let expected = [("a".to_owned(), "2".to_owned()), ("b".to_owned(), "1".to_owned())];
    assert_eq!(rows(&index), expected);
    index.flush().expect("stored");
    assert_eq!(index.lag(), 0);
    put(&index, "b", "3", 3);
    let gone = index.get(b"a").expect("readable").expect("there");
    index.stage(&[Staged { key: Bytes::from_static(b"a"), old: Some(gone.check), new: None }], [4; 16]);
    assert_eq!(rows(&index), [("b".to_owned(), "3".to_owned())]);
    assert_eq!(index.verify(&mut |_, _| {}).expect("sound").count, 1);
}

#[test]
fn a_power_loss_goes_back_to_the_position_of_the_last_checkpoint() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    put(&index, "a", "1", 1);
    index.flush().expect("stored");
    put(&index, "a", "2", 2);
    drop(index);
    store.lose_power();
    let (index, opened) = open_over(dir.path(), &store);
    assert_eq!((opened.position, opened.rebuilt), (Some([1; 16]), None));
    assert_eq!(rows(&index), [("a".to_owned(), "1".to_owned())]);
}

#[test]
fn a_flipped_bit_is_found_when_read_and_at_an_unclean_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    put(&index, "a", "1", 1);
    index.close().expect("closed");
    drop(index);
    let mut bent = store.get(b"a").expect("readable").expect("there").to_vec();
    bent[0] ^= 1;
    store.damage(b"a", bent.into());
    let (index, opened) = open_over(dir.path(), &store);
    assert!(opened.rebuilt.is_none(), "a clean stop is trusted");
    assert!(matches!(index.get(b"a"), Err(IndexError::Damaged { prefix: 'a' })));
    drop(index);
    let (index, opened) = open_over(dir.path(), &store);
    assert!(opened.rebuilt.is_some());
    assert_eq!(opened.position, None);
    assert!(rows(&index).is_empty());
}

#[test]
fn a_clean_stop_is_trusted_and_an_unclean_one_is_looked_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    put(&index, "a", "1", 1);
    index.close().expect("closed");
    drop(index);
    // A row too many: only a look at all of it finds that.
    store.damage(b"x", seal(b"x", b"y").0);
    let (index, opened) = open_over(dir.path(), &store);
    assert!(opened.rebuilt.is_none(), "a clean stop is trusted");
    drop(index);
    let (_, opened) = open_over(dir.path(), &store);
    assert!(opened.rebuilt.is_some(), "an unclean one is looked at");
}

#[test]
fn the_store_is_never_ahead_of_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let engine = Arc::clone(&store);
    let (index, _) = Index::open(IndexOptions {
        dir: dir.path().to_path_buf(),
        engine: Box::new(move |_| {
            let store: Arc<dyn Store> = Arc::clone(&engine) as Arc<dyn Store>;
            Ok(store)
        }),
        overlay_bytes: 1 << 20,
        before_apply: Box::new(|_| Err("the log cannot be synced".into())),
        in_log: Box::new(|_| true),
    })
    .expect("the index opens");
    put(&index, "a", "1", 1);
    assert!(index.flush().is_err());
    assert_eq!(store.get(b"a").expect("readable"), None);
    assert_eq!(rows(&index), [("a".to_owned(), "1".to_owned())], "nothing is lost by it");
}

#[test]
fn an_index_ahead_of_its_log_begins_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    put(&index, "a", "1", 9);
    index.close().expect("closed");
    drop(index);
    let fresh = Mutex::new(Some(store));
    let (index, opened) = Index::open(IndexOptions {
        dir: dir.path().to_path_buf(),
        engine: Box::new(move |_| {
            let next = fresh.lock().unwrap_or_else(PoisonError::into_inner).take();
            let store: Arc<dyn Store> = next.unwrap_or_default();
            Ok(store)
        }),
        overlay_bytes: 1 << 20,
        before_apply: Box::new(|_| Ok(())),
        in_log: Box::new(|position| position < [9; 16]),
    })
    .expect("the index opens");
    assert!(opened.rebuilt.is_some() && opened.position.is_none());
    assert!(rows(&index).is_empty());
}
