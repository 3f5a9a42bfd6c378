//! The index over a store that forgets, a store that lies, and sled on damaged files.

mod open;
mod overlay;
mod random;
mod scrub;
mod sled;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::row::{ROOT, Root, seal};
use super::*;
use crate::store::{MemoryStore, Store};

/// Options for an index whose engine hands out these stores, one for each time it is asked, then new ones.
fn options(dir: &Path, stores: Vec<Arc<dyn Store>>) -> IndexOptions {
    let stores = Mutex::new(stores.into_iter());
    IndexOptions {
        dir: dir.to_path_buf(),
        engine: Box::new(move |_| {
            let next = stores.lock().unwrap_or_else(PoisonError::into_inner).next();
            Ok(next.unwrap_or_else(|| Arc::new(MemoryStore::default())))
        }),
        overlay_bytes: 1 << 20,
        pace: Pace::default(),
        before_apply: Box::new(|_| Ok(())),
        in_log: Box::new(|_| true),
    }
}

fn open_over(dir: &Path, store: &Arc<MemoryStore>) -> (Index, Opened) {
    let store = Arc::clone(store) as Arc<dyn Store>;
    Index::open(options(dir, vec![store])).expect("the index opens")
}

fn change(index: &Index, key: &str, value: Option<&str>) -> Staged {
    let old = index.get(key.as_bytes()).expect("readable").map(|item| item.check);
    let new = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Staged { key: Bytes::copy_from_slice(key.as_bytes()), old, new }
}

fn put(index: &Index, key: &str, value: &str, position: u8) {
    index.stage(&[change(index, key, Some(value))], [position; 16]);
}

fn rows(index: &Index) -> Vec<(String, String)> {
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    index.scan(&[1], None).map(|row| row.expect("sound")).map(|(k, v)| (text(k), text(v))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
