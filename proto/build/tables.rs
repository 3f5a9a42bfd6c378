//! Renders the schema's options as static Rust tables. What the system cannot do without (an owner, how far a
//! field travels, how personal it is) must be written; a default could leak.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind as Wire, MessageDescriptor};

use crate::options::{Options, Written, snake};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// All tables of a pool, as Rust source for the crate's `schema` module.
pub fn render(pool: &DescriptorPool) -> Result<String> {
    let mut tables = Tables { options: Options::of(pool)?, enums: BTreeMap::new(), parts: Vec::new() };
    let mut kinds: Vec<(u32, MessageDescriptor, Written)> = Vec::new();
    for message in pool.all_messages() {
        if let Some(kind) = Written::read(&message.options(), &tables.options.kind) {
            kinds.push((kind.number("number"), message, kind));
        }
    }
    kinds.sort_by_key(|(number, _, _)| *number);

    let mut out = String::new();
    writeln!(out, "static KINDS: [Kind; {}] = [", kinds.len())?;
    for (_, message, kind) in &kinds {
        writeln!(out, "{},", tables.kind(message, kind)?)?;
    }
    writeln!(out, "];")?;

    writeln!(out, "static PARTS: &[(&str, &[Field])] = &[")?;
    let mut done = 0;
    // Rendering a nested message may find more of them.
    while let Some(message) = tables.parts.get(done).cloned() {
        writeln!(out, "({:?}, {}),", message.full_name(), tables.fields(&message)?)?;
        done += 1;
    }
    writeln!(out, "];")?;

    for (name, values) in &tables.enums {
        writeln!(out, "static {name}: Enum = {};", tables.choices(values)?)?;
    }
    Ok(out)
}

struct Tables {
    options: Options,
    /// Enums met so far, by the name of their static.
    enums: BTreeMap<String, EnumDescriptor>,
    /// Nested messages met so far.
    parts: Vec<MessageDescriptor>,
}

impl Tables {
    fn kind(&mut self, message: &MessageDescriptor, kind: &Written) -> Result<String> {
        let sites = tags(message, &kind.strings("site_fields"))?;
        let audience = match must(kind, "audience", message.full_name())?.as_str() {
            "HomeCity" => "Home".to_owned(),
            "NamedCities" => format!("Sites({sites})"),
            "NoCity" => "None".to_owned(),
            other => other.to_owned(),
        };
        let consents = match kind.string("consents") {
            none if none.is_empty() => None,
            name => Some(message.get_field_by_name(&name).ok_or(format!("no field {name}"))?.number()),
        };
        let mut status = None;
        for field in message.fields() {
            if self.option(&field)?.choice("merge").as_deref() == Some("Status")
                && status.replace(field.number()).is_some()
            {
                return Err(format!("{} has two fields that merge as STATUS", message.full_name()).into());
            }
        }
        Ok(format!(
            "Kind {{ number: {}, name: {:?}, message: {:?}, title: {}, owner: Party::{}, audience: \
             Audience::{audience}, status: {status:?}, identity: {}, consents: {:?}, fields: {} }}",
            kind.number("number"),
            snake(message.name()),
            message.full_name(),
            kind.text("title"),
            must(kind, "owner", message.full_name())?,
            tags(message, &kind.strings("identity"))?,
            consents,
            self.fields(message)?,
        ))
    }

    fn fields(&mut self, message: &MessageDescriptor) -> Result<String> {
        let mut fields: Vec<FieldDescriptor> = message.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        let mut groups: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for field in &fields {
            let group = self.option(field)?.string("group");
            if !group.is_empty() {
                groups.entry(group).or_default().push(field.number());
            }
        }
        let mut out = "&[\n".to_owned();
        for field in &fields {
            let option = self.option(field)?;
            let alone = vec![field.number()];
            let group = groups.get(&option.string("group")).unwrap_or(&alone);
            writeln!(out, "    {},", self.field(field, &option, group)?)?;
        }
        out.push(']');
        Ok(out)
    }

