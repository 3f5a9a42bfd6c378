//! `record list`.

use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{Field, Kind, Pii, Share, Type};

use super::{id_text, kind_of, record_json};
use crate::cli::door::Door;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::this_day;
use crate::cli::screen::Screen;
use crate::cli::table::Table;
use crate::json::{self, Scalar, shown};
use crate::say;

/// Columns of a list unless others are asked for.
const COLUMNS: usize = 5;
const PAGE: u32 = 500;

/// Flags of `record list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// 记录种类，如 member、会员 · Kind of record, such as member
    #[arg(long)]
    pub kind: String,
    /// 筛选：字段=值，可重复 · Only records with FIELD=VALUE, may be repeated
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub filters: Vec<String>,
    /// 显示哪些字段，用逗号分开 · Which fields to show, with commas
    #[arg(long, value_delimiter = ',', value_name = "FIELD,…")]
    pub fields: Vec<String>,
    /// 最多列出多少条，0 为全部 · At most so many, 0 for all
    #[arg(long, default_value_t = 100)]
    pub limit: u64,
    /// 包括已删除的 · Deleted ones as well
    #[arg(long)]
    pub deleted: bool,
}

/// Lists records, page by page.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, args: &ListArgs, screen: &Screen) -> Result<Exit, Failure> {
    let kind = kind_of(&args.kind)?;
    let columns = columns(kind, &args.fields)?;
    let filters = args.filters.iter().map(|filter| compile(kind, filter)).collect::<Result<_, _>>()?;
    let heads = columns.iter().map(|field| screen.of(field.label).to_owned());
    let mut table = Table::new([screen.lang.pick("编号", "id").to_owned()].into_iter().chain(heads));
    let mut request =
        pb::ListRequest { filters, deleted: args.deleted, ..door.caller().list(kind.number, PAGE) };
    let (mut listed, mut records) = (0, door.records());
    loop {
        let left = if args.limit == 0 { u64::MAX } else { args.limit - listed };
        request.page_size = left.min(u64::from(PAGE)) as u32;
        let page = records.list(request.clone()).await?.into_inner();
        for record in &page.records {
            listed += 1;
            if screen.json {
                screen.line(&record_json(kind, record)?.to_string())?;
            } else {
                let cells = columns.iter().map(|field| shown(kind, field.tag, &record.fields, screen.lang));
                table.row([id_text(&record.record)].into_iter().chain(cells));
            }
        }
        let is_last = page.next_page_token.is_empty();
        if is_last || (args.limit > 0 && listed >= args.limit) {
            if !screen.json {
                screen.line(table.render().trim_end())?;
            }
            if !is_last {
                screen.note(&say!(
                    "只列出了前 {listed} 条；用 --limit 0 列出全部，或用 --where 筛选",
                    "these are the first {listed}; list all with --limit 0, or narrow the list with --where"
                ));
            }
            return Ok(Exit::Done);
        }
        request.page_token = page.next_page_token;
    }
}

/// The fields that were asked for, or the first ones that do not lead straight to a person behind the name.
fn columns(kind: &'static Kind, asked: &[String]) -> Result<Vec<&'static Field>, Failure> {
    if !asked.is_empty() {
        return asked.iter().map(|name| field_of(kind, name.trim())).collect();
    }
    let is_shown = |field: &&Field| {
        let is_simple = !field.repeated && !matches!(field.ty, Type::Message(_) | Type::Bytes);
        let is_discreet = field.required || !matches!(field.pii, Pii::Direct | Pii::Sensitive);
        is_simple && is_discreet && field.share == Share::Open && Some(field.tag) != kind.status
    };
    let first = kind.fields.iter().filter(is_shown).take(COLUMNS);
    Ok(first.chain(kind.status.and_then(|tag| kind.field(tag))).collect())
}

pub(super) fn field_of(kind: &'static Kind, name: &str) -> Result<&'static Field, Failure> {
    let by_label = |field: &&Field| field.label.zh == name;
    kind.field_by_name(name).or_else(|| kind.fields.iter().find(by_label)).ok_or_else(|| {
        let names: Vec<&str> = kind.fields.iter().map(|field| field.name).collect();
        let names = names.join(", ");
        Failure::usage(say!(
            "没有字段“{name}”；有：{names}",
            "there is no field \"{name}\"; there are: {names}"
        ))
    })
}

fn compile(kind: &'static Kind, filter: &str) -> Result<pb::Filter, Failure> {
    // The argument may be a value with its name forgotten, so it is not repeated.
    let (name, text) = filter.split_once('=').ok_or_else(|| {
        Failure::usage(say!("--where 应写成 字段=值", "--where should be written as FIELD=VALUE"))
    })?;
    let field = field_of(kind, name.trim())?;
    // A text is looked for in its stored spelling; what cannot be spelt so is looked for as it is.
    let equals = match json::read(field, text, true, this_day()) {
        Ok(Some(Scalar::Text(stored))) => stored,
        Ok(Some(Scalar::Number(number))) if !matches!(field.ty, Type::Enum(_)) => number.to_string(),
        _ => text.trim().to_owned(),
    };
    Ok(pb::Filter { field: field.name.to_owned(), equals })
}
