//! What has been released is never changed: records live for decades, and nodes are not updated on one day.
//!
//! The protos are compared with the descriptor set of the last release in `golden/`. Adding is always possible.
//! Not compared: labels, descriptions, aliases, ranks and steps, which may be mended at any time.

use std::collections::BTreeMap;
use std::{env, fs};

use liandong_proto::pb::DESCRIPTORS;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::Type;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
};
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _,
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/descriptors.binpb");
const BLESS: &str = "LIANDONG_BLESS";

#[test]
fn released_messages_stay_as_they_are() {
    let bless = env::var_os(BLESS).is_some();
    let golden = fs::read(GOLDEN).unwrap_or_default();
    assert!(
        bless || !golden.is_empty(),
        "there is no {GOLDEN}; write it by running this test with {BLESS}=1"
    );
    let Changes { broken, added } = compare(&facts(&golden), &facts(DESCRIPTORS));
    assert!(
        broken.is_empty(),
        "these changes break what has been released; take a new tag, value or message instead:\n{}",
        broken.join("\n")
    );
    if bless {
        fs::write(GOLDEN, DESCRIPTORS).expect("the golden file can be written");
    } else if !added.is_empty() {
        println!(
            "added since the last release; at the next one run this test with {BLESS}=1:\n{}",
            added.join("\n")
        );
    }
}

/// What others rely on: a place, such as the tag of a message, and what stands there.
type Facts = BTreeMap<String, String>;

#[derive(Debug, Default, PartialEq)]
struct Changes {
    broken: Vec<String>,
    added: Vec<String>,
}

fn compare(old: &Facts, new: &Facts) -> Changes {
    let mut changes = Changes::default();
    for (place, was) in old {
        match new.get(place) {
            Some(is) if is == was => {}
            Some(is) => changes.broken.push(format!("{place} was {was}, is {is}")),
            None => changes.broken.push(format!("{place} was {was}, is gone")),
        }
    }
    let added = new.iter().filter(|(place, _)| !old.contains_key(*place));
    changes.added.extend(added.map(|(place, is)| format!("{place} is {is}")));
    changes
}

fn facts(descriptors: &[u8]) -> Facts {
    let pool = DescriptorPool::decode(descriptors).expect("a descriptor set");
    let mut facts = Facts::new();
    for message in pool.all_messages().filter(|message| message.full_name().starts_with("liandong.")) {
        let name = message.full_name();
        facts.insert(format!("message {name}"), "there".into());
        if let Some(number) = option(&pool, &message.options(), "kind", "number") {
            facts.insert(format!("kind {name}"), number);
        }
        for range in message.reserved_ranges() {
            facts.insert(format!("tags {}..{} of {name}", range.start, range.end), "reserved".into());
        }
        for field in message.fields() {
            facts.insert(format!("tag {} of {name}", field.number()), shape(&field));
            if let Some(share) = option(&pool, &field.options(), "field", "share") {
                facts.insert(format!("share of tag {} of {name}", field.number()), share);
            }
        }
    }
    for choices in pool.all_enums().filter(|choices| choices.full_name().starts_with("liandong.")) {
        for value in choices.values() {
            let place = format!("value {} of {}", value.number(), choices.full_name());
            facts.insert(place, value.name().into());
        }
    }
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let stream = |streams: bool| if streams { "stream of " } else { "" };
        let (input, output) = (method.input(), method.output());
        let shape = format!(
            "{}{} → {}{}",
            stream(method.is_client_streaming()),
            input.full_name(),
            stream(method.is_server_streaming()),
            output.full_name()
        );
        facts.insert(format!("method {}", method.full_name()), shape);
    }
    facts
}

/// Name, type and cardinality: what the wire, JSON and code depend on.
fn shape(field: &FieldDescriptor) -> String {
    let cardinality = match field.cardinality() {
        Cardinality::Repeated => "repeated ",
        _ if field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic()) => "oneof ",
        _ if field.supports_presence() && !matches!(field.kind(), Kind::Message(_)) => "optional ",
        _ => "",
    };
    format!("{cardinality}{:?} {}", field.kind(), field.name())
}

/// One setting of a schema option, as text; `None` when the descriptor has no such option.
fn option(pool: &DescriptorPool, options: &DynamicMessage, name: &str, setting: &str) -> Option<String> {
    let full = format!("liandong.schema.v1.{name}");
    let extension = pool.all_extensions().find(|extension| extension.full_name() == full)?;
    if !options.has_extension(&extension) {
        return None;
    }
    let option = options.get_extension(&extension).into_owned();
    let option = option.as_message()?;
    let value = option.get_field_by_name(setting)?;
    match option.descriptor().get_field_by_name(setting)?.kind() {
        Kind::Enum(choices) => Some(choices.get_value(value.as_enum_number()?)?.name().into()),
        _ => Some(value.to_string()),
    }
}

