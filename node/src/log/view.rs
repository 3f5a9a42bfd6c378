//! A log as those see it who make states of it: on disk it is a [`Log`], and whoever simulates a site has one in memory.

use super::{Log, LogError, Pos, Record};

/// Records in the order of the log; after an error there are none.
pub type Records<'a> = Box<dyn Iterator<Item = Result<Record, LogError>> + 'a>;

/// A log that is read. What each call answers is said at [`Log`].
pub trait LogView {
    /// See [`Log::read`].
    fn read(&self, from: Pos) -> Records<'_>;

    /// See [`Log::seek`].
    fn seek(&self, mark: u64) -> Pos;

    /// See [`Log::end`].
    fn end(&self) -> Pos;

    /// See [`Log::bytes_from`].
    fn bytes_from(&self, from: Pos) -> u64;
}

impl LogView for Log {
    fn read(&self, from: Pos) -> Records<'_> {
        Box::new(Log::read(self, from))
    }

    fn seek(&self, mark: u64) -> Pos {
        Log::seek(self, mark)
    }

    fn end(&self) -> Pos {
        Log::end(self)
    }

    fn bytes_from(&self, from: Pos) -> u64 {
        Log::bytes_from(self, from)
    }
}
