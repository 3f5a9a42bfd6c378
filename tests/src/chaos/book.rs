//! What a city's clerk has written and been told, for readers to hold against what is shown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use liandong_proto::id::RecordId;

/// The values of one record in the order in which they were sent.
#[derive(Debug, Default)]
struct Kept {
    sent: Vec<String>,
    /// The newest of them that was answered.
    saved: Option<usize>,
}

/// A clerk's book, shared with those who read.
#[derive(Debug, Default, Clone)]
pub struct Book {
    records: Arc<Mutex<BTreeMap<RecordId, Kept>>>,
}

/// What had been answered at a moment: for each record the newest value, by its number.
pub type Saved = BTreeMap<RecordId, usize>;

impl Book {
    fn records(&self) -> MutexGuard<'_, BTreeMap<RecordId, Kept>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a value is about to be sent.
    pub fn sending(&self, record: RecordId, value: &str) {
        self.records().entry(record).or_default().sent.push(value.to_owned());
    }

    /// Notes that the newest value sent was answered.
    pub fn saved(&self, record: RecordId) {
        if let Some(kept) = self.records().get_mut(&record) {
            kept.saved = kept.sent.len().checked_sub(1);
        }
    }

    /// What has been answered by now.
    pub fn answered(&self) -> Saved {
        self.records().iter().filter_map(|(record, kept)| Some((*record, kept.saved?))).collect()
    }

    /// The number of a value of a record; `None` for one that was never sent.
    pub fn number(&self, record: RecordId, value: &str) -> Option<usize> {
        self.records().get(&record)?.sent.iter().position(|sent| sent == value)
    }

    /// How many values were answered.
    pub fn changes(&self) -> u64 {
        self.records().values().filter_map(|kept| kept.saved).map(|saved| saved as u64 + 1).sum()
    }

    /// Holds what a site shows against what had been answered before it was read.
    ///
    /// # Errors
    /// What is missing, or was never written.
    pub fn check(&self, before: &Saved, shown: &BTreeMap<RecordId, String>) -> Result<(), String> {
        for (record, saved) in before {
            let Some(value) = shown.get(record) else {
                return Err(format!("record {record} was acknowledged and is missing"));
            };
            match self.number(*record, value) {
                Some(number) if number >= *saved => {}
                Some(number) => {
                    return Err(format!(
                        "record {record} shows value {number}, and value {saved} was acknowledged"
                    ));
                }
                None => return Err(format!("record {record} shows {value}, which nobody wrote")),
            }
        }
        Ok(())
    }
}
