//! A sync between two hosts over a slow and lossy line: how long it takes, and that nothing is missing or there twice.

use std::path::Path;

use liandong_proto::city;
use liandong_proto::id::SiteCode;
use serde::Serialize;
use tokio::time::Instant;

use super::LineError;
use super::air::{Carried, Weather};
use super::cuts::{PATIENCE, whole, write};
use super::hosts::{HUB, Hosts};
use crate::bench::Members;
use crate::cluster::Cluster;
use crate::roster::Plan as Roster;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How bad the line is.
    pub weather: Weather,
    /// How many cities, all on one host.
    pub cities: usize,
    /// Changes of all cities together.
    pub changes: usize,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Report {
    /// How bad the line was.
    pub weather: Weather,
    /// Changes that went over it.
    pub changes: u64,
    /// Until everything was proved equal.
    pub seconds: f64,
    /// What the line carried and lost meanwhile.
    pub carried: Carried,
}

/// Runs a plan. The answer is why not, where this machine does not let anybody make hosts.
///
/// # Errors
/// [`LineError`].
pub async fn run(plan: &Plan, program: &Path, dir: &Path) -> Result<Result<Report, String>, LineError> {
    let mut hosts = match Hosts::new(program, plan.weather).await {
        Ok(hosts) => hosts,
        Err(why) => return Ok(Err(why)),
    };
    let cities: Vec<SiteCode> = city::cities().iter().take(plan.cities).map(|city| city.code).collect();
    let mut cluster = Cluster::make(program, dir, &cities).await?;
    cluster.live_on(&hosts.on(true), &hosts.on(false));
    cluster.listen_at(HUB);
    cluster.start_hub().await?;
    for city in &cities {
        cluster.join(*city).await?;
    }
    cluster.stop_hub().await?;
    cluster.start_nodes().await?;
    for (place, city) in cities.iter().enumerate() {
        let share = plan.changes / plan.cities + usize::from(place < plan.changes % plan.cities);
        let roster = Roster { cities: plan.cities, members: plan.changes, seed: plan.weather.seed };
        write(cluster.node(*city).clone(), Members::make(roster, place, 0, share)).await?;
    }
    let before = hosts.carried().await.map_err(LineError::Broken)?;
    let began = Instant::now();
    cluster.start_hub().await?;
    cluster.until_equal(PATIENCE, |_, _| {}).await?;
    let seconds = began.elapsed().as_secs_f64();
    let now = hosts.carried().await.map_err(LineError::Broken)?;
    cluster.stop().await?;
    whole(&cluster, &cities)?;
    let carried = Carried {
        datagrams: now.datagrams - before.datagrams,
        lost: now.lost - before.lost,
        bytes: now.bytes - before.bytes,
    };
    Ok(Ok(Report { weather: plan.weather, changes: plan.changes as u64, seconds, carried }))
}
