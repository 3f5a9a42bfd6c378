//! What a node has pushed and has no receipt for: never more than the window that the hub announced.

use std::collections::VecDeque;

use super::HubSession;
use crate::pb::sync::v1 as pb;
use crate::session::refusal;
use pb::refusal::Code;

/// Places up to which pushes without a receipt reach, ascending. A node counts in the same way, and hears of a commit
/// later than it was made: whoever keeps to its window is within this one.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<u64>);

impl Window {
    /// Whether another push may be looked at. One is as large as a message may be; the size that the hub announces is
    /// where a node stops filling it.
    ///
    /// # Errors
    /// The refusal that ends the session.
    pub(super) fn has_room(&self, limits: &pb::Limits) -> Result<(), pb::Refusal> {
        if self.0.len() >= limits.push_window as usize {
            return Err(refusal(
                Code::Window,
                "节点没有等待回执就继续推送，超出了约定的窗口；请升级节点程序",
                "the node pushes on without waiting for receipts, past the window it was given; upgrade the node",
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

impl HubSession {
    /// Entries taken in that no receipt has gone out for.
    pub fn uncommitted(&self) -> u64 {
        self.taken.seq - self.committed.seq
    }
}
