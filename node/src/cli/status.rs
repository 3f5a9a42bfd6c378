//! `status`: where a site stands.

use liandong_proto::id::{SiteCode, hex};
use liandong_proto::pb::node::v1::{Comparison, Link, Mirror, StatusRequest, StatusResponse};
use liandong_proto::schema::{self, Text};
use serde_json::{Map, Value, json};

use super::door::Door;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::table::{moment, pairs};
use crate::json::site_text;
use crate::now::now_ms;
use crate::text::Lang;

/// Flags of `status`.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct StatusArgs {
    /// 按状态给出退出码：1 没有运行、索引、审计日志或镜像写不进去、4 需要人工处理、5 连不上枢纽、6 被拒绝、7 索引损坏 · Tell by the exit code: 1 not
    /// running, or index, audit log or mirror cannot be written, 4 review needed, 5 hub unreachable, 6 refused, 7 the index is damaged
    #[arg(long)]
    check: bool,
}

/// Shows the status.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, args: &StatusArgs, screen: &Screen) -> Result<Exit, Failure> {
    let status = door.upkeep().status(StatusRequest {}).await?.into_inner();
    screen.answer(&json(&status, door.is_elsewhere()), || text(&status, door.is_elsewhere(), screen.lang))?;
    Ok(if args.check { exit(&status, door.is_elsewhere()) } else { Exit::Done })
}

/// What a watchdog should know.
fn exit(status: &StatusResponse, is_running: bool) -> Exit {
    match (status.link(), status.comparison()) {
        _ if status.index_damaged => Exit::Damaged,
        _ if !is_running
            || !status.index_failure.is_empty()
            || !status.audit_failure.is_empty()
            || status.mirror.as_ref().is_some_and(|mirror| !mirror.failure_en.is_empty()) =>
        {
            Exit::Internal
        }
        (Link::Refused, _) => Exit::Denied,
        (Link::Diverged | Link::Waiting, _) | (_, Comparison::Different) => Exit::Review,
        (Link::Offline, _) => Exit::Unreachable,
        _ if status.open_findings > 0 => Exit::Review,
        _ => Exit::Done,
    }
}

/// The status for programs.
pub fn json(status: &StatusResponse, is_running: bool) -> Value {
    let counts: Map<String, Value> = status
        .counts
        .iter()
        .filter_map(|count| Some((schema::kind(count.kind)?.name.to_owned(), json!(count.records))))
        .collect();
    json!({
        "site": SiteCode(status.site).to_string(),
        "epoch": hex(&status.epoch),
        "version": status.version,
        "data_dir": status.data_dir,
        "running": is_running,
        "head_seq": status.head_seq,
        "head_hash": hex(&status.head_hash),
        "confirmed_seq": status.confirmed_seq,
        "outbox": status.head_seq.saturating_sub(status.confirmed_seq),
        "generation": status.generation,
        "hub_seq": status.hub_seq,
        "link": status.link().as_str_name().trim_start_matches("LINK_"),
        "link_text": { "zh": status.link_zh, "en": status.link_en },
        "last_sync_ms": status.last_sync_ms,
        "certificate_until_ms": status.certificate_until_ms,
        "signing_key": status.signing_key,
        "api_address": status.api_address,
        "api_fingerprint": status.api_fingerprint,
        "keys_waiting": status.keys_waiting,
        "index_lag_changes": status.index_lag_changes,
        "index_damaged": status.index_damaged,
        "index_failure": status.index_failure,
        "audit": {
            "number": status.audit_number,
            "hash": hex(&status.audit_hash),
            "failure": status.audit_failure,
        },
        "mirror": status.mirror.as_ref().map(|mirror| {
            json!({
                "dir": mirror.dir,
                "live": mirror.live,
                "reached_at_ms": mirror.reached_at_ms,
                "failure": { "zh": mirror.failure_zh, "en": mirror.failure_en },
            })
        }),
        "records": counts,
        "open_findings": status.open_findings,
        "comparison": status.comparison().as_str_name().trim_start_matches("COMPARISON_"),
        "compared_own_seq": status.compared_own_seq,
        "compared_hub_seq": status.compared_hub_seq,
        "compared_at_ms": status.compared_at_ms,
        "linking_key": status.linking_key,
        "tokens_renewed": status.tokens_renewed,
        "tokens_to_renew": status.tokens_to_renew,
        "log_bytes": status.log_bytes,
        "index_bytes": status.index_bytes,
        "wire_bytes_sent": status.wire_bytes_sent,
        "wire_bytes_received": status.wire_bytes_received,
        "rss_bytes": status.rss_bytes,
    })
}

