//! What is staged: seen at once, stored later, whole calls at a time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::store::{Put, Rows, StoreError};

#[test]
fn what_is_staged_is_seen_at_once_and_after_it_is_stored() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, opened) = open_over(dir.path(), &store);
    assert_eq!(opened.position, None);
    put(&index, "b", "1", 1);
    put(&index, "a", "2", 2);
    assert_eq!(rows(&index), pairs(&[("a", "2"), ("b", "1")]));
    index.flush().expect("stored");
    assert_eq!(index.lag(), 0);
    put(&index, "b", "3", 3);
    index.stage(&[change(&index, "a", None)], [4; 16]);
    assert_eq!(index.get(b"a").expect("readable"), None);
    assert_eq!(rows(&index), pairs(&[("b", "3")]));
    assert_eq!(index.verify(&mut |_, _| {}).expect("sound").count, 1);
    index.flush().expect("stored");
    assert_eq!(rows(&index), pairs(&[("b", "3")]));
}

#[test]
fn a_row_staged_twice_counts_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (index, _) = open_over(dir.path(), &Arc::default());
    let first = change(&index, "a", Some("1"));
    let second = Staged { new: Some(Bytes::from_static(b"2")), ..first.clone() };
    index.stage(&[first, second], [1; 16]);
    assert_eq!(index.verify(&mut |_, _| {}).expect("sound").count, 1);
    let gone = change(&index, "a", None);
    index.stage(&[gone.clone(), gone], [2; 16]);
    assert_eq!(index.digest(), Digest::default());
    index.flush().expect("stored");
    assert_eq!(index.verify(&mut |_, _| {}).expect("sound"), Digest::default());
}

#[test]
fn nothing_more_staged_brings_it_into_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let (told, tells) = mpsc::channel();
    let mut options = options(dir.path(), Vec::new());
    options.before_apply = Box::new(move |position| told.send(position).map_err(|error| error.to_string()));
    let (index, _) = Index::open(options).expect("the index opens");
    put(&index, "a", "1", 1);
    assert_eq!(tells.recv(), Ok([1; 16]), "nobody asked for it");
}

#[test]
fn the_store_is_never_ahead_of_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let mut options = options(dir.path(), vec![Arc::clone(&store) as Arc<dyn Store>]);
    options.before_apply = Box::new(|_| Err("the log cannot be synced".into()));
    let (index, _) = Index::open(options).expect("the index opens");
    put(&index, "a", "1", 1);
    assert!(matches!(index.flush(), Err(IndexError::NotDurable(_))));
    assert_eq!(store.get(b"a"), Ok(None));
    assert_eq!(rows(&index), pairs(&[("a", "1")]), "nothing is lost by it");
}

#[test]
fn a_full_disk_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    put(&index, "a", "1", 1);
    store.fail_writes(Some(StoreError::Full { path: dir.path().to_path_buf(), needed: 7 }));
    let error = index.flush().expect_err("the disk is full");
    assert!(error.is_full() && !error.is_damage(), "{error}");
    assert!(index.health().failure.is_some_and(|why| why.contains("7 free bytes")));
    put(&index, "b", "2", 2);
    assert_eq!(rows(&index), pairs(&[("a", "1"), ("b", "2")]), "it is read and written meanwhile");
    store.fail_writes(None);
    index.flush().expect("there is space again");
    assert_eq!((index.health().failure, index.lag()), (None, 0));
    assert!(store.get(b"b").expect("readable").is_some());
}

/// Staging waits when both layers are full; closing lets it go on.
#[test]
fn memory_is_bounded_while_the_disk_is_full() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let mut options = options(dir.path(), vec![Arc::clone(&store) as Arc<dyn Store>]);
    options.overlay_bytes = 2_000;
    let (index, _) = Index::open(options).expect("the index opens");
    store.fail_writes(Some(StoreError::Full { path: dir.path().to_path_buf(), needed: 7 }));
    put(&index, "first", "value", 1);
    assert!(index.flush().is_err());
    let staged = AtomicU32::new(1);
    let (bytes, rows) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..200_u8 {
                put(&index, &format!("k{n:03}"), "value", n);
                staged.fetch_add(1, Ordering::SeqCst);
            }
        });
        while index.health().staged_bytes <= 4_200 {
            std::thread::yield_now();
        }
        let _ = index.flush();
        let seen = (index.health().staged_bytes, staged.load(Ordering::SeqCst));
        store.fail_writes(None);
        seen
    });
    assert!(bytes < 4_600 && rows < 30, "{rows} rows of {bytes} bytes were staged");
    index.flush().expect("there is space again");
    assert_eq!(index.verify(&mut |_, _| {}).expect("sound").count, 200);
}

/// Fails once a number of batches have gone in.
struct Breaks {
    inner: MemoryStore,
    left: AtomicU32,
}

