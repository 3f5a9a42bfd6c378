//! Renders the schema's options as static Rust tables.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind as Wire,
    MessageDescriptor, ReflectMessage as _, Value,
};

/// The package of the options themselves.
pub const PACKAGE: &str = "liandong.schema.v1";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// All tables of a pool, as Rust source for the crate's `schema` module.
pub fn render(pool: &DescriptorPool) -> Result<String> {
    let options = Options::of(pool)?;
    let mut kinds: Vec<(u32, MessageDescriptor, DynamicMessage)> = Vec::new();
    for message in pool.all_messages() {
        if let Some(kind) = options.read(&message.options(), &options.kind) {
            kinds.push((number(&kind, "number"), message, kind));
        }
    }
    kinds.sort_by_key(|(number, _, _)| *number);
    let mut out = String::new();
    let mut enums = BTreeMap::new();
    writeln!(out, "static KINDS: [Kind; {}] = [", kinds.len())?;
    for (_, message, kind) in &kinds {
        render_kind(&mut out, &options, message, kind, &mut enums)?;
    }
    writeln!(out, "];")?;
    for (name, descriptor) in &enums {
        render_enum(&mut out, &options, name, descriptor)?;
    }
    Ok(out)
}

struct Options {
    kind: ExtensionDescriptor,
    field: ExtensionDescriptor,
    value: ExtensionDescriptor,
}

impl Options {
    fn of(pool: &DescriptorPool) -> Result<Options> {
        let find = |name: &str| {
            let full = format!("{PACKAGE}.{name}");
            pool.all_extensions().find(|e| e.full_name() == full).ok_or(format!("no option {full}"))
        };
        Ok(Options { kind: find("kind")?, field: find("field")?, value: find("value")? })
    }

    fn read(&self, options: &DynamicMessage, extension: &ExtensionDescriptor) -> Option<DynamicMessage> {
        if !options.has_extension(extension) {
            return None;
        }
        options.get_extension(extension).as_message().cloned()
    }
}

fn number(message: &DynamicMessage, name: &str) -> u32 {
    message.get_field_by_name(name).and_then(|value| value.as_u32()).unwrap_or(0)
}

fn flag(message: &DynamicMessage, name: &str) -> bool {
    message.get_field_by_name(name).and_then(|value| value.as_bool()).unwrap_or(false)
}

