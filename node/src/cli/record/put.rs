//! `record put`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{self, Kind};
use serde_json::{Map, Value, json};

use super::{exit_of, id_of, id_text, kind_of, problem_json, problem_lines, result_json};
use crate::cli::door::Door;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::this_day;
use crate::cli::screen::Screen;
use crate::json::{Patch, from_json, from_texts};
use crate::say;

/// Flags of `record put`.
#[derive(Debug, clap::Args)]
pub struct PutArgs {
    /// 记录种类，如 member、会员 · Kind of record, such as member
    #[arg(long)]
    pub kind: Option<String>,
    /// 要修改的记录编号；不写则新建 · Id of the record to change; a new one is made unless given
    #[arg(long)]
    pub id: Option<String>,
    /// 设定字段，可重复；列表和多部分的值写成 JSON · Set a field, may be repeated; lists and parts as JSON
    #[arg(long, value_name = "FIELD=VALUE")]
    pub set: Vec<String>,
    /// 清空字段，可重复 · Clear a field, may be repeated
    #[arg(long, value_name = "FIELD")]
    pub clear: Vec<String>,
    /// 从 JSON 文件读取，- 为标准输入；可以是 record show --json 的输出 · Read JSON, - for stdin; may come from record show
    /// --json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["set", "clear"])]
    pub file: Option<PathBuf>,
    /// 只在记录仍是这一版本时修改 · Only while the record still has this version
    #[arg(long, value_name = "VERSION")]
    pub expect: Option<String>,
    /// 值相同也写入，表示确认 · Write even what already is so, to confirm it
    #[arg(long)]
    pub touch: bool,
    /// 只检查，不写入 · Check only, write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Makes or changes records.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, args: &PutArgs, author: &str, screen: &Screen) -> Result<Exit, Failure> {
    let puts = match read(args) {
        Ok(puts) => puts,
        Err(NotRead::Failure(failure)) => return Err(failure),
        Err(NotRead::Problems(problems)) => {
            let json = json!({ "problems": problems.iter().map(problem_json).collect::<Vec<_>>() });
            screen.answer(&json, || refused(&problems, screen))?;
            return Ok(exit_of(&problems));
        }
    };
    for put in &puts {
        check_is_there(door, put).await?;
    }
    let request = pb::PutRequest {
        puts,
        author: author.to_owned(),
        dry_run: args.dry_run,
        ..pb::PutRequest::default()
    };
    let results = door.records().put(request).await?.into_inner().results;
    let mut worst = Exit::Done;
    for result in &results {
        screen.answer(&result_json(result), || text(result, args.dry_run, screen))?;
        worst = match (worst, exit_of(&result.problems)) {
            (Exit::Done, exit) | (Exit::Review, exit @ Exit::Data) => exit,
            (worst, _) => worst,
        };
    }
    Ok(worst)
}

/// An id that nobody has is a slip of the hand; the site would make a new record of it.
async fn check_is_there(door: &Door, put: &pb::Put) -> Result<(), Failure> {
    if put.record.is_empty() {
        return Ok(());
    }
    let request = door.caller().doing("put").get(put.kind, put.record.clone());
    match door.records().get(request).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == tonic::Code::NotFound => {
            let (id, title) = (id_text(&put.record), schema::kind(put.kind).map(|kind| kind.title));
            let (zh, en) = title.map_or(("记录", "record".into()), |t| (t.zh, t.en.to_lowercase()));
            Err(Failure::data(say!(
                "没有编号为 {id} 的{zh}，没有保存；请用 record list 核对编号，要新建就不要写编号（--id）",
                "there is no {en} {id}, nothing was saved; check the id with record list, or leave --id out to \
                 make a new one"
            )))
        }
        Err(status) => Err(status.into()),
    }
}

fn text(result: &pb::PutResult, dry_run: bool, screen: &Screen) -> String {
    if !result.problems.is_empty() {
        return refused(&result.problems, screen);
    }
    let (id, version) = (id_text(&result.record), &result.version);
    let said = match (result.unchanged, dry_run) {
        (true, _) => say!("{id} 没有变化，版本 {version}", "{id} is as it was, version {version}"),
        (false, true) => {
            say!("可以保存（只检查，没有写入）", "would be saved (checked only, nothing was written)")
        }
        (false, false) => say!("已保存 {id}，版本 {version}", "saved {id}, version {version}"),
    };
    said.in_lang(screen.lang).to_owned()
}

