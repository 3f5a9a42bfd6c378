//! What the mirror says to people.

use std::io;
use std::path::Path;

use liandong_node::log::LogError;
use liandong_node::say;
use liandong_node::site::SiteError;
use liandong_node::text::Said;

use super::follow::Unfollowed;

/// What is told to a write that is in the log and not in the mirror.
pub fn half_saved(why: &Said) -> SiteError {
    let Said { zh, en } = why;
    SiteError::Unready(say!(
        "已写入枢纽的日志，但没有进入镜像：{zh}；镜像恢复后会补上。请先查看再决定是否重做",
        "it is in the hub's log but not in its mirror: {en}; the mirror gets it once it can be written. See whether the \
         change is there before you make it again"
    ))
}

/// What is told to an erasure that is carried out in the log and not in the mirror.
pub(crate) fn half_erased(why: &Said) -> SiteError {
    let Said { zh, en } = why;
    SiteError::Unready(say!(
        "已从枢纽的日志中删除，镜像中还没有：{zh}；镜像恢复后会自动删除并出具证明，不必重做",
        "it is erased from the hub's log and not yet from its mirror: {en}; that is done, and proved, by itself once the \
         mirror can be written; do not ask again"
    ))
}

pub(super) fn damaged(error: &LogError) -> Said {
    let en = error.to_string();
    say!(
        "日志有损坏，镜像中的这一段保留原样：{en}",
        "the log is damaged, the mirror keeps its copy of this part: {en}"
    )
}

pub(crate) fn said(error: &Unfollowed) -> Said {
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
                _ => say!(
                    "无法读写 {shown}（{source}），请检查磁盘、挂载和目录权限",
                    "{shown} cannot be read or written ({source}), look at the disk, its mount and the rights to the directory"
                ),
            }
        }
        Unfollowed::Note { path, why } => {
            let shown = path.display();
            say!(
                "{shown} 读不懂（{why}），枢纽不知道在哪里建立过镜像；什么也没有写。请先确认镜像的磁盘已挂载，再把此文件移到别处，\
                 枢纽会重新写",
                "{shown} cannot be understood ({why}), so the hub does not know where it has set up a mirror; nothing was \
                 written. Make sure that the mirror's disk is mounted, then move this file elsewhere: the hub writes it anew"
            )
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
        Unfollowed::Unclear(path) => {
            let shown = path.display();
            say!(
                "{shown} 缺失或读不出来，无法断定镜像中有没有本枢纽日志所没有的记录；没有改动。请保留镜像备查，把其中的 log 移到别处，\
                 镜像会重新建立",
                "{shown} is missing or cannot be read, so nobody can tell whether the mirror holds what this hub's log does not \
                 have; it was not touched. Keep it for whoever looks into it: move its log elsewhere, and the mirror is made \
                 anew"
            )
        }
        Unfollowed::Away(dir) => {
            let shown = dir.display();
            say!(
                "{shown} 曾建立镜像，现在里面没有镜像的标记：多半是镜像的磁盘没有挂载；什么也没有写。请挂载磁盘；确实要在此处重新建立镜像，\
                 运行 liandong-hub mirror new",
                "{shown} was set up as the mirror and has no mark of it now: most likely the mirror's disk is not mounted; \
                 nothing was written there. Mount it; if a new mirror is to be begun there, run liandong-hub mirror new"
            )
        }
        Unfollowed::Another(dir) => {
            let shown = dir.display();
            say!(
                "{shown} 是另一个枢纽的镜像；没有改动。请在设置 mirror 中改用别的目录",
                "{shown} is the mirror of another hub; it was not touched. Name another directory in the setting mirror"
            )
        }
        Unfollowed::Damaged(error) => damaged(error),
        Unfollowed::Log(error) => {
            let en = error.to_string();
            say!("日志读不出来：{en}", "the log cannot be read: {en}")
        }
    }
}

/// What is told while a disk does not answer.
pub(super) fn hangs(dir: &Path) -> Said {
    let shown = dir.display();
    say!(
        "{shown} 所在的磁盘没有响应，请检查磁盘和网络存储；恢复响应后镜像会自己补齐",
        "the disk of {shown} does not answer, look at the disk or the network storage; the mirror catches up by itself once it \
         does"
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use liandong_proto::id::Epoch;

    use super::*;
    use crate::mirror::place::{self, NOTE, Place};

    #[test]
    fn each_failure_is_told_in_one_piece() {
        let path = || PathBuf::from("/m");
        let failed = |kind: io::ErrorKind| Unfollowed::File { path: path(), source: kind.into() };
        let log = || LogError::Broken { path: path(), why: "x".into() };
        let failures = [
            failed(io::ErrorKind::StorageFull),
            failed(io::ErrorKind::NotFound),
            failed(io::ErrorKind::PermissionDenied),
            Unfollowed::Note { path: path(), why: "x".into() },
            Unfollowed::Foreign(path()),
            Unfollowed::Unclear(path()),
            Unfollowed::Away(path()),
            Unfollowed::Another(path()),
            Unfollowed::Damaged(log()),
            Unfollowed::Log(log()),
        ];
        let told = failures.iter().map(said).chain([hangs(Path::new("/m"))]);
        for Said { zh, en } in told {
            assert!(!zh.contains("  ") && !en.contains("  "), "{zh} {en}");
            assert!(en.contains("/m") && zh.contains("/m"), "{zh} {en}");
        }
        assert!(said(&failed(io::ErrorKind::PermissionDenied)).en.contains("rights"));
    }

    #[test]
    fn a_note_that_cannot_be_understood_says_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        for text in ["[\"/m\"", "{}", ""] {
            std::fs::write(dir.path().join(NOTE), text).expect("written");
            let looked = Place::new(dir.path(), dir.path(), &Epoch([7; 16])).look().expect_err("broken");
            let forgotten = place::forget(dir.path(), dir.path()).expect_err("broken");
            for error in [looked, forgotten] {
                let Said { zh, en } = said(&error);
                assert!(en.contains("mirrors") && en.contains("move this file elsewhere"), "{en}");
                assert!(zh.contains("移到别处"), "{zh}");
            }
        }
    }
}
