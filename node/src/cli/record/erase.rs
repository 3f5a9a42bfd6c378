//! `record erase` and `record erasures`: for good, and who has proved it.

use bytes::Bytes;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::log::v1::ErasureProof;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema;
use serde_json::{Value, json};

use super::{find, id_of, id_text, kind_of};
use crate::cli::ask::sure;
use crate::cli::door::Door;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::table::{Table, moment};
use crate::json::site_text;
use crate::say;

/// Arguments of `record erase`.
#[derive(Debug, clap::Args)]
pub struct EraseArgs {
    /// 记录编号，可写多个 · Ids of the records
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// 记录种类；不写则逐类查找 · Kind of record; all are searched unless given
    #[arg(long)]
    kind: Option<String>,
    /// 理由，如“本人申请”；不要写姓名 · Why, such as "asked for by the person"; do not name anybody
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// 不再询问 · Do not ask
    #[arg(long)]
    yes: bool,
}

/// Erases records.
///
/// # Errors
/// [`Failure`]; where one of the records is another's, nothing was erased.
pub(super) async fn run(
    door: &Door,
    args: &EraseArgs,
    author: &str,
    screen: &Screen,
) -> Result<Exit, Failure> {
    let wanted = args.kind.as_deref().map(kind_of).transpose()?;
    let ids = args.ids.iter().map(|id| id_of(id)).collect::<Result<Vec<_>, _>>()?;
    let (kind, _) = find(door, wanted, ids[0]).await?;
    for id in &ids[1..] {
        find(door, Some(kind), *id).await?;
    }
    let records = ids.len();
    let what = say!(
        "将彻底删除 {records} 条记录：本站点、省级枢纽和其他持有方的全部内容和历史值都会清除，无法撤销，备份恢复后也会再次删除。\n\
         若只是不再使用，请用 record delete。",
        "This erases {records} records: everything held of them, past values included, here, at the hub and at every other \
         holder. It cannot be undone, and comes again after a backup is restored. To put a record away, use record delete."
    );
    sure(args.yes, &what, screen)?;
    let request = pb::EraseRequest {
        kind: kind.number,
        records: ids.iter().map(|id| Bytes::copy_from_slice(&id.0)).collect(),
        author: author.to_owned(),
        reason: args.reason.clone(),
    };
    let answer = door.records().erase(request).await?.into_inner();
    let json = json!({
        "erased": answer.erased.iter().map(erasure_json).collect::<Vec<_>>(),
        "dropped": answer.dropped,
        "releases": answer.releases,
    });
    screen.answer(&json, || {
        let (records, dropped) = (answer.erased.len(), answer.dropped);
        let mut open: Vec<u32> = answer.erased.iter().flat_map(|it| it.outstanding.clone()).collect();
        open.sort_unstable();
        open.dedup();
        let said = say!(
            "已彻底删除 {records} 条记录：清除了日志中 {dropped} 处内容，索引中不留旧值",
            "erased {records} records: {dropped} places of the log emptied, no old value left in the index"
        );
        let mut text = said.in_lang(screen.lang).to_owned();
        if !open.is_empty() {
            let sites = open.iter().map(|site| site_text(SiteCode(*site), screen.lang));
            let sites = sites.collect::<Vec<_>>().join(screen.lang.pick("、", ", "));
            let more = say!(
                "\n尚未证明已删除的：{sites}；同步后会自动删除，用 record erasures 查看",
                "\nStill to prove it: {sites}; they erase when they sync, see record erasures"
            );
            text.push_str(more.in_lang(screen.lang));
        }
        let releases = match answer.releases.as_slice() {
            [] => say!("\n已发布的数据集中没有这些记录", "\nNo published dataset contains them"),
            some => {
                let list = some.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
                say!("\n含有这些记录的已发布数据集：{list}", "\nPublished datasets that contain them: {list}")
            }
        };
        text + releases.in_lang(screen.lang)
    })?;
    Ok(Exit::Done)
}

/// Lists erasures.
///
/// # Errors
/// [`Failure`].
pub(super) async fn list(door: &Door, screen: &Screen) -> Result<Exit, Failure> {
    let answer = door.records().erasures(pb::ErasuresRequest {}).await?.into_inner();
    let json: Vec<Value> = answer.erasures.iter().map(erasure_json).collect();
    screen.answer(&json!({ "erasures": json }), || {
        if answer.erasures.is_empty() {
            return screen.lang.pick("没有彻底删除过的记录", "nothing was ever erased").to_owned();
        }
        let pick = |zh: &'static str, en: &'static str| screen.lang.pick(zh, en);
        let mut table = Table::new([
            pick("种类", "kind"),
            pick("编号", "id"),
            pick("已证明", "proved by"),
            pick("未证明", "outstanding"),
        ]);
        let sites = |sites: Vec<u32>| {
            let named = sites.iter().map(|site| site_text(SiteCode(*site), screen.lang));
            named.collect::<Vec<_>>().join(pick("、", ", "))
        };
        for it in &answer.erasures {
            let proved: Vec<String> = it.proofs.iter().map(|proof| proved_text(proof, screen)).collect();
            table.row([
                schema::kind(it.kind).map_or_else(String::new, |kind| screen.of(kind.title).to_owned()),
                id_text(&it.record),
                proved.join(pick("、", ", ")),
                sites(it.outstanding.clone()),
            ]);
        }
        table.render()
    })?;
    Ok(Exit::Done)
}

fn proved_text(proof: &ErasureProof, screen: &Screen) -> String {
    format!("{} {}", site_text(SiteCode(proof.holder), screen.lang), moment(proof.at_ms))
}

fn erasure_json(it: &pb::ErasureStatus) -> Value {
    let hex = |bytes: &Bytes| liandong_proto::id::hex(bytes);
    let proofs: Vec<Value> = it
        .proofs
        .iter()
        .map(|proof| {
            json!({
                "holder": SiteCode(proof.holder).to_string(),
                "at_ms": proof.at_ms,
                "signature": hex(&proof.signature),
            })
        })
        .collect();
    let entry = it.entry.clone().unwrap_or_default();
    json!({
        "kind": schema::kind(it.kind).map(|kind| kind.name),
        "id": id_text(&it.record),
        "entry": {
            "site": SiteCode(entry.site).to_string(),
            "epoch": hex(&entry.epoch),
            "seq": entry.seq,
        },
        "proofs": proofs,
        "outstanding": it.outstanding.iter().map(|site| SiteCode(*site).to_string()).collect::<Vec<_>>(),
    })
}
