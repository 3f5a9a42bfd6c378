//! The log that is made anew.

use std::path::Path;

use super::super::{SiteError, record_kind};
use crate::log::{self, Batch, Log};

/// What is written at once.
const BATCH_BYTES: u64 = 1 << 20;

/// The log that is being written.
pub(super) struct Out {
    log: Log,
    batch: Batch,
    /// Own entries before the batch, and with it.
    before: u64,
    own: u64,
}

impl Out {
    pub fn begin(dir: &Path, segment_bytes: u64) -> Result<Out, SiteError> {
        let options = log::Options { segment_bytes, ..log::Options::default() };
        Ok(Out { log: Log::open(dir, options)?.0, batch: Batch::new(), before: 0, own: 0 })
    }

    pub fn push(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), SiteError> {
        self.batch.push(kind, parts);
        self.own += u64::from(kind == record_kind::OWN);
        if self.batch.bytes() >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), SiteError> {
        self.log.append(&self.batch, self.before + 1)?;
        self.batch.clear();
        self.before = self.own;
        Ok(())
    }

    /// All of it is durable.
    pub fn finish(mut self) -> Result<(), SiteError> {
        self.flush()?;
        Ok(self.log.sync_to(self.log.end())?)
    }
}
