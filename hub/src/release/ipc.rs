//! Tables as Arrow IPC files (<https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format>): what they hold is laid
//! out as Arrow has it in memory and over Flight, so that a whole table is sent as it lies on the disk.

use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow_ipc::reader::read_footer_length;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_ipc::{Block, CompressionType, root_as_footer, root_as_message};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::ReleaseError;

/// Rows that are read at once.
const ROWS: usize = 16_384;
/// About as many bytes are in a batch: clients take at least 4 MiB in one message.
const BATCH_BYTES: usize = 2 << 20;
/// What ends a file: the footer's length and `ARROW1`.
const TRAILER: usize = 10;
/// What stands before a message: a mark and the length of its head.
const PREFIX: usize = 8;

/// Writes a table's file from its Parquet, durably.
///
/// # Errors
/// [`ReleaseError`].
pub(super) fn write(from: &Path, to: &Path) -> Result<(), ReleaseError> {
    let failed = |source| ReleaseError::Parquet { path: from.to_path_buf(), source };
    let wrong = |error: ArrowError| failed(error.into());
    let file = File::open(from).map_err(ReleaseError::file(from))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
    let schema = builder.schema().clone();
    let file = BufWriter::with_capacity(1 << 20, File::create_new(to).map_err(ReleaseError::file(to))?);
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME));
    let mut out = FileWriter::try_new_with_options(file, &schema, options.map_err(wrong)?).map_err(wrong)?;
    for batch in builder.with_batch_size(ROWS).build().map_err(failed)? {
        let batch = batch.map_err(wrong)?;
        let rows = rows_of_a_batch(&batch);
        for from in (0..batch.num_rows()).step_by(rows) {
            out.write(&batch.slice(from, rows.min(batch.num_rows() - from))).map_err(wrong)?;
        }
    }
    let file = out.into_inner().map_err(wrong)?.into_inner();
    let file = file.map_err(|error| ReleaseError::file(to)(error.into_error()))?;
    file.sync_all().map_err(ReleaseError::file(to))
}

/// How many rows of this batch are about as many bytes as one shall have.
fn rows_of_a_batch(batch: &RecordBatch) -> usize {
    let bytes = batch.get_array_memory_size().max(1);
    (batch.num_rows() * BATCH_BYTES / bytes).clamp(1, ROWS)
}

fn malformed(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string())
}

/// A batch as it lies in a file: the message that says what it is, and the cells.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The message's head, a flatbuffer.
    pub head: Bytes,
    /// Its body.
    pub body: Bytes,
    /// How many rows.
    pub rows: u64,
}

/// The batches of a file.
#[derive(Debug)]
pub struct Batches {
    path: PathBuf,
    file: File,
    blocks: Vec<Block>,
}

impl Batches {
    /// Those of a file.
    ///
    /// # Errors
    /// [`ReleaseError`] when it is none.
    pub fn open(path: &Path) -> Result<Batches, ReleaseError> {
        let failed = ReleaseError::file(path);
        let blocks = || -> std::io::Result<(File, Vec<Block>)> {
            let mut file = File::open(path)?;
            let end = file.seek(SeekFrom::End(0))?;
            let mut trailer = [0; TRAILER];
            let at = end.checked_sub(TRAILER as u64).ok_or(std::io::ErrorKind::UnexpectedEof)?;
            file.read_exact_at(&mut trailer, at)?;
            let length = read_footer_length(trailer).map_err(malformed)?;
            let mut footer = vec![0; length];
            let at = at.checked_sub(length as u64).ok_or(std::io::ErrorKind::UnexpectedEof)?;
            file.read_exact_at(&mut footer, at)?;
            let footer = root_as_footer(&footer).map_err(malformed)?;
            let blocks = footer.recordBatches().iter().flatten().copied().collect();
            Ok((file, blocks))
        };
        let (file, blocks) = blocks().map_err(failed)?;
        Ok(Batches { path: path.to_path_buf(), file, blocks })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.blocks.len()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ReleaseError`] when it cannot be read.
    pub fn read(&self, at: usize) -> Result<Batch, ReleaseError> {
        let block = &self.blocks[at];
        let (head, body) = (block.metaDataLength() as usize, block.bodyLength() as usize);
        let read = || -> std::io::Result<Batch> {
            let mut bytes = vec![0; head + body];
            self.file.read_exact_at(&mut bytes, block.offset() as u64)?;
            let bytes = Bytes::from(bytes);
            let (head, body) = (bytes.slice(PREFIX.min(head)..head), bytes.slice(head..));
            let message = root_as_message(&head).map_err(malformed)?;
            let rows = message.header_as_record_batch().map_or(0, |batch| batch.length() as u64);
            Ok(Batch { rows, body, head })
        };
        read().map_err(ReleaseError::file(&self.path))
    }
}
