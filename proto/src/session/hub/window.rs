//! What a node has pushed and has no receipt for: never more than the window that the hub announced.

use std::collections::VecDeque;

use super::HubSession;
use crate::entry::Entry;
use crate::pb::sync::v1 as pb;
use crate::session::refusal;
use pb::refusal::Code;

/// Places up to which pushes without a receipt reach, ascending. A node counts in the same way, and hears of a commit
/// later than it was made: whoever keeps to its window is within this one.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<u64>);

impl Window {
    /// Whether a push may be looked at.
    ///
    /// # Errors
    /// The refusal that ends the session.
    pub(super) fn fits(&self, limits: &pb::Limits, push: &pb::Push) -> Result<(), pb::Refusal> {
        if self.0.len() >= limits.push_window as usize {
            return Err(refusal(
                Code::Window,
                "节点没有等待回执就继续推送，超出了约定的窗口；请升级节点程序",
                "the node pushes on without waiting for receipts, past the window it was given; upgrade the node",
            ));
        }
        // Whoever stops at the first entry that fills a batch sends one that is too large only when an entry is.
        let before_last = push.entries.split_last().map_or(&[][..], |(_, before)| before);
        if before_last.iter().map(size).sum::<usize>() >= limits.batch_bytes as usize {
            return Err(refusal(
                Code::TooLarge,
                "推送的批次超出了约定的大小；请升级节点程序",
                "a push is larger than the batch size the node was given; upgrade the node",
            ));
        }
        Ok(())
    }

    /// Notes a push that reaches up to `seq`.
    pub(super) fn pushed(&mut self, seq: u64, committed: u64) {
        if seq > committed {
            self.0.push_back(seq);
        }
    }

    /// Notes that everything up to `seq` has a receipt.
    pub(super) fn committed(&mut self, seq: u64) {
        while self.0.front().is_some_and(|pushed| *pushed <= seq) {
            self.0.pop_front();
        }
    }
}

fn size(entry: &Entry) -> usize {
    entry.header.len() + entry.open.len() + entry.sealed.len()
}

impl HubSession {
    /// Entries taken in that no receipt has gone out for.
    pub fn uncommitted(&self) -> u64 {
        self.taken.seq - self.committed.seq
    }
}
