//! Putting what was unpacked into its place, so that a restore that is cut short at any moment can be made again.
//!
//! Everything is unpacked into `.restoring` and checked there. Then a list of it is made, durably, and one thing after the
//! other gets its place, the log last: from then on there is a site, whatever of `.restoring` is left. A restore that finds the list of an earlier one moves
//! back what that had placed, if nobody has touched it since, and begins anew. It removes nothing but what stands in
//! `.restoring`. A restore holds the directory meanwhile: what another one does that is under way is nothing left over.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{BackupError, Held, hold};
use crate::exclusive::Exclusive;

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
/// [`BackupError::Exists`], [`BackupError::Touched`], [`BackupError::Busy`]; when it cannot be seen.
pub fn check_free(dir: &Path) -> Result<(), BackupError> {
    if matches!(hold(dir, true), Ok(Held::Others)) {
        return Err(BackupError::Busy(dir.to_path_buf()));
    }
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

/// The directory that a restore fills, which no other one does meanwhile.
#[derive(Debug)]
pub struct Filling {
    dir: PathBuf,
    /// It was not there before.
    made: bool,
    /// None where directories cannot be locked.
    _lock: Option<Exclusive>,
}

impl Filling {
    /// Takes a directory, which need not be there yet.
    ///
    /// # Errors
    /// [`BackupError::Busy`]; when it cannot be made or opened.
    pub fn begin(dir: &Path) -> Result<Filling, BackupError> {
        loop {
            let made = !dir.exists();
            let builder = &mut fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(dir).map_err(BackupError::file(dir))?;
            let lock = match hold(dir, true) {
                Ok(Held::Mine(lock)) => Some(lock),
                Ok(Held::Others) => return Err(BackupError::Busy(dir.to_path_buf())),
                // Another one that came to nothing has removed it just now.
                Ok(Held::Gone) => continue,
                Err(error) if cannot_lock(&error) => None,
                Err(error) => return Err(BackupError::file(dir)(error)),
            };
            return Ok(Filling { dir: dir.to_path_buf(), made, _lock: lock });
        }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts what was unpacked into its places, the log last: from then on there is a site. What fails behind that is no
    /// failure of the restore, and is answered.
    ///
    /// # Errors
    /// [`BackupError`]; [`give_up`](Filling::give_up) takes it back.
    pub fn place(&self) -> Result<Option<BackupError>, BackupError> {
        place_by(&self.dir, &mut carry_out)
    }

    /// Takes back what was unpacked and placed, as far as there is no site yet and nobody has touched it.
    pub fn give_up(self) {
        // What this cannot do the next restore does, or says.
        let _ = clear(&self.dir);
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if self.made {
            // Only where nothing is in it.
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// Some network file systems lock files and no directories. A restore goes on there without.
fn cannot_lock(error: &io::Error) -> bool {
    let no_lock = [Errno::BADF, Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS];
    Errno::from_io_error(error).is_some_and(|errno| no_lock.contains(&errno))
}

/// Removes what a restore has left that was cut short behind its end. Whoever opens a site calls it.
pub fn tidy(dir: &Path) {
    let (unpacked, list) = (dir.join(UNPACKED), [LIST.to_owned(), format!("{LIST}.part")]);
    let is_done = dir.join(LOG).exists()
        && names_in(&unpacked).is_ok_and(|names| names.iter().all(|name| list.contains(name)));
    if is_done {
        // It stands in nobody's way.
        let _ = fs::remove_dir_all(&unpacked);
    }
}

/// One step of giving things their places.
enum Act<'a> {
    Rename(&'a Path, &'a Path),
    Sync(&'a Path),
    Remove(&'a Path),
}

fn carry_out(act: Act<'_>) -> io::Result<()> {
    match act {
        Act::Rename(from, to) => fs::rename(from, to),
        Act::Sync(dir) => File::open(dir)?.sync_all(),
        Act::Remove(dir) => fs::remove_dir_all(dir),
    }
}

type CarryOut<'a> = &'a mut dyn FnMut(Act<'_>) -> io::Result<()>;

fn place_by(dir: &Path, act: CarryOut<'_>) -> Result<Option<BackupError>, BackupError> {
    let unpacked = dir.join(UNPACKED);
    let mut names = names_in(&unpacked).map_err(BackupError::file(&unpacked))?;
    names.sort_by_key(|name| name == LOG);
    let list = unpacked.join(LIST);
    write_list(&unpacked, &names, &list, act).map_err(BackupError::file(&list))?;
    for name in names {
        if name == LOG {
            act(Act::Sync(dir)).map_err(BackupError::file(dir))?;
        }
        let (from, to) = (unpacked.join(&name), dir.join(&name));
        act(Act::Rename(&from, &to)).map_err(BackupError::file(&to))?;
    }
    let mut end = || {
        act(Act::Sync(dir)).map_err(BackupError::file(dir))?;
        act(Act::Remove(&unpacked)).map_err(BackupError::file(&unpacked))?;
        act(Act::Sync(dir)).map_err(BackupError::file(dir))
    };
    Ok(end().err())
}

fn write_list(unpacked: &Path, names: &[String], list: &Path, act: CarryOut<'_>) -> io::Result<()> {
    let mut files = BTreeMap::new();
    names.iter().try_for_each(|name| look(unpacked, Path::new(name), &mut files))?;
    let beside = unpacked.join(format!("{LIST}.part"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let lines: String = files.iter().map(|(path, mark)| format!("{mark} {path}\n")).collect();
    file.write_all(lines.as_bytes())?;
    file.sync_all()?;
    act(Act::Rename(&beside, list))?;
    act(Act::Sync(unpacked))
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

/// Where things are unpacked. Given up, it goes.
pub(super) struct Target {
    pub unpacked: PathBuf,
    kept: bool,
}

impl Target {
    pub fn begin(filling: &Filling) -> Result<Target, BackupError> {
        let dir = filling.dir();
        clear(dir)?;
        let unpacked = dir.join(UNPACKED);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&unpacked)
            .map_err(BackupError::file(&unpacked))?;
        crate::site::make_private_dir(dir)
            .map_err(|error| BackupError::file(dir)(io::Error::other(error)))?;
        Ok(Target { unpacked, kept: false })
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
        }
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(BackupError::file(dir))
}

#[cfg(test)]
mod tests;
