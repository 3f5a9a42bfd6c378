//! A preview of what leaves, for people and for programs.

use liandong_proto::id::{RecordId, hex};
use liandong_proto::pb::log::v1::SharingRule;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{self, Field, Kind, Share, Type};
use liandong_proto::share::rules::share_of;
use pb::rule_change::Change;
use serde_json::{Map, Value, json};

use crate::cli::table::moment;
use crate::json::{to_json, to_text};
use crate::text::Lang;

/// How much of a token is shown: enough to see which key made it, and whether two are equal.
const TOKEN_SHOWN: usize = 18;

/// For programs.
pub fn json(preview: &pb::PreviewResponse) -> Value {
    let accepted = (preview.accepted_at_ms > 0).then(|| {
        json!({
            "at_ms": preview.accepted_at_ms,
            "author": preview.accepted_by,
            "unattended": preview.accepted_unattended,
        })
    });
    json!({
        "rules": hex(&preview.fingerprint),
        "accepted": preview.accepted,
        "last_accepted": accepted,
        "changes": preview.changes.iter().map(change_json).collect::<Vec<_>>(),
        "kinds": preview.kinds.iter().filter_map(|kind| kind_json(preview, kind)).collect::<Vec<_>>(),
    })
}

fn kind_json(preview: &pb::PreviewResponse, counted: &pb::OutboundKind) -> Option<Value> {
    let kind = schema::kind(counted.kind)?;
    let named = |share| fields(preview, kind, share).map(|field| field.name).collect::<Vec<_>>();
    Some(json!({
        "kind": kind.name,
        "waiting_changes": counted.waiting_changes,
        "waiting_records": counted.waiting_records,
        "records": counted.records,
        "withdrawn_records": counted.withdrawn_records,
        "fields": { "open": named(Share::Open), "token": named(Share::Token), "sealed": named(Share::Sealed) },
        "rows": counted.rows.iter().map(|row| row_json(kind, row)).collect::<Vec<_>>(),
    }))
}

fn row_json(kind: &Kind, row: &pb::OutboundRow) -> Value {
    let mut open = to_json(kind, row.open.clone()).unwrap_or_default();
    for field in kind.fields.iter().filter(|field| field.share == Share::Token) {
        if let Some(Value::String(token)) = open.get_mut(field.name) {
            *token = shortened(token);
        }
    }
    json!({
        "id": RecordId::from_slice(&row.record).unwrap_or_default().to_string(),
        "waiting": row.waiting,
        "deleted": row.deleted,
        "open": open,
        "sealed": names(kind, &row.sealed),
        "withdrawn": names(kind, &row.withdrawn),
    })
}

fn names(kind: &Kind, tags: &[u32]) -> Vec<&'static str> {
    tags.iter().filter_map(|tag| kind.field(*tag)).map(|field| field.name).collect()
}

fn change_json(change: &pb::RuleChange) -> Value {
    let rule = change.rule.clone().unwrap_or_default();
    let kind = schema::kind(rule.kind);
    let (field, part) = named(&rule);
    let mut out = Map::new();
    out.insert("change".into(), json!(change.change().as_str_name()));
    out.insert("kind".into(), json!(kind.map(|kind| kind.name)));
    out.insert("field".into(), json!(field.map(|field| field.name)));
    out.insert("part".into(), json!(part.map(|part| part.name)));
    out.insert("share".into(), json!(share_of(rule.share).map(word)));
    out.insert("consent".into(), json!(rule.consent));
    let before = change.before.as_ref();
    out.insert("share_before".into(), json!(before.and_then(|rule| share_of(rule.share)).map(word)));
    out.insert("consent_before".into(), json!(before.map(|rule| &rule.consent)));
    Value::Object(out)
}

fn word(share: Share) -> &'static str {
    match share {
        Share::Open => "OPEN",
        Share::Token => "TOKEN",
        Share::Sealed => "SEALED",
    }
}

/// The field of a rule, and the part of it where the rule is about one.
fn named(rule: &SharingRule) -> (Option<&'static Field>, Option<&'static Field>) {
    let field = schema::kind(rule.kind).and_then(|kind| kind.field(rule.tag));
    let parts = match field.map(|field| field.ty) {
        Some(Type::Message(name)) => schema::parts(name).unwrap_or_default(),
        _ => &[],
    };
    (field, parts.iter().find(|part| part.tag == rule.part))
}

/// The fields of a kind that travel in one way, by the rules that the site told.
fn fields(preview: &pb::PreviewResponse, kind: &Kind, share: Share) -> impl Iterator<Item = &'static Field> {
    let rules = preview.rules.iter().filter(move |rule| {
        rule.kind == kind.number && rule.part == 0 && share_of(rule.share) == Some(share)
    });
    rules.filter_map(|rule| named(rule).0)
}

/// For people.
pub fn text(preview: &pb::PreviewResponse, lang: Lang) -> String {
    let mut lines = vec![standing(preview, lang)];
    if !preview.changes.is_empty() {
        lines.push(lang.pick("与上次确认的不同：", "otherwise than what was accepted last:").to_owned());
        lines.extend(preview.changes.iter().map(|change| format!("  {}", change_text(change, lang))));
    }
    for counted in &preview.kinds {
        if let Some(kind) = schema::kind(counted.kind) {
            kind_text(preview, kind, counted, lang, &mut lines);
        }
    }
    lines.join("\n")
}

