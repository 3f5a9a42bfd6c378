//! Every kind of the schema there and back, texts of every shape, and what must not be shown.

use bytes::Bytes;
use liandong_proto::fields::{Fields, FieldsBuilder};
use liandong_proto::id::RecordId;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{self, Field, Format, Type};
use liandong_proto::validate::today;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as Wire, Value};
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::text::Lang;

const TODAY_MS: u64 = 1_780_000_000_000;

/// A value that a field of that format accepts in its stored spelling.
fn sample(field: &FieldDescriptor, format: Option<Format>) -> Value {
    let value = match field.kind() {
        Wire::String => Value::String(
            match format {
                Some(Format::ResidentId) => "44010019900101001X",
                Some(Format::Mobile) => "13800138000",
                Some(Format::Uscc) => "914401001000000009",
                Some(Format::Email) => "someone@example.org",
                Some(Format::Date) => "2020-03",
                Some(Format::FullDate) => "2020-03-12",
                Some(Format::Year) => "2020",
                Some(Format::Name) => "王芳",
                _ => "abc",
            }
            .to_owned(),
        ),
        Wire::Enum(choices) => Value::EnumNumber(choices.values().last().expect("it has values").number()),
        Wire::Bytes => Value::Bytes(Bytes::copy_from_slice(&RecordId::v7(TODAY_MS, [7; 10]).0)),
        Wire::Bool => Value::Bool(true),
        Wire::Uint32 if format == Some(Format::Site) => Value::U32(440_300),
        Wire::Uint32 => Value::U32(2026),
        Wire::Uint64 => Value::U64(1 << 40),
        Wire::Int32 => Value::I32(-3),
        Wire::Int64 => Value::I64(-3),
        Wire::Double => Value::F64(87.5),
        Wire::Message(message) => {
            let mut parts = DynamicMessage::new(message.clone());
            for part in message.fields() {
                parts.set_field(&part, sample(&part, nested::format(&part)));
            }
            Value::Message(parts)
        }
        other => panic!("the schema has no {other:?}"),
    };
    if field.is_list() { Value::List(vec![value.clone(), value]) } else { value }
}

fn full_record(kind: &'static schema::Kind) -> Bytes {
    use prost::Message as _;
    let mut whole = DynamicMessage::new(message(kind));
    for field in kind.fields {
        let descriptor = message(kind).get_field(field.tag).expect("tables and descriptors agree");
        // USCC check digits are for the format's own tests; here any text that is stored as it is will do.
        whole.set_field(&descriptor, sample(&descriptor, Some(field.format)));
    }
    Bytes::from(whole.encode_to_vec())
}

#[test]
fn every_kind_goes_to_json_and_back() {
    for kind in schema::kinds() {
        let stored = full_record(kind);
        let mut object = to_json(kind, stored.clone()).unwrap();
        assert_eq!(object.len(), kind.fields.len(), "{}", kind.name);
        let names: Vec<&str> = object.keys().map(String::as_str).collect();
        let expected: Vec<&str> = kind.fields.iter().map(|field| field.name).collect();
        assert_eq!(names, expected, "names of the schema, in the order of tags");
        let without_checks: Vec<&Field> = kind
            .fields
            .iter()
            .filter(|field| matches!(field.format, Format::Uscc | Format::ResidentId))
            .collect();
        for field in &without_checks {
            object.remove(field.name);
        }
        let patch = from_json(kind, &object, today(TODAY_MS))
            .unwrap_or_else(|problems| panic!("{}: {problems:?}", kind.name));
        let expected = Fields::split(stored)
            .unwrap()
            .filtered(|tag| !without_checks.iter().any(|field| field.tag == tag));
        assert_eq!(Fields::split(patch.set).unwrap(), expected, "{}", kind.name);
        assert!(patch.cleared.is_empty());
    }
}

#[test]
fn every_kind_can_be_shown_in_both_languages() {
    for kind in schema::kinds() {
        for lang in [Lang::Zh, Lang::En] {
            let lines = to_text(kind, full_record(kind), lang).unwrap();
            assert_eq!(lines.len(), kind.fields.len(), "{}", kind.name);
            assert!(lines.iter().all(|(_, text)| !text.is_empty()), "{}: {lines:?}", kind.name);
        }
    }
}

#[test]
fn choices_have_the_names_of_the_tables() {
    for field in schema::kinds().iter().flat_map(|kind| kind.fields) {
        let Type::Enum(choices) = field.ty else { continue };
        let descriptor = pool().all_enums().find(|descriptor| descriptor.name() == choices.name).unwrap();
        for value in choices.values {
            let described = descriptor.get_value(value.number).unwrap();
            assert_eq!(nested::short_name(&described), value.name);
            assert_eq!(nested::choice_label(&described, Lang::Zh), value.label.zh);
            for text in [value.name, value.label.zh, value.label.en] {
                assert_eq!(choices.by_text(text).map(|found| found.number), Some(value.number), "{text}");
            }
        }
    }
}

fn member() -> &'static schema::Kind {
    kind_named("member").expect("the schema has members")
}

fn texts(set: &[(&str, &str)], clear: &[&str]) -> Result<Patch, Vec<pb::Problem>> {
    let set: Vec<(String, String)> =
        set.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let clear: Vec<String> = clear.iter().map(|name| (*name).to_owned()).collect();
    from_texts(member(), &set, &clear, today(TODAY_MS))
}

