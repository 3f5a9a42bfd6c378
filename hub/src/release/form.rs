//! Tables for those who open them in a spreadsheet: CSV (RFC 4180, UTF-8 with a byte order mark, so that Excel reads
//! Chinese) and XLSX. They are made from the Parquet file when they are asked for first.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use liandong_proto::id::{hex, sha256};
use rust_xlsxwriter::{Workbook, XlsxError};

use super::project::{Reader, unused_name};
use super::read::Rows;
use super::{Manifest, ReleaseError, Releases, ipc};

/// The form of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow's own, LZ4 within.
    Arrow,
    /// CSV.
    Csv,
    /// Office Open XML.
    Xlsx,
}

/// Rows that a sheet of Excel holds, the head among them.
const SHEET_ROWS: u64 = 1_048_576;

impl Form {
    /// Its name, and the ending of its files.
    pub fn name(self) -> &'static str {
        match self {
            Form::Parquet => "parquet",
            Form::Arrow => "arrow",
            Form::Csv => "csv",
            Form::Xlsx => "xlsx",
        }
    }

    /// The form of that name.
    pub fn named(name: &str) -> Option<Form> {
        [Form::Parquet, Form::Arrow, Form::Csv, Form::Xlsx].into_iter().find(|form| form.name() == name)
    }

    /// As HTTP names it.
    pub fn media_type(self) -> &'static str {
        match self {
            Form::Parquet => "application/vnd.apache.parquet",
            Form::Arrow => "application/vnd.apache.arrow.file",
            Form::Csv => "text/csv; charset=utf-8",
            Form::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }
}

impl Releases {
    /// The file of a table in a form; `None` when there is no such table for the reader.
    ///
    /// # Errors
    /// [`ReleaseError::TooLong`] for more rows than the form can hold.
    pub fn form(
        &self,
        manifest: &Manifest,
        reader: &Reader,
        name: &str,
        form: Form,
    ) -> Result<Option<PathBuf>, ReleaseError> {
        let Some(from) = self.file(manifest, reader, name)? else { return Ok(None) };
        let rows = manifest.table(reader.role(), name).map_or(0, |table| table.rows);
        if form == Form::Xlsx && rows >= SHEET_ROWS {
            return Err(ReleaseError::TooLong { rows, most: SHEET_ROWS - 1 });
        }
        let file = format!("{name}.{}", form.name());
        let make: fn(&Path, &Path) -> Result<(), ReleaseError> = match form {
            Form::Parquet => return Ok(Some(from)),
            Form::Arrow => ipc::write,
            Form::Csv => csv,
            Form::Xlsx => xlsx,
        };
        self.made(manifest.release, reader.folder(), &file, |part| make(&from, part)).map(Some)
    }

    /// Removes what a hub that was cut short has left half made for its readers. Nobody may be reading yet.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn tidy(&self) -> Result<(), ReleaseError> {
        fn parts(dir: &Path) -> std::io::Result<()> {
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    parts(&path)?;
                } else if path.extension().is_some_and(|ending| ending == "part") {
                    fs::remove_file(&path)?;
                }
            }
            Ok(())
        }
        self.discard_parts()?;
        let folder = self.dir().join("projects");
        match parts(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(ReleaseError::file(&folder)(error)),
            _ => Ok(()),
        }
    }

    /// A place for what is sent once.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn scratch(&self) -> Result<Scratch, ReleaseError> {
        let folder = self.dir().join("projects");
        fs::create_dir_all(&folder).map_err(ReleaseError::file(&folder))?;
        Ok(Scratch(unused_name(&folder, "once")))
    }
}

/// A file that is there for as long as somebody keeps this, whether it came to anything or not. What is open stays readable.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now goes when the hub starts.
        let _ = fs::remove_file(&self.0);
    }
}

impl Reader {
    /// What tells a reader's file from another's with the same rows.
    pub fn mark(&self, sha256_of_table: &str) -> String {
        hex(&sha256(format!("{sha256_of_table} {}", self.folder()).as_bytes())[..16])
    }
}

