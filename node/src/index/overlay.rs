//! What is staged: one layer that takes changes, at most one that is being written. The one written last stays to
//! be read until nothing is staged for a while: what was just changed is what is read and changed next.
//!
//! Memory is bounded: a layer is closed when it reaches `limit`, and while one is being written the next may
//! grow to twice that before staging waits. So each of the three takes at most twice the limit and one call more;
//! one limit each is what a steady flow takes. A store that cannot be written (a full disk) keeps its layer and is
//! tried again every second; staging then waits until there is space, unless the index is being closed. What is
//! staged is in the log, so nothing is lost when the process ends here.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::end::End;
use super::key::Key;
use super::layer::Layer;
use super::pace::{Due, Pace, Standing};
use super::row::{Digest, Root, seal, sealed_check};
use super::{IndexError, Position, Staged};
use crate::store::Put;

/// How long the writer waits after a failure.
const RETRY: Duration = Duration::from_secs(1);

struct State {
    active: Layer,
    /// When the first call of the active layer came, and when any last did; counted from the beginning.
    first_call: Duration,
    last_call: Duration,
    /// Being written.
    closed: Option<Arc<Layer>>,
    /// Written last; the store has it too. Empty once nothing has been staged for a while.
    recent: Arc<Layer>,
    digest: Digest,
    /// Calls to `stage`, and how many of them are in the store.
    calls: u64,
    written: u64,
    /// Somebody waits in `flush`.
    wanted: bool,
    stopped: bool,
    /// Why the last attempt to write failed; `None` after one that did not.
    failure: Option<IndexError>,
    failures: u64,
    /// Somebody waits for a clean copy of what was staged in so many calls; how many copies were made.
    scrub: Option<u64>,
    scrubbed: u64,
    /// The end has come while writing: nothing may be read or written any more.
    condemned: Option<IndexError>,
}

/// What the writer has to do next.
pub(super) enum Work {
    Write(Arc<Layer>),
    Checkpoint,
    /// Everything that was staged when it was asked for is in the store.
    Scrub,
    Stop,
}

/// What a scan begins with.
pub(super) struct View<R> {
    pub active: Vec<Put>,
    pub closed: Option<Arc<Layer>>,
    pub stored: R,
    pub digest: Digest,
}

/// How an index is doing.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Rows staged and not yet in the store.
    pub lag: usize,
    /// Memory taken by them, in bytes, roughly. Besides, the rows written last are kept to be read, about as much
    /// again, until nothing has been staged for a second.
    pub staged_bytes: usize,
    /// Why the store cannot be written at present, which is tried again every second; or why the index has ended.
    pub failure: Option<String>,
    /// It has ended since the store is damaged: opening it again makes it anew from the log.
    pub damaged: bool,
}

/// The staged changes of an index.
pub(super) struct Overlay {
    state: Mutex<State>,
    moved: Condvar,
    limit: usize,
    pace: Pace,
    began: Instant,
    end: Arc<End>,
}

