//! `city …`: which cities take part, and how they stand with the hub.

use liandong_node::cli::door::Door;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::global::{city_named, this_day};
use liandong_node::cli::screen::Screen;
use liandong_node::cli::table::{Table, moment};
use liandong_node::config::check_address;
use liandong_node::json::site_text;
use liandong_node::now::now_ms;
use liandong_node::say;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::hub::v1::hub_client::HubClient;
use liandong_proto::pb::hub::v1::{CitiesRequest, City, ExcludeRequest, InviteRequest};
use liandong_proto::pb::log::v1::city_row::Standing;
use serde_json::{Value, json};

use super::Setup;
use super::agree::{AgreeArgs, agree, term};

/// What to do with cities.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum CityCommand {
    /// 列出各市：成员资格、连接、已收、待下发、核对 · List them: membership, connection, received, comparison
    List,
    /// 邀请一个城市加入：给出一次性邀请码，24 小时内有效 · Invite a city: a code that is good once, within 24 hours
    Invite(InviteArgs),
    /// 登记与一个城市的数据协议；没有生效的协议不同步 · Register the agreement with a city; without one in force nothing syncs
    Agree(AgreeArgs),
    /// 停用一个城市的证书；重新邀请即可恢复 · Cut a city off; a fresh invitation lets it in again
    Revoke(ExcludeArgs),
    /// 一个城市永久退出 · A city leaves for good
    Retire(ExcludeArgs),
}

