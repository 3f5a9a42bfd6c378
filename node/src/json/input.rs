//! From JSON and from `name=text` to the fields of a record.

use std::collections::BTreeMap;

use bytes::Bytes;
use liandong_proto::fields::{Fields, FieldsBuilder};
use liandong_proto::id::{RecordId, unhex};
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{Field, Format, Kind};
use liandong_proto::validate::{self, Today};
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as Wire, ReflectMessage as _, Value};
use serde_json::{Map, Value as Json};

use super::scalar::{self, Scalar, Trouble};
use super::{is_one_cell, message, nested};
use crate::say;
use crate::text::Said;

/// What to change in a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// Fields to set, encoded as the kind's message.
    pub set: Bytes,
    /// Tags of fields to clear.
    pub cleared: Vec<u32>,
}

/// Reads an object with the names of the schema; `null`, an empty text and an empty list clear a field.
///
/// # Errors
/// Every field that cannot be read.
pub fn from_json(
    kind: &'static Kind,
    object: &Map<String, Json>,
    today: Today,
) -> Result<Patch, Vec<pb::Problem>> {
    let mut draft = Draft::new(kind, today);
    for (name, value) in object {
        draft.json(name, value);
    }
    draft.finish()
}

/// Reads `name`, text pairs and names of fields to clear. Lists and nested messages are written as JSON; a
/// list of simple values also with commas.
///
/// # Errors
/// Every field that cannot be read.
pub fn from_texts(
    kind: &'static Kind,
    set: &[(String, String)],
    clear: &[String],
    today: Today,
) -> Result<Patch, Vec<pb::Problem>> {
    let mut draft = Draft::new(kind, today);
    for (name, text) in set {
        draft.text(name, text);
    }
    for name in clear {
        draft.json(name, &Json::Null);
    }
    draft.finish()
}

struct Draft {
    kind: &'static Kind,
    today: Today,
    /// Encoded fields; empty bytes clear the field.
    fields: BTreeMap<u32, Bytes>,
    /// Texts whose reading depends on other fields of the record.
    later: Vec<(&'static Field, String)>,
    problems: Vec<pb::Problem>,
}

impl Draft {
    fn new(kind: &'static Kind, today: Today) -> Draft {
        Draft { kind, today, fields: BTreeMap::new(), later: Vec::new(), problems: Vec::new() }
    }

    fn field(&mut self, name: &str) -> Option<&'static Field> {
        let by_label = |field: &&Field| field.label.zh == name || field.label.en.eq_ignore_ascii_case(name);
        let found = self.kind.field_by_name(name).or_else(|| self.kind.fields.iter().find(by_label));
        if found.is_none() {
            let names: Vec<&str> = self.kind.fields.iter().map(|field| field.name).collect();
            let (kind_zh, kind_en, names) = (self.kind.title.zh, self.kind.title.en, names.join(", "));
            let Said { zh, en } = say!(
                "“{kind_zh}”没有字段 {name}；可用的有：{names}",
                "{kind_en} has no field {name}; there are: {names}"
            );
            self.problems.push(pb::Problem {
                field: name.into(),
                code: "field.unknown".into(),
                zh,
                en,
                tag: 0,
            });
        }
        found
    }

    fn text(&mut self, name: &str, text: &str) {
        let Some(field) = self.field(name) else { return };
        if is_one_cell(field) {
            return self.cell(field, text);
        }
        let json = match serde_json::from_str::<Json>(text) {
            Ok(json @ (Json::Array(_) | Json::Object(_))) => Ok(json),
            _ if field.format == Format::Parts => Err(shape_of(field)),
            _ => {
                let parts =
                    text.split([',', '，', '、', ';', '；']).map(str::trim).filter(|part| !part.is_empty());
                Ok(Json::Array(parts.map(Json::from).collect()))
            }
        };
        match json {
            Ok(json) => self.parts(field, &json),
            Err(trouble) => self.problems.push(trouble.of(field)),
        }
    }

    fn json(&mut self, name: &str, value: &Json) {
        let Some(field) = self.field(name) else { return };
        match value {
            Json::Null => {
                self.fields.insert(field.tag, Bytes::new());
            }
            Json::String(text) if is_one_cell(field) => self.cell(field, text),
            Json::Number(number) if is_one_cell(field) => self.cell(field, &number.to_string()),
            Json::Bool(value) if is_one_cell(field) => self.cell(field, &value.to_string()),
            _ if is_one_cell(field) => self.problems.push(shape_of(field).of(field)),
            _ => self.parts(field, value),
        }
    }

    fn cell(&mut self, field: &'static Field, text: &str) {
        if field.format == Format::ResidentId {
            return self.later.push((field, text.to_owned()));
        }
        match scalar::read(field, text, false, self.today) {
            Ok(value) => self.put(field, value),
            Err(trouble) => self.problems.push(trouble.of(field)),
        }
    }

    fn put(&mut self, field: &Field, value: Option<Scalar>) {
        let mut encoded = FieldsBuilder::new();
        if let Some(value) = value.filter(|value| !value.is_default()) {
            value.push(field.tag, &mut encoded);
        }
        self.fields.insert(field.tag, encoded.finish().bytes().clone());
    }

    fn parts(&mut self, field: &'static Field, value: &Json) {
        let mut whole = DynamicMessage::new(message(self.kind));
        let Some(descriptor) = whole.descriptor().get_field(field.tag) else { return };
        match reflect(&descriptor, value, self.today) {
            Ok(value) => {
                whole.set_field(&descriptor, value);
                self.fields.insert(field.tag, whole.encode_to_vec().into());
            }
            Err(trouble) => self.problems.push(trouble.of(field)),
        }
    }

