//! Tables that explain the others: `cities`, `data_dictionary`, `codes`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field as ArrowField, Schema, TimeUnit};
use liandong_proto::schema::{self, Field, Pii, Share, Text, Type};

use super::columns::{Column, Role, Source, columns, table};
use super::counts::CUBES;
use super::manifest::City;

/// The tables that explain the others, for a role.
pub fn tables(role: Role, cities: &[City]) -> Vec<(&'static str, RecordBatch)> {
    let described = described(role);
    vec![
        ("cities", city_table(role, cities)),
        ("codes", codes(&described)),
        ("data_dictionary", dictionary(&described)),
    ]
}

/// A column of a table, as the dictionary has it.
struct Described {
    table: String,
    column: &'static str,
    data_type: String,
    label: Text,
    description: Text,
    field: Option<&'static Field>,
}

fn described(role: Role) -> Vec<Described> {
    let mut out = Vec::new();
    for kind in schema::kinds() {
        for column in columns(kind, role) {
            let (label, description) = told(column);
            out.push(Described {
                table: table(kind),
                column: column.name,
                data_type: column.data_type().to_string(),
                label,
                description,
                field: match column.source {
                    Source::Field(field) | Source::Year(field) => Some(field),
                    _ => None,
                },
            });
        }
    }
    for cube in CUBES.iter().filter(|_| role == Role::Public) {
        let fields = cube.tags.iter().filter_map(|tag| schema::kind(cube.kind)?.field(*tag));
        out.extend(fields.map(|field| Described {
            table: cube.table.into(),
            column: field.name,
            data_type: DataType::Utf8.to_string(),
            label: field.label,
            description: field.description,
            field: Some(field),
        }));
        out.push(Described {
            table: cube.table.into(),
            column: "records",
            data_type: DataType::Int64.to_string(),
            label: Text { zh: "记录数", en: "Records" },
            description: Text {
                zh: "不足 5 条的单元格不给出数字。",
                en: "Cells of fewer than 5 records have no number.",
            },
            field: None,
        });
    }
    out
}

fn told(column: Column) -> (Text, Text) {
    match column.source {
        Source::Record => (
            Text { zh: "记录编号", en: "Record id" },
            Text {
                zh: "记录的唯一编号；给研究人员的版本中为假名。",
                en: "Names the record; a pseudonym in what researchers get.",
            },
        ),
        Source::Person => (
            Text { zh: "人员编号", en: "Person id" },
            Text {
                zh: "证件号码相同的会员记录有同一个编号；给研究人员的版本中为假名。",
                en: "The same for all members with one document number; a pseudonym in what researchers get.",
            },
        ),
        Source::Site => (
            Text { zh: "地市", en: "City" },
            Text {
                zh: "记录所属地市的 GB/T 2260 代码。",
                en: "GB/T 2260 code of the city that the record belongs to.",
            },
        ),
        Source::UpdatedAt => (
            Text { zh: "更新时间", en: "Updated at" },
            Text {
                zh: "最近一次改动的时间，由改动者的时钟给出。",
                en: "When the newest change was made, by the clock of whoever made it.",
            },
        ),
        Source::HubSeq => (
            Text { zh: "全省次序", en: "Place in the hub's order" },
            Text {
                zh: "最近一次改动在全省次序中的位置。",
                en: "Place of the newest change in the order of the province.",
            },
        ),
        Source::Year(field) => (Text { zh: "出生年份", en: "Year of birth" }, field.description),
        Source::Field(field) => (field.label, field.description),
    }
}

