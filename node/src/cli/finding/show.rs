//! `finding show`: the finding, and of each record it names the value shown and the value held.

use bytes::Bytes;
use liandong_proto::fields::Fields;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::log::v1::HeldValue;
use liandong_proto::pb::record::v1::FindingSubject;
use liandong_proto::schema::{self, Kind};
use serde_json::{Value, json};

use super::{decode, kind, subject_text};
use crate::cli::door::Door;
use crate::cli::exit::{Exit, Failure};
use crate::cli::record::{find, id_of, id_text, reason_text, record_json};
use crate::cli::screen::Screen;
use crate::cli::table::{moment, pairs};
use crate::json::{site_text, to_json, to_text};

/// Arguments of `finding show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// 核对事项的编号 · Id of the finding
    pub id: String,
}

/// What this site knows of one subject.
struct Subject {
    kind: &'static Kind,
    /// Fields of the group that it is about, as they are shown now.
    shown: Bytes,
    changed_at_ms: u64,
    held: Option<HeldValue>,
}

pub(super) async fn run(door: &Door, args: &ShowArgs, screen: &Screen) -> Result<Exit, Failure> {
    let (_, record) = find(door, Some(kind()), id_of(&args.id)?).await?;
    let finding = decode(&record)?;
    let mut subjects = Vec::new();
    for subject in &finding.subjects {
        subjects.push((subject, look_up(door, subject).await?));
    }
    let mut json = record_json(kind(), &record)?;
    json["subjects"] =
        subjects.iter().map(|(subject, known)| subject_json(subject, known.as_ref())).collect();
    screen.answer(&json, || {
        let fields = to_text(kind(), record.fields.clone(), screen.lang).unwrap_or_default();
        let head = fields.iter().filter(|(field, _)| field.name != "subjects");
        let mut out = pairs(head.map(|(field, value)| (screen.of(field.label), value.clone())));
        for (subject, known) in &subjects {
            out.push_str(&format!(
                "\n{}\n{}",
                subject_text(subject, screen),
                known_text(known.as_ref(), screen)
            ));
        }
        out
    })?;
    Ok(Exit::Done)
}

/// The subject's record, when this site has it.
async fn look_up(door: &Door, subject: &FindingSubject) -> Result<Option<Subject>, Failure> {
    let Some(kind) = schema::kind(subject.kind) else { return Ok(None) };
    let request = door.caller().get(kind.number, subject.record.clone());
    let record = match door.records().get(request).await {
        Ok(record) => record.into_inner(),
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
        Err(status) => return Err(status.into()),
    };
    let group = kind.field(subject.field).map_or(&[][..], |field| field.group);
    let is_in_group = |tag: u32| group.is_empty() || group.contains(&tag);
    let shown =
        Fields::split(record.fields.clone()).unwrap_or_default().filtered(is_in_group).bytes().clone();
    let is_meant = |held: &HeldValue| {
        let by = held.by.unwrap_or_default();
        held.tag == subject.field
            && held.site == subject.site
            && by.seq == subject.seq
            && held.epoch == subject.epoch
    };
    let held = record.held.iter().find(|held| is_meant(held)).cloned();
    Ok(Some(Subject { kind, shown, changed_at_ms: record.stamp >> 16, held }))
}

fn subject_json(subject: &FindingSubject, known: Option<&Subject>) -> Value {
    let kind = schema::kind(subject.kind);
    let field = kind.and_then(|kind| kind.field(subject.field));
    let held = known.and_then(|known| Some((known, known.held.as_ref()?)));
    json!({
        "kind": kind.map(|kind| kind.name),
        "record": id_text(&subject.record),
        "field": field.map(|field| field.name),
        "site": SiteCode(subject.site).to_string(),
        "seq": subject.seq,
        "shown": known.map(|known| to_json(known.kind, known.shown.clone()).unwrap_or_default()),
        "held": held.map(|(known, held)| to_json(known.kind, held.set.clone()).unwrap_or_default()),
        "held_at_ms": held.map(|(_, held)| held.by.unwrap_or_default().stamp >> 16),
        "reason": held.map(|(_, held)| held.reason().as_str_name().trim_start_matches("REASON_").to_owned()),
    })
}

fn known_text(known: Option<&Subject>, screen: &Screen) -> String {
    let say = |zh: &'static str, en: &'static str| screen.lang.pick(zh, en);
    let Some(known) = known else {
        return format!("    {}\n", say("本站点没有这条记录", "this site does not have the record"));
    };
    let values = |fields: &Bytes| {
        let values = to_text(known.kind, fields.clone(), screen.lang).unwrap_or_default();
        let values: Vec<String> =
            values.iter().map(|(field, value)| format!("{} {value}", screen.of(field.label))).collect();
        if values.is_empty() { say("（空）", "(empty)").to_owned() } else { values.join(say("，", ", ")) }
    };
    let mut lines = vec![(
        say("    现值", "    shown"),
        format!("{}  {}", values(&known.shown), moment(known.changed_at_ms)),
    )];
    match &known.held {
        Some(held) => {
            let (by, at) =
                (site_text(SiteCode(held.site), screen.lang), held.by.unwrap_or_default().stamp >> 16);
            lines.push((
                say("    未采用", "    held"),
                format!("{}  {by}  {}", values(&held.set), moment(at)),
            ));
            lines.push((say("    原因", "    because"), screen.of(reason_text(held.reason())).to_owned()));
        }
        None => lines.push((say("    未采用", "    held"), say("（已处理）", "(settled)").to_owned())),
    }
    pairs(lines)
}
