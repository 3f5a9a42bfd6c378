//! What sessions have learned of cities since the hub was started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a session has learned of a city, for `city list`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CityState {
    /// The feed up to here is durable there.
    pub applied: u64,
    /// 0 no comparison yet, 1 equal, 2 different.
    pub comparison: u32,
    /// When it was.
    pub compared_at_ms: u64,
    /// When its last session ended; 0 while there was none.
    pub seen_at_ms: u64,
}

/// What the committer has done since the hub was started.
#[derive(Debug, Default)]
pub struct Committed {
    rounds: AtomicU64,
    sync_us: AtomicU64,
}

impl Committed {
    /// Notes a round, and how long the disk took to make it durable.
    pub fn note(&self, sync: Duration) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.sync_us.fetch_add(sync.as_micros() as u64, Ordering::Relaxed);
    }

    /// How many.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// How long all of them waited for the disk.
    pub fn sync_seconds(&self) -> f64 {
        self.sync_us.load(Ordering::Relaxed) as f64 / 1e6
    }
}