fn refused(problems: &[pb::Problem], screen: &Screen) -> String {
    let lines = problem_lines(problems, screen);
    let said = say!("没有保存：\n  {lines}", "not saved:\n  {lines}");
    said.in_lang(screen.lang).to_owned()
}

enum NotRead {
    Failure(Failure),
    Problems(Vec<pb::Problem>),
}

impl From<Failure> for NotRead {
    fn from(failure: Failure) -> NotRead {
        NotRead::Failure(failure)
    }
}

fn read(args: &PutArgs) -> Result<Vec<pb::Put>, NotRead> {
    let Some(path) = &args.file else {
        let kind = kind_of(args.kind.as_deref().ok_or_else(|| no_kind("--set"))?)?;
        let sets = args.set.iter().zip(1..).map(|(set, n)| {
            let pair = set.split_once('=').map(|(name, text)| (name.trim().to_owned(), text.to_owned()));
            // The argument may be a value with its name forgotten, so it is not repeated.
            pair.ok_or_else(|| {
                Failure::usage(say!(
                    "第 {n} 个 --set 应写成 字段=值",
                    "--set number {n} should be written as FIELD=VALUE"
                ))
            })
        });
        let sets = sets.collect::<Result<Vec<_>, Failure>>()?;
        let patch = from_texts(kind, &sets, &args.clear, this_day()).map_err(NotRead::Problems)?;
        return Ok(vec![put(kind, patch, args.id.as_deref(), args.expect.as_deref(), args.touch)?]);
    };
    let objects = match parse(path)? {
        Value::Array(values) => values,
        value => vec![value],
    };
    objects.iter().map(|object| of_object(object, args)).collect()
}

/// One object of a file: fields alone, or what `record show --json` prints.
fn of_object(object: &Value, args: &PutArgs) -> Result<pb::Put, NotRead> {
    let object = object.as_object().ok_or_else(|| {
        Failure::data(say!(
            "JSON 文件里应是对象，或对象的列表",
            "the file should hold an object, or a list of objects"
        ))
    })?;
    let wrapped = object.get("fields").and_then(Value::as_object).filter(|_| object.contains_key("kind"));
    let text = |name: &str| wrapped.and_then(|_| object.get(name)).and_then(Value::as_str);
    let named = args.kind.as_deref().or(text("kind"));
    let kind = kind_of(named.ok_or_else(|| no_kind("--file"))?)?;
    let fields: &Map<String, Value> = wrapped.unwrap_or(object);
    let patch = from_json(kind, fields, this_day()).map_err(NotRead::Problems)?;
    let expect = args.expect.as_deref().or(text("version"));
    Ok(put(kind, patch, args.id.as_deref().or(text("id")), expect, args.touch)?)
}

fn put(
    kind: &'static Kind,
    patch: Patch,
    id: Option<&str>,
    expect: Option<&str>,
    touch: bool,
) -> Result<pb::Put, Failure> {
    let record = id.map(id_of).transpose()?.map(|id| Bytes::copy_from_slice(&id.0)).unwrap_or_default();
    Ok(pb::Put {
        kind: kind.number,
        record,
        set: patch.set,
        cleared: patch.cleared,
        expected_version: expect.unwrap_or_default().to_owned(),
        touch,
    })
}

fn parse(path: &Path) -> Result<Value, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|content| text = content)
    };
    read.map_err(|error| Failure::file(path, &error))?;
    serde_json::from_str(text.trim_start_matches('\u{FEFF}')).map_err(|error| {
        // The parser's own words could quote the text.
        let (line, column) = (error.line(), error.column());
        Failure::data(say!(
            "JSON 写法有误：第 {line} 行第 {column} 个字符处；没有保存",
            "not valid JSON at line {line}, column {column}; nothing was saved"
        ))
    })
}

fn no_kind(flag: &str) -> Failure {
    Failure::usage(say!(
        "请用 --kind 说明记录种类，如 --kind member（{flag}）",
        "say which kind of record with --kind, such as --kind member ({flag})"
    ))
}
