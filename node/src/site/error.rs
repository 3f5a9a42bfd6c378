//! What can go wrong at a site, sorted by what the caller can do about it.

use std::path::PathBuf;

use crate::index::IndexError;
use crate::log::LogError;
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
    /// The directory holds no site.
    #[error("{0} holds no site; make one with `init`")]
    NoSite(PathBuf),
    /// The directory already holds a site.
    #[error("{0} already holds a site; choose another directory")]
    Exists(PathBuf),
    /// A record in the log, or a row of the index, is not what it should be.
    #[error("{what} cannot be read: {why}; run verify")]
    Corrupt {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// A write broke off between the log and the index.
    #[error(
        "写入中断，不再保存任何内容；请重启站点，日志里的都在 · \
         a write broke off halfway, so nothing more is saved: restart the site, what is in the log is safe"
    )]
    Torn,
    /// The caller asked for what cannot be.
    #[error("{0}")]
    Refused(String),
    /// There is no such record.
    #[error("no such record")]
    NotFound,
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
    /// Anything else.
    Internal,
}

impl SiteError {
    /// What the caller can do.
    pub fn class(&self) -> Class {
        match self {
            SiteError::Log(LogError::Locked { .. }) => Class::Locked,
            SiteError::Log(LogError::Full { .. }) => Class::Full,
            SiteError::Log(LogError::Damaged { .. } | LogError::Newer { .. }) => Class::Damaged,
            SiteError::Log(_) | SiteError::Index(_) | SiteError::File { .. } | SiteError::Torn => {
                Class::Internal
            }
            SiteError::NoSite(_) | SiteError::Exists(_) | SiteError::Refused(_) => Class::Refused,
            SiteError::Corrupt { .. } => Class::Damaged,
            SiteError::NotFound => Class::NotFound,
        }
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
