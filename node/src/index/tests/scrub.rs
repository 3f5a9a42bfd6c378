//! A copy in place of the store: nothing old stays, nothing shown changes.

use std::fs;

use super::*;
use crate::store::{Put, Rows, open_sled};

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
    let rest = std::thread::scope(|scope| {
        let rest = scope.spawn(|| {
            std::thread::park_timeout(std::time::Duration::from_millis(300));
            assert!(place.join("store.next").exists() && holds_old(&place), "the copy waits for the scan");
            scan.inspect(|row| assert!(row.is_ok(), "a scan on its way goes on")).count()
        });
        index.scrub().expect("scrubbed");
        rest.join().expect("read to its end")
    });
    assert!(!holds_old(&place));
    assert_eq!((rows(&index), index.digest(), index.lag()), (shown.clone(), digest, 0));
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

/// A store that takes more room than there is.
struct Large {
    rows: MemoryStore,
    bytes: u64,
}

impl Store for Large {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.rows.get(key)
    }

    fn apply(&self, batch: &[Put]) -> Result<(), StoreError> {
        self.rows.apply(batch)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows {
        self.rows.scan(from, to)
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        self.rows.checkpoint()
    }

    fn disk_bytes(&self) -> u64 {
        self.bytes
    }
}

#[test]
fn without_room_for_a_copy_none_is_begun() {
    let dir = tempfile::tempdir().expect("a directory");
    let copies = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&copies);
    let mut options = options(dir.path(), Vec::new());
    options.engine = Box::new(move |place| {
        *counted.lock().unwrap_or_else(PoisonError::into_inner) += usize::from(place.ends_with("store.next"));
        Ok(Arc::new(Large { rows: MemoryStore::default(), bytes: 1 << 60 }))
    });
    let (index, _) = Index::open(options).expect("the index opens");
    put(&index, "r1", "1", 1);
    assert!(index.scrub().is_err_and(|error| error.is_full()));
    assert_eq!(*copies.lock().unwrap_or_else(PoisonError::into_inner), 0);
    assert_eq!(rows(&index), pairs(&[("r1", "1")]));
}

/// An index over sled whose engine does something else for one of the names.
fn bent(
    place: &Path,
    bend: impl Fn(&Path) -> Option<Result<Arc<dyn Store>, StoreError>> + Send + 'static,
) -> Index {
    let mut options = options(place, Vec::new());
    options.engine = Box::new(move |dir| bend(dir).unwrap_or_else(|| open_sled(dir, 4 << 20)));
    let (index, _) = Index::open(options).expect("the index opens");
    put(&index, "r1", "1", 1);
    index.flush().expect("stored");
    index
}

#[test]
fn nothing_stays_of_a_copy_that_failed() {
    let dir = tempfile::tempdir().expect("a directory");
    let full = StoreError::Full { path: dir.path().into(), needed: 1 };
    let index = bent(dir.path(), move |place| {
        let copy = MemoryStore::default();
        copy.fail_writes(Some(full.clone()));
        place.ends_with("store.next").then(|| {
            fs::create_dir_all(place).expect("made");
            fs::write(place.join("half"), "x").expect("written");
            Ok(Arc::new(copy) as Arc<dyn Store>)
        })
    });
    assert!(index.scrub().is_err_and(|error| error.is_full()));
    assert!(!dir.path().join("store.next").exists());
    assert_eq!(rows(&index), pairs(&[("r1", "1")]));
}

/// What could not be removed once is in nobody's way.
#[test]
fn an_older_store_that_has_stayed_is_removed_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let index = bent(dir.path(), |_| None);
    fs::create_dir_all(dir.path().join("store.old")).expect("made");
    fs::write(dir.path().join("store.old/db"), "x").expect("written");
    index.scrub().expect("scrubbed");
    assert!(!dir.path().join("store.old").exists());
}

/// The copy has no file that could be renamed.
#[test]
fn a_copy_that_cannot_take_the_name_leaves_it_to_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let index = bent(dir.path(), |place| {
        place.ends_with("store.next").then(|| Ok(Arc::new(MemoryStore::default()) as Arc<dyn Store>))
    });
    assert!(index.scrub().is_err_and(|error| !error.is_final()));
    assert_eq!(index.store.get(b"r1").map(|row| row.is_some()), Ok(true), "it has its rows");
    assert!(index.alive().is_ok());
    assert!(!dir.path().join("store.old").exists());
}

/// Without room to open the copy the index has ended: sound, for the next start.
#[test]
fn a_copy_that_cannot_be_opened_is_no_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let (full, opened) = (StoreError::Full { path: dir.path().into(), needed: 1 }, Mutex::new(0));
    let index = bent(dir.path(), move |place| {
        let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
        *opened += 1;
        (*opened > 1 && place.ends_with("store")).then(|| Err(full.clone()))
    });
    assert!(index.scrub().is_err_and(|error| error.is_final() && !error.is_damage()));
    assert!(index.store.get(b"r1").is_err_and(|error| matches!(error, StoreError::Ended { .. })));
    drop(index);
    let (index, opened) = open(dir.path());
    assert_eq!((opened.rebuilt, rows(&index)), (None, pairs(&[("r1", "1")])));
}
