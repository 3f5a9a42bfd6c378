//! The disks of the two sides: what each keeps, how it folds it, and what it shows.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use liandong_proto::digest::{self, SetDigest};
use liandong_proto::entry::{self, Entry, Head, Header, Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::{Epoch, Hash, Origin, RecordId, SiteCode};
use liandong_proto::merge::{self, Change, Lineage};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::hub::{self, CheckedEntry, Compared, FeedBatch};
use liandong_proto::session::node::{self, Digests};
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{RecordState, Setter, held_from_wire, held_to_pb};
use liandong_proto::validate::{self, View};

pub const HUB: Origin = Origin { site: SiteCode::PROVINCE, epoch: Epoch([9; 16]) };
/// The kind of all records here: members.
pub const KIND: u32 = 1;
/// 2026-01-01, where the clocks begin.
pub const BEGIN_MS: u64 = 1_767_225_600_000;

pub fn record(name: &str) -> RecordId {
    RecordId::derived(&[name.as_bytes()])
}

/// What the node keeps on its disk.
#[derive(Clone)]
pub struct Node {
    pub origin: Origin,
    pub log: Vec<(Entry, Header, Hash)>,
    /// Everything delivered, in order, with the generation it came from.
    pub received: Vec<(pb::Item, u64)>,
    pub cursor: Position,
    pub generations: Generations,
    pub nonces: Vec<Bytes>,
    pub confirmed: u64,
}

/// What the hub keeps on its disk.
#[derive(Clone)]
pub struct Hub {
    pub generations: Generations,
    pub place: u64,
    pub logs: HashMap<Origin, Vec<CheckedEntry>>,
    pub states: BTreeMap<RecordId, RecordState>,
    pub feed: BTreeMap<u64, RecordId>,
    pub nonce: HashMap<Origin, Bytes>,
    pub own_seq: u64,
}

impl Node {
    pub fn head(&self) -> Head {
        self.log.last().map_or_else(Head::default, |(_, header, hash)| Head { seq: header.seq, hash: *hash })
    }

    /// The newest delivery of a record that still holds: a restored hub may have lost later ones.
    pub fn delivered(&self, record: RecordId) -> Option<&(pb::Item, u64)> {
        self.received.iter().rev().find(|(item, generation)| {
            let place = Position { generation: *generation, hub_seq: item.hub_seq };
            item.record == record.0.as_slice() && !self.generations.lost(place)
        })
    }

    /// What the node shows of a record: what was delivered, and own entries behind it.
    pub fn view(&self, record: RecordId) -> Option<RecordState> {
        let item = self.delivered(record).map(|(item, _)| item);
        let merged = item.map_or(0, |item| item.own_seq_inclusive);
        let mut state = item.and_then(state_of);
        for (entry, header, _) in &self.log {
            if header.record == record && (header.seq > merged || header.origin != self.origin) {
                let patch = Patch::from_open(&entry.open).expect("a patch");
                let change = change(header, u64::MAX, 0, header.stamp, &patch);
                state = Some(merge::apply(state, &change, &Vec::new(), &Lineage::default()));
            }
        }
        state
    }

    fn records(&self) -> Vec<RecordId> {
        let own = self.log.iter().map(|(_, header, _)| header.record);
        let received = self.received.iter().filter_map(|(item, _)| RecordId::from_slice(&item.record));
        let mut all: Vec<RecordId> = own.chain(received).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    pub fn digests(&self, ask: &node::Ask) -> Digests {
        let items = self.records().into_iter().filter_map(|record| {
            let state = self.view(record)?;
            Some((record, digest::item(KIND, record, state.deleted(), &state.fields)))
        });
        let items: Vec<(RecordId, Hash)> = items.collect();
        match ask {
            node::Ask::Kinds => Digests::Kinds(kind_digests(&items)),
            node::Ask::Buckets(_) => Digests::Buckets(bucket_digests(&items)),
            node::Ask::Records(wanted) => Digests::Records(record_digests(&items, wanted)),
        }
    }
}

impl Hub {
    pub fn log(&self, origin: Origin) -> &[CheckedEntry] {
        self.logs.get(&origin).map_or(&[], Vec::as_slice)
    }

    pub fn head(&self, origin: Origin) -> Head {
        let last = self.log(origin).last();
        last.map_or_else(Head::default, |last| Head { seq: last.header.seq, hash: last.hash })
    }

    pub fn fold(&mut self, change: &Change<'_>) {
        let old = self.states.remove(&change.record);
        let today = validate::today(BEGIN_MS);
        let verdicts = merge::judge(old.as_ref(), change, &Lineage::default(), today, Some(View::Shared));
        let quiet = verdicts.is_empty() && old.as_ref().is_none_or(|old| old.held.is_empty());
        let state = merge::apply(old, change, &verdicts, &Lineage::default());
        if !quiet || !state.held.is_empty() || change.origin == HUB {
            self.feed.retain(|_, record| *record != change.record);
            self.feed.insert(change.hub_seq, change.record);
        }
        self.states.insert(change.record, state);
    }

    /// Up to `batch` records that changed behind a place.
    pub fn read_feed(&self, origin: Origin, after: u64, batch_items: usize) -> FeedBatch {
        let mut batch =
            FeedBatch { items: Vec::new(), own_seq_inclusive: self.head(origin).seq, up_to: self.place };
        for (place, record) in self.feed.range(after.saturating_add(1)..) {
            if batch.items.len() == batch_items {
                break;
            }
            batch.items.push(item(origin, *record, &self.states[record]));
            batch.up_to = *place;
        }
        if batch.items.len() < batch_items {
            batch.up_to = self.place;
        }
        batch
    }

    pub fn digests(&self, origin: Origin, ask: &hub::Ask) -> Option<Compared> {
        if self.head(origin) != ask.own_head || !self.read_feed(origin, ask.feed_head, 1).items.is_empty() {
            return None;
        }
        let states = self.states.iter();
        let items = states
            .map(|(record, state)| (*record, digest::item(KIND, *record, state.deleted(), &state.fields)));
        let items: Vec<(RecordId, Hash)> = items.collect();
        let buckets = bucket_digests(&items);
        let mut compared = Compared { kinds: kind_digests(&items), ..Compared::default() };
        if !ask.buckets_of.is_empty() {
            compared.buckets = buckets.clone();
        }
        if !ask.records_of.is_empty() {
            compared.records = record_digests(&items, &ask.records_of);
        }
        Some(compared)
    }
}

/// An entry that follows a head.
pub fn entry_after(
    origin: Origin,
    head: Head,
    ms: u64,
    base: Position,
    record: RecordId,
    op: Op,
    patch: &Patch,
) -> (Entry, Header, Head) {
    let header = Header {
        origin,
        seq: head.seq + 1,
        stamp: Stamp::at_ms(BEGIN_MS + ms),
        base,
        kind: KIND,
        record,
        op,
        author: "clerk-1".into(),
        import_id: Bytes::new(),
        prev: (head.seq > 0).then_some(head.hash),
        open_hash: None,
        sealed_hash: None,
        anchor: None,
        seen: Vec::new(),
    };
    let (entry, head) = entry::make(header.clone(), patch.to_open([0; 16]), Bytes::new());
    (entry, header, head)
}

pub fn change<'a>(header: &'a Header, base: u64, hub_seq: u64, stamp: Stamp, patch: &'a Patch) -> Change<'a> {
    let Header { origin, seq, kind, record, op, .. } = *header;
    Change { origin, seq, stamp, base, hub_seq, kind, record, op, patch, seen: &header.seen }
}

fn item(origin: Origin, record: RecordId, state: &RecordState) -> pb::Item {
    let held = state.held.iter().map(held_to_pb).collect();
    let (stamp, site) = (state.stamp().0, state.last_site().0);
    let what = if state.deleted() {
        pb::item::What::Tombstone(pb::Tombstone { stamp, site, held, erased: None })
    } else {
        pb::item::What::State(pb::State { fields: state.fields.bytes().clone(), held, stamp, site })
    };
    pb::Item {
        kind: KIND,
        record: Bytes::copy_from_slice(&record.0),
        hub_seq: state.hub_seq,
        home: state.home.0,
        own_seq_inclusive: state.own_seq(origin),
        what: Some(what),
    }
}

/// A delivered item as a state: the hub's order stands for all of its fields.
fn state_of(item: &pb::Item) -> Option<RecordState> {
    let mut state = RecordState::new(SiteCode(item.home));
    state.hub_seq = item.hub_seq;
    let (fields, held, stamp, site) = match item.what.as_ref()? {
        pb::item::What::State(shown) => (shown.fields.clone(), &shown.held, shown.stamp, shown.site),
        pb::item::What::Tombstone(gone) => (Bytes::new(), &gone.held, gone.stamp, gone.site),
        pb::item::What::Withdrawn(_) => return None,
    };
    state.fields = Fields::split(fields).expect("a message");
    state.deleted_by = matches!(item.what, Some(pb::item::What::Tombstone(_))).then_some(0);
    let origin = Origin { site: SiteCode(site), epoch: Epoch::default() };
    state.setters.push(Setter { origin, seq: 0, hub_seq: item.hub_seq, stamp: Stamp(stamp) });
    state.held = held.iter().map(|held| held_from_wire(held.clone()).expect("a held value")).collect();
    Some(state)
}

fn kind_digests(items: &[(RecordId, Hash)]) -> Vec<pb::KindDigest> {
    let mut set = SetDigest::default();
    items.iter().for_each(|(_, item)| set.add(item));
    let digest = Bytes::copy_from_slice(&set.bytes());
    if items.is_empty() { Vec::new() } else { vec![pb::KindDigest { kind: KIND, count: set.count, digest }] }
}

fn bucket_digests(items: &[(RecordId, Hash)]) -> Vec<pb::BucketDigests> {
    let mut sums = vec![SetDigest::default(); digest::BUCKETS];
    items.iter().for_each(|(record, item)| sums[digest::bucket(*record)].add(item));
    let sums: Vec<u8> = sums.iter().flat_map(|set| set.bytes()[..16].to_vec()).collect();
    vec![pb::BucketDigests { kind: KIND, sums: sums.into(), ..pb::BucketDigests::default() }]
}

fn record_digests(items: &[(RecordId, Hash)], wanted: &[(u32, u16)]) -> Vec<pb::RecordDigest> {
    let asked = items.iter().filter(|(record, _)| wanted.contains(&(KIND, digest::bucket(*record) as u16)));
    let row = |(record, item): &(RecordId, Hash)| pb::RecordDigest {
        kind: KIND,
        record: Bytes::copy_from_slice(&record.0),
        digest: Bytes::copy_from_slice(&item[..8]),
    };
    asked.map(row).collect()
}
