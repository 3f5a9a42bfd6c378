//! `doctor` at the hub: what every site has, and cities and mirror.

use std::path::Path;
use std::time::Duration;

use liandong_node::cli::doctor::codes;
use liandong_node::cli::doctor::{self, DAY_MS, ENDING_DAYS, Patient, Report, mirror_disk};
use liandong_node::cli::door::Door;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::global::Global;
use liandong_node::cli::screen::Screen;
use liandong_node::cli::table::moment;
use liandong_node::now::now_ms;
use liandong_node::say;
use liandong_node::text::Said;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::hub::v1::hub_client::HubClient;
use liandong_proto::pb::hub::v1::{CitiesRequest, CitiesResponse, City};
use liandong_proto::pb::log::v1::city_row::Standing;
use liandong_proto::pb::node::v1::{Mirror, StatusRequest, StatusResponse};

use super::Setup;
use crate::copy::HubChain;

pub use liandong_node::cli::doctor::DoctorArgs;

/// A city that is silent for longer is told.
const SILENT_DAYS: u64 = 7;
/// So long after a start every city has had the time to come back: a working day begins for each of them.
const BACK_WITHIN_MS: u64 = DAY_MS;
/// How often, and how long after another, a mirror is looked at that is being caught up with.
const LOOKS: usize = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Looks at all of the hub.
///
/// # Errors
/// [`Failure`].
pub async fn run(args: DoctorArgs, global: &Global, screen: &mut Screen) -> Result<Exit, Failure> {
    let setup = Setup::load(global, Vec::new(), screen)?;
    let patient = Patient {
        dir: &setup.data_dir,
        is_hub: true,
        mirrored: setup.config.mirror.is_some(),
        chain: || Box::new(HubChain::default()),
    };
    let door = setup.door().await;
    let looked = looked(args, &patient, door.as_ref(), &setup.screen).await;
    if let Ok(door) = door {
        door.close().await?;
    }
    looked
}

async fn looked(
    args: DoctorArgs,
    patient: &Patient<'_>,
    door: Result<&Door, &Failure>,
    screen: &Screen,
) -> Result<Exit, Failure> {
    let mut report = Report::default();
    let status = doctor::common(args, patient, door, &mut report, screen).await?;
    let is_running = door.is_ok_and(Door::is_elsewhere);
    if let (Ok(door), Some(status)) = (door, status) {
        let mut hub = HubClient::new(door.channel());
        cities(&hub.cities(CitiesRequest {}).await?.into_inner(), is_running, &mut report);
        mirror(settled(door, status).await?.as_ref(), patient.dir, &mut report);
    } else {
        report.not_done("mirror", say!("枢纽打不开", "the hub does not open"));
    }
    doctor::answer(&report, is_running, screen)
}

