//! What the descriptors say of fields and choices, nested messages included: labels, formats, short names.

use liandong_proto::schema::Format;
use prost_reflect::{DynamicMessage, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, Value};

use super::pool;
use crate::text::Lang;

/// A choice by its short name: `MEMBER_STATUS_ACTIVE` of `MemberStatus` is `ACTIVE`.
pub fn short_name(value: &EnumValueDescriptor) -> String {
    let mut prefix = String::new();
    for (at, c) in value.parent_enum().name().chars().enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            prefix.push('_');
        }
        prefix.push(c.to_ascii_uppercase());
    }
    prefix.push('_');
    value.name().strip_prefix(&prefix).unwrap_or(value.name()).to_owned()
}

/// A choice by short name, full name or label.
pub fn choice_named(choices: &EnumDescriptor, text: &str) -> Option<i32> {
    let is = |value: &EnumValueDescriptor| {
        value.name() == text
            || short_name(value).eq_ignore_ascii_case(text)
            || value_option(value, "label")
                .is_some_and(|label| in_lang(&label, Lang::Zh) == text || in_lang(&label, Lang::En) == text)
    };
    choices.values().find(is).map(|value| value.number())
}

/// What a choice is called.
pub fn choice_label(value: &EnumValueDescriptor, lang: Lang) -> String {
    let label =
        value_option(value, "label").map(|label| in_lang(&label, lang)).filter(|label| !label.is_empty());
    label.unwrap_or_else(|| short_name(value))
}

/// What a field is called.
pub fn field_label(field: &FieldDescriptor, lang: Lang) -> String {
    let label =
        field_option(field, "label").map(|label| in_lang(&label, lang)).filter(|label| !label.is_empty());
    label.unwrap_or_else(|| field.name().to_owned())
}

/// How the values of a field are spelt, as far as nested messages need it.
pub fn format(field: &FieldDescriptor) -> Option<Format> {
    // Numbers of liandong.schema.v1.Format.
    match field_option(field, "format")?.as_enum_number()? {
        1 => Some(Format::Text),
        2 => Some(Format::LongText),
        3 => Some(Format::Name),
        4 => Some(Format::Code),
        6 => Some(Format::Uscc),
        9 => Some(Format::Date),
        10 => Some(Format::FullDate),
        12 => Some(Format::Record),
        13 => Some(Format::Site),
        _ => None,
    }
}

fn in_lang(text: &Value, lang: Lang) -> String {
    let part = text
        .as_message()
        .and_then(|text| text.get_field_by_name(lang.pick("zh", "en")).map(|part| part.into_owned()));
    part.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn field_option(field: &FieldDescriptor, name: &str) -> Option<Value> {
    option(&field.options(), "liandong.schema.v1.field", name)
}

fn value_option(value: &EnumValueDescriptor, name: &str) -> Option<Value> {
    option(&value.options(), "liandong.schema.v1.value", name)
}

fn option(options: &DynamicMessage, extension: &str, name: &str) -> Option<Value> {
    let extension = pool().get_extension_by_name(extension)?;
    let set = options.get_extension(&extension);
    set.as_message()?.get_field_by_name(name).map(|value| value.into_owned())
}