#[track_caller]
fn check(name: &str, text: &str, expected: Json) {
    let patch = texts(&[(name, text)], &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    let object = to_json(member(), patch.set).unwrap();
    let stored = object.get(name).cloned().unwrap_or(Json::Null);
    assert_eq!(stored, expected, "{name}={text}");
}

#[track_caller]
fn check_refused(name: &str, text: &str, code: &str) {
    let problems = texts(&[(name, text)], &[]).expect_err("it is refused");
    let problem = &problems[0];
    assert_eq!(problem.code, code, "{problem:?}");
    assert!(
        text.is_empty() || !(problem.zh.contains(text) || problem.en.contains(text)),
        "the value is not told"
    );
}

#[test]
fn texts_become_the_stored_spelling() {
    check("name", "王 芳", json!("王芳"));
    check("status", "ACTIVE", json!("ACTIVE"));
    check("status", "在册", json!("ACTIVE"));
    check("birth_date", "1990年3月", json!("1990-03"));
    check("mobile", "138 0013 8000", json!("13800138000"));
    check("mobile", "13800138000/13900139000", json!("13800138000"));
    check("cpd_hours", "72 学时", json!(72));
    check("cpd_hours", "72.0", json!(72));
    check("email", "—", Json::Null);
    check("remarks", "", Json::Null);
    check("id_number", "11010519491231002x", json!("11010519491231002X"));
}

#[test]
fn a_document_number_is_read_as_its_type_says() {
    let passport = texts(&[("id_number", "e1234 5678"), ("id_type", "PASSPORT")], &[]).unwrap();
    assert_eq!(to_json(member(), passport.set).unwrap()["id_number"], "e12345678");
    check_refused("id_number", "E12345678", "resident_id.character");
}

#[test]
fn what_cannot_be_read_is_named_without_its_value() {
    check_refused("mobile", "0755-12345678", "mobile.shape");
    check_refused("birth_date", "1990-13", "date.calendar");
    check_refused("status", "zzz", "value.choice");
    check_refused("cpd_hours", "many", "value.number");
    let problems = texts(&[("no_such_field", "x"), ("birth_date", "x")], &[]).unwrap_err();
    assert_eq!(problems.len(), 2, "all at once");
    assert_eq!(problems[0].code, "field.unknown");
}

#[test]
fn empty_and_null_clear_a_field() {
    let tag = member().field_by_name("remarks").unwrap().tag;
    assert_eq!(texts(&[("remarks", "")], &[]).unwrap().cleared, vec![tag]);
    assert_eq!(texts(&[], &["remarks"]).unwrap().cleared, vec![tag]);
    let object: Map<String, Json> = serde_json::from_str(r#"{"remarks": null}"#).unwrap();
    assert_eq!(from_json(member(), &object, today(TODAY_MS)).unwrap().cleared, vec![tag]);
}

#[test]
fn lists_and_parts_are_json_or_commas() {
    let round = kind_named("award_round").unwrap();
    let set = |name: &str, text: &str| {
        from_texts(round, &[(name.to_owned(), text.to_owned())], &[], today(TODAY_MS))
            .map(|patch| to_json(round, patch.set).unwrap())
    };
    assert_eq!(set("categories", "优秀社工，新秀").unwrap()["categories"], json!(["优秀社工", "新秀"]));
    assert_eq!(set("categories", r#"["a,b"]"#).unwrap()["categories"], json!(["a,b"]));
    let quotas = set("quotas", r#"[{"city": "广州", "n": 3}, {"city": 440300}]"#);
    assert!(
        quotas.is_ok() || quotas.as_ref().is_err_and(|problems| problems[0].code == "field.unknown"),
        "{quotas:?}"
    );
    assert_eq!(set("quotas", "three").unwrap_err()[0].code, "value.wire");
    assert_eq!(set("quotas", r#"[{"town": 1}]"#).unwrap_err()[0].code, "field.unknown");
}

#[test]
fn fields_of_a_newer_node_are_not_shown() {
    let mut fields = FieldsBuilder::new();
    fields.str(1, "王芳").str(9_999, "secret of tomorrow");
    let bytes = fields.finish().bytes().clone();
    assert_eq!(
        serde_json::to_string(&to_json(member(), bytes.clone()).unwrap()).unwrap(),
        r#"{"name":"王芳"}"#
    );
    assert_eq!(to_text(member(), bytes, Lang::Zh).unwrap().len(), 1);
}

#[test]
fn text_for_a_terminal_holds_nothing_that_steers_it() {
    let mut fields = FieldsBuilder::new();
    fields.str(1, "a\u{1b}[31mb\r");
    let bytes = fields.finish().bytes().clone();
    assert!(!shown(member(), 1, &bytes, Lang::En).contains(char::is_control));
}

#[test]
fn kinds_and_sites_have_several_names() {
    for name in ["award_round", "AwardRound", "award-round", "评选活动", "2"] {
        assert_eq!(kind_named(name).map(|kind| kind.number), Some(2), "{name}");
    }
    assert!(kind_named("nothing").is_none());
    for name in ["440100", "广州市", "广州", "Guangzhou", "guangzhou"] {
        assert_eq!(site_named(name).map(|site| site.0), Some(440_100), "{name}");
    }
    assert!(site_named("440000").is_some_and(|site| site.is_province()));
    assert!(site_named("北京").is_none());
}
