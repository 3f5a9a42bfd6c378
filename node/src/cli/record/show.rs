//! `record show`.

use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::Kind;

use super::{find, id_of, id_text, kind_of, reason_text, record_json, unreadable};
use crate::cli::door::Door;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::table::{moment, pairs};
use crate::json::{site_text, to_text};

/// Arguments of `record show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// 记录编号 · Id of the record
    pub id: String,
    /// 记录种类；不写则逐类查找 · Kind of record; all are searched unless given
    #[arg(long)]
    pub kind: Option<String>,
}

/// Shows a record with everything this site may see of it.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, args: &ShowArgs, screen: &Screen) -> Result<Exit, Failure> {
    let kind = args.kind.as_deref().map(kind_of).transpose()?;
    let (kind, record) = find(door, kind, id_of(&args.id)?).await?;
    let text = text(kind, &record, screen)?;
    screen.answer(&record_json(kind, &record)?, || text)?;
    Ok(Exit::Done)
}

/// A record for people.
///
/// # Errors
/// When its fields are not the kind's message.
fn text(kind: &'static Kind, record: &pb::Record, screen: &Screen) -> Result<String, Failure> {
    let lang = screen.lang;
    let say = |zh: &'static str, en: &'static str| lang.pick(zh, en);
    let mut lines = vec![
        (say("编号", "id"), id_text(&record.record)),
        (say("种类", "kind"), screen.of(kind.title).to_owned()),
        (say("归属", "home"), site_text(SiteCode(record.home), lang)),
        (say("版本", "version"), record.version.clone()),
        (say("最近修改", "changed"), moment(record.stamp >> 16)),
    ];
    let remarks = [
        (record.deleted && !record.erased, say("已删除", "deleted")),
        (record.erased, say("已彻底删除", "erased for good")),
        (
            record.incomplete,
            say("不完整：必填项缺失或待处理", "incomplete: a required field is absent or held"),
        ),
        (record.unsynced, say("有修改尚未上报", "changes not yet sent up")),
    ];
    let remarks: Vec<&str> = remarks.iter().filter(|(is, _)| *is).map(|(_, text)| *text).collect();
    if !remarks.is_empty() {
        lines.push((say("备注", "remarks"), remarks.join(say("；", "; "))));
    }
    let mut out = pairs(lines) + "\n";
    let fields = to_text(kind, record.fields.clone(), lang).map_err(|_| unreadable(&record.record))?;
    out.push_str(&pairs(fields.iter().map(|(field, value)| (screen.of(field.label), value.clone()))));
    for held in &record.held {
        let by = site_text(SiteCode(held.site), lang);
        let at = moment(held.by.unwrap_or_default().stamp >> 16);
        let values = to_text(kind, held.set.clone(), lang).unwrap_or_default();
        let values = values.iter().map(|(field, value)| format!("{} {value}", screen.of(field.label)));
        let cleared = held.cleared.iter().filter_map(|tag| kind.field(*tag));
        let cleared =
            cleared.map(|field| format!("{} {}", screen.of(field.label), say("（清空）", "(cleared)")));
        let values = values.chain(cleared).collect::<Vec<_>>().join(say("，", ", "));
        let why = screen.of(reason_text(held.reason()));
        out.push_str(&format!(
            "\n{}{values}\n  {why}{}{by}{}{at}\n",
            say("未采用：", "held: "),
            say("；", "; "),
            say("，", ", ")
        ));
    }
    Ok(out)
}
