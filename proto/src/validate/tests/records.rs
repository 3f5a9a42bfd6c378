//! Whole records: what is required, what must fit together, what is only doubtful.

use super::*;

#[track_caller]
fn check_whole(fields: &Fields, view: View, expected: &[(u32, Fault)]) {
    let problems = check_record(&KIND, fields, view, now());
    let found: Vec<_> = problems.iter().map(|problem| (problem.tag, problem.fault)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_record_in_order_has_no_problems() {
    check_whole(&member(), View::Full, &[]);
    check_whole(&shared(), View::Shared, &[]);
}

#[test]
fn required_fields_are_demanded_where_they_can_be() {
    let active = raw_number(STATUS, ACTIVE as u64);
    let required = |tags: &[u32]| tags.iter().map(|tag| (*tag, record::REQUIRED)).collect::<Vec<_>>();
    check_whole(&active, View::Full, &required(&[NAME, ID_NUMBER, ADDRESS]));
    check_whole(&active, View::Shared, &required(&[NAME]));
    check_whole(&Fields::default(), View::Full, &required(&[NAME, ID_NUMBER, ADDRESS, STATUS]));
    check_whole(&Fields::default(), View::Shared, &[]);
    check_whole(&raw_number(STATUS, DRAFT as u64), View::Full, &[]);
    let blank = member().patched(&FieldsBuilder::new().str(NAME, "").take(), &[]);
    check_whole(&blank, View::Full, &required(&[NAME]));
    let unset = member().patched(&FieldsBuilder::new().u64(STATUS, 0).take(), &[]);
    check_whole(&unset, View::Full, &required(&[STATUS]));
}

#[test]
fn all_problems_of_a_record_are_found_at_once() {
    let wrong = FieldsBuilder::new().str(NAME, "1").str(MOBILE, "1").str(TO, "2023").take();
    let fields = member().patched(&wrong, &[ADDRESS]);
    let expected =
        [(NAME, name::CHARACTER), (MOBILE, mobile::SHAPE), (ADDRESS, record::REQUIRED), (TO, record::PERIOD)];
    check_whole(&fields, View::Full, &expected);
    let shapeless = FieldsBuilder::new().u64(NAME, 1).take();
    check_whole(&member().patched(&shapeless, &[]), View::Full, &[(NAME, value::WIRE)]);
}

#[test]
fn a_period_may_not_end_before_it_begins() {
    let period = |from: &str, to: &str| {
        let dates = FieldsBuilder::new().str(FROM, from).str(TO, to).take();
        member().patched(&dates, &[])
    };
    check_whole(&period("2024-01-01", "2024-01-01"), View::Full, &[]);
    check_whole(&period("2024-06", "2024"), View::Full, &[]);
    check_whole(&period("2024-06", "2024-05-31"), View::Full, &[(TO, record::PERIOD)]);
    check_whole(&member().patched(&Fields::default(), &[FROM]), View::Full, &[]);
    let round = FieldsBuilder::new().str(OPENS, "2026-03-02").str(CLOSES, "2026-03-01").take();
    check_whole(&member().patched(&round, &[]), View::Full, &[(CLOSES, record::PERIOD)]);
}

#[test]
fn fields_of_newer_nodes_are_left_alone() {
    let newer = FieldsBuilder::new().str(NEWER, "\u{0}").str(99, "\u{0}").take();
    check_whole(&shared().patched(&newer, &[]), View::Shared, &[]);
    check_whole(&member().patched(&newer, &[]), View::Full, &[]);
    let behind = member().patched(&newer, &[]).patched(&raw_number(STATUS, 77), &[]);
    check_whole(&behind, View::Full, &[(STATUS, value::CHOICE)]);
}

#[test]
fn doubts_are_raised_apart_from_problems() {
    let doubts = |fields: &Fields| -> Vec<_> {
        warnings(&KIND, fields, now()).iter().map(|problem| (problem.tag, problem.fault)).collect()
    };
    assert_eq!(doubts(&member()), []);
    let odd = FieldsBuilder::new().str(BIRTH, "1985-04").u64(SEX, 2).take();
    assert_eq!(doubts(&member().patched(&odd, &[])), [(BIRTH, record::BIRTH), (SEX, record::SEX)]);
    check_whole(&member().patched(&odd, &[]), View::Full, &[]);
    let whole_province = FieldsBuilder::new().str(ID_NUMBER, "440000198503121233").take();
    assert_eq!(doubts(&member().patched(&whole_province, &[])), [(ID_NUMBER, resident_id::ADDRESS)]);
    let untyped = member().patched(&odd, &[ID_TYPE]);
    assert_eq!(doubts(&untyped), [(BIRTH, record::BIRTH), (SEX, record::SEX)]);
    let passport = FieldsBuilder::new().str(BIRTH, "1990").u64(ID_TYPE, 3).take();
    assert_eq!(doubts(&member().patched(&passport, &[])), []);
}

#[test]
fn a_problem_names_the_field_and_never_the_value() {
    let number = "440100198503121230";
    let fields = member().patched(&FieldsBuilder::new().str(ID_NUMBER, number).take(), &[]);
    let problem = check_record(&KIND, &fields, View::Full, now())[0];
    assert_eq!(problem.code(), "resident_id.check");
    assert!(problem.zh().starts_with("字段：校验位不符"));
    assert!(problem.en().starts_with("field: the check character"));
    for shown in [problem.zh(), problem.en(), problem.to_string(), format!("{problem:?}")] {
        assert!(!shown.contains(number));
    }
}
