//! How the hub is, for monitoring: OpenMetrics, and Prometheus' older text format for whoever does not ask for that. Labels name cities and roles, never a person, a record or a value.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use liandong_node::log::Pos;
use liandong_proto::city;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{No, admit};
use crate::analysts::Desk;
use crate::hub::{Hub, locked};
use crate::release::{ReleaseError, Role};

/// As HTTP names it.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// Whether the hub takes writes.
pub async fn ready(State(desk): State<Desk>) -> Response {
    match desk.hub.alive() {
        Ok(()) => "ready\n".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the hub takes no writes; see status and doctor\n")
            .into_response(),
    }
}

/// All metrics, for whoever shows a token that is for more than counts: they count what a city of few records has.
pub async fn metrics(State(desk): State<Desk>, headers: HeaderMap) -> Result<Response, No> {
    if admit(&desk, &headers)?.reader.role() == Role::Public {
        return Err(No::Role(
            "a token of the role public does not read metrics; make one with: liandong-hub token create --role analyst",
        ));
    }
    let hub = Arc::clone(&desk.hub);
    let text = tokio::task::spawn_blocking(move || text(&hub)).await;
    let text = text.map_err(|_| No::Asked("the request was cut short; try again".into()))??;
    let takes = headers.get(header::ACCEPT).and_then(|takes| takes.to_str().ok()).unwrap_or_default();
    Ok(if takes.contains(OPEN_METRICS) {
        let kind = format!("{OPEN_METRICS}; version=1.0.0; charset=utf-8");
        ([(header::CONTENT_TYPE, kind)], text).into_response()
    } else {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], older(&text)).into_response()
    })
}

/// OpenMetrics in the text format of before (<https://prometheus.io/docs/instrumenting/exposition_formats/>): it has no units
/// and no end, and a counter's family has the name of its samples.
fn older(text: &str) -> String {
    let type_of = |line: &'_ str| Some(line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned());
    let counters: HashSet<String> = text.lines().filter_map(type_of).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(family), Some(rest)) if counters.contains(family) => {
                let _ = writeln!(out, "# {what} {family}_total {rest}");
            }
            _ => out.extend([line, "\n"]),
        }
    }
    out
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct City {
    site: u32,
}

fn text(hub: &Hub) -> Result<String, ReleaseError> {
    let mut registry = Registry::with_prefix("liandong");
    let published = hub.read(Clone::clone);
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: u64| {
        let gauge = <Gauge<u64, AtomicU64>>::default();
        gauge.set(value);
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, gauge),
            None => registry.register(name, help, gauge),
        }
    };
    gauge("hub_seq", "Newest place in the hub's order", None, published.row.hub_seq);
    gauge("log", "Size of the log", Some(Unit::Bytes), hub.shared.log.bytes_from(Pos::default()));
    let health = hub.index().health();
    gauge("index_lag_changes", "Rows that are not in the store yet", None, health.lag as u64);
    gauge("index_damaged", "Whether the index has ended", None, u64::from(health.damaged));
    let latest = hub.releases().latest()?;
    gauge("release_latest", "Number of the newest release", None, latest.as_ref().map_or(0, |it| it.release));
    gauge(
        "release_hub_seq",
        "Place up to which it reaches",
        None,
        latest.as_ref().map_or(0, |it| it.hub_seq),
    );

    let commits: Counter = Counter::default();
    commits.inc_by(hub.shared.committed.rounds());
    registry.register("commits", "Commits since the start", commits);
    let syncs: Counter<f64, AtomicU64> = Counter::default();
    syncs.inc_by(hub.shared.committed.sync_seconds());
    registry.register_with_unit("commit_sync", "Time that commits waited for the disk", Unit::Seconds, syncs);

    type Cities = Family<City, Gauge<u64, AtomicU64>>;
    let families: [(&str, &str, Option<Unit>, Cities); 6] = [
        ("city_connected", "Whether the city has a session", None, Cities::default()),
        ("city_seq", "Newest entry of the city's log", None, Cities::default()),
        ("city_last_received", "When it was received, since 1970", Some(Unit::Seconds), Cities::default()),
        (
            "city_unconfirmed_changes",
            "Places of the order that the city has not confirmed",
            None,
            Cities::default(),
        ),
        ("city_open_findings", "Findings that name the city, in the newest release", None, Cities::default()),
        ("city_incomplete_records", "Records left out of the newest release", None, Cities::default()),
    ];
    let (sessions, learned) = (locked(&hub.shared.sessions), locked(&hub.shared.cities));
    for city in city::cities() {
        let label = City { site: city.code.0 };
        let connected = sessions.get(&city.code).is_some_and(|session| !session.is_closed());
        let row = published.registry.living(city.code).map(|(_, row)| row.clone()).unwrap_or_default();
        let applied = learned.get(&city.code).map_or(0, |city| city.applied);
        let counted =
            latest.as_ref().and_then(|it| it.cities.iter().find(|it| it.site == city.code.0)?.counted);
        let counted = counted.unwrap_or_default();
        let behind = if applied == 0 { 0 } else { published.row.hub_seq.saturating_sub(applied) };
        let values = [
            u64::from(connected),
            row.seq,
            row.last_received_ms / 1_000,
            behind,
            counted.open_findings,
            counted.incomplete,
        ];
        for ((_, _, _, family), value) in families.iter().zip(values) {
            family.get_or_create(&label).set(value);
        }
    }
    drop((sessions, learned));
    for (name, help, unit, family) in families {
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, family),
            None => registry.register(name, help, family),
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes everything");
    Ok(text)
}
