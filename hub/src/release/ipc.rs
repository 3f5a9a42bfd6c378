//! Tables as Arrow IPC files (<https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format>): what they hold is laid
//! out as Arrow has it in memory and over Flight, so that a whole table is sent as it lies on the disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, DictionaryArray, Int16Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, FieldRef, Int16Type};
use arrow::error::ArrowError;
use arrow_ipc::reader::read_footer_length;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_ipc::{Block, CompressionType, MetadataVersion, root_as_footer, root_as_message};
use bytes::Bytes;

use super::ReleaseError;
use super::read::{Rows, arrow_error};

/// About as many bytes are in a batch before they are compressed: clients take at least 4 MiB in one message.
const BATCH_BYTES: usize = 4_000_000;
/// What stands in a file begins at a multiple of this.
const ALIGNMENT: usize = 64;
/// Where the first message is, that of the schema: behind `ARROW1` and zeros.
const FIRST: u64 = ALIGNMENT as u64;
/// What ends a file: the footer's length and `ARROW1`.
const TRAILER: usize = 10;
/// What stands before a message: a mark and the length of its head.
const PREFIX: usize = 8;

/// Writes a table's file from its Parquet, durably.
///
/// # Errors
/// [`ReleaseError`].
pub(super) fn write(from: &Path, to: &Path) -> Result<(), ReleaseError> {
    let (dictionaries, rows) = (Dictionaries::of(from)?, Rows::open(from)?);
    let file = BufWriter::with_capacity(1 << 20, File::create_new(to).map_err(ReleaseError::file(to))?);
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)
        .and_then(|options| options.try_with_compression(Some(CompressionType::LZ4_FRAME)))
        .map_err(arrow_error(from))?;
    let out = FileWriter::try_new_with_options(file, &rows.schema, options);
    let mut out = out.map_err(arrow_error(from))?;
    for batch in rows {
        let batch = dictionaries.shared(&batch?).map_err(arrow_error(from))?;
        let rows = rows_of_a_batch(&batch);
        for at in (0..batch.num_rows()).step_by(rows) {
            let part = batch.slice(at, rows.min(batch.num_rows() - at));
            out.write(&part).map_err(arrow_error(from))?;
        }
    }
    let file = out.into_inner().map_err(arrow_error(from))?.into_inner();
    let file = file.map_err(|error| ReleaseError::file(to)(error.into_error()))?;
    file.sync_all().map_err(ReleaseError::file(to))
}

/// How many rows of this batch are about as many bytes as one shall have.
fn rows_of_a_batch(batch: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(0);
    let bytes: usize = batch.columns().iter().map(bytes).sum();
    (batch.num_rows() * BATCH_BYTES / bytes.max(1)).clamp(1, batch.num_rows().max(1))
}

/// The codes of each column that has any, all that the file holds: a file has one dictionary for a column, and Parquet one
/// for each piece of it.
struct Dictionaries(Vec<(usize, Arc<StringArray>)>);

impl Dictionaries {
    fn of(path: &Path) -> Result<Dictionaries, ReleaseError> {
        let rows = Rows::open(path)?;
        let is_coded = |(at, field): (usize, &FieldRef)| {
            matches!(field.data_type(), DataType::Dictionary(..)).then_some(at)
        };
        let coded: Vec<usize> = rows.schema.fields().iter().enumerate().filter_map(is_coded).collect();
        let mut found = vec![BTreeSet::new(); coded.len()];
        for batch in rows {
            let batch = batch?;
            for (at, found) in coded.iter().zip(&mut found) {
                let values = batch.column(*at).as_dictionary::<Int16Type>().values().as_string::<i32>();
                found.extend(values.iter().flatten().map(str::to_owned));
            }
        }
        let shared = |found: BTreeSet<String>| Arc::new(found.into_iter().map(Some).collect::<StringArray>());
        Ok(Dictionaries(coded.into_iter().zip(found.into_iter().map(shared)).collect()))
    }

    /// A batch with these dictionaries.
    fn shared(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut columns = batch.columns().to_vec();
        for (at, codes) in &self.0 {
            let column = columns[*at].as_dictionary::<Int16Type>();
            let all: Vec<&str> = codes.iter().flatten().collect();
            let place = |value: Option<&str>| all.binary_search(&value?).ok().map(|at| at as i16);
            let places: Vec<Option<i16>> = column.values().as_string::<i32>().iter().map(place).collect();
            let keys: Int16Array = column.keys().iter().map(|key| places[key? as usize]).collect();
            columns[*at] = Arc::new(DictionaryArray::try_new(keys, Arc::clone(codes) as ArrayRef)?);
        }
        RecordBatch::try_new(batch.schema(), columns)
    }
}

fn malformed(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, error.to_string())
}

/// A message as it lies in a file: what it is, and the cells.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its head, a flatbuffer.
    pub head: Bytes,
    /// Its body.
    pub body: Bytes,
    /// How many rows of the table are in it.
    pub rows: u64,
}

/// The messages of a file, as over Flight: the schema, the dictionaries, the rows.
#[derive(Debug)]
pub struct Messages {
    path: PathBuf,
    file: File,
    blocks: Vec<Block>,
}

impl Messages {
    /// Those of a file.
    ///
    /// # Errors
    /// [`ReleaseError`] when it is none.
    pub fn open(path: &Path) -> Result<Messages, ReleaseError> {
        let failed = ReleaseError::file(path);
        let blocks = || -> std::io::Result<(File, Vec<Block>)> {
            let mut file = File::open(path)?;
            let end = file.seek(SeekFrom::End(0))?;
            let mut trailer = [0; TRAILER];
            let at = end.checked_sub(TRAILER as u64).ok_or(ErrorKind::UnexpectedEof)?;
            file.read_exact_at(&mut trailer, at)?;
            let length = read_footer_length(trailer).map_err(malformed)?;
            let mut footer = vec![0; length];
            let at = at.checked_sub(length as u64).ok_or(ErrorKind::UnexpectedEof)?;
            file.read_exact_at(&mut footer, at)?;
            let footer = root_as_footer(&footer).map_err(malformed)?;
            let mut prefix = [0; PREFIX];
            file.read_exact_at(&mut prefix, FIRST)?;
            let length = i32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
            let schema = Block::new(FIRST as i64, PREFIX as i32 + length, 0);
            let (dictionaries, rows) = (footer.dictionaries(), footer.recordBatches());
            let rest = dictionaries.iter().flatten().chain(rows.iter().flatten());
            let blocks = std::iter::once(schema).chain(rest.copied()).collect();
            Ok((file, blocks))
        };
        let (file, blocks) = blocks().map_err(failed)?;
        Ok(Messages { path: path.to_path_buf(), file, blocks })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.blocks.len()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ReleaseError`] when it cannot be read.
    pub fn read(&self, at: usize) -> Result<Message, ReleaseError> {
        let block = &self.blocks[at];
        let read = || -> std::io::Result<Message> {
            let head = usize::try_from(block.metaDataLength()).map_err(malformed)?;
            let body = usize::try_from(block.bodyLength()).map_err(malformed)?;
            let mut bytes = vec![0; head + body];
            self.file.read_exact_at(&mut bytes, block.offset() as u64)?;
            let bytes = Bytes::from(bytes);
            let (head, body) = (bytes.slice(PREFIX.min(head)..head), bytes.slice(head..));
            let message = root_as_message(&head).map_err(malformed)?;
            let rows = message.header_as_record_batch().map_or(0, |batch| batch.length() as u64);
            Ok(Message { rows, body, head })
        };
        read().map_err(ReleaseError::file(&self.path))
    }
}
