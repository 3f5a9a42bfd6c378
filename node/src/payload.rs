//! Dropping the payloads of erased records out of encoded log records, without moving a byte: a field that goes becomes
//! one of padding, of the same length and all zeros, which every reader skips.

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use liandong_proto::entry::Header;
use liandong_proto::fields::{Value, each};
use liandong_proto::id::RecordId;
use prost::encoding::decode_varint;

use crate::site::record_kind;

/// Records to drop: kind and id.
pub type Erased = HashSet<(u32, RecordId)>;

/// No message that is stored has a field of this number: it stands for what was dropped.
const PADDING: u8 = 15;
const ENTRY_PAYLOADS: &[u32] = &[2, 3];
const DELIVER_ITEMS: u32 = 1;
const ITEM_STATE: u32 = 6;
const ITEM_TOMBSTONE: u32 = 7;
const TOMBSTONE_HELD: u32 = 3;
const COMMIT_ENTRIES: u32 = 6;

/// A log record of either site without the payloads of erased records; `None` when it holds none of them.
pub fn dropped(kind: u8, payload: &[u8], erased: &Erased) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let found = match kind {
        record_kind::OWN => drop_entry(payload, 0, erased, &mut out),
        record_kind::RECEIVED => drop_items(payload, erased, &mut out),
        record_kind::COMMIT => nested(payload, COMMIT_ENTRIES)?
            .into_iter()
            .try_for_each(|entry| drop_entry(&payload[entry.clone()], entry.start, erased, &mut out)),
        _ => None,
    };
    // What cannot be read is not touched: whoever verifies the log says so.
    found?;
    if out.is_empty() {
        return None;
    }
    let mut whole = payload.to_vec();
    for Field { key, value, .. } in out {
        whole[key] = whole[key] & 0x80 | PADDING << 3 | 2;
        whole[value].fill(0);
    }
    Some(whole)
}

struct Field {
    tag: u32,
    key: usize,
    value: Range<usize>,
}

/// The delimited fields of a message, with their places in it.
fn fields(message: &[u8]) -> Option<Vec<Field>> {
    let mut out = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let key = message.len() - rest.len();
        let number = decode_varint(&mut rest).ok()?;
        let tag = u32::try_from(number >> 3).ok()?;
        let skipped = match number & 7 {
            0 => {
                decode_varint(&mut rest).ok()?;
                0
            }
            1 => 8,
            5 => 4,
            2 => {
                let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                let start = message.len() - rest.len();
                let end = start.checked_add(length).filter(|end| *end <= message.len())?;
                out.push(Field { tag, key, value: start..end });
                length
            }
            _ => return None,
        };
        rest = rest.get(skipped..)?;
    }
    Some(out)
}

fn nested(message: &[u8], tag: u32) -> Option<Vec<Range<usize>>> {
    Some(fields(message)?.into_iter().filter(|field| field.tag == tag).map(|field| field.value).collect())
}

/// Collects what goes of one message, which begins at `at` of the record. Fields that hold nothing stay.
fn collect(message: &[u8], at: usize, tags: &[u32], out: &mut Vec<Field>) -> Option<()> {
    let goes = fields(message)?.into_iter().filter(|field| tags.contains(&field.tag));
    out.extend(goes.filter(|field| !field.value.is_empty()).map(|Field { tag, key, value }| Field {
        tag,
        key: at + key,
        value: at + value.start..at + value.end,
    }));
    Some(())
}

fn drop_entry(entry: &[u8], at: usize, erased: &Erased, out: &mut Vec<Field>) -> Option<()> {
    let header = fields(entry)?.into_iter().find(|field| field.tag == 1)?;
    let header = Header::decode(&Bytes::copy_from_slice(&entry[header.value])).ok()?;
    if erased.contains(&(header.kind, header.record)) {
        collect(entry, at, ENTRY_PAYLOADS, out)?;
    }
    Some(())
}

