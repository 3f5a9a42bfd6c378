//! `finding list`.

use liandong_proto::pb::record::v1::FindingStatus;

use super::{decode, kind, subject_text};
use crate::cli::door::Door;
use crate::cli::exit::{Exit, Failure};
use crate::cli::record::{id_text, record_json};
use crate::cli::screen::Screen;
use crate::json::shown;
use crate::say;

const PAGE: u32 = 500;

/// Flags of `finding list`.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct ListArgs {
    /// 包括已处理的 · Settled ones as well
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(door: &Door, args: &ListArgs, screen: &Screen) -> Result<Exit, Failure> {
    let kind = kind();
    let mut request = door.caller().list(kind.number, PAGE);
    let (mut listed, mut records) = (0, door.records());
    loop {
        let page = records.list(request.clone()).await?.into_inner();
        for record in &page.records {
            let finding = decode(record)?;
            if !args.all && finding.status() != FindingStatus::Open {
                continue;
            }
            listed += 1;
            if screen.json {
                screen.line(&record_json(kind, record)?.to_string())?;
                continue;
            }
            let field = |name: &str| {
                kind.field_by_name(name)
                    .map(|field| shown(kind, field.tag, &record.fields, screen.lang))
                    .unwrap_or_default()
            };
            let (severity, rule, status) = (field("severity"), field("rule"), field("status"));
            screen.line(&format!("{}  {severity}  {rule}  {status}", id_text(&record.record)))?;
            for subject in &finding.subjects {
                screen.line(&format!("    {}", subject_text(subject, screen)))?;
            }
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if listed == 0 {
        screen.note(&say!("没有待处理的核对事项", "no open findings"));
    }
    Ok(Exit::Done)
}
