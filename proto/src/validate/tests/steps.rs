//! Status steps.

use super::*;

#[track_caller]
fn check_steps(from: Option<i32>, to: i32, by: &[Party], expected: Result<(), Fault>) {
    let found = check_step(&KIND, from, to, by).map_err(|problem| problem.fault);
    assert_eq!(found, expected, "{from:?} to {to} by {by:?}");
}

#[test]
fn steps_follow_the_schema() {
    let home = &[Party::Home, Party::Shared][..];
    let province = &[Party::Province, Party::Shared][..];
    check_steps(None, DRAFT, home, Ok(()));
    check_steps(Some(0), APPLIED, home, Ok(()));
    check_steps(None, ACTIVE, home, Err(step::START));
    check_steps(Some(DRAFT), APPLIED, home, Ok(()));
    check_steps(Some(DRAFT), APPLIED, province, Err(step::PARTY));
    check_steps(Some(DRAFT), ACTIVE, home, Err(step::ORDER));
    check_steps(Some(APPLIED), ACTIVE, home, Ok(()));
    check_steps(Some(APPLIED), ACTIVE, &[Party::Province], Ok(()));
    check_steps(Some(APPLIED), ACTIVE, &[Party::Sites], Err(step::PARTY));
    check_steps(Some(ACTIVE), EXPELLED, province, Ok(()));
    check_steps(Some(ACTIVE), EXPELLED, home, Err(step::PARTY));
    check_steps(Some(ACTIVE), MOVED, &[Party::Sites], Ok(()));
    check_steps(Some(EXPELLED), ACTIVE, province, Err(step::ORDER));
    check_steps(Some(EXPELLED), EXPELLED, &[], Ok(()));
    check_steps(Some(ACTIVE), 77, home, Err(step::UNKNOWN));
    check_steps(Some(77), ACTIVE, home, Err(step::UNKNOWN));
    check_steps(Some(ACTIVE), 0, home, Err(step::UNKNOWN));
}

#[test]
fn a_status_is_reachable_by_whoever_makes_a_step_to_it() {
    let reached = |party| -> Vec<i32> { (0..7).filter(|to| reachable_by(&KIND, *to, &[party])).collect() };
    assert_eq!(reached(Party::Home), [DRAFT, APPLIED, ACTIVE]);
    assert_eq!(reached(Party::Province), [ACTIVE, EXPELLED]);
    assert_eq!(reached(Party::Sites), [MOVED]);
    assert!(!reachable_by(&KIND, ACTIVE, &[]));
}
