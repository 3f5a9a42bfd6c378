//! How a command ends: one table from everything that can go wrong to an exit code and to words.

use std::io;
use std::path::Path;

use tonic::{Code, Status};

use crate::api::ServeError;
use crate::config::Mistakes;
use crate::index::IndexError;
use crate::log::LogError;
use crate::say;
use crate::site::{Class, SiteError};
use crate::text::Said;

/// Exit codes, the same for every command of node and hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Done = 0,
    /// Something inside failed; trying again may help.
    Internal = 1,
    /// The command or the settings are not right.
    Usage = 2,
    /// Data were refused.
    Data = 3,
    /// A person has to decide something first.
    Review = 4,
    /// The hub cannot be reached.
    Unreachable = 5,
    /// Not allowed.
    Denied = 6,
    /// What is stored is damaged.
    Damaged = 7,
}

impl Exit {
    /// A word for programs, in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Internal => "internal",
            Exit::Usage => "usage",
            Exit::Data => "data",
            Exit::Review => "review",
            Exit::Unreachable => "unreachable",
            Exit::Denied => "denied",
            Exit::Damaged => "damaged",
        }
    }

    /// How a command ends when a site fails.
    pub const fn of_site(class: Class) -> Exit {
        match class {
            Class::Refused => Exit::Usage,
            Class::NotFound => Exit::Data,
            Class::Unready => Exit::Review,
            Class::Locked | Class::Full | Class::Internal => Exit::Internal,
            Class::Damaged => Exit::Damaged,
        }
    }

    /// How a command ends when a call over the socket fails.
    pub const fn of_status(code: Code) -> Exit {
        match code {
            Code::Ok => Exit::Done,
            Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => Exit::Usage,
            Code::NotFound | Code::AlreadyExists => Exit::Data,
            Code::FailedPrecondition | Code::Aborted => Exit::Review,
            Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
            Code::DataLoss => Exit::Damaged,
            _ => Exit::Internal,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

/// Why a command did not do what it was asked: what is wrong, what follows, what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What is told.
    pub said: Said,
}

impl Failure {
    /// The command or the settings are not right.
    pub fn usage(said: Said) -> Failure {
        Failure { exit: Exit::Usage, said }
    }

    /// Data were refused.
    pub fn data(said: Said) -> Failure {
        Failure { exit: Exit::Data, said }
    }

    /// Something inside failed.
    pub fn internal(said: Said) -> Failure {
        Failure { exit: Exit::Internal, said }
    }

    /// Nothing more to say: the answer has been given, or nobody reads it any more.
    pub fn quiet(exit: Exit) -> Failure {
        Failure { exit, said: Said::default() }
    }

    /// A file that cannot be read or written.
    pub fn file(path: &Path, error: &io::Error) -> Failure {
        let (shown, why) = (path.display(), error.kind());
        match why {
            io::ErrorKind::NotFound => {
                Failure::usage(say!("没有 {shown}；请检查路径", "there is no {shown}; check the path"))
            }
            io::ErrorKind::PermissionDenied => Failure {
                exit: Exit::Denied,
                said: say!(
                    "没有读写 {shown} 的权限；请换用有权限的账户，或检查文件归属",
                    "{shown} may not be read or written by this account; use one that may, or check who owns \
                     it"
                ),
            },
            _ => Failure::internal(say!(
                "无法读写 {shown}（{why}）；请检查路径和磁盘空间",
                "{shown} cannot be read or written ({why}); check the path and the free space"
            )),
        }
    }
}

impl Failure {
    /// The runtime could not be started.
    pub fn runtime(error: &io::Error) -> Failure {
        let why = error.kind();
        Failure::internal(say!(
            "无法启动（{why}）；请检查系统的线程数和文件数限制",
            "cannot start ({why}); check the system's limits of threads and files"
        ))
    }
}

impl From<SiteError> for Failure {
    fn from(error: SiteError) -> Failure {
        let exit = Exit::of_site(error.class());
        let en = error.to_string();
        let said = match &error {
            SiteError::NoSite(dir) => {
                let dir = dir.display();
                say!("{dir} 中没有站点；请先运行 init 建立", "{dir} holds no site; make one with init")
            }
            SiteError::Exists(dir) => {
                let dir = dir.display();
                say!(
                    "{dir} 中已有站点，没有改动；请换一个目录",
                    "{dir} already holds a site, nothing was changed; choose another directory"
                )
            }
            SiteError::NotFound => no_such_record(),
            SiteError::Unready(said) => said.clone(),
            SiteError::Newer { dir, found, known, by } => {
                let (dir, this) = (dir.display(), env!("CARGO_PKG_VERSION"));
                Said::new(
                    format!(
                        "{dir} 属于更新的版本（{by}）：目录格式为 {found}，本程序（{this}）只认识到 {known}；没有启动，也没有改动。\
                         请装回新版本；确需退回旧版本，请放回升级前的备份"
                    ),
                    en,
                )
            }
            SiteError::Log(LogError::Newer { path, found, known }) => {
                let path = path.display();
                Said::new(
                    format!(
                        "{path} 由更新的版本写成：日志格式为 {found}，本程序只认识到 {known}；没有改动，请装回新版本"
                    ),
                    en,
                )
            }
            SiteError::KeyMissing(path) => {
                let path = path.display();
                say!(
                    "城市密钥 {path} 不见了；请把备份的 keys/ 放回原处：没有它，密封的内容谁也读不出来",
                    "the city key {path} is missing; put the copy of keys/ back: without it nothing sealed can be \
                     read"
                )
            }
            SiteError::Stopped { why, .. } => {
                say!(
                    "不再保存任何内容（{why}）；请重启，日志里的都在",
                    "nothing more is saved ({why}); restart, what is in the log is safe"
                )
            }
            SiteError::KeyExposed(path) => {
                let path = path.display();
                say!(
                    "密钥 {path} 可被其他账户读取，没有启动；请运行 chmod 600 {path}",
                    "the key {path} can be read by other accounts, so nothing was started; run: chmod 600 {path}"
                )
            }
            SiteError::Index(IndexError::AheadOfLog) => Said::new(LOG_CUT, en),
            SiteError::Log(LogError::Damaged { .. }) => Said::new(format!("{LOG_DAMAGED}{en}"), en),
            SiteError::Index(error) if error.is_damage() => Said::new(format!("{INDEX_DAMAGED}{en}"), en),
            SiteError::Index(error) if error.is_final() => Said::new(format!("{INDEX_ENDED}{en}"), en),
            _ => Said::new(format!("{}{en}", of_class(error.class())), en),
        };
        Failure { exit, said }
    }
}

/// No rebuild helps here: it reads the log as well.
const LOG_DAMAGED: &str =
    "日志损坏；请原样保留整个数据目录，不要删改：停下程序，运行 repair 修复，或放回备份：";
const LOG_CUT: &str = "日志少了末尾，或是一份较旧的副本：索引所见比现有日志更多，已保存的内容有丢失；没有改动任何内容，请原样保留整个\
                       数据目录。地市：运行 repair，或放回备份；枢纽：用 backup restore，或用 rebuild --accept-loss 不带这些内容继续";
const INDEX_ENDED: &str = "索引写不进去了，日志里的都在；请先看磁盘是否正常，再重新启动：";
const INDEX_DAMAGED: &str = "索引损坏，日志里的都在；重新启动会由日志重建索引：";

/// What a class of failure means, before the details that are in English only.
fn of_class(class: Class) -> &'static str {
    match class {
        Class::Refused => "请求不成立，没有改动：",
        Class::NotFound => "没有找到：",
        Class::Locked => "数据目录正被另一个进程使用，请等它结束或停止它：",
        Class::Full => "磁盘已满，没有保存；请腾出空间后重试：",
        Class::Damaged => {
            "存储的数据有损坏；请原样保留整个数据目录，先运行 verify：只是索引损坏的，重新启动会重建；日志损坏的，停下程序后运行 repair，或放回备份："
        }
        Class::Unready => "现在不能这样做：",
        Class::Internal => "内部错误，请重试；仍不行请把这一行发给维护人员：",
    }
}

