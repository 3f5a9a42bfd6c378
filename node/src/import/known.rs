//! Which record a row means: by the fields that name one record of a city, so that an import can be repeated.

use std::collections::HashMap;

use liandong_proto::fields::Fields;
use liandong_proto::id::{RecordId, SiteCode, sha256};
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::Kind;

use super::unnamed::Unnamed;
use crate::json::Trouble;
use crate::say;

/// Half a SHA-256 of a field and its value: enough to tell a province's people apart, and no number in
/// memory.
pub(super) type Key = [u8; 16];

/// Who has been seen with an identity.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// The record that has it; `None` when a row of this sheet will make one.
    pub record: Option<RecordId>,
    /// When the record was deleted, milliseconds since 1970.
    pub deleted_at: Option<u64>,
    /// The row of this sheet that had it; 0 for none yet.
    pub row: u32,
    /// What that row said, to tell a repetition from a contradiction.
    pub content: [u8; 8],
}

impl Seen {
    /// A record that no row has meant yet.
    pub fn record(record: RecordId, deleted_at: Option<u64>) -> Seen {
        Seen { record: Some(record), deleted_at, ..Seen::default() }
    }
}

/// What is known of one identity.
#[derive(Debug, Clone, Copy)]
struct Entry {
    seen: Seen,
    /// The record has a value in a field that is tried before this one.
    has_earlier: bool,
}

/// Identities of the records that there are and of the rows that were read.
#[derive(Debug)]
pub struct Known {
    kind: &'static Kind,
    entries: HashMap<Key, Entry>,
    unnamed: Unnamed,
}

/// What a row means.
#[derive(Debug, Clone, PartialEq)]
pub enum Means {
    /// A record that there is not yet; an id when it must come out the same every time.
    New(Option<RecordId>),
    /// A record that there is.
    Record(RecordId),
    /// A record that was deleted.
    Deleted {
        /// Which.
        record: RecordId,
        /// When, milliseconds since 1970.
        at_ms: u64,
    },
    /// The same as an earlier row of the sheet.
    Repeats(u64),
    /// It cannot be told.
    Unclear(pb::Problem),
}

impl Known {
    /// Nothing yet.
    pub fn new(kind: &'static Kind, site: SiteCode) -> Known {
        Known { kind, entries: HashMap::new(), unnamed: Unnamed::new(kind, site) }
    }

    /// Notes a record that there is.
    pub fn note(&mut self, record: RecordId, fields: &Fields) {
        self.note_either(record, fields, None);
    }

    /// Notes a record that was deleted, with what it held until then. After all those that there are: they have the
    /// better claim to an identity.
    pub fn note_deleted(&mut self, record: RecordId, fields: &Fields, at_ms: u64) {
        self.note_either(record, fields, Some(at_ms));
    }

    fn note_either(&mut self, record: RecordId, fields: &Fields, deleted_at: Option<u64>) {
        for (i, (_, key)) in self.identities(fields).iter().enumerate() {
            let entry = Entry { seen: Seen::record(record, deleted_at), has_earlier: i > 0 };
            // Of two records with one identity, which a merge of two sites can leave, the first one stands.
            self.entries.entry(*key).or_insert(entry);
        }
        self.unnamed.note(record, fields, deleted_at);
    }

