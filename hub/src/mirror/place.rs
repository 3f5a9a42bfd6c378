//! Whose mirror a directory is. A mount point is there without its disk too: so a mirror has a mark, and the hub a note of
//! where it has set one up. A directory that was set up and has no mark now is not the mirror.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use liandong_node::log::segment_path;
use liandong_proto::id::{Epoch, hex};

use super::LOG;
use super::follow::{Unfollowed, file};

/// The mark, in the mirror's directory: the form, and the life of the hub's log.
pub const MARK: &str = "liandong-mirror";
/// The note, in the hub's: the directories, a list of strings.
pub const NOTE: &str = "mirrors";
const FORM: &str = "liandong mirror 1";

/// A directory that is to be, or is, a hub's mirror.
pub struct Place {
    dir: PathBuf,
    data_dir: PathBuf,
    mark: String,
    /// The note names it, as far as is known.
    is_noted: bool,
}

/// What is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This hub's mirror.
    Ours,
    /// A mirror without a mark, as versions before have made them: its log says whose it is.
    Unmarked,
}

impl Place {
    /// `dir`, for the hub in `data_dir`, whose log begins with this epoch.
    pub fn new(dir: &Path, data_dir: &Path, epoch: &Epoch) -> Place {
        let mark = mark_of(epoch);
        Place { dir: dir.to_path_buf(), data_dir: data_dir.to_path_buf(), mark, is_noted: false }
    }

    /// Looks before anything is written to it. One that is new is set up.
    ///
    /// # Errors
    /// [`Unfollowed::File`] when it is not there, [`Unfollowed::Note`], [`Unfollowed::Away`] when it was set up and has no mark,
    /// [`Unfollowed::Another`] when the mark is another's.
    pub fn look(&mut self) -> Result<Found, Unfollowed> {
        if !self.dir.is_dir() {
            let gone = io::Error::new(io::ErrorKind::NotFound, "no such directory");
            return Err(Unfollowed::File { path: self.dir.clone(), source: gone });
        }
        let mark = self.dir.join(MARK);
        match fs::read(&mark) {
            Ok(found) if found == self.mark.as_bytes() => {
                self.note()?;
                return Ok(Found::Ours);
            }
            Ok(_) => return Err(Unfollowed::Another(self.dir.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Unfollowed::File { path: mark, source }),
        }
        self.is_noted = is_named(&noted(&self.data_dir)?, &self.dir);
        if self.is_noted {
            return Err(Unfollowed::Away(self.dir.clone()));
        }
        if segment_path(&self.dir.join(LOG), 1).exists() {
            return Ok(Found::Unmarked);
        }
        tracing::warn!(mirror = %self.dir.display(), "a new mirror is begun");
        self.mark()?;
        Ok(Found::Ours)
    }

    /// Marks it as this hub's, and notes that.
    ///
    /// # Errors
    /// [`Unfollowed::File`].
    pub fn mark(&mut self) -> Result<(), Unfollowed> {
        put(&self.dir, MARK, self.mark.as_bytes())?;
        self.note()
    }

    fn note(&mut self) -> Result<(), Unfollowed> {
        if !self.is_noted {
            note(&self.data_dir, &self.dir)?;
            self.is_noted = true;
        }
        Ok(())
    }
}

/// Notes in a hub's directory that a mirror is set up in another, where that has the mark of this hub. One without waits for
/// the hub, which knows a mirror of before by what is in its log.
///
/// # Errors
/// [`Unfollowed::File`], [`Unfollowed::Note`].
pub fn note_if_marked(data_dir: &Path, dir: &Path, epoch: &Epoch) -> Result<(), Unfollowed> {
    let mark = dir.join(MARK);
    match fs::read(&mark) {
        Ok(found) if found == mark_of(epoch).as_bytes() => note(data_dir, dir),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Unfollowed::File { path: mark, source }),
    }
}

