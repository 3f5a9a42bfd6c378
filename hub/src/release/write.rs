//! Writing the tables of a release: Parquet, zstd, in the order of city and record; the same rows give the same bytes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, SchemaRef};
use liandong_proto::id::hex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use sha2::{Digest as _, Sha256};

use super::ReleaseError;
use super::columns::Role;
use super::manifest::Table;
use crate::hub::locked;

/// Rows of a row group: what a reader skips or reads as one.
const ROW_GROUP: usize = if cfg!(test) { 16 } else { 128 << 10 };

/// A table to be written.
pub struct Sheet {
    /// For whom.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// Of all batches.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

impl Sheet {
    fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// Writes tables below a directory, durably, on as many threads as there are processors; `on` hears of the rows written so
/// far. What was written is in the order of roles and names.
///
/// # Errors
/// [`ReleaseError`] of the first that failed.
pub fn all(dir: &Path, mut sheets: Vec<Sheet>, on: &mut dyn FnMut(u64)) -> Result<Vec<Table>, ReleaseError> {
    for role in Role::ALL {
        let folder = dir.join(role.name());
        std::fs::create_dir(&folder).map_err(ReleaseError::file(&folder))?;
    }
    // The largest first: a small one fills what is left at the end.
    sheets.sort_by_key(Sheet::rows);
    let (left, written) = (Mutex::new(sheets), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let rows = AtomicU64::new(0);
    let next = || {
        let sheet = locked(&left).pop()?;
        rows.fetch_add(sheet.rows() as u64, Ordering::Relaxed);
        locked(&written).push(one(dir, sheet));
        Some(())
    };
    thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(|| while next().is_some() {})));
        while next().is_some() {
            on(rows.load(Ordering::Relaxed));
        }
    });
    let written = written.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut tables = written.into_iter().collect::<Result<Vec<Table>, _>>()?;
    tables.sort_by(|a, b| (a.role, &a.name).cmp(&(b.role, &b.name)));
    for role in Role::ALL {
        let folder = dir.join(role.name());
        sync_dir(&folder)?;
    }
    Ok(tables)
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), ReleaseError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(ReleaseError::file(dir))
}

fn one(dir: &Path, sheet: Sheet) -> Result<Table, ReleaseError> {
    let (role, name, rows) = (sheet.role, sheet.name.clone(), sheet.rows() as u64);
    let path = dir.join(role.name()).join(format!("{name}.parquet"));
    let Hashed { bytes, sha } = parquet(&path, sheet.schema, sheet.batches.into_iter().map(Ok))?;
    Ok(Table { role, name, rows, bytes, sha256: hex(&sha.finalize()) })
}

/// How many bytes a file has, and their hash so far.
pub(crate) struct Hashed {
    pub bytes: u64,
    pub sha: Sha256,
}

/// Writes a file, durably.
///
/// # Errors
/// [`ReleaseError`].
pub(crate) fn parquet(
    path: &Path,
    schema: SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, ReleaseError>>,
) -> Result<Hashed, ReleaseError> {
    let failed = |source| ReleaseError::Parquet { path: path.to_path_buf(), source };
    let properties = properties(&schema);
    let mut out = ArrowWriter::try_new(Out::create(path)?, schema, Some(properties)).map_err(failed)?;
    for batch in batches {
        out.write(&batch?).map_err(failed)?;
    }
    out.into_inner().map_err(failed)?.finish()
}

fn properties(schema: &SchemaRef) -> WriterProperties {
    let place = |name: &str| schema.index_of(name).ok();
    let sorted = place("site").zip(place("record_id")).map(|places| {
        [places.0, places.1]
            .map(|at| SortingColumn { column_idx: at as i32, descending: false, nulls_first: false })
            .to_vec()
    });
    // Each of them stands there once: a dictionary of them would be made in vain.
    let ids =
        schema.fields().iter().filter(|field| field.name().ends_with("_id") || field.name() == "hub_seq");
    let plain = |properties: WriterPropertiesBuilder, id: &FieldRef| {
        properties.set_column_dictionary_enabled(ColumnPath::from(id.name().as_str()), false)
    };
    ids.fold(WriterProperties::builder(), plain)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by("liandong".into())
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_sorting_columns(sorted)
        .build()
}

/// A file that is hashed while it is written.
struct Out {
    path: PathBuf,
    file: BufWriter<File>,
    hashed: Hashed,
}

impl Out {
    fn create(path: &Path) -> Result<Out, ReleaseError> {
        let file = File::create_new(path).map_err(ReleaseError::file(path))?;
        let hashed = Hashed { bytes: 0, sha: Sha256::new() };
        Ok(Out { path: path.to_path_buf(), file: BufWriter::with_capacity(1 << 20, file), hashed })
    }

    fn finish(self) -> Result<Hashed, ReleaseError> {
        let failed = ReleaseError::file(&self.path);
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(failed)?;
        Ok(self.hashed)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hashed.sha.update(&bytes[..written]);
        self.hashed.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
