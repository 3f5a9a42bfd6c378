//! A backup: one file with a site's logs, and its keys. The same at node and hub.
//!
//! A tar archive, compressed with zstd, and where somebody gave a passphrase or a recipient an age file around it. In
//! this order, since it is written and read in one go:
//!
//! | member | content |
//! |---|---|
//! | `format` | `liandong backup 1`: what a reader has to know before anything else |
//! | `keys/…`, `import.salt`, `config.toml`, `layout` | as they are in the data directory; keys only where they are wanted |
//! | `log/…`, `audit/…` | segments as far as they were durable when the site was asked; the index is made again from them |
//! | `manifest.json` | whose it is and where it stood, and length and SHA-256 of every member before it; the last one |
//!
//! The site may run meanwhile: it says how far its segments are durable, and bytes before that never change but where a
//! record is erased, in place. Keys are read before and after it was asked, and must be the same.

mod bounds;
mod cipher;
mod held;
mod last;
mod manifest;
mod member;
mod pack;
mod place;
mod space;
#[cfg(test)]
mod tests;
mod unpack;

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::log::LogError;
use crate::say;
use crate::text::Said;

pub use cipher::{Lock, Opening, Sealing};
pub(crate) use held::{Held, hold};
pub use last::{Made, note_made};
pub use manifest::Manifest;
pub use member::{Kept, LeftOut, Small, SmallFiles, small_files};
pub use pack::{Content, pack};
pub use place::{Filling, UNPACKED, check_free, tidy};
pub use space::{fits, free_bytes};
pub use unpack::{Checked, Destination, unpack};

/// Version of the format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// Why a backup was not made, or not read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something already.
    #[error("{0} is there already")]
    Exists(PathBuf),
    /// What an earlier restore has left there is not as that left it.
    #[error("{dir} holds what a restore that was cut short has left, and {names:?}")]
    Touched {
        /// The directory.
        dir: PathBuf,
        /// What is not of that restore, or was touched since.
        names: Vec<String>,
    },
    /// Another restore is under way there.
    #[error("another restore is filling {0}")]
    Busy(PathBuf),
    /// There is no room for it.
    #[error("{path} needs {needed} bytes, {free} are free")]
    NoRoom {
        /// Where it was to go.
        path: PathBuf,
        /// At least so much.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// It does not open with what was given.
    #[error("it does not open: {0}")]
    Closed(age::DecryptError),
    /// It could not be encrypted.
    #[error("it cannot be encrypted: {0}")]
    NotSealed(age::EncryptError),
    /// It is no backup, or of another format.
    #[error("{}", .0.en)]
    Foreign(Said),
    /// It is not what was written.
    #[error("{}", .0.en)]
    Damaged(Said),
    /// A segment in it is not what was written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Somebody wanted it to end.
    #[error("interrupted")]
    Interrupted,
}

impl BackupError {
    /// A failure of the file system at a path.
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> BackupError + '_ {
        move |source| BackupError::File { path: path.to_path_buf(), source }
    }

    fn damaged(zh: impl Into<String>, en: impl Into<String>) -> BackupError {
        BackupError::Damaged(Said::new(zh, en))
    }

    /// What is told.
    pub fn said(&self) -> Said {
        match self {
            BackupError::File { path, source } => {
                let shown = path.display();
                match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => say!(
                        "磁盘已满，{shown} 没有写完，未完成的文件已删除；请腾出空间或换一个磁盘后重试",
                        "the disk is full, {shown} was not finished and what there was of it is removed; free some space, or \
                         choose another disk, and try again"
                    ),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => say!(
                        "{shown} 不完整或已损坏（{source}），不能用来恢复；请改用另一份备份",
                        "{shown} is incomplete or damaged ({source}) and no good for a restore; use another backup"
                    ),
                    _ => say!(
                        "无法读写 {shown}（{source}）；请检查路径、权限和磁盘空间",
                        "{shown} cannot be read or written ({source}); check the path, the permissions and the free space"
                    ),
                }
            }
            BackupError::Exists(path) => {
                let shown = path.display();
                say!(
                    "{shown} 已存在，没有改动；请换一个名字",
                    "{shown} is there already and was not touched; choose another name"
                )
            }
            BackupError::Touched { dir, names } => {
                let (shown, names) = (dir.display(), names.iter().map(|name| bounds::shown(name)));
                let names = names.collect::<Vec<_>>().join(", ");
                say!(
                    "{shown} 中有上次恢复被中断留下的文件，而其中 {names} 不是它留下的原样，没有改动；请先看看是什么，要的移走，\
                     再删除 {names} 和 {UNPACKED}，然后重试",
                    "{shown} holds what a restore that was cut short has left, but {names} is not as it left it, so nothing was \
                     changed; see what that is, move away what you want to keep, remove {names} and {UNPACKED}, and try again"
                )
            }
            BackupError::Busy(dir) => {
                let shown = dir.display();
                say!(
                    "另一个恢复正在写入 {shown}，没有改动；请等它结束，或换一个目录",
                    "another restore is filling {shown}, so nothing was changed; wait until it ends, or name another directory"
                )
            }
            BackupError::NoRoom { path, needed, free } => {
                let (shown, needed, free) = (path.display(), room(*needed), room(*free));
                say!(
                    "{shown} 所在的磁盘放不下：至少需要 {needed}，剩余 {free}，什么也没有写；请腾出空间或换一个磁盘后重试",
                    "the disk of {shown} has no room: it takes {needed} at least and {free} are free, so nothing was \
                     written; free some space, or choose another disk, and try again"
                )
            }
            BackupError::Closed(error) => say!(
                "打不开：口令或密钥不对，或文件被改动过（{error}）；请核对后重试",
                "it does not open: another passphrase or key, or the file was altered ({error}); check and try again"
            ),
            BackupError::NotSealed(error) => {
                say!("无法加密，没有备份：{error}", "it cannot be encrypted, nothing was backed up: {error}")
            }
            BackupError::Foreign(said) => said.clone(),
            BackupError::Damaged(said) => {
                let Said { zh, en } = said;
                say!(
                    "备份已损坏，不能用来恢复：{zh}；请改用另一份备份",
                    "the backup is damaged and no good for a restore: {en}; use another one"
                )
            }
            BackupError::Log(error) => say!(
                "备份中的日志已损坏，不能用来恢复：{error}",
                "the log in the backup is damaged, it is no good for a restore: {error}"
            ),
            BackupError::Interrupted => say!(
                "被中断，未完成的文件已删除，其余没有改动",
                "interrupted; what was not finished is removed, nothing else was changed"
            ),
        }
    }
}

/// Room as people read it.
fn room(bytes: u64) -> String {
    if bytes < 10 << 20 { format!("{} KiB", bytes.div_ceil(1 << 10)) } else { format!("{} MiB", bytes >> 20) }
}

/// Hears how much of how much is done; an error ends what is being done.
pub type Step<'a> = &'a mut dyn FnMut(u64, u64) -> Result<(), BackupError>;

/// What holds the records of a log together: each site has its own.
pub trait Chain: Send {
    /// Takes the next record.
    ///
    /// # Errors
    /// Why it does not follow the ones before.
    fn take(&mut self, kind: u8, payload: &Bytes) -> Result<(), Said>;

    /// The newest entry, and a hash that stands for every record so far that its site is bound to.
    fn end(&self) -> (u64, Vec<u8>);
}
