//! Everything the system must know about a field, a choice or a kind is written in the protos, not defaulted.

use liandong_proto::pb::DESCRIPTORS;
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, Kind, MessageDescriptor, Value,
};

const PACKAGE: &str = "liandong.schema.v1";

#[test]
fn the_schema_is_complete() {
    let faults = faults(&pool());
    assert!(faults.is_empty(), "write these options:\n{}", faults.join("\n"));
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTORS).expect("the descriptor set of the build")
}

fn extension(pool: &DescriptorPool, name: &str) -> ExtensionDescriptor {
    let full = format!("{PACKAGE}.{name}");
    pool.all_extensions().find(|extension| extension.full_name() == full).expect("one of the three options")
}

/// What is missing, one line each.
fn faults(pool: &DescriptorPool) -> Vec<String> {
    let mut found = Vec::new();
    let kind = extension(pool, "kind");
    for message in pool.all_messages() {
        let options = message.options();
        if options.has_extension(&kind) {
            let mut owed =
                Owed { of: message.full_name(), option: option(&options, &kind), found: &mut found };
            owed.text("title");
            owed.set("number");
            owed.set("owner");
            owed.set("audience");
            fields(pool, &message, &mut found);
        }
    }
    found
}

fn fields(pool: &DescriptorPool, message: &MessageDescriptor, found: &mut Vec<String>) {
    let field_option = extension(pool, "field");
    for field in message.fields() {
        let mut owed = Owed { of: field.full_name(), option: option(&field.options(), &field_option), found };
        owed.text("label");
        owed.sentence("description");
        owed.set("owner");
        owed.set("share");
        owed.set("pii");
        match field.kind() {
            Kind::Message(parts) => fields(pool, &parts, found),
            Kind::Enum(choices) => values(pool, &choices, found),
            _ => {}
        }
    }
}

fn values(pool: &DescriptorPool, choices: &EnumDescriptor, found: &mut Vec<String>) {
    let value_option = extension(pool, "value");
    for value in choices.values() {
        if value.number() == 0 {
            if !value.name().ends_with("_UNSPECIFIED") {
                found.push(format!("{}: number 0 must be …_UNSPECIFIED", value.full_name()));
            }
            continue;
        }
        let option = option(&value.options(), &value_option);
        Owed { of: value.full_name(), option, found }.text("label");
    }
}

fn option(options: &DynamicMessage, extension: &ExtensionDescriptor) -> DynamicMessage {
    options.get_extension(extension).as_message().expect("the options are messages").clone()
}

/// One option, and what it owes.
struct Owed<'a> {
    of: &'a str,
    option: DynamicMessage,
    found: &'a mut Vec<String>,
}

impl Owed<'_> {
    fn set(&mut self, name: &str) {
        if !self.option.has_field_by_name(name) {
            self.found.push(format!("{}: no {name}", self.of));
        }
    }

    fn text(&mut self, name: &str) -> [String; 2] {
        let text = self.option.get_field_by_name(name).expect("the option has this field").into_owned();
        let text = text.as_message().expect("a text");
        ["zh", "en"].map(|language| {
            let written = text.get_field_by_name(language).expect("a text has two languages");
            let written = written.as_str().unwrap_or_default().to_owned();
            if written.trim().is_empty() || written.trim() != written {
                self.found.push(format!("{}: no {name} {language}", self.of));
            }
            written
        })
    }

    fn sentence(&mut self, name: &str) {
        let [zh, en] = self.text(name);
        for (text, stop) in [(zh, '。'), (en, '.')] {
            if !text.is_empty() && !text.ends_with(stop) {
                self.found.push(format!("{}: {name} does not end with {stop}", self.of));
            }
        }
    }
}

/// The faults after `edit` was applied to the descriptor at `path`: pairs of a list and the name in it.
fn faults_after(path: &[(&str, &str)], edit: impl FnOnce(&mut DynamicMessage)) -> Vec<String> {
    let pool = pool();
    let set = pool.get_message_by_name("google.protobuf.FileDescriptorSet").expect("imported by the options");
    let mut set = DynamicMessage::decode(set, DESCRIPTORS).expect("the descriptor set of the build");
    edit(find(&mut set, path));
    faults(&DescriptorPool::decode(set.encode_to_vec().as_slice()).expect("still a descriptor set"))
}