/// The status for people.
pub fn text(status: &StatusResponse, is_running: bool, lang: Lang) -> String {
    let is_hub = SiteCode(status.site).is_province();
    let say = |zh: &'static str, en: &'static str| lang.pick(zh, en);
    let mut lines = vec![
        (say("站点", "site"), site_text(SiteCode(status.site), lang)),
        (say("数据目录", "data directory"), status.data_dir.clone()),
        (
            say("运行", "running"),
            say_if(lang, is_running, ["是", "yes"], ["否，本命令临时打开", "no, opened for this command"]),
        ),
    ];
    if is_hub {
        lines.push((say("次序", "order"), format!("{} / {}", status.generation, status.hub_seq)));
    } else {
        let outbox = status.head_seq.saturating_sub(status.confirmed_seq);
        lines.push((say("本地日志", "own log"), status.head_seq.to_string()));
        lines.push((say("待上报", "outbox"), outbox.to_string()));
        lines.push((
            say("同步", "sync"),
            if is_running {
                link(status, lang)
            } else {
                say("站点没有运行，不同步", "the site is not running, nothing syncs").to_owned()
            },
        ));
        lines.push((say("证书", "certificate"), certificate(status.certificate_until_ms, now_ms(), lang)));
        lines.push((say("最近同步", "last sync"), moment(status.last_sync_ms)));
        lines.push((say("与枢纽核对", "comparison"), comparison(status, lang)));
        let key = if status.linking_key.is_empty() {
            say("还没有，号码不产生令牌", "none yet, numbers get no tokens")
        } else {
            &status.linking_key
        };
        lines.push((say("关联密钥", "linking key"), key.to_owned()));
        if status.tokens_to_renew > 0 {
            let (done, total) = (status.tokens_renewed, status.tokens_to_renew);
            lines.push((say("正在换用新令牌", "tokens being renewed"), format!("{done} / {total}")));
        }
    }
    lines.push((say("签名密钥指纹", "signing key"), status.signing_key.clone()));
    if !status.api_address.is_empty() {
        lines.push((say("其他系统的接口", "for other systems"), status.api_address.clone()));
        // As long as it is to be compared by eye.
        let halves = status.api_fingerprint.split_at_checked(48);
        let shown = halves.map_or(status.api_fingerprint.clone(), |(a, b)| format!("{a}\n{b}"));
        lines.push((say("其证书指纹 SHA-256", "its certificate, SHA-256"), shown));
    }
    if !status.keys_waiting.is_empty() {
        let waiting = say("下次连上枢纽时换用", "used from the next connection on");
        lines.push((
            say("待换用的密钥", "keys that wait"),
            format!("{}: {waiting}", status.keys_waiting.join(", ")),
        ));
    }
    for count in &status.counts {
        if let Some(kind) = schema::kind(count.kind) {
            lines.push((lang.of(kind.title), count.records.to_string()));
        }
    }
    lines.push((say("未处理的核对事项", "open findings"), status.open_findings.to_string()));
    lines.push((say("索引", "index"), index(status, lang)));
    lines.push((say("索引滞后", "index lag"), status.index_lag_changes.to_string()));
    lines.push((say("审计日志", "audit log"), audit(status, lang)));
    if let Some(mirror) = &status.mirror {
        lines.push((say("日志镜像", "mirror of the log"), mirrored(mirror, lang)));
    }
    lines.push((
        say("磁盘", "disk"),
        format!("{} MiB + {} MiB", mib(status.log_bytes), mib(status.index_bytes)),
    ));
    pairs(lines)
}

