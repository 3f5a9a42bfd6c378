//! Who stands on which roster: how many people each city has, and whom it shares with another.

use liandong_proto::city::cities;

use super::random::SplitMix64;

/// What to make. The same plan gives the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The first so many of the 21 cities; more count as 21.
    pub cities: usize,
    /// Good rows of all rosters together. About three in a hundred people stand on two of them.
    pub members: usize,
    /// Seed of everything.
    pub seed: u64,
}

/// Which of the people of which city: the same two numbers mean the same person on every roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Human {
    /// Place of the home city in [`cities`].
    pub home: usize,
    /// From 0 within the home city.
    pub number: usize,
}

/// How a plan spreads over the cities.
#[derive(Debug, Clone)]
pub struct Layout {
    homes: Vec<usize>,
    lent: Vec<usize>,
    orders: Vec<Order>,
}

/// A one-to-one shuffle of 0..n: place × factor + offset, modulo n.
#[derive(Debug, Clone, Copy)]
struct Order {
    rows: usize,
    factor: usize,
    offset: usize,
}

/// Rough shares of the cities in the province's social workers, in the order of [`cities`].
const SHARES: [usize; 21] = [20, 2, 22, 4, 3, 9, 4, 3, 3, 3, 5, 2, 1, 2, 1, 2, 10, 5, 1, 2, 1];

/// Below this many rows every city gets as many as the others, so that none stays empty.
const EVEN_BELOW: usize = 2000;

impl Layout {
    /// Spreads `plan` over its cities.
    pub fn of(plan: Plan) -> Self {
        let count = plan.cities.clamp(1, cities().len());
        let share = |city: usize| if plan.members < EVEN_BELOW { 1 } else { SHARES[city] };
        let shares: usize = (0..count).map(share).sum();
        let people = if count > 1 { plan.members * 100 / 103 } else { plan.members };
        let mut homes: Vec<usize> = (0..count).map(|city| people * share(city) / shares).collect();
        let lent: Vec<usize> = homes.iter().map(|home| if count > 1 { home * 3 / 100 } else { 0 }).collect();
        homes[0] += plan.members - homes.iter().sum::<usize>() - lent.iter().sum::<usize>();
        let mut layout = Self { homes, lent, orders: Vec::new() };
        layout.orders = (0..count).map(|city| Order::new(layout.rows(city), plan.seed, city)).collect();
        layout
    }

    /// How many cities there are.
    pub fn cities(&self) -> usize {
        self.homes.len()
    }

    /// Good rows of a city's roster: its own people and its guests.
    pub fn rows(&self, city: usize) -> usize {
        self.homes[city] + self.guests(city)
    }

    /// People on a city's roster who stand on their home city's as well.
    pub fn guests(&self, city: usize) -> usize {
        (0..self.cities()).map(|home| self.lent_to(home, city)).sum()
    }

    /// People whose home is this city.
    pub fn homes(&self, city: usize) -> usize {
        self.homes[city]
    }

    /// Who stands in a row, from 0, of a city's roster.
    ///
    /// # Panics
    /// When the city has no such row.
    pub fn human(&self, city: usize, row: usize) -> Human {
        let place = self.orders[city].place(row);
        if place < self.homes[city] {
            return Human { home: city, number: place };
        }
        let mut guest = place - self.homes[city];
        for home in 0..self.cities() {
            let lent = self.lent_to(home, city);
            if guest < lent {
                return Human { home, number: self.first_lent(home, city) + guest * (self.cities() - 1) };
            }
            guest -= lent;
        }
        panic!("city {city} has no row {row}");
    }

    /// The people 0..lent of a home are lent to the other cities in turn.
    fn lent_to(&self, home: usize, city: usize) -> usize {
        let first = self.first_lent(home, city);
        if home == city || self.lent[home] <= first {
            0
        } else {
            (self.lent[home] - first).div_ceil(self.cities() - 1)
        }
    }

    fn first_lent(&self, home: usize, city: usize) -> usize {
        (city + 2 * self.cities() - home - 1) % self.cities()
    }
}

impl Order {
    fn new(rows: usize, seed: u64, city: usize) -> Self {
        let mut random = SplitMix64::of(&[seed, 0x0DE5, city as u64]);
        let mut factor = random.below(rows) | 1;
        while rows > 1 && gcd(factor, rows) != 1 {
            factor = random.below(rows) | 1;
        }
        Self { rows, factor, offset: random.below(rows) }
    }

    fn place(self, row: usize) -> usize {
        assert!(row < self.rows, "no row {row} of {}", self.rows);
        ((row as u128 * self.factor as u128 + self.offset as u128) % self.rows as u128) as usize
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[track_caller]
    fn check(cities: usize, members: usize) {
        let layout = Layout::of(Plan { cities, members, seed: 5 });
        let mut seen: HashMap<Human, Vec<usize>> = HashMap::new();
        for city in 0..layout.cities() {
            for row in 0..layout.rows(city) {
                seen.entry(layout.human(city, row)).or_default().push(city);
            }
        }
        assert_eq!((0..layout.cities()).map(|city| layout.rows(city)).sum::<usize>(), members);
        let twice = seen.values().filter(|cities| cities.len() == 2).count();
        assert_eq!(twice, (0..layout.cities()).map(|city| layout.guests(city)).sum::<usize>());
        assert_eq!(seen.len(), members - twice, "no person twice on one roster");
        for (human, cities) in &seen {
            assert!(cities.contains(&human.home) && cities.len() <= 2);
            assert!(cities.len() == 1 || cities[0] != cities[1]);
        }
    }

    #[test]
    fn rows_add_up_and_nobody_stands_anywhere_thrice() {
        for (cities, members) in
            [(1, 10), (2, 100), (3, 1), (21, 21), (21, 1999), (21, 2000), (21, 20_011), (99, 500)]
        {
            check(cities, members);
        }
    }

    #[test]
    fn three_in_a_hundred_are_shared() {
        let layout = Layout::of(Plan { cities: 21, members: 100_000, seed: 1 });
        let guests: usize = (0..21).map(|city| layout.guests(city)).sum();
        assert!((2850..=3000).contains(&guests), "{guests}");
        assert!((0..21).all(|city| layout.guests(city) > 0));
    }
}