fn standing(preview: &pb::PreviewResponse, lang: Lang) -> String {
    let rules = hex(&preview.fingerprint[..8.min(preview.fingerprint.len())]);
    let (at, by) = (moment(preview.accepted_at_ms), &preview.accepted_by);
    match (preview.accepted, preview.accepted_unattended) {
        (false, _) => lang.pick(
            format!("共享规则 {rules} 还没有确认：什么都不发送；确认请运行 outbound accept"),
            format!("the sharing rules {rules} are not accepted: nothing is sent; accept them with outbound accept"),
        ),
        (true, false) => lang.pick(
            format!("共享规则 {rules} 已于 {at} 由 {by} 确认"),
            format!("the sharing rules {rules} were accepted at {at} by {by}"),
        ),
        (true, true) => lang.pick(
            format!("共享规则 {rules} 于 {at} 按无人值守的设置放行"),
            format!("the sharing rules {rules} were accepted at {at} by the setting for unattended installs"),
        ),
    }
}

fn change_text(change: &pb::RuleChange, lang: Lang) -> String {
    let rule = change.rule.clone().unwrap_or_default();
    let kind =
        schema::kind(rule.kind).map_or_else(|| rule.kind.to_string(), |kind| lang.of(kind.title).to_owned());
    let (field, part) = named(&rule);
    let field = field.map_or_else(|| rule.tag.to_string(), |field| lang.of(field.label).to_owned());
    let part = part.map(|part| format!(" / {}", lang.of(part.label))).unwrap_or_default();
    let now = how_far(&rule, lang);
    let before = change.before.as_ref().map(|rule| how_far(rule, lang)).unwrap_or_default();
    let what = match change.change() {
        Change::New => lang.pick(format!("新增，{now}"), format!("new, {now}")),
        Change::Further => lang
            .pick(format!("传得更远：原为{before}，现为{now}"), format!("further: was {before}, is {now}")),
        Change::Less => lang
            .pick(format!("传得更近：原为{before}，现为{now}"), format!("less far: was {before}, is {now}")),
        Change::Gone => lang.pick("已没有这个字段".to_owned(), "there is no such field any more".to_owned()),
        Change::Unspecified => String::new(),
    };
    format!("{kind} · {field}{part}{}{what}", lang.pick("：", ": "))
}

fn how_far(rule: &SharingRule, lang: Lang) -> String {
    let share = share_of(rule.share).map(|share| class(share, lang)).unwrap_or_default();
    match rule.consent.as_str() {
        "" => share.to_owned(),
        group => lang.pick(
            format!("{share}（撤回同意即密封：{group}）"),
            format!("{share} (sealed without consent: {group})"),
        ),
    }
}

fn class(share: Share, lang: Lang) -> &'static str {
    match share {
        Share::Open => lang.pick("原值", "open"),
        Share::Token => lang.pick("令牌", "token"),
        Share::Sealed => lang.pick("密封", "sealed"),
    }
}

fn kind_text(
    preview: &pb::PreviewResponse,
    kind: &'static Kind,
    counted: &pb::OutboundKind,
    lang: Lang,
    lines: &mut Vec<String>,
) {
    let pb::OutboundKind { waiting_changes: changes, waiting_records: waiting, records, .. } = counted;
    let title = lang.of(kind.title);
    lines.push(lang.pick(
        format!("{title}：待发送 {changes} 项改动，涉及 {waiting} 条记录；本站点共 {records} 条"),
        format!("{title}: changes to send {changes}, of records {waiting}; all records here {records}"),
    ));
    for share in [Share::Open, Share::Token, Share::Sealed] {
        let labels: Vec<&str> = fields(preview, kind, share).map(|field| lang.of(field.label)).collect();
        if !labels.is_empty() {
            let labels = labels.join(lang.pick("、", ", "));
            lines.push(format!("  {}{}{labels}", class(share, lang), lang.pick("：", ": ")));
        }
    }
    let bound: Vec<&str> = fields(preview, kind, Share::Open)
        .chain(fields(preview, kind, Share::Token))
        .filter(|field| !field.consent.is_empty())
        .map(|field| lang.of(field.label))
        .collect();
    if !bound.is_empty() {
        let (labels, records) = (bound.join(lang.pick("、", ", ")), counted.withdrawn_records);
        lines.push(lang.pick(
            format!("  撤回同意即密封：{labels}；已撤回的有 {records} 条记录"),
            format!("  sealed once consent is withdrawn: {labels}; records with a withdrawal {records}"),
        ));
    }
    for row in &counted.rows {
        row_text(kind, row, lang, lines);
    }
}

fn row_text(kind: &'static Kind, row: &pb::OutboundRow, lang: Lang, lines: &mut Vec<String>) {
    let id = RecordId::from_slice(&row.record).unwrap_or_default();
    let what = match (row.deleted, row.waiting) {
        (true, _) => lang.pick("删除", "deleted"),
        (false, true) => lang.pick("待发送", "to be sent"),
        (false, false) => lang.pick("如现在写入", "if it were written now"),
    };
    lines.push(format!("  {id}  {what}"));
    for (field, value) in to_text(kind, row.open.clone(), lang).unwrap_or_default() {
        let value = if field.share == Share::Token { shortened(&value) } else { value };
        lines.push(format!("    {}  {value}", lang.of(field.label)));
    }
    for field in row.sealed.iter().filter_map(|tag| kind.field(*tag)) {
        let word = match (row.withdrawn.contains(&field.tag), field.share) {
            (true, _) => lang.pick("密封，同意已撤回", "sealed, consent withdrawn"),
            (false, Share::Token) => lang.pick("号码本身密封", "the number itself sealed"),
            (false, _) => lang.pick("密封", "sealed"),
        };
        lines.push(format!("    {}  {word}", lang.of(field.label)));
    }
}

fn shortened(token: &str) -> String {
    match token.char_indices().nth(TOKEN_SHOWN) {
        Some((at, _)) => format!("{}…", &token[..at]),
        None => token.to_owned(),
    }
}
