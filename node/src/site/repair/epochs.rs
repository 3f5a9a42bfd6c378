//! The epochs of a site's log, each with where it goes on from: they make one line, from the first to the newest.

use std::collections::HashMap;

use liandong_proto::entry::Anchor;
use liandong_proto::id::Epoch;
use liandong_proto::pb::log::v1 as pb;

use super::super::SiteError;
use super::told::{no_line, other_line};

/// What is known of epochs: from records that say that they begin, first entries, the index and the hub.
#[derive(Debug, Default)]
pub(super) struct Epochs(HashMap<Epoch, Option<Anchor>>);

/// One epoch of a line, and the end of the one before it.
pub(super) type Link = (Epoch, Option<Anchor>);

impl Epochs {
    /// Takes note of where an epoch goes on from; `None` for the first.
    ///
    /// # Errors
    /// [`SiteError::Refused`] where something else is known of it.
    pub fn learn(&mut self, epoch: Epoch, anchor: Option<Anchor>) -> Result<(), SiteError> {
        match self.0.insert(epoch, anchor) {
            Some(known) if known != anchor => Err(other_line()),
            _ => Ok(()),
        }
    }

    /// What the index knows of them.
    ///
    /// # Errors
    /// As [`learn`](Epochs::learn).
    pub fn learn_row(&mut self, row: &pb::SiteRow) -> Result<(), SiteError> {
        for opened in &row.line {
            if let Some(epoch) = Epoch::from_slice(&opened.epoch) {
                self.learn(epoch, anchor_of(opened.anchor.as_ref())?)?;
            }
        }
        match Epoch::from_slice(&row.epoch) {
            Some(epoch) => self.learn(epoch, anchor_of(row.anchor.as_ref())?),
            None => Ok(()),
        }
    }

    /// The epochs behind one, or all from the first, up to another, oldest first. `None` when it is not known that one leads
    /// to the other.
    fn leads(&self, from: Option<Epoch>, to: Epoch) -> Option<Vec<Link>> {
        let (mut way, mut at) = (Vec::new(), to);
        while Some(at) != from {
            let anchor = *self.0.get(&at)?;
            way.push((at, anchor));
            match anchor {
                Some(anchor) if way.len() <= self.0.len() => at = anchor.epoch,
                None if from.is_none() => break,
                _ => return None,
            }
        }
        way.reverse();
        Some(way)
    }

    /// The same.
    ///
    /// # Errors
    /// [`SiteError::Refused`] where the line does not close.
    pub fn way(&self, from: Option<Epoch>, to: Epoch) -> Result<Vec<Link>, SiteError> {
        self.leads(from, to).ok_or_else(no_line)
    }

    /// Where one epoch ended for another that goes on from it, over others or at once.
    pub fn end_of(&self, epoch: Epoch, newer: Epoch) -> Option<Anchor> {
        self.leads(Some(epoch), newer)?.first()?.1
    }
}

/// An anchor as it is stored.
///
/// # Errors
/// [`SiteError::Corrupt`] for one of another shape.
pub(super) fn anchor_of(anchor: Option<&pb::Anchor>) -> Result<Option<Anchor>, SiteError> {
    let wrong = || SiteError::corrupt("the log", "an anchor of another shape");
    anchor.map(|anchor| Anchor::from_pb(anchor).ok_or_else(wrong)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Epoch = Epoch([1; 16]);
    const B: Epoch = Epoch([2; 16]);
    const C: Epoch = Epoch([3; 16]);

    fn after(epoch: Epoch, seq: u64) -> Option<Anchor> {
        Some(Anchor { epoch, seq, hash: [9; 32] })
    }

    #[test]
    fn a_line_closes_from_its_newest_epoch_back_to_where_it_is_asked_from() {
        let mut epochs = Epochs::default();
        epochs.learn(C, after(B, 2)).expect("news");
        epochs.learn(B, after(A, 5)).expect("news");
        assert!(epochs.way(None, C).is_err(), "nobody says that A is the first");
        assert_eq!(epochs.way(Some(A), C).expect("closed"), [(B, after(A, 5)), (C, after(B, 2))]);
        assert_eq!(
            (epochs.end_of(A, C), epochs.end_of(C, A), epochs.end_of(C, C)),
            (after(A, 5), None, None)
        );
        epochs.learn(A, None).expect("news");
        assert_eq!(epochs.way(None, C).expect("closed").len(), 3);
        assert_eq!(epochs.way(Some(C), C).expect("closed"), []);
        assert!(epochs.way(Some(B), A).is_err(), "not the other way round");
        assert!(epochs.learn(B, after(A, 6)).is_err(), "it goes on from one place");
    }

    #[test]
    fn a_line_that_bites_its_tail_does_not_close() {
        let mut epochs = Epochs::default();
        epochs.learn(A, after(B, 1)).expect("news");
        epochs.learn(B, after(A, 1)).expect("news");
        assert!(epochs.way(None, A).is_err() && epochs.way(Some(C), A).is_err());
    }
}
