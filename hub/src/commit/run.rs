//! The judge's thread in a running hub.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use liandong_node::audit::Note;
use liandong_node::index::Index;
use liandong_node::now::now_ms;

use super::{Ground, Judge, ROUND_ENTRIES, Round};
use crate::hub::Shared;

impl Ground for Shared {
    fn index(&self) -> &Index {
        &self.index
    }

    fn wait_published(&self, round: u64) {
        Shared::wait_published(self, round);
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn note(&self, note: Note) {
        self.audit.note_behind(note);
    }
}

impl Judge {
    /// Works until the queue is stopped and empty.
    pub(crate) fn run(
        mut self,
        shared: &Arc<Shared>,
        rounds: &mpsc::SyncSender<Round>,
        published: &AtomicU64,
    ) {
        while let Some(jobs) = shared.queue.take(ROUND_ENTRIES) {
            match self.step(jobs, published.load(Ordering::Acquire)) {
                Ok(round) => {
                    if rounds.send(round).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // The order cannot go on from here; a restart goes on from the log.
                    tracing::error!(%error, "the committer stops: what is stored cannot be read");
                    shared.fail(error);
                    return;
                }
            }
        }
    }
}