    /// Says which record a row means, and remembers the row.
    pub fn means(&mut self, row: u64, fields: &Fields) -> Means {
        // No spreadsheet has as many rows; beyond it the number in a message would be the last one.
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        let content = first_half(key_of(0, fields.bytes()));
        let identities = self.identities(fields);
        if identities.is_empty() {
            return self.unnamed.means(row, content, fields);
        }
        let found: Vec<(usize, Entry)> = identities
            .iter()
            .enumerate()
            .filter_map(|(i, (_, key))| self.entries.get(key).map(|entry| (i, *entry)))
            .collect();
        let unclear = |i: usize, doubt: Doubt| Means::Unclear(doubt.about(self.kind, identities[i].0));
        if let Some((i, earlier)) = found.iter().find(|(_, entry)| entry.seen.row != 0) {
            if earlier.seen.content == content {
                return Means::Repeats(earlier.seen.row.into());
            }
            return unclear(*i, Doubt::Repeated(earlier.seen.row));
        }
        let first = found.first().map(|(_, entry)| entry.seen).unwrap_or_default();
        let record = first.record;
        if let Some((i, _)) = found.iter().find(|(_, entry)| entry.seen.record != record) {
            return unclear(*i, Doubt::TwoRecords);
        }
        if let Some((i, entry)) = found.first()
            && *i > 0
            && entry.has_earlier
        {
            return unclear(0, Doubt::OtherIdentity);
        }
        if let (Some(record), Some(at_ms)) = (record, first.deleted_at) {
            return Means::Deleted { record, at_ms };
        }
        for (i, (_, key)) in identities.iter().enumerate() {
            let seen = Seen { record, deleted_at: None, row, content };
            self.entries.insert(*key, Entry { seen, has_earlier: i > 0 });
        }
        self.unnamed.take(row, content, fields, record);
        record.map_or(Means::New(None), Means::Record)
    }

    fn identities(&self, fields: &Fields) -> Vec<(u32, Key)> {
        let value = |tag: &u32| {
            let value = fields.bytes_of(*tag).filter(|value| !value.is_empty())?;
            Some((*tag, key_of(*tag, value)))
        };
        self.kind.identity.iter().filter_map(value).collect()
    }
}

/// Why it cannot be told which record a row means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doubt {
    /// An earlier row is about the same one and says something else.
    Repeated(u32),
    /// Two identities lead to two records.
    TwoRecords,
    /// The record has another value in an identity that is tried first.
    OtherIdentity,
    /// Several records are as like the row as one another.
    Twins,
    /// The only record like the row has another value in a field that identifies.
    Differs,
}

impl Doubt {
    /// What is told of it, with the field that raised it.
    pub fn about(self, kind: &Kind, tag: u32) -> pb::Problem {
        let (code, said) = match self {
            Doubt::Repeated(row) => (
                "row.repeated",
                say!(
                    "与第 {row} 行相同，但其他内容不一致；请核对是否同一人，只保留一行",
                    "the same as in row {row}, while the rest differs; check whether they are one, and keep one \
                     row"
                ),
            ),
            Doubt::TwoRecords => (
                "row.two_records",
                say!(
                    "与另一编号指向两条不同的记录；请核对",
                    "means another record than the other identifier of this row; check both"
                ),
            ),
            Doubt::OtherIdentity => (
                "row.other_identity",
                say!(
                    "这一行的其他编号属于一条号码不同的记录；请核对，号码确有更正时先用 record put 改正",
                    "another identifier of this row belongs to a record with a different one here; check both, \
                     and if it was corrected change the record with record put first"
                ),
            ),
            Doubt::Twins => (
                "row.twins",
                say!(
                    "有几条同名的记录，看不出这一行是哪一条，没有写入；请补上证件号码或会员编号再导入，\
                     或用 record put 直接修改那条记录",
                    "several records are like this row and it cannot be told which one it means, so nothing was \
                     written; add a document or member number and import it again, or change the record with \
                     record put"
                ),
            ),
            Doubt::Differs => (
                "row.differs",
                say!(
                    "有一条相似的记录，但这一项不同，可能是另一个人，没有写入；确是另一个人请补上证件号码或会员编号再导入，\
                     是同一人请用 record put 改正那条记录",
                    "the one record like this row has another value here, so they may be two people and nothing was \
                     written; for another person add a document or member number and import it again, for the \
                     same one change the record with record put"
                ),
            ),
        };
        kind.field(tag).map_or_else(pb::Problem::default, |field| Trouble { code, said }.of(field))
    }
}

pub(super) fn key_of(tag: u32, value: &[u8]) -> Key {
    let hash = sha256(&[&tag.to_be_bytes(), value].concat());
    let mut key = Key::default();
    key.copy_from_slice(&hash[..16]);
    key
}

pub(super) fn first_half(key: Key) -> [u8; 8] {
    let mut half = [0; 8];
    half.copy_from_slice(&key[..8]);
    half
}
