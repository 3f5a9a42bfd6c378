//! The mirror's thread, and the one that watches it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use liandong_node::log::Pos;
use liandong_node::now::now_ms;
use liandong_node::site::{SiteError, record_kind};
use liandong_node::text::Said;
use liandong_proto::id::{Hash, sha256};
use liandong_proto::pb::log::v1 as pb;
use prost::Message as _;

use super::follow::{Follower, Unfollowed};
use super::place::{Found, Place};
use super::said::{damaged, hangs, said};
use super::{AUDIT, LOG, Mirror, State};
use crate::chain;
use crate::hub::{Shared, locked, spawn};

/// After a failure, such as a disk that is full or not there.
const AGAIN: Duration = Duration::from_secs(2);
/// How often the audit log is looked at, which nobody waits for.
const LOOK: Duration = Duration::from_secs(5);
/// Where a pass has come to.
struct Reached {
    at: Pos,
    /// There is more to compare.
    is_more: bool,
    /// What of the log was not copied.
    damage: Option<Said>,
}

/// What follows a pass.
enum Follows {
    /// Another one, at once.
    Pass,
    /// A rest, until there is news.
    Rest,
    /// The end.
    Nothing,
}

/// Starts both threads, where a mirror is configured.
///
/// # Errors
/// [`SiteError::File`].
pub(crate) fn start(shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>, SiteError> {
    let run = |name, work: fn(&Mirror, &Shared)| {
        let mirrored = Arc::clone(shared);
        let work = move || mirrored.mirror.iter().for_each(|mirror| work(mirror, &mirrored));
        spawn(name, shared, work)
    };
    if shared.mirror.is_none() {
        return Ok(Vec::new());
    }
    Ok(vec![run("mirror", Mirror::run)?, run("mirror-watch", |mirror, _| mirror.watch())?])
}

impl Mirror {
    /// Works until it is stopped.
    fn run(&self, shared: &Shared) {
        let _ended = Ended(self);
        let follower = |log, name, key| Follower::new(log, self.dir.join(name), key, Arc::clone(&self.beats));
        let mut log = follower(Arc::clone(&shared.log), LOG, key);
        let mut audit: Option<Follower> = None;
        let mut place = Place::new(&self.dir, &self.data_dir, &self.epoch);
        let mut comparing = 0;
        loop {
            let asked = {
                let mut state = locked(&self.state);
                state.is_busy = true;
                self.beats.fetch_add(1, Ordering::Relaxed);
                state.compare_asked
            };
            if asked > comparing {
                comparing = asked;
                log.compare_all();
            }
            if audit.is_none() {
                let key = |_, payload: &[u8]| sha256(payload);
                audit = shared.audit.log().map(|log| follower(log, AUDIT, key));
            }
            match self.passed(pass(&mut place, &mut log, audit.as_mut(), shared), comparing) {
                Follows::Pass => {}
                Follows::Rest => self.rest(comparing),
                Follows::Nothing => return,
            }
        }
    }

    /// Watches the thread that works: where a pass takes no step for too long, whoever waits for it is told.
    fn watch(&self) {
        let mut state = locked(&self.state);
        let mut before = None;
        while !(state.ended || state.stopped && state.hangs) {
            let seen = state.is_busy.then(|| self.beats.load(Ordering::Relaxed));
            if seen.is_some() && seen == before && !state.hangs {
                state = self.give_up(state);
            }
            before = seen;
            let goes_on = |state: &mut State| !(state.ended || state.stopped && state.hangs);
            let waited = self.end.wait_timeout_while(state, self.deadline, goes_on);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn give_up<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let why = hangs(&self.dir);
        tracing::error!(mirror = %self.dir.display(), why = %why.en, "the mirror cannot be written");
        (state.hangs, state.is_live, state.failure) = (true, false, Some(why.clone()));
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|(_, answer)| answer(Err(why.clone())));
        self.told.notify_all();
        locked(&self.state)
    }

    /// Takes note of a pass, and answers whoever waited for it. What follows.
    fn passed(&self, passed: Result<Reached, Unfollowed>, comparing: u64) -> Follows {
        let mut state = locked(&self.state);
        (state.is_busy, state.hangs) = (false, false);
        let (answers, answered, follows) = match passed {
            Ok(Reached { at, is_more, damage }) => {
                if state.failure.take().is_some() {
                    tracing::warn!("the mirror can be written again");
                }
                if let Some(damage) = damage {
                    tracing::error!(%damage, "a part of the log is damaged");
                    state.damage = Some(damage);
                }
                state.reached = at;
                if at >= state.target {
                    (state.is_live, state.reached_at_ms) = (true, now_ms());
                }
                if !is_more {
                    state.compared = comparing;
                }
                let (ready, waiting): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut state.waiting).into_iter().partition(|(end, _)| *end <= at);
                state.waiting = waiting;
                let follows = match (state.stopped, at < state.target) {
                    (true, false) => Follows::Nothing,
                    (_, is_behind) if is_more || is_behind => Follows::Pass,
                    _ => Follows::Rest,
                };
                (ready, Ok(()), follows)
            }
            Err(error) => {
                let said = said(&error);
                if state.failure.is_none() {
                    tracing::error!(mirror = %self.dir.display(), why = %said.en, "the mirror cannot be written");
                }
                (state.failure, state.is_live) = (Some(said.clone()), false);
                let follows = if state.stopped { Follows::Nothing } else { Follows::Rest };
                (std::mem::take(&mut state.waiting), Err(said), follows)
            }
        };
        drop(state);
        answers.into_iter().for_each(|(_, answer)| answer(answered.clone()));
        self.told.notify_all();
        follows
    }

    /// Waits for news, or until it is time to look again.
    fn rest(&self, comparing: u64) {
        let state = locked(&self.state);
        let pause = if state.failure.is_some() { AGAIN } else { LOOK };
        let rests = |state: &mut State| {
            let is_new =
                state.target > state.reached || state.compare_asked > comparing || !state.waiting.is_empty();
            !state.stopped && (state.failure.is_some() || !is_new)
        };
        drop(self.news.wait_timeout_while(state, pause, rests));
    }
}

/// Copies what is new, and compares one segment. The audit log comes first, and from after the look at the log: what the
/// mirror's log holds, and names of the audit log, is in the mirror's audit log as well.
fn pass(
    place: &mut Place,
    log: &mut Follower,
    audit: Option<&mut Follower>,
    shared: &Shared,
) -> Result<Reached, Unfollowed> {
    let found = place.look()?;
    let extents = shared.log.extents()?;
    if let (Some(audit), Some(known)) = (audit, shared.audit.log()) {
        audit.catch_up(known.extents()?)?;
    }
    let at = log.catch_up(extents)?;
    if found == Found::Unmarked {
        place.mark()?;
    }
    match log.compare_next() {
        Ok(is_more) => Ok(Reached { at, is_more, damage: None }),
        // The others are as good as ever.
        Err(Unfollowed::Damaged(error)) => Ok(Reached { at, is_more: true, damage: Some(damaged(&error)) }),
        Err(error) => Err(error),
    }
}

/// Says at its end, however that comes, that the thread is gone.
struct Ended<'a>(&'a Mirror);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        locked(&self.0.state).ended = true;
        self.0.told.notify_all();
        self.0.end.notify_all();
    }
}

/// Stands for a record of the hub's log, also where what it carried is erased.
fn key(kind: u8, payload: &[u8]) -> Hash {
    match pb::Commit::decode(payload) {
        Ok(commit) if kind == record_kind::COMMIT => chain::hash_of(&commit),
        _ => sha256(payload),
    }
}
