//! The index of a node is lost while the hub cannot be reached.

use std::fs;

use liandong_proto::id::SiteCode;
use liandong_proto::pb::record::v1 as pb;
use liandong_proto::schema;
use liandong_tests::cluster::decoded;

use crate::province::{
    AWARD_ROUND, GUANGZHOU, MEMBER, Province, SANCTION, SHENZHEN, member, open_findings, shown,
};

/// A resident number of nobody: the address code is that of a whole city.
const NUMBER: &str = "440100199001010023";

#[tokio::test(flavor = "multi_thread")]
async fn rounds_sanctions_findings_and_records_are_shown_again_offline() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    let node = province.door(GUANGZHOU).await;
    for n in 0..20 {
        let birth_date = "1990-01-01".into();
        let number = if n == 0 { NUMBER.to_owned() } else { String::new() };
        let member = pb::Member { birth_date, id_number: number, ..member(n) };
        node.put(MEMBER, None, &member).await.expect("a member");
    }
    province.equal().await;

    let hub = province.door(SiteCode::PROVINCE).await;
    let members = hub.list(MEMBER, &[("member_no", "M000000")]).await.expect("a list");
    let token = decoded::<pb::Member>(&members[0]).id_number;
    assert!(!token.is_empty() && !token.contains(NUMBER), "the province has a token");
    let sanction = pb::Sanction {
        token,
        kind: pb::SanctionKind::PublicCensure as i32,
        from: "2025-12-01".into(),
        to: "2027-11-30".into(),
        ..pb::Sanction::default()
    };
    hub.put(SANCTION, None, &sanction).await.expect("a sanction");
    let round = pb::AwardRound {
        year: 2026,
        title: "年度优秀社工评选".into(),
        categories: vec!["优秀一线社工".into()],
        ..pb::AwardRound::default()
    };
    hub.put(AWARD_ROUND, None, &round).await.expect("a round");
    province.equal().await;

    // A finding: both change the tier of one member.
    province.stop_node(GUANGZHOU).await.expect("the node stops");
    let id = liandong_tests::cluster::id_of(&members[0]);
    let tier = pb::Member { tier: pb::MemberTier::President as i32, ..pb::Member::default() };
    hub.put(MEMBER, Some(id), &tier).await.expect("an edit");
    let text = id.to_string();
    let put = ["record", "put", "--kind", "member", "--id", &text, "--set", "tier=COUNCIL"];
    province.node(GUANGZHOU).answer(&put).await.expect("an edit offline");
    province.start_node(GUANGZHOU).await.expect("the node starts");
    province.equal().await;

    let kinds: Vec<u32> = schema::kinds().iter().map(|kind| kind.number).collect();
    let node = province.door(GUANGZHOU).await;
    let before = shown(&node, &kinds).await;
    for kind in [MEMBER, AWARD_ROUND, SANCTION] {
        assert!(before.iter().any(|(shown, ..)| *shown == kind), "kind {kind} is at the city");
    }
    assert_eq!(open_findings(&node).await.len(), 1);
    assert!(shown(&province.door(SHENZHEN).await, &[SANCTION]).await.is_empty(), "no record, no sanction");

    province.kill_hub().await.expect("the hub ends");
    province.kill_node(GUANGZHOU).await.expect("the node ends");
    fs::remove_dir_all(province.node(GUANGZHOU).data_dir.join("index")).expect("the index is removed");
    province.start_node(GUANGZHOU).await.expect("the node starts without the hub");
    let node = province.door(GUANGZHOU).await;
    assert_eq!(shown(&node, &kinds).await, before);
    let own = node.get(MEMBER, id).await.expect("readable").expect("there");
    assert_eq!(decoded::<pb::Member>(&own).id_number, NUMBER, "what is sealed is read from the log as well");

    province.start_hub().await.expect("the hub starts");
    province.equal().await;
    province.stop().await.expect("all stop");
}
