//! Which files beside the logs belong into a backup.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use liandong_proto::id::{Hash, sha256};

use super::BackupError;
use crate::log::segment_path;

/// Nothing but segments is longer than that.
pub(super) const SMALL_BYTES: u64 = 4 << 20;
/// Which programs may work in the directory.
pub(super) const LAYOUT_NAME: &str = "layout";
/// Directories with segments.
pub(super) const LOGS: [&str; 2] = ["log", "audit"];

/// A small file, read.
#[derive(Clone, PartialEq, Eq)]
pub struct Small {
    /// Name in the archive, which is that in the data directory.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A part of a file that is copied as it stands.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Name in the archive.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// So many bytes of it, from its beginning.
    pub bytes: u64,
}

/// The small files of a data directory: settings, and with `keys` all of `keys/`, but what an unfinished restore goes on
/// from, and the salt of imports. In the order of their names.
///
/// # Errors
/// [`BackupError::File`].
pub fn small_files(dir: &Path, keys: bool) -> Result<Vec<Small>, BackupError> {
    let mut paths = Vec::new();
    if keys {
        walk(&dir.join("keys"), &mut paths)?;
        paths.push(dir.join("import.salt"));
    }
    paths.extend(["config.toml", LAYOUT_NAME].map(|name| dir.join(name)));
    let mut small = Vec::new();
    for path in paths {
        let Some(name) = path.strip_prefix(dir).ok().and_then(Path::to_str) else { continue };
        if name == "keys/restore.json" {
            continue;
        }
        match fs::read(&path) {
            Ok(bytes) => small.push(Small { name: name.to_owned(), bytes }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::file(&path)(error)),
        }
    }
    small.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(small)
}

fn walk(dir: &Path, out: &mut Vec<PathBuf>) -> Result<(), BackupError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(BackupError::file(dir))?,
    };
    for entry in entries {
        let path = entry.map_err(BackupError::file(dir))?.path();
        if path.is_dir() {
            walk(&path, out)?;
        } else if path.is_file() {
            out.push(path);
        }
    }
    Ok(())
}

/// Stands for small files that were read: equal where nothing has changed.
pub(super) fn fingerprint(small: &[Small]) -> Hash {
    let mut all = Vec::new();
    for Small { name, bytes } in small {
        all.extend_from_slice(name.as_bytes());
        all.extend_from_slice(&sha256(bytes));
    }
    sha256(&all)
}

/// The segments of a log in a directory of the data directory, of these lengths.
pub(super) fn segments(dir: &Path, log: &str, lengths: &[u64]) -> Vec<Kept> {
    let segment = |(number, bytes): (u64, &u64)| {
        let path = segment_path(&dir.join(log), number);
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Kept { name: format!("{log}/{file}"), path: path.clone(), bytes: *bytes }
    };
    (1..).zip(lengths).map(segment).collect()
}

/// Whether a name may stand in a backup: a file that a site has, with no way out of its directory.
pub(super) fn is_known(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let sound = parts.iter().all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('\0'));
    match parts.as_slice() {
        ["config.toml" | "import.salt" | LAYOUT_NAME] => true,
        ["keys", _] | ["keys", _, _] => sound,
        [log, file] if LOGS.contains(log) => sound && file.ends_with(".log"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_directory() {
        for name in ["keys/city.key", "keys/city/ab12", "config.toml", "log/00000000000000000001.log"] {
            assert!(is_known(name), "{name}");
        }
        for name in [
            "",
            "/etc/passwd",
            "keys",
            "keys/",
            "keys/../x",
            "../config.toml",
            "log/../keys/city.key",
            "keys//x",
            "log/x",
            "index/db",
            "keys/a/b/c",
            "audit/.x.log",
            "LOCK",
            "node.sock",
        ] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn keys_are_read_only_where_they_are_wanted() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("keys/city")).expect("made");
        for name in [
            "keys/city.key",
            "keys/city/older",
            "keys/restore.json",
            "import.salt",
            "config.toml",
            "layout",
            "LOCK",
        ] {
            fs::write(dir.path().join(name), name).expect("written");
        }
        let names = |keys| {
            let small = small_files(dir.path(), keys).expect("read");
            small.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["config.toml", "layout"]);
        assert_eq!(names(true), ["config.toml", "import.salt", "keys/city.key", "keys/city/older", "layout"]);
    }
}
