//! Places in the log.

use std::fmt;

/// A place in the log: a byte in a segment. Ordered as the log is.
///
/// A place to go on from may be stored once it is [synced](super::Log::synced). Places that were not synced
/// when the power failed may lie after the end of the log, or inside what was written there instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// Number of the segment, from 1.
    pub segment: u64,
    /// Byte offset in the segment file.
    pub offset: u64,
}

impl Pos {
    /// Before everything: reading from here reads the whole log.
    pub const START: Pos = Pos { segment: 0, offset: 0 };

    /// Segment and offset, both big-endian, so that bytes sort as places do.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.segment) << 64) | u128::from(self.offset)).to_be_bytes()
    }

    /// The inverse of [`Pos::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Pos {
        let both = u128::from_be_bytes(bytes);
        Pos { segment: (both >> 64) as u64, offset: both as u64 }
    }
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}
