//! `api-token …`: tokens for the city's other systems. A running site minds them from its next call on.

use std::ops::Range;

use serde_json::{Value, json};

use super::audit::Book;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::table::{Table, moment};
use super::{Setup, run};
use crate::api::access::token::{Grant, Kept, TokenError};
use crate::api::access::{Scope, Scopes, Tokens};
use crate::audit::What;
use crate::now::now_ms;
use crate::say;
use crate::site::{Paths, SiteError};

const DAY_MS: u64 = 86_400_000;

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// 发放令牌，只显示一次 · Give out a token; it is shown this once
    New(NewArgs),
    /// 列出发放过的令牌 · List those that were given out
    List,
    /// 吊销令牌，立即生效 · Revoke a token, with immediate effect
    Revoke(RevokeArgs),
}

/// Flags of `new`.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// 哪个系统使用，不要用人名；会写进记录的历史 · Which system it is for, never a person; it stands in the history of records
    #[arg(long, value_name = "NAME")]
    name: String,
    /// 权限，可重复，如 member:read、member:write、*:read · What it allows, may be repeated: member:read, member:write, *:read
    #[arg(long = "scope", value_name = "KIND:read|write", required = true)]
    scopes: Vec<String>,
    /// 有效天数 · For how many days it is good
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3_650))]
    days: u64,
}

/// Flags of `revoke`.
#[derive(Debug, clap::Args)]
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
    let tokens = Tokens::new(&paths);
    let book = || async { Book::find(&setup.data_dir, &run::local(setup), &setup.caller).await };
    match command {
        TokenCommand::New(args) => new(&tokens, args, &mut book().await?, &setup.screen).await?,
        TokenCommand::List => list(&tokens, &setup.screen)?,
        TokenCommand::Revoke(args) => revoke(&tokens, &args.name, book, &setup.screen).await?,
    }
    Ok(Exit::Done)
}

async fn new(tokens: &Tokens, args: &NewArgs, book: &mut Book, screen: &Screen) -> Result<(), Failure> {
    let scopes = args.scopes.iter().map(|text| text.parse()).collect::<Result<Vec<Scope>, _>>();
    let scopes = scopes.map_err(Failure::usage)?;
    let now_ms = now_ms();
    let until_ms = now_ms + args.days * DAY_MS;
    let grant = Scopes { scopes: scopes.clone() };
    let token = make(tokens, &args.name, grant, now_ms..until_ms, book).await?;
    let (name, until) = (&args.name, moment(until_ms));
    let json = json!({ "name": name, "token": token, "scopes": scopes, "until_ms": until_ms });
    screen.answer(&json, || {
        let said = say!(
            "{name} 的令牌，有效至 {until}；只在此显示一次，请存入该系统的保密配置：\n{token}",
            "the token of {name}, good until {until}; it is shown this once, keep it among that system's secrets:\n{token}"
        );
        said.in_lang(screen.lang).to_owned()
    })
}

fn list(tokens: &Tokens, screen: &Screen) -> Result<(), Failure> {
    let (kept, now_ms) = (tokens.list()?, now_ms());
    if screen.json {
        for kept in &kept {
            screen.line(&kept_json(kept, now_ms).to_string())?;
        }
        return Ok(());
    }
    let (zh, en) = (["名称", "状态", "有效至", "权限"], ["name", "standing", "until", "scopes"]);
    let mut table = Table::new(screen.lang.pick(zh, en));
    for kept in &kept {
        let standing = standing_text(kept, now_ms, screen);
        let scopes: Vec<String> = kept.grant.scopes.iter().map(Scope::to_string).collect();
        table.row([kept.name.clone(), standing.to_owned(), moment(kept.until_ms), scopes.join(" ")]);
    }
    screen.line(table.render().trim_end())
}

/// How a token stands now.
pub fn standing<G>(kept: &Kept<G>, now_ms: u64) -> &'static str {
    match kept {
        Kept { revoked_ms: 1.., .. } => "REVOKED",
        Kept { until_ms, .. } if *until_ms <= now_ms => "OVER",
        _ => "GOOD",
    }
}

/// The same for a person.
pub fn standing_text<G>(kept: &Kept<G>, now_ms: u64, screen: &Screen) -> &'static str {
    match standing(kept, now_ms) {
        "REVOKED" => screen.lang.pick("已吊销", "revoked"),
        "OVER" => screen.lang.pick("已过期", "over"),
        _ => screen.lang.pick("有效", "good"),
    }
}

fn kept_json(kept: &Kept, now_ms: u64) -> Value {
    json!({
        "name": kept.name,
        "standing": standing(kept, now_ms),
        "scopes": kept.grant.scopes,
        "made_ms": kept.made_ms,
        "until_ms": kept.until_ms,
        "revoked_ms": kept.revoked_ms,
    })
}

/// Makes a token for a time, and records it: its text, which nobody has seen before that.
///
/// # Errors
/// [`Failure`]; no token is good then.
pub async fn make<G: Grant>(
    tokens: &Tokens<G>,
    name: &str,
    grant: G,
    good: Range<u64>,
    book: &mut Book,
) -> Result<String, Failure> {
    let token = tokens.make(name, grant, good.start, good.end)?;
    if let Err(failure) = book.record(What::TokenMade, name).await {
        tokens.revoke(name, now_ms())?;
        return Err(failure);
    }
    Ok(token.text())
}

/// Revokes a token, and says so: what cannot be recorded is void all the same.
///
/// # Errors
/// [`Failure`] when there is none of that name, or it could not be recorded.
pub async fn revoke<G: Grant>(
    tokens: &Tokens<G>,
    name: &str,
    book: impl AsyncFnOnce() -> Result<Book, Failure>,
    screen: &Screen,
) -> Result<(), Failure> {
    let is_new = tokens.revoke(name, now_ms())?;
    screen.answer(&json!({ "name": name, "revoked": true, "was_revoked": !is_new }), || {
        let said = if is_new {
            say!("令牌 {name} 已吊销，下一次调用起无效", "the token {name} is void from the next call on")
        } else {
            say!("令牌 {name} 此前已吊销", "the token {name} was void already")
        };
        said.in_lang(screen.lang).to_owned()
    })?;
    book().await?.record(What::TokenRevoked, name).await
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Failure {
        match error {
            TokenError::No(said) => Failure::usage(said),
            TokenError::Site(error) => error.into(),
        }
    }
}
