//! How long a comparison of node and hub takes and what goes over the wire for it: equal, and with one altered record.
//!
//! Measured from the moment at which the node reaches the hub, so that the handshake, the greeting and the pause before a
//! comparison are part of it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use liandong_node::cli::screen::Screen;
use liandong_node::now::now_ms;
use liandong_node::site::Paths;
use liandong_node::store::open_sled;
use liandong_node::text::Said;
use liandong_proto::city;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1::Put;
use liandong_proto::state::RecordState;
use serde::Serialize;
use serde_json::{Value, json};

use super::{BenchError, CompareArgs, Members};
use crate::chaos::alter;
use crate::cluster::{Cluster, ClusterError, Home};
use crate::line::Line;
use crate::roster::Plan;

const MEMBER: u32 = 1;
const GROUP: usize = 500;
const CACHE: u64 = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// One comparison.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Compared {
    /// From the connection on.
    pub seconds: f64,
    /// Both ways, TLS and all.
    pub bytes: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// Records of the city.
    pub records: u32,
    /// Nothing differs.
    pub equal: Compared,
    /// One record differs: until both sides have its name.
    pub altered: Compared,
    /// And until it is put right and a second comparison has proved it.
    pub repaired: Compared,
}

impl Figures {
    pub fn json(&self) -> Value {
        json!(self)
    }

    pub fn text(&self) -> String {
        let line = |what: &str, it: &Compared| format!("{what:<34}{:>8.2} s {:>10} B", it.seconds, it.bytes);
        [
            format!("{} records", self.records),
            line("相同 equal", &self.equal),
            line("一条被改动，指出 altered, named", &self.altered),
            line("修复并再次比较 repaired, proved", &self.repaired),
        ]
        .join("\n")
    }
}

/// # Errors
/// [`BenchError`].
pub fn run(args: &CompareArgs, dir: &Path, screen: &Screen) -> Result<Figures, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::io("this program"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(BenchError::io("the runtime"))?;
    runtime
        .block_on(measure(args, &program, dir, screen))
        .map_err(|error| BenchError::Child { name: "compare".into(), why: error.to_string() })
}

async fn measure(
    args: &CompareArgs,
    program: &Path,
    dir: &Path,
    screen: &Screen,
) -> Result<Figures, ClusterError> {
    let city = city::cities()[0].code;
    let line = Line::new().await.map_err(ClusterError::file(dir))?;
    let mut cluster = Cluster::make(program, dir, &[city]).await?;
    cluster.start_hub().await?;
    cluster.join(city).await?;
    cluster.reach_hub_at(&line.address);
    line.up(&cluster.ports().map(|ports| ports.sync.clone()).unwrap_or_default());
    cluster.start_node(city).await?;
    screen.note(&Said::new("写入并同步", "writing and syncing"));
    let roster = Plan { cities: 1, members: args.records as usize, seed: args.seed };
    let members = Members::make(roster, 0, 0, args.records as usize);
    let door = cluster.node(city).door().await?;
    let mut last = None;
    for from in (0..members.len()).step_by(GROUP) {
        let to = (from + GROUP).min(members.len());
        let put = |at| Put { kind: MEMBER, set: members.get(at).bytes().clone(), ..Put::default() };
        last = door.put_all((from..to).map(put).collect()).await?.pop();
    }
    drop(door);
    cluster.until_equal(PATIENCE, |_, _| {}).await?;
    screen.note(&Said::new("比较", "comparing"));
    let mut figures = Figures { records: args.records, ..Figures::default() };
    figures.equal = again(&mut cluster, city, &line, Until::Equal, |_| Ok(())).await?;
    let record = last.ok_or_else(|| ClusterError::Slow("a record".into()))?;
    let alter = |home: &Home| {
        let engine = Box::new(|dir: &Path| open_sled(dir, CACHE));
        let gone = |state: &mut RecordState| state.deleted_by = Some(0);
        alter(&Paths::new(&home.data_dir).index(), engine, (MEMBER, record), gone)
            .map_err(ClusterError::Refused)
    };
    figures.altered = again(&mut cluster, city, &line, Until::Named, alter).await?;
    figures.repaired = again(&mut cluster, city, &line, Until::Equal, alter).await?;
    put_right(&cluster).await?;
    cluster.stop().await?;
    Ok(figures)
}

#[derive(Clone, Copy)]
enum Until {
    /// The hub knows both sides to be equal.
    Equal,
    /// Both sides have named what differs.
    Named,
}

/// Starts the node anew, after something has been done to its files, and waits for how its first comparison ends.
async fn again(
    cluster: &mut Cluster,
    city: SiteCode,
    line: &Line,
    until: Until,
    between: impl FnOnce(&Home) -> Result<(), ClusterError>,
) -> Result<Compared, ClusterError> {
    put_right(cluster).await?;
    cluster.stop_node(city).await?;
    between(cluster.node(city))?;
    let (node, hub) = (cluster.node(city).clone(), cluster.hub().clone());
    let said = |home: &Home| fs::read_to_string(&home.log).unwrap_or_default().matches("differently").count();
    let (before, at_node, at_hub, began) = (line.passed(), said(&node), said(&hub), now_ms());
    let reached = tokio::spawn(line.next_connection());
    cluster.start_node(city).await?;
    let door = hub.door().await?;
    let waiting = async {
        loop {
            let is_over = match until {
                Until::Named => said(&node) > at_node && said(&hub) > at_hub,
                Until::Equal => {
                    let cities = door.cities().await?.cities;
                    cities.iter().any(|city| city.compared_at_ms >= began && city.comparison == 1)
                }
            };
            if is_over {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited
        .map_err(|_| ClusterError::Slow("a comparison".into()))
        .and_then(|waited: Result<(), ClusterError>| waited)?;
    let now = line.passed();
    let seconds = reached.await.ok().flatten().map_or(0.0, |reached| reached.elapsed().as_secs_f64());
    Ok(Compared { seconds, bytes: now.up + now.down - before.up - before.down })
}

/// Waits until all is equal: what differs meanwhile is put right.
async fn put_right(cluster: &Cluster) -> Result<(), ClusterError> {
    let waiting = async {
        loop {
            match cluster.until_equal(PATIENCE, |_, _| {}).await {
                Err(ClusterError::Different(_)) => tokio::time::sleep(10 * LOOK_AGAIN).await,
                ended => return ended.map(drop),
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.map_err(|_| ClusterError::Slow("equal records".into()))?
}
