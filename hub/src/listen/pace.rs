//! How often a city may begin something that costs the hub: so many at once, then one in a while.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use liandong_proto::id::SiteCode;

use crate::hub::locked;

/// What each city has begun of late.
pub struct Pace {
    at_once: u64,
    pause_ms: u64,
    /// How many are counted, and from when on one is forgotten after each pause.
    begun: Mutex<HashMap<SiteCode, (u64, u64)>>,
}

impl Pace {
    /// `at_once`, then one each `pause`.
    pub fn new(at_once: u64, pause: Duration) -> Pace {
        Pace { at_once, pause_ms: pause.as_millis() as u64, begun: Mutex::default() }
    }

    /// Whether a city may begin another; counts it if so.
    pub fn allows(&self, site: SiteCode, now_ms: u64) -> bool {
        let mut begun = locked(&self.begun);
        let (count, since) = begun.entry(site).or_insert((0, now_ms));
        // A clock that has stepped back forgets nothing and waits for nothing.
        *since = now_ms.min(*since);
        let forgotten = (now_ms - *since) / self.pause_ms;
        *count = count.saturating_sub(forgotten);
        *since = if *count == 0 { now_ms } else { *since + forgotten * self.pause_ms };
        let allowed = *count < self.at_once;
        *count += u64::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_then_one_each_pause_and_each_city_for_itself() {
        let pace = Pace::new(3, Duration::from_secs(10));
        let (one, other) = (SiteCode(440_100), SiteCode(440_300));
        let begin = |site, at_s: u64| pace.allows(site, at_s * 1_000);
        assert_eq!([100, 100, 101, 102].map(|at| begin(one, at)), [true, true, true, false]);
        assert!(begin(other, 102), "another city");
        assert_eq!([109, 110, 111].map(|at| begin(one, at)), [false, true, false]);
        assert_eq!([200, 200, 200, 200].map(|at| begin(one, at)), [true, true, true, false]);
        assert_eq!([50, 60].map(|at| begin(one, at)), [false, true], "a clock that has stepped back");
    }
}
