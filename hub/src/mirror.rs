//! The mirror: a second copy of the hub's log, and of its audit log, on another disk.
//!
//! What is durable in the log is copied behind it, by a thread of its own. Writes of the province are answered once they are
//! in both; cities sync on whatever the mirror does, since they keep all that they have. While it fails, the province's
//! writes are refused, and it is tried again. What the registry says of a city (who is cut off, above all) is carried out
//! in any case.

mod follow;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use liandong_node::log::{LogError, Pos};
use liandong_node::now::now_ms;
use liandong_node::say;
use liandong_node::site::{SiteError, record_kind};
use liandong_node::text::Said;
use liandong_proto::id::{Hash, sha256};
use liandong_proto::pb::log::v1 as pb;
use prost::Message as _;

use crate::chain;
use crate::hub::{Shared, locked};
use follow::{Follower, Unfollowed};

/// Names in the mirror's directory.
pub const LOG: &str = "log";
/// The audit log.
pub const AUDIT: &str = "audit";

/// After a failure, such as a disk that is full or not there.
const AGAIN: Duration = Duration::from_secs(2);
/// How often the audit log is looked at, which nobody waits for.
const LOOK: Duration = Duration::from_secs(5);
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
    stopped: bool,
}

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
    state: Mutex<State>,
    news: Condvar,
    told: Condvar,
}

impl Mirror {
    /// The mirror in a directory, which must be there: a disk that is not mounted is not to be taken for an empty one.
    pub fn new(dir: &Path) -> Mirror {
        let state = Mutex::new(State { compare_asked: 1, ..State::default() });
        Mirror { dir: dir.to_path_buf(), state, news: Condvar::new(), told: Condvar::new() }
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

    /// Ends the thread, once what is durable in the log is copied or that has failed.
    pub fn stop(&self) {
        locked(&self.state).stopped = true;
        self.news.notify_all();
        self.told.notify_all();
    }

    /// Works until it is stopped.
    pub(crate) fn run(&self, shared: &Shared) {
        let mut log = Follower::new(Arc::clone(&shared.log), self.dir.join(LOG), key);
        let mut audit: Option<Follower> = None;
        let mut comparing = 0;
        loop {
            let asked = locked(&self.state).compare_asked;
            if asked > comparing {
                comparing = asked;
                log.compare_all();
            }
            match self.passed(self.pass(&mut log, &mut audit, shared), comparing) {
                Follows::Pass => {}
                Follows::Rest => self.rest(comparing),
                Follows::Nothing => return,
            }
        }
    }

    /// Copies what is new, and compares one segment.
    fn pass(
        &self,
        log: &mut Follower,
        audit: &mut Option<Follower>,
        shared: &Shared,
    ) -> Result<Reached, Unfollowed> {
        if !self.dir.is_dir() {
            let gone = io::Error::new(io::ErrorKind::NotFound, "no such directory");
            return Err(Unfollowed::File { path: self.dir.clone(), source: gone });
        }
        let at = log.catch_up()?;
        if audit.is_none() {
            let follow = |log| Follower::new(log, self.dir.join(AUDIT), |_, payload| sha256(payload));
            *audit = shared.audit.log().map(follow);
        }
        if let Some(audit) = audit {
            audit.catch_up()?;
        }
        match log.compare_next() {
            Ok(is_more) => Ok(Reached { at, is_more, damage: None }),
            // The others are as good as ever.
            Err(Unfollowed::Damaged(error)) => {
                Ok(Reached { at, is_more: true, damage: Some(damaged(&error)) })
            }
            Err(error) => Err(error),
        }
    }

    /// Takes note of a pass, and answers whoever waited for it. What follows.
    fn passed(&self, passed: Result<Reached, Unfollowed>, comparing: u64) -> Follows {
        let mut state = locked(&self.state);
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

/// Stands for a record of the hub's log, also where what it carried is erased.
fn key(kind: u8, payload: &[u8]) -> Hash {
    match pb::Commit::decode(payload) {
        Ok(commit) if kind == record_kind::COMMIT => chain::hash_of(&commit),
        _ => sha256(payload),
    }
}

/// What is told to a write that is in the log and not in the mirror.
pub fn half_saved(why: &Said) -> SiteError {
    let Said { zh, en } = why;
    SiteError::Unready(say!(
        "已写入枢纽的日志，但没有进入镜像：{zh}；镜像恢复后会补上。请先查看再决定是否重做",
        "it is in the hub's log but not in its mirror: {en}; the mirror gets it once it can be written. See whether the \
         change is there before you make it again"
    ))
}

fn damaged(error: &LogError) -> Said {
    let en = error.to_string();
    say!(
        "日志有损坏，镜像中的这一段保留原样：{en}",
        "the log is damaged, the mirror keeps its copy of this part: {en}"
    )
}

fn said(error: &Unfollowed) -> Said {
    match error {
        Unfollowed::File { path, source } => {
            let shown = path.display();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => say!(
                    "镜像所在的磁盘已满（{shown}），请腾出空间",
                    "the disk of the mirror is full ({shown}), free some space"
                ),
                io::ErrorKind::NotFound => say!(
                    "没有 {shown}，请挂载镜像所在的磁盘，或建立此目录",
                    "there is no {shown}, mount the mirror's disk or make the directory"
                ),
                _ => say!("无法读写 {shown}（{source}）", "{shown} cannot be read or written ({source})"),
            }
        }
        Unfollowed::Foreign(path) => {
            let shown = path.display();
            say!(
                "{shown} 中有本枢纽日志没有的记录：多半是枢纽由旧备份恢复，或镜像属于另一个枢纽；没有改动。请用 backup restore \
                 --mirror 由它恢复，确实不要时移走它",
                "{shown} holds records that this hub's log does not have: the hub was put back from an old backup, or this is \
                 another hub's mirror; it was not touched. Restore from it with backup restore --mirror, or move it away if \
                 it is not wanted"
            )
        }
        Unfollowed::Damaged(error) => damaged(error),
        Unfollowed::Log(error) => {
            let en = error.to_string();
            say!("日志读不出来：{en}", "the log cannot be read: {en}")
        }
    }
}
