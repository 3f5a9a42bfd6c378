//! `city agree`: registers an agreement, as the record that it is.

use liandong_node::cli::door::Door;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::global::city_named;
use liandong_node::json::site_text;
use liandong_node::say;
use liandong_node::text::{Lang, Said};
use liandong_proto::format::{Date, Day};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::hub::v1::hub_client::HubClient;
use liandong_proto::pb::hub::v1::{CitiesRequest, City};
use liandong_proto::pb::node::v1 as node;
use liandong_proto::pb::record::v1::{Agreement, AgreementRole, AgreementStatus};
use prost::Message as _;
use serde_json::json;

use super::Setup;
use crate::agreements::{AGREEMENT, FINGERPRINT_DIGITS, digits};

/// How city and province stand to each other, after the Personal Information Protection Law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// 共同处理（第二十条） · Joint processing (article 20)
    Joint,
    /// 委托处理（第二十一条） · Entrusted processing (article 21)
    Entrusted,
    /// 提供（第二十三条） · Provision to another (article 23)
    Provide,
}

/// Flags of `agree`.
#[derive(Debug, Clone, clap::Args)]
pub struct AgreeArgs {
    /// 城市代码或名称 · Code or name of the city
    city: String,
    /// 处理关系 · How the two stand to each other
    #[arg(long)]
    role: Role,
    /// 处理目的 · What the records are for
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// 第一天 · The first day
    #[arg(long, value_name = "DATE")]
    from: String,
    /// 最后一天 · The last day
    #[arg(long, value_name = "DATE")]
    to: String,
    /// 纸质协议的编号 · Number of the agreement on paper
    #[arg(long, value_name = "NO")]
    document: String,
    /// 该市签名密钥的指纹，或 enrolled（取加入时登记的）；不写则不核对 · Fingerprint of the city's signing key, or `enrolled` for
    /// the one it has joined with; not held against anything when left out
    #[arg(long, value_name = "HEX|enrolled")]
    fingerprint: Option<String>,
    /// 涉及的记录种类，可重复 · Kind of record that it covers, may be repeated
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// 字段范围 · Scope of fields
    #[arg(long, value_name = "TEXT")]
    scope: Option<String>,
    /// 法律依据 · Legal basis
    #[arg(long, value_name = "TEXT")]
    legal_basis: Option<String>,
}

