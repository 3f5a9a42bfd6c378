//! Restores that are cut short at every step, and directories that others are at.

use super::*;

/// A directory where everything is unpacked.
fn unpacked() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fill(dir.path());
    dir
}

fn held(dir: &Path) -> Filling {
    Filling::begin(dir).expect("nobody else is there")
}

fn begin(dir: &Path) -> Result<Target, BackupError> {
    Target::begin(&held(dir))
}

fn fill(dir: &Path) {
    let target = begin(dir).expect("free");
    for name in ["keys/city.key", "keys/city/1.key", "config.toml", "audit/1.log", "log/1.log"] {
        let path = target.unpacked.join(name);
        fs::create_dir_all(path.parent().expect("one")).expect("made");
        fs::write(path, name).expect("written");
    }
    target.keep();
}

/// Places things until the `n`th step, as if the process was killed there or the disk failed.
fn cut_at(dir: &Path, n: usize) -> Result<Option<BackupError>, BackupError> {
    let mut done = 0;
    place_by(dir, &mut |act| {
        if done == n {
            return Err(io::Error::other("killed"));
        }
        done += 1;
        carry_out(act)
    })
}

/// All but the log is placed.
const BEFORE_THE_LOG: usize = 6;
const SITE: [&str; 4] = ["audit", "config.toml", "keys", "log"];

#[test]
fn a_restore_that_was_cut_short_anywhere_is_made_again_or_has_made_a_site() {
    for n in 0.. {
        let dir = unpacked();
        let cut = cut_at(dir.path(), n);
        assert_eq!(cut.is_ok(), n > BEFORE_THE_LOG, "{n}: {cut:?}");
        match cut {
            Err(_) => {
                check_free(dir.path()).unwrap_or_else(|error| panic!("after {n}: {error}"));
                fill(dir.path());
                let placed = held(dir.path()).place();
                assert!(matches!(placed, Ok(None)), "after {n}: {placed:?}");
            }
            Ok(left) => {
                assert_eq!(found(dir.path()).expect("seen"), Found::Taken, "a site");
                tidy(dir.path());
                if left.is_none() {
                    assert_eq!(n, BEFORE_THE_LOG + 4, "the list, four things and four syncs");
                    break;
                }
            }
        }
        assert_eq!(names_in(dir.path()).expect("listed"), SITE, "after {n}");
        assert_eq!(fs::read(dir.path().join("keys/city/1.key")).expect("read"), b"keys/city/1.key");
    }
}

#[test]
fn what_may_still_be_wanted_is_not_tidied_away() {
    let dir = unpacked();
    assert!(cut_at(dir.path(), BEFORE_THE_LOG).is_err());
    tidy(dir.path());
    assert!(dir.path().join(UNPACKED).join(LOG).exists(), "there is no site yet");
    fs::create_dir(dir.path().join(LOG)).expect("somebody made one there");
    tidy(dir.path());
    assert!(dir.path().join(UNPACKED).join(LOG).exists(), "it is not that of the restore");
}

#[test]
fn one_that_fails_takes_back_what_it_had_placed() {
    let dir = unpacked();
    assert!(cut_at(dir.path(), 3).is_err());
    held(dir.path()).give_up();
    assert_eq!(names_in(dir.path()).expect("listed"), [] as [&str; 0]);
}

#[test]
fn what_another_restore_is_at_is_nothing_left_over() {
    let parent = tempfile::tempdir().expect("a directory");
    let (dir, link) = (parent.path().join("site"), parent.path().join("link"));
    std::os::unix::fs::symlink(&dir, &link).expect("linked");
    let first = held(&dir);
    let target = Target::begin(&first).expect("free");
    for name in [&dir, &link] {
        assert!(matches!(Filling::begin(name), Err(BackupError::Busy(_))));
        assert!(matches!(check_free(name), Err(BackupError::Busy(_))));
    }
    assert!(target.unpacked.exists());
    drop((target, first));
    assert!(!dir.exists(), "it made that one, and has left nothing");
    let second = held(&dir);
    drop(second);
    fs::create_dir(&dir).expect("made");
    drop(held(&link));
    assert!(dir.exists(), "somebody else made that one");
}

/// What is named, and left as it is, when somebody did `touch` to a restore that was cut short.
#[track_caller]
fn check(touch: impl FnOnce(&Path), expected: &[&str]) {
    let dir = unpacked();
    assert!(cut_at(dir.path(), BEFORE_THE_LOG).is_err(), "all but the log is placed");
    touch(dir.path());
    let before = names_in(dir.path()).expect("listed");
    let refused = begin(dir.path()).err().expect("it is refused");
    match &refused {
        BackupError::Touched { names, .. } => assert_eq!(names, expected),
        other => panic!("{other}"),
    }
    let said = refused.said();
    assert!(expected.iter().all(|name| said.en.contains(name) && said.zh.contains(name)), "{}", said.en);
    held(dir.path()).give_up();
    assert_eq!(names_in(dir.path()).expect("listed"), before);
    assert!(dir.path().join(UNPACKED).join(LOG).exists(), "nothing is removed");
}

#[test]
fn what_somebody_has_touched_since_is_named_and_left_alone() {
    check(|dir| fs::write(dir.join("notes.txt"), "mine").expect("written"), &["notes.txt"]);
    check(|dir| fs::write(dir.join("config.toml"), "[log]").expect("written"), &["config.toml"]);
    check(|dir| fs::write(dir.join("keys/other.key"), "mine").expect("written"), &["keys"]);
    check(|dir| fs::remove_file(dir.join("keys/city.key")).expect("removed"), &["keys"]);
    // As a version before this one left it, without a list.
    check(
        |dir| fs::remove_file(dir.join(UNPACKED).join(LIST)).expect("removed"),
        &["audit", "config.toml", "keys"],
    );
}

#[test]
fn a_site_is_never_taken_for_what_was_left() {
    let dir = unpacked();
    assert!(cut_at(dir.path(), BEFORE_THE_LOG).is_err());
    fs::create_dir(dir.path().join(LOG)).expect("somebody made a site there");
    assert!(matches!(begin(dir.path()), Err(BackupError::Exists(_))));
    let other = tempfile::tempdir().expect("a directory");
    fs::write(other.path().join("x"), "mine").expect("written");
    assert!(matches!(begin(other.path()), Err(BackupError::Exists(_))));
    assert_eq!(names_in(other.path()).expect("listed"), ["x"]);
}
