//! A statement as a client carries it from one call to the next: the hub keeps nothing of it in between.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::Result;
use serde::{Deserialize, Serialize};
use tonic::Status;

/// A statement, and what `latest` was when it was looked at: both calls for an answer are about the same release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// As it was sent.
    pub sql: String,
    /// Number of the release.
    pub latest: u64,
    /// Values of its parameters: one row, an Arrow stream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<u8>,
}

impl Statement {
    /// As a client carries it.
    pub fn handle(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain data").into()
    }

    /// What a client carried.
    pub fn read(handle: &[u8]) -> Result<Statement, Status> {
        serde_json::from_slice(handle)
            .map_err(|_| Status::invalid_argument("that is no handle of this hub's; ask anew"))
    }

    /// The same with the values of its parameters.
    pub fn with(mut self, values: &RecordBatch) -> Result<Statement, Status> {
        let wrong = |error: arrow::error::ArrowError| Status::invalid_argument(error.to_string());
        let mut out = StreamWriter::try_new(Vec::new(), &values.schema()).map_err(wrong)?;
        out.write(values).map_err(wrong)?;
        self.values = out.into_inner().map_err(wrong)?;
        Ok(self)
    }

    /// The values of its parameters, by their order and by their names; `None` when there are none.
    pub fn params(&self) -> Result<Option<ParamValues>, Status> {
        if self.values.is_empty() {
            return Ok(None);
        }
        let wrong = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
        let mut batches =
            StreamReader::try_new(self.values.as_slice(), None).map_err(|error| wrong(&error))?;
        let Some(batch) = batches.next() else { return Ok(None) };
        let batch = batch.map_err(|error| wrong(&error))?;
        if batch.num_rows() != 1 {
            return Err(wrong(&"a statement takes one row of values at a time"));
        }
        let values = batch.columns().iter().map(|column| ScalarValue::try_from_array(column, 0));
        let values: Vec<ScalarValue> = values.collect::<Result<_>>().map_err(|error| wrong(&error))?;
        Ok(Some(ParamValues::from(values)))
    }
}