/// By all its names: a link to it may not be there later.
fn note(data_dir: &Path, dir: &Path) -> Result<(), Unfollowed> {
    let mut all = noted(data_dir)?;
    let before = all.len();
    for name in names(dir) {
        if !all.iter().any(|known| Path::new(known) == Path::new(&name)) {
            all.push(name);
        }
    }
    if all.len() > before { write(data_dir, &all) } else { Ok(()) }
}

/// Takes a directory off the note: the next look at it sets up a new mirror there, or takes the one that is there by what
/// is in its log. False when the note did not name it.
///
/// # Errors
/// [`Unfollowed::File`], [`Unfollowed::Note`].
pub fn forget(data_dir: &Path, dir: &Path) -> Result<bool, Unfollowed> {
    let mut all = noted(data_dir)?;
    let before = all.len();
    all.retain(|known| !is_named(std::slice::from_ref(known), dir));
    if all.len() < before {
        write(data_dir, &all)?;
    }
    Ok(all.len() < before)
}

fn write(data_dir: &Path, all: &[String]) -> Result<(), Unfollowed> {
    put(data_dir, NOTE, format!("{}\n", serde_json::json!(all)).as_bytes())
}

fn noted(data_dir: &Path) -> Result<Vec<String>, Unfollowed> {
    let path = data_dir.join(NOTE);
    match fs::read(&path) {
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|error| Unfollowed::Note { path, why: error.to_string() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Unfollowed::File { path, source }),
    }
}

fn mark_of(epoch: &Epoch) -> String {
    format!("{FORM} {}\n", hex(&epoch.0))
}

/// Whether a note names a directory, under whatever name it was asked for then and is now.
fn is_named(noted: &[String], dir: &Path) -> bool {
    let ours = names(dir);
    let is_ours = |name: &String| ours.iter().any(|ours| Path::new(ours) == Path::new(name));
    noted.iter().any(|known| names(Path::new(known)).iter().any(is_ours))
}

/// The names of a directory: as it was asked for, wherever from, and without links and detours where it is there.
fn names(dir: &Path) -> Vec<String> {
    let asked = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let real = fs::canonicalize(&asked).ok().filter(|real| *real != asked);
    [Some(asked), real].into_iter().flatten().map(|name| name.display().to_string()).collect()
}

