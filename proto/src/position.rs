//! Places in the hub's order, and what a place of an older generation means today.

/// A place in the hub's order: the generation that gave it out, and the place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Position {
    /// One life of the hub's order; 0 for "nowhere yet".
    pub generation: u64,
    /// The place; 0 is before the first.
    pub hub_seq: u64,
}

/// The start of one generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GenerationStart {
    /// The generation: random bits, so that two restores of one backup never share it.
    pub generation: u64,
    /// The first place it gives out.
    pub first_hub_seq: u64,
}

/// All generations of a hub's log, oldest first, as timelines in PostgreSQL.
///
/// Every start of the hub begins a new one. Places up to the end of a generation that is in the history
/// stand for the same entries for everybody; what a generation outside of it gave out is unknown here.
///
/// A node that has seen its hub restored knows more than one such line: they stand one behind the other, the living
/// one last, and each begins with the same first generation.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Generations(Vec<GenerationStart>);

impl Generations {
    /// A history from its starts.
    pub fn new(starts: Vec<GenerationStart>) -> Generations {
        Generations(starts)
    }

    /// Adds a start.
    pub fn begin(&mut self, start: GenerationStart) {
        self.0.push(start);
    }

    /// The starts, oldest first.
    pub fn starts(&self) -> &[GenerationStart] {
        &self.0
    }

    /// The living generation; 0 before the first.
    pub fn current(&self) -> u64 {
        self.0.last().map_or(0, |start| start.generation)
    }

    /// Takes over a hub's history without forgetting generations that a restored hub has lost: positions that they
    /// gave out are still around.
    pub fn learn(&mut self, hub: &Generations) {
        let mut lines: Vec<&[GenerationStart]> = self.lines().collect();
        // Of a hub that began anew nothing is shared, and a line that goes on needs to stand here only once.
        lines.retain(|line| {
            line.first() == hub.0.first() && !hub.lines().any(|known| known.starts_with(line))
        });
        let mut all = lines.concat();
        all.extend_from_slice(&hub.0);
        self.0 = all;
    }

    /// The lines known, the living one last.
    fn lines(&self) -> impl Iterator<Item = &[GenerationStart]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let first = rest.first()?;
            let again = rest[1..].iter().position(|start| start.generation == first.generation);
            let (line, more) = rest.split_at(again.map_or(rest.len(), |at| at + 1));
            rest = more;
            Some(line)
        })
    }

    /// The place of this history that `position` stands for: `min(hub_seq, where the histories part)`.
    ///
    /// `known` are the starts that the holder of the position learned; the newest generation that both
    /// histories share decides where they part. A generation shared with nobody stands for place 0.
    pub fn resolve(&self, position: Position, known: &Generations) -> u64 {
        resolve(&self.0, position, known)
    }

    /// Whether a restored hub has lost what stood at a place: what was delivered from there does not hold any more,
    /// and nothing will be delivered in its stead.
    pub fn lost(&self, position: Position) -> bool {
        resolve(self.living(), position, self) < position.hub_seq
    }

    fn living(&self) -> &[GenerationStart] {
        self.lines().last().unwrap_or_default()
    }

    /// The generation that gave out a place; 0 when it is before the first.
    pub fn owner(&self, hub_seq: u64) -> u64 {
        let started = self.living().iter().rev().find(|start| start.first_hub_seq <= hub_seq);
        started.map_or(0, |start| start.generation)
    }
}

fn resolve(line: &[GenerationStart], position: Position, known: &Generations) -> u64 {
    if let Some(end) = end_of(line, position.generation) {
        return position.hub_seq.min(end);
    }
    for other in known.lines() {
        let Some(at) = other.iter().position(|start| start.generation == position.generation) else {
            continue;
        };
        for older in other[..at].iter().rev() {
            if let Some(end) = end_of(line, older.generation) {
                let left_there = end_of(other, older.generation).unwrap_or(0);
                return position.hub_seq.min(end).min(left_there);
            }
        }
    }
    0
}

