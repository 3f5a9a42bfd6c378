//! Opening after every kind of end, and over every kind of damage.

use super::*;
use crate::store::StoreError;

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
    assert_eq!(rows(&index), pairs(&[("a", "1")]));
}

/// Damage that ends the process leaves no error behind: only that the starts before never came to an end.
#[test]
fn an_index_that_ended_two_starts_is_begun_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    put(&index, "a", "1", 1);
    index.flush().expect("stored");
    drop(index);
    let died = dir.path().join("opening");
    assert!(!died.exists(), "an opening that ended leaves nothing");
    for (times, rebuilt) in [(1, false), (2, true)] {
        std::fs::write(&died, ".".repeat(times)).expect("written");
        let (_, opened) = open_over(dir.path(), &store);
        assert_eq!(opened.rebuilt.is_some(), rebuilt, "after {times} starts that did not end");
        assert!(!died.exists());
    }
}

/// Some of the rows, or the root without them, reached the disk.
#[test]
fn a_torn_store_is_made_again() {
    for kept in [b"k1".as_slice(), ROOT] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(MemoryStore::default());
        let (index, _) = open_over(dir.path(), &store);
        put(&index, "k1", "old", 1);
        put(&index, "k2", "old", 2);
        index.flush().expect("stored");
        put(&index, "k1", "new", 3);
        put(&index, "k2", "new", 4);
        // Applied, not made durable.
        while index.lag() > 0 {
            std::thread::yield_now();
        }
        drop(index);
        store.tear(|key| key == kept);
        let (index, opened) = open_over(dir.path(), &store);
        assert_eq!(opened.position, None);
        assert!(opened.rebuilt.is_some_and(|rebuilt| rebuilt.why.contains("rows come to")));
        assert!(rows(&index).is_empty());
    }
}

#[test]
fn a_flipped_bit_is_found_when_read_and_ends_the_index() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    put(&index, "a", "1", 1);
    put(&index, "b", "1", 1);
    index.close().expect("closed");
    drop(index);
    let mut bent = store.get(b"a").expect("readable").expect("there").to_vec();
    bent[0] ^= 1;
    store.damage(b"a", bent.into());
    let (index, opened) = open_over(dir.path(), &store);
    assert!(opened.rebuilt.is_none(), "a clean stop is trusted");
    assert!(matches!(index.get(b"a"), Err(IndexError::Damaged { prefix: 'a' })));
    assert!(index.get(b"b").expect("the others are read").is_some());
    assert!(index.scan(&[1], None).next().is_some_and(|row| row.is_err()));
    assert!(index.health().damaged);
    // Not even a clean stop makes it trusted.
    index.close().expect("closed");
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
    store.damage(b"x", seal(b"x", b"y"));
    let (index, opened) = open_over(dir.path(), &store);
    assert!(opened.rebuilt.is_none(), "a clean stop is trusted");
    assert!(index.verify(&mut |_, _| {}).is_err());
    drop(index);
    let (_, opened) = open_over(dir.path(), &store);
    assert!(opened.rebuilt.is_some(), "an unclean one is looked at");
}

#[test]
fn a_clean_stop_of_another_state_is_no_clean_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    put(&index, "a", "1", 1);
    index.close().expect("closed");
    drop(index);
    store.damage(b"x", seal(b"x", b"y"));
    let root = Root { position: [9; 16], ..Root::default() };
    store.damage(ROOT, root.seal());
    let (_, opened) = open_over(dir.path(), &store);
    assert!(opened.rebuilt.is_some());
}

#[test]
fn an_index_of_another_format_begins_anew() {
    for format in [0, crate::rows::FORMAT + 1] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(MemoryStore::default());
        let (index, _) = open_over(dir.path(), &store);
        put(&index, "a", "1", 1);
        index.close().expect("closed");
        drop(index);
        let root = store.get(ROOT).expect("readable").expect("there is one");
        let (row, _) = root.split_at(root.len() - 12);
        store.damage(ROOT, seal(ROOT, &[row, &format.to_be_bytes()].concat()));
        let (index, opened) = Index::open(options(dir.path(), vec![store])).expect("the index opens");
        let why = opened.rebuilt.expect("it is made again").why;
        assert!(opened.position.is_none() && why.contains(&format!("format {format},")), "{why}");
        assert!(rows(&index).is_empty());
    }
}