/// Puts a small file into a directory, as a whole and durably.
fn put(dir: &Path, name: &str, content: &[u8]) -> Result<(), Unfollowed> {
    let (path, unfinished) = (dir.join(name), dir.join(format!("{name}.part")));
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let written = opened.and_then(|mut it| {
        it.write_all(content)?;
        it.sync_all()
    });
    written.map_err(file(&unfinished))?;
    fs::rename(&unfinished, &path).map_err(file(&path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(file(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_up_is_known_by_its_mark() {
        let dir = tempfile::tempdir().expect("a directory");
        let (data, mirror, disk) =
            (dir.path().join("data"), dir.path().join("mirror"), dir.path().join("disk"));
        let place = || Place::new(&mirror, &data, &Epoch([7; 16]));
        fs::create_dir(&data).expect("made");
        let look = || place().look().map_err(|error| error.to_string());
        assert!(look().is_err_and(|error| error.contains("no such directory")));
        fs::create_dir(&mirror).expect("made");
        for _ in 0..2 {
            assert_eq!(look(), Ok(Found::Ours), "the first time is easy");
        }
        // The disk goes, the mount point stays.
        fs::rename(&mirror, &disk).expect("unmounted");
        fs::create_dir(&mirror).expect("made");
        assert!(look().is_err_and(|error| error.contains("no mark")));
        assert_eq!(fs::read_dir(&mirror).expect("listed").count(), 0, "nothing was written");
        // Also for a hub that looks all the while.
        let mut running = place();
        assert!(matches!(running.look(), Err(Unfollowed::Away(_))));
        fs::remove_dir(&mirror).expect("removed");
        fs::rename(&disk, &mirror).expect("mounted");
        assert!(matches!(running.look(), Ok(Found::Ours)));
        fs::rename(&mirror, &disk).expect("unmounted");
        fs::create_dir(&mirror).expect("made");
        assert!(matches!(running.look(), Err(Unfollowed::Away(_))));
        // A copy that was made there by mistake, long ago, is no mirror either.
        fs::create_dir(mirror.join(LOG)).expect("made");
        fs::write(segment_path(&mirror.join(LOG), 1), "x").expect("written");
        assert!(matches!(running.look(), Err(Unfollowed::Away(_))));
        // On purpose.
        assert!(forget(&data, &mirror).expect("forgotten") && !forget(&data, &mirror).expect("known"));
        assert!(matches!(running.look(), Ok(Found::Unmarked)));
        running.mark().expect("marked");
        assert_eq!(look(), Ok(Found::Ours));
        // Another hub's.
        let mut other = Place::new(&mirror, &data, &Epoch([8; 16]));
        assert!(matches!(other.look(), Err(Unfollowed::Another(_))));
    }

    /// A mirror that was set up under one name, and whose disk is not mounted when it is looked at under another.
    #[test]
    fn a_mirror_is_known_under_every_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        for name in ["data", "mirror", "beside"] {
            fs::create_dir(at(name)).expect("made");
        }
        std::os::unix::fs::symlink(at("mirror"), at("link")).expect("linked");
        let names = ["mirror", "mirror/", "./mirror/.", "beside/../mirror", "link", "link/../mirror/"];
        for set_up in names {
            let looked_at = |name: &str| {
                Place::new(&at(name), &at("data"), &Epoch([7; 16])).look().map_err(|it| it.to_string())
            };
            assert_eq!(looked_at(set_up), Ok(Found::Ours), "{set_up}");
            fs::remove_file(at("mirror").join(MARK)).expect("unmounted");
            for name in names {
                let found = looked_at(name);
                assert!(
                    found.as_ref().is_err_and(|error| error.contains("no mark")),
                    "{set_up} {name}: {found:?}"
                );
            }
            for name in names.iter().rev() {
                assert_eq!(
                    forget(&at("data"), &at(name)).expect("forgotten"),
                    *name == names[5],
                    "{set_up} {name}"
                );
            }
        }
        // A link that names another directory now was a mirror all the same.
        let mut linked = Place::new(&at("link"), &at("data"), &Epoch([7; 16]));
        assert!(matches!(linked.look(), Ok(Found::Ours)));
        fs::remove_file(at("link")).expect("removed");
        std::os::unix::fs::symlink(at("beside"), at("link")).expect("linked");
        assert!(matches!(linked.look(), Err(Unfollowed::Away(_))));
        assert_eq!(fs::read_dir(at("beside")).expect("listed").count(), 0, "nothing was written");
        fs::remove_file(at("link")).expect("removed");
        fs::remove_file(at("mirror").join(MARK)).expect("unmounted");
        let mut real = Place::new(&at("mirror"), &at("data"), &Epoch([7; 16]));
        assert!(matches!(real.look(), Err(Unfollowed::Away(_))), "the link is gone, the mirror is known");
    }

    #[test]
    fn what_has_no_mark_of_this_hub_is_not_noted_for_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let ours = Epoch([7; 16]);
        let noted_as = |mark: Option<String>| {
            if let Some(mark) = mark {
                fs::write(dir.path().join(MARK), mark).expect("written");
            }
            note_if_marked(dir.path(), dir.path(), &ours).expect("looked at");
            !noted(dir.path()).expect("read").is_empty()
        };
        assert!(!noted_as(None), "a mirror of a version before");
        assert!(!noted_as(Some(mark_of(&Epoch([8; 16])))), "another's");
        assert!(noted_as(Some(mark_of(&ours))));
    }
}
