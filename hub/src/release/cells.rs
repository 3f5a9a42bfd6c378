//! From the wire to Arrow: one builder a column, one row at a time.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, DictionaryArray, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, ListBuilder, StringArray, StringBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Int16Type};
use bytes::Bytes;
use liandong_proto::fields::{Fields, Value, numbers, values};
use liandong_proto::format::Date;
use liandong_proto::id::{RecordId, hex};
use liandong_proto::schema::{self, Field, Format, Type};
use liandong_proto::state::RecordState;
use serde_json::{Map, Value as Json, json};

use super::columns::{Column, Source, is_nested};

/// Codes from here on are none: each would be another text in a column of few.
const CODES: u64 = 1_000;
/// The number of the day 1970-01-01.
const EPOCH_DAY: i32 = 719_468;

/// A record on its way into tables.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// Its id.
    pub record: RecordId,
    /// The person it is about, where one is known.
    pub person: Option<RecordId>,
    /// As it is shown.
    pub state: &'a RecordState,
}

/// The cells of one column.
pub struct Cells {
    source: Source,
    builder: Builder,
}

enum Builder {
    Text(StringBuilder),
    Code(Codes),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Flag(BooleanBuilder),
    Day(Date32Builder),
    Moment(TimestampMillisecondBuilder),
    Texts(ListBuilder<StringBuilder>),
    Int32s(ListBuilder<Int32Builder>),
    Int64s(ListBuilder<Int64Builder>),
    Float64s(ListBuilder<Float64Builder>),
    Flags(ListBuilder<BooleanBuilder>),
    Days(ListBuilder<Date32Builder>),
}

impl Cells {
    /// A column without cells.
    pub fn new(column: Column) -> Cells {
        let builder = match column.data_type() {
            DataType::Int32 => Builder::Int32(Int32Builder::new()),
            DataType::Int64 => Builder::Int64(Int64Builder::new()),
            DataType::Float64 => Builder::Float64(Float64Builder::new()),
            DataType::Boolean => Builder::Flag(BooleanBuilder::new()),
            DataType::Dictionary(..) => Builder::Code(Codes::of(column.source)),
            DataType::Date32 => Builder::Day(Date32Builder::new()),
            DataType::Timestamp(_, zone) => {
                Builder::Moment(TimestampMillisecondBuilder::new().with_timezone_opt(zone))
            }
            DataType::List(item) => match item.data_type() {
                DataType::Int32 => Builder::Int32s(ListBuilder::new(Int32Builder::new())),
                DataType::Int64 => Builder::Int64s(ListBuilder::new(Int64Builder::new())),
                DataType::Float64 => Builder::Float64s(ListBuilder::new(Float64Builder::new())),
                DataType::Boolean => Builder::Flags(ListBuilder::new(BooleanBuilder::new())),
                DataType::Date32 => Builder::Days(ListBuilder::new(Date32Builder::new())),
                _ => Builder::Texts(ListBuilder::new(StringBuilder::new())),
            },
            _ => Builder::Text(StringBuilder::new()),
        };
        Cells { source: column.source, builder }
    }

    /// Appends the cell of a record.
    pub fn append(&mut self, row: &Row<'_>) {
        match (self.source, &mut self.builder) {
            (Source::Record, Builder::Text(cells)) => append_id(cells, Some(row.record)),
            (Source::Person, Builder::Text(cells)) => append_id(cells, row.person),
            (Source::Site, Builder::Int32(cells)) => cells.append_value(row.state.home.0 as i32),
            (Source::UpdatedAt, Builder::Moment(cells)) => cells.append_value(row.state.stamp().ms() as i64),
            (Source::HubSeq, Builder::Int64(cells)) => cells.append_value(row.state.hub_seq as i64),
            (Source::Year(field), Builder::Int32(cells)) => {
                let year = row.state.fields.str(field.tag).and_then(|date| date.get(..4)?.parse().ok());
                cells.append_option(year);
            }
            (Source::Field(field), builder) => builder.append(field, &row.state.fields),
            (source, _) => unreachable!("{source:?} has one type"),
        }
    }