impl Overlay {
    #[allow(
        clippy::disallowed_methods,
        reason = "how long rows wait is this process's affair, and in no result"
    )]
    pub fn new(limit: usize, pace: Pace, digest: Digest, end: Arc<End>) -> Overlay {
        let state = State {
            active: Layer::default(),
            first_call: Duration::ZERO,
            last_call: Duration::ZERO,
            closed: None,
            recent: Arc::default(),
            digest,
            calls: 0,
            written: 0,
            wanted: false,
            stopped: false,
            failure: None,
            failures: 0,
            scrub: None,
            scrubbed: 0,
            condemned: None,
        };
        Overlay { state: Mutex::new(state), moved: Condvar::new(), limit, pace, began: Instant::now(), end }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.moved.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of a key, staged or stored last: `Some(None)` when it was removed.
    pub fn get(&self, key: &[u8]) -> Result<Option<Option<Bytes>>, IndexError> {
        let key = Key::of(key);
        let state = self.state();
        if let Some(why) = &state.condemned {
            return Err(why.clone());
        }
        let Some(key) = &key else { return Ok(None) };
        let closed = || state.closed.as_ref().and_then(|layer| layer.get(key));
        Ok(state.active.get(key).or_else(closed).or_else(|| state.recent.get(key)).cloned())
    }

    pub fn stage(&self, changes: &[Staged], position: Position) {
        // Hashing is done before the lock is taken.
        let sealed: Vec<Option<Bytes>> =
            changes.iter().map(|change| change.new.as_ref().map(|value| seal(&change.key, value))).collect();
        let mut guard = self.state();
        let full = |state: &State| state.active.bytes() > 2 * self.limit;
        while full(&guard) && !guard.stopped && guard.condemned.is_none() {
            guard = self.wait(guard);
        }
        let state = &mut *guard;
        // What is staged for a damaged store could never be written; it is in the log.
        if state.condemned.is_some() {
            return;
        }
        let was_empty = state.active.is_empty();
        for (change, sealed) in changes.iter().zip(sealed) {
            debug_assert!(change.key.first().is_some_and(|first| *first != 0), "the key is the index's own");
            if let Some(sealed) = &sealed {
                state.digest.add(sealed_check(sealed));
            }
            let old = match state.active.put(change.key.clone(), sealed) {
                // Staged before: what is being replaced is known better here than by the caller.
                Some(before) => before.as_ref().map(sealed_check),
                None => change.old,
            };
            if let Some(old) = old {
                state.digest.remove(old);
            }
        }
        state.last_call = self.now();
        if was_empty {
            state.first_call = state.last_call;
        }
        state.active.mark(Root { digest: state.digest, position });
        state.calls += 1;
        if was_empty || state.active.bytes() > self.limit {
            self.moved.notify_all();
        }
    }

    /// Everything a scan needs, as of one moment. `stored` begins the store's part: no layer can be closed
    /// meanwhile, so that it lacks at most what the closed layer holds.
    pub fn view<R>(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        stored: impl FnOnce() -> R,
    ) -> Result<View<R>, IndexError> {
        let state = self.state();
        if let Some(why) = &state.condemned {
            return Err(why.clone());
        }
        let active = state.active.range(from, to);
        Ok(View { active, closed: state.closed.clone(), stored: stored(), digest: state.digest })
    }

    pub fn digest(&self) -> Digest {
        self.state().digest
    }

    pub fn health(&self) -> Health {
        let state = self.state();
        let closed = state.closed.as_deref();
        Health {
            lag: state.active.len() + closed.map_or(0, Layer::len),
            staged_bytes: state.active.bytes() + closed.map_or(0, Layer::bytes),
            failure: state.failure.as_ref().map(ToString::to_string),
            damaged: false,
        }
    }

    /// Waits until everything that is staged now is in the store.
    pub fn flush(&self) -> Result<(), IndexError> {
        let mut state = self.state();
        let (until, failures) = (state.calls, state.failures);
        while state.written < until {
            if let Some(why) = &state.condemned {
                return Err(why.clone());
            }
            if let Some(why) = state.failure.as_ref().filter(|_| state.failures > failures) {
                return Err(why.clone());
            }
            if state.stopped {
                return Err(IndexError::Closed);
            }
            state.wanted = true;
            self.moved.notify_all();
            state = self.wait(state);
        }
        state.condemned.clone().map_or(Ok(()), Err)
    }

    /// Waits until what is staged now is in the store, and the store is a copy that holds nothing older.
    pub fn scrub(&self) -> Result<(), IndexError> {
        let mut state = self.state();
        let (until, failures) = (state.scrubbed + 1, state.failures);
        state.scrub = Some(state.calls);
        while state.scrubbed < until {
            if let Some(why) = &state.condemned {
                return Err(why.clone());
            }
            if let Some(why) = state.failure.clone().filter(|_| state.failures > failures) {
                state.scrub = None;
                return Err(why);
            }
            if state.stopped {
                return Err(IndexError::Closed);
            }
            state.wanted = true;
            self.moved.notify_all();
            state = self.wait(state);
        }
        Ok(())
    }

    /// The copy is in place.
    pub fn scrubbed(&self) {
        let mut state = self.state();
        (state.scrub, state.scrubbed) = (None, state.scrubbed + 1);
        drop(state);
        self.moved.notify_all();
    }

    pub fn stop(&self) {
        self.state().stopped = true;
        self.moved.notify_all();
    }

    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// The writer waits here. `written`: when the oldest and the newest write came that is not durable.
    pub fn next(&self, written: Option<(Duration, Duration)>) -> Work {
        let mut state = self.state();
        loop {
            if state.stopped || state.condemned.is_some() {
                return Work::Stop;
            }
            if let Some(layer) = &state.closed {
                return Work::Write(Arc::clone(layer));
            }
            if state.scrub.is_some_and(|calls| state.written >= calls) {
                return Work::Scrub;
            }
            let is_empty = state.active.is_empty();
            state.wanted &= !is_empty;
            let standing = Standing {
                staged: (!is_empty).then_some((state.first_call, state.last_call)),
                written,
                wanted: state.wanted || state.active.bytes() > self.limit,
                recent: (!state.recent.is_empty()).then_some(state.last_call),
            };
            match self.pace.due(&standing, self.now()) {
                Due::Write => {
                    state.wanted = false;
                    let layer = Arc::new(std::mem::take(&mut state.active));
                    state.closed = Some(Arc::clone(&layer));
                    self.moved.notify_all();
                    return Work::Write(layer);
                }
                Due::Checkpoint => return Work::Checkpoint,
                Due::Forget => {
                    let recent = std::mem::take(&mut state.recent);
                    // Thousands of rows may go with it.
                    drop(state);
                    drop(recent);
                    state = self.state();
                }
                Due::Wait(None) => state = self.wait(state),
                Due::Wait(Some(time)) => {
                    let woken = self.moved.wait_timeout(state, time);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// The layer is in the store.
    pub fn written(&self) {
        let mut state = self.state();
        if let Some(layer) = state.closed.take() {
            state.written += layer.calls() as u64;
            state.recent = layer;
        }
        self.moved.notify_all();
    }

    /// The last attempt was no failure.
    pub fn recovered(&self) {
        self.state().failure = None;
    }

    /// The store could not be written: waits until it is time to try again, unless that is the end.
    pub fn failed(&self, why: IndexError) {
        let mut state = self.state();
        state.failures += 1;
        if why.is_final() {
            self.end.note(&why);
            state.condemned = Some(why);
            self.moved.notify_all();
            return;
        }
        state.failure = Some(why);
        state.wanted = false;
        self.moved.notify_all();
        let again = |state: &mut State| !state.stopped && !state.wanted;
        let _ = self.moved.wait_timeout_while(state, RETRY, again);
    }
}
