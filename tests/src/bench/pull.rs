//! What analysts wait for: publishing a release, pulling all of a table, and a question over it.
//!
//! The members are made in memory and published into the directory of a hub, which then serves them as it would its own: a
//! million records need not be synced for it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use liandong_hub::release::{Issue, Releases};
use liandong_node::cli::screen::Screen;
use liandong_node::index::{Index, IndexOptions, Pace, Staged};
use liandong_node::now::now_ms;
use liandong_node::rows;
use liandong_node::site::SiteError;
use liandong_node::store::MemoryStore;
use liandong_node::text::Said;
use liandong_proto::city;
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::pb::log::v1 as log;
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{RecordState, Setter, Writer};
use prost::Message as _;
use serde::Serialize;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{BenchError, Members, PullArgs};
use crate::cluster::{Cluster, ClusterError};
use crate::federation::analysts;
use crate::roster::{Plan, SplitMix64};

const MEMBER: u32 = 1;
/// Rows that are staged at once.
const GROUP: usize = 10_000;
/// How often a question is asked; the median counts.
const TIMES: usize = 7;
const ALL: &str = "SELECT * FROM members";
const GROUPED: &str =
    "SELECT site, qualification_level, count(*) AS members FROM members GROUP BY site, qualification_level";
/// Prints rows and seconds of the fastest of five pulls.
const PYARROW: &str = "
import sys, time, pyarrow.flight as fl
address, ca, token, sql = sys.argv[1:5]
client = fl.FlightClient(address, tls_root_certs=open(ca, 'rb').read())
shown = client.authenticate_basic_token('token', token)
options = fl.FlightCallOptions(headers=[shown, (b'arrow-compression', b'lz4')])
from pyarrow._flight import FlightDescriptor
def any_of(name, query):
    body = b'\\x0a' + varint(len(query)) + query
    url = b'type.googleapis.com/arrow.flight.protocol.sql.' + name
    return b'\\x0a' + varint(len(url)) + url + b'\\x12' + varint(len(body)) + body
def varint(n):
    out = b''
    while n >= 128:
        out += bytes([n & 127 | 128]); n >>= 7
    return out + bytes([n])
command = any_of(b'CommandStatementQuery', sql.encode())
best = None
for _ in range(5):
    began = time.perf_counter()
    info = client.get_flight_info(FlightDescriptor.for_command(command), options)
    rows = client.do_get(info.endpoints[0].ticket, options).read_all().num_rows
    took = time.perf_counter() - began
    best = took if best is None else min(best, took)
print(rows, best)
";

/// What was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Members in the release.
    pub rows: u64,
    /// Until the release was published.
    pub publish_s: f64,
    /// Bytes of the members' file.
    pub file_bytes: u64,
    /// `SELECT *` by the secretariat.
    pub registrar: Pulled,
    /// `SELECT *` by a study.
    pub analyst: Pulled,
    /// `GROUP BY` city and level: the median.
    pub group_ms: f64,
    /// The most memory that the hub has held, in bytes.
    pub hub_rss_bytes: u64,
}

/// How long `SELECT *` takes somebody.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pulled {
    /// The first time, when what is sent is made.
    pub first_s: f64,
    /// Into this program, the fastest of five.
    pub rust_s: f64,
    /// The same into pyarrow; absent where that cannot be run.
    pub pyarrow_s: Option<f64>,
}

impl Figures {
    pub fn json(&self) -> Value {
        json!(self)
    }

