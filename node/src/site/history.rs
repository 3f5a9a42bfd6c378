//! The past of records, read from the log: who, when, what; and what deleted ones held.

use std::collections::BTreeMap;

use liandong_proto::entry::{Header, Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::RecordId;
use liandong_proto::pb::log::v1 as log_pb;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::schema::{self, Share};
use liandong_proto::state::RecordState;

use super::{Record, Shown, Site, SiteError, locked, patches, view};
use crate::log::Pos;
use crate::rows;

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

/// A record that was deleted, while its past is read.
struct Past {
    state: RecordState,
    /// Its fields up to here in the log.
    fields: Fields,
    /// Deleted here, so that whoever brings it back begins anew.
    is_gone: bool,
}

impl Past {
    fn put(&mut self, set: &Fields, cleared: &[u32]) {
        if std::mem::take(&mut self.is_gone) {
            self.fields = Fields::default();
        }
        self.fields = self.fields.patched(set, cleared);
    }
}

impl Site {
    pub(super) fn read_deleted(&self, kind: u32) -> Result<Vec<Shown>, SiteError> {
        let (origin, confirmed) = self.standing();
        let mut past = self.tombstones(kind)?;
        if past.is_empty() {
            return Ok(Vec::new());
        }
        let key = locked(&self.writer).author.keys().city.clone();
        for raw in self.log.read(Pos::default()) {
            match Record::read(&raw?)? {
                Record::Own(entry) => {
                    let header = Header::decode(&entry.header)
                        .map_err(|error| SiteError::corrupt("an own entry", error))?;
                    let Some(past) = past.get_mut(&header.record).filter(|_| header.kind == kind) else {
                        continue;
                    };
                    if header.op != Op::Put {
                        past.is_gone = true;
                        continue;
                    }
                    let (open, sealed) = patches(&entry, &header, &key)?;
                    let patch = merged(&open, &sealed);
                    past.put(&patch.set, &patch.cleared);
                }
                Record::Received(deliver) => {
                    for item in deliver.items.into_iter().filter(|item| item.kind == kind) {
                        let record = RecordId::from_slice(&item.record);
                        let Some(past) = record.and_then(|record| past.get_mut(&record)) else { continue };
                        match item.what {
                            Some(sync::item::What::State(state)) => {
                                past.put(&open_fields(kind, Fields::split(state.fields)?), &[]);
                            }
                            Some(sync::item::What::Tombstone(_)) => past.is_gone = true,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let shown = |(record, Past { state, fields, .. }): (RecordId, Past)| Shown {
            fields,
            ..view::shown(kind, record, state, Some(origin), confirmed)
        };
        Ok(past.into_iter().map(shown).collect())
    }

    fn tombstones(&self, kind: u32) -> Result<BTreeMap<RecordId, Past>, SiteError> {
        let prefix = rows::records_of(kind);
        let mut past = BTreeMap::new();
        for row in self.index.scan(&prefix, Some(&rows::after_prefix(&prefix))) {
            let (key, value) = row?;
            let Some((_, record)) = rows::parse_record(&key) else { continue };
            let state = RecordState::decode(&value)?;
            if state.deleted() && !state.erased {
                past.insert(record, Past { state, fields: Fields::default(), is_gone: false });
            }
        }
        Ok(past)
    }
}

/// A delivered state has tokens where the city itself has values.
fn open_fields(kind: u32, fields: Fields) -> Fields {
    let is_open = |tag| {
        let field = schema::kind(kind).and_then(|kind| kind.field(tag));
        field.is_none_or(|field| field.share == Share::Open)
    };
    fields.filtered(is_open)
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