/// The mirror, once it has been looked at by a hub that was just opened.
async fn settled(door: &Door, mut status: StatusResponse) -> Result<Option<Mirror>, Failure> {
    for _ in 0..LOOKS {
        let is_open = |mirror: &Mirror| !mirror.live && mirror.failure_en.is_empty();
        if !status.mirror.as_ref().is_some_and(is_open) {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        status = door.upkeep().status(StatusRequest {}).await?.into_inner();
    }
    Ok(status.mirror)
}

fn mirror(mirror: Option<&Mirror>, dir: &Path, report: &mut Report) {
    let Some(mirror) = mirror else {
        return report.found("mirror", &codes::NO_MIRROR, say!("没有设置 mirror", "mirror is not set"));
    };
    let (shown, at) = (&mirror.dir, moment(mirror.reached_at_ms));
    if !mirror.failure_en.is_empty() {
        let said = Said::new(mirror.failure_zh.clone(), mirror.failure_en.clone());
        report.found("mirror", &codes::MIRROR_NOT_WRITTEN, said);
    } else if mirror.live {
        report.fine("mirror", say!("{shown}，{at} 与日志一致", "{shown}, as far as the log at {at}"));
    } else {
        report.found("mirror", &codes::MIRROR_BEHIND, say!("{shown}", "{shown}"));
    }
    if !mirror.damage_en.is_empty() {
        let said = Said::new(mirror.damage_zh.clone(), mirror.damage_en.clone());
        report.found("mirror", &codes::LOG_DAMAGED, said);
    }
    mirror_disk(dir, Path::new(&mirror.dir), report);
}

fn cities(answer: &CitiesResponse, is_running: bool, report: &mut Report) {
    if answer.unconfirmed_since_ms > 0 {
        let at = moment(answer.unconfirmed_since_ms);
        report.found("cities", &codes::HUB_UNCONFIRMED, say!("自 {at}", "since {at}"));
    }
    let (now, members) = (now_ms(), || answer.cities.iter().filter(|city| is_member(city)));
    let ending = |city: &&City| city.certificate_until_ms < now + ENDING_DAYS * DAY_MS;
    // A hub that has just started has given nobody the time to come back.
    let may_tell = is_running && answer.started_at_ms + BACK_WITHIN_MS < now;
    let silent = |city: &&City| {
        let heard = city.last_received_ms.max(city.changed_at_ms).max(city.seen_at_ms);
        may_tell && !city.connected && heard + SILENT_DAYS * DAY_MS < now
    };
    let mut is_fine = answer.unconfirmed_since_ms == 0;
    let ending = (&codes::CITY_CERTIFICATE_ENDING, names(members().filter(ending)));
    let silent = (&codes::CITY_SILENT, names(members().filter(silent)));
    for (code, names) in [ending, silent] {
        if !names.is_empty() {
            is_fine = false;
            report.found("cities", code, say!("{names}", "{names}"));
        }
    }
    let count = members().count();
    match (is_fine, is_running) {
        (false, _) => {}
        (true, true) => report.fine("cities", say!("{count} 个市已加入", "{count} cities have joined")),
        (true, false) => report.not_done(
            "cities",
            say!(
                "{count} 个市已加入；枢纽没有运行，看不出哪些市连着",
                "{count} cities have joined; the hub is not running, so who is connected cannot be seen"
            ),
        ),
    }
}

fn is_member(city: &City) -> bool {
    city.certificate_until_ms > 0 && city.standing == Standing::Member as u32
}

fn names<'a>(cities: impl Iterator<Item = &'a City>) -> String {
    cities.map(|city| SiteCode(city.site).to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn city(change: impl FnOnce(&mut City)) -> City {
        let mut city = City {
            site: 440_100,
            certificate_until_ms: now_ms() + 90 * DAY_MS,
            standing: Standing::Member as u32,
            ..City::default()
        };
        change(&mut city);
        city
    }

    /// What is told of a city at a hub that was started so many days ago.
    #[track_caller]
    fn check(started_days: u64, city: City, expected: &[&str]) {
        let started_at_ms = now_ms() - started_days * DAY_MS - 1_000;
        let answer = CitiesResponse { cities: vec![city], started_at_ms, ..CitiesResponse::default() };
        let mut report = Report::default();
        cities(&answer, true, &mut report);
        let json = report.json(true);
        let found = json["findings"].as_array().expect("findings").iter();
        let found: Vec<&str> = found.filter_map(|finding| finding["code"].as_str()).collect();
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn a_city_is_silent_once_it_has_had_the_time_to_be_heard() {
        let ago = |days: u64| now_ms() - days * DAY_MS;
        check(30, city(|it| it.last_received_ms = ago(8)), &["CITY_SILENT"]);
        check(1, city(|it| it.last_received_ms = ago(8)), &["CITY_SILENT"]);
        check(0, city(|it| it.last_received_ms = ago(8)), &[]);
        check(30, city(|it| it.last_received_ms = ago(6)), &[]);
        check(30, city(|it| (it.last_received_ms, it.standing) = (ago(20), Standing::Revoked as u32)), &[]);
        // One that has joined and sent nothing yet.
        check(30, city(|it| it.changed_at_ms = ago(6)), &[]);
        check(30, city(|it| it.changed_at_ms = ago(8)), &["CITY_SILENT"]);
        // One that has nothing to send, and was here.
        check(30, city(|it| (it.last_received_ms, it.seen_at_ms) = (ago(20), ago(1))), &[]);
        check(30, city(|it| (it.last_received_ms, it.connected) = (ago(20), true)), &[]);
    }

    #[test]
    fn cities_stand_in_the_report_once() {
        for is_running in [false, true] {
            let mut report = Report::default();
            let answer = CitiesResponse { cities: vec![city(|_| {})], ..CitiesResponse::default() };
            cities(&CitiesResponse { started_at_ms: now_ms(), ..answer }, is_running, &mut report);
            let json = report.json(is_running);
            let checks = json["checks"].as_array().expect("checks");
            assert_eq!(checks.len(), 1, "{json}");
            assert_eq!(checks[0]["result"], if is_running { "fine" } else { "not_done" });
        }
    }
}
