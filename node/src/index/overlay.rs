//! What is staged: one map that takes changes, at most one that is being written.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{Check, Digest, Staged, seal};
use crate::store::StoreError;

pub(super) type Map = BTreeMap<Bytes, Option<Bytes>>;

/// Nothing staged for this long, and what there is goes into the store.
const IDLE: Duration = Duration::from_secs(1);
/// Rough cost of a row in the map, beside its bytes.
const ROW_BYTES: usize = 96;

/// A map on its way into the store.
#[derive(Clone)]
pub(super) struct Frozen {
    pub map: Arc<Map>,
    pub position: [u8; 16],
    pub digest: Digest,
    stages: u64,
}

struct State {
    active: Map,
    active_bytes: usize,
    position: [u8; 16],
    digest: Digest,
    frozen: Option<Frozen>,
    /// What was written last: what was just changed is what is read and changed next.
    recent: Arc<Map>,
    /// Counts changes, so that the flusher sees whether any came while it waited.
    stages: u64,
    /// How many of them are in the store.
    flushed: u64,
    wanted: bool,
    stopped: bool,
    failure: Option<String>,
}

/// The staged changes of an index.
pub(super) struct Overlay {
    state: Mutex<State>,
    moved: Condvar,
    limit: usize,
}

impl Overlay {
    pub fn new(limit: usize, digest: Digest, position: [u8; 16]) -> Overlay {
        let state = State {
            active: Map::new(),
            active_bytes: 0,
            position,
            digest,
            frozen: None,
            recent: Arc::default(),
            stages: 0,
            flushed: 0,
            wanted: false,
            stopped: false,
            failure: None,
        };
        Overlay { state: Mutex::new(state), moved: Condvar::new(), limit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.moved.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let state = self.state();
        let frozen = || state.frozen.as_ref().and_then(|frozen| frozen.map.get(key));
        let found = state.active.get(key).or_else(frozen).or_else(|| state.recent.get(key));
        found.cloned()
    }

    pub fn stage(&self, changes: &[Staged], position: [u8; 16]) {
        // Hashing is done before the lock is taken.
        let sealed: Vec<Option<(Bytes, Check)>> =
            changes.iter().map(|change| change.new.as_ref().map(|value| seal(&change.key, value))).collect();
        let mut state = self.state();
        while state.active_bytes > 2 * self.limit && state.frozen.is_some() && !state.stopped {
            state = self.wait(state);
        }
        for (change, new) in changes.iter().zip(sealed) {
            if let Some(old) = change.old {
                state.digest.remove(old);
            }
            let (bytes, value) = match new {
                Some((value, check)) => {
                    state.digest.add(check);
                    (value.len(), Some(value))
                }
                None => (0, None),
            };
            state.active_bytes += change.key.len() + bytes + ROW_BYTES;
            state.active.insert(change.key.clone(), value);
        }
        state.position = position;
        state.stages += 1;
        if state.active_bytes > self.limit {
            self.moved.notify_all();
        }
    }

    /// Staged rows of a range, as they are now.
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> Vec<(Bytes, Option<Bytes>)> {
        let bounds = || {
            let from = Bound::Included(Bytes::copy_from_slice(from));
            (from, to.map_or(Bound::Unbounded, |to| Bound::Excluded(Bytes::copy_from_slice(to))))
        };
        let copy = |map: &Map| -> Map { map.range(bounds()).map(|(k, v)| (k.clone(), v.clone())).collect() };
        let state = self.state();
        let mut rows = state.frozen.as_ref().map(|frozen| copy(&frozen.map)).unwrap_or_default();
        rows.extend(copy(&state.active));
        rows.into_iter().collect()
    }

    pub fn lag(&self) -> usize {
        let state = self.state();
        state.active.len() + state.frozen.as_ref().map_or(0, |frozen| frozen.map.len())
    }

    pub fn digest(&self) -> Digest {
        self.state().digest
    }

    /// Waits until everything that is staged now is in the store.
    pub fn flush(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        state.failure = None;
        let until = state.stages;
        while state.flushed < until && !state.stopped {
            if let Some(why) = state.failure.take() {
                return Err(StoreError::Io { path: "index".into(), why });
            }
            state.wanted = true;
            self.moved.notify_all();
            state = self.wait(state);
        }
        Ok(())
    }

    pub fn stop(&self) {
        self.state().stopped = true;
        self.moved.notify_all();
    }

    /// The flusher waits here for the next map to write. `None`: stop.
    pub(super) fn next(&self) -> Option<Frozen> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(frozen) = &state.frozen {
                return Some(frozen.clone());
            }
            if !state.active.is_empty() {
                if state.wanted || state.active_bytes > self.limit {
                    break;
                }
                let before = state.stages;
                let (woken, timeout) =
                    self.moved.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if timeout.timed_out() && state.stages == before {
                    break;
                }
            } else {
                state.wanted = false;
                state = self.wait_for_work(state);
            }
        }
        state.wanted = false;
        let map = Arc::new(std::mem::take(&mut state.active));
        state.active_bytes = 0;
        let frozen = Frozen { map, position: state.position, digest: state.digest, stages: state.stages };
        state.frozen = Some(frozen.clone());
        Some(frozen)
    }

    /// Staging does not wake the flusher for every change: it looks by itself now and then.
    fn wait_for_work<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.moved.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The map is in the store.
    pub(super) fn written(&self) {
        let mut state = self.state();
        if let Some(frozen) = state.frozen.take() {
            state.flushed = frozen.stages;
            state.recent = frozen.map;
        }
        state.failure = None;
        self.moved.notify_all();
    }

    /// The map could not be written; true when it is time to try again, false to stop.
    pub(super) fn failed(&self, why: String) -> bool {
        let mut state = self.state();
        state.failure = Some(why);
        self.moved.notify_all();
        let (state, _) = self.moved.wait_timeout(state, IDLE * 5).unwrap_or_else(PoisonError::into_inner);
        !state.stopped
    }
}