/// As often as it is tried: what is missing in the log is not made up for by an index without it.
#[test]
fn an_index_ahead_of_its_log_is_not_opened_and_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    put(&index, "a", "1", 9);
    index.close().expect("closed");
    drop(index);
    for _ in 0..5 {
        let mut options = options(dir.path(), vec![Arc::clone(&store) as Arc<dyn Store>]);
        options.in_log = Box::new(|position| position < [9; 16]);
        let refused = Index::open(options).map(|_| ());
        assert!(matches!(refused, Err(IndexError::AheadOfLog)), "{refused:?}");
    }
    let (index, opened) = open_over(dir.path(), &store);
    assert_eq!((opened.position, opened.rebuilt), (Some([9; 16]), None));
    assert_eq!(rows(&index), pairs(&[("a", "1")]));
}

#[test]
fn an_engine_that_panics_is_moved_aside_and_two_are_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let index_dir = dir.path().join("index");
    let open = || {
        let panics = Mutex::new(true);
        let mut options = options(&index_dir, Vec::new());
        options.engine = Box::new(move |store: &Path| {
            let mut panics = panics.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::take(&mut *panics) {
                std::fs::create_dir_all(store).expect("made");
                std::fs::write(store.join("db"), b"half").expect("written");
                panic!("attempt to subtract with overflow");
            }
            assert!(!store.exists(), "the damaged one is out of the way");
            Ok(Arc::new(MemoryStore::default()))
        });
        Index::open(options).expect("it opens all the same")
    };
    for n in 1..=4 {
        let (index, opened) = open();
        let rebuilt = opened.rebuilt.expect("it begins anew");
        assert!(rebuilt.why.contains("attempt to subtract with overflow"), "{rebuilt}");
        assert_eq!(rebuilt.kept, Some(dir.path().join(format!("index.broken-{n}"))));
        put(&index, "a", "1", 1);
        assert_eq!(rows(&index), pairs(&[("a", "1")]));
    }
    let mut kept: Vec<_> =
        std::fs::read_dir(dir.path()).expect("read").map(|e| e.expect("read").file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["index", "index.broken-3", "index.broken-4"]);
}

#[test]
fn what_is_no_damage_moves_nothing() {
    let errors = [
        StoreError::Full { path: "disk".into(), needed: 9 },
        StoreError::Io { path: "disk".into(), why: "permission denied".into() },
    ];
    for error in errors {
        let dir = tempfile::tempdir().expect("a directory");
        let mut options = options(&dir.path().join("index"), Vec::new());
        let answer = error.clone();
        options.engine = Box::new(move |_| Err(answer.clone()));
        let Err(IndexError::Store(found)) = Index::open(options) else { panic!("{error}") };
        assert_eq!(found, error);
        assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 1);
    }
}

#[test]
fn a_store_found_damaged_while_writing_ends_the_index() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    store.fail_writes(Some(StoreError::Corrupt("segment 7".into())));
    put(&index, "a", "1", 1);
    assert!(index.flush().is_err_and(|error| error.is_damage()));
    assert!(index.get(b"a").is_err(), "a damaged index answers nothing");
    assert!(index.scan(&[1], None).next().is_some_and(|row| row.is_err()));
    assert!(index.health().damaged);
    index.stage(&[Staged { key: Bytes::from_static(b"b"), old: None, new: None }], [2; 16]);
    assert!(index.close().is_err());
}

#[tokio::test]
async fn a_store_that_takes_no_more_ends_the_index_and_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(MemoryStore::default());
    let (index, _) = open_over(dir.path(), &store);
    put(&index, "a", "1", 1);
    index.flush().expect("stored");
    store.fail_writes(Some(StoreError::Ended { path: "store".into(), why: "poisoned".into() }));
    put(&index, "a", "2", 2);
    assert!(index.flush().is_err_and(|error| error.is_final() && !error.is_damage()));
    assert!(index.ended().await.to_string().contains("poisoned"));
    let health = index.health();
    assert!(!health.damaged && health.failure.is_some_and(|why| why.contains("restart")));
    drop(index);
    store.fail_writes(None);
    let (index, opened) = open_over(dir.path(), &store);
    assert_eq!((opened.position, opened.rebuilt), (Some([1; 16]), None), "what is stored is sound");
    assert_eq!(rows(&index), pairs(&[("a", "1")]));
}
