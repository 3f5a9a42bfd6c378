//! What `takeover` says.

use liandong_proto::pb::sync::v1::refusal::Code;
use liandong_proto::schema::{self, Text};
use serde_json::{Value, json};

use crate::cli::exit::{Exit, Failure};
use crate::say;
use crate::site::{Both, TakenOver};
use crate::text::{Said, counted};
use crate::uplink::UplinkError;

/// So many records are named to people; all of them in JSON.
const NAMED: usize = 20;

/// The answer's figures.
pub fn json_of(told: &TakenOver, done: bool) -> Value {
    let both = told.both.iter().map(|((kind, record), tags)| {
        let fields: Vec<&str> = tags.iter().map(|tag| field(*kind, *tag).0).collect();
        json!({ "kind": kind_name(*kind), "id": record.to_string(), "fields": fields })
    });
    json!({
        "done": done,
        "fetched": told.fetched,
        "again": told.again,
        "erased": told.erased,
        "changed_on_both_sides": both.collect::<Vec<_>>(),
    })
}

/// What it comes to, in a sentence.
pub fn comes_to(told: &TakenOver) -> Said {
    let (fetched, again, erased) = (told.fetched, told.again, told.erased);
    let (lacks, own, gone) =
        (counted(fetched, "change"), counted(again, "change"), counted(erased, "record"));
    let mut said = say!(
        "从枢纽取回 {fetched} 条本机没有的改动，在新一段日志中重新提交只有本机才有的 {again} 条",
        "{lacks} that this machine lacks come from the hub, and {own} that it alone has are made again"
    );
    if erased > 0 {
        said.zh.push_str(&format!("；{erased} 条记录已在别处删除，本机也将彻底删除"));
        said.en.push_str(&format!("; {gone} were erased elsewhere, and are erased here as well"));
    }
    said
}

/// Names what only the city sees and both sides have changed; `None` when there is nothing of that sort.
pub fn both(told: &TakenOver) -> Option<Said> {
    let line = |((kind, record), tags): &Both, zh: bool| {
        let names: Vec<&str> = tags
            .iter()
            .map(|tag| {
                let (name, label) = field(*kind, *tag);
                if zh { label.map_or(name, |label| label.zh) } else { name }
            })
            .collect();
        format!("\n  {} {record}：{}", kind_name(*kind), names.join(if zh { "、" } else { ", " }))
    };
    let all = |zh: bool| -> String { told.both.iter().take(NAMED).map(|it| line(it, zh)).collect() };
    if told.both.is_empty() {
        return None;
    }
    let (zh, en, more) = (all(true), all(false), told.both.len().saturating_sub(NAMED));
    let mut said = say!(
        "以下内容只在本市可见，两边都改过；现在显示的是本机的值，另一边的值在 record history 里，请逐条核对：{zh}",
        "what follows only the city sees, and both sides have changed it; what this machine had is shown, the other value \
         stands in record history: look at each of them{en}"
    );
    if more > 0 {
        said.zh.push_str(&format!("\n  另有 {more} 条，见 --json"));
        said.en.push_str(&format!("\n  and {more} more, see --json"));
    }
    Some(said)
}

fn kind_name(kind: u32) -> &'static str {
    schema::kind(kind).map_or("?", |kind| kind.name)
}

fn field(kind: u32, tag: u32) -> (&'static str, Option<Text>) {
    let field = schema::kind(kind).and_then(|kind| kind.field(tag));
    field.map_or(("?", None), |field| (field.name, Some(field.label)))
}

/// A certificate that is void or over: an invitation helps, and what this machine alone has stays.
pub fn join_again() -> Failure {
    let said = say!(
        "没有接管，没有改动：本机的证书已作废或过期；请向省协会索取新的邀请码，在本机运行 join，再运行 takeover，本机尚未上报的内容不会丢失",
        "nothing was taken over, nothing was changed: this machine's certificate is void or over; ask the province for a \
         fresh invitation, run join here, then takeover again: what this machine alone has is kept"
    );
    Failure { exit: Exit::Denied, said }
}

/// Why it did not come about, and what helps.
pub fn cut(error: &UplinkError) -> Failure {
    let (exit, why, next) = match error {
        UplinkError::Refused(refusal) if refusal.code() == Code::NotAMember => return join_again(),
        UplinkError::Refused(refusal) => (
            Exit::Denied,
            Said::new(refusal.zh.clone(), refusal.en.clone()),
            Text { zh: "之后请重新运行 takeover", en: "run takeover again then" },
        ),
        UplinkError::Site(error) => (
            Exit::Data,
            Said::new(error.to_string(), error.to_string()),
            Text {
                zh: "恢复密钥若已更换，本机打不开之后的内容：请保留本目录，用最新的恢复密钥在另一个空目录中 restore，再补录本机尚未上报的内容",
                en: "where the recovery key was replaced this machine does not open what came after: keep this directory, use \
                     restore in another, empty one with the newest recovery key, and enter again what had not been sent",
            },
        ),
        _ => (
            Exit::Unreachable,
            Said::new(error.to_string(), error.to_string()),
            Text { zh: "请检查网络后重试", en: "check the network and try again" },
        ),
    };
    let (Said { zh, en }, next_zh, next_en) = (why, next.zh, next.en);
    let said = say!(
        "没有接管，没有改动：{zh}；{next_zh}",
        "nothing was taken over, nothing was changed: {en}; {next_en}"
    );
    Failure { exit, said }
}
