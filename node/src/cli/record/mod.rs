//! `record …`: what a site knows, one command per file. The same at node and hub.

mod delete;
mod erase;
mod history;
mod list;
mod put;
mod show;

use bytes::Bytes;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::log::v1::{HeldValue, Reason};
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{self, Kind, Text};
use serde_json::{Value, json};

use super::door::Door;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use crate::caller::Caller;
use crate::json::{kind_named, to_json};
use crate::say;

/// What to do with records.
#[derive(Debug, clap::Subcommand)]
pub enum RecordCommand {
    /// 列出一类记录 · List the records of a kind
    List(list::ListArgs),
    /// 查看一条记录 · Show one record
    Show(show::ShowArgs),
    /// 新建或修改记录 · Make or change records
    Put(put::PutArgs),
    /// 删除一条记录 · Delete a record
    Delete(delete::DeleteArgs),
    /// 彻底删除：各处内容全部清除，无法撤销 · Erase for good, wherever it is held; cannot be undone
    Erase(erase::EraseArgs),
    /// 彻底删除的记录及各持有方的证明 · What was erased, and who has proved it
    Erasures,
    /// 谁在何时改了什么 · Who changed what, and when
    History(history::HistoryArgs),
}

/// Runs one of them.
///
/// # Errors
/// [`Failure`].
pub async fn run(
    door: &Door,
    command: RecordCommand,
    author: &str,
    screen: &Screen,
) -> Result<Exit, Failure> {
    match command {
        RecordCommand::List(args) => list::run(door, &args, screen).await,
        RecordCommand::Show(args) => show::run(door, &args, screen).await,
        RecordCommand::Put(args) => put::run(door, &args, author, screen).await,
        RecordCommand::Delete(args) => delete::run(door, &args, author, screen).await,
        RecordCommand::Erase(args) => erase::run(door, &args, author, screen).await,
        RecordCommand::Erasures => erase::list(door, screen).await,
        RecordCommand::History(args) => history::run(door, &args, screen).await,
    }
}

/// The kind that a flag names.
///
/// # Errors
/// The kinds that there are.
pub fn kind_of(name: &str) -> Result<&'static Kind, Failure> {
    kind_named(name).ok_or_else(|| {
        let names: Vec<String> =
            schema::kinds().iter().map(|kind| format!("{} {}", kind.name, kind.title.zh)).collect();
        let names = names.join(", ");
        Failure::usage(say!(
            "没有“{name}”这类记录；有：{names}",
            "there is no kind of record \"{name}\"; there are: {names}"
        ))
    })
}

/// The id that an argument names.
///
/// # Errors
/// When it is none.
pub fn id_of(text: &str) -> Result<RecordId, Failure> {
    text.parse().map_err(|_| {
        Failure::usage(say!(
            "“{text}”不是记录编号；编号类似 01890a5d-ac96-774b-bcce-b302099a8057，可用 record list 查看",
            "\"{text}\" is no record's id; one looks like 01890a5d-ac96-774b-bcce-b302099a8057, see record \
             list"
        ))
    })
}

/// A record of a kind, or of whatever kind has that id.
///
/// # Errors
/// When there is none.
pub async fn find(
    door: &Door,
    kind: Option<&'static Kind>,
    id: RecordId,
) -> Result<(&'static Kind, pb::Record), Failure> {
    find_for(door, kind, id, door.caller()).await
}

