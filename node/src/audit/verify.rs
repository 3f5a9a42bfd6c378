//! Checking a whole audit log: checksums by the log underneath, the chain over it, and what was seen before.

use liandong_proto::id::hex;

use super::chain::End;
use super::{Audit, AuditError, RECORD};
use crate::log::{Log, Pos};
use crate::say;
use crate::text::Said;

/// Past that many faults there is nothing to learn from further ones.
const MOST_FAULTS: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// How many records could be read.
    pub records: u64,
    /// The newest.
    pub end: End,
    /// What is wrong; empty when all is sound.
    pub faults: Vec<Said>,
}

impl Audit {
    /// Reads everything. `expected`: a record that was seen before, and must be there as it was.
    pub fn verify(&self, expected: Option<End>) -> Verified {
        let mut found = Verified::default();
        match self.with(|opened| Ok(opened.log.clone())) {
            Ok(log) => found.read(&log, expected),
            Err(error) => found.damaged(&error),
        }
        if let Some(expected) = expected.filter(|expected| expected.number > found.end.number) {
            let (number, end) = (expected.number, found.end.number);
            found.faults.push(say!(
                "曾有第 {number} 条，而日志到第 {end} 条为止：末尾被截掉",
                "there was a record {number}, and the log ends with record {end}: the end was cut off"
            ));
        }
        found
    }
}

impl Verified {
    fn read(&mut self, log: &Log, expected: Option<End>) {
        for stored in log.read(Pos::START) {
            let stored = match stored {
                Ok(stored) => stored,
                Err(error) => return self.damaged(&error.into()),
            };
            if stored.kind != RECORD {
                let (place, kind) = (stored.pos, stored.kind);
                self.faults.push(say!(
                    "{place} 处不是审计记录（{kind}）",
                    "at {place} there is no audit record ({kind})"
                ));
                continue;
            }
            self.records += 1;
            self.faults.extend(self.end.follow(&stored.payload));
            let other = expected.filter(|e| e.number == self.end.number && e.hash != self.end.hash);
            if let Some(End { number, .. }) = other {
                let hash = hex(&self.end.hash);
                self.faults.push(say!(
                    "第 {number} 条已不是当初那一条，现为 {hash}",
                    "record {number} is not the one that was seen before, it is {hash} now"
                ));
            }
            if self.faults.len() >= MOST_FAULTS {
                return;
            }
        }
        // What lies between and behind the records.
        if let Err(error) = log.verify(&mut |_, _| {}) {
            self.damaged(&error.into());
        }
    }

    fn damaged(&mut self, error: &AuditError) {
        self.faults.push(say!("审计日志无法读取：{error}", "the audit log cannot be read: {error}"));
    }
}
