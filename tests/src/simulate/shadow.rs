//! What a node should show, kept beside it by the simplest means: of each record what was delivered last, and its own
//! edits that this does not hold yet, one over the other.
//!
//! Checks: fields that travel in clear, and whether the record is deleted. Does not check: held values, and a record that was
//! deleted and written again, until its next delivery.

use std::collections::HashMap;

use liandong_node::log::LogView;
use liandong_node::site::{Record, generations_of, patches};
use liandong_proto::entry::{Header, Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::{Origin, RecordId};
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::position_from_pb;
use liandong_proto::share::CityRing;
use liandong_proto::state::RecordState;

use super::invariants::{Broken, Invariant};
use super::truth::Key;

#[derive(Default)]
struct One {
    delivered: Fields,
    is_deleted: bool,
    /// It was seen to be there at all.
    is_known: bool,
    /// Where in the hub's order that was.
    at: Position,
    own: Vec<(Origin, u64, Op, Patch)>,
    /// Those that it holds as well.
    own_ever: Vec<(Origin, u64, Op, Patch)>,
}

/// All records of a node.
#[derive(Default)]
pub struct Shadow(HashMap<Key, One>);

impl Shadow {
    /// Reads a log that can be read.
    pub fn of(disk: &dyn LogView, key: &CityRing, origin: Origin) -> Shadow {
        let (mut shadow, mut cursor) = (Shadow::default(), Position::default());
        for raw in disk.read(Default::default()).flatten() {
            match Record::read(&raw) {
                Ok(Record::Own(entry)) => {
                    let header = Header::decode(&entry.header).expect("a header");
                    let (open, _) = patches(&entry, &header, key).expect("patches");
                    shadow.own(&header, open);
                }
                Ok(Record::Received(deliver)) => {
                    shadow.delivered(&deliver, origin);
                    cursor = position_from_pb(deliver.cursor.as_ref());
                }
                Ok(Record::Welcomed(learned)) => {
                    let row = log::SiteRow { generations: learned.generations, ..log::SiteRow::default() };
                    shadow.learned(&generations_of(&row), cursor);
                }
                _ => {}
            }
        }
        shadow
    }

    /// Somebody has written.
    pub fn own(&mut self, header: &Header, open: Patch) {
        let one = self.0.entry((header.kind, header.record)).or_default();
        one.is_known = true;
        one.own.push((header.origin, header.seq, header.op, open.clone()));
        one.own_ever.push((header.origin, header.seq, header.op, open));
    }

    /// Something was delivered; which records.
    pub fn delivered(&mut self, deliver: &sync::Deliver, origin: Origin) -> Vec<Key> {
        let mut keys = Vec::new();
        let generation = position_from_pb(deliver.cursor.as_ref()).generation;
        for item in &deliver.items {
            let Some(record) = RecordId::from_slice(&item.record) else { continue };
            let one = self.0.entry((item.kind, record)).or_default();
            let up_to = item.own_seq_inclusive.max(deliver.own_seq_inclusive);
            one.own.retain(|(by, seq, _, _)| *by == origin && *seq > up_to);
            one.delivered = Fields::default();
            one.at = Position { generation, hub_seq: item.hub_seq };
            (one.is_deleted, one.is_known) = (false, true);
            match item.what.as_ref() {
                Some(sync::item::What::State(state)) => {
                    one.delivered = Fields::split(state.fields.clone()).expect("fields");
                }
                Some(sync::item::What::Tombstone(_)) => one.is_deleted = true,
                _ => one.is_known = !one.own.is_empty(),
            }
            keys.push((item.kind, record));
        }
        keys
    }

    /// A node that stood at `cursor` has learned a history: what a restored hub has lost is shown no more.
    pub fn learned(&mut self, generations: &Generations, cursor: Position) {
        let lost = self.0.values_mut().filter(|one| generations.lost(one.at));
        for one in lost.filter(|_| generations.lost(cursor)) {
            (one.delivered, one.is_deleted, one.at) = (Fields::default(), false, Position::default());
            one.own = one.own_ever.clone();
            one.is_known = !one.own.is_empty();
        }
    }

    /// Whether nothing that was delivered is part of what is shown of a record.
    pub fn is_own_alone(&self, key: Key) -> bool {
        self.0.get(&key).is_none_or(|one| one.at == Position::default())
    }

    /// Holds what a node shows of a record against what it should.
    pub fn check(&self, key: Key, shown: Option<&RecordState>) -> Result<(), Broken> {
        let Some(one) = self.0.get(&key) else { return Ok(()) };
        let (mut fields, mut is_deleted) = (one.delivered.clone(), one.is_deleted);
        for (_, _, op, patch) in &one.own {
            match op {
                Op::Put if is_deleted => return Ok(()),
                Op::Put => fields = fields.patched(&patch.set, &patch.cleared),
                _ => (fields, is_deleted) = (Fields::default(), true),
            }
        }
        let found = shown.map(|state| (state.fields.clone(), state.deleted()));
        let expected = one.is_known.then_some((fields, is_deleted));
        if found == expected {
            return Ok(());
        }
        Err(Broken::new(Invariant::OwnEditsShown, format!("{key:?}: shown {found:?}, and not {expected:?}")))
    }
}
