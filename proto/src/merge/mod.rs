//! The merge: a pure fold over the hub's order. [`judge`] decides by the rules of the schema, [`apply`]
//! does what was decided; so that a rebuild repeats old decisions even when the rules have changed.
//!
//! Every field group is a multi-value register: the shown value and the held ones with reason
//! [`Reason::Concurrent`] or [`Reason::Equal`] (its *siblings*) are the writes that no other write has seen. A
//! change *saw* another when both come from one line of an origin, or when its base is not below the other's
//! place (the topology is a star, so this is exact; version vectors in the sense of Parker et al. 1983 are not
//! needed). The shown value of a `LATEST` group is the one with the greatest effective stamp, of a status
//! the one with the greatest rank first, of a `REVIEW` group the one that was there.
//!
//! A delete is a write to all groups; while one stands that no edit has seen, nothing is shown and everything
//! else is held. An edit of somebody who saw every delete brings the record back, and with it what the
//! deletes had not seen. Refused values (not the owner, invalid, …) are no siblings: the newest of each origin
//! is kept beside the register until somebody who saw it edits the group. A change that leaves some members
//! of a group alone takes over what is shown of them when it is merged.
//!
//! An erasure by the record's home ends all that: nothing is shown or held from then on, whatever comes.

mod apply;
mod judge;

use std::collections::HashMap;

use crate::entry::{Anchor, Op, Patch};
use crate::fields::{Fields, FieldsBuilder};
use crate::id::{Epoch, Origin, RecordId, SiteCode};
use crate::schema::{self, Field, Kind, Merge, Party, Type};
use crate::stamp::Stamp;
use crate::state::{Held, Reason, RecordState, Setter};

pub use apply::{apply, erase};
pub use judge::{incomplete, judge};

/// Version of the rules in [`judge`]; recorded with every commit.
pub const VERSION: u32 = 3;

/// One change as the fold sees it.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Who wrote.
    pub origin: Origin,
    /// Place in the origin's log.
    pub seq: u64,
    /// Effective stamp.
    pub stamp: Stamp,
    /// The place of the hub's order whose state of this record the writer had.
    pub base: u64,
    /// Place in the hub's order; 0 at a node for an own change not ordered yet.
    pub hub_seq: u64,
    /// Number of the kind.
    pub kind: u32,
    /// Which record.
    pub record: RecordId,
    /// Put, delete or erase.
    pub op: Op,
    /// Fields set and cleared.
    pub patch: &'a Patch,
    /// Of a change that was made again in a newer epoch: up to where its writer had seen the older ones, as in
    /// [`Header::seen`](crate::entry::Header::seen).
    pub seen: &'a [Anchor],
}

impl Change<'_> {
    /// This change as the setter of what it sets.
    pub fn setter(&self) -> Setter {
        Setter { origin: self.origin, seq: self.seq, hub_seq: self.hub_seq, stamp: self.stamp }
    }

    /// Tags it sets or clears.
    pub fn tags(&self) -> impl Iterator<Item = u32> {
        self.patch.set.iter().map(|(tag, _)| tag).chain(self.patch.cleared.iter().copied())
    }

    /// Whether the writer had `other` before its eyes.
    pub fn saw(&self, other: &Setter, lineage: &Lineage) -> bool {
        (other.hub_seq != 0 && other.hub_seq <= self.base) || self.descends(other, lineage)
    }

    /// Whether what `other` set lies in the past of the writer's own log.
    fn descends(&self, other: &Setter, lineage: &Lineage) -> bool {
        let Some((first, between)) = self.seen.split_first().filter(|_| other.origin != self.origin) else {
            return lineage.descends(self.origin, other);
        };
        let is_between = |seen: &Anchor| seen.epoch == other.origin.epoch && other.seq <= seen.seq;
        other.origin.site == self.origin.site
            && (lineage.reaches(first.epoch, first.seq, other) || between.iter().any(is_between))
    }
}

/// What is not simply shown: (lowest tag of the group, reason). Tag 0 is the change as a whole.
pub type Verdicts = Vec<(u32, Reason)>;

/// Which epochs go on from which.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lineage(HashMap<Epoch, Anchor>);

impl Lineage {
    /// Notes that `epoch` goes on from `anchor`.
    pub fn note(&mut self, epoch: Epoch, anchor: Anchor) {
        self.0.insert(epoch, anchor);
    }

    /// Whether what `other` set lies in the past of `origin`'s own log.
    pub fn descends(&self, origin: Origin, other: &Setter) -> bool {
        origin.site == other.origin.site && self.reaches(origin.epoch, u64::MAX, other)
    }

    /// Whether what `other` set stands in an epoch up to a place, or in those before it as far as they count.
    fn reaches(&self, mut epoch: Epoch, mut up_to: u64, other: &Setter) -> bool {
        // A chain of anchors is finite; the bound guards against a forged circle.
        for _ in 0..64 {
            if epoch == other.origin.epoch {
                return other.seq <= up_to;
            }
            let Some(anchor) = self.0.get(&epoch) else { return false };
            (epoch, up_to) = (anchor.epoch, anchor.seq);
        }
        false
    }
}