    /// Everything appended, as an array; none is left.
    pub fn finish(&mut self) -> ArrayRef {
        match &mut self.builder {
            Builder::Text(cells) => Arc::new(cells.finish()),
            Builder::Code(cells) => Arc::new(cells.finish()),
            Builder::Int32(cells) => Arc::new(cells.finish()),
            Builder::Int64(cells) => Arc::new(cells.finish()),
            Builder::Float64(cells) => Arc::new(cells.finish()),
            Builder::Flag(cells) => Arc::new(cells.finish()),
            Builder::Day(cells) => Arc::new(cells.finish()),
            Builder::Moment(cells) => Arc::new(cells.finish()),
            Builder::Texts(cells) => Arc::new(cells.finish()),
            Builder::Int32s(cells) => Arc::new(cells.finish()),
            Builder::Int64s(cells) => Arc::new(cells.finish()),
            Builder::Float64s(cells) => Arc::new(cells.finish()),
            Builder::Flags(cells) => Arc::new(cells.finish()),
            Builder::Days(cells) => Arc::new(cells.finish()),
        }
    }
}

impl Builder {
    /// Appends what a record has in a field. A value that is none of its type is left out, as one that is not set.
    fn append(&mut self, field: &'static Field, fields: &Fields) {
        let raw = fields.get(field.tag);
        let number = || fields.u64(field.tag);
        match self {
            Builder::Text(cells) if is_nested(field) => {
                cells.append_option(raw.map(|raw| nested(field, raw).to_string()));
            }
            Builder::Text(cells) => match raw.and_then(|raw| values(raw).last()) {
                Some(value) => append_text(cells, field, value),
                None => cells.append_null(),
            },
            Builder::Code(cells) => cells.append(number()),
            Builder::Int32(cells) => cells.append_option(number().map(|number| number as i32)),
            Builder::Int64(cells) => cells.append_option(number().map(|number| number as i64)),
            Builder::Flag(cells) => cells.append_option(number().map(|number| number != 0)),
            Builder::Float64(cells) => {
                cells.append_option(raw.and_then(|raw| values(raw).last()).and_then(double))
            }
            Builder::Day(cells) => cells.append_option(fields.str(field.tag).and_then(day)),
            Builder::Moment(cells) => cells.append_null(),
            Builder::Texts(cells) => {
                let Some(raw) = raw else { return cells.append(false) };
                let is_choice = matches!(field.ty, Type::Enum(_));
                if is_choice {
                    let each = numbers(raw).into_iter().map(Value::Varint);
                    each.for_each(|value| append_text(cells.values(), field, value));
                } else {
                    values(raw).for_each(|value| append_text(cells.values(), field, value));
                }
                cells.append(true);
            }
            Builder::Int32s(cells) => {
                raw.into_iter()
                    .flat_map(numbers)
                    .for_each(|number| cells.values().append_value(number as i32));
                cells.append(raw.is_some());
            }
            Builder::Int64s(cells) => {
                raw.into_iter()
                    .flat_map(numbers)
                    .for_each(|number| cells.values().append_value(number as i64));
                cells.append(raw.is_some());
            }
            Builder::Flags(cells) => {
                raw.into_iter().flat_map(numbers).for_each(|number| cells.values().append_value(number != 0));
                cells.append(raw.is_some());
            }
            Builder::Float64s(cells) => {
                let each = raw.into_iter().flat_map(values).filter_map(double);
                each.for_each(|number| cells.values().append_value(number));
                cells.append(raw.is_some());
            }
            Builder::Days(cells) => {
                raw.into_iter()
                    .flat_map(values)
                    .for_each(|value| cells.values().append_option(text(value).and_then(day)));
                cells.append(raw.is_some());
            }
        }
    }
}

/// Cells of codes: places among those of the schema, and behind them among what a newer program has sent.
struct Codes {
    known: &'static [schema::Value],
    others: Vec<u64>,
    places: Int16Builder,
}

impl Codes {
    fn of(source: Source) -> Codes {
        let known = match source {
            Source::Field(Field { ty: Type::Enum(choices), .. }) => choices.values,
            _ => &[],
        };
        Codes { known, others: Vec::new(), places: Int16Builder::new() }
    }

    fn append(&mut self, number: Option<u64>) {
        let number = number.filter(|number| *number > 0);
        let known =
            number.and_then(|number| self.known.iter().position(|it| i64::from(it.number) == number as i64));
        let place = known.or_else(|| {
            let number = number.filter(|number| *number < CODES)?;
            let at = self.others.iter().position(|other| *other == number).unwrap_or_else(|| {
                self.others.push(number);
                self.others.len() - 1
            });
            Some(self.known.len() + at)
        });
        self.places.append_option(place.and_then(|place| i16::try_from(place).ok()));
    }