fn string(message: &DynamicMessage, name: &str) -> String {
    message.get_field_by_name(name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn strings(message: &DynamicMessage, name: &str) -> Vec<String> {
    let Some(value) = message.get_field_by_name(name) else { return Vec::new() };
    let list = value.as_list().map(<[Value]>::to_vec).unwrap_or_default();
    list.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

fn messages(message: &DynamicMessage, name: &str) -> Vec<DynamicMessage> {
    let Some(value) = message.get_field_by_name(name) else { return Vec::new() };
    let list = value.as_list().map(<[Value]>::to_vec).unwrap_or_default();
    list.iter().filter_map(|value| value.as_message().cloned()).collect()
}

/// `Text { zh: "…", en: "…" }` of a nested text.
fn text(message: &DynamicMessage, name: &str) -> String {
    let nested = message.get_field_by_name(name).and_then(|value| value.as_message().cloned());
    let (zh, en) = nested.map(|text| (string(&text, "zh"), string(&text, "en"))).unwrap_or_default();
    format!("Text {{ zh: {zh:?}, en: {en:?} }}")
}

/// Name of an enum option's value.
fn choice(message: &DynamicMessage, name: &str) -> String {
    let number = message.get_field_by_name(name).and_then(|value| value.as_enum_number()).unwrap_or(0);
    let field = message.descriptor().get_field_by_name(name);
    let Some(Wire::Enum(values)) = field.map(|field| field.kind()) else { return String::new() };
    values.get_value(number).map(|value| value.name().to_owned()).unwrap_or_default()
}

fn camel(screaming: &str) -> String {
    let word = |word: &str| {
        let (head, tail) = word.split_at(1);
        format!("{head}{}", tail.to_lowercase())
    };
    screaming.split('_').filter(|part| !part.is_empty()).map(word).collect()
}

fn snake(camel: &str) -> String {
    let mut out = String::new();
    for (at, c) in camel.chars().enumerate() {
        if c.is_uppercase() && at > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn party(name: &str) -> String {
    match name {
        "PARTY_UNSPECIFIED" | "" => "Party::Home".into(),
        other => format!("Party::{}", camel(other)),
    }
}

fn tags(message: &MessageDescriptor, names: &[String]) -> Result<String> {
    let tag = |name: &String| {
        let field = message.get_field_by_name(name);
        field.map(|field| field.number().to_string()).ok_or(format!("{} has no field {name}", message.full_name()))
    };
    let tags: std::result::Result<Vec<String>, String> = names.iter().map(tag).collect();
    Ok(format!("&[{}]", tags?.join(", ")))
}

fn render_kind(
    out: &mut String,
    options: &Options,
    message: &MessageDescriptor,
    kind: &DynamicMessage,
    enums: &mut BTreeMap<String, EnumDescriptor>,
) -> Result<()> {
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    let read = |field: &FieldDescriptor| options.read(&field.options(), &options.field);
    let mut groups: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut status = None;
    for field in &fields {
        let Some(option) = read(field) else { continue };
        let group = string(&option, "group");
        if !group.is_empty() {
            groups.entry(group).or_default().push(field.number());
        }
        if choice(&option, "merge") == "STATUS" {
            status = Some(field.number());
        }
    }
    let sites = tags(message, &strings(kind, "site_fields"))?;
    let audience = match choice(kind, "audience").as_str() {
        "ALL_CITIES" => "Audience::AllCities".to_owned(),
        "NAMED_CITIES" => format!("Audience::Sites({sites})"),
        "NO_CITY" => "Audience::None".to_owned(),
        _ => "Audience::Home".to_owned(),
    };
    writeln!(
        out,
        "Kind {{ number: {}, name: {:?}, message: {:?}, title: {}, owner: {}, audience: {audience}, status: {status:?}, identity: {}, fields: &[",
        number(kind, "number"),
        snake(message.name()),
        message.full_name(),
        text(kind, "title"),
        party(&choice(kind, "owner")),
        tags(message, &strings(kind, "identity"))?,
    )?;
    for field in &fields {
        let option = read(field).ok_or(format!("{} has no schema option", field.full_name()))?;
        let alone = vec![field.number()];
        let group = groups.get(&string(&option, "group")).unwrap_or(&alone);
        let merge = match choice(&option, "merge").as_str() {
            "MERGE_UNSPECIFIED" | "" => "Latest".to_owned(),
            other => camel(other),
        };
        let share = choice(&option, "share");
        let pii = match choice(&option, "pii").as_str() {
            "NOT_PERSONAL" | "PII_UNSPECIFIED" | "" => "None".to_owned(),
            other => camel(other),
        };
        let format = match choice(&option, "format").as_str() {
            "FORMAT_UNSPECIFIED" | "" => default_format(field),
            other => camel(other),
        };
        writeln!(
            out,
            "Field {{ tag: {}, name: {:?}, label: {}, description: {}, aliases: &{:?}, owner: {}, merge: Merge::{merge}, share: Share::{}, pii: Pii::{pii}, group: &{group:?}, format: Format::{format}, required: {}, unit: {:?}, ty: {}, repeated: {} }},",
            field.number(),
            field.name(),
            text(&option, "label"),
            text(&option, "description"),
            strings(&option, "aliases"),
            party(&choice(&option, "owner")),
            if share.is_empty() || share == "SHARE_UNSPECIFIED" { "Open".to_owned() } else { camel(&share) },
            flag(&option, "required"),
            string(&option, "unit"),
            wire_type(field, enums),
            field.is_list(),
        )?;
    }
    writeln!(out, "] }},")?;
    Ok(())
}

fn default_format(field: &FieldDescriptor) -> String {
    match field.kind() {
        Wire::Enum(_) => "Choice",
        Wire::Bool => "Flag",
        Wire::Message(_) => "Parts",
        Wire::String => "Text",
        Wire::Bytes => "Record",
        _ => "Number",
    }
    .to_owned()
}

fn wire_type(field: &FieldDescriptor, enums: &mut BTreeMap<String, EnumDescriptor>) -> String {
    match field.kind() {
        Wire::String => "Type::String".into(),
        Wire::Bytes => "Type::Bytes".into(),
        Wire::Bool => "Type::Bool".into(),
        Wire::Uint32 => "Type::Uint32".into(),
        Wire::Uint64 => "Type::Uint64".into(),
        Wire::Int32 => "Type::Int32".into(),
        Wire::Int64 => "Type::Int64".into(),
        Wire::Double => "Type::Double".into(),
        Wire::Enum(values) => {
            let name = snake(values.name()).to_uppercase();
            let out = format!("Type::Enum(&{name})");
            enums.insert(name, values);
            out
        }
        Wire::Message(message) => format!("Type::Message({:?})", message.full_name()),
        other => format!("compile_error!(\"the schema has no type {other:?}\")"),
    }
}

fn render_enum(out: &mut String, options: &Options, name: &str, values: &EnumDescriptor) -> Result<()> {
    let prefix = format!("{}_", snake(values.name()).to_uppercase());
    let short = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
    let all: Vec<_> = values.values().collect();
    let by_name = |wanted: &str| all.iter().find(|value| short(value.name()) == wanted);
    let mut follows: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for value in &all {
        let Some(option) = options.read(&value.options(), &options.value) else { continue };
        for step in messages(&option, "next") {
            let to = string(&step, "to");
            let target = by_name(&to).ok_or(format!("{}: no value {to}", value.full_name()))?;
            let step = format!("Step {{ from: {}, by: {} }}", value.number(), party(&choice(&step, "by")));
            follows.entry(target.number()).or_default().push(step);
        }
    }
    writeln!(out, "static {name}: Enum = Enum {{ name: {:?}, values: &[", values.name())?;
    for value in all.iter().filter(|value| value.number() != 0) {
        let option = options.read(&value.options(), &options.value);
        let option = option.ok_or(format!("{} has no schema option", value.full_name()))?;
        writeln!(
            out,
            "Value {{ number: {}, name: {:?}, label: {}, aliases: &{:?}, rank: {}, initial: {}, draft: {}, follows: &[{}] }},",
            value.number(),
            short(value.name()),
            text(&option, "label"),
            strings(&option, "aliases"),
            number(&option, "rank"),
            flag(&option, "initial"),
            flag(&option, "draft"),
            follows.remove(&value.number()).unwrap_or_default().join(", "),
        )?;
    }
    writeln!(out, "] }};")?;
    Ok(())
}
