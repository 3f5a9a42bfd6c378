//! From a stored record to JSON and to text.

use bytes::Bytes;
use liandong_proto::format::text;
use liandong_proto::id::{RecordId, SiteCode, hex};
use liandong_proto::schema::{Field, Format, Kind};
use prost::DecodeError;
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage as _, Value};
use serde_json::{Map, Value as Json, json};

use super::{message, nested};
use crate::text::Lang;

/// The fields of a record under their names in the schema, in the order of tags. Choices by short name,
/// records by UUID, sites by code, nested messages as objects; fields that are not set, or not known, are
/// left out.
///
/// # Errors
/// When the bytes are not the kind's message.
pub fn to_json(kind: &Kind, fields: Bytes) -> Result<Map<String, Json>, DecodeError> {
    Ok(message_json(&DynamicMessage::decode(message(kind), fields)?))
}

/// The fields of a record as a person reads them, in the order of tags.
///
/// # Errors
/// When the bytes are not the kind's message.
pub fn to_text(
    kind: &'static Kind,
    fields: Bytes,
    lang: Lang,
) -> Result<Vec<(&'static Field, String)>, DecodeError> {
    let message = DynamicMessage::decode(message(kind), fields)?;
    let text = |field: &'static Field| {
        let descriptor = message.descriptor().get_field(field.tag)?;
        let value = message.has_field(&descriptor).then(|| message.get_field(&descriptor))?;
        let mut text = shown_value(&descriptor, &value, lang);
        if !field.unit.is_empty() {
            text.push_str(&format!(" {}", field.unit));
        }
        Some((field, text))
    };
    Ok(kind.fields.iter().filter_map(text).collect())
}

/// One field of a record as a person reads it; empty when it is not set or cannot be read.
pub fn shown(kind: &'static Kind, tag: u32, fields: &Bytes, lang: Lang) -> String {
    let Ok(message) = DynamicMessage::decode(message(kind), fields.clone()) else { return String::new() };
    let descriptor = message.descriptor().get_field(tag).filter(|descriptor| message.has_field(descriptor));
    descriptor.map_or_else(String::new, |field| shown_value(&field, &message.get_field(&field), lang))
}

fn message_json(message: &DynamicMessage) -> Map<String, Json> {
    let mut fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    let set = fields.into_iter().filter(|field| message.has_field(field));
    set.map(|field| (field.name().to_owned(), value_json(&field, &message.get_field(&field)))).collect()
}

fn value_json(field: &FieldDescriptor, value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::I64(value) => json!(value),
        Value::U32(code) if nested::format(field) == Some(Format::Site) => json!(SiteCode(*code).to_string()),
        Value::U32(value) => json!(value),
        Value::U64(value) => json!(value),
        Value::F32(value) => json!(value),
        Value::F64(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Bytes(bytes) => json!(bytes_text(field, bytes)),
        Value::EnumNumber(number) => {
            match field.kind().as_enum().and_then(|choices| choices.get_value(*number)) {
                Some(value) => json!(nested::short_name(&value)),
                None => json!(number),
            }
        }
        Value::Message(message) => Json::Object(message_json(message)),
        Value::List(values) => values.iter().map(|value| value_json(field, value)).collect(),
        // No kind of record has a map.
        Value::Map(_) => Json::Null,
    }
}

/// An id as a UUID, anything else in hexadecimal.
fn bytes_text(field: &FieldDescriptor, bytes: &[u8]) -> String {
    let is_id = nested::format(field) == Some(Format::Record);
    RecordId::from_slice(bytes).filter(|_| is_id).map_or_else(|| hex(bytes), |id| id.to_string())
}

fn shown_value(field: &FieldDescriptor, value: &Value, lang: Lang) -> String {
    match value {
        Value::Bool(value) => lang.pick(["否", "是"], ["no", "yes"])[usize::from(*value)].to_owned(),
        Value::EnumNumber(number) => {
            match field.kind().as_enum().and_then(|choices| choices.get_value(*number)) {
                Some(value) => nested::choice_label(&value, lang),
                None => number.to_string(),
            }
        }
        Value::U32(code) if nested::format(field) == Some(Format::Site) => site_text(SiteCode(*code), lang),
        Value::Message(message) => {
            let mut fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
            fields.sort_by_key(FieldDescriptor::number);
            let parts = fields.iter().filter(|field| message.has_field(field)).map(|field| {
                let label = nested::field_label(field, lang);
                format!(
                    "{label}{}{}",
                    lang.pick("：", ": "),
                    shown_value(field, &message.get_field(field), lang)
                )
            });
            parts.collect::<Vec<_>>().join(lang.pick("，", ", "))
        }
        Value::List(values) => {
            let values: Vec<String> = values.iter().map(|value| shown_value(field, value, lang)).collect();
            values.join(if field.kind().as_message().is_some() { "\n" } else { lang.pick("、", ", ") })
        }
        Value::String(written) => printable(written),
        other => match value_json(field, other) {
            Json::String(text) => text,
            json => json.to_string(),
        },
    }
}

/// A text without characters that could steer a terminal.
fn printable(written: &str) -> String {
    let has_control = written.chars().any(|c| c.is_control() && c != '\n');
    if !has_control {
        return written.to_owned();
    }
    written
        .lines()
        .map(|line| text::clean(line).chars().filter(|c| !c.is_control()).collect::<String>())
        .collect::<Vec<_>>()
        .join("\n")
}

/// A site with its name and code.
pub fn site_text(site: SiteCode, lang: Lang) -> String {
    match liandong_proto::city::city(site) {
        Some(city) => format!("{} {site}", lang.pick(city.zh, city.en)),
        None if site.is_province() => format!("{} {site}", lang.pick("省", "province")),
        None => site.to_string(),
    }
}