/// The same for a command that says by itself what it reads for.
///
/// # Errors
/// When there is none.
pub async fn find_for(
    door: &Door,
    kind: Option<&'static Kind>,
    id: RecordId,
    caller: &Caller,
) -> Result<(&'static Kind, pb::Record), Failure> {
    let mut records = door.records();
    let kinds: Vec<&'static Kind> = kind.map_or_else(|| schema::kinds().iter().collect(), |kind| vec![kind]);
    for kind in kinds {
        let request = caller.get(kind.number, Bytes::copy_from_slice(&id.0));
        match records.get(request).await {
            Ok(record) => return Ok((kind, record.into_inner())),
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
    }
    Err(tonic::Status::not_found("no such record").into())
}

/// A record id of a message.
pub fn id_text(id: &[u8]) -> String {
    RecordId::from_slice(id).map_or_else(String::new, |id| id.to_string())
}

/// Fields that cannot be read as the kind's message.
pub fn unreadable(id: &[u8]) -> Failure {
    let id = id_text(id);
    Failure {
        exit: Exit::Damaged,
        said: say!(
            "记录 {id} 的内容无法读取；请运行 verify",
            "the content of record {id} cannot be read; run verify"
        ),
    }
}

/// A record for programs.
///
/// # Errors
/// When its fields are not the kind's message.
pub fn record_json(kind: &'static Kind, record: &pb::Record) -> Result<Value, Failure> {
    let fields = to_json(kind, record.fields.clone()).map_err(|_| unreadable(&record.record))?;
    let held: Vec<Value> = record.held.iter().map(|held| held_json(kind, held)).collect();
    Ok(json!({
        "kind": kind.name,
        "id": id_text(&record.record),
        "version": record.version,
        "home": SiteCode(record.home).to_string(),
        "changed_at_ms": record.stamp >> 16,
        "deleted": record.deleted,
        "erased": record.erased,
        "incomplete": record.incomplete,
        "unsynced": record.unsynced,
        "held": held,
        "fields": fields,
    }))
}

fn held_json(kind: &'static Kind, held: &HeldValue) -> Value {
    let by = held.by.unwrap_or_default();
    let names = |tags: &[u32]| -> Vec<String> {
        let name =
            |tag: &u32| kind.field(*tag).map_or_else(|| tag.to_string(), |field| field.name.to_owned());
        tags.iter().map(name).collect()
    };
    json!({
        "reason": held.reason().as_str_name().trim_start_matches("REASON_"),
        "field": kind.field(held.tag).map(|field| field.name),
        "site": SiteCode(held.site).to_string(),
        "changed_at_ms": by.stamp >> 16,
        "hub_seq": by.hub_seq,
        "set": to_json(kind, held.set.clone()).unwrap_or_default(),
        "cleared": names(&held.cleared),
    })
}

/// Why a value is held, for people.
pub fn reason_text(reason: Reason) -> Text {
    match reason {
        Reason::Unspecified => Text { zh: "原因不明", en: "for a reason this version does not know" },
        Reason::Concurrent => Text { zh: "与另一处同时修改", en: "changed in two places at once" },
        Reason::NotOwner => Text { zh: "不归填写方填写", en: "not the writer's to change" },
        Reason::StepNotAllowed => Text { zh: "状态不能这样变更", en: "the status cannot go there" },
        Reason::Invalid => Text { zh: "不符合要求", en: "not valid" },
        Reason::Equal => Text { zh: "与显示的值相同", en: "the same as what is shown" },
        Reason::RawValue => Text {
            zh: "含有不得上报的原始值，已丢弃",
            en: "held a raw value that must not travel; dropped",
        },
        Reason::Unreadable => Text { zh: "无法读取", en: "cannot be read" },
    }
}

/// What a site answered about a change, for programs.
fn result_json(result: &pb::PutResult) -> Value {
    let problems: Vec<Value> = result.problems.iter().map(problem_json).collect();
    json!({
        "id": id_text(&result.record),
        "version": result.version,
        "unchanged": result.unchanged,
        "problems": problems,
    })
}

/// A problem for programs.
pub fn problem_json(problem: &pb::Problem) -> Value {
    json!({ "field": problem.field, "code": problem.code, "zh": problem.zh, "en": problem.en })
}

/// How a command ends that met these problems: someone else's change wants a look, anything else wants
/// mending.
fn exit_of(problems: &[pb::Problem]) -> Exit {
    match problems {
        [] => Exit::Done,
        problems if problems.iter().all(|problem| problem.code == "record.version") => Exit::Review,
        _ => Exit::Data,
    }
}

/// Problems as lines.
fn problem_lines(problems: &[pb::Problem], screen: &Screen) -> String {
    let lines: Vec<&str> =
        problems.iter().map(|problem| screen.lang.pick(problem.zh.as_str(), problem.en.as_str())).collect();
    lines.join("\n  ")
}