    fn field(&mut self, field: &FieldDescriptor, option: &Written, group: &[u32]) -> Result<String> {
        let name = field.full_name();
        let pii = match must(option, "pii", name)?.as_str() {
            "NotPersonal" => "None".to_owned(),
            other => other.to_owned(),
        };
        let format = match (option.choice("format"), field.kind()) {
            (Some(format), _) => format,
            (None, Wire::Enum(_)) => "Choice".into(),
            (None, Wire::Bool) => "Flag".into(),
            (None, Wire::Message(_)) => "Parts".into(),
            (None, Wire::String | Wire::Bytes) => return Err(format!("{name}: no format").into()),
            (None, _) => "Number".into(),
        };
        Ok(format!(
            "Field {{ tag: {}, name: {:?}, label: {}, description: {}, aliases: &{:?}, owner: Party::{}, merge: \
             Merge::{}, share: Share::{}, pii: Pii::{pii}, group: &{group:?}, format: Format::{format}, required: \
             {}, unit: {:?}, consent: {:?}, ty: {}, repeated: {} }}",
            field.number(),
            field.name(),
            option.text("label"),
            option.text("description"),
            option.strings("aliases"),
            must(option, "owner", name)?,
            option.choice("merge").unwrap_or("Latest".into()),
            must(option, "share", name)?,
            option.flag("required"),
            option.string("unit"),
            option.string("consent"),
            self.wire_type(field)?,
            field.is_list(),
        ))
    }

    fn wire_type(&mut self, field: &FieldDescriptor) -> Result<String> {
        Ok(match field.kind() {
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
                let text = format!("Type::Enum(&{name})");
                self.enums.insert(name, values);
                text
            }
            Wire::Message(message) => {
                let text = format!("Type::Message({:?})", message.full_name());
                if !self.parts.contains(&message) {
                    self.parts.push(message);
                }
                text
            }
            other => return Err(format!("{}: the schema has no type {other:?}", field.full_name()).into()),
        })
    }

    fn choices(&self, values: &EnumDescriptor) -> Result<String> {
        let prefix = format!("{}_", snake(values.name()).to_uppercase());
        let mut all: Vec<(i32, String, Written)> = Vec::new();
        for value in values.values().filter(|value| value.number() != 0) {
            let name =
                value.name().strip_prefix(&prefix).ok_or(format!("{} lacks {prefix}", value.full_name()))?;
            let option = Written::read(&value.options(), &self.options.value);
            let option = option.ok_or(format!("{} has no schema option", value.full_name()))?;
            all.push((value.number(), name.to_owned(), option));
        }
        let mut follows: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for (from, name, option) in &all {
            for step in option.nested("next") {
                let to = step.string("to");
                let target = all.iter().find(|(_, name, _)| *name == to);
                let (target, _, _) =
                    target.ok_or(format!("{name} of {} leads to no {to}", values.full_name()))?;
                let by = must(&step, "by", &format!("{} {name} → {to}", values.full_name()))?;
                follows.entry(*target).or_default().push(format!("Step {{ from: {from}, by: Party::{by} }}"));
            }
        }
        let mut out = format!("Enum {{ name: {:?}, values: &[\n", values.name());
        for (number, name, option) in &all {
            writeln!(
                out,
                "    Value {{ number: {number}, name: {name:?}, label: {}, aliases: &{:?}, rank: {}, initial: {}, draft: {}, follows: &[{}] }},",
                option.text("label"),
                option.strings("aliases"),
                option.number("rank"),
                option.flag("initial"),
                option.flag("draft"),
                follows.remove(number).unwrap_or_default().join(", "),
            )?;
        }
        out.push_str("] }");
        Ok(out)
    }

    fn option(&self, field: &FieldDescriptor) -> Result<Written> {
        let option = Written::read(&field.options(), &self.options.field);
        option.ok_or_else(|| format!("{} has no schema option", field.full_name()).into())
    }
}

/// A choice that has to be written.
fn must(option: &Written, name: &str, of: &str) -> Result<String> {
    option.choice(name).ok_or_else(|| format!("{of}: no {name} in its schema option").into())
}

/// `&[1, 2]`: the tags of named fields.
fn tags(message: &MessageDescriptor, names: &[String]) -> Result<String> {
    let mut tags = Vec::new();
    for name in names {
        let field = message.get_field_by_name(name);
        tags.push(field.ok_or(format!("{} has no field {name}", message.full_name()))?.number());
    }
    Ok(format!("&{tags:?}"))
}
