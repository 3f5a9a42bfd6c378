//! Why a repair is refused. Nothing was changed then.

use std::fmt::Display;

use super::super::SiteError;
use super::loss::Loss;

/// Bytes that are sound and make no chain.
pub(super) fn broken(seq: u64, why: &str) -> SiteError {
    SiteError::Refused(format!(
        "条目 {seq} 的字节完好，却接不上前一条：这不是磁盘损坏，无法修复。请把整个目录原样保留，联系维护人员 · the bytes of entry \
         {seq} are sound, and yet it does not follow the one before ({why}): this is no damage of the disk and cannot be \
         repaired. Keep the whole directory as it is, and tell whoever maintains this"
    ))
}

pub(super) fn nothing_readable() -> SiteError {
    SiteError::Refused(
        "日志里没有一条可读的记录，无从修复：请在另一个空目录用 restore 重建本市站点 · nothing of the log can be read, so there \
         is nothing to repair: make the city again with restore, in another, empty directory"
            .into(),
    )
}

pub(super) fn unsound(why: &dyn Display) -> SiteError {
    SiteError::Refused(format!(
        "省级枢纽发来的内容有误（{why}），没有改动任何内容：请把整个目录原样保留，联系维护人员 · what the hub sent is not sound: \
         {why}; nothing was changed: keep the whole directory as it is, and tell whoever maintains this"
    ))
}

pub(super) fn other_entry(seq: u64, why: &dyn Display) -> SiteError {
    SiteError::Refused(format!(
        "省级枢纽的条目 {seq} 与本日志的链不符，没有改动任何内容：请把整个目录原样保留，联系维护人员 · the hub's entry {seq} \
         does not fit the chain of this log ({why}); nothing was changed: keep the whole directory as it is, and tell whoever \
         maintains this"
    ))
}

pub(super) fn other_line() -> SiteError {
    SiteError::Refused(
        "日志、索引与省级枢纽对某一段日志的起点说法不一，没有改动任何内容：请把整个目录原样保留，联系维护人员 · log, index and hub \
         do not agree where one epoch of this log goes on from; nothing was changed: keep the whole directory as it is, and tell \
         whoever maintains this"
            .into(),
    )
}

pub(super) fn other_index() -> SiteError {
    SiteError::Refused(
        "索引属于另一份日志：同一位置的条目不同，没有改动任何内容。请放回与之相配的日志或备份，或联系维护人员 · the index is that \
         of another log: it knows another entry or epoch than there is; nothing was changed. Put back the log that it belongs \
         to, or a backup, or tell whoever maintains this"
            .into(),
    )
}

pub(super) fn no_line() -> SiteError {
    SiteError::Refused(
        "损坏处含有整段日志（接管或恢复的起点），省级枢纽也没有，接不起来：没有改动任何内容。请把整个目录原样保留，从备份恢复，或在另一个\
         空目录用 restore 重建 · the damage holds the beginning of a whole epoch (of a takeover or a restore) that the hub does \
         not have either, so that the line does not close: nothing was changed. Keep the whole directory as it is; put back a \
         backup, or make the city again with restore in another, empty directory"
            .into(),
    )
}

pub(super) fn lost_in_the_middle(first: u64, last: u64) -> SiteError {
    SiteError::Refused(format!(
        "条目 {first} 至 {last} 已损坏，且尚未上报，省级枢纽没有：没有改动任何内容。请把整个目录原样保留，从备份恢复，或在另一个空目录用 \
         restore 重建，再补录之后的改动 · entries {first} to {last} are damaged, and had not been sent: the hub does not have \
         them, and nothing was changed. Keep the whole directory as it is; put back a backup, or make the city again with \
         restore in another, empty directory, and enter again what came after"
    ))
}

pub(super) fn lost_at_the_end(loss: Loss, head: u64) -> SiteError {
    let next = (
        "没有改动任何内容。有备份请先用备份；没有备份，用 repair --accept-loss 舍去，然后核对并补录最近的改动",
        "nothing was changed. Put back a backup if there is one; if not, repair --accept-loss goes on without them: then look \
         at the newest records, and enter again what is missing",
    );
    let (zh, en) = match (loss.known, loss.perhaps_more) {
        (Some((first, last)), false) => (
            format!("日志末尾的条目 {first} 至 {last} 已损坏，且尚未上报，省级枢纽没有"),
            format!(
                "entries {first} to {last} at the end of the log are damaged, and had not been sent: the hub does not have them"
            ),
        ),
        (Some((first, last)), true) => (
            format!("日志末尾至少丢失条目 {first} 至 {last}，省级枢纽没有；其后可能还有，无从得知"),
            format!(
                "at least entries {first} to {last} at the end of the log are lost, and the hub does not have them; whether there \
                 were more behind them nobody can tell"
            ),
        ),
        (None, _) => (
            format!("日志末尾有损坏，条目 {head} 之后可能还有尚未上报的条目，无从得知"),
            format!(
                "the end of the log is damaged, and whether entries behind {head} stood there that had not been sent nobody can \
                 tell: perhaps some, perhaps none"
            ),
        ),
    };
    SiteError::Refused(format!("{zh}：{} · {en}; {}", next.0, next.1))
}