/// What [`compare`] says of an edit to `Sanction`, `SanctionKind`, or the set as a whole.
#[track_caller]
fn check(edit: impl FnOnce(&mut Edit), expected: Result<&str, &str>) {
    let mut set = FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptor set of the build");
    // Prost knows nothing of the options and drops them, so both sides go through it.
    let old = facts(&set.encode_to_vec());
    let file = set.file.iter_mut().find(|file| file.name() == "liandong/record/v1/sanction.proto");
    let file = file.expect("a proto of the build");
    let mut taken = Edit { message: file.message_type.remove(0), choices: file.enum_type.remove(0) };
    edit(&mut taken);
    file.message_type.insert(0, taken.message);
    file.enum_type.insert(0, taken.choices);
    let Changes { broken, added } = compare(&old, &facts(&set.encode_to_vec()));
    let found = match broken.first() {
        Some(broken) => Err(broken.replace("liandong.record.v1.", "")),
        None => Ok(added.join("; ").replace("liandong.record.v1.", "")),
    };
    assert_eq!(found.as_ref().map(String::as_str).map_err(String::as_str), expected);
}

struct Edit {
    message: DescriptorProto,
    choices: EnumDescriptorProto,
}

impl Edit {
    fn field(&mut self, name: &str) -> &mut FieldDescriptorProto {
        let field = self.message.field.iter_mut().find(|field| field.name() == name);
        field.expect("a field of the message")
    }
}

#[test]
fn adding_breaks_nothing() {
    check(|_| {}, Ok(""));
    let note = |edit: &mut Edit| {
        let mut note = edit.field("uscc").clone();
        (note.name, note.number, note.json_name) = (Some("note".into()), Some(40), None);
        edit.message.field.push(note);
    };
    check(note, Ok("tag 40 of Sanction is string note"));
    let value = |edit: &mut Edit| {
        let mut value = edit.choices.value[1].clone();
        (value.name, value.number) = (Some("SANCTION_KIND_FINE".into()), Some(7));
        edit.choices.value.push(value);
    };
    check(value, Ok("value 7 of SanctionKind is SANCTION_KIND_FINE"));
}

#[test]
fn a_breaking_change_of_a_field_is_found() {
    let removed = |edit: &mut Edit| edit.message.field.retain(|field| field.name() != "uscc");
    check(removed, Err("tag 2 of Sanction was string uscc, is gone"));
    let renamed = |edit: &mut Edit| edit.field("uscc").name = Some("code".into());
    check(renamed, Err("tag 2 of Sanction was string uscc, is string code"));
    let renumbered = |edit: &mut Edit| edit.field("uscc").number = Some(12);
    check(renumbered, Err("tag 2 of Sanction was string uscc, is gone"));
    let retyped = |edit: &mut Edit| edit.field("uscc").set_type(Type::Bytes);
    check(retyped, Err("tag 2 of Sanction was string uscc, is bytes uscc"));
    let listed = |edit: &mut Edit| edit.field("uscc").label = Some(3);
    check(listed, Err("tag 2 of Sanction was string uscc, is repeated string uscc"));
    let reused = |edit: &mut Edit| {
        edit.message.field.retain(|field| field.name() != "token");
        edit.field("uscc").number = Some(1);
    };
    check(reused, Err("tag 1 of Sanction was string token, is string uscc"));
}

#[test]
fn a_breaking_change_of_a_choice_is_found() {
    let removed = |edit: &mut Edit| drop(edit.choices.value.pop());
    check(removed, Err("value 6 of SanctionKind was SANCTION_KIND_EXPULSION, is gone"));
    let renumbered = |edit: &mut Edit| edit.choices.value[6].number = Some(7);
    check(renumbered, Err("value 6 of SanctionKind was SANCTION_KIND_EXPULSION, is gone"));
    let renamed = |edit: &mut Edit| edit.choices.value[6].name = Some("SANCTION_KIND_OUT".into());
    check(renamed, Err("value 6 of SanctionKind was SANCTION_KIND_EXPULSION, is SANCTION_KIND_OUT"));
}

#[test]
fn numbers_of_kinds_shares_and_methods_are_facts() {
    let facts = facts(DESCRIPTORS);
    let fact = |place: &str| facts.get(place).map(String::as_str);
    assert_eq!(fact("kind liandong.record.v1.Sanction"), Some("5"));
    assert_eq!(fact("share of tag 5 of liandong.record.v1.Member"), Some("TOKEN"));
    assert_eq!(fact("tag 24 of liandong.record.v1.Member"), Some("optional uint32 cpd_hours"));
    assert_eq!(fact("tag 3 of liandong.record.v1.Sanction"), Some("liandong.record.v1.SanctionKind kind"));
    assert!(facts.keys().any(|place| place.starts_with("method liandong.sync.v1.")));
    let moved = |from: &str, to: &str| {
        let new: Facts = facts.iter().map(|(k, v)| (k.clone(), v.replace(from, to))).collect();
        compare(&facts, &new).broken.first().cloned()
    };
    assert!(moved("TOKEN", "OPEN").is_some_and(|broken| broken.ends_with("was TOKEN, is OPEN")));
}
