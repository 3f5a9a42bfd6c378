//! The chain over the records of an audit log. No files here.
//!
//! Checks: that every record can be read, that numbers follow one another, that each record names SHA-256 of the one
//! before as it is stored.
//!
//! Does not check: the newest record, which nothing names yet, nor whether there were more behind it. Whoever kept
//! number and hash of a record (`status`, the program's log, `audit verify`) can tell both.

use bytes::Bytes;
use liandong_proto::id::{Hash, sha256};
use liandong_proto::pb::audit::v1::AuditRecord;
use prost::Message as _;

use crate::say;
use crate::text::Said;

/// Where a chain ends: the newest record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Its number; 0 in front of the first.
    pub number: u64,
    /// SHA-256 of it as it is stored.
    pub hash: Hash,
}

impl End {
    /// The next record as it is to be stored, and the end behind it.
    pub(super) fn chained(&self, record: AuditRecord) -> (Vec<u8>, End) {
        let number = self.number + 1;
        let record = AuditRecord { number, prev_hash: Bytes::copy_from_slice(&self.hash), ..record };
        let bytes = record.encode_to_vec();
        let end = End::behind(&record, &bytes);
        (bytes, end)
    }

    /// The end behind a record.
    pub(super) fn behind(record: &AuditRecord, bytes: &[u8]) -> End {
        End { number: record.number, hash: sha256(bytes) }
    }

    /// Takes the next record; what is wrong with it, if anything is. What follows is checked against it all the same.
    pub fn follow(&mut self, stored: &Bytes) -> Option<Said> {
        let (before, expected) = (self.number, self.number + 1);
        let Ok(record) = AuditRecord::decode(stored.clone()) else {
            *self = End { number: expected, hash: sha256(stored) };
            return Some(say!("第 {expected} 条无法读取", "record {expected} cannot be read"));
        };
        let is_chained = record.prev_hash == self.hash[..];
        *self = End::behind(&record, stored);
        let number = record.number;
        if number > expected {
            let last = number - 1;
            return Some(say!("第 {expected} 至 {last} 条缺失", "records {expected} to {last} are missing"));
        }
        if number < expected {
            return Some(say!(
                "第 {number} 条出现在第 {before} 条之后：重复或移动过",
                "record {number} stands behind record {before}: it was repeated or moved"
            ));
        }
        (!is_chained).then(|| {
            say!(
                "第 {number} 条与前一条不衔接：其中一条被改动",
                "record {number} does not follow record {before}: one of the two was altered"
            )
        })
    }
}
