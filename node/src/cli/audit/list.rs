//! `audit list`.

use std::collections::VecDeque;

use liandong_proto::id::SiteCode;
use liandong_proto::pb::audit::v1 as pb;
use liandong_proto::schema;
use tokio_stream::StreamExt as _;

use super::{Wanted, Way, json};
use crate::audit::labels;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::table::{Table, moment};
use crate::json::site_text;
use crate::say;

/// Flags of `audit list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Which.
    #[command(flatten)]
    pub wanted: Wanted,
    /// 只列出最后多少条，0 为全部 · Only so many of the newest, 0 for all
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
}

pub(super) async fn run(
    mut way: Way,
    args: &ListArgs,
    asked: pb::ReadRequest,
    screen: &Screen,
) -> Result<Exit, Failure> {
    let mut records = way.read(asked).await?;
    let (mut newest, mut left_out) = (VecDeque::new(), 0u64);
    while let Some(record) = records.next().await {
        let record = record?;
        if args.limit == 0 && screen.json {
            screen.line(&json(&record).to_string())?;
            continue;
        }
        newest.push_back(record);
        if args.limit > 0 && newest.len() > args.limit {
            newest.pop_front();
            left_out += 1;
        }
    }
    if screen.json {
        return newest
            .iter()
            .try_for_each(|record| screen.line(&json(record).to_string()))
            .map(|()| Exit::Done);
    }
    let headings = [
        ("编号", "no"),
        ("时间", "when"),
        ("操作人", "who"),
        ("事项", "what"),
        ("记录种类", "kind"),
        ("数量", "count"),
        ("用途", "purpose"),
        ("城市", "city"),
        ("说明", "detail"),
    ];
    let mut table = Table::new(headings.map(|(zh, en)| screen.lang.pick(zh, en)));
    for record in &newest {
        table.row(cells(record, screen));
    }
    screen.line(table.render().trim_end())?;
    if left_out > 0 {
        screen.note(&say!(
            "更早的 {left_out} 条没有列出；用 --limit 0 列出全部",
            "{left_out} earlier ones are not shown; list all with --limit 0"
        ));
    }
    Ok(Exit::Done)
}

fn cells(record: &pb::AuditRecord, screen: &Screen) -> [String; 9] {
    let kind = schema::kind(record.kind).map(|kind| screen.of(kind.title)).unwrap_or_default();
    let count = Some(record.count).filter(|count| *count > 0).map(|count| count.to_string());
    let site = Some(SiteCode(record.site)).filter(|site| site.0 > 0);
    [
        record.number.to_string(),
        moment(record.at_ms),
        record.who.clone(),
        screen.of(labels(record.what())).to_owned(),
        kind.to_owned(),
        count.unwrap_or_default(),
        record.purpose.clone(),
        site.map(|site| site_text(site, screen.lang)).unwrap_or_default(),
        record.detail.clone(),
    ]
}
