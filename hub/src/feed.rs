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
    let held = || -> Vec<HeldValue> {
        let seen = state.held.iter().filter(|held| audience::sees_held(site, kind, state, held));
        let shown = |held: &Held| {
            let mut held = held.clone();
            held.set = audience::project(site, kind, &held.set).into_owned();
            held_to_pb(&held)
        };
        seen.map(shown).collect()
    };
    let what = if !audience::sees(site, kind, state) && !state.deleted() {
        pb::item::What::Withdrawn(pb::Withdrawn {})
    } else if let Some(by) = state.tombstone() {
        pb::item::What::Tombstone(pb::Tombstone {
            stamp: by.stamp.0,
            site: by.origin.site.0,
            held: held(),
            erased: state.erased.then(|| entry_ref(by.origin, by.seq)),
        })
    } else {
        pb::item::What::State(pb::State {
            fields: audience::project(site, kind, &state.fields).bytes().clone(),
            held: held(),
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

#[cfg(test)]
mod tests {
    use liandong_proto::fields::Fields;
    use liandong_proto::id::{Epoch, SiteCode};
    use liandong_proto::schema;
    use liandong_proto::stamp::Stamp;
    use liandong_proto::state::{Reason, Setter, Writer};

    use super::*;

    const HOME: SiteCode = SiteCode(440_100);
    const OTHER: SiteCode = SiteCode(440_300);
    const THIRD: SiteCode = SiteCode(440_400);

    fn origin(site: SiteCode) -> Origin {
        Origin { site, epoch: Epoch([1; 16]) }
    }

    fn by(site: SiteCode) -> Setter {
        Setter { origin: origin(site), seq: 1, hub_seq: 1, stamp: Stamp(1) }
    }

    fn refused(site: SiteCode) -> Held {
        Held { reason: Reason::NotOwner, by: by(site), tag: 0, set: Fields::default(), cleared: Vec::new() }
    }

    /// Who brought the values that a site is sent.
    fn held_at(site: SiteCode, kind: u32, state: &RecordState) -> Vec<u32> {
        let held = match item(origin(site), kind, RecordId([1; 16]), state).what {
            Some(pb::item::What::State(state)) => state.held,
            Some(pb::item::What::Tombstone(gone)) => gone.held,
            _ => Vec::new(),
        };
        held.iter().map(|held| held.site).collect()
    }

    /// A kind that the cities which a record names may see.
    fn named_kind() -> u32 {
        let named = |kind: &&schema::Kind| matches!(kind.audience, schema::Audience::Sites(_));
        schema::kinds().iter().find(named).expect("there is one").number
    }

    #[test]
    fn of_a_record_that_is_nobodys_yet_each_sees_its_own() {
        let mut state = RecordState::new(HOME);
        for site in [OTHER, THIRD] {
            state.held.push(refused(site));
            state.writers.push(Writer { origin: origin(site), seq: 1 });
        }
        assert!(state.unclaimed());
        assert_eq!(held_at(OTHER, named_kind(), &state), [OTHER.0]);
        assert_eq!(held_at(THIRD, named_kind(), &state), [THIRD.0]);
    }

    #[test]
    fn of_a_tombstone_the_home_sees_what_is_held_and_others_their_own() {
        let mut state = RecordState::new(HOME);
        state.deleted_by = Some(0);
        state.setters.push(by(HOME));
        state.fed = vec![(OTHER, 1), (THIRD, 1)];
        state.held.push(Held { reason: Reason::Concurrent, ..refused(OTHER) });
        assert_eq!(held_at(HOME, named_kind(), &state), [OTHER.0]);
        assert_eq!(held_at(OTHER, named_kind(), &state), [OTHER.0]);
        assert!(held_at(THIRD, named_kind(), &state).is_empty());
    }
}
