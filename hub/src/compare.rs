//! The hub's side of a comparison: digests of what a city should show.
//!
//! One scan serves all cities: it is kept, and stands for a city until something that the city sees changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use liandong_node::rows;
use liandong_node::site::{SiteError, digests};
use liandong_proto::digest::{self, SetDigest};
use liandong_proto::id::{Origin, SiteCode};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::session::hub::{Ask, Compared};
use liandong_proto::session::node::{Ask as Level, Digests};
use liandong_proto::state::RecordState;

use crate::audience;
use crate::hub::Hub;

/// What all cities should show, as of one scan.
#[derive(Debug, Default)]
pub struct Scanned {
    kept: Mutex<Option<Scan>>,
    /// Newest place that changed something a city sees.
    touched: Mutex<HashMap<SiteCode, u64>>,
}

#[derive(Debug)]
struct Scan {
    /// Everything up to here was visible when the scan began.
    at: u64,
    sets: BTreeMap<(SiteCode, u32), SetDigest>,
}

impl Scanned {
    /// Notes that something these cities see has changed.
    pub fn touch(&self, sites: impl Iterator<Item = SiteCode>, hub_seq: u64) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.extend(sites.map(|site| (site, hub_seq)));
    }

    fn touched(&self, site: SiteCode) -> u64 {
        let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.get(&site).copied().unwrap_or(0)
    }
}

impl Hub {
    /// Digests for a site at the tags of `ask`; `None` when the hub stands elsewhere by now.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn digests(&self, origin: Origin, ask: &Ask) -> Result<Option<Compared>, SiteError> {
        let at_tags = || {
            let held = self.read(|published| published.registry.head(origin)) == ask.own_head;
            Ok::<bool, SiteError>(held && self.read_feed(origin, ask.feed_head, 1)?.items.is_empty())
        };
        if !at_tags()? {
            return Ok(None);
        }
        let mut out = Compared::default();
        if !ask.records_of.is_empty() {
            if let Digests::Records(records) = self.level(origin, &Level::Records(ask.records_of.clone()))? {
                out.records = records;
            }
        } else {
            out.kinds = self.kinds(origin.site)?;
            if !ask.buckets_of.is_empty()
                && let Digests::Buckets(buckets) =
                    self.level(origin, &Level::Buckets(ask.buckets_of.clone()))?
            {
                out.buckets = buckets;
            }
        }
        // A scan is not a snapshot of the tags: if they moved meanwhile, it proves nothing.
        Ok(at_tags()?.then_some(out))
    }

    fn level(&self, origin: Origin, level: &Level) -> Result<Digests, SiteError> {
        let site = origin.site;
        digests(self.index(), level, |kind, state| {
            audience::sees(site, kind, state).then(|| audience::project(site, kind, &state.fields))
        })
    }

    /// Digests of every kind that a city sees. Whoever comes while a scan is under way waits for it.
    fn kinds(&self, site: SiteCode) -> Result<Vec<pb::KindDigest>, SiteError> {
        let scanned = &self.shared.scanned;
        let mut kept = scanned.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|scan| scanned.touched(site) > scan.at) {
            *kept = Some(self.scan()?);
        }
        let sets = kept.iter().flat_map(|scan| scan.sets.range((site, 0)..=(site, u32::MAX)));
        let digest = |((_, kind), set): (&(SiteCode, u32), &SetDigest)| pb::KindDigest {
            kind: *kind,
            count: set.count,
            digest: Bytes::copy_from_slice(&set.bytes()),
        };
        Ok(sets.map(digest).collect())
    }

    fn scan(&self) -> Result<Scan, SiteError> {
        let mut scan = Scan { at: self.read(|published| published.row.hub_seq), sets: BTreeMap::new() };
        for row in self.index().scan(rows::RECORDS, Some(&rows::after_prefix(rows::RECORDS))) {
            let (key, value) = row?;
            let Some((kind, record)) = rows::parse_record(&key) else { continue };
            let state = RecordState::decode(&value)?;
            for site in audience::sites(kind, &state) {
                let fields = audience::project(site, kind, &state.fields);
                let item = digest::item(kind, record, state.deleted(), &fields);
                scan.sets.entry((site, kind)).or_default().add(&item);
            }
        }
        Ok(scan)
    }
}