fn drop_items(deliver: &[u8], erased: &Erased, out: &mut Vec<Field>) -> Option<()> {
    for item in nested(deliver, DELIVER_ITEMS)? {
        let (at, item) = (item.start, &deliver[item]);
        let (mut kind, mut record) = (0, None);
        for field in each(item) {
            match field.ok()? {
                (1, Value::Varint(number)) => kind = number as u32,
                (2, Value::Delimited(id)) => record = RecordId::from_slice(id),
                _ => {}
            }
        }
        if !record.is_some_and(|record| erased.contains(&(kind, record))) {
            continue;
        }
        collect(item, at, &[ITEM_STATE], out)?;
        for tombstone in nested(item, ITEM_TOMBSTONE)? {
            collect(&item[tombstone.clone()], at + tombstone.start, &[TOMBSTONE_HELD], out)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use liandong_proto::entry::{self, Entry, Op, Patch};
    use liandong_proto::fields::FieldsBuilder;
    use liandong_proto::id::{Epoch, Origin, SiteCode};
    use liandong_proto::pb::log::v1 as pb;
    use liandong_proto::pb::sync::v1 as sync;
    use liandong_proto::position::Position;
    use liandong_proto::stamp::Stamp;
    use prost::Message as _;

    use super::*;

    const SECRET: &[u8] = b"the secret";
    const GONE: RecordId = RecordId([7; 16]);
    const STAYS: RecordId = RecordId([8; 16]);

    fn entry(record: RecordId) -> Entry {
        let set = FieldsBuilder::new().str(1, "the secret").take();
        let header = Header {
            origin: Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) },
            seq: 1,
            stamp: Stamp(1),
            base: Position::default(),
            kind: 1,
            record,
            op: Op::Put,
            author: String::new(),
            import_id: Bytes::new(),
            prev: None,
            open_hash: None,
            sealed_hash: None,
            anchor: None,
            seen: Vec::new(),
        };
        entry::make(header, Patch { set, cleared: vec![] }.to_open([0; 16]), SECRET.to_vec().into()).0
    }

    fn item(record: RecordId) -> sync::Item {
        let held = pb::HeldValue { set: SECRET.to_vec().into(), ..pb::HeldValue::default() };
        let state =
            sync::State { fields: SECRET.to_vec().into(), held: vec![held], ..sync::State::default() };
        sync::Item {
            kind: 1,
            record: Bytes::copy_from_slice(&record.0),
            hub_seq: 9,
            what: Some(sync::item::What::State(state)),
            ..sync::Item::default()
        }
    }

    #[track_caller]
    fn check<M: prost::Message + Default>(kind: u8, message: &M) -> M {
        let before = message.encode_to_vec();
        let erased = Erased::from([(1, GONE), (2, STAYS)]);
        let after = dropped(kind, &before, &erased).expect("it holds one of them");
        assert_eq!(after.len(), before.len());
        let times = |bytes: &[u8]| bytes.windows(SECRET.len()).filter(|window| *window == SECRET).count();
        assert_eq!(times(&after) * 2, times(&before), "one of two records has gone");
        assert_eq!(dropped(kind, &after, &erased), None, "there is nothing left to drop");
        M::decode(after.as_slice()).expect("it can still be read")
    }

    #[test]
    fn payloads_go_and_headers_stay() {
        let accepted = |record| {
            let entry = entry(record);
            let (header, open, sealed) = (entry.header, entry.open, entry.sealed);
            pb::Accepted { header, open, sealed, ..pb::Accepted::default() }
        };
        let commit = pb::Commit { entries: vec![accepted(GONE), accepted(STAYS)], ..pb::Commit::default() };
        let after = check(record_kind::COMMIT, &commit);
        assert_eq!(after.entries[1], commit.entries[1]);
        assert_eq!(after.entries[0].header, commit.entries[0].header);
        assert!(after.entries[0].open.is_empty() && after.entries[0].sealed.is_empty());
        let deliver = sync::Deliver { items: vec![item(GONE), item(STAYS)], ..sync::Deliver::default() };
        let after = check(record_kind::RECEIVED, &deliver);
        assert_eq!((after.items[0].what.clone(), after.items[0].hub_seq), (None, 9));
        assert_eq!(after.items[1], deliver.items[1]);
    }

    #[test]
    fn what_cannot_be_read_is_left_alone() {
        let mut bytes = entry(GONE).encode_to_vec();
        let erased = Erased::from([(1, GONE)]);
        assert!(dropped(record_kind::OWN, &bytes, &erased).is_some());
        bytes.truncate(bytes.len() - 1);
        assert_eq!(dropped(record_kind::OWN, &bytes, &erased), None);
        assert_eq!(dropped(record_kind::OWN, &entry(STAYS).encode_to_vec(), &erased), None);
    }
}
