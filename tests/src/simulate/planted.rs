//! Bugs that the simulator plants in what it simulates, to see that it would find them. Each changes what goes into the
//! real code, or what its driver does; none can be reached from the programs.

use std::fmt;

use liandong_hub::fold::{Accepting, Fold};
use liandong_proto::merge::Verdicts;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::Position;
use liandong_proto::schema::{self, Merge};
use liandong_proto::session::hub::CheckedEntry;
use liandong_proto::state::{Reason, RecordState};

use super::invariants::Invariant;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// The hub tells of a commit before it is synced.
    ReceiptBeforeSync,
    /// A clerk is told that something is saved before it is synced.
    SavedBeforeSync,
    /// The hub lets a copy of a node in.
    CopyLetIn,
    /// The node's cursor is durable before what it was moved for.
    CursorEarly,
    /// The node answers Applied before the delivery is synced.
    AppliedBeforeSync,
    /// Own edits go on top of a delivery as of the last receipt.
    OwnByReceipt,
    /// A change names the feed's cursor as its base.
    FeedWideBase,
    /// What has the later stamp counts as having seen the other.
    StampForOrder,
    /// The later of two values of a `REVIEW` field is shown.
    LatestOnReview,
    /// Every change counts as having seen all.
    BaseIgnored,
    /// Places of an older generation are taken as they are.
    GenerationAsIs,
    /// The node takes no tombstone in.
    TombstoneDropped,
    /// Of two statuses the later is shown, whatever they are.
    RankIgnored,
    /// Both sides read on only once the other has read.
    ReaderWaits,
    /// A raw value is sent where a token belongs.
    RawValueSent,
    /// A node goes on showing what a restored hub has lost.
    LostKept,
    /// What a takeover makes again counts as having seen all of the older epochs.
    TakeoverSawAll,
    /// All cities wait in one lane.
    OneLane,
}

impl Planted {
    /// All of them.
    pub const ALL: [Planted; 18] = [
        Planted::ReceiptBeforeSync,
        Planted::SavedBeforeSync,
        Planted::CopyLetIn,
        Planted::CursorEarly,
        Planted::AppliedBeforeSync,
        Planted::OwnByReceipt,
        Planted::FeedWideBase,
        Planted::StampForOrder,
        Planted::LatestOnReview,
        Planted::BaseIgnored,
        Planted::GenerationAsIs,
        Planted::TombstoneDropped,
        Planted::RankIgnored,
        Planted::ReaderWaits,
        Planted::RawValueSent,
        Planted::LostKept,
        Planted::TakeoverSawAll,
        Planted::OneLane,
    ];

    /// Whether it shows in this invariant, and is not found by chance.
    pub fn shows_in(self, invariant: Invariant) -> bool {
        use Invariant::{EveryPairListed, RightOneShown, SanctionStands, TombstonesStand};
        match self {
            Planted::ReceiptBeforeSync => invariant == Invariant::ReceiptIsDurable,
            Planted::SavedBeforeSync => invariant == Invariant::PutIsDurable,
            Planted::CopyLetIn => invariant == Invariant::CopiesAreToldApart,
            Planted::CursorEarly | Planted::LostKept => invariant == Invariant::DigestsEqual,
            Planted::AppliedBeforeSync => invariant == Invariant::AppliedIsDurable,
            Planted::OwnByReceipt | Planted::TombstoneDropped => invariant == Invariant::OwnEditsShown,
            Planted::ReaderWaits => invariant == Invariant::ReaderNeverWaits,
            Planted::RawValueSent => invariant == Invariant::NothingRawLeaves,
            Planted::OneLane => invariant == Invariant::BacklogDelaysNobody,
            Planted::LatestOnReview => invariant == RightOneShown,
            Planted::RankIgnored => invariant == SanctionStands,
            // What counts as seen decides all of these.
            Planted::FeedWideBase
            | Planted::StampForOrder
            | Planted::BaseIgnored
            | Planted::GenerationAsIs
            | Planted::TakeoverSawAll => {
                matches!(invariant, EveryPairListed | RightOneShown | SanctionStands | TombstonesStand)
            }
        }
    }

