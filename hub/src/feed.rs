//! Reading a site's feed: each record that changed once, as it is now.

use bytes::Bytes;
use liandong_node::index::Index;
use liandong_node::rows;
use liandong_node::site::SiteError;
use liandong_proto::erasure::entry_ref;
use liandong_proto::id::{Origin, RecordId};
use liandong_proto::pb::log::v1::HeldValue;
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::session::hub::FeedBatch;
use liandong_proto::state::{Held, RecordState, held_to_pb};
use prost::Message as _;

use crate::audience;
use crate::hub::Hub;

impl Hub {
    /// What has changed for a site behind a place, up to about `max_bytes`, whole places only.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn read_feed(&self, origin: Origin, after: u64, max_bytes: usize) -> Result<FeedBatch, SiteError> {
        // Before any state is read: what is said to be merged is merged in all of them.
        let (own_seq_inclusive, up_to) =
            self.read(|published| (published.registry.head(origin).seq, published.row.hub_seq));
        let batch = FeedBatch { items: Vec::new(), own_seq_inclusive, up_to };
        read(self.index(), origin, after, max_bytes, batch)
    }
}

/// Reads a site's feed into `batch`, which says what is published.
///
/// # Errors
/// [`SiteError`].
pub fn read(
    index: &Index,
    origin: Origin,
    after: u64,
    max_bytes: usize,
    mut batch: FeedBatch,
) -> Result<FeedBatch, SiteError> {
    let mut bytes = 0;
    let mut last = after;
    let from = rows::feed_from(origin.site, after.saturating_add(1));
    for row in index.scan(&from, Some(&rows::feed_end(origin.site))) {
        let (key, _) = row?;
        let Some((place, kind, record)) = rows::parse_feed(&key) else { continue };
        if bytes >= max_bytes && place > last {
            batch.up_to = last;
            break;
        }
        last = place;
        let Some(stored) = index.get(&rows::record(kind, record))? else { continue };
        let item = item(origin, kind, record, &RecordState::decode(&stored.value)?);
        bytes += item.encoded_len();
        batch.items.push(item);
    }
    batch.up_to = batch.up_to.max(last);
    Ok(batch)
}

/// A record as it goes to a site.
pub fn item(origin: Origin, kind: u32, record: RecordId, state: &RecordState) -> pb::Item {
    let site = origin.site;
    let held = |held: &Held| -> HeldValue {
        let mut held = held.clone();
        held.set = audience::project(site, kind, &held.set).into_owned();
        held_to_pb(&held)
    };
    let what = if !audience::sees(site, kind, state) && !state.deleted() {
        pb::item::What::Withdrawn(pb::Withdrawn {})
    } else if let Some(by) = state.tombstone() {
        pb::item::What::Tombstone(pb::Tombstone {
            stamp: by.stamp.0,
            site: by.origin.site.0,
            held: state.held.iter().map(held).collect(),
            erased: state.erased.then(|| entry_ref(by.origin, by.seq)),
        })
    } else {
        pb::item::What::State(pb::State {
            fields: audience::project(site, kind, &state.fields).bytes().clone(),
            held: state.held.iter().map(held).collect(),
            stamp: state.stamp().0,
            site: state.last_site().0,
        })
    };
    pb::Item {
        kind,
        record: Bytes::copy_from_slice(&record.0),
        hub_seq: state.hub_seq,
        home: state.home.0,
        own_seq_inclusive: state.own_seq(origin),
        what: Some(what),
    }
}
