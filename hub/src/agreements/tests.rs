//! Who may sync, by the day, the status and the key.

use liandong_node::site::{By, Put, Records as _};
use liandong_proto::position::Generations;
use liandong_proto::sign::SigningKey;
use record::{Agreement, AgreementStatus};

use super::*;
use crate::hub::HubOptions;

const GUANGZHOU: SiteCode = SiteCode(440_100);

fn key(n: u8) -> VerifyingKey {
    SigningKey::new(&[n; 32]).verifying()
}

fn day(text: &str) -> Day {
    Date::from_iso(text).ok().and_then(Date::to_day).expect("a day")
}

fn agreement(from: &str, to: &str, status: AgreementStatus, signing_key: &str) -> Agreement {
    Agreement {
        city: GUANGZHOU.0,
        from: from.into(),
        to: to.into(),
        status: status as i32,
        signing_key: signing_key.into(),
        ..Agreement::default()
    }
}

fn staged(n: u8, agreement: &Agreement) -> Staged {
    let mut state = RecordState::new(SiteCode::PROVINCE);
    state.fields = Fields::split(agreement.encode_to_vec()).expect("a message");
    let key = rows::record(AGREEMENT, RecordId([n; 16]));
    Staged { key, old: None, new: Some(state.encode().into()) }
}

#[track_caller]
fn check(agreements: &[Agreement], today: &str, expected: Result<&str, Lack>) {
    let mut all = Agreements::default();
    let rows: Vec<Staged> = (1..).zip(agreements).map(|(n, agreement)| staged(n, agreement)).collect();
    all.fold(&rows);
    assert_eq!(all.check(GUANGZHOU, day(today), &[key(1)]), expected.map(day));
    assert_eq!(all.check(SiteCode(440_300), day(today), &[key(1)]), Err(Lack::None), "another city");
}

#[test]
fn a_city_syncs_within_a_term_that_is_in_force() {
    use AgreementStatus::{Draft, Ended, InForce};
    let of = |status| [agreement("2026-01-01", "2026-12-31", status, "")];
    check(&[], "2026-05-01", Err(Lack::None));
    check(&of(InForce), "2026-01-01", Ok("2026-12-31"));
    check(&of(InForce), "2026-12-31", Ok("2026-12-31"));
    check(&of(InForce), "2027-01-01", Err(Lack::Over(day("2026-12-31"))));
    check(&of(InForce), "2025-12-31", Err(Lack::Early(day("2026-01-01"))));
    check(&of(Draft), "2026-05-01", Err(Lack::None));
    check(&of(Ended), "2026-05-01", Err(Lack::None));
    let next = agreement("2026-12-01", "2028-11-30", InForce, "");
    check(&[of(InForce)[0].clone(), next], "2026-12-15", Ok("2028-11-30"));
}

#[test]
fn an_agreement_names_the_key_that_signs_the_citys_log() {
    let with = |key: &str| [agreement("2026-01-01", "2026-12-31", AgreementStatus::InForce, key)];
    let written = key(1).fingerprint();
    check(&with(&written), "2026-05-01", Ok("2026-12-31"));
    check(&with(&written.replace(' ', "").to_uppercase()), "2026-05-01", Ok("2026-12-31"));
    check(&with(&key(2).fingerprint()), "2026-05-01", Err(Lack::OtherKey));
    for no_fingerprint in ["见附件", " ", "same", &written[..34], &format!("{written} 00")] {
        check(&with(no_fingerprint), "2026-05-01", Err(Lack::OtherKey));
    }
}

#[test]
fn an_agreement_that_is_ended_or_deleted_counts_no_more() {
    let mut all = Agreements::default();
    let mut now = agreement("2026-01-01", "2026-12-31", AgreementStatus::InForce, "");
    all.fold(&[staged(1, &now)]);
    assert!(all.check(GUANGZHOU, day("2026-05-01"), &[key(1)]).is_ok());
    now.status = AgreementStatus::Ended as i32;
    all.fold(&[staged(1, &now)]);
    assert_eq!(all.check(GUANGZHOU, day("2026-05-01"), &[key(1)]), Err(Lack::None));
    all.fold(&[staged(2, &agreement("2026-01-01", "2026-12-31", AgreementStatus::InForce, ""))]);
    let mut gone = RecordState::new(SiteCode::PROVINCE);
    gone.deleted_by = Some(0);
    let row = rows::record(AGREEMENT, RecordId([2; 16]));
    all.fold(&[Staged { key: row, old: None, new: Some(gone.encode().into()) }]);
    assert_eq!(all.check(GUANGZHOU, day("2026-05-01"), &[key(1)]), Err(Lack::None));
}

/// The registry itself says no, before a session stands; what a city wrote it may always have back.
#[test]
fn who_has_no_agreement_is_not_admitted_but_may_be_restored() {
    use liandong_proto::pb::log::v1 as log;
    use liandong_proto::session::hub::Admission;
    use log::registry_change::Change;

    let mut registry = crate::registry::Registry::default();
    let secret_hash = bytes::Bytes::from_static(&[1; 32]);
    let signing_key = bytes::Bytes::copy_from_slice(&key(1).to_bytes());
    let joined =
        log::Enrolment { number: 7, signing_key, until_ms: 900, secret_hash, ..log::Enrolment::default() };
    let change = Some(Change::Joined(joined));
    registry.members.change(&log::RegistryChange { site: GUANGZHOU.0, change, ..Default::default() }, 7);
    // The first of May 2026 in China.
    let now_ms = 1_777_600_000_000;
    assert_eq!(today(now_ms), day("2026-05-01"));
    let identity = Identity { site: GUANGZHOU, enrolment: 7 };
    let knock = |registry: &crate::registry::Registry, restore: bool| {
        let hello =
            sync::Hello { site: GUANGZHOU.0, epoch: vec![3; 16].into(), restore, ..Default::default() };
        match registry.admit(identity, &hello, &Generations::default(), now_ms).map_err(|no| *no) {
            Ok(_) => None,
            Err(Admission::Refused(no)) => Some(no.code()),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(knock(&registry, false), Some(sync::refusal::Code::NoAgreement));
    assert_eq!(knock(&registry, true), None);
    let until_april = agreement("2026-01-01", "2026-04-30", AgreementStatus::InForce, "");
    registry.agreements.fold(&[staged(1, &until_april)]);
    assert_eq!(knock(&registry, false), Some(sync::refusal::Code::NoAgreement));
    let until_may = agreement("2026-01-01", "2026-05-01", AgreementStatus::InForce, "");
    registry.agreements.fold(&[staged(2, &until_may)]);
    assert_eq!(knock(&registry, false), None);
}

#[test]
fn an_agreement_that_would_fit_no_key_is_not_written() {
    let dir = tempfile::tempdir().expect("a directory");
    Hub::init(dir.path(), None).expect("made");
    let hub = Hub::open(&HubOptions::new(dir.path()), &mut |_| {}).expect("opens");
    let put = |signing_key: &str| {
        let agreement = agreement("2026-01-01", "2026-12-31", AgreementStatus::InForce, signing_key);
        let put = Put::set(AGREEMENT, None, Fields::split(agreement.encode_to_vec()).expect("a message"));
        let answer = hub.put(vec![put], &By::default(), true).expect("answered").pop().expect("one");
        answer.problems.iter().any(|problem| problem.code == "agreement.no_fingerprint")
    };
    assert_eq!(["见附件", "b1ce", "同上"].map(put), [true; 3]);
    assert_eq!(["", &key(1).fingerprint(), &format!("指纹 {}", key(1).fingerprint())].map(put), [false; 3]);
}
