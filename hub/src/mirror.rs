//! The mirror: a second copy of the hub's log, and of its audit log, on another disk.
//!
//! What is durable in the log is copied behind it, by a thread of its own. Writes of the province are answered once they are
//! in both; cities sync on whatever the mirror does, since they keep all that they have. While it fails, the province's
//! writes are refused, and it is tried again. What the registry says of a city (who is cut off, above all) is carried out
//! in any case. A disk that hangs in place of failing is taken for one that fails: nobody waits for it for ever.

mod begin;
mod follow;
pub mod place;
mod said;
#[cfg(test)]
mod tests;
mod work;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use liandong_node::log::Pos;
use liandong_node::say;
use liandong_node::site::SiteError;
use liandong_node::text::Said;
use liandong_proto::id::Epoch;

use crate::hub::HubOptions;
use crate::hub::locked;

pub use begin::{count, is_bare_head};
pub use follow::Unfollowed;
pub use said::half_saved;
pub(crate) use said::{half_erased, said};
pub(crate) use work::start;

/// Names in the mirror's directory.
pub const LOG: &str = "log";
/// The audit log.
pub const AUDIT: &str = "audit";

/// How long a write of the province waits for a mirror that is just being caught up with.
const PATIENCE: Duration = Duration::from_secs(10);

/// Called once something is in the mirror, or with why it is not.
pub type Answer = Box<dyn FnOnce(Result<(), Said>) + Send>;

#[derive(Default)]
struct State {
    /// Up to where the log is durable.
    target: Pos,
    /// Up to where the mirror is.
    reached: Pos,
    reached_at_ms: u64,
    /// It has been as far as the log since the start, or since a failure.
    is_live: bool,
    failure: Option<Said>,
    /// A part of the log that cannot be copied, since it is damaged.
    damage: Option<Said>,
    waiting: Vec<(Pos, Answer)>,
    /// How often all segments were asked to be compared, and how often they were.
    compare_asked: u64,
    compared: u64,
    /// A pass is under way.
    is_busy: bool,
    /// It has come to nothing for too long.
    hangs: bool,
    stopped: bool,
    /// The thread is gone.
    ended: bool,
}

/// Where the mirror stands.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Its directory.
    pub dir: PathBuf,
    /// When it last was as far as the log.
    pub reached_at_ms: u64,
    /// It is as far as the log.
    pub is_live: bool,
    /// Why it cannot be written.
    pub failure: Option<Said>,
    /// What of the log it does not take.
    pub damage: Option<Said>,
}

/// A mirror that is configured.
pub struct Mirror {
    dir: PathBuf,
    data_dir: PathBuf,
    epoch: Epoch,
    /// After so long without a step the disk hangs; noticed before twice as long.
    deadline: Duration,
    beats: Arc<AtomicU64>,
    state: Mutex<State>,
    news: Condvar,
    told: Condvar,
    end: Condvar,
}

impl Mirror {
    /// The mirror in a directory, which must be there, for a hub whose log begins with this epoch.
    pub fn new(dir: &Path, options: &HubOptions, epoch: Epoch) -> Mirror {
        Mirror {
            dir: dir.to_path_buf(),
            data_dir: options.data_dir.clone(),
            epoch,
            deadline: options.mirror_deadline,
            beats: Arc::default(),
            state: Mutex::new(State { compare_asked: 1, ..State::default() }),
            news: Condvar::new(),
            told: Condvar::new(),
            end: Condvar::new(),
        }
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        let state = locked(&self.state);
        Standing {
            dir: self.dir.clone(),
            reached_at_ms: state.reached_at_ms,
            is_live: state.is_live,
            failure: state.failure.clone(),
            damage: state.damage.clone(),
        }
    }

    /// Whether the province may write: waits a little for a mirror that is being caught up with.
    ///
    /// # Errors
    /// [`SiteError::Unready`]; nothing was written.
    pub fn ready(&self) -> Result<(), SiteError> {
        let state = locked(&self.state);
        let catching_up = |state: &mut State| !state.is_live && state.failure.is_none() && !state.stopped;
        let waited = self.told.wait_timeout_while(state, PATIENCE, catching_up);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let why = match &state.failure {
            Some(why) => why.clone(),
            None if state.is_live => return Ok(()),
            None => say!("镜像正在补齐", "it is being brought up to the log"),
        };
        let Said { zh, en } = why;
        Err(SiteError::Unready(say!(
            "日志镜像暂时不能写，没有保存：{zh}；各市同步不受影响。请修复后重试，或去掉 mirror 设置后重启枢纽",
            "the log's mirror cannot be written now, nothing was saved: {en}; cities sync on. Mend it and try again, or \
             restart the hub without the setting mirror"
        )))
    }

    /// The log is durable up to here; whoever waits for that in the mirror is answered.
    pub fn follow(&self, end: Pos, waiting: Vec<Answer>) {
        let mut state = locked(&self.state);
        state.target = state.target.max(end);
        if state.is_live && end <= state.reached {
            drop(state);
            // A round that wrote nothing.
            return waiting.into_iter().for_each(|answer| answer(Ok(())));
        }
        if let Some(why) = state.failure.clone().filter(|_| state.hangs) {
            drop(state);
            return waiting.into_iter().for_each(|answer| answer(Err(why.clone())));
        }
        state.waiting.extend(waiting.into_iter().map(|answer| (end, answer)));
        drop(state);
        self.news.notify_all();
    }

    /// Waits until every segment was held against the log's: what was erased there is gone here as well.
    ///
    /// # Errors
    /// When the mirror cannot be written.
    pub fn compare(&self) -> Result<(), SiteError> {
        let mut state = locked(&self.state);
        state.compare_asked += 1;
        let wanted = state.compare_asked;
        self.news.notify_all();
        let waits = |state: &mut State| state.compared < wanted && state.failure.is_none() && !state.stopped;
        let state = self.told.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        if state.compared >= wanted {
            return Ok(());
        }
        let why = state.failure.clone().unwrap_or_else(|| say!("枢纽正在停止", "the hub is stopping"));
        Err(SiteError::Unready(why))
    }

    /// Ends the thread, once what is durable in the log is copied or that has failed. False when it cannot be ended, since the
    /// disk hangs.
    pub fn stop(&self) -> bool {
        let mut state = locked(&self.state);
        state.stopped = true;
        self.news.notify_all();
        self.told.notify_all();
        let goes_on = |state: &mut State| !state.ended && !state.hangs;
        self.told.wait_while(state, goes_on).unwrap_or_else(PoisonError::into_inner).ended
    }
}
