//! `finding …` at the hub: reading as everywhere, and settling.

use bytes::Bytes;
use liandong_node::cli::door::Door;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::finding::{ListArgs, ShowArgs, decode, kind, list, show};
use liandong_node::cli::global::this_day;
use liandong_node::cli::record::{find_for, id_of};
use liandong_node::json::from_texts;
use liandong_node::say;
use liandong_proto::id::RecordId;
use liandong_proto::pb::hub::v1::SettleRequest;
use liandong_proto::pb::hub::v1::hub_client::HubClient;
use liandong_proto::pb::record::v1::FindingSubject;
use liandong_proto::schema;
use serde_json::json;

use super::Setup;

/// What to do with findings.
#[derive(Debug, clap::Subcommand)]
pub enum FindingCommand {
    /// 列出核对事项 · List findings
    List(ListArgs),
    /// 查看一项：双方的值、何人何时 · Show one: both values, who and when
    Show(ShowArgs),
    /// 处理一项，有关城市会看到选择和理由 · Settle one; the cities it names see choice and reason
    Settle(SettleArgs),
}

/// Which value shall stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Choose {
    /// 保留现值 · Keep the value shown
    Shown,
    /// 采用未采用的值 · Take the value held
    Held,
    /// 另填新值，见 --value · Set another value, see --value
    Other,
}

/// Arguments of `finding settle`.
#[derive(Debug, clap::Args)]
pub struct SettleArgs {
    /// 核对事项的编号 · Id of the finding
    pub id: String,
    /// 选择哪个值 · Which value shall stand
    #[arg(long)]
    pub choose: Choose,
    /// 新值；同组有几个字段时写成 字段=值，可重复 · The other value; FIELD=VALUE, repeated, where several fields belong together
    #[arg(long, value_name = "VALUE", required_if_eq("choose", "other"))]
    pub value: Vec<String>,
    /// 处理理由 · Why
    #[arg(long)]
    pub reason: String,
}

/// Runs one of them.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, command: FindingCommand, setup: &Setup) -> Result<Exit, Failure> {
    match command {
        FindingCommand::List(args) => list(door, &args, &setup.screen).await,
        FindingCommand::Show(args) => show(door, &args, &setup.screen).await,
        FindingCommand::Settle(args) => settle(door, args, setup).await,
    }
}

async fn settle(door: &Door, args: SettleArgs, setup: &Setup) -> Result<Exit, Failure> {
    let id = id_of(&args.id)?;
    if args.choose != Choose::Other && !args.value.is_empty() {
        return Err(Failure::usage(say!(
            "--value 只与 --choose other 一起使用",
            "--value goes with --choose other only"
        )));
    }
    let (choice, value) = match args.choose {
        Choose::Shown => (1, Bytes::new()),
        Choose::Held => (2, Bytes::new()),
        Choose::Other => (3, encode(door, id, &args.value).await?),
    };
    let request = SettleRequest {
        finding: Bytes::copy_from_slice(&id.0),
        choice,
        value,
        reason: args.reason,
        author: setup.author.clone(),
    };
    let answer = HubClient::new(door.channel()).settle(request).await?.into_inner();
    let hub_seq = answer.hub_seq;
    setup.screen.answer(&json!({ "finding": id.to_string(), "hub_seq": hub_seq }), || {
        let said = say!(
            "已处理 {id}；有关城市下次同步时会收到",
            "settled {id}; the cities it names get it with their next sync"
        );
        said.in_lang(setup.screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// The value of a choice, encoded as in the message of the record that the finding is about.
async fn encode(door: &Door, id: RecordId, values: &[String]) -> Result<Bytes, Failure> {
    let (_, record) = find_for(door, Some(kind()), id, &door.caller().doing("settle")).await?;
    let finding = decode(&record)?;
    let field_of = |subject: &FindingSubject| {
        let kind = schema::kind(subject.kind)?;
        Some((kind, kind.field(subject.field)?))
    };
    let (kind, field) = finding.subjects.iter().find_map(field_of).ok_or_else(|| {
        Failure::data(say!(
            "这一项不针对某个字段，不能另填新值；请用 --choose shown 或 held",
            "this finding is not about one field, so no other value can be set; use --choose shown or held"
        ))
    })?;
    let is_in_group = |name: &str| {
        kind.fields
            .iter()
            .any(|other| field.group.contains(&other.tag) && (other.name == name || other.label.zh == name))
    };
    let pairs: Vec<(String, String)> = values
        .iter()
        .map(|value| match value.split_once('=').filter(|(name, _)| is_in_group(name.trim())) {
            Some((name, text)) => (name.trim().to_owned(), text.to_owned()),
            None => (field.name.to_owned(), value.clone()),
        })
        .collect();
    let patch = from_texts(kind, &pairs, &[], this_day()).map_err(|problems| {
        let zh: Vec<&str> = problems.iter().map(|problem| problem.zh.as_str()).collect();
        let en: Vec<&str> = problems.iter().map(|problem| problem.en.as_str()).collect();
        let (zh, en) = (zh.join("；"), en.join("; "));
        Failure::data(say!("没有处理：{zh}", "not settled: {en}"))
    })?;
    Ok(patch.set)
}
