//! What the logs of node and hub say of certificates that come to their end.

use std::collections::HashMap;
use std::time::Duration;

use liandong_proto::id::SiteCode;

const DAY_MS: u64 = 86_400_000;

/// How often somebody looks.
pub const LOOK_AGAIN: Duration = Duration::from_secs(86_400);

/// How near its end a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ends {
    /// More than 60 days away.
    Later,
    /// Renewed by itself when 30 days are left.
    Within60,
    /// To be renewed at the next connection.
    Within30,
    /// It should have been renewed long ago.
    Within7,
    /// A fresh invitation is needed.
    Over,
}

impl Ends {
    /// By the day on which a certificate ends; with the whole days that are left.
    pub fn of(until_ms: u64, now_ms: u64) -> (Ends, u64) {
        let days = until_ms.saturating_sub(now_ms) / DAY_MS;
        let ends = match days {
            _ if until_ms <= now_ms => Ends::Over,
            0..=7 => Ends::Within7,
            8..=30 => Ends::Within30,
            31..=60 => Ends::Within60,
            _ => Ends::Later,
        };
        (ends, days)
    }

    /// Writes it to the log, as loud as it is near.
    pub fn tell(self, site: SiteCode, days: u64) {
        match self {
            Ends::Later => {}
            Ends::Within60 => {
                tracing::info!(%site, days, "a certificate ends within 60 days; it is renewed by itself with 30 left");
            }
            Ends::Within30 => {
                tracing::warn!(%site, days, "a certificate ends within 30 days; the next connection renews it");
            }
            Ends::Within7 => tracing::error!(
                %site, days,
                "a certificate is at its end and could not be renewed: sync will stop, local work goes on; let the node \
                 reach the hub"
            ),
            Ends::Over => tracing::error!(
                %site,
                "a certificate is over: sync has stopped, local work goes on; the city joins anew by a fresh invitation"
            ),
        }
    }
}

/// What was said of which site, so that it is not said every day.
#[derive(Debug, Default)]
pub struct Told(HashMap<SiteCode, Ends>);

impl Told {
    /// What is to be said now: each step once, and the last ones at every look.
    pub fn news(&mut self, site: SiteCode, until_ms: u64, now_ms: u64) -> Option<(Ends, u64)> {
        let (ends, days) = Ends::of(until_ms, now_ms);
        let before = self.0.insert(site, ends).unwrap_or(Ends::Later);
        (ends >= Ends::Within7 || ends > before).then_some((ends, days))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CITY: SiteCode = SiteCode(440_100);

    #[test]
    fn each_step_is_said_once_and_the_last_ones_every_day() {
        let mut told = Told::default();
        let mut said = Vec::new();
        for day in 0..93 {
            said.extend(told.news(CITY, 90 * DAY_MS, day * DAY_MS).map(|(ends, days)| (day, ends, days)));
        }
        let (steps, daily) = said.split_at(2);
        assert_eq!(steps, [(30, Ends::Within60, 60), (60, Ends::Within30, 30)]);
        assert_eq!(daily.iter().map(|it| it.0).collect::<Vec<_>>(), (83..93).collect::<Vec<_>>());
        assert!(daily.iter().all(|it| (it.1 == Ends::Over) == (it.0 >= 90)), "{daily:?}");
    }

    #[test]
    fn a_renewed_certificate_begins_anew_and_sites_are_told_apart() {
        let mut told = Told::default();
        assert_eq!(told.news(CITY, 20 * DAY_MS, 0), Some((Ends::Within30, 20)), "the first look as well");
        assert_eq!(told.news(SiteCode(440_300), 20 * DAY_MS, 0), Some((Ends::Within30, 20)));
        assert_eq!(told.news(CITY, 90 * DAY_MS, 0), None);
        assert_eq!(told.news(CITY, 30 * DAY_MS, 0), Some((Ends::Within30, 30)));
    }
}