fn dictionary(described: &[Described]) -> RecordBatch {
    let text = |of: &dyn Fn(&Described) -> String| -> ArrayRef {
        Arc::new(described.iter().map(|it| Some(of(it))).collect::<StringArray>())
    };
    let pii = |it: &Described| match it.field.map(|field| field.pii) {
        None | Some(Pii::None) => "NONE",
        Some(Pii::Indirect) => "INDIRECT",
        Some(Pii::Direct) => "DIRECT",
        Some(Pii::Sensitive) => "SENSITIVE",
    };
    let share = |it: &Described| match it.field.map(|field| field.share) {
        None | Some(Share::Open) => "OPEN",
        Some(Share::Token) => "TOKEN",
        Some(Share::Sealed) => "SEALED",
    };
    let codes = |it: &Described| {
        let values = choices(it.field)
            .iter()
            .map(|value| format!("{}={} {}", value.name, value.label.zh, value.label.en));
        values.collect::<Vec<_>>().join("; ")
    };
    texts(vec![
        ("table", text(&|it| it.table.clone())),
        ("column", text(&|it| it.column.into())),
        ("type", text(&|it| it.data_type.clone())),
        ("label_zh", text(&|it| it.label.zh.into())),
        ("label_en", text(&|it| it.label.en.into())),
        ("description_zh", text(&|it| it.description.zh.into())),
        ("description_en", text(&|it| it.description.en.into())),
        ("unit", text(&|it| it.field.map_or("", |field| field.unit).into())),
        ("pii", text(&|it| pii(it).into())),
        ("share", text(&|it| share(it).into())),
        ("codes", text(&codes)),
    ])
}

fn choices(field: Option<&'static Field>) -> &'static [schema::Value] {
    match field.map(|field| field.ty) {
        Some(Type::Enum(choices)) => choices.values,
        _ => &[],
    }
}

fn codes(described: &[Described]) -> RecordBatch {
    let all: Vec<(&Described, &schema::Value)> =
        described.iter().flat_map(|it| choices(it.field).iter().map(move |value| (it, value))).collect();
    let text = |of: &dyn Fn(&Described, &schema::Value) -> String| -> ArrayRef {
        Arc::new(all.iter().map(|(it, value)| Some(of(it, value))).collect::<StringArray>())
    };
    texts(vec![
        ("table", text(&|it, _| it.table.clone())),
        ("column", text(&|it, _| it.column.into())),
        ("code", text(&|_, value| value.name.into())),
        ("label_zh", text(&|_, value| value.label.zh.into())),
        ("label_en", text(&|_, value| value.label.en.into())),
    ])
}

fn texts(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields = columns.iter().map(|(name, cells)| ArrowField::new(*name, cells.data_type().clone(), false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, cells)| cells).collect())
        .expect("as the schema says")
}

fn city_table(role: Role, cities: &[City]) -> RecordBatch {
    let moment = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let received =
        cities.iter().map(|city| (city.last_received_ms > 0).then_some(city.last_received_ms as i64));
    let mut columns: Vec<(ArrowField, ArrayRef)> = vec![
        (
            ArrowField::new("site", DataType::Int32, false),
            Arc::new(cities.iter().map(|city| Some(city.site as i32)).collect::<Int32Array>()),
        ),
        (
            ArrowField::new("name_zh", DataType::Utf8, false),
            Arc::new(cities.iter().map(|city| Some(city.name_zh.as_str())).collect::<StringArray>()),
        ),
        (
            ArrowField::new("name_en", DataType::Utf8, false),
            Arc::new(cities.iter().map(|city| Some(city.name_en.as_str())).collect::<StringArray>()),
        ),
        (
            ArrowField::new("last_received_at", moment, true),
            Arc::new(received.collect::<TimestampMillisecondArray>().with_timezone("UTC")),
        ),
    ];
    if role != Role::Public {
        type Of = fn(&super::manifest::Counted) -> u64;
        let counted: [(&str, Of); 5] = [
            ("last_seq", |it| it.last_seq),
            ("records", |it| it.records),
            ("incomplete", |it| it.incomplete),
            ("open_findings", |it| it.open_findings),
            ("completeness_permille", |it| it.completeness_permille),
        ];
        columns.extend(counted.map(|(name, of)| {
            let cells = cities.iter().map(|city| city.counted.as_ref().map(|counted| of(counted) as i64));
            let cells: ArrayRef = Arc::new(cells.collect::<Int64Array>());
            (ArrowField::new(name, DataType::Int64, true), cells)
        }));
    }
    let (fields, cells): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), cells).expect("as the schema says")
}
