//! When the index writer does what: the times, and the choice between them.

use std::time::Duration;

/// How long rows may be staged before they are in the store, and how long written before they are durable there.
///
/// A power loss costs the replay of what was not durable; a store that never gets there is made again as a whole. Not sooner
/// than this, because writing a node's store costs as much as taking in the changes, and somebody waits for those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Nothing staged for this long, and what there is goes into the store.
    pub idle: Duration,
    /// So long after the first of them was staged, rows go into the store whatever else comes.
    pub stored_within: Duration,
    /// Nothing staged or written for this long, and what was written is made durable in the store.
    pub checkpoint_idle: Duration,
    /// So long after the first of it was written, it is made durable whatever else comes.
    pub durable_within: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            idle: Duration::from_secs(1),
            stored_within: Duration::from_secs(60),
            checkpoint_idle: Duration::from_secs(5),
            durable_within: Duration::from_secs(120),
        }
    }
}

/// Where an overlay stands. Times are counted from its beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// When the oldest and the newest call of the active layer came; `None` when it is empty.
    pub staged: Option<(Duration, Duration)>,
    /// When the oldest and the newest write came that is not durable.
    pub written: Option<(Duration, Duration)>,
    /// The active layer is full, or somebody waits for it to be written.
    pub wanted: bool,
    /// The layer written last is kept to be read, and when a call last came.
    pub recent: Option<Duration>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The active layer goes into the store.
    Write,
    /// What was written is made durable.
    Checkpoint,
    /// The layer written last need not be kept any more.
    Forget,
    /// Nothing until something is staged or wanted, or this much time has passed.
    Wait(Option<Duration>),
}

impl Pace {
    pub(super) fn due(&self, standing: &Standing, now: Duration) -> Due {
        let Standing { staged, written, wanted, recent } = *standing;
        // A steady flow of rows must not keep what was written from becoming durable: that goes first.
        let checkpoint = written.map(|(first, last)| {
            let late = first + self.durable_within;
            if staged.is_some() { late } else { late.min(last + self.checkpoint_idle) }
        });
        let write = staged.map(|(first, last)| (first + self.stored_within).min(last + self.idle));
        let forget = recent.map(|last| last + self.idle);
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        if is_due(checkpoint) {
            Due::Checkpoint
        } else if staged.is_some() && (wanted || is_due(write)) {
            Due::Write
        } else if is_due(forget) {
            Due::Forget
        } else {
            let next = [checkpoint, write, forget].into_iter().flatten().min();
            Due::Wait(next.map(|next| next - now))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[track_caller]
    fn check(standing: Standing, now: u64, expected: Due) {
        assert_eq!(Pace::default().due(&standing, ms(now)), expected, "{standing:?} at {now} ms");
    }

    #[test]
    fn rows_are_stored_when_nothing_more_comes_and_at_the_latest_after_a_minute() {
        let staged = |first, last| Standing { staged: Some((ms(first), ms(last))), ..Standing::default() };
        check(Standing::default(), 99_000, Due::Wait(None));
        check(staged(100, 100), 1_099, Due::Wait(Some(ms(1))));
        check(staged(100, 100), 1_100, Due::Write);
        check(staged(100, 59_900), 60_099, Due::Wait(Some(ms(1))));
        check(staged(100, 59_900), 60_100, Due::Write);
        check(Standing { wanted: true, ..staged(100, 100) }, 101, Due::Write);
        check(Standing { wanted: true, ..Standing::default() }, 101, Due::Wait(None));
    }

    #[test]
    fn what_was_written_is_durable_when_nothing_more_comes_and_at_the_latest_after_two_minutes() {
        let written = |first, last| Standing { written: Some((ms(first), ms(last))), ..Standing::default() };
        check(written(100, 3_000), 7_999, Due::Wait(Some(ms(1))));
        check(written(100, 3_000), 8_000, Due::Checkpoint);
        let flow = |last| Standing { staged: Some((ms(last), ms(last))), ..written(100, last) };
        check(flow(119_000), 119_999, Due::Wait(Some(ms(1))));
        check(flow(120_000), 120_100, Due::Checkpoint);
        check(Standing { wanted: true, ..flow(120_000) }, 120_100, Due::Checkpoint);
    }

    #[test]
    fn the_layer_written_last_is_kept_while_rows_keep_coming() {
        let recent = |last| Standing { recent: Some(ms(last)), ..Standing::default() };
        check(recent(5_000), 5_999, Due::Wait(Some(ms(1))));
        check(recent(5_000), 6_000, Due::Forget);
    }
}
