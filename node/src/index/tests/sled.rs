//! The index over sled, on files that a crash or a bad disk has left.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::store::open_sled;

const ROWS: u32 = 600;

fn open_sled_index(dir: &Path) -> (Index, Opened) {
    let mut options = options(dir, Vec::new());
    options.engine = Box::new(|dir: &Path| open_sled(dir, 4 << 20));
    Index::open(options).expect("the index opens")
}

fn key(n: u32) -> String {
    format!("r{n:05}")
}

/// Rows written in three rounds, so that the tree has pages of every age.
fn fill(index: &Index) {
    for round in 1..=3_u8 {
        for start in (0..ROWS).step_by(50) {
            let keys = (start..start + 50).filter(|n| n % u32::from(round) == 0).map(key);
            let rows: Vec<Staged> =
                keys.map(|key| change(index, &key, Some(&round.to_string().repeat(200)))).collect();
            index.stage(&rows, [round; 16]);
        }
        index.flush().expect("stored");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("read") {
        let path = entry.expect("read").path();
        let target = to.join(path.file_name().expect("named"));
        if path.is_dir() {
            copy(&path, &target)
        } else {
            fs::copy(&path, target).map(|_| ()).expect("copied")
        }
    }
}

/// Opens what is left, and reads all of it: right, refused, or begun anew; answers whether anything was noticed.
#[track_caller]
fn check_damaged(dir: &Path, what: &str) -> bool {
    let (index, opened) = open_sled_index(dir);
    if opened.rebuilt.is_some() {
        assert_eq!(opened.position, None, "{what}");
        fill(&index);
    }
    let mut refused = 0;
    for n in 0..ROWS {
        let round = (1..=3).rev().find(|round| n % round == 0).expect("one divides all");
        match index.get(key(n).as_bytes()) {
            Ok(found) => {
                let expected = round.to_string().repeat(200);
                assert_eq!(
                    found.map(|item| item.value),
                    Some(Bytes::from(expected)),
                    "{what}: row {n} is wrong"
                );
            }
            Err(error) => {
                assert!(error.is_damage(), "{what}: {error}");
                refused += 1;
            }
        }
    }
    let scanned: Result<Vec<_>, _> = index.scan(&[1], None).collect();
    assert!(scanned.is_err() || scanned.is_ok_and(|rows| rows.len() == ROWS as usize), "{what}");
    drop(index);
    refused > 0 || opened.rebuilt.is_some()
}

fn filled(dir: &Path) -> PathBuf {
    let whole = dir.join("whole");
    let (index, _) = open_sled_index(&whole);
    fill(&index);
    index.close().expect("closed");
    whole
}

/// Damages `db` of a copy, and checks it as after a clean stop or a crash.
fn damaged(whole: &Path, clean: bool, what: &str, damage: impl FnOnce(&mut Vec<u8>)) -> bool {
    let dir = whole.with_file_name("copy").join("index");
    let _ = fs::remove_dir_all(dir.parent().expect("a parent"));
    copy(whole, &dir);
    if !clean {
        fs::remove_file(dir.join("clean")).expect("it was closed");
    }
    let db = dir.join("store/db");
    let mut bytes = fs::read(&db).expect("readable");
    damage(&mut bytes);
    fs::write(&db, &bytes).expect("written");
    check_damaged(&dir, what)
}

#[test]
fn a_truncated_file_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = filled(dir.path());
    let bytes = fs::metadata(whole.join("store/db")).expect("there").len() as usize;
    for (at, clean) in [(0, true), (17, false), (bytes / 3, true), (bytes / 2, false)] {
        let noticed = damaged(&whole, clean, &format!("cut at {at}"), |db| db.truncate(at));
        assert!(noticed, "cut at {at} of {bytes}");
    }
}

#[test]
fn a_flipped_bit_never_answers_wrongly() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = filled(dir.path());
    let mut noticed = 0;
    let mut seed = 20_261_124_u64;
    for round in 0..24 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (place, bit, clean) = ((seed >> 20) as usize, (seed >> 17) & 7, seed >> 60 & 1 == 0);
        let what = format!("seed {seed}: bit {bit}, clean {clean}");
        noticed += u32::from(damaged(&whole, clean, &what, |db| {
            // Where there is something: most of a segment may be empty. Much of that is outdated, and nobody
            // misses it; so every other time many bits.
            let full: Vec<usize> = (0..db.len()).filter(|at| db[*at] != 0).collect();
            for at in
                full.iter().skip(place % full.len() * (round % 2)).step_by(full.len() / [300, 1][round % 2])
            {
                db[*at] ^= 1 << bit;
            }
        }));
    }
    assert!(noticed > 8, "only {noticed} were noticed at all: the damage is not where the data is");
}

/// Bits flipped in what sled would have to replay, had the close not left it a snapshot.
#[test]
fn a_clean_stop_leaves_nothing_to_replay() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = filled(dir.path());
    let db = fs::read(whole.join("store/db")).expect("readable");
    let full: Vec<usize> = (0..db.len()).filter(|at| db[*at] != 0).collect();
    for part in 1..12 {
        let at = full[full.len() - 1 - part * full.len() / 40];
        damaged(&whole, true, &format!("byte {at} near the end"), |db| db[at] ^= 4);
    }
}

#[test]
fn a_killed_process_goes_on_from_its_position() {
    let dir = tempfile::tempdir().expect("a directory");
    let (index, _) = open_sled_index(&dir.path().join("alive"));
    fill(&index);
    put(&index, &key(1), "staged, not stored", 9);
    let killed = dir.path().join("killed");
    copy(&dir.path().join("alive"), &killed);
    let (index, opened) = open_sled_index(&killed);
    assert_eq!((opened.position, opened.rebuilt), (Some([3; 16]), None));
    assert_eq!(index.verify(&mut |_, _| {}).expect("sound").count, u64::from(ROWS));
}

#[test]
fn an_index_is_opened_beside_an_unfinished_snapshot() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = filled(dir.path());
    fs::write(whole.join("store/snap.00000000000FFFFF.generating"), b"cut sho").expect("planted");
    assert!(!check_damaged(&whole, "an unfinished snapshot"), "there is nothing wrong with it");
}
