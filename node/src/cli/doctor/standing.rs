//! What a site's status and the files beside it say.

use std::path::Path;

use liandong_proto::pb::node::v1::{Comparison, Link, StatusResponse};

use super::codes::{self, Code};
use super::report::Report;
use crate::backup::Made;
use crate::cli::table::moment;
use crate::now::now_ms;
use crate::say;
use crate::text::{Said, counted};

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;
/// A node renews its certificate before so few days are left.
pub const ENDING_DAYS: u64 = 25;
/// Clocks that differ by more are told.
const CLOCK_MS: u64 = 60_000;
/// A backup that is older is told, at a node and at the hub.
const BACKUP_DAYS: u64 = 30;
const HUB_BACKUP_DAYS: u64 = 7;

/// This machine's clock against the hub's, or the hub's against its own log.
pub fn clock(status: &StatusResponse, is_running: bool, report: &mut Report) {
    if status.received_at_ms > 0 {
        let ahead = status.received_at_ms.saturating_sub(now_ms());
        let at = moment(status.received_at_ms);
        return if ahead > CLOCK_MS {
            let said = say!("最新的提交是 {at}", "the newest commit is of {at}");
            report.found("clock", &codes::CLOCK_BEHIND_LOG, said);
        } else {
            report.fine("clock", say!("不早于最新的提交", "not before the newest commit"));
        };
    }
    if status.hub_clock_ms == 0 {
        let why = if is_running {
            say!("启动以来没有连上过枢纽", "the hub was not reached since the start")
        } else {
            not_running()
        };
        return report.not_done("clock", why);
    }
    let off = status.hub_clock_ms.abs_diff(status.hub_clock_at_ms);
    let (seconds, early) = (off / 1_000, status.hub_clock_at_ms < status.hub_clock_ms);
    let said = match early {
        true => say!("比枢纽慢 {seconds} 秒", "{seconds} s behind the hub's"),
        false => say!("比枢纽快 {seconds} 秒", "{seconds} s ahead of the hub's"),
    };
    if off > CLOCK_MS {
        report.found("clock", &codes::CLOCK_OFF, said);
    } else {
        report.fine("clock", said);
    }
}

fn not_running() -> Said {
    say!("站点没有运行", "the site is not running")
}

/// How a node stands with the hub.
pub fn sync(status: &StatusResponse, is_running: bool, report: &mut Report) {
    let outbox = status.head_seq.saturating_sub(status.confirmed_seq);
    let waiting = counted(outbox, "change");
    let since_ms = status.waiting_since_ms;
    // By the log, which knows it also right after a start. Who has not joined has nowhere to send it.
    let is_member = status.certificate_until_ms > 0;
    if is_member && outbox > 0 && since_ms > 0 && now_ms().saturating_sub(since_ms) > DAY_MS {
        let since = moment(since_ms);
        let said = say!("{outbox} 条，最早的自 {since} 起", "{waiting}, the oldest since {since}");
        report.found("sync", &codes::SYNC_OLD, said);
    }
    if !is_running {
        let why =
            say!("站点没有运行，{outbox} 条改动等着上报", "the site is not running; to be sent: {waiting}");
        return report.not_done("sync", why);
    }
    let last = moment(status.last_sync_ms);
    let why = Said::new(status.link_zh.clone(), status.link_en.clone());
    let code: Option<&Code> = match status.link() {
        Link::Offline => Some(&codes::LINK_OFFLINE),
        Link::Diverged => Some(&codes::LINK_DIVERGED),
        Link::Refused => Some(&codes::LINK_REFUSED),
        Link::Waiting => Some(&codes::LINK_WAITING),
        Link::None => Some(&codes::NOT_JOINED),
        Link::Unspecified | Link::Connected => None,
    };
    match code {
        Some(code) => report.found("sync", code, why),
        None => report
            .fine("sync", say!("最近 {last}，待上报 {outbox} 条", "last at {last}; to be sent: {waiting}")),
    }
    if status.comparison() == Comparison::Different {
        let at = moment(status.compared_at_ms);
        report.found("sync", &codes::RECORDS_DIFFER, say!("核对于 {at}", "compared at {at}"));
    }
}

/// Findings that wait for somebody.
pub fn held(status: &StatusResponse, report: &mut Report) {
    match status.open_findings {
        0 => report.fine("held", say!("没有", "none")),
        count => report.found(
            "held",
            &codes::HELD_VALUES,
            say!("{count} 项核对事项未处理", "{count} findings are open"),
        ),
    }
}

