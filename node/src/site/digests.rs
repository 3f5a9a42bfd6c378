//! Digests of what a site shows, at the three levels of a comparison: kinds, buckets of a kind, records of a bucket.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use liandong_proto::digest::{self, BUCKETS, SetDigest};
use liandong_proto::fields::Fields;
use liandong_proto::id::{Hash, RecordId};
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::session::node::{Ask, Digests};
use liandong_proto::state::RecordState;

use super::SiteError;
use crate::index::Index;
use crate::rows;

/// Digests of the records that `show` gives the fields of, as asked for. Only the kinds that are asked for are read, and
/// only the records of buckets that are asked for are looked into.
///
/// # Errors
/// [`SiteError`].
pub fn digests(
    index: &Index,
    ask: &Ask,
    show: impl for<'a> Fn(u32, &'a RecordState) -> Option<Cow<'a, Fields>>,
) -> Result<Digests, SiteError> {
    let read = Read { index, show };
    Ok(match ask {
        Ask::Kinds => Digests::Kinds(read.kinds()?),
        Ask::Buckets(kinds) => {
            Digests::Buckets(kinds.iter().map(|kind| read.buckets(*kind)).collect::<Result<_, _>>()?)
        }
        Ask::Records(buckets) => Digests::Records(read.records(buckets)?),
    })
}

struct Read<'i, S> {
    index: &'i Index,
    show: S,
}

impl<S: for<'a> Fn(u32, &'a RecordState) -> Option<Cow<'a, Fields>>> Read<'_, S> {
    fn kinds(&self) -> Result<Vec<sync::KindDigest>, SiteError> {
        let mut kinds: Vec<(u32, SetDigest)> = Vec::new();
        self.each(
            rows::RECORDS,
            |_| true,
            |kind, _, item| match kinds.last_mut() {
                Some((last, set)) if *last == kind => set.add(item),
                _ => {
                    let mut set = SetDigest::default();
                    set.add(item);
                    kinds.push((kind, set));
                }
            },
        )?;
        let digest = |(kind, set): (u32, SetDigest)| sync::KindDigest {
            kind,
            count: set.count,
            digest: Bytes::copy_from_slice(&set.bytes()),
        };
        Ok(kinds.into_iter().map(digest).collect())
    }

    fn buckets(&self, kind: u32) -> Result<sync::BucketDigests, SiteError> {
        let mut sums = vec![SetDigest::default(); BUCKETS];
        self.each(
            &rows::records_of(kind),
            |_| true,
            |_, record, item| sums[digest::bucket(record)].add(item),
        )?;
        let mut bytes = Vec::with_capacity(BUCKETS * 16);
        sums.iter().for_each(|set| bytes.extend_from_slice(&set.bytes()[..16]));
        Ok(sync::BucketDigests { kind, sums: bytes.into(), differing: Vec::new() })
    }

    fn records(&self, asked: &[(u32, u16)]) -> Result<Vec<sync::RecordDigest>, SiteError> {
        let mut kinds: Vec<u32> = asked.iter().map(|(kind, _)| *kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let mut records = Vec::new();
        for kind in kinds {
            // A peer that differs in everything names every bucket, and each record is held against them.
            let buckets: HashSet<u16> =
                asked.iter().filter(|(of, _)| *of == kind).map(|(_, bucket)| *bucket).collect();
            let is_asked = |record| buckets.contains(&(digest::bucket(record) as u16));
            self.each(&rows::records_of(kind), is_asked, |kind, record, item| {
                records.push(sync::RecordDigest {
                    kind,
                    record: Bytes::copy_from_slice(&record.0),
                    digest: Bytes::copy_from_slice(&item[..8]),
                });
            })?;
        }
        Ok(records)
    }

    /// The digest of each record under a prefix that is wanted and shown.
    fn each(
        &self,
        prefix: &[u8],
        is_wanted: impl Fn(RecordId) -> bool,
        mut found: impl FnMut(u32, RecordId, &Hash),
    ) -> Result<(), SiteError> {
        for row in self.index.scan(prefix, Some(&rows::after_prefix(prefix))) {
            let (key, value) = row?;
            let Some((kind, record)) = rows::parse_record(&key) else { continue };
            if !is_wanted(record) {
                continue;
            }
            let state = RecordState::decode(&value)?;
            let Some(fields) = (self.show)(kind, &state) else { continue };
            found(kind, record, &digest::item(kind, record, state.deleted(), &fields));
        }
        Ok(())
    }
}
