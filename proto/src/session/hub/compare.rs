//! The hub's half of a comparison: answered only while nothing is on its way to the node.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::{HubSession, Output, send};
use crate::digest::BUCKETS;
use crate::entry::Head;
use crate::pb::sync::v1 as pb;
use crate::schema;
use crate::session::{head_from_pb, position_from_pb};
use pb::down::Message as Down;

/// The hub's digests for a site, at the tags asked for.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Of every kind with a record.
    pub kinds: Vec<pb::KindDigest>,
    /// Of the buckets of the kinds asked for.
    pub buckets: Vec<pb::BucketDigests>,
    /// Of the records in buckets that differ.
    pub records: Vec<pb::RecordDigest>,
}

/// Digests to compute for a site, valid only if the hub stands exactly at these tags.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The node's head.
    pub own_head: Head,
    /// The node's cursor, as a place of this hub.
    pub feed_head: u64,
    /// Kinds whose buckets are wanted.
    pub buckets_of: Vec<u32>,
    /// Buckets that the node says differ: their records are wanted. Each once, of kinds that there are.
    pub records_of: Vec<(u32, u16)>,
}

/// So many records are named in one answer.
const MOST_NAMED: usize = 10_000;

impl HubSession {
    pub(super) fn compare(&mut self, compare: pb::Compare, out: &mut Vec<Output>) {
        let own_head = head_from_pb(compare.own_head.as_ref());
        let idle = self.in_flight == 0 && !self.reading && !self.news;
        let place = position_from_pb(compare.feed_head.as_ref()).hub_seq;
        if self.comparing.is_some() || !idle || own_head != self.committed || place < self.sent {
            return out.push(later());
        }
        let records_of = wanted(&compare.buckets);
        self.comparing = Some(compare);
        out.push(Output::Compare(Ask { own_head, feed_head: self.sent, buckets_of: Vec::new(), records_of }));
    }

    pub(super) fn compared(&mut self, ours: Option<Compared>, out: &mut Vec<Output>) {
        let (Some(theirs), Some(ours)) = (self.comparing.take(), ours) else {
            return out.push(later());
        };
        let mut answer = pb::Compare {
            own_head: theirs.own_head.clone(),
            feed_head: theirs.feed_head,
            verdict: pb::compare::Verdict::Different as i32,
            ..pb::Compare::default()
        };
        let kinds = differing_kinds(&theirs.kinds, &ours.kinds);
        if !theirs.buckets.is_empty() {
            answer.records = different_records(&theirs.records, &ours.records);
            answer.records.truncate(MOST_NAMED);
            let named = answer.records.iter().map(|item| (item.kind, item.record.clone())).collect();
            out.push(Output::Verdict(Err(named)));
        } else if kinds.is_empty() {
            out.push(Output::Verdict(Ok(())));
            answer.verdict = pb::compare::Verdict::Equal as i32;
        } else if ours.buckets.is_empty() {
            let own_head = head_from_pb(theirs.own_head.as_ref());
            let ask = Ask { own_head, feed_head: self.sent, buckets_of: kinds, records_of: Vec::new() };
            self.comparing = Some(theirs);
            return out.push(Output::Compare(ask));
        } else {
            answer.buckets = ours.buckets;
        }
        out.push(send(Down::Compare(answer)));
    }
}

/// A peer may name anything, and any number of times.
fn wanted(named: &[pb::BucketDigests]) -> Vec<(u32, u16)> {
    let mut out = BTreeSet::new();
    for buckets in named.iter().filter(|buckets| schema::kind(buckets.kind).is_some()) {
        let known = buckets.differing.iter().filter(|bucket| (**bucket as usize) < BUCKETS);
        out.extend(known.map(|bucket| (buckets.kind, *bucket as u16)));
    }
    out.into_iter().collect()
}

fn later() -> Output {
    let verdict = pb::compare::Verdict::Later as i32;
    send(Down::Compare(pb::Compare { verdict, ..pb::Compare::default() }))
}

/// Kinds that the two sides do not show alike.
fn differing_kinds(theirs: &[pb::KindDigest], ours: &[pb::KindDigest]) -> Vec<u32> {
    let lacks = |from: &[pb::KindDigest], kind: &pb::KindDigest| kind.count > 0 && !from.contains(kind);
    let mut kinds: Vec<u32> = theirs.iter().filter(|kind| lacks(ours, kind)).map(|kind| kind.kind).collect();
    kinds.extend(ours.iter().filter(|kind| lacks(theirs, kind)).map(|kind| kind.kind));
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Records that only one side has or that the two show differently. A peer may name very many.
fn different_records(theirs: &[pb::RecordDigest], ours: &[pb::RecordDigest]) -> Vec<pb::RecordDigest> {
    let named = |item: &pb::RecordDigest| (item.kind, item.record.clone());
    let digests = |side: &[pb::RecordDigest]| -> HashMap<(u32, Bytes), Bytes> {
        side.iter().map(|item| (named(item), item.digest.clone())).collect()
    };
    let (at_theirs, at_ours) = (digests(theirs), digests(ours));
    let mut out: Vec<pb::RecordDigest> =
        theirs.iter().filter(|item| at_ours.get(&named(item)) != Some(&item.digest)).cloned().collect();
    // One that both have has been named already, if it differs.
    out.extend(ours.iter().filter(|item| !at_theirs.contains_key(&named(item))).cloned());
    out
}
