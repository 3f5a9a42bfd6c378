//! A sync that is cut again and again, held against one that is not: what it costs, and that nothing is missing or there
//! twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use liandong_node::log::{Log, Options, Pos};
use liandong_node::site::{Paths, record_kind};
use liandong_proto::city;
use liandong_proto::entry::Header;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::log::v1 as log_pb;
use liandong_proto::pb::node::v1::Put;
use liandong_proto::schema::Text;
use prost::Message as _;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::LineError;
use super::relay::{Line, Passed};
use crate::bench::Members;
use crate::cluster::{Cluster, ClusterError, Home};
use crate::roster::{Plan as Roster, SplitMix64};

/// Number of the kind that is written.
const MEMBER: u32 = 1;
/// Members of one write.
const GROUP: usize = 500;
/// How long nothing may move.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many cities.
    pub cities: usize,
    /// Changes of all cities together.
    pub changes: usize,
    /// How often the line is cut.
    pub cuts: u64,
    /// Decides where it is cut, and what is written.
    pub seed: u64,
}

/// One sync.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sync {
    /// Bytes on the line, TLS and all, towards the hub.
    pub up: u64,
    /// Bytes towards the cities.
    pub down: u64,
    /// Connections.
    pub connections: u64,
    /// How many of them were cut.
    pub cuts: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Sync {
    fn bytes(&self) -> u64 {
        self.up + self.down
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Report {
    /// Changes of all cities.
    pub changes: u64,
    /// Without a cut.
    pub uncut: Sync,
    /// With cuts.
    pub cut: Sync,
    /// Bytes with cuts to bytes without.
    pub ratio: f64,
    /// Entries that the hub lacks in the end; a run with one ends with an error.
    pub gaps: u64,
    /// Entries that the hub holds twice; likewise.
    pub duplicates: u64,
}

/// Runs both syncs; `program` has the hidden subcommands. `on` hears what is done now.
///
/// # Errors
/// [`LineError`], also when anything is missing or there twice in the end.
pub async fn run(plan: &Plan, program: &Path, dir: &Path, on: impl Fn(Text)) -> Result<Report, LineError> {
    on(Text { zh: "不切断地同步", en: "syncing without a cut" });
    let uncut = sync(plan, program, &dir.join("uncut"), None).await?;
    on(Text { zh: "反复切断地同步", en: "syncing with cuts" });
    let cut = sync(plan, program, &dir.join("cut"), Some(uncut.bytes())).await?;
    if cut.cuts != plan.cuts {
        return Err(LineError::Broken(format!("{} cuts came to pass, not {}", cut.cuts, plan.cuts)));
    }
    let ratio = cut.bytes() as f64 / uncut.bytes() as f64;
    Ok(Report { changes: plan.changes as u64, uncut, cut, ratio, gaps: 0, duplicates: 0 })
}

/// Writes at cities that are offline, then brings up the line until all is proved equal. With `bytes`, what an uncut sync
/// takes, it is cut within that.
async fn sync(plan: &Plan, program: &Path, dir: &Path, bytes: Option<u64>) -> Result<Sync, LineError> {
    let cities: Vec<SiteCode> = city::cities().iter().take(plan.cities).map(|city| city.code).collect();
    let line = Line::new().await.map_err(ClusterError::file(dir))?;
    let mut cluster = Cluster::make(program, dir, &cities).await?;
    cluster.start_hub().await?;
    for city in &cities {
        cluster.join(*city).await?;
    }
    cluster.reach_hub_at(&line.address);
    cluster.start_nodes().await?;
    let mut writing = JoinSet::new();
    for (place, city) in cities.iter().enumerate() {
        let share = plan.changes / plan.cities + usize::from(place < plan.changes % plan.cities);
        let roster = Roster { cities: plan.cities, members: plan.changes, seed: plan.seed };
        writing.spawn(write(cluster.node(*city).clone(), Members::make(roster, place, 0, share)));
    }
    while let Some(written) = writing.join_next().await {
        written.map_err(|error| LineError::Broken(error.to_string()))??;
    }
    if let Some(bytes) = bytes {
        let mut random = SplitMix64::of(&[plan.seed, 0xC075]);
        let share = bytes / (plan.cuts + 1);
        let amounts = (0..plan.cuts).map(|n| n * share + random.next() % share.max(1));
        line.cut_after(amounts.collect::<Vec<_>>().into_iter());
    }
    let began = Instant::now();
    let hub = cluster.ports().map(|ports| ports.sync.clone()).unwrap_or_default();
    line.up(&hub);
    cluster.until_equal(PATIENCE, |_, _| {}).await?;
    let seconds = began.elapsed().as_secs_f64();
    let Passed { up, down, connections, cuts } = line.passed();
    cluster.stop().await?;
    whole(&cluster, &cities)?;
    Ok(Sync { up, down, connections, cuts, seconds })
}

pub(super) async fn write(home: Home, members: Members) -> Result<(), ClusterError> {
    let door = home.door().await?;
    for from in (0..members.len()).step_by(GROUP) {
        let to = (from + GROUP).min(members.len());
        let put = |at| Put { kind: MEMBER, set: members.get(at).bytes().clone(), ..Put::default() };
        door.put_all((from..to).map(put).collect()).await?;
    }
    Ok(())
}

/// Reads the hub's log: every entry of every city stands there once, and none is left out.
pub(super) fn whole(cluster: &Cluster, cities: &[SiteCode]) -> Result<(), LineError> {
    let mut wanted = BTreeMap::new();
    for city in cities {
        let own = records(cluster.node(*city))?.into_iter().filter(|(kind, _)| *kind == record_kind::OWN);
        wanted.insert(*city, own.count() as u64);
    }
    let mut at: BTreeMap<SiteCode, u64> = BTreeMap::new();
    for (_, payload) in records(cluster.hub())?.into_iter().filter(|(kind, _)| *kind == record_kind::COMMIT) {
        let commit = log_pb::Commit::decode(payload).map_err(|error| LineError::Broken(error.to_string()))?;
        for entry in &commit.entries {
            let header =
                Header::decode(&entry.header).map_err(|error| LineError::Broken(error.to_string()))?;
            let (site, seq) = (header.origin.site, header.seq);
            let before = at.insert(site, seq).unwrap_or(0);
            if seq != before + 1 {
                let what = if seq <= before { "stands there twice" } else { "comes after a gap" };
                return Err(LineError::Broken(format!("entry {seq} of {site} {what}: {before} came before")));
            }
        }
    }
    for (city, wanted) in wanted {
        let held = at.get(&city).copied().unwrap_or(0);
        if held != wanted {
            return Err(LineError::Broken(format!(
                "the hub holds {held} entries of {city}, which has {wanted}"
            )));
        }
    }
    Ok(())
}

fn records(home: &Home) -> Result<Vec<(u8, bytes::Bytes)>, LineError> {
    let unreadable =
        |error: liandong_node::log::LogError| LineError::Broken(format!("{}: {error}", home.site));
    let (log, _) = Log::open(&Paths::new(&home.data_dir).log(), Options::default()).map_err(unreadable)?;
    log.read(Pos::default()).map(|raw| raw.map(|raw| (raw.kind, raw.payload)).map_err(unreadable)).collect()
}
