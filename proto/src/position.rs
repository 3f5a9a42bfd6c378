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
        for start in &hub.0 {
            if !self.0.contains(start) {
                self.0.push(*start);
            }
        }
    }

    /// The place of this history that `position` stands for: `min(hub_seq, where the histories part)`.
    ///
    /// `known` are the starts that the holder of the position learned; the newest generation that both
    /// histories share decides where they part. A generation shared with nobody stands for place 0.
    pub fn resolve(&self, position: Position, known: &Generations) -> u64 {
        if let Some(end) = self.end_of(position.generation) {
            return position.hub_seq.min(end);
        }
        let Some(at) = known.0.iter().position(|start| start.generation == position.generation) else {
            return 0;
        };
        // Whichever of the later starts followed the shared generation: none of their lines left it after this.
        let mut left_there = u64::MAX;
        for start in known.0[..=at].iter().rev() {
            if let Some(end) = self.end_of(start.generation) {
                return position.hub_seq.min(end).min(left_there);
            }
            left_there = left_there.min(start.first_hub_seq.saturating_sub(1));
        }
        0
    }

    /// The last place of a generation that is in this history.
    fn end_of(&self, generation: u64) -> Option<u64> {
        let at = self.0.iter().position(|start| start.generation == generation)?;
        Some(self.0.get(at + 1).map_or(u64::MAX, |next| next.first_hub_seq.saturating_sub(1)))
    }

    /// The generation that gave out a place; 0 when it is before the first.
    pub fn owner(&self, hub_seq: u64) -> u64 {
        let started = self.0.iter().rev().find(|start| start.first_hub_seq <= hub_seq);
        started.map_or(0, |start| start.generation)
    }
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
    fn a_generation_lost_twice_over_is_still_known() {
        // Generation 8 ran from 31 and was lost; 9 began at 21 and was lost as well.
        let mut known = history(&[(7, 1), (8, 31)]);
        known.learn(&history(&[(7, 1), (9, 21)]));
        let restored = history(&[(7, 1), (10, 29)]);
        known.learn(&restored);
        let place = |generation, hub_seq| restored.resolve(Position { generation, hub_seq }, &known);
        assert_eq!(place(9, 25), 20, "places 21 to 25 of generation 9 are not those of generation 7");
        assert_eq!(place(8, 45), 28);
        assert_eq!(place(7, 30), 28);
        assert_eq!(place(10, 30), 30);
        assert_eq!(known.current(), 10);
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
