//! What has changed between two releases: whoever applies it to the older one has the newer.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use xxhash_rust::xxh3::xxh3_128;

use super::read::{Rows, arrow_error};
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

impl Tally {
    /// All of them.
    pub fn rows(self) -> u64 {
        self.added + self.changed + self.removed
    }
}

/// The changes of a table, batch by batch: its columns, behind one that says `added`, `changed` or `removed`. Of what was
/// removed the cells are those of the older release. In memory is a hash of each row, and never a table.
pub struct Changes {
    schema: SchemaRef,
    newer: Keyed,
    older: Option<Keyed>,
    /// Rows of the older release that the newer one was not found to have: key, and hash of the cells.
    left: HashMap<u128, u128>,
    tally: Tally,
}

impl Changes {
    /// Compares a table of two releases, by `record_id` where it has one; else rows have nothing that names them, and one
    /// that changed is removed and added. Tables of different columns have no row in common. `None` stands for a table
    /// that is not there.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn between(older: Option<&Path>, newer: &Path) -> Result<Changes, ReleaseError> {
        let newer = Keyed::open(newer)?;
        let columns = newer.rows.schema.fields();
        let mut fields = vec![Field::new(CHANGE, DataType::Utf8, false)];
        fields.extend(columns.iter().map(|field| field.as_ref().clone()));
        let (mut left, mut tally, mut again) = (HashMap::new(), Tally::default(), None);
        if let Some(path) = older {
            let older = Keyed::open(path)?;
            if older.rows.schema.fields() == columns {
                for batch in older {
                    left.extend(batch?.keys);
                }
                again = Some(Keyed::open(path)?);
            } else {
                for batch in older.rows {
                    tally.removed += batch?.num_rows() as u64;
                }
            }
        }
        Ok(Changes { schema: Arc::new(Schema::new(fields)), newer, older: again, left, tally })
    }

    /// Of all batches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Reads what is left of it: how many rows there were in all.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn tally(mut self) -> Result<Tally, ReleaseError> {
        self.by_ref().try_for_each(|batch| batch.map(drop))?;
        Ok(self.tally)
    }

    /// Writes it into a file that is not there yet.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn write(mut self, path: &Path) -> Result<Tally, ReleaseError> {
        write::parquet(path, self.schema(), self.by_ref())?;
        Ok(self.tally)
    }

    /// The next batch in which something has changed.
    fn step(&mut self) -> Result<Option<RecordBatch>, ReleaseError> {
        while let Some(batch) = self.newer.next() {
            let batch = batch?;
            let is_what = |(key, row): &(u128, u128)| match self.left.remove(key) {
                None => Some("added"),
                Some(old) => (old != *row).then_some("changed"),
            };
            let become_: Vec<Option<&str>> = batch.keys.iter().map(is_what).collect();
            let changed = self.changed(&batch.rows, &become_).map_err(arrow_error(&self.newer.rows.path))?;
            if changed.is_some() {
                return Ok(changed);
            }
        }
        while let Some(batch) = self.older.as_mut().and_then(Iterator::next) {
            let batch = batch?;
            let is_left = |(key, _): &(u128, u128)| self.left.contains_key(key).then_some("removed");
            let become_: Vec<Option<&str>> = batch.keys.iter().map(is_left).collect();
            let removed = self.changed(&batch.rows, &become_).map_err(arrow_error(&self.newer.rows.path))?;
            if removed.is_some() {
                return Ok(removed);
            }
        }
        Ok(None)
    }

    /// The rows of a batch that have become something.
    fn changed(
        &mut self,
        batch: &RecordBatch,
        become_: &[Option<&str>],
    ) -> Result<Option<RecordBatch>, ArrowError> {
        let mask: BooleanArray = become_.iter().map(|it| Some(it.is_some())).collect();
        let rows = filter_record_batch(batch, &mask)?;
        if rows.num_rows() == 0 {
            return Ok(None);
        }
        for it in become_.iter().flatten() {
            match *it {
                "added" => self.tally.added += 1,
                "changed" => self.tally.changed += 1,
                _ => self.tally.removed += 1,
            }
        }
        let first: ArrayRef = Arc::new(become_.iter().flatten().map(Some).collect::<StringArray>());
        RecordBatch::try_new(self.schema(), [&[first], rows.columns()].concat()).map(Some)
    }
}

impl Iterator for Changes {
    type Item = Result<RecordBatch, ReleaseError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The rows of a file, with what names them.
struct Keyed {
    rows: Rows,
    converter: RowConverter,
}

/// A batch of them.
struct KeyedBatch {
    rows: RecordBatch,
    /// Of each row the hash of its record's id, or of all cells, and the hash of the cells.
    keys: Vec<(u128, u128)>,
}

impl Keyed {
    fn open(path: &Path) -> Result<Keyed, ReleaseError> {
        let rows = Rows::open(path)?;
        let fields = rows.schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(arrow_error(path))?;
        Ok(Keyed { rows, converter })
    }

    fn keyed(&self, rows: RecordBatch) -> Result<KeyedBatch, ReleaseError> {
        let cells = self.converter.convert_columns(rows.columns()).map_err(arrow_error(&self.rows.path))?;
        let ids = rows.column_by_name("record_id").and_then(|ids| ids.as_any().downcast_ref::<StringArray>());
        let key = |(at, cells): (usize, arrow::row::Row<'_>)| {
            let hash = xxh3_128(cells.as_ref());
            (ids.map_or(hash, |ids| xxh3_128(ids.value(at).as_bytes())), hash)
        };
        let keys = cells.iter().enumerate().map(key).collect();
        Ok(KeyedBatch { rows, keys })
    }
}

impl Iterator for Keyed {
    type Item = Result<KeyedBatch, ReleaseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.rows.next()?;
        Some(rows.and_then(|rows| self.keyed(rows)))
    }
}