/// Flags of `invite`.
#[derive(Debug, Clone, clap::Args)]
pub struct InviteArgs {
    /// 城市代码或名称 · Code or name of the city
    city: String,
    /// 写进邀请码的枢纽地址 · Address of the enrolment port as the city sees it
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

/// Flags of `revoke` and `retire`.
#[derive(Debug, Clone, clap::Args)]
pub struct ExcludeArgs {
    /// 城市代码或名称 · Code or name of the city
    city: String,
    /// 理由 · Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Carries out a command about cities.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, command: &CityCommand, setup: &Setup) -> Result<Exit, Failure> {
    match command {
        CityCommand::List => list(door, &setup.screen).await,
        CityCommand::Invite(args) => invite(door, args, setup).await,
        CityCommand::Agree(args) => agree(door, args, setup).await,
        CityCommand::Revoke(args) => exclude(door, args, false, setup).await,
        CityCommand::Retire(args) => exclude(door, args, true, setup).await,
    }
}

async fn invite(door: &Door, args: &InviteArgs, setup: &Setup) -> Result<Exit, Failure> {
    let site = city_named(&args.city)?;
    let address = args.address.clone().or_else(|| setup.config.enrolment_address.clone());
    if let Some(address) = &address {
        check_address(address).map_err(Failure::usage)?;
    }
    let asked =
        InviteRequest { site: site.0, author: setup.author.clone(), address: address.unwrap_or_default() };
    let answer = HubClient::new(door.channel()).invite(asked).await?.into_inner();
    let (code, until) = (&answer.code, moment(answer.until_ms));
    let json = json!({ "site": site.to_string(), "code": code, "until_ms": answer.until_ms });
    setup.screen.answer(&json, || {
        let name = site_text(site, setup.screen.lang);
        let said = say!(
            "{name} 的邀请码，只能用一次，有效至 {until}；请用可靠的途径发给该市，不要转给他人：\n{code}\n\
             该市运行：liandong-node join 邀请码",
            "the invitation of {name}, good once, until {until}; send it over a way you trust, and to nobody else:\n\
             {code}\nThe city runs: liandong-node join CODE"
        );
        said.in_lang(setup.screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

async fn exclude(door: &Door, args: &ExcludeArgs, retire: bool, setup: &Setup) -> Result<Exit, Failure> {
    let site = city_named(&args.city)?;
    let (author, reason) = (setup.author.clone(), args.reason.clone());
    let asked = ExcludeRequest { site: site.0, author, reason, retire };
    HubClient::new(door.channel()).exclude(asked).await?;
    let standing = if retire { "RETIRED" } else { "REVOKED" };
    setup.screen.answer(&json!({ "site": site.to_string(), "standing": standing }), || {
        let name = site_text(site, setup.screen.lang);
        let said = say!(
            "{name} 的证书已作废，同步已断开；省里已有的记录保留，该市本地工作不受影响",
            "the certificate of {name} is void and its sync has ended; what the province has of it stays, and its local \
             work goes on"
        );
        said.in_lang(setup.screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

async fn list(door: &Door, screen: &Screen) -> Result<Exit, Failure> {
    let answer = HubClient::new(door.channel()).cities(CitiesRequest {}).await?.into_inner();
    if screen.json {
        for city in &answer.cities {
            screen.line(&city_json(city).to_string())?;
        }
        return Ok(Exit::Done);
    }
    let zh = [
        "城市",
        "成员",
        "协议",
        "连接",
        "日志",
        "最近收到",
        "待下发",
        "记录",
        "草稿",
        "核对事项",
        "与本市核对",
    ];
    let en = [
        "city",
        "member",
        "agreement",
        "link",
        "log",
        "last received",
        "to deliver",
        "records",
        "drafts",
        "findings",
        "comparison",
    ];
    let mut table = Table::new(screen.lang.pick(zh, en));
    for city in &answer.cities {
        table.row([
            site_text(SiteCode(city.site), screen.lang),
            member(city, screen),
            term(city, this_day(), screen.lang),
            screen.lang.pick(["离线", "在线"], ["offline", "online"])[usize::from(city.connected)].to_owned(),
            city.seq.to_string(),
            moment(city.last_received_ms),
            city.lag_changes.to_string(),
            city.records.to_string(),
            city.drafts.to_string(),
            city.open_findings.to_string(),
            comparison(city, screen),
        ]);
    }
    screen.line(table.render().trim_end())?;
    Ok(Exit::Done)
}

fn standing(city: &City) -> Standing {
    Standing::try_from(city.standing as i32).unwrap_or_default()
}

fn member(city: &City, screen: &Screen) -> String {
    const DAY_MS: u64 = 86_400_000;
    let lang = screen.lang;
    match standing(city) {
        Standing::Member => {
            let days = city.certificate_until_ms.saturating_sub(now_ms()) / DAY_MS;
            // A node renews with 27 to 30 days left: fewer mean that it cannot.
            let late = if days < 25 { lang.pick("！", "!") } else { "" };
            lang.pick(format!("是，证书余 {days} 天{late}"), format!("yes, {days} days left{late}"))
        }
        Standing::Revoked => lang.pick("已停用", "cut off").to_owned(),
        Standing::Retired => lang.pick("已退出", "left").to_owned(),
        Standing::Unspecified if city.invited_until_ms > now_ms() => {
            let until = moment(city.invited_until_ms);
            lang.pick(format!("已邀请，至 {until}"), format!("invited until {until}"))
        }
        Standing::Unspecified => lang.pick("未加入", "no").to_owned(),
    }
}

fn comparison(city: &City, screen: &Screen) -> String {
    match city.comparison {
        1 => format!("{} {}", screen.lang.pick("一致", "equal"), moment(city.compared_at_ms)),
        2 => format!("{} {}", screen.lang.pick("不一致", "different"), moment(city.compared_at_ms)),
        _ => screen.lang.pick("还没有", "not yet").to_owned(),
    }
}

fn city_json(city: &City) -> Value {
    let name = liandong_proto::city::city(SiteCode(city.site));
    let comparison = ["UNSPECIFIED", "EQUAL", "DIFFERENT"].get(city.comparison as usize).copied();
    json!({
        "site": SiteCode(city.site).to_string(),
        "name": { "zh": name.map(|city| city.zh), "en": name.map(|city| city.en) },
        "standing": standing(city).as_str_name(),
        "certificate_until_ms": city.certificate_until_ms,
        "invited_until_ms": city.invited_until_ms,
        "signing_key": city.signing_key,
        "reason": city.reason,
        "agreement_to": Some(&city.agreement_to).filter(|to| !to.is_empty()),
        "agreement_of_other_key": city.agreement_of_other_key,
        "linking_recipient": city.linking_recipient,
        "linking_key_sent": city.linking_key_sent,
        "connected": city.connected,
        "seq": city.seq,
        "last_received_ms": city.last_received_ms,
        "lag_changes": city.lag_changes,
        "records": city.records,
        "drafts": city.drafts,
        "open_findings": city.open_findings,
        "comparison": comparison,
        "compared_at_ms": city.compared_at_ms,
    })
}