impl Store for Breaks {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key)
    }

    fn apply(&self, batch: &[Put]) -> Result<(), StoreError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_err(|_| StoreError::Io { path: "disk".into(), why: "gone".into() })?;
        self.inner.apply(batch)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows {
        self.inner.scan(from, to)
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        self.inner.checkpoint()
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn batch_bytes(&self) -> usize {
        self.inner.batch_bytes()
    }
}

/// Wherever it breaks, the store is what the log says at the position it names.
#[test]
fn the_store_is_at_one_position_whole() {
    for batches in 0..12 {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(Breaks { inner: MemoryStore::default(), left: AtomicU32::new(batches) });
        let (index, _) = Index::open(options(dir.path(), vec![Arc::clone(&store) as Arc<dyn Store>]))
            .expect("the index opens");
        // Each call writes its number into two rows far apart, and into one of its own.
        for n in 1..=20_u8 {
            let value = n.to_string();
            let own = format!("m{n:02}");
            let rows = ["a", own.as_str(), "z"].map(|key| change(&index, key, Some(&value)));
            index.stage(&rows, [n; 16]);
        }
        let flushed = index.flush();
        drop(index);
        let root = Root::read(store.as_ref()).expect("sound").unwrap_or_default();
        let at = root.position[0];
        assert_eq!(flushed.is_ok(), at == 20);
        assert_eq!(root.digest.count, if at == 0 { 0 } else { u64::from(at) + 2 });
        for key in ["a", "z"] {
            let expected = (at > 0).then(|| seal(key.as_bytes(), at.to_string().as_bytes()));
            assert_eq!(store.get(key.as_bytes()), Ok(expected), "at {at}");
        }
        store.left.store(u32::MAX, Ordering::SeqCst);
        let (index, opened) = Index::open(options(dir.path(), vec![Arc::clone(&store) as Arc<dyn Store>]))
            .expect("the index opens");
        assert_eq!((opened.position, opened.rebuilt), ((at > 0).then_some([at; 16]), None));
        index.verify(&mut |_, _| {}).expect("sound");
    }
}

#[test]
fn a_scan_stays_at_its_moment_and_holds_nobody_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let (index, _) = open_over(dir.path(), &Arc::default());
    for n in 0..30_u8 {
        put(&index, &format!("k{n:02}"), "stored", n);
    }
    index.flush().expect("stored");
    put(&index, "k05", "staged", 31);
    index.stage(&[change(&index, "k06", None)], [32; 16]);
    let mut scan = index.scan(b"k", Some(b"k08"));
    let first = scan.next();
    for n in 0..30_u8 {
        put(&index, &format!("k{n:02}"), "later", 33 + n);
        index.flush().expect("stored while a scan is open");
    }
    let found: Vec<_> = first.into_iter().chain(scan).map(|row| row.expect("sound").1).collect();
    let expected = ["stored"; 5].into_iter().chain(["staged", "stored"]);
    assert!(found.iter().map(|value| value.as_ref()).eq(expected.map(str::as_bytes)), "{found:?}");
}

/// Tells of every checkpoint.
struct Tells {
    inner: MemoryStore,
    checkpoints: mpsc::Sender<()>,
}

impl Store for Tells {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key)
    }

    fn apply(&self, batch: &[Put]) -> Result<(), StoreError> {
        self.inner.apply(batch)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows {
        self.inner.scan(from, to)
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        // Nobody listens any more when the index is closed.
        let _ = self.checkpoints.send(());
        self.inner.checkpoint()
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

/// One change after the other, none of them idle: they get into the store all the same, and durable there.
#[test]
fn a_steady_trickle_is_stored_and_made_durable() {
    let dir = tempfile::tempdir().expect("a directory");
    let (checkpoints, told) = mpsc::channel();
    let store = Arc::new(Tells { inner: MemoryStore::default(), checkpoints });
    let mut options = options(dir.path(), vec![store as Arc<dyn Store>]);
    let never = Duration::from_secs(3_600);
    options.pace = Pace {
        idle: never,
        stored_within: Duration::from_millis(30),
        checkpoint_idle: never,
        durable_within: Duration::from_millis(60),
    };
    let (index, _) = Index::open(options).expect("the index opens");
    let durable = (0..2_000_u32).any(|n| {
        put(&index, &format!("k{n:04}"), "value", 1);
        told.recv_timeout(Duration::from_millis(5)).is_ok()
    });
    assert!(durable, "ten seconds of changes, and nothing is durable");
}

#[test]
fn what_was_written_last_is_let_go_of_when_nothing_more_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let mut options = options(dir.path(), vec![Arc::clone(&store) as Arc<dyn Store>]);
    options.pace.idle = Duration::from_millis(20);
    let (index, _) = Index::open(options).expect("the index opens");
    put(&index, "a", "1", 1);
    index.flush().expect("stored");
    while index.overlay.get(b"a").expect("well").is_some() {
        std::thread::yield_now();
    }
    assert_eq!(rows(&index), pairs(&[("a", "1")]), "it is read from the store");
}
