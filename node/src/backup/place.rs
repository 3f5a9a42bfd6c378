//! Putting what was unpacked into its place, so that a restore that is cut short at any moment can be made again.
//!
//! Everything is unpacked into `.restoring` and checked there. Then a list of it is made, durably, and one thing after the
//! other gets its place, the log last: from then on there is a site. A restore that finds the list of an earlier one moves
//! back what that had placed, if nobody has touched it since, and begins anew. It removes nothing but what stands in
//! `.restoring`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::BackupError;

/// Where a restore puts things before all of them are there.
pub const UNPACKED: &str = ".restoring";
/// The list of them, in there.
const LIST: &str = ".placing";
/// What makes a site of a directory.
const LOG: &str = "log";

/// What a restore finds in the directory that it is to fill.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or what a restore has unpacked and no more.
    Free,
    /// Nothing but what a restore that was cut short has left, untouched: these names, and `.restoring`.
    CutShort(Vec<String>),
    /// The same, and something that is not its own, or was touched since: these.
    Touched(Vec<String>),
    /// Something else.
    Taken,
}

/// Whether a restore may go there. Nothing is changed.
///
/// # Errors
/// [`BackupError::Exists`], [`BackupError::Touched`]; when it cannot be seen.
pub fn check_free(dir: &Path) -> Result<(), BackupError> {
    match found(dir).map_err(BackupError::file(dir))? {
        Found::Free | Found::CutShort(_) => Ok(()),
        Found::Touched(names) => Err(BackupError::Touched { dir: dir.to_path_buf(), names }),
        Found::Taken => Err(BackupError::Exists(dir.to_path_buf())),
    }
}

fn found(dir: &Path) -> io::Result<Found> {
    let mut names = match names_in(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Free),
        names => names?,
    };
    let all = names.len();
    names.retain(|name| name != UNPACKED);
    if names.is_empty() {
        return Ok(Found::Free);
    }
    // With a log there it is a site, whatever else was left.
    if names.len() == all || names.iter().any(|name| name == LOG) {
        return Ok(Found::Taken);
    }
    let Ok(list) = fs::read_to_string(dir.join(UNPACKED).join(LIST)) else {
        return Ok(Found::Touched(names));
    };
    let mut others = Vec::new();
    for name in &names {
        let mut is = BTreeMap::new();
        look(dir, Path::new(name), &mut is)?;
        let below = format!("{name}/");
        let lines = list.lines().filter_map(|line| line.split_once(' ').map(|(mark, path)| (path, mark)));
        let was: BTreeMap<&str, &str> =
            lines.filter(|(path, _)| path == name || path.starts_with(&below)).collect();
        let same = was.len() == is.len() && is.iter().all(|(path, mark)| was.get(&**path) == Some(&&**mark));
        if was.is_empty() || !same {
            others.push(name.clone());
        }
    }
    Ok(if others.is_empty() { Found::CutShort(names) } else { Found::Touched(others) })
}

