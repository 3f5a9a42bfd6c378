//! The history of a record, read from the log: who, when, what.

use liandong_proto::entry::{Header, Op, Patch};
use liandong_proto::id::RecordId;
use liandong_proto::pb::log::v1 as log_pb;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::pb::sync::v1 as sync;

use super::{Record, Site, SiteError, locked, patches};
use crate::log::Pos;

impl Site {
    pub(super) fn read_history(
        &self,
        kind: u32,
        record: RecordId,
    ) -> Result<Vec<pb::HistoryItem>, SiteError> {
        let key = locked(&self.writer).author.keys().city.clone();
        let mut items = Vec::new();
        for raw in self.log.read(Pos::default()) {
            match Record::read(&raw?)? {
                Record::Own(entry) => {
                    let header = Header::decode(&entry.header)
                        .map_err(|error| SiteError::corrupt("an own entry", error))?;
                    if header.kind != kind || header.record != record {
                        continue;
                    }
                    let (open, sealed) = patches(&entry, &header, &key)?;
                    items.push(item(&header, &merged(&open, &sealed), 0, Vec::new()));
                }
                Record::Received(deliver) => {
                    items.extend(deliver.items.into_iter().filter_map(|item| delivered(item, kind, record)));
                }
                _ => {}
            }
        }
        Ok(items)
    }
}

/// What the writer really wrote: raw values in place of tokens.
fn merged(open: &Patch, sealed: &Patch) -> Patch {
    let mut cleared = open.cleared.clone();
    cleared.extend(sealed.cleared.iter().filter(|tag| open.set.get(**tag).is_none()));
    cleared.dedup();
    Patch { set: open.set.patched(&sealed.set, &[]), cleared }
}

/// One change as a line of history.
pub fn item(header: &Header, patch: &Patch, hub_seq: u64, verdicts: Vec<log_pb::Verdict>) -> pb::HistoryItem {
    pb::HistoryItem {
        stamp: header.stamp.0,
        site: header.origin.site.0,
        author: header.author.clone(),
        seq: header.seq,
        hub_seq,
        op: header.op as i32,
        set: patch.set.bytes().clone(),
        cleared: patch.cleared.clone(),
        import_id: header.import_id.clone(),
        verdicts,
        delivered: false,
    }
}

fn delivered(item: sync::Item, kind: u32, record: RecordId) -> Option<pb::HistoryItem> {
    if item.kind != kind || item.record.as_ref() != record.0 {
        return None;
    }
    let (stamp, site, set, op) = match item.what? {
        sync::item::What::State(state) => (state.stamp, state.site, state.fields, Op::Put),
        sync::item::What::Tombstone(tombstone) => {
            (tombstone.stamp, tombstone.site, Default::default(), Op::Delete)
        }
        sync::item::What::Withdrawn(_) => (0, 0, Default::default(), Op::Delete),
    };
    Some(pb::HistoryItem {
        stamp,
        site,
        hub_seq: item.hub_seq,
        op: op as i32,
        set,
        delivered: true,
        ..pb::HistoryItem::default()
    })
}
