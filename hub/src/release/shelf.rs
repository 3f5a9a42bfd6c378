//! The directory of a hub's releases: which there are, a next one, one that is taken back.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use liandong_node::index::Index;
use liandong_node::site::{OnProgress, SiteError};
use serde::{Deserialize, Serialize};

use super::ReleaseError;
use super::manifest::Manifest;
use super::publish::{Published, build};
use super::write::sync_dir;

/// The ending of a directory in which a release is being made.
const PART: &str = ".part";
/// How often a directory is removed into which somebody else is just putting something.
const TRIES: usize = 100;

/// Whether a release can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Published(Box<Manifest>),
    /// It was taken back, since a record in it was erased.
    Withdrawn(Withdrawn),
}

/// A release that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// Its number.
    pub release: u64,
    /// When, milliseconds since 1970.
    pub withdrawn_ms: u64,
}

/// A release in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub release: u64,
    /// Whether it can be read.
    pub standing: Standing,
}

/// A release that is wanted.
pub struct Issue<'a> {
    /// A few words for its citation.
    pub note: &'a str,
    /// When, milliseconds since 1970.
    pub now_ms: u64,
    /// The highest number that a release had, whether it is still in the directory or not.
    pub used: u64,
    /// Takes the number for good: called once everything else is done.
    pub claim: &'a dyn Fn(u64) -> Result<(), SiteError>,
}

/// The releases of a hub.
#[derive(Debug)]
pub struct Releases {
    dir: PathBuf,
    /// Held while a release is published, or releases are looked through for what is erased.
    pub(super) publishing: Mutex<()>,
}

impl Releases {
    /// Those in a directory, which need not be there yet.
    pub fn new(dir: PathBuf) -> Releases {
        Releases { dir, publishing: Mutex::new(()) }
    }

    /// Where all of them are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file's path within that.
    pub fn within(&self, path: &Path) -> String {
        path.strip_prefix(&self.dir).unwrap_or(path).display().to_string()
    }