    pub fn text(&self) -> String {
        let rate = |seconds: f64| self.rows as f64 / seconds / 1e6;
        let pulled = |role: &str, pulled: &Pulled| {
            let pyarrow = match pulled.pyarrow_s {
                Some(seconds) => format!("pyarrow {seconds:.3} s, {:.2} M rows/s", rate(seconds)),
                None => "没有 pyarrow，未测 · no pyarrow: not measured".into(),
            };
            let (first, rust) = (pulled.first_s, pulled.rust_s);
            format!(
                "SELECT * {role:<19} {rust:.3} s, {:.2} M rows/s; {pyarrow}; 首次 first {first:.2} s",
                rate(rust)
            )
        };
        [
            format!("{} members, file {} MB", self.rows, self.file_bytes / 1_000_000),
            format!("发布 publish                 {:.2} s", self.publish_s),
            pulled("registrar", &self.registrar),
            pulled("analyst", &self.analyst),
            format!("GROUP BY site, level         {:.1} ms", self.group_ms),
            format!("枢纽内存 hub memory, peak    {} MiB", self.hub_rss_bytes >> 20),
        ]
        .join("\n")
    }
}

/// # Errors
/// [`BenchError`].
pub fn run(args: &PullArgs, dir: &Path, screen: &Screen) -> Result<Figures, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::io("this program"))?;
    let failed = |why: String| BenchError::Child { name: "pull".into(), why };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(BenchError::io("the runtime"))?;
    let mut cluster =
        runtime.block_on(Cluster::make(&program, dir, &[])).map_err(|e| failed(e.to_string()))?;
    screen.note(&Said::new("生成会员", "making members"));
    let index = filled(dir, args.rows as usize, args.seed)?;
    screen.note(&Said::new("发布", "publishing"));
    let mut figures = Figures { rows: u64::from(args.rows), ..Figures::default() };
    let releases = Releases::new(cluster.hub().data_dir.join("releases"));
    let began = now();
    let issue = Issue { note: "", now_ms: now_ms(), used: 0, claim: &|_| Ok(()) };
    let manifest = releases.publish(&index, &issue, &mut |_| {}).map_err(|e| failed(e.to_string()))?;
    figures.publish_s = began.elapsed().as_secs_f64();
    let members = manifest.tables.iter().find(|table| table.name == "members");
    figures.file_bytes = members.map_or(0, |table| table.bytes);
    index.close().map_err(SiteError::from)?;
    let pulled = async {
        cluster.start_hub().await?;
        screen.note(&Said::new("查询", "pulling"));
        let pulled = pull(&cluster, &mut figures).await;
        cluster.stop().await?;
        pulled
    };
    runtime.block_on(pulled).map_err(|error| failed(error.to_string()))?;
    Ok(figures)
}

#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// An index with so many members, shared out to the cities.
fn filled(dir: &Path, rows: usize, seed: u64) -> Result<Index, BenchError> {
    let index = Index::open(IndexOptions {
        dir: dir.join("index"),
        engine: Box::new(|_| Ok(Arc::new(MemoryStore::default()))),
        overlay_bytes: 64 << 20,
        pace: Pace::default(),
        before_apply: Box::new(|_| Ok(())),
        in_log: Box::new(|_| true),
    })
    .map_err(SiteError::from)?
    .0;
    let cities = city::cities();
    let plan = Plan { cities: cities.len(), members: rows, seed };
    let mut random = SplitMix64::of(&[seed, 0xB017]);
    let mut hub_seq = 0;
    for (place, city) in cities.iter().enumerate() {
        let share = rows / cities.len() + usize::from(place < rows % cities.len());
        let members = Members::make(plan, place, 0, share);
        for from in (0..share).step_by(GROUP) {
            let mut staged = Vec::with_capacity(GROUP + 1);
            for at in from..(from + GROUP).min(share) {
                hub_seq += 1;
                let record = RecordId::v7(hub_seq, std::array::from_fn(|_| random.next() as u8));
                let state = state(city.code, hub_seq, members.get(at));
                let new = Some(Bytes::from(state.encode()));
                staged.push(Staged { key: rows::record(MEMBER, record), old: None, new });
            }
            let row = log::SiteRow { site: 440_000, generation: 1, hub_seq, ..log::SiteRow::default() };
            let old = index.get(rows::SITE).map_err(SiteError::from)?.map(|item| item.check);
            let new = Some(Bytes::from(row.encode_to_vec()));
            staged.push(Staged { key: Bytes::from_static(rows::SITE), old, new });
            index.stage(&staged, [0; 16]);
        }
    }
    index.flush().map_err(SiteError::from)?;
    Ok(index)
}

