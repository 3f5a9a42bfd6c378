//! Which files beside the logs belong into a backup.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use liandong_proto::id::{Hash, sha256};

use super::BackupError;
use super::bounds::{NAME_BYTES, SMALL_BYTES, shown};
use crate::log::segment_path;
use crate::say;
use crate::text::Said;

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

/// What lies among the keys and goes into no backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub why: Said,
}

impl LeftOut {
    /// What is told of it.
    pub fn said(&self) -> Said {
        let (path, Said { zh, en }) = (shown(&self.path.to_string_lossy()), &self.why);
        say!(
            "没有备份 {path}：{zh}；需要的话请另处保存",
            "{path} is not in the backup: {en}; keep a copy elsewhere if it is wanted"
        )
    }
}

/// What was found beside the logs.
#[derive(Clone, Default)]
pub struct SmallFiles {
    /// What goes into a backup, in the order of the names.
    pub small: Vec<Small>,
    /// What does not, and somebody may miss.
    pub left_out: Vec<LeftOut>,
}

/// The small files of a data directory: settings, and with `keys` all of `keys/`, but what an unfinished restore goes on
/// from, and the salt of imports.
///
/// # Errors
/// [`BackupError::File`]; [`BackupError::Foreign`] where settings are too long to be some.
pub fn small_files(dir: &Path, keys: bool) -> Result<SmallFiles, BackupError> {
    let mut files = SmallFiles::default();
    let mut paths = Vec::new();
    if keys {
        walk(dir, &dir.join("keys"), &mut paths, &mut files.left_out)?;
        paths.push(dir.join("import.salt"));
    }
    paths.extend(["config.toml", LAYOUT_NAME].map(|name| dir.join(name)));
    for path in paths {
        let Some(name) = path.strip_prefix(dir).ok().and_then(Path::to_str) else { continue };
        match read(&path) {
            Ok(Some(bytes)) => files.small.push(Small { name: name.to_owned(), bytes }),
            Ok(None) if name.starts_with("keys/") => {
                let mib = SMALL_BYTES >> 20;
                let why = say!("超过 {mib} MiB", "it has more than {mib} MiB");
                files.left_out.push(LeftOut { path, why });
            }
            Ok(None) => {
                let (shown, mib) = (path.display(), SMALL_BYTES >> 20);
                return Err(BackupError::Foreign(say!(
                    "{shown} 超过 {mib} MiB，没有备份；请检查这个文件",
                    "{shown} has more than {mib} MiB, nothing was backed up; look at that file"
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::file(&path)(error)),
        }
    }
    files.small.sort_by(|a, b| a.name.cmp(&b.name));
    files.left_out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// What is in a small file; `None` when it is none.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(SMALL_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= SMALL_BYTES))
}

fn walk(
    dir: &Path,
    below: &Path,
    out: &mut Vec<PathBuf>,
    left_out: &mut Vec<LeftOut>,
) -> Result<(), BackupError> {
    let entries = match fs::read_dir(below) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(BackupError::file(below))?,
    };
    for entry in entries {
        let path = entry.map_err(BackupError::file(below))?.path();
        let name = path.strip_prefix(dir).unwrap_or(&path);
        if name.components().count() == 2 && path.is_dir() {
            walk(dir, &path, out, left_out)?;
        } else if !is_own_leftover(name) {
            match does_not_belong(name, &path) {
                None => out.push(path),
                Some(why) => left_out.push(LeftOut { path, why }),
            }
        }
    }
    Ok(())
}

/// What this program keeps among the keys for a while only.
fn is_own_leftover(name: &Path) -> bool {
    let is_locked = name == Path::new("keys/membership.lock");
    let is_replaced = name.extension().is_some_and(|extension| extension == "new");
    is_locked || is_replaced || name == Path::new("keys/restore.json")
}

/// Why something among the keys is none: what an editor has left, say.
fn does_not_belong(name: &Path, path: &Path) -> Option<Said> {
    let Some(text) = name.to_str() else { return Some(say!("名字不是 UTF-8", "its name is not UTF-8")) };
    let file = text.rsplit('/').next().unwrap_or_default();
    let is_copy =
        file.ends_with('~') || file.starts_with('#') || file.ends_with(".swp") || file.ends_with(".bak");
    if is_copy || file.starts_with('.') {
        return Some(say!(
            "像是编辑器或别的程序留下的",
            "an editor or another program seems to have left it"
        ));
    }
    if !is_known(text) || !path.is_file() {
        return Some(say!("不是密钥目录中该有的文件", "it is no file that belongs among the keys"));
    }
    None
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
    let sound = name.len() <= NAME_BYTES
        && parts.iter().all(|part| !part.is_empty() && !part.starts_with('.'))
        && !name.contains(char::is_control);
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
            "keys/a\nb",
            "keys/\x1b[2J",
        ] {
            assert!(!is_known(name), "{name}");
        }
        assert!(!is_known(&format!("keys/{}", "x".repeat(NAME_BYTES))));
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
            let found = small_files(dir.path(), keys).expect("read");
            assert_eq!(found.left_out, []);
            found.small.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["config.toml", "layout"]);
        assert_eq!(names(true), ["config.toml", "import.salt", "keys/city.key", "keys/city/older", "layout"]);
    }

    #[test]
    fn what_does_not_belong_among_the_keys_is_left_out_and_named() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("keys/city/deeper")).expect("made");
        let (own, others) = (
            ["keys/city.key", "keys/own-linking.key", "keys/city/ab12.key"],
            [
                "keys/#city.key#",
                "keys/.city.key.swp",
                "keys/city.key~",
                "keys/city/deeper/x",
                "keys/large",
                "keys/tab\there",
            ],
        );
        let quiet = ["keys/membership.lock", "keys/membership.new", "keys/restore.json"];
        for name in own.iter().chain(&others).chain(&quiet) {
            fs::write(dir.path().join(name), name).expect("written");
        }
        fs::write(dir.path().join("keys/large"), vec![0; SMALL_BYTES as usize + 1]).expect("written");
        let found = small_files(dir.path(), true).expect("read");
        let names: Vec<&str> = found.small.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["keys/city.key", "keys/city/ab12.key", "keys/own-linking.key"]);
        assert!(names.iter().all(|name| is_known(name)), "whatever is packed can be put back");
        let left: Vec<String> = found
            .left_out
            .iter()
            .map(|it| it.path.strip_prefix(dir.path()).expect("in it").display().to_string())
            .collect();
        assert_eq!(
            left,
            [
                "keys/#city.key#",
                "keys/.city.key.swp",
                "keys/city/deeper",
                "keys/city.key~",
                "keys/large",
                "keys/tab\there"
            ]
        );
        let said = found.left_out[5].said();
        assert!(said.en.contains(r"keys/tab\there") && !said.en.contains('\t'), "{}", said.en);
        // Settings that are none are not left out quietly.
        fs::write(dir.path().join("config.toml"), vec![0; SMALL_BYTES as usize + 1]).expect("written");
        let refused = small_files(dir.path(), true).err().expect("refused").said();
        assert!(refused.en.contains("config.toml"), "{}", refused.en);
    }
}
