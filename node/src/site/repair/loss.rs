//! What may be lost at the end of a damaged log: what is known of it, and what nobody can know.

use liandong_proto::entry::Head;
use liandong_proto::id::Epoch;

use super::super::ahead::Witness;
use super::line::Line;

/// What nobody holds any more of the newest entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    /// Entries that are known to have been there: first and last.
    pub known: Option<(u64, u64)>,
    /// Whether there were later ones nobody can tell.
    pub perhaps_more: bool,
}

impl Loss {
    /// What is lost of a line that lives in `living`, where its log made anew ends at `head`. A hole at the end is accounted
    /// for only by an index that had followed the log behind it, where the log did not go on behind that.
    pub fn of(line: &Line, witness: Option<&Witness>, living: Epoch, head: Head) -> Loss {
        let witness = witness.filter(|witness| witness.row.epoch == living.0.as_slice());
        let known = witness.map_or(0, |witness| witness.row.seq).max(line.confirmed.seq);
        let known = (known > head.seq).then_some((head.seq + 1, known));
        let perhaps_more = line.tail().is_some_and(|gap| {
            let last = line.holes[gap.hole..].iter().rfind(|hole| hole.records);
            let sees = |witness: &Witness| last.is_none_or(|hole| hole.end() <= witness.position);
            line.is_cut || !witness.is_some_and(|witness| witness.whole && sees(witness))
        });
        Loss { known, perhaps_more }
    }

    pub fn is_none(&self) -> bool {
        *self == Loss::default()
    }
}