fn no_such_record() -> Said {
    say!("没有这条记录；请用 record list 查看编号", "there is no such record; see the ids with record list")
}

/// What the door met when it had to be opened in the middle of a command.
fn of_door(status: &Status) -> Option<Failure> {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return Some(failure.clone());
        }
        source = error.source();
    }
    None
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        if let Some(failure) = of_door(&status) {
            return failure;
        }
        let exit = Exit::of_status(status.code());
        let en = status.message();
        // A site that has its own words in Chinese sends them along.
        if let Some(zh) = std::str::from_utf8(status.details()).ok().filter(|zh| !zh.is_empty()) {
            return Failure { exit, said: Said::new(zh, en) };
        }
        let class = match status.code() {
            Code::NotFound => return Failure { exit, said: no_such_record() },
            Code::Unavailable | Code::Cancelled | Code::Unknown => {
                return Failure::internal(say!(
                    "与站点的连接中断（{en}）；已回答的都已保存，请重新运行命令",
                    "the connection to the site broke ({en}); what was answered is saved, run the command \
                     again"
                ));
            }
            Code::PermissionDenied | Code::Unauthenticated => "没有权限：",
            Code::FailedPrecondition | Code::Aborted => "现在不能这样做：",
            Code::ResourceExhausted => of_class(Class::Full),
            Code::DataLoss => of_class(Class::Damaged),
            Code::InvalidArgument | Code::OutOfRange => of_class(Class::Refused),
            _ => of_class(Class::Internal),
        };
        Failure { exit, said: Said::new(format!("{class}{en}"), en) }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        let en = error.to_string();
        if let ServeError::Port { .. } | ServeError::Transport(_) = error {
            return Failure::internal(say!("端口无法使用：{en}", "a port cannot be used: {en}"));
        }
        if let ServeError::Certificate(_) = error {
            return Failure::usage(say!(
                "api_certificate 与 api_key 不能一起使用，没有启动；请检查两个文件是否成对：{en}",
                "{en}; nothing was started, check that the two files belong together"
            ));
        }
        Failure::internal(say!(
            "无法在数据目录中提供本地接口：{en}；请检查目录权限，路径总长不要超过 100 字节",
            "the local socket in the data directory cannot be served: {en}; check the directory's \
             permissions, and that its path is not longer than 100 bytes"
        ))
    }
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Failure {
        Failure::usage(mistakes.said())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_exit_codes() {
        let expected = [
            (Exit::Done, 0),
            (Exit::Internal, 1),
            (Exit::Usage, 2),
            (Exit::Data, 3),
            (Exit::Review, 4),
            (Exit::Unreachable, 5),
            (Exit::Denied, 6),
            (Exit::Damaged, 7),
        ];
        for (exit, code) in expected {
            assert_eq!(exit as u8, code);
        }
    }

    #[test]
    fn what_a_site_says_and_what_comes_over_the_socket_end_alike() {
        let classes =
            [Class::Refused, Class::NotFound, Class::Locked, Class::Full, Class::Damaged, Class::Internal];
        let errors = [
            SiteError::Refused("x".into()),
            SiteError::NotFound,
            SiteError::corrupt("x", "y"),
            SiteError::NoSite("/x".into()),
        ];
        for error in errors {
            assert!(classes.contains(&error.class()));
            let direct = Failure::from(SiteError::Refused(String::new())).exit;
            assert_eq!(direct, Exit::Usage);
            let status = crate::api::status(&error);
            assert_eq!(Failure::from(error).exit, Failure::from(status).exit);
        }
    }

    #[test]
    fn nobody_is_sent_to_rebuild_from_a_damaged_log() {
        let damaged = LogError::Damaged { path: "1.log".into(), offset: 60, what: "a checksum".into() };
        let error = SiteError::from(damaged);
        let status = crate::api::status(&error);
        for failure in [Failure::from(error), Failure::from(status)] {
            let Said { zh, en } = &failure.said;
            assert_eq!(failure.exit, Exit::Damaged);
            assert!(zh.contains("备份") && zh.contains("原样保留") && !zh.contains("可用 rebuild"), "{zh}");
            assert!(en.contains("backup") && !en.contains("run rebuild"), "{en}");
        }
        let index = Failure::from(SiteError::from(crate::index::IndexError::Damaged { prefix: 'r' }));
        assert_eq!(index.exit, Exit::Damaged);
        assert!(index.said.zh.contains("索引") && index.said.en.contains("restart"), "{}", index.said);
    }

    #[test]
    fn status_codes_end_in_exit_codes() {
        #[track_caller]
        fn check(code: Code, expected: Exit) {
            assert_eq!(Failure::from(Status::new(code, "x")).exit, expected, "{code:?}");
        }
        check(Code::InvalidArgument, Exit::Usage);
        check(Code::NotFound, Exit::Data);
        check(Code::FailedPrecondition, Exit::Review);
        check(Code::PermissionDenied, Exit::Denied);
        check(Code::Unauthenticated, Exit::Denied);
        check(Code::DataLoss, Exit::Damaged);
        check(Code::ResourceExhausted, Exit::Internal);
        check(Code::Unavailable, Exit::Internal);
    }
}
