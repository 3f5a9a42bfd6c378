//! `token …`: tokens for whoever reads releases. A running hub minds them from its next call on.

use liandong_node::api::access::Tokens;
use liandong_node::api::access::token::Kept;
use liandong_node::cli::api_token::{make, revoke, standing, standing_text};
use liandong_node::cli::audit::Book;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::screen::Screen;
use liandong_node::cli::table::{Table, moment};
use liandong_node::now::now_ms;
use liandong_node::say;
use liandong_node::site::{Paths, SiteError};
use liandong_proto::format::Date;
use serde_json::{Value, json};

use super::Setup;
use super::run::local;
use crate::analysts::{Grant, tokens};
use crate::release::Role;

const DAY_MS: u64 = 86_400_000;
/// The most days that a token is good.
const MOST_DAYS: u64 = 3_650;

/// What to do with tokens.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum TokenCommand {
    /// 发放令牌，只显示一次 · Give out a token; it is shown this once
    Create(CreateArgs),
    /// 列出发放过的令牌 · List those that were given out
    List,
    /// 吊销令牌，立即生效 · Revoke a token, with immediate effect
    Revoke(RevokeArgs),
}

/// Flags of `create`.
#[derive(Debug, Clone, clap::Args)]
pub struct CreateArgs {
    /// 权限：registrar 见姓名，analyst 只见假名，public 只见统计数 · What it allows: registrar sees names, analyst pseudonyms,
    /// public counts
    #[arg(long, value_name = "ROLE", value_parser = ["registrar", "analyst", "public"])]
    role: String,
    /// 用途，每次读取都会记入审计日志 · What for; stands in the audit log with every read
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// 有效至哪一天，如 2027-06-30，或多少天，如 90d · Until when it is good: 2027-06-30, or for how many days: 90d
    #[arg(long, value_name = "DATE|DAYSd", default_value = "365d")]
    expires: String,
    /// 令牌的名称，如研究项目名；不写则自动编号 · Its name, such as that of the study; numbered without it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// 项目；同一项目的令牌得到同样的假名，不写则用令牌的名称 · The project: its tokens get the same pseudonyms; the token's
    /// name without it
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

/// Flags of `revoke`.
#[derive(Debug, Clone, clap::Args)]
pub struct RevokeArgs {
    /// 令牌的名称 · Name of the token
    name: String,
}

/// Carries out a command about tokens.
///
/// # Errors
/// [`Failure`].
pub async fn run(command: &TokenCommand, setup: &Setup) -> Result<Exit, Failure> {
    let paths = Paths::new(&setup.data_dir);
    if !paths.log().exists() {
        return Err(SiteError::NoSite(setup.data_dir.clone()).into());
    }
    let tokens = tokens(&paths);
    let book = || async { Book::find(&setup.data_dir, &local(setup), &setup.caller).await };
    match command {
        TokenCommand::Create(args) => create(&tokens, args, &mut book().await?, &setup.screen).await?,
        TokenCommand::List => list(&tokens, &setup.screen)?,
        TokenCommand::Revoke(args) => revoke(&tokens, &args.name, book, &setup.screen).await?,
    }
    Ok(Exit::Done)
}

async fn create(
    tokens: &Tokens<Grant>,
    args: &CreateArgs,
    book: &mut Book,
    screen: &Screen,
) -> Result<(), Failure> {
    let now_ms = now_ms();
    let until_ms = ends(&args.expires, now_ms)?;
    let role = Role::named(&args.role).expect("one of those that are allowed");
    if args.purpose.trim().is_empty() {
        return Err(Failure::usage(say!("请写明用途 --purpose", "say what for, with --purpose")));
    }
    let taken = tokens.list()?;
    let free = || {
        let mut names = (1..).map(|n| format!("{}-{n}", role.name()));
        names.find(|name| taken.iter().all(|kept| kept.name != *name)).expect("there are numbers enough")
    };
    let name = args.name.clone().unwrap_or_else(free);
    let project = args.project.clone().unwrap_or_else(|| name.clone());
    let grant = Grant { role, purpose: args.purpose.clone(), project };
    let token = make(tokens, &name, grant.clone(), now_ms..until_ms, book).await?;
    let until = moment(until_ms);
    let json = json!({
        "name": name,
        "token": token,
        "role": grant.role,
        "purpose": grant.purpose,
        "project": grant.project,
        "until_ms": until_ms,
    });
    screen.answer(&json, || {
        let said = say!(
            "{name} 的令牌，有效至 {until}；只在此显示一次，请用可靠的途径交给使用者：\n{token}",
            "the token of {name}, good until {until}; it is shown this once, hand it over in a way you trust:\n{token}"
        );
        said.in_lang(screen.lang).to_owned()
    })
}

/// When a token ends: the end of a day in China, or so many days from now.
fn ends(typed: &str, now_ms: u64) -> Result<u64, Failure> {
    let days = typed.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let until = match days {
        Some(days) => Some(now_ms + days.saturating_mul(DAY_MS)),
        None => Date::read(typed).ok().and_then(Date::to_day).map(|day| day.begins_in_china() + DAY_MS),
    };
    until.filter(|until| (now_ms + 1..=now_ms + MOST_DAYS * DAY_MS).contains(until)).ok_or_else(|| {
        Failure::usage(say!(
            "--expires {typed} 不是今后十年内的日期（如 2027-06-30）或天数（如 90d）",
            "--expires {typed} is no day within ten years (2027-06-30) and no number of days (90d)"
        ))
    })
}

fn list(tokens: &Tokens<Grant>, screen: &Screen) -> Result<(), Failure> {
    let (kept, now_ms) = (tokens.list()?, now_ms());
    if screen.json {
        for kept in &kept {
            screen.line(&kept_json(kept, now_ms).to_string())?;
        }
        return Ok(());
    }
    let zh = ["名称", "状态", "权限", "有效至", "项目", "用途"];
    let en = ["name", "standing", "role", "until", "project", "purpose"];
    let mut table = Table::new(screen.lang.pick(zh, en));
    for kept in &kept {
        let standing = standing_text(kept, now_ms, screen);
        let grant = &kept.grant;
        let (role, until) = (grant.role.name().to_owned(), moment(kept.until_ms));
        let (name, standing) = (kept.name.clone(), standing.to_owned());
        table.row([name, standing, role, until, grant.project.clone(), grant.purpose.clone()]);
    }
    screen.line(table.render().trim_end())
}

fn kept_json(kept: &Kept<Grant>, now_ms: u64) -> Value {
    json!({
        "name": kept.name,
        "standing": standing(kept, now_ms),
        "role": kept.grant.role,
        "purpose": kept.grant.purpose,
        "project": kept.grant.project,
        "made_ms": kept.made_ms,
        "until_ms": kept.until_ms,
        "revoked_ms": kept.revoked_ms,
    })
}
