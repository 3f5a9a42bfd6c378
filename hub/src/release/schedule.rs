//! Releases that are published by themselves.

use std::sync::Arc;
use std::time::Duration;

use liandong_node::now::now_ms;
use tokio::sync::watch;

use super::ReleaseError;
use crate::hub::Hub;

const HOUR_MS: u64 = 3_600_000;
/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Publishes a release whenever the newest is so many hours old and something has come since, until `stopping`.
pub async fn publish(hub: Arc<Hub>, hours: u64, mut stopping: watch::Receiver<bool>) {
    if hours == 0 {
        return;
    }
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let hub = Arc::clone(&hub);
        let done = tokio::task::spawn_blocking(move || due(&hub, hours, now_ms())).await;
        match done {
            Ok(Ok(Some(release))) => tracing::info!(release, "a release is published"),
            Ok(Err(error)) => tracing::error!(%error, "no release could be published; it is tried again"),
            _ => {}
        }
    }
}

/// Publishes a release if one is due: which.
fn due(hub: &Hub, hours: u64, now_ms: u64) -> Result<Option<u64>, ReleaseError> {
    let here = hub.read(|published| published.row.hub_seq);
    let latest = hub.releases().latest()?;
    let is_due = latest.is_none_or(|latest| {
        latest.hub_seq < here && now_ms.saturating_sub(latest.published_ms) >= hours * HOUR_MS
    });
    if !is_due {
        return Ok(None);
    }
    Ok(Some(hub.shared.publish_release("", "", now_ms, &mut |_| {})?.release))
}
