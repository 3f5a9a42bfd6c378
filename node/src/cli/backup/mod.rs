//! `backup …`: making, checking and putting back backups. The same at node and hub, but for what [`Program`] says.

mod create;
mod rehearsal;
mod restore;
mod secret;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use liandong_proto::id::SiteCode;
use liandong_proto::schema::Text;
use serde_json::{Value, json};

use super::door::blocking;
use super::exit::{Exit, Failure};
use super::progress::Bar;
use super::screen::Screen;
use super::signals::{self, Signals};
use super::table::{moment, pairs};
use crate::backup::{BackupError, Chain, Checked, Manifest};
use crate::caller::Caller;
use crate::json::site_text;
use crate::say;
use crate::site::{OnProgress, SiteError};
use crate::text::{Said, counted};

pub use create::{CreateArgs, create};
pub use restore::{Between, RestoreArgs, Told, restore};
pub use verify::{VerifyArgs, verify};

/// What to do with backups.
#[derive(Debug, clap::Subcommand)]
pub enum BackupCommand {
    /// 备份到一个文件；站点运行时也可以 · Back up into one file, also while the site runs
    Create(CreateArgs),
    /// 从头到尾检查一个备份，什么也不写 · Check a backup from end to end; nothing is written
    Verify(VerifyArgs),
    /// 由备份恢复到一个空目录；--rehearse 只演练 · Put a backup back into an empty directory; --rehearse only tries it
    Restore(RestoreArgs),
}

/// What node and hub do differently.
#[derive(Clone)]
pub struct Program {
    /// Name of the program.
    pub name: &'static str,
    /// Whether it is the hub's.
    pub is_hub: bool,
    /// What has to be free beside so many bytes of a site, so that it opens.
    pub room: fn(u64) -> u64,
    /// What holds its log together.
    pub chain: fn() -> Box<dyn Chain>,
    /// Opens what was put back.
    pub reopen: Reopen,
}

/// Opens a site that was put back, records that in its audit log, and says what is in it.
pub type Reopen = Arc<dyn Fn(&Reopening, OnProgress<'_>) -> Result<Reopened, SiteError> + Send + Sync>;

/// A site that was put back.
#[derive(Clone, Debug)]
pub struct Reopening {
    /// Where.
    pub dir: std::path::PathBuf,
    /// By whom.
    pub caller: Caller,
    /// When its backup was made.
    pub made_at_ms: u64,
    /// It goes again: all of it is checked, and nobody is told.
    pub is_rehearsal: bool,
}

/// What was found when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Reopened {
    /// Living records.
    pub records: u64,
    /// What is wrong with it, (zh, en); looked for in a rehearsal only.
    pub faults: Vec<(String, String)>,
}

/// What has to be free for a site to open beside so many bytes of it, of which most are its log. Its index is made: it gets no
/// longer than twice that. A new segment of the log gets its whole length at once, and one of the audit log. `free` is what the
/// store wants to be left whenever it writes, and `per_byte` what it wants for each byte of what is written at once: no more than
/// is `staged`.
pub fn room(bytes: u64, segment: u64, free: u64, per_byte: u64, staged: usize) -> u64 {
    let segments = segment + crate::log::Options::default().segment_bytes;
    let at_once = bytes.min(staged as u64).saturating_mul(per_byte);
    bytes.saturating_mul(2).saturating_add(segments + free + at_once)
}

