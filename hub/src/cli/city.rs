//! `city …`: how the cities stand with the hub.

use liandong_node::cli::door::Door;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::screen::Screen;
use liandong_node::cli::table::{Table, moment};
use liandong_node::json::site_text;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::hub::v1::hub_client::HubClient;
use liandong_proto::pb::hub::v1::{CitiesRequest, City};
use serde_json::{Value, json};

/// What to do with cities.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub enum CityCommand {
    /// 列出各市：连接、已收、待下发、核对 · List them: connection, received, to be delivered, comparison
    List,
}

/// Lists the cities.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, command: &CityCommand, screen: &Screen) -> Result<Exit, Failure> {
    let CityCommand::List = command;
    let answer = HubClient::new(door.channel()).cities(CitiesRequest {}).await?.into_inner();
    if screen.json {
        for city in &answer.cities {
            screen.line(&city_json(city).to_string())?;
        }
        return Ok(Exit::Done);
    }
    let zh = ["城市", "连接", "日志", "最近收到", "待下发", "记录", "草稿", "核对事项", "与本市核对"];
    let en =
        ["city", "link", "log", "last received", "to deliver", "records", "drafts", "findings", "comparison"];
    let mut table = Table::new(screen.lang.pick(zh, en));
    for city in &answer.cities {
        table.row([
            site_text(SiteCode(city.site), screen.lang),
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