fn names_in(dir: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

/// Every file at a path below `root`, with what changes when it is written to or replaced, and not when it is renamed.
fn look(root: &Path, path: &Path, into: &mut BTreeMap<String, String>) -> io::Result<()> {
    let found = fs::symlink_metadata(root.join(path))?;
    if found.is_dir() {
        for name in names_in(&root.join(path))? {
            look(root, &path.join(name), into)?;
        }
        return Ok(());
    }
    let mark = format!("{}:{}:{}.{}", found.ino(), found.size(), found.mtime(), found.mtime_nsec());
    into.insert(path.to_string_lossy().into_owned(), mark);
    Ok(())
}

/// Puts what was unpacked into its places, the log last: from then on there is a site.
///
/// # Errors
/// [`BackupError`]; [`give_up`] takes it back.
pub fn place(dir: &Path) -> Result<(), BackupError> {
    place_by(dir, &mut |from, to| fs::rename(from, to))
}

fn place_by(dir: &Path, rename: &mut dyn FnMut(&Path, &Path) -> io::Result<()>) -> Result<(), BackupError> {
    let unpacked = dir.join(UNPACKED);
    let mut names = names_in(&unpacked).map_err(BackupError::file(&unpacked))?;
    names.sort_by_key(|name| name == LOG);
    let list = unpacked.join(LIST);
    write_list(&unpacked, &names, &list, rename).map_err(BackupError::file(&list))?;
    for name in names {
        if name == LOG {
            sync_dir(dir)?;
        }
        let (from, to) = (unpacked.join(&name), dir.join(&name));
        rename(&from, &to).map_err(BackupError::file(&to))?;
    }
    sync_dir(dir)?;
    fs::remove_dir_all(&unpacked).map_err(BackupError::file(&unpacked))?;
    sync_dir(dir)
}

fn write_list(
    unpacked: &Path,
    names: &[String],
    list: &Path,
    rename: &mut dyn FnMut(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let mut files = BTreeMap::new();
    names.iter().try_for_each(|name| look(unpacked, Path::new(name), &mut files))?;
    let beside = unpacked.join(format!("{LIST}.part"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let lines: String = files.iter().map(|(path, mark)| format!("{mark} {path}\n")).collect();
    file.write_all(lines.as_bytes())?;
    file.sync_all()?;
    rename(&beside, list)?;
    File::open(unpacked)?.sync_all()
}

/// Takes back what was unpacked and placed, as far as there is no site yet and nobody has touched it.
pub fn give_up(dir: &Path) {
    // What this cannot do the next restore does, or says.
    let _ = clear(dir);
}

/// Moves back what was placed, then removes all that was unpacked.
fn clear(dir: &Path) -> Result<(), BackupError> {
    let unpacked = dir.join(UNPACKED);
    match found(dir).map_err(BackupError::file(dir))? {
        Found::Free => {}
        Found::CutShort(names) => {
            for name in names {
                let (from, to) = (dir.join(&name), unpacked.join(&name));
                fs::rename(&from, &to).map_err(BackupError::file(&from))?;
            }
            sync_dir(dir)?;
        }
        Found::Touched(names) => return Err(BackupError::Touched { dir: dir.to_path_buf(), names }),
        Found::Taken => return Err(BackupError::Exists(dir.to_path_buf())),
    }
    match fs::remove_dir_all(&unpacked) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupError::file(&unpacked)(error)),
        _ => Ok(()),
    }
}

/// The directory that a restore fills. Given up, it is as it was found.
pub(super) struct Target {
    dir: PathBuf,
    pub unpacked: PathBuf,
    made: bool,
    kept: bool,
}

impl Target {
    pub fn begin(dir: &Path) -> Result<Target, BackupError> {
        let made = !dir.exists();
        clear(dir)?;
        let unpacked = dir.join(UNPACKED);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&unpacked)
            .map_err(BackupError::file(&unpacked))?;
        crate::site::make_private_dir(dir)
            .map_err(|error| BackupError::file(dir)(io::Error::other(error)))?;
        Ok(Target { dir: dir.to_path_buf(), unpacked, made, kept: false })
    }

    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.kept {
            // The next restore takes it away.
            let _ = fs::remove_dir_all(&self.unpacked);
            if self.made {
                let _ = fs::remove_dir(&self.dir);
            }
        }
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(BackupError::file(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory where everything is unpacked.
    fn unpacked() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        fill(dir.path());
        dir
    }

    fn fill(dir: &Path) {
        let target = Target::begin(dir).expect("free");
        for name in ["keys/city.key", "keys/city/1.key", "config.toml", "audit/1.log", "log/1.log"] {
            let path = target.unpacked.join(name);
            fs::create_dir_all(path.parent().expect("one")).expect("made");
            fs::write(path, name).expect("written");
        }
        target.keep();
    }

    /// Places things until the `n`th is to be renamed, as if the process was killed there. Whether all were.
    fn cut_at(dir: &Path, n: usize) -> bool {
        let mut done = 0;
        let placed = place_by(dir, &mut |from, to| {
            if done == n {
                return Err(io::Error::other("killed"));
            }
            done += 1;
            fs::rename(from, to)
        });
        placed.is_ok()
    }

    #[test]
    fn a_restore_that_was_cut_short_anywhere_is_made_again() {
        for n in 0.. {
            let dir = unpacked();
            if cut_at(dir.path(), n) {
                assert_eq!(n, 5, "the list, and four things");
                assert_eq!(found(dir.path()).expect("seen"), Found::Taken, "a site");
                assert_eq!(names_in(dir.path()).expect("listed"), ["audit", "config.toml", "keys", "log"]);
                break;
            }
            check_free(dir.path()).unwrap_or_else(|error| panic!("after {n}: {error}"));
            fill(dir.path());
            place(dir.path()).unwrap_or_else(|error| panic!("after {n}: {error}"));
            assert_eq!(names_in(dir.path()).expect("listed"), ["audit", "config.toml", "keys", "log"]);
            assert_eq!(fs::read(dir.path().join("keys/city/1.key")).expect("read"), b"keys/city/1.key");
        }
    }

    #[test]
    fn one_that_fails_takes_back_what_it_had_placed() {
        let dir = unpacked();
        assert!(!cut_at(dir.path(), 3));
        give_up(dir.path());
        assert_eq!(names_in(dir.path()).expect("listed"), [] as [&str; 0]);
    }

    /// What is named, and left as it is, when somebody did `touch` to a restore that was cut short.
    #[track_caller]
    fn check(touch: impl FnOnce(&Path), expected: &[&str]) {
        let dir = unpacked();
        assert!(!cut_at(dir.path(), 4), "all but the log is placed");
        touch(dir.path());
        let before = names_in(dir.path()).expect("listed");
        let refused = Target::begin(dir.path()).err().expect("it is refused");
        match &refused {
            BackupError::Touched { names, .. } => assert_eq!(names, expected),
            other => panic!("{other}"),
        }
        let said = refused.said();
        assert!(expected.iter().all(|name| said.en.contains(name) && said.zh.contains(name)), "{}", said.en);
        give_up(dir.path());
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
        assert!(!cut_at(dir.path(), 4));
        fs::create_dir(dir.path().join(LOG)).expect("somebody made a site there");
        assert!(matches!(Target::begin(dir.path()), Err(BackupError::Exists(_))));
        let other = tempfile::tempdir().expect("a directory");
        fs::write(other.path().join("x"), "mine").expect("written");
        assert!(matches!(Target::begin(other.path()), Err(BackupError::Exists(_))));
        assert_eq!(names_in(other.path()).expect("listed"), ["x"]);
    }
}
