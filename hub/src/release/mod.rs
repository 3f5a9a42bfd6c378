//! Releases: numbered datasets that never change. Each is a directory with a folder for every role, plain Parquet files in
//! it, and a manifest that says what they are made from.
//!
//! ```text
//! releases/000012/manifest.json
//!                 registrar/members.parquet …
//!                 analyst/members.parquet …
//!                 public/member_counts.parquet …
//! ```
//!
//! What a role may read is decided here, when a release is made: what is not for it is in no file of its folder.

mod cells;
mod changes;
mod columns;
mod counts;
mod dictionary;
mod forget;
mod form;
mod ipc;
mod manifest;
mod project;
mod publish;
mod read;
mod remake;
mod rows;
pub mod schedule;
mod shelf;
#[cfg(test)]
mod tests;
mod verify;
mod views;
mod write;

pub use changes::{CHANGE, Changes, Tally};
pub use columns::{Column, Role, Source, columns, table};
pub use form::{Form, Scratch};
pub use ipc::{Message, Messages};
pub use manifest::{City, Counted, FORMAT, Manifest, Table};
pub use project::{Pseudonyms, Reader};
pub use publish::{Published, build};
#[cfg(feature = "sql")]
pub(crate) use read::open;
pub use shelf::{Issue, Listed, Releases, Standing, Withdrawn};
pub use verify::{Fault, again};
pub use views::{VIEWS, View};

use std::path::PathBuf;

use liandong_node::site::SiteError;
use parquet::errors::ParquetError;

/// Why a release cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The hub's index.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Writing or reading a table.
    #[error("{path}: {source}")]
    Parquet {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ParquetError,
    },
    /// A manifest that cannot be read.
    #[error("{path}: {source}")]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// There is none of that number.
    #[error("there is no release {0}; `release list` shows those there are")]
    None(u64),
    /// It was taken back.
    #[error("release {0} was withdrawn, since a record in it was erased; read a later one")]
    Withdrawn(u64),
    /// More rows than a spreadsheet holds.
    #[error("the table has {rows} rows, and a sheet of Excel holds {most}; take it as .csv or .parquet")]
    TooLong {
        /// How many.
        rows: u64,
        /// How many there may be.
        most: u64,
    },
    /// Another is being published.
    #[error("another release is being published; wait until it is done")]
    Busy,
}

impl From<ReleaseError> for SiteError {
    /// What the disk says of a file is no damage to a release: a full one above all.
    fn from(error: ReleaseError) -> SiteError {
        match error {
            ReleaseError::Site(error) => error,
            ReleaseError::File { path, source } => SiteError::File { path, source },
            ReleaseError::Parquet { path, source: ParquetError::External(source) } => {
                match source.downcast::<std::io::Error>() {
                    Ok(source) => SiteError::File { path, source: *source },
                    Err(source) => SiteError::corrupt(path.display().to_string(), source),
                }
            }
            other => SiteError::corrupt("a release", other),
        }
    }
}

impl ReleaseError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> ReleaseError {
        let path = path.into();
        move |source| ReleaseError::File { path, source }
    }
}
