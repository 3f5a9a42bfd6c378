//! The node's half of a comparison: asked once all is quiet, and good for nothing once something has moved.

use bytes::Bytes;

use super::{Ask, Comparison, Digests, NodeSession, Output, send};
use crate::digest::BUCKETS;
use crate::entry::Head;
use crate::pb::sync::v1 as pb;
use crate::position::Position;
use crate::session::{head_from_pb, head_to_pb, position_from_pb, position_to_pb};
use pb::up::Message as Up;

/// Least time between two comparisons, and between the last change and one, in milliseconds.
pub const COMPARE_EVERY_MS: u64 = 1_000;

/// The most that a comparison is put off because the one before took long.
const MOST_PUT_OFF_MS: u64 = 30 * COMPARE_EVERY_MS;

/// So many buckets are looked into at once: where more differ, the others wait for the next comparison, and the digests of
/// their records still fit into a message when a kind has millions.
const MOST_BUCKETS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct CompareState {
    /// The head and cursor that the running comparison is about.
    asked: Option<(Head, Position)>,
    changed: bool,
    asked_at_ms: u64,
    not_before_ms: u64,
    hub_buckets: Vec<pb::BucketDigests>,
    /// Which buckets differ.
    differing: Vec<pb::BucketDigests>,
    /// How many of them were looked into so far, where there are too many.
    looked_into: usize,
}

impl CompareState {
    /// At the start of a session everything may be new.
    pub(super) fn new() -> CompareState {
        CompareState { changed: true, ..CompareState::default() }
    }

    /// Which of the buckets that differ are looked into now: where more do than can be, each comparison of a session takes
    /// those behind the ones of the last, so that none is left out for what nobody here can mend.
    fn next_of(&mut self, mut differing: Vec<(u32, u16)>) -> Vec<(u32, u16)> {
        if differing.len() > MOST_BUCKETS {
            let from = self.looked_into % differing.len();
            self.looked_into = from + MOST_BUCKETS;
            differing.rotate_left(from);
            differing.truncate(MOST_BUCKETS);
        }
        differing
    }

    /// Whether an answer of the hub is due.
    pub(super) fn is_running(&self) -> bool {
        self.asked.is_some()
    }
}

impl NodeSession {
    /// Something moved: a comparison will be worth its while, but not at once.
    pub(super) fn touch(&mut self, now_ms: u64) {
        self.compare.changed = true;
        self.compare.not_before_ms = self.compare.not_before_ms.max(now_ms + COMPARE_EVERY_MS);
    }

    pub(super) fn maybe_compare(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        let drained = self.drained();
        let compare = &mut self.compare;
        // A clock that has stepped back years must not put it off for as long.
        compare.not_before_ms = compare.not_before_ms.min(now_ms + MOST_PUT_OFF_MS);
        if compare.asked.is_some() || !compare.changed || now_ms < compare.not_before_ms || !drained {
            return;
        }
        compare.asked = Some((self.me.head, self.me.cursor));
        compare.asked_at_ms = now_ms;
        compare.changed = false;
        out.push(Output::Digest(Ask::Kinds));
    }

    /// Whether the site still stands where the running comparison began; if not, it proves nothing and ends.
    fn stands(&mut self, now_ms: u64) -> bool {
        let stands = self.drained() && self.compare.asked == Some((self.me.head, self.me.cursor));
        if !stands {
            self.end_comparison(now_ms);
            self.compare.changed = true;
        }
        stands
    }

    pub(super) fn digests(&mut self, digests: Digests, now_ms: u64, out: &mut Vec<Output>) {
        if !self.stands(now_ms) {
            return;
        }
        let mut compare = pb::Compare {
            own_head: Some(head_to_pb(&self.me.head)),
            feed_head: Some(position_to_pb(self.me.cursor)),
            ..pb::Compare::default()
        };
        match digests {
            Digests::Kinds(kinds) => compare.kinds = kinds,
            Digests::Buckets(buckets) => {
                let differing = differing(&buckets, &std::mem::take(&mut self.compare.hub_buckets));
                let wanted = self.compare.next_of(differing);
                self.compare.differing = named(&buckets, &wanted);
                out.push(Output::Digest(Ask::Records(wanted)));
                return;
            }
            Digests::Records(records) => {
                compare.buckets = std::mem::take(&mut self.compare.differing);
                compare.records = records;
            }
        }
        out.push(send(Up::Compare(compare)));
    }

