//! Checking a whole audit log: checksums by the log underneath, the chain over it, and what was seen before.

use std::collections::HashMap;

use liandong_proto::id::{Hash, hex};

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
    /// Reads everything. `noted`: records that were seen before, and must be there as they were; those with number 0
    /// stand for none.
    pub fn verify(&self, noted: &[End]) -> Verified {
        let mut found = Verified::default();
        let mut expected: HashMap<u64, Vec<Hash>> = HashMap::new();
        for end in noted.iter().filter(|end| end.number > 0) {
            expected.entry(end.number).or_default().push(end.hash);
        }
        match self.with(|opened| Ok(opened.log.clone())) {
            Ok(log) => found.read(&log, &expected),
            Err(error) => found.damaged(&error),
        }
        let newest = expected.keys().max().copied().unwrap_or_default();
        if newest > found.end.number {
            let (number, end) = (newest, found.end.number);
            found.faults.push(say!(
                "曾有第 {number} 条，而日志到第 {end} 条为止：末尾被截掉",
                "there was a record {number}, and the log ends with record {end}: the end was cut off"
            ));
        }
        found
    }
}

impl Verified {
    fn read(&mut self, log: &Log, expected: &HashMap<u64, Vec<Hash>>) {
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
            let End { number, hash } = self.end;
            let is_other = |noted: &Vec<Hash>| noted.iter().any(|noted| *noted != hash);
            if expected.get(&number).is_some_and(is_other) {
                let hash = hex(&hash);
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
