//! Reading a table of a release, batch by batch or city by city.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::ReleaseError;

/// Rows that are read at once.
const ROWS: usize = if cfg!(test) { 8 } else { 16_384 };

/// What Arrow says of a file.
pub(super) fn arrow_error(path: &Path) -> impl FnOnce(ArrowError) -> ReleaseError + use<> {
    let path = path.to_path_buf();
    move |error| ReleaseError::Parquet { path, source: error.into() }
}

/// A table's file, open.
///
/// # Errors
/// [`ReleaseError`].
pub(crate) fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, ReleaseError> {
    let file = File::open(path).map_err(ReleaseError::file(path))?;
    let opened = ParquetRecordBatchReaderBuilder::try_new(file);
    opened.map_err(|source| ReleaseError::Parquet { path: path.to_path_buf(), source })
}

/// The rows of a file, in its order.
pub(super) struct Rows {
    /// Which.
    pub path: PathBuf,
    /// Of all batches.
    pub schema: SchemaRef,
    reader: ParquetRecordBatchReader,
}

impl Rows {
    /// Those of a file.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn open(path: &Path) -> Result<Rows, ReleaseError> {
        let builder = open(path)?;
        let schema = SchemaRef::clone(builder.schema());
        let reader = builder.with_batch_size(ROWS).build();
        let reader = reader.map_err(|source| ReleaseError::Parquet { path: path.to_path_buf(), source })?;
        Ok(Rows { path: path.to_path_buf(), schema, reader })
    }

    /// The same, with all rows of a city in one batch.
    pub fn by_city(self) -> impl Iterator<Item = Result<RecordBatch, ReleaseError>> {
        ByCity { rows: self, kept: Vec::new(), rest: None }
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch, ReleaseError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.reader.next()?.map_err(arrow_error(&self.path)))
    }
}

struct ByCity {
    rows: Rows,
    /// Of the city that is being read.
    kept: Vec<RecordBatch>,
    /// What was read beyond it.
    rest: Option<RecordBatch>,
}

/// The city of a row.
fn site(batch: &RecordBatch, row: usize) -> Option<i32> {
    let sites = batch.column_by_name("site")?.as_primitive_opt::<Int32Type>()?;
    (row < sites.len()).then(|| sites.value(row))
}

impl Iterator for ByCity {
    type Item = Result<RecordBatch, ReleaseError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let batch = match self.rest.take().map(Ok).or_else(|| self.rows.next()) {
                Some(Ok(batch)) if batch.num_rows() == 0 => continue,
                Some(Ok(batch)) => batch,
                Some(Err(error)) => return Some(Err(error)),
                None if self.kept.is_empty() => return None,
                None => return Some(self.city()),
            };
            let (mine, rows) = (self.kept.first().unwrap_or(&batch), batch.num_rows());
            let mine = site(mine, 0);
            let until = (0..rows).find(|row| site(&batch, *row) != mine).unwrap_or(rows);
            if until > 0 {
                self.kept.push(batch.slice(0, until));
            }
            if until < rows {
                self.rest = Some(batch.slice(until, rows - until));
                return Some(self.city());
            }
        }
    }
}

impl ByCity {
    fn city(&mut self) -> Result<RecordBatch, ReleaseError> {
        let kept = std::mem::take(&mut self.kept);
        concat_batches(&self.rows.schema, &kept).map_err(arrow_error(&self.rows.path))
    }
}
