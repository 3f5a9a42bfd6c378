//! What everybody may read: counts of cells that are large enough.
//!
//! The tables are disjoint, none holds a sum over another's cells, and nothing else for everybody counts records: so no
//! cell that is left out follows from what is shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use liandong_proto::fields::numbers;
use liandong_proto::schema::{self, Type};
use liandong_proto::state::RecordState;

use super::columns::MEMBER;

/// Cells of fewer records are shown without their count.
pub const LEAST: u64 = 5;

const NOMINATION: u32 = 3;
const CASE: u32 = 4;

/// One table of counts.
#[derive(Debug)]
pub struct Cube {
    /// Name of the table.
    pub table: &'static str,
    /// What is counted.
    pub kind: u32,
    /// Whether each city has cells of its own.
    pub by_site: bool,
    /// Tags of the choices that make a cell. A record with several values of one counts in the cell of each.
    pub tags: &'static [u32],
}

/// All of them.
pub static CUBES: [Cube; 3] = [
    Cube { table: "member_counts", kind: MEMBER, by_site: true, tags: &[18, 30] },
    Cube { table: "nomination_counts", kind: NOMINATION, by_site: true, tags: &[30] },
    Cube { table: "case_counts", kind: CASE, by_site: false, tags: &[4, 30] },
];

/// A cell: the city where there is one, and the number of each choice.
type Cell = (Option<u32>, Vec<i32>);

/// The counts of a release.
#[derive(Default)]
pub struct Counts([BTreeMap<Cell, u64>; CUBES.len()]);

impl Counts {
    /// Counts a record.
    pub fn add(&mut self, kind: u32, state: &RecordState) {
        for (cube, cells) in CUBES.iter().zip(&mut self.0).filter(|(cube, _)| cube.kind == kind) {
            let site = cube.by_site.then_some(state.home.0);
            let mut keys = vec![Vec::new()];
            for tag in cube.tags {
                let mut chosen: Vec<i32> = state
                    .fields
                    .get(*tag)
                    .into_iter()
                    .flat_map(numbers)
                    .map(|number| number as i32)
                    .collect();
                chosen.sort_unstable();
                chosen.dedup();
                if chosen.is_empty() {
                    chosen.push(0);
                }
                let with = |key: &Vec<i32>| {
                    let key = key.clone();
                    chosen.iter().map(move |number| [key.as_slice(), &[*number]].concat()).collect::<Vec<_>>()
                };
                keys = keys.iter().flat_map(with).collect();
            }
            for key in keys {
                *cells.entry((site, key)).or_default() += 1;
            }
        }
    }

    /// The tables, each in the order of its cells.
    pub fn tables(&self) -> Vec<(&'static str, RecordBatch)> {
        CUBES.iter().zip(&self.0).map(|(cube, cells)| (cube.table, batch(cube, cells))).collect()
    }
}

fn batch(cube: &Cube, cells: &BTreeMap<Cell, u64>) -> RecordBatch {
    let (mut fields, mut columns): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    if cube.by_site {
        fields.push(Field::new("site", DataType::Int32, false));
        columns.push(Arc::new(
            cells.keys().map(|(site, _)| site.map(|site| site as i32)).collect::<Int32Array>(),
        ));
    }
    for (at, tag) in cube.tags.iter().enumerate() {
        let field = schema::kind(cube.kind).and_then(|kind| kind.field(*tag)).expect("a field of the kind");
        fields.push(Field::new(field.name, DataType::Utf8, true));
        let name = |(_, key): &Cell| match field.ty {
            Type::Enum(choices) => {
                choices.values.iter().find(|choice| choice.number == key[at]).map(|it| it.name)
            }
            _ => None,
        };
        columns.push(Arc::new(cells.keys().map(name).collect::<StringArray>()));
    }
    fields.push(Field::new("records", DataType::Int64, true));
    let shown = |n: &u64| (*n >= LEAST).then_some(*n as i64);
    columns.push(Arc::new(cells.values().map(shown).collect::<Int64Array>()));
    fields.push(Field::new("suppressed", DataType::Boolean, false));
    columns.push(Arc::new(cells.values().map(|n| Some(*n < LEAST)).collect::<BooleanArray>()));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("as the schema says")
}

#[cfg(test)]
mod tests {
    use liandong_proto::fields::FieldsBuilder;
    use liandong_proto::id::SiteCode;

    use super::*;

    fn member(site: u32, level: u64) -> RecordState {
        let mut state = RecordState::new(SiteCode(site));
        state.fields = FieldsBuilder::new().u64(18, level).u64(30, 4).take();
        state
    }

    #[test]
    fn a_small_cell_has_no_count() {
        let mut counts = Counts::default();
        (0..5).for_each(|_| counts.add(MEMBER, &member(440_100, 1)));
        (0..4).for_each(|_| counts.add(MEMBER, &member(440_300, 1)));
        let tables = counts.tables();
        let (name, cells) = &tables[0];
        assert_eq!(*name, "member_counts");
        let records = cells.column_by_name("records").expect("a column");
        let records: &Int64Array = records.as_any().downcast_ref().expect("counts");
        assert_eq!(records.iter().collect::<Vec<_>>(), [Some(5), None]);
    }

    #[test]
    fn a_case_counts_for_each_of_its_grounds() {
        let mut counts = Counts::default();
        let mut state = RecordState::new(SiteCode(440_100));
        state.fields = FieldsBuilder::new().u64(4, 1).u64(4, 2).u64(30, 1).take();
        counts.add(CASE, &state);
        let tables = counts.tables();
        assert_eq!(tables[2].1.num_rows(), 2);
        assert!(tables[2].1.column_by_name("site").is_none(), "of a case nobody learns the city");
    }
}
