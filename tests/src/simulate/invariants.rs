//! What must hold after every step, by name. Each is checked where something of it can have changed.

use std::fmt;

/// The invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No receipt for a change that the hub cannot show after a restart.
    ReceiptIsDurable,
    /// What a clerk was told is saved is there after a restart.
    PutIsDurable,
    /// Nothing is said to be applied that the node does not show after a restart.
    AppliedIsDurable,
    /// Nothing received twice is applied twice.
    NothingTwice,
    /// Every concurrent pair of edits is listed with both values, and no sequential pair is.
    EveryPairListed,
    /// Of values that stand beside each other the right one is shown.
    RightOneShown,
    /// A sanction is never undone by an older status.
    SanctionStands,
    /// What was deleted stays deleted until somebody who saw that edits it.
    TombstonesStand,
    /// What a node shows is what was delivered, with its own later edits on top.
    OwnEditsShown,
    /// Both sides show the same, at the latest 60 seconds after all is well.
    DigestsEqual,
    /// A raw value that must not leave a city is in nothing that leaves it.
    NothingRawLeaves,
    /// No reader waits on its writer: what is under way stays within the windows, and ends.
    ReaderNeverWaits,
    /// One city's backlog does not delay another beyond a bound.
    BacklogDelaysNobody,
    /// A copy of a node is told from it.
    CopiesAreToldApart,
    /// An index made again from the log is the one that was there.
    RebuildIsTheSame,
    /// Nothing goes wrong that no fault explains.
    NothingUnexplained,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invariant::ReceiptIsDurable => "invariant_receipt_is_durable",
            Invariant::PutIsDurable => "invariant_a_put_is_durable",
            Invariant::AppliedIsDurable => "invariant_applied_is_durable",
            Invariant::NothingTwice => "invariant_nothing_is_applied_twice",
            Invariant::EveryPairListed => "invariant_every_concurrent_pair_is_listed",
            Invariant::RightOneShown => "invariant_the_right_value_is_shown",
            Invariant::SanctionStands => "invariant_a_sanction_stands",
            Invariant::TombstonesStand => "invariant_tombstones_stand",
            Invariant::OwnEditsShown => "invariant_own_edits_are_shown",
            Invariant::DigestsEqual => "invariant_digests_are_equal_after_healing",
            Invariant::NothingRawLeaves => "invariant_nothing_raw_leaves_a_city",
            Invariant::ReaderNeverWaits => "invariant_the_reader_never_waits",
            Invariant::BacklogDelaysNobody => "invariant_a_backlog_delays_nobody",
            Invariant::CopiesAreToldApart => "invariant_copies_are_told_apart",
            Invariant::RebuildIsTheSame => "invariant_a_rebuild_is_the_same",
            Invariant::NothingUnexplained => "invariant_nothing_unexplained",
        })
    }
}

/// An invariant that does not hold.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// How it shows.
    pub what: String,
}

impl Broken {
    /// Says how an invariant shows to be broken.
    pub fn new(invariant: Invariant, what: impl Into<String>) -> Broken {
        Broken { invariant, what: what.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}
