//! Waiting until every node and the hub have proved to each other that they show the same.

use std::collections::BTreeMap;
use std::time::Duration;

use liandong_proto::id::SiteCode;
use liandong_proto::pb::hub::v1::City;
use liandong_proto::pb::node::v1::{Comparison, Link, StatusResponse};

use super::{Cluster, ClusterError};

const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A city once everything has been exchanged: what it says of itself, and what the hub says of it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The node's own status.
    pub node: StatusResponse,
    /// The hub's view.
    pub hub: City,
}

impl Cluster {
    /// Waits until, for every node that runs, the hub has confirmed its whole log, the node has taken in its
    /// whole feed, and a comparison over exactly that came out equal. `on` hears how many of how many cities
    /// stand so.
    ///
    /// # Errors
    /// [`ClusterError::Different`] at the first comparison that ends otherwise; [`ClusterError::Slow`] when
    /// nothing has moved for `patience`. A site that cannot be reached is waited for: it may be started
    /// again.
    pub async fn until_equal(
        &self,
        patience: Duration,
        mut on: impl FnMut(usize, usize),
    ) -> Result<BTreeMap<SiteCode, Standing>, ClusterError> {
        let mut seen = Vec::new();
        let mut idle = Duration::ZERO;
        loop {
            let nodes = self.statuses().await?;
            let mut equal: Vec<SiteCode> =
                nodes.values().flatten().filter(|status| covers(status)).map(|s| SiteCode(s.site)).collect();
            // The order matters: a node that has nothing left to send can no longer give another one news.
            let hub = if equal.len() == nodes.len() { self.seen_by_hub().await } else { None };
            if let Some(hub) = &hub {
                equal.retain(|city| hub.get(city).is_some_and(|c| c.lag_changes == 0 && c.comparison == 1));
            }
            on(equal.len(), nodes.len());
            if let Some(hub) = hub.as_ref().filter(|_| equal.len() == nodes.len()) {
                let again = self.statuses().await?;
                if again.values().flatten().filter(|status| covers(status)).count() == nodes.len() {
                    let standing = |(city, node): (SiteCode, Option<StatusResponse>)| {
                        Some((city, Standing { node: node?, hub: hub.get(&city)?.clone() }))
                    };
                    return Ok(again.into_iter().filter_map(standing).collect());
                }
            }
            let now: Vec<_> = nodes.values().flatten().map(place).collect();
            idle = if now == seen { idle + LOOK_AGAIN } else { Duration::ZERO };
            seen = now;
            if idle >= patience {
                let late = nodes.iter().filter(|(city, _)| !equal.contains(city));
                let late: Vec<String> =
                    late.map(|(city, status)| describe(*city, status.as_ref(), hub.as_ref())).collect();
                return Err(ClusterError::Slow(format!("equal records at {}", late.join("; "))));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Status of every node that should run; `None` for one that cannot be reached.
    async fn statuses(&self) -> Result<BTreeMap<SiteCode, Option<StatusResponse>>, ClusterError> {
        let mut out = BTreeMap::new();
        for node in self.running() {
            let status = match node.door().await {
                Ok(door) => door.status().await.ok(),
                Err(_) => None,
            };
            if let Some(status) = &status {
                if status.comparison() == Comparison::Different {
                    return Err(ClusterError::Different(node.site));
                }
                if matches!(status.link(), Link::Refused | Link::Diverged) {
                    let why = format!("{}: {} · {}", node.site, status.link_zh, status.link_en);
                    return Err(ClusterError::Refused(why));
                }
            }
            out.insert(node.site, status);
        }
        Ok(out)
    }

    async fn seen_by_hub(&self) -> Option<BTreeMap<SiteCode, City>> {
        let cities = self.hub().door().await.ok()?.cities().await.ok()?.cities;
        Some(cities.into_iter().map(|city| (SiteCode(city.site), city)).collect())
    }
}

/// Whether the last comparison was equal and is about all that the node has.
fn covers(status: &StatusResponse) -> bool {
    status.comparison() == Comparison::Equal
        && status.confirmed_seq == status.head_seq
        && status.compared_own_seq == status.head_seq
        && status.compared_hub_seq == status.hub_seq
}

/// Where a city stands that is not equal, for the person who has to find out why.
fn describe(
    city: SiteCode,
    status: Option<&StatusResponse>,
    hub: Option<&BTreeMap<SiteCode, City>>,
) -> String {
    let Some(status) = status else { return format!("{city}: cannot be reached") };
    let link = status.link().as_str_name();
    let head = (status.head_seq, status.confirmed_seq, status.compared_own_seq);
    let feed = (status.hub_seq, status.compared_hub_seq);
    let lag = hub.and_then(|hub| Some((hub.get(&city)?.lag_changes, hub.get(&city)?.comparison)));
    format!(
        "{city}: {link} {}, own log (head, confirmed, compared) {head:?}, feed (cursor, compared) {feed:?}, at the hub \
         (lag, comparison) {lag:?}",
        status.link_en
    )
}

/// What moves while anything happens.
fn place(status: &StatusResponse) -> (u32, u64, u64, u64, u64) {
    (status.site, status.head_seq, status.confirmed_seq, status.hub_seq, status.compared_at_ms)
}
