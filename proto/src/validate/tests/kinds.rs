//! The real schema: what the rules take for granted about it.

use super::*;
use crate::schema;

fn member() -> &'static Kind {
    schema::kind_by_name("member").expect("members are a kind of record")
}

#[track_caller]
fn choices(name: &str) -> Vec<&'static str> {
    match member().field_by_name(name).map(|field| field.ty) {
        Some(Type::Enum(choices)) => choices.values.iter().map(|value| value.name).collect(),
        other => panic!("{name} is no choice: {other:?}"),
    }
}

#[test]
fn the_choices_that_rules_name_exist() {
    assert!(["RESIDENT_ID", "RESIDENCE_PERMIT"].iter().all(|name| choices("id_type").contains(name)));
    assert!(["MALE", "FEMALE"].iter().all(|name| choices("sex").contains(name)));
    assert!(member().field_by_name("birth_date").is_some_and(|field| field.format == Format::Date));
}

#[test]
fn every_format_stands_on_a_type_that_can_carry_it() {
    for kind in schema::kinds() {
        for field in kind.fields {
            let fits = match field.format {
                Format::Record => field.ty == Type::Bytes,
                Format::Site => matches!(field.ty, Type::Uint32 | Type::Uint64),
                Format::Year => matches!(field.ty, Type::Uint32 | Type::String),
                Format::Opaque => matches!(field.ty, Type::Bytes | Type::String),
                Format::Choice => matches!(field.ty, Type::Enum(_)),
                Format::Flag => field.ty == Type::Bool,
                Format::Number => {
                    matches!(field.ty, Type::Uint32 | Type::Uint64 | Type::Int32 | Type::Int64 | Type::Double)
                }
                Format::Parts => matches!(field.ty, Type::Message(_)),
                _ => field.ty == Type::String,
            };
            assert!(fits, "{}.{}: {:?} on {:?}", kind.name, field.name, field.format, field.ty);
            let is_text = field.share != Share::Token || field.ty == Type::String;
            assert!(is_text, "{}.{}: a token is text", kind.name, field.name);
        }
    }
}

#[test]
fn every_status_can_be_reached_from_a_start() {
    for kind in schema::kinds() {
        let Some(Type::Enum(statuses)) = kind.status.and_then(|tag| kind.field(tag)).map(|field| field.ty)
        else {
            continue;
        };
        let everyone = [Party::Home, Party::Province, Party::Shared, Party::Sites];
        for status in statuses.values {
            let is_start = check_step(kind, None, status.number, &everyone).is_ok();
            let is_reached = is_start || reachable_by(kind, status.number, &everyone);
            assert!(is_reached, "{}: nothing leads to {}", kind.name, status.name);
        }
        let is_startable = statuses.values.iter().any(|status| status.initial);
        assert!(is_startable, "{}: a record cannot start", kind.name);
    }
}

#[test]
fn nested_messages_are_checked_part_by_part() {
    let round = schema::kind_by_name("award_round").expect("award rounds are a kind of record");
    let quotas = round.field_by_name("quotas").expect("a round has quotas");
    let finding = schema::kind_by_name("finding").expect("findings are a kind of record");
    let subjects = finding.field_by_name("subjects").expect("a finding has subjects");
    let check = |kind: &Kind, field: &Field, entries: &[Fields], expected: Result<(), Fault>| {
        let mut fields = FieldsBuilder::new();
        for entry in entries {
            fields.delimited(field.tag, entry.bytes());
        }
        let fields = fields.take();
        let raw = fields.get(field.tag).expect("set above");
        let found = check_value(kind, field, raw, &fields, View::Shared, now());
        assert_eq!(found.map_err(|problem| problem.fault), expected, "{}", field.name);
    };
    let quota = |city, places| FieldsBuilder::new().u64(1, city).str(2, "优秀社工").u64(3, places).take();
    check(round, quotas, &[quota(440_100, 3), quota(440_300, 5)], Ok(()));
    check(round, quotas, &[quota(440_100, 3), quota(1, 5)], Err(value::SITE));
    check(round, quotas, &[FieldsBuilder::new().str(1, "440100").take()], Err(value::WIRE));
    check(
        round,
        quotas,
        &[quota(440_100, 1).patched(&FieldsBuilder::new().str(99, "newer").take(), &[])],
        Ok(()),
    );
    let subject = |record: &[u8]| FieldsBuilder::new().u64(1, 1).delimited(2, record).take();
    check(finding, subjects, &[subject(&[7; 16])], Ok(()));
    check(finding, subjects, &[subject(&[7; 15])], Err(value::RECORD));
    check(finding, subjects, &[FieldsBuilder::new().u64(1, 1).take()], Err(value::PART));
}
