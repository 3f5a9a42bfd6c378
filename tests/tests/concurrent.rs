//! A city and the province change the same member, neither knowing of the other.

use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::log::v1::Reason;
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::cluster::decoded;
use pb::MemberTier::{Council, VicePresident};
use prost::Message as _;

use crate::province::{FINDING, GUANGZHOU, MEMBER, Province, member, open_findings};

const PROVINCE: SiteCode = SiteCode::PROVINCE;

fn tier(tier: pb::MemberTier) -> pb::Member {
    pb::Member { tier: tier as i32, ..pb::Member::default() }
}

/// A member that both know, changed by each while the other cannot hear of it.
async fn edited(province: &mut Province, by_city: &[&str], by_province: &pb::Member) -> RecordId {
    let node = province.door(GUANGZHOU).await;
    let id = node.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("the node stops");
    let hub = province.door(PROVINCE).await;
    hub.put(MEMBER, Some(id), by_province).await.expect("the province's edit");
    let text = id.to_string();
    let mut args = vec!["record", "put", "--kind", "member", "--id", &text];
    by_city.iter().for_each(|set| args.extend(["--set", set]));
    province.node(GUANGZHOU).answer(&args).await.expect("the city's edit, offline");
    province.start_node(GUANGZHOU).await.expect("the node starts");
    province.equal().await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_field_keeps_both_values_until_a_settlement_reaches_the_city() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let id = edited(&mut province, &["tier=COUNCIL"], &tier(VicePresident)).await;
    for site in [PROVINCE, GUANGZHOU] {
        let record = province.door(site).await.get(MEMBER, id).await.expect("readable").expect("there");
        assert_eq!(decoded::<pb::Member>(&record).tier(), VicePresident, "one is shown at {site}");
        let [held] = record.held.as_slice() else { panic!("one value is held at {site}") };
        assert_eq!(held.reason(), Reason::Concurrent);
        let kept = pb::Member::decode(held.set.clone()).expect("a member");
        assert_eq!((kept.tier(), held.site), (Council, GUANGZHOU.0), "the other is kept at {site}");
    }
    let findings = open_findings(&province.door(GUANGZHOU).await).await;
    let [(finding, found)] = findings.as_slice() else { panic!("one finding at the city") };
    assert_eq!(found.rule(), pb::FindingRule::Concurrent);
    assert_eq!(found.subjects[0].record.as_ref(), id.0);

    let finding = finding.to_string();
    let settle = ["finding", "settle", &finding, "--choose", "held", "--reason", "理事会决议"];
    province.hub().answer(&settle).await.expect("settled");
    let recorded =
        province.hub().answer(&["audit", "list", "--what", "SETTLED", "--json"]).await.expect("a list");
    assert!(recorded.contains(&format!("{finding} choice 2")), "{recorded}");
    assert!(!recorded.contains("理事会决议"), "the reason is a field of the finding: {recorded}");
    province.equal().await;
    let node = province.door(GUANGZHOU).await;
    let record = node.get(MEMBER, id).await.expect("readable").expect("there");
    assert_eq!(decoded::<pb::Member>(&record).tier(), Council);
    assert!(record.held.is_empty());
    assert!(open_findings(&node).await.is_empty());
    let settled = node.list(FINDING, &[]).await.expect("a list");
    let settled: pb::Finding = decoded(&settled[0]);
    assert_eq!((settled.status(), settled.reason.as_str()), (pb::FindingStatus::Settled, "理事会决议"));
    province.stop().await.expect("all stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_field_that_goes_by_time_the_later_value_is_shown_and_the_other_kept() {
    use pb::QualificationLevel::{Assistant, SocialWorker};
    let mut province = Province::running(&[GUANGZHOU]).await;
    let level = pb::Member { qualification_level: Assistant as i32, ..pb::Member::default() };
    let id = edited(&mut province, &["qualification_level=SOCIAL_WORKER"], &level).await;
    for site in [PROVINCE, GUANGZHOU] {
        let door = province.door(site).await;
        let record = door.get(MEMBER, id).await.expect("readable").expect("there");
        assert_eq!(decoded::<pb::Member>(&record).qualification_level(), SocialWorker, "at {site}");
        let [held] = record.held.as_slice() else { panic!("one value is held at {site}") };
        let kept = pb::Member::decode(held.set.clone()).expect("a member");
        assert_eq!((kept.qualification_level(), held.site), (Assistant, PROVINCE.0));
        assert_eq!(open_findings(&door).await.len(), 1, "at {site}");
    }
    province.stop().await.expect("all stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn different_fields_merge_silently() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let by_province = pb::Member { registration_no: "2025440100000001".into(), ..pb::Member::default() };
    let id = edited(&mut province, &["post=督导"], &by_province).await;
    for site in [PROVINCE, GUANGZHOU] {
        let door = province.door(site).await;
        let record = door.get(MEMBER, id).await.expect("readable").expect("there");
        let shown: pb::Member = decoded(&record);
        assert_eq!((shown.post.as_str(), shown.registration_no.as_str()), ("督导", "2025440100000001"));
        assert!(record.held.is_empty());
        assert!(open_findings(&door).await.is_empty());
    }
    province.stop().await.expect("all stop");
}
