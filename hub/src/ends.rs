//! What comes to its end, certificates and agreements of the cities, is told in the log in good time.

use std::sync::Arc;

use liandong_node::now::now_ms;
use liandong_node::trust::ends::{LOOK_AGAIN, Told};
use liandong_proto::city;
use liandong_proto::validate::today;
use tokio::sync::watch;

use crate::hub::Hub;

impl Hub {
    /// Warns of certificates that come to their end.
    fn tell_of_certificates(&self, told: &mut Told) {
        let published = self.read(Clone::clone);
        for (site, until_ms) in published.registry.members.certificates() {
            if let Some((ends, days)) = told.news(site, until_ms, now_ms()) {
                ends.tell(site, days);
            }
        }
    }

    /// Warns of agreements that come to their end: 90 days before for the first time.
    fn tell_of_agreements(&self) {
        let published = self.read(Clone::clone);
        let today = today(now_ms());
        for city in city::cities() {
            let site = city.code;
            let line = published.registry.members.line_of(site);
            if line.is_empty() {
                continue;
            }
            match published.registry.agreements.check(site, today, &line) {
                Ok(to) => match to.number() - today.number() {
                    days @ 0..=7 => {
                        tracing::error!(%site, days, "the agreement with a city is at its end: its sync will stop")
                    }
                    days @ 8..=30 => {
                        tracing::warn!(%site, days, "the agreement with a city ends soon; register the next one")
                    }
                    days @ 31..=90 => {
                        tracing::info!(%site, days, "the agreement with a city ends within three months")
                    }
                    _ => {}
                },
                Err(lack) => {
                    tracing::warn!(%site, ?lack, "a member has no agreement in force and does not sync")
                }
            }
        }
    }
}

/// Warns once a day, until `stopping`.
pub async fn watch(hub: Arc<Hub>, mut stopping: watch::Receiver<bool>) {
    let mut daily = tokio::time::interval(LOOK_AGAIN);
    let mut told = Told::default();
    loop {
        tokio::select! {
            _ = daily.tick() => {
                hub.tell_of_agreements();
                hub.tell_of_certificates(&mut told);
            }
            // A sender that is gone means stop as well.
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}