    fn finish(mut self) -> Result<Patch, Vec<pb::Problem>> {
        for (field, text) in std::mem::take(&mut self.later) {
            let others = Fields::split(self.patch().set).unwrap_or_default();
            match document_number(self.kind, field, &text, &others, self.today) {
                Ok(value) => self.put(field, value),
                Err(trouble) => self.problems.push(trouble.of(field)),
            }
        }
        if self.problems.is_empty() { Ok(self.patch()) } else { Err(self.problems) }
    }

    fn patch(&self) -> Patch {
        let set: Vec<u8> = self.fields.values().flat_map(|raw| raw.iter().copied()).collect();
        let cleared = self.fields.iter().filter(|(_, raw)| raw.is_empty()).map(|(tag, _)| *tag).collect();
        Patch { set: set.into(), cleared }
    }
}

/// The number of a document. Whether it follows GB 11643 depends on the type of the document among `others`.
pub(crate) fn document_number(
    kind: &'static Kind,
    field: &'static Field,
    written: &str,
    others: &Fields,
    today: Today,
) -> Result<Option<Scalar>, Trouble> {
    scalar::read(field, written, validate::value::is_resident_document(kind, others), today)
}

fn reflect(field: &FieldDescriptor, json: &Json, today: Today) -> Result<Value, Trouble> {
    match json {
        Json::Array(values) if field.is_list() => {
            Ok(Value::List(values.iter().map(|value| one(field, value, today)).collect::<Result<_, _>>()?))
        }
        value if field.is_list() => Ok(Value::List(vec![one(field, value, today)?])),
        value => one(field, value, today),
    }
}

fn one(field: &FieldDescriptor, json: &Json, today: Today) -> Result<Value, Trouble> {
    let text = match json {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        Json::Bool(value) => value.to_string(),
        Json::Object(object) => return object_of(field, object, today),
        Json::Null | Json::Array(_) => return Err(misplaced(field)),
    };
    let format = nested::format(field);
    let value = match field.kind() {
        Wire::String => match format {
            Some(format) => {
                Value::String(validate::stored_spelling(format, &text, false, today)?.into_owned())
            }
            None => Value::String(text),
        },
        Wire::Enum(choices) => {
            let number = text.parse().ok().filter(|number| choices.get_value(*number).is_some());
            let number = nested::choice_named(&choices, &text).or(number);
            Value::EnumNumber(number.ok_or_else(|| misplaced(field))?)
        }
        Wire::Bytes => {
            let id = text.parse::<RecordId>().map(|id| id.0.to_vec()).ok();
            Value::Bytes(id.or_else(|| unhex(text.as_bytes())).ok_or_else(|| misplaced(field))?.into())
        }
        Wire::Uint32 if format == Some(Format::Site) => {
            Value::U32(scalar::site_named(&text).ok_or_else(|| misplaced(field))?.0)
        }
        Wire::Bool => Value::Bool(text.parse().map_err(|_| misplaced(field))?),
        Wire::Uint32 | Wire::Fixed32 => Value::U32(text.parse().map_err(|_| misplaced(field))?),
        Wire::Uint64 | Wire::Fixed64 => Value::U64(text.parse().map_err(|_| misplaced(field))?),
        Wire::Int32 | Wire::Sint32 | Wire::Sfixed32 => {
            Value::I32(text.parse().map_err(|_| misplaced(field))?)
        }
        Wire::Int64 | Wire::Sint64 | Wire::Sfixed64 => {
            Value::I64(text.parse().map_err(|_| misplaced(field))?)
        }
        Wire::Float => Value::F32(text.parse().map_err(|_| misplaced(field))?),
        Wire::Double => Value::F64(text.parse().map_err(|_| misplaced(field))?),
        Wire::Message(_) => return Err(misplaced(field)),
    };
    Ok(value)
}

fn object_of(field: &FieldDescriptor, object: &Map<String, Json>, today: Today) -> Result<Value, Trouble> {
    let Wire::Message(descriptor) = field.kind() else { return Err(misplaced(field)) };
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, value) in object {
        let part = descriptor.get_field_by_name(name).ok_or_else(|| {
            let names =
                descriptor.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>().join(", ");
            Trouble {
                code: "field.unknown",
                said: say!(
                    "没有子字段 {name}；可用的有：{names}",
                    "there is no part {name}; there are: {names}"
                ),
            }
        })?;
        if !value.is_null() {
            message.set_field(&part, reflect(&part, value, today)?);
        }
    }
    Ok(Value::Message(message))
}

/// A value of the wrong shape, by the name of the part, never by the value.
fn misplaced(field: &FieldDescriptor) -> Trouble {
    let name = field.name();
    Trouble {
        code: "value.wire",
        said: say!(
            "{name} 的值类型不对；用 record show --json 可看到正确的写法",
            "the value of {name} is of the wrong type; record show --json shows how it is written"
        ),
    }
}

fn shape_of(field: &Field) -> Trouble {
    let is_list = field.repeated;
    Trouble {
        code: "value.wire",
        said: if is_list {
            say!("这里是列表，请写成 JSON：[…]", "this is a list; write it as JSON: […]")
        } else if field.format == Format::Parts {
            say!("这里由几部分组成，请写成 JSON：{{…}}", "this has several parts; write it as JSON: {{…}}")
        } else {
            say!("这里只能是一个值", "this is a single value")
        },
    }
}

impl From<Trouble> for Said {
    fn from(trouble: Trouble) -> Said {
        trouble.said
    }
}