/// The last place of a generation that is in a line.
fn end_of(line: &[GenerationStart], generation: u64) -> Option<u64> {
    let at = line.iter().position(|start| start.generation == generation)?;
    Some(line.get(at + 1).map_or(u64::MAX, |next| next.first_hub_seq.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(starts: &[(u64, u64)]) -> Generations {
        let start = |(generation, first_hub_seq): &(u64, u64)| GenerationStart {
            generation: *generation,
            first_hub_seq: *first_hub_seq,
        };
        Generations::new(starts.iter().map(start).collect())
    }

    #[track_caller]
    fn check(hub: &[(u64, u64)], known: &[(u64, u64)], position: (u64, u64), expected: u64) {
        let position = Position { generation: position.0, hub_seq: position.1 };
        assert_eq!(history(hub).resolve(position, &history(known)), expected);
    }

    #[test]
    fn a_place_of_the_living_generation_is_itself() {
        check(&[(7, 1)], &[(7, 1)], (7, 42), 42);
    }

    #[test]
    fn a_place_of_an_older_generation_ends_where_the_next_began() {
        check(&[(7, 1), (8, 31)], &[(7, 1)], (7, 42), 30);
        check(&[(7, 1), (8, 31)], &[(7, 1)], (7, 12), 12);
    }

    #[test]
    fn a_generation_that_a_restore_forgot_means_the_point_where_the_histories_part() {
        // The backup was taken in generation 7 at place 20; 8 was lost; 9 is the restored hub.
        check(&[(7, 1), (9, 21)], &[(7, 1), (8, 31)], (8, 50), 20);
        check(&[(7, 1), (9, 61)], &[(7, 1), (8, 31)], (8, 50), 30);
    }

    #[test]
    fn generations_lost_in_several_restores_are_still_known() {
        let mut known = history(&[(7, 1), (8, 11)]);
        known.learn(&history(&[(7, 1), (8, 11), (9, 31)]));
        known.learn(&history(&[(7, 1), (10, 21)]));
        assert_eq!(known, history(&[(7, 1), (8, 11), (9, 31), (7, 1), (10, 21)]), "one line for each branch");
        let hub = history(&[(7, 1), (10, 21), (11, 61)]);
        known.learn(&hub);
        let place = |generation, hub_seq| hub.resolve(Position { generation, hub_seq }, &known);
        assert_eq!(place(9, 40), 10, "9 left the line of 7 with 8, at 10");
        assert_eq!(place(8, 9), 9);
        assert_eq!(place(10, 70), 60);
        assert_eq!(place(11, 70), 70);
        assert_eq!((known.current(), known.owner(30), known.owner(5)), (11, 10, 7));
        let lost = |generation, hub_seq| known.lost(Position { generation, hub_seq });
        assert!(lost(9, 40) && lost(9, 11) && lost(7, 21));
        assert!(!lost(9, 10) && !lost(7, 20) && !lost(11, 99));
    }

    #[test]
    fn a_hub_that_began_anew_shares_nothing() {
        let mut known = history(&[(7, 1), (8, 11)]);
        known.learn(&history(&[(9, 1)]));
        assert_eq!(known, history(&[(9, 1)]));
    }

    #[test]
    fn a_bent_history_is_not_noted_twice() {
        let mut known = history(&[(7, 1)]);
        let bent = history(&[(7, 1), (8, 11), (7, 1), (9, 5)]);
        known.learn(&bent);
        known.learn(&bent);
        assert_eq!(known, bent);
    }

    #[test]
    fn a_bent_history_resolves_to_the_beginning() {
        check(&[(7, 0), (9, 0)], &[(8, 0)], (7, 5), 0);
        check(&[(7, 1), (9, 0)], &[(7, 1), (8, 0)], (8, 5), 0);
    }

    #[test]
    fn a_generation_nobody_knows_is_the_very_beginning() {
        check(&[(9, 1)], &[(8, 1)], (8, 50), 0);
        check(&[(9, 1)], &[], (0, 0), 0);
    }
}