fn csv(from: &Path, to: &Path) -> Result<(), ReleaseError> {
    let rows = Rows::open(from)?;
    let failed = |error: csv::Error| ReleaseError::File { path: to.into(), source: error.into() };
    let mut file = BufWriter::new(File::create_new(to).map_err(ReleaseError::file(to))?);
    file.write_all("\u{feff}".as_bytes()).map_err(ReleaseError::file(to))?;
    let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(file);
    out.write_record(rows.schema.fields().iter().map(|field| field.name())).map_err(failed)?;
    for batch in rows {
        each_row(&batch?, from, |cells| out.write_record(cells).map_err(failed))?;
    }
    let file = out.into_inner().map_err(|error| ReleaseError::file(to)(error.into_error()))?;
    let file = file.into_inner().map_err(|error| ReleaseError::file(to)(error.into_error()))?;
    file.sync_all().map_err(ReleaseError::file(to))
}

/// Calls `on` with the cells of each row as text; what a list holds is joined by semicolons.
fn each_row(
    batch: &RecordBatch,
    path: &Path,
    mut on: impl FnMut(&[String]) -> Result<(), ReleaseError>,
) -> Result<(), ReleaseError> {
    let failed =
        |source: arrow::error::ArrowError| ReleaseError::Parquet { path: path.into(), source: source.into() };
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    for row in 0..batch.num_rows() {
        let cell = |(at, column): (usize, &ArrayFormatter<'_>)| match batch.column(at).as_list_opt::<i32>() {
            Some(lists) if !lists.is_null(row) => {
                let items = lists.value(row);
                let shown = ArrayFormatter::try_new(&items, &options).map_err(failed)?;
                Ok((0..items.len()).map(|at| shown.value(at).to_string()).collect::<Vec<_>>().join(";"))
            }
            _ => Ok(column.value(row).to_string()),
        };
        let cells = columns.iter().enumerate().map(cell).collect::<Result<Vec<String>, ReleaseError>>()?;
        on(&cells)?;
    }
    Ok(())
}

fn xlsx(from: &Path, to: &Path) -> Result<(), ReleaseError> {
    let rows = Rows::open(from)?;
    let failed =
        |error: XlsxError| ReleaseError::File { path: to.into(), source: std::io::Error::other(error) };
    let mut book = Workbook::new();
    let sheet = book.add_worksheet_with_constant_memory().map_err(failed)?;
    for (at, field) in rows.schema.fields().iter().enumerate() {
        sheet.write_string(0, at as u16, field.name()).map_err(failed)?;
    }
    let mut at_row = 0u32;
    for batch in rows {
        let (batch, mut in_batch) = (batch?, 0);
        each_row(&batch, from, |cells| {
            at_row += 1;
            for (at, cell) in cells.iter().enumerate() {
                match number(&batch, at, in_batch) {
                    Some(number) => sheet.write_number(at_row, at as u16, number).map(drop),
                    None if cell.is_empty() => Ok(()),
                    None => sheet.write_string(at_row, at as u16, cell).map(drop),
                }
                .map_err(failed)?;
            }
            in_batch += 1;
            Ok(())
        })?;
    }
    book.save(to).map_err(failed)?;
    File::open(to).and_then(|file| file.sync_all()).map_err(ReleaseError::file(to))
}

/// A number as Excel holds one: exact up to 2^53.
fn number(batch: &RecordBatch, column: usize, row: usize) -> Option<f64> {
    let cells = batch.column(column);
    if cells.is_null(row) {
        return None;
    }
    match cells.data_type() {
        DataType::Int32 => Some(f64::from(cells.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => Some(cells.as_primitive::<Int64Type>().value(row) as f64),
        DataType::Float64 => Some(cells.as_primitive::<Float64Type>().value(row)),
        _ => None,
    }
}
