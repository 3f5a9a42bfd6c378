//! Resident identity numbers and credit codes against the shared vectors.

use liandong_proto::format::resident_id::{self, Class, Sex};
use liandong_proto::format::{Day, ResidentId, Uscc, uscc};
use serde_json::Value;

fn today() -> Day {
    Day::new(2026, 4, 1).expect("a real day")
}

/// The cases of one list of the vectors; an empty list would prove nothing.
fn cases(list: &str) -> Vec<Value> {
    let vectors: Value =
        serde_json::from_str(include_str!("vectors/identifiers.json")).expect("the vectors are JSON");
    let cases = vectors[list].as_array().expect("the list exists").clone();
    assert!(!cases.is_empty());
    cases
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{case} has no {key}"))
}

#[test]
fn valid_numbers_say_who_and_what() {
    for case in cases("id18_valid") {
        let id =
            ResidentId::from_canonical(text(&case, "id"), today()).unwrap_or_else(|f| panic!("{case}: {f}"));
        assert_eq!(id.birth().to_string().replace('-', ""), text(&case, "dob"), "{case}");
        assert_eq!(if id.sex() == Sex::Male { "M" } else { "F" }, text(&case, "sex"), "{case}");
        let class = match id.class() {
            Class::Resident => "resident id",
            Class::HongKong => "HK residence permit",
            Class::Macao => "Macao residence permit",
            Class::Taiwan => "Taiwan residence permit",
        };
        assert_eq!(class, text(&case, "class"), "{case}");
        assert_eq!(id.as_str(), text(&case, "id"));
    }
}

#[test]
fn invalid_numbers_say_why() {
    for case in cases("id18_invalid") {
        let expected = match text(&case, "why") {
            "check digit" => resident_id::CHECK,
            "30 February" | "adjacent transposition" => resident_id::BIRTH,
            "17 chars" => resident_id::LENGTH,
            "province 99 unknown" => resident_id::PROVINCE,
            "birth date in the future" => resident_id::FUTURE,
            "spreadsheet scientific notation" => resident_id::SCIENTIFIC,
            "float precision lost (last three digits 000)" => resident_id::FLOAT,
            other => panic!("no fault is named for {other}"),
        };
        for fault in [
            ResidentId::parse(text(&case, "id"), today()).err(),
            ResidentId::from_canonical(text(&case, "id"), today()).err(),
        ] {
            assert_eq!(fault, Some(expected), "{case}");
        }
    }
}

#[test]
fn old_numbers_are_lengthened() {
    for case in cases("id15") {
        let id = ResidentId::parse(text(&case, "id15"), today()).unwrap_or_else(|f| panic!("{case}: {f}"));
        assert_eq!(id.as_str(), text(&case, "id18"));
    }
}

#[test]
fn spellings_are_normalised() {
    for case in cases("normalise") {
        assert_eq!(resident_id::normalise(text(&case, "in")), text(&case, "out"), "{case}");
        let id = ResidentId::parse(text(&case, "in"), today()).unwrap_or_else(|f| panic!("{case}: {f}"));
        assert_eq!(id.as_str(), text(&case, "out"));
    }
}

#[test]
fn credit_codes_are_judged() {
    for case in cases("uscc") {
        let code = Uscc::from_canonical(text(&case, "uscc"));
        assert_eq!(code.is_ok(), case["valid"].as_bool().expect("valid is a boolean"), "{case}");
        let expected = match case["why"].as_str() {
            None => None,
            Some("check char") => Some(uscc::CHECK),
            Some("letter I not allowed") => Some(uscc::CHARACTER),
            Some(other) => panic!("no fault is named for {other}"),
        };
        assert_eq!(code.err(), expected, "{case}");
    }
}
