//! Refusals, gathered: a stranger decides how often there is one, and must not decide how much is written.

use std::collections::HashMap;

use super::{Note, Via};

/// Repetitions are recorded together, at most this often.
const TOGETHER_MS: u64 = 60_000;
/// More different ones than there are cities and reasons: past that the oldest knowledge is given up.
const MOST: usize = 1_000;

/// Who, how, and why.
type Key = (String, Via, String);

#[derive(Default)]
pub(super) struct Refusals {
    seen: HashMap<Key, Seen>,
}

struct Seen {
    /// When it was recorded last.
    at_ms: u64,
    /// How often it happened since.
    since: u64,
    newest: Note,
}

impl Refusals {
    /// The note to record now, with its count, if it is time for one.
    pub fn due(&mut self, note: Note, now_ms: u64) -> Option<Note> {
        if self.seen.len() >= MOST {
            self.seen.retain(|_, seen| seen.since > 0 || seen.at_ms + TOGETHER_MS > now_ms);
        }
        let key = (note.who.clone(), note.via, note.detail.clone());
        let is_full = self.seen.len() >= MOST;
        match self.seen.get_mut(&key) {
            // A clock that was set back is no reason to keep silent.
            Some(seen) if (seen.at_ms..seen.at_ms + TOGETHER_MS).contains(&now_ms) => {
                seen.since += 1;
                seen.newest = note;
                None
            }
            Some(seen) => {
                let count = seen.since + 1;
                (seen.at_ms, seen.since) = (now_ms, 0);
                Some(Note { count, ..note })
            }
            None if is_full => None,
            None => {
                self.seen.insert(key, Seen { at_ms: now_ms, since: 0, newest: note.clone() });
                Some(Note { count: 1, ..note })
            }
        }
    }

    /// What has not been recorded yet.
    pub fn take(&mut self) -> Vec<Note> {
        let waiting = self.seen.values_mut().filter(|seen| seen.since > 0);
        waiting.map(|seen| Note { count: std::mem::take(&mut seen.since), ..seen.newest.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_recorded_together() {
        let mut refusals = Refusals::default();
        let note = |who: &str| Note { who: who.into(), ..Note::default() };
        let mut count = |who: &str, now_ms| refusals.due(note(who), now_ms).map(|note| note.count);
        assert_eq!(count("a", 1_000), Some(1));
        assert_eq!(count("b", 1_001), Some(1), "another one is no repetition");
        assert_eq!((count("a", 1_002), count("a", 60_999)), (None, None));
        assert_eq!(count("a", 61_000), Some(3));
        assert_eq!(count("a", 500), Some(1), "the clock was set back");
        assert_eq!(count("a", 501), None);
        let waiting: Vec<(String, u64)> = refusals.take().into_iter().map(|n| (n.who, n.count)).collect();
        assert_eq!(waiting, [("a".to_owned(), 1)]);
        assert!(refusals.take().is_empty());
    }

    #[test]
    fn a_stranger_cannot_fill_the_memory() {
        let mut refusals = Refusals::default();
        for n in 0..5 * MOST as u64 {
            refusals.due(Note { detail: n.to_string(), ..Note::default() }, 1_000 + n);
        }
        assert!(refusals.seen.len() <= MOST);
    }
}