    pub(super) fn compared(&mut self, compare: pb::Compare, now_ms: u64, out: &mut Vec<Output>) {
        if !self.stands(now_ms) {
            return;
        }
        match compare.verdict() {
            pb::compare::Verdict::Equal => {
                self.end_comparison(now_ms);
                let own_head = head_from_pb(compare.own_head.as_ref()).seq;
                let cursor = position_from_pb(compare.feed_head.as_ref());
                out.push(Output::Compared(Comparison::Equal { own_head, cursor }));
            }
            pb::compare::Verdict::Different if compare.buckets.is_empty() => {
                self.end_comparison(now_ms);
                let records = compare.records.into_iter().map(|item| (item.kind, item.record)).collect();
                out.push(Output::Compared(Comparison::Different(records)));
            }
            pb::compare::Verdict::Different => {
                let kinds = compare.buckets.iter().map(|buckets| buckets.kind).collect();
                self.compare.hub_buckets = compare.buckets;
                out.push(Output::Digest(Ask::Buckets(kinds)));
            }
            // Somebody has moved on; it is asked again when drained.
            _ => {
                self.end_comparison(now_ms);
                self.compare.changed = true;
            }
        }
    }

    fn end_comparison(&mut self, now_ms: u64) {
        self.compare.asked = None;
        // Both sides read all their records for it: one that took long is not asked again at once.
        let took = now_ms.saturating_sub(self.compare.asked_at_ms);
        self.compare.not_before_ms = now_ms + (5 * took).clamp(COMPARE_EVERY_MS, MOST_PUT_OFF_MS);
    }
}

/// The buckets of some kinds that differ, as a message names them.
fn named(kinds: &[pb::BucketDigests], wanted: &[(u32, u16)]) -> Vec<pb::BucketDigests> {
    let of =
        |kind: u32| wanted.iter().filter(move |(of, _)| *of == kind).map(|(_, bucket)| u32::from(*bucket));
    let named =
        |kind: u32| pb::BucketDigests { kind, differing: of(kind).collect(), ..pb::BucketDigests::default() };
    kinds.iter().map(|buckets| named(buckets.kind)).collect()
}

/// (kind, bucket) for every bucket whose sums are not equal.
fn differing(ours: &[pb::BucketDigests], theirs: &[pb::BucketDigests]) -> Vec<(u32, u16)> {
    let mut out = Vec::new();
    for their in theirs {
        let our = ours.iter().find(|our| our.kind == their.kind);
        let empty = Bytes::new();
        let our = our.map_or(&empty, |our| &our.sums);
        for (at, sum) in their.sums.chunks(16).take(BUCKETS).enumerate() {
            if our.get(at * 16..at * 16 + 16) != Some(sum) {
                out.push((their.kind, at as u16));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Phase, Standing};
    use super::*;
    use crate::id::{Epoch, Origin, SiteCode};
    use crate::position::Generations;
    use crate::sign::SigningKey;

    const YEAR_MS: u64 = 31_557_600_000;

    fn live() -> NodeSession {
        let signer = SigningKey::new(&[1; 32]);
        let hub_key = signer.verifying();
        let (mut session, _) = NodeSession::start(Standing {
            origin: Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) },
            nonces: Vec::new(),
            head: Head::default(),
            cursor: Position::default(),
            generations: Generations::default(),
            restore: false,
            anchor: None,
            receipt: Bytes::new(),
            signer,
            hub_key,
        });
        session.phase = Phase::Live;
        session
    }

    #[test]
    fn a_clock_that_steps_back_does_not_put_a_comparison_off_for_years() {
        let (mut session, mut out) = (live(), Vec::new());
        session.touch(50 * YEAR_MS);
        session.maybe_compare(40 * YEAR_MS, &mut out);
        assert_eq!(out, [], "what was put off stays so for a while");
        session.maybe_compare(40 * YEAR_MS + MOST_PUT_OFF_MS, &mut out);
        assert_eq!(out, [Output::Digest(Ask::Kinds)]);
    }

    #[test]
    fn where_every_bucket_differs_some_are_looked_into_and_the_others_next() {
        let (mut session, mut out) = (live(), Vec::new());
        session.maybe_compare(COMPARE_EVERY_MS, &mut out);
        let sums = |byte: u8| pb::BucketDigests {
            kind: 1,
            sums: Bytes::from(vec![byte; 16 * BUCKETS]),
            differing: Vec::new(),
        };
        let mut looked_into = std::collections::BTreeSet::new();
        for _ in 0..BUCKETS / MOST_BUCKETS {
            session.compare.hub_buckets = vec![sums(1)];
            out.clear();
            session.digests(Digests::Buckets(vec![sums(2)]), COMPARE_EVERY_MS, &mut out);
            let [Output::Digest(Ask::Records(wanted))] = &out[..] else { panic!("{out:?}") };
            assert_eq!(
                (wanted.len(), session.compare.differing[0].differing.len()),
                (MOST_BUCKETS, MOST_BUCKETS)
            );
            looked_into.extend(wanted.clone());
        }
        assert_eq!(looked_into.len(), BUCKETS);
    }
}