    fn finish(&mut self) -> DictionaryArray<Int16Type> {
        let known = self.known.iter().map(|choice| Cow::Borrowed(choice.name));
        let others = self.others.iter().map(|number| Cow::Owned(number.to_string()));
        let names: StringArray = known.chain(others).map(Some).collect();
        DictionaryArray::new(self.places.finish(), Arc::new(names))
    }
}

/// The name of a code; its number where only a newer program knows it.
fn code(field: &Field, number: u64) -> Option<Cow<'static, str>> {
    let Type::Enum(choices) = field.ty else { return None };
    match choices.values.iter().find(|choice| i64::from(choice.number) == number as i64) {
        Some(choice) => Some(Cow::Borrowed(choice.name)),
        None => (1..CODES).contains(&number).then(|| Cow::Owned(number.to_string())),
    }
}

fn text(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Delimited(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// A `double`; of a packed list only one that stands alone is taken.
fn double(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Fixed64(bits) => Some(f64::from_bits(bits)),
        _ => None,
    }
}

fn append_id(cells: &mut StringBuilder, id: Option<RecordId>) {
    match id {
        Some(id) => {
            let _ = write!(cells, "{id}");
            cells.append_value("");
        }
        None => cells.append_null(),
    }
}

fn append_text(cells: &mut StringBuilder, field: &Field, value: Value<'_>) {
    match (field.ty, value) {
        (Type::Enum(_), Value::Varint(number)) => cells.append_option(code(field, number)),
        (Type::Bytes, Value::Delimited(bytes)) => match RecordId::from_slice(bytes) {
            Some(id) if field.format == Format::Record => append_id(cells, Some(id)),
            _ => cells.append_value(hex(bytes)),
        },
        (_, value) => cells.append_option(text(value)),
    }
}

/// Days since 1970 of a date like `2024-05-31`.
fn day(date: &str) -> Option<i32> {
    Some(Date::from_iso(date).ok()?.to_day()?.number() - EPOCH_DAY)
}

/// A nested message, or a list of them, as JSON under the names of the schema.
fn nested(field: &Field, raw: &[u8]) -> Json {
    let Type::Message(message) = field.ty else { return Json::Null };
    let fields = schema::parts(message).unwrap_or(&[]);
    let each = values(raw).filter_map(|value| match value {
        Value::Delimited(bytes) => Some(parts(fields, bytes)),
        _ => None,
    });
    if field.repeated { each.collect() } else { each.last().unwrap_or(Json::Null) }
}

fn parts(fields: &'static [Field], bytes: &[u8]) -> Json {
    let Ok(split) = Fields::split(Bytes::copy_from_slice(bytes)) else { return Json::Null };
    let mut out = Map::new();
    for field in fields {
        let Some(raw) = split.get(field.tag) else { continue };
        let value = if is_nested(field) {
            nested(field, raw)
        } else if field.repeated && !matches!(field.ty, Type::String | Type::Bytes) {
            numbers(raw).into_iter().map(|number| part(field, Value::Varint(number))).collect()
        } else if field.repeated {
            values(raw).map(|value| part(field, value)).collect()
        } else {
            values(raw).last().map_or(Json::Null, |value| part(field, value))
        };
        out.insert(field.name.to_owned(), value);
    }
    Json::Object(out)
}

fn part(field: &Field, value: Value<'_>) -> Json {
    match (field.ty, value) {
        (Type::Bool, Value::Varint(number)) => json!(number != 0),
        (Type::Uint32 | Type::Uint64, Value::Varint(number)) => json!(number),
        (Type::Int32 | Type::Int64, Value::Varint(number)) => json!(number as i64),
        (Type::Double, value) => json!(double(value)),
        (_, value) => {
            let mut cells = StringBuilder::new();
            append_text(&mut cells, field, value);
            let cells = cells.finish();
            cells.iter().next().flatten().map_or(Json::Null, |text| json!(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970() {
        let check = |date: &str, days: Option<i32>| assert_eq!(day(date), days, "{date}");
        check("1970-01-01", Some(0));
        check("1969-12-31", Some(-1));
        check("2000-02-29", Some(11_016));
        check("2026-11-28", Some(20_785));
        check("2024-05", None);
        check("2024-13-01", None);
        check("2025-02-29", None);
        check("", None);
    }
}
