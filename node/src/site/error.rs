//! What can go wrong at a site, sorted by what the caller can do about it.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::index::IndexError;
use crate::log::LogError;
use crate::text::Said;
use liandong_proto::fields::Malformed;

/// A failure of a site.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A file beside the log.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The city's own key is not where it was made.
    #[error("the city key {0} is missing; put the copy of keys/ back: without it nothing sealed can be read")]
    KeyMissing(PathBuf),
    /// A key that others on this machine may read.
    #[error("the key {shown} can be read by other accounts; run: chmod 600 {shown}", shown = .0.display())]
    KeyExposed(PathBuf),
    /// The directory holds no site.
    #[error("{0} holds no site; make one with `init`")]
    NoSite(PathBuf),
    /// The directory already holds a site.
    #[error("{0} already holds a site; choose another directory")]
    Exists(PathBuf),
    /// A newer program has worked in the directory, and left there what this one does not know.
    #[error(
        "{} belongs to a newer version ({by}): it has layout {found}, and this program ({}) knows layouts up to {known}; \
         nothing was started or changed: install that version again, or, to go back for good, put back the backup from \
         before the upgrade", .dir.display(), env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its layout.
        found: u32,
        /// The newest that this program knows.
        known: u32,
        /// The newest program that has worked there.
        by: String,
    },
    /// A record in the log, or a row of the index, is not what it should be.
    #[error("{what} cannot be read: {why}; run verify")]
    Corrupt {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// The site writes no more.
    #[error(
        "不再保存任何内容（{why}）；请重启，日志里的都在，刚才的改动先查后补 · nothing more is saved ({why}): restart, \
         what is in the log is safe; see whether the last change is there before you make it again"
    )]
    Stopped {
        /// Why.
        why: String,
        /// What that is.
        class: Class,
    },
    /// The caller asked for what cannot be.
    #[error("{0}")]
    Refused(String),
    /// There is no such record.
    #[error("no such record")]
    NotFound,
    /// Something that this needs is out of order, and somebody has to mend it.
    #[error("{}", .0.en)]
    Unready(Said),
}

/// What the caller can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Ask for something else.
    Refused,
    /// There is no such thing.
    NotFound,
    /// Another process has the directory.
    Locked,
    /// Free some space, then try again.
    Full,
    /// Stop and look: something stored is damaged.
    Damaged,
    /// Mend what it says, then try again.
    Unready,
    /// Anything else.
    Internal,
}

impl SiteError {
    /// What the caller can do.
    pub fn class(&self) -> Class {
        match self {
            SiteError::Log(LogError::Locked { .. }) => Class::Locked,
            SiteError::Log(LogError::Full { .. }) => Class::Full,
            SiteError::Log(LogError::Damaged { .. }) => Class::Damaged,
            // Nothing is damaged, and another start does not help.
            SiteError::Log(LogError::Newer { .. }) | SiteError::Newer { .. } => Class::Refused,
            SiteError::Index(IndexError::AheadOfLog) => Class::Damaged,
            SiteError::Index(error) if error.is_damage() => Class::Damaged,
            SiteError::Index(error) if error.is_full() => Class::Full,
            SiteError::File { source, .. }
                if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
            {
                Class::Full
            }
            SiteError::Stopped { class, .. } => *class,
            SiteError::Log(_) | SiteError::Index(_) | SiteError::File { .. } => Class::Internal,
            SiteError::NoSite(_)
            | SiteError::Exists(_)
            | SiteError::Refused(_)
            | SiteError::KeyExposed(_) => Class::Refused,
            SiteError::Corrupt { .. } | SiteError::KeyMissing(_) => Class::Damaged,
            SiteError::NotFound => Class::NotFound,
            SiteError::Unready(_) => Class::Unready,
        }
    }

    /// A write panicked: what it was to change in memory may not agree with the log any more.
    pub fn torn() -> SiteError {
        SiteError::Stopped { why: "a write broke off halfway".into(), class: Class::Internal }
    }

    /// Something stored that cannot be read.
    pub fn corrupt(what: impl Into<String>, why: impl ToString) -> SiteError {
        SiteError::Corrupt { what: what.into(), why: why.to_string() }
    }
}

impl From<Malformed> for SiteError {
    fn from(error: Malformed) -> SiteError {
        SiteError::corrupt("a stored record", error)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::index::Digest;
    use crate::log::Pos;
    use crate::store::StoreError;

    #[test]
    fn each_failure_says_what_the_caller_can_do() {
        let path = || Path::new("disk").to_path_buf();
        let why = || "why".to_owned();
        let source = || io::Error::other("why");
        let pos = Pos::default();
        let (found, kept) = (Digest::default(), Digest::default());
        let damaged = LogError::Damaged { path: path(), offset: 1, what: why() };
        let table: [(SiteError, Class); 25] = [
            (LogError::Locked { dir: path(), holder: None }.into(), Class::Locked),
            (LogError::Full { path: path(), needed: 1, source: source() }.into(), Class::Full),
            (damaged.into(), Class::Damaged),
            (LogError::Newer { path: path(), found: 2, known: 1 }.into(), Class::Refused),
            (SiteError::Newer { dir: path(), found: 2, known: 1, by: why() }, Class::Refused),
            (LogError::Broken { path: path(), why: why() }.into(), Class::Internal),
            (LogError::NoSuchPos { dir: path(), pos, end: pos }.into(), Class::Internal),
            (LogError::Io { action: "read", path: path(), source: source() }.into(), Class::Internal),
            (IndexError::Damaged { prefix: 'r' }.into(), Class::Damaged),
            (IndexError::DigestDiffers { found, kept }.into(), Class::Damaged),
            (IndexError::AheadOfLog.into(), Class::Damaged),
            (IndexError::Store(StoreError::Corrupt(why())).into(), Class::Damaged),
            (IndexError::Store(StoreError::Full { path: path(), needed: 1 }).into(), Class::Full),
            (IndexError::Store(StoreError::Io { path: path(), why: why() }).into(), Class::Internal),
            (IndexError::Store(StoreError::Ended { path: path(), why: why() }).into(), Class::Internal),
            (IndexError::NotDurable(why()).into(), Class::Internal),
            (IndexError::Closed.into(), Class::Internal),
            (IndexError::File { path: path(), source: Arc::new(source()) }.into(), Class::Internal),
            (SiteError::torn(), Class::Internal),
            (SiteError::KeyMissing(path()), Class::Damaged),
            (SiteError::KeyExposed(path()), Class::Refused),
            (SiteError::NoSite(path()), Class::Refused),
            (SiteError::Refused(why()), Class::Refused),
            (SiteError::corrupt("a row", "why"), Class::Damaged),
            (SiteError::NotFound, Class::NotFound),
        ];
        for (error, expected) in table {
            assert_eq!(error.class(), expected, "{error:?}");
        }
    }
}