impl Program {
    fn own(&self, site: SiteCode) -> Result<(), BackupError> {
        if site.is_province() == self.is_hub {
            return Ok(());
        }
        Err(BackupError::Foreign(if self.is_hub {
            say!(
                "这是地市站点的备份，没有改动；请用 liandong-node backup",
                "this is a backup of a city's site, nothing was changed; use liandong-node backup"
            )
        } else {
            say!(
                "这是省级枢纽的备份，没有改动；请用 liandong-hub backup",
                "this is a backup of the hub, nothing was changed; use liandong-hub backup"
            )
        }))
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Failure {
        let exit = match &error {
            BackupError::File { source, .. } => match source.kind() {
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData => Exit::Damaged,
                std::io::ErrorKind::NotFound => Exit::Usage,
                std::io::ErrorKind::PermissionDenied => Exit::Denied,
                _ => Exit::Internal,
            },
            BackupError::Exists(_) | BackupError::Touched { .. } | BackupError::Foreign(_) => Exit::Usage,
            BackupError::Closed(_) => Exit::Denied,
            BackupError::Damaged(_) | BackupError::Log(_) => Exit::Damaged,
            BackupError::NoRoom { .. }
            | BackupError::Busy(_)
            | BackupError::NotSealed(_)
            | BackupError::Interrupted => Exit::Internal,
        };
        Failure { exit, said: error.said() }
    }
}

/// Does something long beside the runtime. A signal asks it to end, and it is waited for, so that it can take away what is
/// half done; another one ends the process at once.
async fn patiently<T: Send + 'static>(
    what: Text,
    screen: &Screen,
    signals: &mut Signals,
    work: impl FnOnce(&AtomicBool, &Bar) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let stopped = Arc::new(AtomicBool::new(false));
    let bar = screen.bar(what);
    let (flag, shown) = (Arc::clone(&stopped), bar.clone());
    let work = blocking(move || work(&flag, &shown));
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            name = signals.next() => {
                if stopped.swap(true, Ordering::Relaxed) {
                    bar.finish();
                    signals::end_at_once();
                }
                screen.note(&say!(
                    "收到 {name}，正在收尾；再来一次则立即结束",
                    "{name}: cleaning up; once more ends it at once"
                ));
            }
        }
    };
    bar.finish();
    done?
}

/// What a backup says of itself, for programs.
fn json_of(file: &Path, manifest: &Manifest, is_encrypted: bool) -> Value {
    json!({
        "file": file.display().to_string(),
        "site": manifest.site().to_string(),
        "made_at_ms": manifest.made_at_ms,
        "version": manifest.version,
        "epoch": manifest.epoch,
        "head_seq": manifest.head_seq,
        "generation": manifest.generation,
        "hub_seq": manifest.hub_seq,
        "keys": manifest.keys,
        "encrypted": is_encrypted,
        "files": manifest.members.len(),
        "bytes": manifest.bytes(),
    })
}

/// The same for people.
fn text_of(file: &Path, manifest: &Manifest, is_encrypted: bool, screen: &Screen) -> String {
    let lang = screen.lang;
    let say = |zh: &'static str, en: &'static str| lang.pick(zh, en);
    let keys = match (manifest.keys, is_encrypted) {
        (true, true) => say("有（已加密）", "in it, encrypted"),
        (true, false) => {
            say("有，且没有加密：谁拿到文件谁就有密钥", "in it, NOT encrypted: whoever has the file has them")
        }
        (false, true) => say("没有；记录已加密", "not in it; the records are encrypted"),
        (false, false) => say(
            "没有；记录没有加密，含姓名等个人信息",
            "not in it; the records are NOT encrypted: names can be read",
        ),
    };
    let place = if manifest.site().is_province() {
        format!("{} / {}", manifest.generation, manifest.hub_seq)
    } else {
        manifest.head_seq.to_string()
    };
    let (files, mib) = (manifest.members.len(), manifest.bytes().div_ceil(1 << 20));
    let content = counted(files as u64, "file");
    pairs([
        (say("文件", "file"), file.display().to_string()),
        (say("站点", "site"), site_text(manifest.site(), lang)),
        (say("备份时间", "made"), moment(manifest.made_at_ms)),
        (
            if manifest.site().is_province() {
                say("次序", "order")
            } else {
                say("本地日志", "own log")
            },
            place,
        ),
        (say("密钥", "keys"), keys.to_owned()),
        (
            say("内容", "content"),
            Said::new(format!("{files} 个文件，{mib} MiB"), format!("{content}, {mib} MiB"))
                .in_lang(lang)
                .to_owned(),
        ),
    ])
}

/// How far the log in a backup goes, when it has one.
fn reached(checked: &Checked) -> Said {
    let (entries, records, audited) = (checked.end.0, checked.records, checked.audited);
    if records == 0 {
        return say!("只有密钥，没有日志", "keys alone, no log");
    }
    let (in_log, in_audit) = (counted(records, "log record"), counted(audited, "audit record"));
    say!(
        "日志 {records} 条（条目到 {entries}），审计日志 {audited} 条，链完整",
        "{in_log} (entries up to {entries}), {in_audit}, both chains hold"
    )
}
