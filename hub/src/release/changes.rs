//! What has changed between two releases: whoever applies it to the older one has the newer.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use xxhash_rust::xxh3::xxh3_128;

use super::{ReleaseError, write};

/// Name of the column that says what has become of a row.
pub const CHANGE: &str = "change";

/// How many rows have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Rows that the older release lacks.
    pub added: u64,
    /// Rows that both have, with other cells.
    pub changed: u64,
    /// Rows that the newer release lacks.
    pub removed: u64,
}

/// The changes of a table: its columns, behind one that says `added`, `changed` or `removed`. Of what was removed the cells
/// are those of the older release.
pub struct Changes {
    /// Of all batches.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// How many.
    pub tally: Tally,
}

/// Compares a table of two releases, by `record_id` where it has one; else rows have nothing that names them, and one that
/// changed is removed and added. Tables of different columns have no row in common. `None` stands for a table that is not
/// there.
///
/// # Errors
/// [`ReleaseError`].
pub fn changes(older: Option<&Path>, newer: &Path) -> Result<Changes, ReleaseError> {
    let (schema, new_rows) = read(newer)?;
    let old = older.map(read).transpose()?;
    let (old_schema, old_rows) = old.unwrap_or_else(|| (Arc::clone(&schema), Vec::new()));
    let is_same = old_schema.fields() == schema.fields();
    let mut fields = vec![Field::new(CHANGE, DataType::Utf8, false)];
    fields.extend(schema.fields().iter().map(|field| field.as_ref().clone()));
    let mut out =
        Changes { schema: Arc::new(Schema::new(fields)), batches: Vec::new(), tally: Tally::default() };
    let old_keys = keyed(older.unwrap_or(newer), &old_schema, &old_rows)?;
    let mut left: HashMap<Key, u128> = old_keys.iter().flatten().cloned().collect();
    for (batch, keys) in new_rows.iter().zip(keyed(newer, &schema, &new_rows)?) {
        let kept = keys.iter().map(|(key, row)| match left.remove(key).filter(|_| is_same) {
            None => Some("added"),
            Some(old) => (old != *row).then_some("changed"),
        });
        let kept: Vec<Option<&str>> = kept.collect();
        out.push(batch, kept, newer)?;
    }
    if is_same {
        for (batch, keys) in old_rows.iter().zip(&old_keys) {
            let kept = keys.iter().map(|(key, _)| left.contains_key(key).then_some("removed")).collect();
            out.push(batch, kept, newer)?;
        }
    } else {
        out.tally.removed = old_rows.iter().map(|batch| batch.num_rows() as u64).sum();
    }
    Ok(out)
}

/// Writes changes into a file that is not there yet.
///
/// # Errors
/// [`ReleaseError`].
pub fn write_changes(path: &Path, changes: Changes) -> Result<(), ReleaseError> {
    write::parquet(path, changes.schema, changes.batches.into_iter().map(Ok)).map(drop)
}

impl Changes {
    /// Takes in the rows that have become something.
    fn push(
        &mut self,
        batch: &RecordBatch,
        become_: Vec<Option<&str>>,
        path: &Path,
    ) -> Result<(), ReleaseError> {
        let mask: BooleanArray = become_.iter().map(|it| Some(it.is_some())).collect();
        let rows = filter_record_batch(batch, &mask).map_err(|error| arrow(path, error))?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        for it in become_.iter().flatten() {
            match *it {
                "added" => self.tally.added += 1,
                "changed" => self.tally.changed += 1,
                _ => self.tally.removed += 1,
            }
        }
        let first: ArrayRef = Arc::new(become_.into_iter().flatten().map(Some).collect::<StringArray>());
        let columns = [&[first], rows.columns()].concat();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        self.batches.push(batch.map_err(|error| arrow(path, error))?);
        Ok(())
    }
}

/// What names a row: its record, or all of its cells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Record(String),
    Row(u128),
}

/// Every row's key, and the hash of its cells.
fn keyed(
    path: &Path,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<Vec<Vec<(Key, u128)>>, ReleaseError> {
    let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(|error| arrow(path, error))?;
    let each = |batch: &RecordBatch| {
        let rows = converter.convert_columns(batch.columns()).map_err(|error| arrow(path, error))?;
        let ids =
            batch.column_by_name("record_id").and_then(|ids| ids.as_any().downcast_ref::<StringArray>());
        let key = |(at, row): (usize, arrow::row::Row<'_>)| {
            let hash = xxh3_128(row.as_ref());
            (ids.map_or(Key::Row(hash), |ids| Key::Record(ids.value(at).to_owned())), hash)
        };
        Ok(rows.iter().enumerate().map(key).collect())
    };
    batches.iter().map(each).collect()
}

/// All rows of a file.
pub(super) fn read(path: &Path) -> Result<(SchemaRef, Vec<RecordBatch>), ReleaseError> {
    let failed = |source| ReleaseError::Parquet { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(ReleaseError::file(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
    let schema = Arc::clone(builder.schema());
    let reader = builder.with_batch_size(8_192).build().map_err(failed)?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| arrow(path, error))?;
    Ok((schema, batches))
}

fn arrow(path: &Path, error: arrow::error::ArrowError) -> ReleaseError {
    ReleaseError::Parquet { path: path.to_path_buf(), source: error.into() }
}
