//! `record history`.

use bytes::Bytes;
use liandong_proto::fields::Fields;
use liandong_proto::id::{SiteCode, hex};
use liandong_proto::pb::log::v1::Op;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{Kind, Share};
use serde_json::{Value, json};

use super::{find, id_of, kind_of, reason_text};
use crate::cli::door::Door;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::table::moment;
use crate::json::{site_text, to_json, to_text};

/// Arguments of `record history`.
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    /// 记录编号 · Id of the record
    pub id: String,
    /// 记录种类；不写则逐类查找 · Kind of record; all are searched unless given
    #[arg(long)]
    pub kind: Option<String>,
}

/// Shows every change of a record that this site knows of, newest last.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, args: &HistoryArgs, screen: &Screen) -> Result<Exit, Failure> {
    let kind = args.kind.as_deref().map(kind_of).transpose()?;
    let id = id_of(&args.id)?;
    let (kind, _) = find(door, kind, id).await?;
    let request = door.caller().get(kind.number, Bytes::copy_from_slice(&id.0));
    let items = door.records().history(request).await?.into_inner().items;
    let mut known = Fields::default();
    for item in &items {
        let set = Fields::split(item.set.clone()).unwrap_or_default();
        let news = if item.delivered { news(kind, &set, &known) } else { set.clone() };
        screen.answer(&item_json(kind, item), || text(kind, item, news.bytes(), screen))?;
        known = known.patched(&set, &item.cleared);
    }
    Ok(Exit::Done)
}

/// What a delivered state says that was not known. Tokens are never news to the city that made them.
fn news(kind: &'static Kind, state: &Fields, known: &Fields) -> Fields {
    let is_open = |tag| kind.field(tag).is_none_or(|field| field.share == Share::Open);
    state.filtered(|tag| is_open(tag) && state.get(tag) != known.get(tag))
}

fn field_name(kind: &'static Kind, tag: u32) -> String {
    kind.field(tag).map_or_else(|| tag.to_string(), |field| field.name.to_owned())
}

fn item_json(kind: &'static Kind, item: &pb::HistoryItem) -> Value {
    let verdicts: Vec<Value> = item
        .verdicts
        .iter()
        .map(|verdict| {
            let reason = verdict.reason().as_str_name().trim_start_matches("REASON_").to_owned();
            json!({ "field": kind.field(verdict.tag).map(|field| field.name), "reason": reason })
        })
        .collect();
    json!({
        "at_ms": item.stamp >> 16,
        "site": SiteCode(item.site).to_string(),
        "author": item.author,
        "seq": item.seq,
        "hub_seq": item.hub_seq,
        "op": item.op().as_str_name().trim_start_matches("OP_"),
        "set": to_json(kind, item.set.clone()).unwrap_or_default(),
        "cleared": item.cleared.iter().map(|tag| field_name(kind, *tag)).collect::<Vec<_>>(),
        "import_id": hex(&item.import_id),
        "verdicts": verdicts,
        "delivered": item.delivered,
    })
}

fn text(kind: &'static Kind, item: &pb::HistoryItem, set: &Bytes, screen: &Screen) -> String {
    let lang = screen.lang;
    let say = |zh: &'static str, en: &'static str| lang.pick(zh, en);
    let what = match (item.delivered, item.op()) {
        (true, Op::Put) => say("省级枢纽下发", "delivered by the hub"),
        (true, Op::Delete) => say("省级枢纽下发删除", "deletion delivered by the hub"),
        (false, Op::Put) => say("修改", "changed"),
        (false, Op::Delete) => say("删除", "deleted"),
        (_, Op::Erase) => say("彻底删除", "erased"),
    };
    let author = if item.author.is_empty() { "-" } else { &item.author };
    let mut out = format!(
        "{}  {}  {author}  {what}  #{}\n",
        moment(item.stamp >> 16),
        site_text(SiteCode(item.site), lang),
        if item.seq > 0 { item.seq } else { item.hub_seq }
    );
    for (field, value) in to_text(kind, set.clone(), lang).unwrap_or_default() {
        out.push_str(&format!("    {}{}{value}\n", screen.of(field.label), say("：", ": ")));
    }
    for field in item.cleared.iter().filter_map(|tag| kind.field(*tag)) {
        out.push_str(&format!("    {}{}\n", screen.of(field.label), say("：（清空）", ": (cleared)")));
    }
    for verdict in &item.verdicts {
        let field = kind.field(verdict.tag).map_or(screen.of(kind.title), |field| screen.of(field.label));
        out.push_str(&format!(
            "    {}{field}{}{}\n",
            say("未采用 ", "held "),
            say("：", ": "),
            screen.of(reason_text(verdict.reason()))
        ));
    }
    out
}