/// Registers an agreement that is in force from its first day on.
///
/// # Errors
/// [`Failure`]; nothing is registered then.
pub async fn agree(door: &Door, args: &AgreeArgs, setup: &Setup) -> Result<Exit, Failure> {
    let site = city_named(&args.city)?;
    let (from, to) = (day(&args.from, "--from")?, day(&args.to, "--to")?);
    let role = match args.role {
        Role::Joint => AgreementRole::Joint,
        Role::Entrusted => AgreementRole::Entrusted,
        Role::Provide => AgreementRole::Provide,
    };
    let agreement = Agreement {
        city: site.0,
        role: role as i32,
        purpose: args.purpose.clone(),
        kinds: args.kinds.clone(),
        scope: args.scope.clone().unwrap_or_default(),
        legal_basis: args.legal_basis.clone().unwrap_or_default(),
        signing_key: fingerprint(door, site, args.fingerprint.as_deref()).await?,
        from: from.to_string(),
        to: to.to_string(),
        document: args.document.clone(),
        remarks: String::new(),
        status: AgreementStatus::InForce as i32,
    };
    let put = node::Put { kind: AGREEMENT, set: agreement.encode_to_vec().into(), ..node::Put::default() };
    let author = setup.author.clone();
    let request = node::PutRequest { puts: vec![put], author, ..node::PutRequest::default() };
    let result = door.records().put(request).await?.into_inner().results.pop().unwrap_or_default();
    if let Some(problem) = result.problems.first() {
        let (zh, en, field) = (&problem.zh, &problem.en, &problem.field);
        return Err(Failure::data(say!("没有登记：{field}：{zh}", "not registered: {field}: {en}")));
    }
    let id = RecordId::from_slice(&result.record).unwrap_or_default().to_string();
    let json = json!({
        "site": site.to_string(),
        "agreement": id,
        "signing_key": agreement.signing_key,
        "from": agreement.from,
        "to": agreement.to,
    });
    setup.screen.answer(&json, || {
        let (name, key) = (site_text(site, setup.screen.lang), key(&agreement.signing_key));
        let (zh, en) = (key.zh, key.en);
        let said = say!(
            "已登记与 {name} 的数据协议 {id}，{from} 至 {to}\n{zh}\n\
             提前终止：record put --kind agreement --id {id} --set status=ENDED",
            "the agreement with {name} is registered as {id}, from {from} to {to}\n{en}\n\
             To end it early: record put --kind agreement --id {id} --set status=ENDED"
        );
        said.in_lang(setup.screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// Which key of the city it holds for.
fn key(fingerprint: &str) -> Said {
    if fingerprint.is_empty() {
        return say!("没有写明该市签名密钥的指纹", "It names no signing key of the city");
    }
    say!(
        "该市签名密钥指纹  {fingerprint}，请与该市用电话等另外的途径核对",
        "fingerprint of the city's signing key  {fingerprint}: compare it with the city over another way, such as the \
         telephone"
    )
}

fn day(text: &str, flag: &str) -> Result<Day, Failure> {
    let day = Date::read(text).ok().and_then(Date::to_day);
    day.ok_or_else(|| {
        Failure::usage(say!(
            "{flag} 应为完整的日期，如 2026-12-31",
            "{flag}: a whole date is wanted, such as 2026-12-31"
        ))
    })
}

async fn fingerprint(door: &Door, site: SiteCode, given: Option<&str>) -> Result<String, Failure> {
    match given {
        None => Ok(String::new()),
        Some("enrolled") => {
            let answer = HubClient::new(door.channel()).cities(CitiesRequest {}).await?.into_inner();
            let city = answer.cities.into_iter().find(|city| city.site == site.0).unwrap_or_default();
            if city.signing_key.is_empty() {
                return Err(Failure::usage(not_enrolled()));
            }
            Ok(city.signing_key)
        }
        Some(written) if digits(written).len() == FINGERPRINT_DIGITS => Ok(written.trim().to_owned()),
        Some(_) => Err(Failure::usage(say!(
            "指纹应为 {FINGERPRINT_DIGITS} 位十六进制数字，与该市 status 显示的相同",
            "a fingerprint has {FINGERPRINT_DIGITS} hexadecimal digits, as the city's status shows it"
        ))),
    }
}

fn not_enrolled() -> Said {
    say!(
        "该市还没有加入，没有登记过的签名密钥；请写出指纹，或等它加入之后再登记",
        "the city has not joined, so no signing key is enrolled; give the fingerprint, or register the agreement once it \
         has joined"
    )
}

/// Until when a city may sync, for people.
pub fn term(city: &City, today: Day, lang: Lang) -> String {
    if city.agreement_of_other_key {
        return lang.pick("指纹不符，不同步", "another key, no sync").to_owned();
    }
    let Some(to) = Date::from_iso(&city.agreement_to).ok().and_then(Date::to_day) else {
        return lang.pick("没有，不同步", "none, no sync").to_owned();
    };
    match to.number() - today.number() {
        days @ ..=7 => {
            lang.pick(format!("至 {to}，只剩 {days} 天！！"), format!("to {to}, only {days} days left!!"))
        }
        days @ 8..=30 => lang.pick(format!("至 {to}，剩 {days} 天！"), format!("to {to}, {days} days left!")),
        days @ 31..=90 => lang.pick(format!("至 {to}，剩 {days} 天"), format!("to {to}, {days} days left")),
        _ => lang.pick(format!("至 {to}"), format!("to {to}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_term_is_told_in_time() {
        let today = Day::new(2026, 2, 1).expect("a day");
        let said = |to: &str| term(&City { agreement_to: to.into(), ..City::default() }, today, Lang::En);
        assert_eq!(said("2026-05-03"), "to 2026-05-03");
        assert_eq!(said("2026-05-02"), "to 2026-05-02, 90 days left");
        assert_eq!(said("2026-03-03"), "to 2026-03-03, 30 days left!");
        assert_eq!(said("2026-02-08"), "to 2026-02-08, only 7 days left!!");
        assert_eq!(said(""), "none, no sync");
        let other = City { agreement_of_other_key: true, ..City::default() };
        assert_eq!(term(&other, today, Lang::Zh), "指纹不符，不同步");
    }
}
