//! Rosters of made-up members: one CSV file for each city, each in its own headers, order and habits.
//!
//! The people are made up from a seed. Their ID numbers carry address codes of whole cities, which no real card has,
//! so that no real person is meant; their addresses and schools do not exist and their mail goes to example.org.

mod columns;
mod names;
mod person;
mod plan;
mod random;
mod spelling;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use columns::Column;
pub use person::{Person, ROSTER_YEAR};
pub use plan::{Human, Plan};
pub use random::SplitMix64;
pub use spelling::BadRow;

use liandong_proto::city::cities;
use liandong_proto::id::SiteCode;
use plan::Layout;
use spelling::Style;

/// Why a roster could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the roster {}: {source}; check that the directory exists and has room", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// One city's roster file, and what is true of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CityRoster {
    /// Which city.
    pub code: SiteCode,
    /// The CSV file: UTF-8, one header line; in every third city with a byte order mark, as spreadsheets write it.
    pub path: PathBuf,
    /// Schema field of each column, in the order of the file.
    pub fields: Vec<&'static str>,
    /// Data rows, the bad ones included.
    pub rows: usize,
    /// Rows that must be refused.
    pub bad_rows: usize,
    /// Line of the file (the header is line 1) → what is wrong with it; exactly the bad rows.
    pub bad_lines: BTreeMap<usize, BadRow>,
    /// People in good rows, each once.
    pub people: usize,
    /// Those of them who stand on their home city's roster as well.
    pub guests: usize,
}

/// The rosters of a plan.
#[derive(Debug, Clone)]
pub struct Rosters {
    plan: Plan,
    layout: Layout,
}

impl Plan {
    /// Spreads the plan over its cities.
    pub fn rosters(self) -> Rosters {
        Rosters { plan: self, layout: Layout::of(self) }
    }

    /// Writes one roster for each city into `dir`, which is made when absent.
    pub fn write(self, dir: &Path) -> Result<Vec<CityRoster>, WriteError> {
        let rosters = self.rosters();
        fs::create_dir_all(dir).map_err(|source| WriteError { path: dir.to_owned(), source })?;
        (0..rosters.cities()).map(|city| rosters.write_city(city, dir)).collect()
    }
}

impl Rosters {
    /// How many cities there are; a city is its place in [`cities`].
    pub fn cities(&self) -> usize {
        self.layout.cities()
    }

    /// People on a city's roster.
    pub fn people(&self, city: usize) -> usize {
        self.layout.rows(city)
    }

    /// The person in a row, from 0, of a city's roster, as it should be stored.
    ///
    /// # Panics
    /// When the city has no such row.
    pub fn person(&self, city: usize, row: usize) -> Person {
        Person::new(self.plan, city, self.layout.human(city, row), row)
    }

    /// All people of a city's roster, in its order.
    pub fn roster(&self, city: usize) -> impl Iterator<Item = Person> + '_ {
        (0..self.people(city)).map(move |row| self.person(city, row))
    }

    fn write_city(&self, city: usize, dir: &Path) -> Result<CityRoster, WriteError> {
        let path = dir.join(format!("{}.csv", cities()[city].code));
        let (bytes, roster) = self.render(city, path);
        match fs::write(&roster.path, bytes) {
            Ok(()) => Ok(roster),
            Err(source) => Err(WriteError { path: roster.path, source }),
        }
    }

    fn render(&self, city: usize, path: PathBuf) -> (Vec<u8>, CityRoster) {
        let mut random = SplitMix64::of(&[self.plan.seed, 4, city as u64]);
        let style = Style::new(&mut random);
        let columns = columns::columns(&mut random);
        let people = self.people(city);
        let bad = bad_rows(&mut random, people);
        let mut bytes = if city % 3 == 1 { "\u{FEFF}".as_bytes().to_vec() } else { Vec::new() };
        push_line(&mut bytes, columns.iter().map(|column| column.header));
        let mut bad_lines = BTreeMap::new();
        let mut line = 1;
        let mut push = |person: &Person| {
            push_line(&mut bytes, columns.iter().map(|column| (column.cell)(person, &style)));
            line += 1;
            line
        };
        let mut left = bad.iter().peekable();
        for row in 0..=people {
            while let Some((_, kind)) = left.next_if(|(at, _)| *at == row) {
                let human = Human { home: city, number: self.layout.homes(city) + bad_lines.len() };
                let mut person = Person::new(self.plan, city, human, people + bad_lines.len());
                kind.spoil(&mut person);
                bad_lines.insert(push(&person), *kind);
            }
            if row < people {
                let mut person = self.person(city, row);
                spelling::untidy(&mut person, &mut random);
                push(&person);
            }
        }
        let roster = CityRoster {
            code: cities()[city].code,
            path,
            fields: columns.iter().map(|column| column.field).collect(),
            rows: people + bad.len(),
            bad_rows: bad.len(),
            bad_lines,
            people,
            guests: self.layout.guests(city),
        };
        (bytes, roster)
    }
}

/// Bad rows in ascending order of the good row they stand before: one of each kind, and up to four more.
fn bad_rows(random: &mut SplitMix64, people: usize) -> Vec<(usize, BadRow)> {
    let count = BadRow::ALL.len() + random.below(5);
    let mut rows: Vec<_> =
        (0..count).map(|n| (random.below(people + 1), BadRow::ALL[n % BadRow::ALL.len()])).collect();
    rows.sort_unstable();
    rows
}

/// A line of CSV (RFC 4180); cells that need it are quoted.
fn push_line<S: AsRef<str>>(bytes: &mut Vec<u8>, cells: impl Iterator<Item = S>) {
    for (n, cell) in cells.enumerate() {
        if n > 0 {
            bytes.push(b',');
        }
        let cell = cell.as_ref();
        if cell.contains(['"', ',', '\n', '\r']) {
            bytes.extend_from_slice(format!("\"{}\"", cell.replace('"', "\"\"")).as_bytes());
        } else {
            bytes.extend_from_slice(cell.as_bytes());
        }
    }
    bytes.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