fn say_if(lang: Lang, is: bool, yes: [&str; 2], no: [&str; 2]) -> String {
    let [zh, en] = if is { yes } else { no };
    lang.pick(zh, en).to_owned()
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn link(status: &StatusResponse, lang: Lang) -> String {
    let word = match status.link() {
        Link::Unspecified => Text { zh: "未知", en: "not known" },
        Link::None => Text { zh: "未加入，只在本地工作", en: "not a member, local work only" },
        Link::Offline => Text { zh: "离线", en: "offline" },
        Link::Connected => Text { zh: "已连接", en: "connected" },
        Link::Diverged => Text { zh: "已分叉，同步停止", en: "diverged, sync has stopped" },
        Link::Refused => Text { zh: "被拒绝，同步停止", en: "refused, sync has stopped" },
        Link::Waiting => {
            Text { zh: "等待确认，暂不同步", en: "waiting for a person, nothing syncs" }
        }
    };
    let why = lang.pick(&status.link_zh, &status.link_en);
    if why.is_empty() {
        lang.of(word).to_owned()
    } else {
        format!("{}{}{why}", lang.of(word), lang.pick("：", ": "))
    }
}

/// How long a certificate is good. A node renews it with 27 to 30 days left: fewer mean that it could not.
fn certificate(until_ms: u64, now_ms: u64, lang: Lang) -> String {
    const DAY_MS: u64 = 86_400_000;
    if until_ms == 0 {
        return lang.pick("未加入", "not a member").to_owned();
    }
    let days = until_ms.saturating_sub(now_ms) / DAY_MS;
    match days {
        _ if until_ms <= now_ms => lang.pick(
            "已过期，同步停止，本地工作不受影响；请向省协会索取新的邀请码，再运行 join".to_owned(),
            "over, sync has stopped, local work goes on; ask the province for a fresh invitation and run join".to_owned(),
        ),
        0..=7 => lang.pick(
            format!("只剩 {days} 天！一直未能更新；请尽快连上枢纽，或索取新的邀请码"),
            format!("only {days} days left! It could not be renewed; reach the hub soon, or ask for a fresh invitation"),
        ),
        8..=24 => lang.pick(
            format!("剩 {days} 天，未能按时更新；请检查与枢纽的连接"),
            format!("{days} days left, and not renewed in time; check the connection to the hub"),
        ),
        _ => lang.pick(format!("剩 {days} 天"), format!("{days} days left")),
    }
}

fn mirrored(mirror: &Mirror, lang: Lang) -> String {
    let (shown, why) = (&mirror.dir, lang.pick(&mirror.failure_zh, &mirror.failure_en));
    let said = match (why.is_empty(), mirror.live) {
        (false, _) => crate::say!(
            "写不进去，省级的写入被拒绝：{why}",
            "cannot be written, the province's writes are refused: {why}"
        ),
        (true, true) => crate::say!("{shown}，与日志一致", "{shown}, as far as the log"),
        (true, false) => crate::say!("{shown}，正在补齐", "{shown}, being brought up to the log"),
    };
    said.in_lang(lang).to_owned()
}

fn audit(status: &StatusResponse, lang: Lang) -> String {
    let why = &status.audit_failure;
    if why.is_empty() {
        return format!("{}:{}", status.audit_number, hex(&status.audit_hash));
    }
    let said = crate::say!(
        "写不进去，个人信息暂不提供查阅：{why}",
        "cannot be written, nothing personal is shown: {why}"
    );
    said.in_lang(lang).to_owned()
}

fn index(status: &StatusResponse, lang: Lang) -> String {
    let word = match (status.index_damaged, status.index_failure.is_empty()) {
        (true, _) => Text {
            zh: "损坏，重新启动会由日志重建",
            en: "damaged, a restart makes it again from the log",
        },
        (false, false) => {
            Text { zh: "写不进去，日志里的都在", en: "cannot be written, the log has everything" }
        }
        (false, true) => return lang.pick("正常", "sound").to_owned(),
    };
    format!("{}{}{}", lang.of(word), lang.pick("：", ": "), status.index_failure)
}

fn comparison(status: &StatusResponse, lang: Lang) -> String {
    let word = match status.comparison() {
        Comparison::Unspecified => return lang.pick("还没有", "not yet").to_owned(),
        Comparison::Equal => Text { zh: "一致", en: "equal" },
        Comparison::Different => Text { zh: "不一致，请运行 verify", en: "different, run verify" },
    };
    format!("{} {}", lang.of(word), moment(status.compared_at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(link: Link, comparison: Comparison, open_findings: u64, expected: Exit) {
        let status = StatusResponse {
            link: link as i32,
            comparison: comparison as i32,
            open_findings,
            ..StatusResponse::default()
        };
        assert_eq!(exit(&status, true), expected);
        assert_eq!(exit(&status, false), Exit::Internal);
    }

    #[test]
    fn a_certificate_that_could_not_be_renewed_is_told_in_time() {
        const DAY_MS: u64 = 86_400_000;
        let now_ms = 1_000 * DAY_MS;
        let said = |days: u64| certificate(now_ms + days * DAY_MS, now_ms, Lang::En);
        assert_eq!((said(60), said(25)), ("60 days left".into(), "25 days left".into()));
        assert!(said(24).contains("not renewed in time") && said(8).contains("check the connection"));
        assert!(said(7).contains("only 7 days") && said(1).contains("fresh invitation"));
        assert!(certificate(now_ms - 1, now_ms, Lang::En).contains("local work goes on"));
        assert_eq!(certificate(0, now_ms, Lang::En), "not a member");
    }

    #[test]
    fn a_watchdog_learns_from_the_exit_code() {
        check(Link::Connected, Comparison::Equal, 0, Exit::Done);
        check(Link::None, Comparison::Unspecified, 0, Exit::Done);
        check(Link::Connected, Comparison::Equal, 2, Exit::Review);
        check(Link::Connected, Comparison::Different, 0, Exit::Review);
        check(Link::Diverged, Comparison::Equal, 0, Exit::Review);
        check(Link::Waiting, Comparison::Unspecified, 0, Exit::Review);
        check(Link::Offline, Comparison::Equal, 0, Exit::Unreachable);
        check(Link::Refused, Comparison::Equal, 0, Exit::Denied);
    }

    #[test]
    fn an_index_that_is_not_well_is_told() {
        #[track_caller]
        fn check(index_damaged: bool, index_failure: &str, expected: Exit, words: [&str; 2]) {
            let status = StatusResponse {
                link: Link::Connected as i32,
                index_damaged,
                index_failure: index_failure.into(),
                ..StatusResponse::default()
            };
            assert_eq!(exit(&status, true), expected);
            let told = json(&status, true);
            assert_eq!(told["index_damaged"], index_damaged);
            assert_eq!(told["index_failure"], index_failure);
            for (lang, word) in [Lang::Zh, Lang::En].into_iter().zip(words) {
                let text = text(&status, true, lang);
                assert!(text.contains(word) && text.contains(index_failure), "{text}");
            }
        }
        check(false, "", Exit::Done, ["正常", "sound"]);
        check(false, "disk full", Exit::Internal, ["写不进去", "cannot be written"]);
        check(true, "a row differs", Exit::Damaged, ["损坏", "damaged"]);
    }

    #[test]
    fn both_forms_name_the_site_and_its_counts() {
        let status = StatusResponse {
            site: 440_100,
            counts: vec![liandong_proto::pb::node::v1::KindCount { kind: 1, records: 7 }],
            ..StatusResponse::default()
        };
        assert_eq!(json(&status, false)["site"], "440100");
        assert_eq!(json(&status, false)["records"]["member"], 7);
        let text = text(&status, false, Lang::Zh);
        assert!(text.contains("广州市 440100") && text.contains("会员"), "{text}");
    }
}
