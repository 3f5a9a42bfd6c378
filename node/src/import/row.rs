//! From the cells of a row to the fields of a record.

use std::collections::BTreeMap;

use csv::StringRecord;
use liandong_proto::fields::{Fields, FieldsBuilder};
use liandong_proto::format::text;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{Format, Kind, Type, Value};
use liandong_proto::validate::{self, Today, View};

use super::headers::{Column, Mapping};
use crate::json::{self, Scalar, Trouble};
use crate::say;

/// The status of a new record on a sheet that does not say: whoever stands on a roster is a member.
const DEFAULT_STATUS: &str = "ACTIVE";

/// How the rows of one sheet are read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// What the rows are.
    pub kind: &'static Kind,
    /// Which column holds what.
    pub mapping: Mapping,
    /// The day of the import.
    pub today: Today,
}

/// What a row says.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// The fields that have a value; what is empty in the sheet is left alone.
    pub fields: Fields,
    /// What is worth a second look and does not keep the row out.
    pub notes: Vec<pb::Problem>,
}

impl Reading {
    /// Reads a row.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once; never with a value.
    pub fn read(&self, cells: &StringRecord) -> Result<Read, Vec<pb::Problem>> {
        let (mut values, mut notes, mut problems) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (numbers, plain): (Vec<&Column>, Vec<&Column>) =
            self.mapping.columns.iter().partition(|column| column.field.format == Format::ResidentId);
        for Column { index, field, .. } in plain {
            let cell = cells.get(*index).unwrap_or_default();
            if field.format != Format::LongText && text::has_line_break(cell) {
                problems.push(lines().of(field));
                continue;
            }
            match json::read(field, cell, false, self.today) {
                Ok(Some(value)) => {
                    if json::mobiles(field, cell) > 1 {
                        notes.push(only_the_first().of(field));
                    }
                    values.insert(field.tag, value);
                }
                Ok(None) => {}
                Err(trouble) => problems.push(trouble.of(field)),
            }
        }
        for Column { index, field, .. } in numbers {
            let cell = cells.get(*index).unwrap_or_default();
            if text::has_line_break(cell) {
                problems.push(lines().of(field));
                continue;
            }
            match json::document_number(self.kind, field, cell, &encode(&values), self.today) {
                Ok(Some(value)) => {
                    values.insert(field.tag, value);
                }
                Ok(None) => {}
                Err(trouble) => problems.push(trouble.of(field)),
            }
        }
        let fields = encode(&values);
        if problems.is_empty() {
            let warnings = validate::warnings(self.kind, &fields, self.today);
            notes.extend(warnings.into_iter().filter_map(|warning| self.problem(&warning)));
            return Ok(Read { fields, notes });
        }
        // The clerk gets everything that is wrong with the row, also what the site would have said.
        let whole = self.with_status(&fields);
        for found in validate::check_record(self.kind, &whole, View::Full, self.today) {
            if !problems.iter().any(|problem| problem.tag == found.tag) {
                problems.extend(self.problem(&found));
            }
        }
        Err(problems)
    }

    /// The fields of a new record: with a status, when the row gives none.
    pub fn with_status(&self, fields: &Fields) -> Fields {
        let missing = assumed_status(self.kind).filter(|(tag, _)| fields.get(*tag).is_none());
        let Some((tag, value)) = missing else { return fields.clone() };
        let mut status = FieldsBuilder::new();
        status.u64(tag, value.number as u64);
        fields.patched(&status.finish(), &[])
    }

    fn problem(&self, found: &validate::Problem) -> Option<pb::Problem> {
        self.kind.field(found.tag).map(|field| Trouble::from(found.fault).of(field))
    }
}

/// The status of a new record on a sheet that does not say, with its field.
pub fn assumed_status(kind: &'static Kind) -> Option<(u32, &'static Value)> {
    let field = kind.field(kind.status?)?;
    let Type::Enum(choices) = field.ty else { return None };
    choices.by_text(DEFAULT_STATUS).filter(|value| value.initial).map(|value| (field.tag, value))
}

/// A row whose last cells are missing: it may have been cut off.
pub fn too_short() -> pb::Problem {
    let said = say!(
        "单元格比表头少，缺的按未填处理，请核对这一行是否完整",
        "fewer cells than headings; those missing count as empty, check that the row is whole"
    );
    pb::Problem { code: "row.short".into(), zh: said.zh, en: said.en, ..pb::Problem::default() }
}

fn encode(values: &BTreeMap<u32, Scalar>) -> Fields {
    let mut fields = FieldsBuilder::new();
    for (tag, value) in values.iter().filter(|(_, value)| !value.is_default()) {
        value.push(*tag, &mut fields);
    }
    fields.finish()
}

/// A cell that should have one line may have swallowed the rows below it.
fn lines() -> Trouble {
    Trouble {
        code: "row.lines",
        said: say!(
            "单元格里有换行，可能是引号没有成对而混入了下面的行；请改成一行，并检查这一行的引号",
            "a line break inside the cell; a quotation mark without its partner may have swallowed the rows below: \
             write it on one line, and check the quotation marks of this row"
        ),
    }
}

fn only_the_first() -> Trouble {
    Trouble {
        code: "mobile.first_kept",
        said: say!(
            "一格里有几个号码，只保存了第一个手机号",
            "several numbers in one cell; only the first mobile was saved"
        ),
    }
}