fn find<'a>(message: &'a mut DynamicMessage, path: &[(&str, &str)]) -> &'a mut DynamicMessage {
    let [(list, name), rest @ ..] = path else { return message };
    let list =
        message.get_field_by_name_mut(list).and_then(Value::as_list_mut).expect("a list of descriptors");
    let named = |item: &DynamicMessage| {
        item.get_field_by_name("name").is_some_and(|known| known.as_str() == Some(*name))
    };
    let mut items = list.iter_mut().filter_map(Value::as_message_mut);
    find(items.find(|item| named(item)).expect("a descriptor of this name"), rest)
}

/// An option of a descriptor, to be edited.
fn option_mut<'a>(descriptor: &'a mut DynamicMessage, name: &str) -> &'a mut DynamicMessage {
    let extension = extension(&pool(), name);
    let options =
        descriptor.get_field_by_name_mut("options").and_then(Value::as_message_mut).expect("options");
    let known = options.extensions().find(|(known, _)| known.full_name() == extension.full_name());
    let extension = known.expect("the option is written").0;
    options.get_extension_mut(&extension).as_message_mut().expect("the options are messages")
}

#[track_caller]
fn check(path: &[(&str, &str)], option: &str, clear: &str, expected: &[&str]) {
    let found = faults_after(path, |descriptor| option_mut(descriptor, option).clear_field_by_name(clear));
    assert_eq!(found, expected);
}

const MEMBER: [(&str, &str); 2] = [("file", "liandong/record/v1/member.proto"), ("message_type", "Member")];

#[test]
fn a_missing_option_of_a_field_is_found() {
    let name = [MEMBER[0], MEMBER[1], ("field", "name")];
    let of = "liandong.record.v1.Member.name";
    check(&name, "field", "label", &[&format!("{of}: no label zh"), &format!("{of}: no label en")]);
    check(
        &name,
        "field",
        "description",
        &[&format!("{of}: no description zh"), &format!("{of}: no description en")],
    );
    check(&name, "field", "owner", &[&format!("{of}: no owner")]);
    check(&name, "field", "share", &[&format!("{of}: no share")]);
    check(&name, "field", "pii", &[&format!("{of}: no pii")]);
    check(&name, "field", "merge", &[]);
}

#[test]
fn a_field_without_any_option_is_found() {
    let name = [MEMBER[0], MEMBER[1], ("field", "name")];
    let found = faults_after(&name, |field| field.clear_field_by_name("options"));
    assert_eq!(found.len(), 7, "{found:?}");
}

#[test]
fn a_missing_option_of_a_kind_a_value_and_a_nested_field_is_found() {
    let of = "liandong.record.v1.Member";
    check(&MEMBER, "kind", "title", &[&format!("{of}: no title zh"), &format!("{of}: no title en")]);
    check(&MEMBER, "kind", "audience", &[&format!("{of}: no audience")]);
    let female = [("file", "liandong/record/v1/person.proto"), ("enum_type", "Sex"), ("value", "SEX_FEMALE")];
    let of = "liandong.record.v1.SEX_FEMALE";
    check(&female, "value", "label", &[&format!("{of}: no label zh"), &format!("{of}: no label en")]);
    let places = [
        ("file", "liandong/record/v1/award_round.proto"),
        ("message_type", "AwardQuota"),
        ("field", "places"),
    ];
    check(&places, "field", "pii", &["liandong.record.v1.AwardQuota.places: no pii"]);
}

#[test]
fn half_a_text_is_found() {
    let name = [MEMBER[0], MEMBER[1], ("field", "name")];
    let found = faults_after(&name, |field| {
        let option = option_mut(field, "field");
        let set = |option: &mut DynamicMessage, text: &str, language: &str, words: &str| {
            let text = option.get_field_by_name_mut(text).and_then(Value::as_message_mut).expect("a text");
            text.set_field_by_name(language, Value::String(words.into()));
        };
        set(option, "label", "en", " ");
        set(option, "description", "zh", "没有句号");
    });
    let of = "liandong.record.v1.Member.name";
    assert_eq!(found, [format!("{of}: no label en"), format!("{of}: description does not end with 。")]);
}