/// What a site says of its index and its audit log by itself.
pub fn health(status: &StatusResponse, report: &mut Report) {
    let audit = &status.audit_failure;
    if !audit.is_empty() {
        report.found("audit", &codes::AUDIT_NOT_WRITTEN, say!("{audit}", "{audit}"));
    }
    let index = &status.index_failure;
    if status.index_damaged {
        report.found("index", &codes::INDEX_DAMAGED, say!("{index}", "{index}"));
    } else if !index.is_empty() {
        report.found("index", &codes::INDEX_NOT_WRITTEN, say!("{index}", "{index}"));
    }
}

/// A node's certificate.
pub fn certificate(status: &StatusResponse, report: &mut Report) {
    ends_at(status.certificate_until_ms, report);
}

/// The same by its end; 0 where there is none.
pub fn ends_at(until_ms: u64, report: &mut Report) {
    if until_ms == 0 {
        return report.not_done("certificate", say!("还没有加入，没有证书", "not a member, there is none"));
    }
    let (at, days) = (moment(until_ms), until_ms.saturating_sub(now_ms()) / DAY_MS);
    if until_ms <= now_ms() {
        report.found("certificate", &codes::CERTIFICATE_OVER, say!("{at} 到期", "it ended at {at}"));
    } else if days < ENDING_DAYS {
        let said = say!("{at} 到期，剩 {days} 天", "it ends at {at}, in {days} days");
        report.found("certificate", &codes::CERTIFICATE_ENDING, said);
    } else {
        report.fine("certificate", say!("剩 {days} 天", "{days} days left"));
    }
}

