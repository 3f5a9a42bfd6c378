//! `finding …`: what does not fit together; a city sees the findings that name it.

mod list;
mod show;

use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::pb::record::v1::{Finding, FindingSubject};
use liandong_proto::schema::{self, Kind};
use prost::Message as _;

use super::door::Door;
use super::exit::{Exit, Failure};
use super::record::{id_text, unreadable};
use super::screen::Screen;
use crate::json::site_text;

pub use list::ListArgs;
pub use show::ShowArgs;

/// What to do with findings.
#[derive(Debug, clap::Subcommand)]
pub enum FindingCommand {
    /// 列出核对事项 · List findings
    List(ListArgs),
    /// 查看一项：双方的值、何人何时 · Show one: both values, who and when
    Show(ShowArgs),
}

/// Runs one of them.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, command: FindingCommand, screen: &Screen) -> Result<Exit, Failure> {
    match command {
        FindingCommand::List(args) => list(door, &args, screen).await,
        FindingCommand::Show(args) => show(door, &args, screen).await,
    }
}

/// `finding list`.
///
/// # Errors
/// [`Failure`].
pub async fn list(door: &Door, args: &ListArgs, screen: &Screen) -> Result<Exit, Failure> {
    list::run(door, args, screen).await
}

/// `finding show`.
///
/// # Errors
/// [`Failure`].
pub async fn show(door: &Door, args: &ShowArgs, screen: &Screen) -> Result<Exit, Failure> {
    show::run(door, args, screen).await
}

/// The kind "finding".
///
/// # Panics
/// Never: the schema has it.
pub fn kind() -> &'static Kind {
    schema::kind_by_name("finding").expect("the schema has findings")
}

/// The finding in a record.
///
/// # Errors
/// When its fields are not a finding.
pub fn decode(record: &pb::Record) -> Result<Finding, Failure> {
    Finding::decode(record.fields.clone()).map_err(|_| unreadable(&record.record))
}

/// The record, field and writer that a finding is about, in a few words.
fn subject_text(subject: &FindingSubject, screen: &Screen) -> String {
    let kind = schema::kind(subject.kind);
    let title = kind.map_or("?", |kind| screen.of(kind.title));
    let field = kind.and_then(|kind| kind.field(subject.field));
    let field = field.map(|field| format!(" · {}", screen.of(field.label))).unwrap_or_default();
    let from = site_text(SiteCode(subject.site), screen.lang);
    format!(
        "{title} {}{field}{}{from}",
        id_text(&subject.record),
        screen.lang.pick("，改动来自 ", ", changed by ")
    )
}
