//! Hybrid logical clocks: stamps that grow with time and with every stamp seen.
//!
//! Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in Globally Distributed Databases",
//! OPODIS 2014. A stamp chooses the displayed winner among concurrent values; it is never a position.

/// Milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The first stamp of a millisecond.
    pub fn at_ms(ms: u64) -> Stamp {
        Stamp(ms << 16)
    }

    /// Milliseconds since 1970.
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The stamp that counts in a merge: never later than the time of receipt, so that a clock years ahead
    /// wins nothing.
    pub fn effective(self, received_at_ms: u64) -> Stamp {
        self.min(Stamp(received_at_ms << 16 | 0xffff))
    }
}

/// Gives out stamps, each greater than every one given out or seen.
///
/// The bound that survives a restart is the log itself: no stamp leaves a site before its entry is durable,
/// so the greatest stamp in the log is above every one that anybody has seen.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    last: Stamp,
}

impl Clock {
    /// A clock that goes on from the greatest stamp in the log.
    pub fn resume(last: Stamp) -> Clock {
        Clock { last }
    }

    /// The greatest stamp given out or seen.
    pub fn last(&self) -> Stamp {
        self.last
    }

    /// The next stamp.
    pub fn tick(&mut self, now_ms: u64) -> Stamp {
        self.last = Stamp(self.last.0.saturating_add(1).max(Stamp::at_ms(now_ms).0));
        self.last
    }

    /// Takes note of a stamp from elsewhere. One from a clock years ahead is taken as `now_ms` at the
    /// most one hour ahead, so that it does not drag this clock along.
    pub fn saw(&mut self, stamp: Stamp, now_ms: u64) {
        const HOUR_MS: u64 = 3_600_000;
        self.last = self.last.max(stamp.effective(now_ms + HOUR_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_when_the_clock_steps_back() {
        let mut clock = Clock::default();
        let before = clock.tick(1_000_000);
        assert!(clock.tick(10) > before);
    }

    #[test]
    fn a_restart_never_repeats_a_stamp() {
        let last = Clock::default().tick(1_000_000);
        assert!(Clock::resume(last).tick(6) > last);
    }

    #[test]
    fn stamps_exceed_what_was_seen() {
        let mut clock = Clock::default();
        clock.saw(Stamp::at_ms(500), 400);
        assert!(clock.tick(400) > Stamp::at_ms(500));
    }

    #[test]
    fn a_clock_years_ahead_drags_nobody_along() {
        let mut clock = Clock::default();
        clock.saw(Stamp::at_ms(u64::MAX >> 17), 1_000);
        assert!(clock.tick(1_000).ms() <= 1_000 + 3_600_000 + 1);
        assert_eq!(Stamp::at_ms(9_999).effective(5).ms(), 5);
    }
}
