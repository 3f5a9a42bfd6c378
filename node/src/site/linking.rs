//! The ring of linking keys: the newest that came over the hub is in use. One that the settings name is a member too, and
//! in use only while none has come.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use liandong_proto::share::LinkingKey;

use super::files::{read_key, write_key};
use super::{Paths, SiteError};

/// The linking keys of a site, the one in use last.
#[derive(Debug, Default)]
pub struct LinkingRing {
    keys: Vec<LinkingKey>,
    /// Where those are that came over the hub, by their order.
    files: Vec<(u32, PathBuf)>,
}

/// The order of a file among those that came: `0003-1a2b3c4d.key`.
fn order(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_suffix(".key")?;
    name.split_once('-')?.0.parse().ok()
}

impl LinkingRing {
    /// Reads the ring of a site.
    ///
    /// # Errors
    /// [`SiteError`] naming the file.
    pub fn read(paths: &Paths, configured: Option<&Path>) -> Result<LinkingRing, SiteError> {
        let dir = paths.linking_keys();
        let failed = |source| SiteError::File { path: dir.clone(), source };
        let mut ring = LinkingRing::default();
        match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            listed => {
                for entry in listed.map_err(failed)? {
                    let path = entry.map_err(failed)?.path();
                    ring.files.extend(order(&path).map(|order| (order, path)));
                }
            }
        }
        ring.files.sort();
        let files = ring.files.iter().map(|(_, path)| path.as_path());
        for path in configured.into_iter().chain(files) {
            let key = LinkingKey::new(&read_key(path)?);
            ring.keys.retain(|other| other.fingerprint() != key.fingerprint());
            ring.keys.push(key);
        }
        Ok(ring)
    }

    /// The key in use.
    pub fn in_use(&self) -> Option<&LinkingKey> {
        self.keys.last()
    }

    /// Fingerprints as people compare them, the one in use last.
    pub fn long_fingerprints(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(LinkingKey::long_fingerprint)
    }

    /// Fingerprints, the one in use last.
    pub fn fingerprints(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(LinkingKey::fingerprint)
    }

    /// Takes a key that has come into use, durable before it returns; false when it is so already.
    ///
    /// # Errors
    /// [`SiteError::File`]; the ring is as it was then.
    pub(super) fn take(&mut self, paths: &Paths, key: &[u8; 32]) -> Result<bool, SiteError> {
        let next = LinkingKey::new(key);
        let fingerprint = next.fingerprint().to_owned();
        if self.in_use().is_some_and(|key| key.fingerprint() == fingerprint) {
            return Ok(false);
        }
        let order = self.files.last().map_or(1, |(order, _)| order + 1);
        let path = paths.linking_keys().join(format!("{order:04}-{fingerprint}.key"));
        let beside = path.with_extension("new");
        match fs::remove_file(&beside) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(SiteError::File { path: beside, source });
            }
            _ => {}
        }
        write_key(&beside, key)?;
        paths.replace(&beside, &path)?;
        self.files.push((order, path));
        self.keys.retain(|other| other.fingerprint() != fingerprint);
        self.keys.push(next);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ring: &LinkingRing, keys: &[u8]) {
        let expected: Vec<String> =
            keys.iter().map(|n| LinkingKey::new(&[*n; 32]).fingerprint().to_owned()).collect();
        assert_eq!(ring.fingerprints().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_newest_that_came_is_in_use_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let (paths, configured) = (Paths::new(dir.path()), dir.path().join("linking.key"));
        write_key(&configured, &[1; 32]).expect("written");
        let read = || LinkingRing::read(&paths, Some(&configured)).expect("readable");
        let mut ring = read();
        check(&ring, &[1]);
        assert!(!ring.take(&paths, &[1; 32]).expect("taken"), "it is in use");
        for n in [2, 3, 3, 2] {
            ring.take(&paths, &[n; 32]).expect("taken");
        }
        check(&ring, &[1, 3, 2]);
        check(&read(), &[1, 3, 2]);
        // A write that was cut short is no member.
        std::fs::write(paths.linking_keys().join("0009-ffffffff.new"), "x").expect("written");
        check(&read(), &[1, 3, 2]);
        // What was configured comes over the hub as well, and stays when the setting goes.
        ring.take(&paths, &[1; 32]).expect("taken");
        check(&read(), &[3, 2, 1]);
        check(&LinkingRing::read(&paths, None).expect("readable"), &[3, 2, 1]);
        for (_, path) in &ring.files {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600);
        }
    }
}