/// Group of a tag as the schema has it: lowest tag first. A tag the schema does not know stands alone.
fn group_of<'a>(kind: Option<&Kind>, tag: &'a u32) -> &'a [u32] {
    kind.and_then(|kind| kind.field(*tag)).map_or(std::slice::from_ref(tag), |field| field.group)
}

/// Who a new record belongs to: the province alone makes records of its own kinds, any city the others.
fn first_home(kind: Option<&Kind>, change: &Change<'_>) -> SiteCode {
    match kind {
        Some(kind) if kind.owner == Party::Province => SiteCode::PROVINCE,
        _ => change.origin.site,
    }
}

/// Calls `visit(group, field)` once for every field group that the change touches; `field` is the first of the group.
fn for_each_group(change: &Change<'_>, mut visit: impl FnMut(&[u32], Option<&'static Field>)) {
    let kind = schema::kind(change.kind);
    let (set, cleared) = (&change.patch.set, &change.patch.cleared);
    // Both ascend, so the schema is walked along with the change.
    let mut fields: &'static [Field] = kind.map_or(&[], |kind| kind.fields);
    for (tag, _) in set.iter() {
        while fields.first().is_some_and(|field| field.tag < tag) {
            fields = &fields[1..];
        }
        match fields.first().filter(|field| field.tag == tag) {
            Some(field) if field.group.len() > 1 => {
                // A group is visited at the first of its members.
                let mut before = field.group.iter().take_while(|member| **member < tag);
                if before.all(|member| set.get(*member).is_none()) {
                    visit(field.group, kind.and_then(|kind| kind.field(field.group[0])));
                }
            }
            field => visit(&[tag], field),
        }
    }
    for tag in cleared {
        match kind.and_then(|kind| kind.field(*tag)) {
            Some(field) if field.group.len() > 1 => {
                let first = |member: &u32| *member >= *tag || !cleared.contains(member);
                if field.group.iter().all(|member| set.get(*member).is_none() && first(member)) {
                    visit(field.group, kind.and_then(|kind| kind.field(field.group[0])));
                }
            }
            field => visit(&[*tag], field),
        }
    }
}

/// What a group holds once the change is shown.
fn value_after(state: &RecordState, change: &Change<'_>, group: &[u32]) -> Fields {
    let mut out = FieldsBuilder::new();
    for tag in group {
        let old = || state.fields.get(*tag).filter(|_| !change.patch.cleared.contains(tag));
        if let Some(raw) = change.patch.set.get(*tag).or_else(old) {
            out.push(*tag, raw);
        }
    }
    out.finish()
}

/// Whether a held value is a sibling of the shown one, and not a refused value.
fn is_sibling(held: &Held) -> bool {
    matches!(held.reason, Reason::Concurrent | Reason::Equal)
}

/// Strength of a write among its siblings: rank of a status, then effective stamp; then origin and place in its
/// log, so that no two are equal.
type Strength = (u32, u64, u32, [u8; 16], u64);

fn strength(field: Option<&Field>, number: i32, by: &Setter) -> Strength {
    let rank = match field {
        Some(Field { merge: Merge::Status, ty: Type::Enum(values), .. }) => {
            values.value(number).map_or(0, |value| value.rank)
        }
        _ => 0,
    };
    (rank, by.stamp.0, by.origin.site.0, by.origin.epoch.0, by.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: SiteCode = SiteCode(440_100);

    fn origin(epoch: u8) -> Origin {
        Origin { site: SITE, epoch: Epoch([epoch; 16]) }
    }

    fn anchor(epoch: u8, seq: u64) -> Anchor {
        Anchor { epoch: Epoch([epoch; 16]), seq, hash: [0; 32] }
    }

    /// Whether a change of epoch 3, which goes on from 2 and that from 1, saw an entry.
    #[track_caller]
    fn check(seen: &[Anchor], (epoch, seq): (u8, u64), expected: bool) {
        let mut lineage = Lineage::default();
        lineage.note(Epoch([2; 16]), anchor(1, 20));
        lineage.note(Epoch([3; 16]), anchor(2, 10));
        let change = Change {
            origin: origin(3),
            seq: 5,
            stamp: Stamp(1),
            base: 0,
            hub_seq: 0,
            kind: 1,
            record: RecordId([0; 16]),
            op: Op::Put,
            patch: &Patch::default(),
            seen,
        };
        let other = Setter { origin: origin(epoch), seq, hub_seq: 0, stamp: Stamp(1) };
        assert_eq!(change.saw(&other, &lineage), expected, "{epoch}:{seq} with {seen:?}");
    }

    #[test]
    fn what_is_made_again_saw_what_its_first_writer_had_seen() {
        for (entry, of_no_takeover, of_one, of_two) in [
            ((3, 4), true, true, true),
            ((2, 6), true, false, true),
            ((2, 7), true, false, false),
            ((1, 9), true, true, true),
            ((1, 10), true, false, false),
            ((1, 21), false, false, false),
        ] {
            check(&[], entry, of_no_takeover);
            check(&[anchor(1, 9)], entry, of_one);
            check(&[anchor(1, 9), anchor(2, 6)], entry, of_two);
        }
    }
}