    /// Numbers of those that can be read, ascending.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn numbers(&self) -> Result<Vec<u64>, ReleaseError> {
        let is_readable = |release: &u64| !self.marker(*release).exists();
        Ok(self.taken()?.into_iter().filter(is_readable).collect())
    }

    /// Where the files of a release are.
    pub fn path(&self, release: u64) -> PathBuf {
        self.dir.join(format!("{release:06}"))
    }

    /// Where the files of projects are that read a release.
    pub(super) fn projects(&self, release: u64) -> PathBuf {
        self.dir.join("projects").join(format!("{release:06}"))
    }

    fn marker(&self, release: u64) -> PathBuf {
        self.dir.join(format!("{release:06}.withdrawn"))
    }

    /// All there are and were, ascending.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn list(&self) -> Result<Vec<Listed>, ReleaseError> {
        let listed = |release| Ok(Listed { release, standing: self.standing(release)? });
        self.taken()?.into_iter().map(listed).collect()
    }

    /// Their numbers.
    pub(super) fn taken(&self) -> Result<Vec<u64>, ReleaseError> {
        let mut numbers = Vec::new();
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ReleaseError::file(&self.dir))?,
        };
        for entry in entries {
            let name = entry.map_err(ReleaseError::file(&self.dir))?.file_name();
            let name = name.to_string_lossy();
            numbers.extend(name.strip_suffix(".withdrawn").unwrap_or(&name).parse::<u64>().ok());
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    /// How a release stands.
    ///
    /// # Errors
    /// [`ReleaseError::None`].
    pub fn standing(&self, release: u64) -> Result<Standing, ReleaseError> {
        let marker = self.marker(release);
        match fs::read(&marker) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => {
                let text = read.map_err(ReleaseError::file(&marker))?;
                let failed = |source| ReleaseError::Manifest { path: marker.clone(), source };
                return Ok(Standing::Withdrawn(serde_json::from_slice(&text).map_err(failed)?));
            }
        }
        let path = self.path(release).join("manifest.json");
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(ReleaseError::None(release)),
            read => {
                let text = read.map_err(ReleaseError::file(&path))?;
                let failed = |source| ReleaseError::Manifest { path: path.clone(), source };
                Ok(Standing::Published(serde_json::from_slice(&text).map_err(failed)?))
            }
        }
    }

    /// The manifest of a release that can be read.
    ///
    /// # Errors
    /// [`ReleaseError::None`], [`ReleaseError::Withdrawn`].
    pub fn manifest(&self, release: u64) -> Result<Manifest, ReleaseError> {
        match self.standing(release)? {
            Standing::Published(manifest) => Ok(*manifest),
            Standing::Withdrawn(_) => Err(ReleaseError::Withdrawn(release)),
        }
    }

    /// The newest that can be read, if there is one.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn latest(&self) -> Result<Option<Manifest>, ReleaseError> {
        for release in self.numbers()?.into_iter().rev() {
            match self.manifest(release) {
                // Withdrawn since: the one before is the newest.
                Err(ReleaseError::Withdrawn(_) | ReleaseError::None(_)) => {}
                manifest => return manifest.map(Some),
            }
        }
        Ok(None)
    }

    /// Publishes the next release from an index: all of it or nothing is there in the end, also when the power fails.
    ///
    /// # Errors
    /// [`ReleaseError::Busy`] while another is being published.
    pub fn publish(
        &self,
        index: &Index,
        issue: &Issue<'_>,
        progress: OnProgress<'_>,
    ) -> Result<Manifest, ReleaseError> {
        let _publishing = self.publishing.try_lock().map_err(|_| ReleaseError::Busy)?;
        fs::create_dir_all(&self.dir).map_err(ReleaseError::file(&self.dir))?;
        fs::set_permissions(&self.dir, Permissions::from_mode(0o700))
            .map_err(ReleaseError::file(&self.dir))?;
        let release = self.taken()?.last().map_or(issue.used, |last| issue.used.max(*last)) + 1;
        // Its number was used if the hub ended just before it was put in its place.
        self.discard_parts()?;
        let part = self.dir.join(format!(".{release:06}{PART}"));
        fs::create_dir(&part).map_err(ReleaseError::file(&part))?;
        let published = Published { release, published_ms: issue.now_ms, note: issue.note.to_owned() };
        let made = build(index, &part, &published, progress).and_then(|manifest| {
            close(&part)?;
            (issue.claim)(release)?;
            fs::rename(&part, self.path(release)).map_err(ReleaseError::file(&part))?;
            sync_dir(&self.dir)?;
            Ok(manifest)
        });
        // A part that cannot be removed now is removed before the next release, or the next erasure.
        made.inspect_err(|_| drop(discard(&part)))
    }

    /// Removes what publications that were cut short have left. Nobody may be publishing.
    pub(super) fn discard_parts(&self) -> Result<(), ReleaseError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(ReleaseError::file(&self.dir))?,
        };
        for entry in entries {
            let path = entry.map_err(ReleaseError::file(&self.dir))?.path();
            if path.is_dir() && path.to_string_lossy().ends_with(PART) {
                discard(&path)?;
            }
        }
        Ok(())
    }

    /// Takes a release back: that it was there stays known, its files go.
    ///
    /// # Errors
    /// [`ReleaseError`]; once the marker is there the release is read no more, and what is left of its files goes with the
    /// next call.
    pub fn withdraw(&self, release: u64, now_ms: u64) -> Result<(), ReleaseError> {
        let (marker, part) = (self.marker(release), self.marker(release).with_extension("part"));
        if !marker.exists() {
            self.manifest(release)?;
            let text = serde_json::to_vec(&Withdrawn { release, withdrawn_ms: now_ms }).expect("plain data");
            fs::write(&part, text).map_err(ReleaseError::file(&part))?;
            fs::File::open(&part).and_then(|file| file.sync_all()).map_err(ReleaseError::file(&part))?;
            fs::rename(&part, &marker).map_err(ReleaseError::file(&part))?;
            sync_dir(&self.dir)?;
        }
        discard(&self.projects(release))?;
        discard(&self.path(release))?;
        sync_dir(&self.dir)
    }
}

/// Makes files and folders read-only.
fn close(dir: &Path) -> Result<(), ReleaseError> {
    for entry in fs::read_dir(dir).map_err(ReleaseError::file(dir))? {
        let path = entry.map_err(ReleaseError::file(dir))?.path();
        if path.is_dir() {
            close(&path)?;
        } else {
            fs::set_permissions(&path, Permissions::from_mode(0o400)).map_err(ReleaseError::file(&path))?;
        }
    }
    fs::set_permissions(dir, Permissions::from_mode(0o500)).map_err(ReleaseError::file(dir))
}

/// Removes a directory, read-only or not, if it is there. Others may be removing it as well, or making files in it.
pub(super) fn discard(dir: &Path) -> Result<(), ReleaseError> {
    fn open(dir: &Path) -> std::io::Result<()> {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                open(&path)?;
            }
        }
        Ok(())
    }
    let mut tries = 0;
    loop {
        match open(dir).and_then(|()| fs::remove_dir_all(dir)) {
            Ok(()) => return Ok(()),
            Err(_) if !dir.exists() => return Ok(()),
            Err(error) if is_passing(&error) && tries < TRIES => tries += 1,
            Err(error) => return Err(ReleaseError::file(dir)(error)),
        }
    }
}

/// Whether somebody else was just at work in a directory.
fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty)
}
