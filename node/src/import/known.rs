//! Which record a row means: by the fields that name one record of a city, so that an import can be repeated.

use std::collections::HashMap;

use liandong_proto::fields::Fields;
use liandong_proto::id::{RecordId, SiteCode, sha256};
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{Kind, Share};

use crate::json::Trouble;
use crate::say;

/// Half a SHA-256 of a field and its value: enough to tell a province's people apart, and no number in
/// memory.
type Key = [u8; 16];

/// What is known of one identity.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The record that has it; `None` when a row of this sheet will make one.
    record: Option<RecordId>,
    /// The row of this sheet that had it; 0 for none yet.
    row: u32,
    /// What that row said, to tell a repetition from a contradiction.
    content: [u8; 8],
    /// The record has a value in a field that is tried before this one.
    has_earlier: bool,
}

/// Identities of the records that there are and of the rows that were read.
#[derive(Debug)]
pub struct Known {
    kind: &'static Kind,
    site: SiteCode,
    entries: HashMap<Key, Entry>,
    /// How many rows without any identity had the same open fields.
    nameless: HashMap<Key, u32>,
}

/// What a row means.
#[derive(Debug, Clone, PartialEq)]
pub enum Means {
    /// A record that there is not yet; an id when it must come out the same every time.
    New(Option<RecordId>),
    /// A record that there is.
    Record(RecordId),
    /// The same as an earlier row of the sheet.
    Repeats(u64),
    /// It cannot be told.
    Unclear(pb::Problem),
}

impl Known {
    /// Nothing yet.
    pub fn new(kind: &'static Kind, site: SiteCode) -> Known {
        Known { kind, site, entries: HashMap::new(), nameless: HashMap::new() }
    }

    /// Notes a record that there is.
    pub fn note(&mut self, record: RecordId, fields: &Fields) {
        let identities = self.identities(fields);
        for (i, (_, key)) in identities.iter().enumerate() {
            let entry = Entry { record: Some(record), row: 0, content: [0; 8], has_earlier: i > 0 };
            // Of two records with one identity, which a merge of two sites can leave, the first one stands.
            self.entries.entry(*key).or_insert(entry);
        }
        if identities.is_empty() {
            let entry = Entry { record: Some(record), row: 0, content: [0; 8], has_earlier: false };
            self.entries.insert(key_of(0, &record.0), entry);
        }
    }

    /// Says which record a row means, and remembers the row.
    pub fn means(&mut self, row: u64, fields: &Fields) -> Means {
        let content = first_half(key_of(0, fields.bytes()));
        let identities = self.identities(fields);
        if identities.is_empty() {
            return self.nameless(fields);
        }
        let found: Vec<(usize, Entry)> = identities
            .iter()
            .enumerate()
            .filter_map(|(i, (_, key))| self.entries.get(key).map(|entry| (i, *entry)))
            .collect();
        let label = |i: usize| identities[i].0;
        if let Some((i, earlier)) = found.iter().find(|(_, entry)| entry.row != 0) {
            if earlier.content == content {
                return Means::Repeats(earlier.row.into());
            }
            return self.unclear(label(*i), "row.repeated", earlier.row);
        }
        let record = found.first().and_then(|(_, entry)| entry.record);
        if let Some((i, _)) = found.iter().find(|(_, entry)| entry.record != record) {
            return self.unclear(label(*i), "row.two_records", 0);
        }
        if let Some((i, entry)) = found.first()
            && *i > 0
            && entry.has_earlier
        {
            return self.unclear(label(0), "row.other_identity", 0);
        }
        // No spreadsheet has as many rows; beyond it the number in a message would be the last one.
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        for (i, (_, key)) in identities.iter().enumerate() {
            self.entries.insert(*key, Entry { record, row, content, has_earlier: i > 0 });
        }
        record.map_or(Means::New(None), Means::Record)
    }

    /// A row that nothing names gets an id that follows from its open fields, so that the same sheet means
    /// the same record next time. Only from open ones: the id travels, and must not be a way to guess the
    /// others.
    fn nameless(&mut self, fields: &Fields) -> Means {
        let is_open = |tag| self.kind.field(tag).is_some_and(|field| field.share == Share::Open);
        let open = fields.filtered(is_open);
        let twins = self.nameless.entry(key_of(0, open.bytes())).or_insert(0);
        *twins += 1;
        let id = RecordId::derived(&[
            b"imported row",
            &self.site.0.to_be_bytes(),
            &self.kind.number.to_be_bytes(),
            open.bytes(),
            &twins.to_be_bytes(),
        ]);
        if self.entries.contains_key(&key_of(0, &id.0)) { Means::Record(id) } else { Means::New(Some(id)) }
    }

    fn identities(&self, fields: &Fields) -> Vec<(u32, Key)> {
        let value = |tag: &u32| {
            let value = fields.bytes_of(*tag).filter(|value| !value.is_empty())?;
            Some((*tag, key_of(*tag, value)))
        };
        self.kind.identity.iter().filter_map(value).collect()
    }

    fn unclear(&self, tag: u32, code: &'static str, row: u32) -> Means {
        let said = match code {
            "row.repeated" => say!(
                "与第 {row} 行相同，但其他内容不一致；请核对是否同一人，只保留一行",
                "the same as in row {row}, while the rest differs; check whether they are one, and keep one \
                 row"
            ),
            "row.two_records" => say!(
                "与另一编号指向两条不同的记录；请核对",
                "means another record than the other identifier of this row; check both"
            ),
            _ => say!(
                "这一行的其他编号属于一条号码不同的记录；请核对，号码确有更正时先用 record put 改正",
                "another identifier of this row belongs to a record with a different one here; check both, \
                 and if it was corrected change the record with record put first"
            ),
        };
        let field = self.kind.field(tag);
        Means::Unclear(field.map_or_else(pb::Problem::default, |field| Trouble { code, said }.of(field)))
    }
}

fn key_of(tag: u32, value: &[u8]) -> Key {
    let hash = sha256(&[&tag.to_be_bytes(), value].concat());
    let mut key = Key::default();
    key.copy_from_slice(&hash[..16]);
    key
}

fn first_half(key: Key) -> [u8; 8] {
    let mut half = [0; 8];
    half.copy_from_slice(&key[..8]);
    half
}
