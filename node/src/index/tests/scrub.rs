//! A copy in place of the store: nothing old stays, nothing shown changes.

use std::fs;

use super::*;
use crate::store::open_sled;

const OLD: &str = "the old value";

fn open(dir: &Path) -> (Index, Opened) {
    let mut options = options(dir, Vec::new());
    options.engine = Box::new(|dir: &Path| open_sled(dir, 4 << 20));
    Index::open(options).expect("the index opens")
}

fn holds_old(dir: &Path) -> bool {
    fs::read_dir(dir).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return holds_old(&path);
        }
        fs::read(path).expect("readable").windows(OLD.len()).any(|window| window == OLD.as_bytes())
    })
}

#[test]
fn no_old_value_stays_on_the_disk_and_everything_is_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("index");
    let (index, _) = open(&place);
    for n in 0..50 {
        put(&index, &format!("r{n:02}"), OLD, 1);
    }
    index.flush().expect("stored");
    for n in 0..50 {
        put(&index, &format!("r{n:02}"), "new", 2);
    }
    index.stage(&[change(&index, "r07", None)], [3; 16]);
    let (shown, digest) = (rows(&index), index.digest());
    assert!(holds_old(&place));
    let mut scan = index.scan(&[1], None);
    let first = scan.next().expect("a row").expect("sound");
    index.scrub().expect("scrubbed");
    assert!(!holds_old(&place));
    assert_eq!((rows(&index), index.digest(), index.lag()), (shown.clone(), digest, 0));
    let rest = scan.inspect(|row| assert!(row.is_ok(), "a scan on its way goes on")).count();
    assert_eq!((first.0.as_ref(), rest + 1), (b"r00".as_slice(), shown.len()));
    put(&index, "r99", "later", 4);
    index.verify(&mut |_, _| {}).expect("sound");
    index.close().expect("closed");
    drop(index);
    let (index, opened) = open(&place);
    assert_eq!((opened.position, opened.rebuilt), (Some([4; 16]), None));
    assert_eq!(rows(&index).len(), shown.len() + 1);
}

/// The process ends between the two names: what is left is the copy or nothing, and never both.
#[test]
fn a_replacement_that_was_cut_short_leaves_no_old_copy() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("index");
    let (index, _) = open(&place);
    put(&index, "r1", OLD, 1);
    index.close().expect("closed");
    drop(index);
    fs::rename(place.join("store"), place.join("store.old")).expect("moved");
    fs::create_dir_all(place.join("store.next")).expect("made");
    let (index, opened) = open(&place);
    assert_eq!((opened.position, rows(&index).len()), (None, 0), "it is made again from the log");
    drop(index);
    assert!(!holds_old(&place) && !place.join("store.next").exists());
}

/// A disk that is full stops the copy and nothing else.
#[test]
fn a_copy_that_fails_leaves_the_store_in_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, full) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
    full.fail_writes(Some(StoreError::Full { path: dir.path().into(), needed: 1 }));
    let stores: Vec<Arc<dyn Store>> = vec![first, full];
    let (index, _) = Index::open(options(dir.path(), stores)).expect("the index opens");
    put(&index, "r1", "1", 1);
    assert!(index.scrub().is_err_and(|error| error.is_full()));
    assert_eq!(rows(&index), pairs(&[("r1", "1")]));
    index.scrub().expect("a later one has space");
}