    /// Whether a rebuild, which runs without the bug, comes out otherwise by that alone.
    pub fn shows_in_rebuilds(self) -> bool {
        matches!(self, Planted::OwnByReceipt | Planted::TombstoneDropped | Planted::LostKept)
    }

    /// What the hub's judge says with the bug.
    pub fn judge(self, fold: &Fold<'_>, entry: &Accepting<'_>, mut verdicts: Verdicts) -> Verdicts {
        let wanted = match self {
            Planted::LatestOnReview => Merge::Review,
            Planted::RankIgnored => Merge::Status,
            _ => return verdicts,
        };
        let Some(state) = fold.state((entry.header.kind, entry.header.record)) else { return verdicts };
        let stamp = entry.header.stamp.effective(entry.received_at_ms);
        let is_wrong = |tag: u32| {
            let field = schema::kind(entry.header.kind).and_then(|kind| kind.field(tag));
            field.is_some_and(|field| field.merge == wanted)
                && state.setter(tag).is_some_and(|by| by.stamp < stamp)
        };
        verdicts.retain(|(tag, reason)| {
            !matches!(reason, Reason::Concurrent | Reason::Equal) || state.deleted() || !is_wrong(*tag)
        });
        verdicts
    }

    /// What of an entry the hub takes in with the bug. `state` is what it shows, `generation` the life of its order.
    pub fn entry(
        self,
        mut entry: CheckedEntry,
        state: Option<&RecordState>,
        generation: u64,
    ) -> CheckedEntry {
        let base = &mut entry.header.base;
        match self {
            Planted::BaseIgnored => *base = Position { generation, hub_seq: u64::MAX },
            Planted::StampForOrder => {
                let is_later = state.is_some_and(|state| entry.header.stamp > state.stamp());
                *base = Position { generation, hub_seq: if is_later { u64::MAX } else { 0 } };
            }
            Planted::GenerationAsIs if base.hub_seq > 0 => base.generation = generation,
            Planted::TakeoverSawAll => entry.header.seen.clear(),
            _ => {}
        }
        entry
    }

    /// What of a delivery the node takes in with the bug. `confirmed` is the place of its last receipt.
    pub fn deliver(self, deliver: &mut sync::Deliver, confirmed: u64) {
        match self {
            Planted::OwnByReceipt => {
                deliver.own_seq_inclusive = confirmed;
                deliver.items.iter_mut().for_each(|item| item.own_seq_inclusive = confirmed);
            }
            Planted::TombstoneDropped => {
                deliver.items.retain(|it| !matches!(it.what, Some(sync::item::What::Tombstone(_))));
            }
            _ => {}
        }
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Planted::ReceiptBeforeSync => "receipt before sync",
            Planted::SavedBeforeSync => "saved before sync",
            Planted::CopyLetIn => "wrong divergence check",
            Planted::CursorEarly => "cursor moved early",
            Planted::AppliedBeforeSync => "Applied before sync",
            Planted::OwnByReceipt => "own edits by last receipt",
            Planted::FeedWideBase => "feed-wide base",
            Planted::StampForOrder => "stamp used for order",
            Planted::LatestOnReview => "LATEST on a REVIEW field",
            Planted::BaseIgnored => "base ignored",
            Planted::GenerationAsIs => "old generation compared as is",
            Planted::TombstoneDropped => "tombstone dropped",
            Planted::RankIgnored => "rank ignored",
            Planted::ReaderWaits => "reader waits on its writer",
            Planted::RawValueSent => "raw value sent",
            Planted::LostKept => "lost state kept",
            Planted::TakeoverSawAll => "takeover saw all",
            Planted::OneLane => "one lane for all",
        })
    }
}
