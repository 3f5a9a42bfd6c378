//! Whether a release still is what was published.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use liandong_node::index::Index;
use liandong_node::site::OnProgress;
use liandong_proto::id::hex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest as _, Sha256};

use super::manifest::{Manifest, Table};
use super::publish::{Published, build};
use super::{ReleaseError, Releases};

/// What is wrong with a file of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there, or cannot be read.
    Unreadable(String),
    /// Its bytes are others than were published.
    Altered,
    /// It has another number of rows than the manifest says.
    Rows(u64),
    /// The hub makes other bytes from the same changes.
    Otherwise,
}

impl Releases {
    /// Holds every file of a release against its manifest: which are wrong, and how.
    ///
    /// # Errors
    /// [`ReleaseError::None`], [`ReleaseError::Withdrawn`].
    pub fn verify(&self, release: u64) -> Result<Vec<(Table, Fault)>, ReleaseError> {
        let manifest = self.manifest(release)?;
        let dir = self.path(release);
        let look = |table: &Table| Some((table.clone(), fault(&dir.join(table.path()), table)?));
        Ok(manifest.tables.iter().filter_map(look).collect())
    }
}

fn fault(path: &Path, table: &Table) -> Option<Fault> {
    let unreadable = |error: &dyn std::fmt::Display| Some(Fault::Unreadable(error.to_string()));
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return unreadable(&error),
    };
    let sha = match hash(&mut file) {
        Ok(sha) => sha,
        Err(error) => return unreadable(&error),
    };
    if sha != table.sha256 {
        return Some(Fault::Altered);
    }
    match ParquetRecordBatchReaderBuilder::try_new(file) {
        Err(error) => unreadable(&error),
        Ok(read) => {
            let rows = read.metadata().file_metadata().num_rows() as u64;
            (rows != table.rows).then_some(Fault::Rows(rows))
        }
    }
}

fn hash(file: &mut File) -> io::Result<String> {
    let (mut sha, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&sha.finalize())),
            read => sha.update(&piece[..read]),
        }
    }
}

/// Makes a release again in an empty directory, from an index that stands where the hub stood then: the tables of which
/// the bytes are others.
///
/// # Errors
/// [`ReleaseError`].
pub fn again(
    manifest: &Manifest,
    index: &Index,
    dir: &Path,
    progress: OnProgress<'_>,
) -> Result<Vec<(Table, Fault)>, ReleaseError> {
    let published = Published {
        release: manifest.release,
        published_ms: manifest.published_ms,
        note: manifest.note.clone(),
    };
    let made = build(index, dir, &published, progress)?;
    let differs =
        |table: &&Table| made.table(table.role, &table.name).is_none_or(|made| made.sha256 != table.sha256);
    Ok(manifest.tables.iter().filter(differs).map(|table| (table.clone(), Fault::Otherwise)).collect())
}
