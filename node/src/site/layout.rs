//! The version of a site's directory: which programs may work in it.
//!
//! The file `layout` holds one line: the number of the layout, and the newest program that has worked in the directory.
//! The number goes up whenever a program begins to write what those before it cannot read, in any file of the
//! directory; not for what they skip unharmed, such as a new field of a message. A program opens every layout up to its
//! own, and from then on the directory has its own; one that is newer it leaves as it is. A directory without the file
//! is from before there was one.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use super::{Paths, SiteError};

/// The layout that this program writes.
pub const LAYOUT: u32 = 1;
/// This program.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Noted {
    layout: u32,
    /// The newest program.
    by: String,
}

impl Noted {
    fn parse(text: &str) -> Option<Noted> {
        let mut words = text.split_whitespace();
        let layout = words.next()?.parse().ok().filter(|layout| *layout > 0)?;
        Some(Noted { layout, by: words.next().unwrap_or("?").to_owned() })
    }
}

/// Numbers of a version, to be compared: `1.10.0` is newer than `1.9.3`. What is no number counts as 0.
fn numbers(version: &str) -> Vec<u64> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    core.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

impl Paths {
    /// The version of the directory.
    pub fn layout(&self) -> std::path::PathBuf {
        self.dir.join("layout")
    }

    fn noted_layout(&self) -> Result<Option<Noted>, SiteError> {
        let path = self.layout();
        match fs::read_to_string(&path) {
            Ok(text) => Noted::parse(&text).map(Some).ok_or_else(|| {
                SiteError::corrupt(
                    path.display().to_string(),
                    "it begins with the number of a layout; put it back from a backup",
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SiteError::File { path, source }),
        }
    }

    /// Whether this program may work in the directory: before it reads anything else there.
    ///
    /// # Errors
    /// [`SiteError::Newer`]; nothing is changed.
    pub fn check_layout(&self) -> Result<(), SiteError> {
        match self.noted_layout()? {
            Some(Noted { layout, by }) if layout > LAYOUT => {
                Err(SiteError::Newer { dir: self.dir.clone(), found: layout, known: LAYOUT, by })
            }
            _ => Ok(()),
        }
    }

    /// Notes, durably, that this program works in the directory: once it has taken it, and before it writes anything
    /// else there.
    ///
    /// # Errors
    /// As [`check_layout`](Paths::check_layout); [`SiteError::File`].
    pub fn note_layout(&self) -> Result<(), SiteError> {
        self.check_layout()?;
        let noted = self.noted_layout()?;
        if let Some(noted) = &noted
            && noted.layout == LAYOUT
        {
            let (theirs, ours) = (numbers(&noted.by), numbers(PROGRAM));
            if theirs > ours {
                tracing::warn!(
                    last = noted.by,
                    this = PROGRAM,
                    "此目录曾由更新的版本使用；目录格式相同，照常运行，但不认识的新内容不会显示 · a newer version has worked in \
                     this directory; the layout is the same, so this one goes on, but does not show what it does not know"
                );
            }
            if theirs >= ours {
                return Ok(());
            }
        }
        if let Some(noted) = noted.filter(|noted| noted.layout < LAYOUT) {
            tracing::info!(from = noted.layout, to = LAYOUT, "this directory has a newer layout from now on");
        }
        let (path, next) = (self.layout(), self.dir.join("layout.next"));
        let write = || -> io::Result<()> {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            writeln!(file, "{LAYOUT} {PROGRAM}")?;
            file.sync_all()
        };
        write().map_err(|source| SiteError::File { path: next.clone(), source })?;
        self.replace(&next, &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path());
        (dir, paths)
    }

    /// What stands in the file after a start that found `before` there.
    #[track_caller]
    fn check(before: Option<&str>, expected: Result<&str, u32>) {
        let (_dir, paths) = paths();
        if let Some(before) = before {
            fs::write(paths.layout(), before).expect("written");
        }
        let found = match paths.note_layout() {
            Ok(()) => Ok(()),
            Err(SiteError::Newer { found, known: LAYOUT, .. }) => Err(found),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, expected.map(drop));
        let stands = fs::read_to_string(paths.layout()).expect("it is there");
        assert_eq!(stands, expected.unwrap_or(before.unwrap_or_default()));
        assert!(!paths.dir.join("layout.next").exists());
    }

    #[test]
    fn a_directory_says_which_programs_may_work_in_it() {
        let (ours, next) = (format!("{LAYOUT} {PROGRAM}\n"), LAYOUT + 1);
        check(None, Ok(&ours));
        check(Some(&ours), Ok(&ours));
        check(Some(&format!("{LAYOUT} 0.0.1\n")), Ok(&ours));
        let newer = format!("{LAYOUT} 999.10.0\n");
        check(Some(&newer), Ok(&newer));
        check(Some(&format!("{next} 999.0.0\n")), Err(next));
        check(Some(&format!("{next} 0.0.1 and more\nof later layouts\n")), Err(next));
        check(Some(&u32::MAX.to_string()), Err(u32::MAX));
    }

    #[test]
    fn what_is_no_number_is_not_taken_for_an_old_layout() {
        for text in ["", "0 0.1.0\n", "layout 1", "4294967296 1.0.0", "-1"] {
            let (_dir, paths) = paths();
            fs::write(paths.layout(), text).expect("written");
            let refused = paths.note_layout().expect_err("it is no layout");
            assert!(matches!(refused, SiteError::Corrupt { .. }), "{refused}");
            assert_eq!(fs::read_to_string(paths.layout()).expect("it is there"), text);
        }
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let sorted = ["?", "0.1.0", "0.9.3", "0.10.0", "0.10.1", "1.0.0-rc.1", "1.0.1", "10.0.0"];
        assert!(sorted.is_sorted_by(|a, b| numbers(a) < numbers(b)));
    }
}
