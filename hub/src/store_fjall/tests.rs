//! The engines' suite over fjall, and the index over fjall's files when they are damaged.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;

use liandong_node::index::{Index, IndexError, IndexOptions, Opened, Pace, Staged};

use super::*;

const CACHE: u64 = 8 << 20;
const ROWS: u32 = 600;

#[test]
fn fjall_does_what_a_store_must() {
    suite::check(&|dir| open(dir, CACHE));
}

#[test]
fn a_store_that_is_open_elsewhere_is_not_taken_for_a_damaged_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let _held = open(dir.path(), CACHE).expect("opens");
    assert!(matches!(open(dir.path(), CACHE).err(), Some(StoreError::Io { .. })));
}

/// Trying again would never end: fjall has to be opened anew, and so the index comes to its end.
#[test]
fn a_poisoned_store_is_final_and_no_damage() {
    let error = IndexError::from(failed(Path::new("store"), fjall::Error::Poisoned));
    assert!(error.is_final() && !error.is_damage() && !error.is_full(), "{error}");
    assert!(error.to_string().contains("restart"), "{error}");
}

/// Tables of their own and batches through the journal, in turn, over the same rows.
#[test]
fn large_and_small_batches_keep_their_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let row = |n: u32, value: Bytes| (Bytes::copy_from_slice(&n.to_be_bytes()), Some(value));
    for round in 0..6_u8 {
        let store = open(dir.path(), CACHE).expect("opens");
        let large = Bytes::from(vec![round; TABLE_BYTES / 64]);
        let batch: Vec<Put> = (0..80).map(|n| row(n, large.clone())).collect();
        store.apply(&batch).expect("applied");
        store.apply(&[row(7, Bytes::from(vec![round]))]).expect("applied");
        store.apply(&[(row(9, Bytes::new()).0, None)]).expect("applied");
        assert_eq!(store.get(&7_u32.to_be_bytes()), Ok(Some(Bytes::from(vec![round]))));
        assert_eq!(store.get(&9_u32.to_be_bytes()), Ok(None));
        assert_eq!(store.get(&8_u32.to_be_bytes()), Ok(Some(large)));
        assert_eq!(store.scan(&[], None).count(), 79);
    }
}

fn open_index(dir: &Path) -> (Index, Opened) {
    let options = IndexOptions {
        dir: dir.to_path_buf(),
        engine: Box::new(|dir: &Path| open(dir, CACHE)),
        overlay_bytes: 64 << 20,
        pace: Pace::default(),
        before_apply: Box::new(|_| Ok(())),
        in_log: Box::new(|_| true),
    };
    Index::open(options).expect("the index opens")
}

fn key(n: u32) -> Bytes {
    Bytes::from(format!("r{n:05}"))
}

/// The value of a row after a round: of the last that divides its number, large in the second.
fn value(n: u32, rounds: u32) -> Bytes {
    let round = (1..=rounds).rev().find(|round| n.is_multiple_of(*round)).expect("one divides all");
    Bytes::from(vec![round as u8; if round == 2 { TABLE_BYTES / 200 } else { 300 }])
}

fn fill(index: &Index) {
    for round in 1..=3 {
        for n in (0..ROWS).filter(|n| n.is_multiple_of(round)) {
            let old = index.get(&key(n)).expect("sound").map(|item| item.check);
            index.stage(&[Staged { key: key(n), old, new: Some(value(n, round)) }], [round as u8; 16]);
        }
        index.flush().expect("stored");
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("read") {
        let path = entry.expect("read").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn copy(from: &Path, to: &Path) {
    let mut all = Vec::new();
    files(from, &mut all);
    for file in all {
        let target = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(target.parent().expect("a parent")).expect("made");
        fs::copy(file, target).expect("copied");
    }
}

/// A bit flipped, or the end cut off, in any of its files: right, refused, or begun anew. Each is looked at in a process
/// of its own, since fjall ends the process over some damage; the index takes that for damage in the end.
#[test]
fn damage_never_answers_wrongly() {
    if let Some(dir) = std::env::var_os(DAMAGED) {
        let noticed = check_damaged(Path::new(&dir), &dir.to_string_lossy());
        println!("{}", if noticed { NOTICED } else { "the damage is where nothing is" });
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let whole = dir.path().join("whole");
    let (index, _) = open_index(&whole);
    fill(&index);
    index.close().expect("closed");
    drop(index);
    let mut noticed = 0;
    let mut seed = 20_261_124_u64;
    for round in 0..40 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let copied = dir.path().join("copy").join("index");
        let _ = fs::remove_dir_all(dir.path().join("copy"));
        copy(&whole, &copied);
        if round % 3 == 0 {
            fs::remove_file(copied.join("clean")).expect("it was closed");
        }
        let mut all = Vec::new();
        files(&copied.join("store"), &mut all);
        all.retain(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0));
        all.sort();
        let file = &all[(seed >> 40) as usize % all.len()];
        let mut bytes = fs::read(file).expect("readable");
        let full: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        if full.is_empty() {
            continue;
        }
        let at = full[(seed >> 13) as usize % full.len()];
        if seed >> 63 == 0 {
            bytes[at] ^= 1 << ((seed >> 60) & 7)
        } else {
            bytes.truncate(at)
        }
        fs::write(file, bytes).expect("written");
        let what = format!("seed {seed}: byte {at} of {}", file.display());
        noticed += u32::from(in_its_own_process(&copied, &what));
    }
    assert!(noticed > 4, "only {noticed} were noticed at all: the damage is not where the data is");
}

/// Names the damaged directory to the child.
const DAMAGED: &str = "LIANDONG_TEST_DAMAGED";
const NOTICED: &str = "the damage was noticed";

/// Whether the damage was noticed by a process that looked, as the supervisor of a real hub would start it.
#[track_caller]
fn in_its_own_process(dir: &Path, what: &str) -> bool {
    let test = "store_fjall::tests::damage_never_answers_wrongly";
    for _ in 0..4 {
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.args(["--exact", test, "--nocapture"]).env(DAMAGED, dir);
        let output = child.output().expect("it starts");
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).contains(NOTICED);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(6), "{what}: {said}");
    }
    panic!("{what}: every start ends in an abort")
}

#[track_caller]
fn check_damaged(dir: &Path, what: &str) -> bool {
    let (index, opened) = open_index(dir);
    let rounds = match opened.position {
        None => {
            fill(&index);
            3
        }
        Some(position) => u32::from(position[0]),
    };
    // At an earlier position the log brings the rest; rows of that round may be of the one before.
    let mut refused = 0;
    for n in 0..ROWS {
        match index.get(&key(n)) {
            Ok(found) if rounds == 3 => {
                assert_eq!(found.map(|item| item.value), Some(value(n, 3)), "{what}: row {n}")
            }
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_damage(), "{what}: {error}");
                refused += 1;
            }
        }
    }
    refused > 0 || opened.rebuilt.is_some() || rounds < 3
}

/// A hub that is killed while it makes its index leaves a journal, and nothing that says it is a store.
#[test]
fn a_store_whose_making_was_cut_short_is_made_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, whole) = (dir.path().join("store"), dir.path().join("whole"));
    drop(open(&whole, CACHE).expect("opens"));
    fs::create_dir_all(store.join("keyspaces")).expect("made");
    fs::copy(whole.join("0.jnl"), store.join("0.jnl")).expect("copied");
    let (_index, opened) = open_index(dir.path());
    assert!(opened.rebuilt.is_some_and(|rebuilt| rebuilt.kept.is_some()));
}