/// When the site was backed up last. `mirrored`: its records are in a mirror as well, so that keys alone will do.
pub fn backup(dir: &Path, is_hub: bool, mirrored: bool, report: &mut Report) {
    let (most, none) =
        if is_hub { (HUB_BACKUP_DAYS, &codes::HUB_NO_BACKUP) } else { (BACKUP_DAYS, &codes::NO_BACKUP) };
    let made = Made::of(dir);
    let counts = if mirrored { made.records.max(made.keys) } else { made.records };
    let Some(made_at_ms) = counts else {
        let said = match made.keys.map(moment) {
            Some(at) => say!("只备份过密钥（{at}），没有备份过记录", "keys alone at {at}, its records never"),
            None => say!("数据目录中没有备份的记录", "the data directory knows of none"),
        };
        return report.found("backup", none, said);
    };
    let (at, days) = (moment(made_at_ms), now_ms().saturating_sub(made_at_ms) / DAY_MS);
    let said = say!("最近一次 {at}", "the last one was made at {at}");
    if made.keys.is_none() {
        let said = say!("记录 {at} 备份过", "its records at {at}");
        report.found("backup", &codes::KEYS_NOT_BACKED_UP, said);
    }
    if days >= most {
        report.found("backup", &codes::BACKUP_OLD, said);
    } else if made.keys.is_some() {
        report.fine("backup", said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::note_made;

    #[track_caller]
    fn check(look: impl FnOnce(&mut Report), expected: &[&str]) {
        let mut report = Report::default();
        look(&mut report);
        let json = report.json(true);
        let findings = json["findings"].as_array().expect("findings");
        let found: Vec<&str> = findings.iter().filter_map(|finding| finding["code"].as_str()).collect();
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn a_clock_that_is_off_is_told_either_way() {
        let at = |hub_clock_ms, hub_clock_at_ms| StatusResponse {
            hub_clock_ms,
            hub_clock_at_ms,
            ..StatusResponse::default()
        };
        for (hub, here, expected) in [
            (1_000_000, 1_060_000, &[][..]),
            (1_000_000, 1_060_001, &["CLOCK_OFF"][..]),
            (1_060_001, 1_000_000, &["CLOCK_OFF"][..]),
        ] {
            check(|report| clock(&at(hub, here), true, report), expected);
        }
        let newest = |received_at_ms| StatusResponse { received_at_ms, ..StatusResponse::default() };
        check(|report| clock(&newest(now_ms() - 1), true, report), &[]);
        check(|report| clock(&newest(now_ms() + DAY_MS), true, report), &["CLOCK_BEHIND_LOG"]);
    }

    #[test]
    fn each_link_that_does_not_sync_has_its_code() {
        let linked = |link: Link| StatusResponse { link: link as i32, ..StatusResponse::default() };
        for (link, expected) in [
            (Link::Connected, &[][..]),
            (Link::Offline, &["LINK_OFFLINE"][..]),
            (Link::Diverged, &["LINK_DIVERGED"][..]),
            (Link::Refused, &["LINK_REFUSED"][..]),
            (Link::Waiting, &["LINK_WAITING"][..]),
            (Link::None, &["NOT_JOINED"][..]),
        ] {
            check(|report| sync(&linked(link), true, report), expected);
            check(|report| sync(&linked(link), false, report), &[]);
        }
        let waits = StatusResponse {
            head_seq: 2,
            confirmed_seq: 1,
            waiting_since_ms: now_ms() - 2 * DAY_MS,
            certificate_until_ms: now_ms() + DAY_MS,
            comparison: Comparison::Different as i32,
            ..linked(Link::Offline)
        };
        assert_eq!(waits.last_sync_ms, 0, "as it is right after a start");
        check(|report| sync(&waits, true, report), &["SYNC_OLD", "LINK_OFFLINE", "RECORDS_DIFFER"]);
        check(|report| sync(&waits, false, report), &["SYNC_OLD"]);
        let new = StatusResponse { waiting_since_ms: now_ms() - DAY_MS / 2, ..waits.clone() };
        check(|report| sync(&new, true, report), &["LINK_OFFLINE", "RECORDS_DIFFER"]);
        let alone = StatusResponse { certificate_until_ms: 0, ..waits.clone() };
        check(|report| sync(&alone, false, report), &[]);
        // What was sent before it could get old.
        let sent = StatusResponse { confirmed_seq: 2, ..waits };
        check(|report| sync(&sent, false, report), &[]);
    }

    #[test]
    fn what_ends_or_is_old_is_told_in_time() {
        for (days, expected) in
            [(60, &[][..]), (26, &[][..]), (24, &["CERTIFICATE_ENDING"][..]), (0, &["CERTIFICATE_OVER"][..])]
        {
            check(|report| ends_at(now_ms() + days * DAY_MS, report), expected);
        }
        let dir = tempfile::tempdir().expect("a directory");
        check(|report| backup(dir.path(), false, false, report), &["NO_BACKUP"]);
        check(|report| backup(dir.path(), true, false, report), &["HUB_NO_BACKUP"]);
        for (days, of_hub, of_node) in [
            (1, &[][..], &[][..]),
            (8, &["BACKUP_OLD"][..], &[][..]),
            (31, &["BACKUP_OLD"][..], &["BACKUP_OLD"][..]),
        ] {
            note_made(dir.path(), now_ms() - days * DAY_MS, true, true).expect("noted");
            check(|report| backup(dir.path(), true, false, report), of_hub);
            check(|report| backup(dir.path(), false, false, report), of_node);
        }
    }

    #[test]
    fn half_a_backup_is_none() {
        let noted = |made: &[(u64, bool, bool)]| {
            let dir = tempfile::tempdir().expect("a directory");
            for (days, keys, logs) in made {
                note_made(dir.path(), now_ms() - days * DAY_MS, *keys, *logs).expect("noted");
            }
            dir
        };
        let keys = noted(&[(1, true, false)]);
        check(|report| backup(keys.path(), false, false, report), &["NO_BACKUP"]);
        check(|report| backup(keys.path(), true, false, report), &["HUB_NO_BACKUP"]);
        check(|report| backup(keys.path(), true, true, report), &[]);
        // Keys that were backed up yesterday make no old backup a new one.
        let old = noted(&[(31, true, true), (1, true, false)]);
        check(|report| backup(old.path(), false, false, report), &["BACKUP_OLD"]);
        let records = noted(&[(1, false, true)]);
        check(|report| backup(records.path(), false, false, report), &["KEYS_NOT_BACKED_UP"]);
        let records = noted(&[(31, false, true)]);
        check(|report| backup(records.path(), false, false, report), &["KEYS_NOT_BACKED_UP", "BACKUP_OLD"]);
        // Two files hold together what one does.
        let both = noted(&[(40, true, false), (1, false, true)]);
        check(|report| backup(both.path(), false, false, report), &[]);
    }

    #[test]
    fn what_a_site_says_of_itself_has_a_code() {
        let says = |index_damaged, index_failure: &str, audit_failure: &str, open_findings| StatusResponse {
            index_damaged,
            index_failure: index_failure.into(),
            audit_failure: audit_failure.into(),
            open_findings,
            ..StatusResponse::default()
        };
        check(|report| health(&says(false, "", "", 0), report), &[]);
        check(|report| health(&says(true, "a row", "", 0), report), &["INDEX_DAMAGED"]);
        check(
            |report| health(&says(false, "full", "full", 0), report),
            &["AUDIT_NOT_WRITTEN", "INDEX_NOT_WRITTEN"],
        );
        check(|report| held(&says(false, "", "", 0), report), &[]);
        check(|report| held(&says(false, "", "", 3), report), &["HELD_VALUES"]);
    }
}