fn state(home: SiteCode, hub_seq: u64, fields: liandong_proto::fields::Fields) -> RecordState {
    let origin = Origin { site: home, epoch: Epoch([1; 16]) };
    let mut state = RecordState::new(home);
    (state.hub_seq, state.fields) = (hub_seq, fields);
    state.writers.push(Writer { origin, seq: hub_seq });
    state.setters.push(Setter {
        origin,
        seq: hub_seq,
        hub_seq,
        stamp: Stamp::at_ms(1_795_000_000_000 + hub_seq),
    });
    state
}

async fn pull(cluster: &Cluster, figures: &mut Figures) -> Result<(), ClusterError> {
    figures.registrar = all(cluster, "registrar", figures.rows).await?;
    figures.analyst = all(cluster, "analyst", figures.rows).await?;
    let token = analysts::token(cluster, "analyst").await?;
    let mut client = analysts::client(cluster, &token).await?;
    let mut groups = Vec::new();
    for _ in 0..TIMES {
        groups.push(timed(&mut client, GROUPED).await?.1.as_secs_f64() * 1e3);
    }
    groups.sort_by(f64::total_cmp);
    figures.group_ms = groups[TIMES / 2];
    figures.hub_rss_bytes = cluster.hub().door().await?.status().await?.rss_bytes;
    Ok(())
}

/// All of a table as somebody of a role.
async fn all(cluster: &Cluster, role: &str, rows: u64) -> Result<Pulled, ClusterError> {
    let token = analysts::token(cluster, role).await?;
    let mut client = analysts::client(cluster, &token).await?;
    client.set_header("arrow-compression", "lz4");
    let mut pulls = Vec::new();
    for _ in 0..6 {
        let (came, took) = timed(&mut client, ALL).await?;
        if came != rows {
            return Err(ClusterError::Refused(format!("{came} rows came of {rows}")));
        }
        pulls.push(took.as_secs_f64());
    }
    let first_s = pulls.remove(0);
    let rust_s = pulls.into_iter().fold(f64::INFINITY, f64::min);
    Ok(Pulled { first_s, rust_s, pyarrow_s: pyarrow(cluster, &token) })
}

async fn timed(
    client: &mut FlightSqlServiceClient<Channel>,
    sql: &str,
) -> Result<(u64, Duration), ClusterError> {
    let failed = |error: &dyn std::fmt::Display| ClusterError::Refused(error.to_string());
    let (began, mut rows) = (now(), 0);
    let info = client.execute(sql.to_owned(), None).await.map_err(|error| failed(&error))?;
    for ticket in info.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket) {
        let mut batches = client.do_get(ticket).await.map_err(|error| failed(&error))?;
        while let Some(batch) = batches.try_next().await.map_err(|error| failed(&error))? {
            rows += batch.num_rows() as u64;
        }
    }
    Ok((rows, began.elapsed()))
}

/// Seconds of the fastest pull into pyarrow, where it can be run: by the Python that `LIANDONG_TEST_PYTHON` names.
fn pyarrow(cluster: &Cluster, token: &str) -> Option<f64> {
    let python = std::env::var("LIANDONG_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let address = format!("grpc+tls://{}", cluster.ports()?.analysts);
    let ca = cluster.hub().data_dir.join("keys").join("ca.crt");
    let told = Command::new(python)
        .args(["-c", PYARROW, &address])
        .arg(ca)
        .args([token, ALL])
        .output()
        .ok()
        .filter(|told| told.status.success())?;
    String::from_utf8(told.stdout).ok()?.split_whitespace().nth(1)?.parse().ok()
}
