//! What stands in a golden directory: a hub and a city after something of everything has happened to them.

use std::path::Path;

use liandong_hub::ca::Ca;
use liandong_node::site::Paths;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::record::v1 as pb;

use crate::erase::proved;
use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, Province, SANCTION, linked, member, open_findings};

const PROVINCE: SiteCode = SiteCode::PROVINCE;
const NOMINATION: u32 = 3;
const TRANSFER: u32 = 6;
/// When the authority begins, which is good for twenty years: 2020-01-01, so that clocks of any year may be set.
const AUTHORITY_FROM_MS: u64 = 1_577_836_800_000;

/// The example of GB 11643.
const ID_NUMBER: &str = "11010519491231002X";

/// Both sites made, one after the other changed, with everything that a log can hold of it: changes, deletions, an
/// erasure, values held and settled, keys that went over to others.
pub async fn made() -> Province {
    let mut province = Province::made(&[GUANGZHOU]).await;
    let keys = province.hub().data_dir.join("keys");
    for name in ["ca.crt", "ca.key"] {
        std::fs::remove_file(keys.join(name)).expect("init has made it");
    }
    Ca::make(&Paths::new(&province.hub().data_dir), AUTHORITY_FROM_MS).expect("an authority");
    province.start_hub().await.expect("the hub starts");
    province.start_nodes().await.expect("the node starts");

    let members = records(&province).await;
    held(&mut province, &members[..2]).await;
    gone(&province, &members[3..5]).await;
    keys_change(&mut province).await;

    // Behind all that, a change of each side under the new keys.
    let city = province.door(GUANGZHOU).await;
    let remark = pb::Member { remarks: "改用新密钥之后".into(), ..member(2) };
    city.put(MEMBER, Some(members[2]), &remark).await.expect("an edit");
    let hub = province.door(PROVINCE).await;
    let level = pb::Member { registration_no: "粤社工2026001".into(), ..pb::Member::default() };
    hub.put(MEMBER, Some(members[2]), &level).await.expect("the province's edit");
    drop((city, hub));
    province.equal().await;
    province
}

/// A few records of both sites; the members among them.
async fn records(province: &Province) -> Vec<RecordId> {
    let city = province.door(GUANGZHOU).await;
    let mut members = Vec::new();
    for n in 0..6 {
        let number = if n == 0 { ID_NUMBER } else { "" };
        let one = pb::Member {
            id_type: if n == 0 { pb::IdType::ResidentId as i32 } else { 0 },
            id_number: number.into(),
            mobile: format!("1380013800{n}"),
            email: format!("someone{n}@example.org"),
            joined_on: "2021-03".into(),
            ..member(n)
        };
        members.push(city.put(MEMBER, None, &one).await.expect("a member"));
    }
    let draft = pb::Member { status: pb::MemberStatus::Draft as i32, ..member(6) };
    members.push(city.put(MEMBER, None, &draft).await.expect("a draft"));
    province.equal().await;

    let hub = province.door(PROVINCE).await;
    let round = pb::AwardRound {
        year: 2026,
        title: "年度优秀社工评选".into(),
        categories: vec!["优秀一线社工".into()],
        ..pb::AwardRound::default()
    };
    let round = hub.put(AWARD_ROUND, None, &round).await.expect("a round");
    let known = hub.get(MEMBER, members[0]).await.expect("readable").expect("it is there");
    let token = liandong_tests::cluster::decoded::<pb::Member>(&known).id_number;
    let sanction = pb::Sanction {
        token,
        kind: pb::SanctionKind::PublicCensure as i32,
        from: "2025-12-01".into(),
        to: "2027-11-30".into(),
        ..pb::Sanction::default()
    };
    hub.put(SANCTION, None, &sanction).await.expect("a sanction");
    province.equal().await;

    let transfer = pb::Transfer {
        member: members[5].0.to_vec().into(),
        from: GUANGZHOU.0,
        to: SiteCode(440_300).0,
        effective_on: "2026-07-01".into(),
        status: pb::TransferStatus::Offered as i32,
    };
    city.put(TRANSFER, None, &transfer).await.expect("a transfer");
    let nomination = pb::Nomination {
        member: members[1].0.to_vec().into(),
        round: round.0.to_vec().into(),
        category: "优秀一线社工".into(),
        recommended_by: pb::RecommendedBy::Unit as i32,
        recommending_unit: "示范社会工作服务中心".into(),
        deeds: "长期在一线服务社区长者。".into(),
        status: pb::NominationStatus::Draft as i32,
        ..pb::Nomination::default()
    };
    city.put(NOMINATION, None, &nomination).await.expect("a nomination");
    province.equal().await;
    members
}

/// Both sides change the same field of these members while they are apart; somebody settles the first.
async fn held(province: &mut Province, members: &[RecordId]) {
    province.stop_node(GUANGZHOU).await.expect("the node stops");
    let hub = province.door(PROVINCE).await;
    for id in members {
        let tier = pb::Member { tier: pb::MemberTier::VicePresident as i32, ..pb::Member::default() };
        hub.put(MEMBER, Some(*id), &tier).await.expect("the province's edit");
        let text = id.to_string();
        let edit = ["record", "put", "--kind", "member", "--id", &text, "--set", "tier=COUNCIL"];
        province.node(GUANGZHOU).answer(&edit).await.expect("the city's edit");
    }
    province.start_node(GUANGZHOU).await.expect("the node starts");
    province.equal().await;
    let findings = open_findings(&hub).await;
    assert_eq!(findings.len(), members.len(), "{findings:?}");
    let first = findings[0].0.to_string();
    let settle = ["finding", "settle", &first, "--choose", "held", "--reason", "与本市核实过"];
    province.hub().answer(&settle).await.expect("settled");
    province.equal().await;
}

/// The first is deleted, the second erased.
async fn gone(province: &Province, members: &[RecordId]) {
    let [deleted, erased] = [0, 1].map(|n| members[n].to_string());
    let city = province.node(GUANGZHOU);
    city.answer(&["record", "delete", &deleted, "--kind", "member"]).await.expect("deleted");
    province.equal().await;
    let erase = ["record", "erase", &erased, "--kind", "member", "--reason", "本人申请", "--yes"];
    city.answer(&erase).await.expect("erased");
    for home in [city, province.hub()] {
        proved(home, 1).await;
    }
}

/// Either side signs, and the city seals, with another key from here on.
async fn keys_change(province: &mut Province) {
    province.node(GUANGZHOU).answer(&["signing-key", "rotate", "--yes"]).await.expect("another key");
    province.hub().answer(&["signing-key", "rotate", "--yes"]).await.expect("another key");
    province
        .node(GUANGZHOU)
        .answer(&["recovery-key", "rotate", "--unattended"])
        .await
        .expect("another recovery key");
    let city = province.door(GUANGZHOU).await;
    linked(&city, liandong_proto::pb::node::v1::Link::Connected).await;
    province.equal().await;
}

/// Whether a file belongs into a golden directory: what a site cannot make again, and its index, which stands for one
/// that an older program has left.
pub fn is_kept(path: &str) -> bool {
    let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let of_a_site = path.starts_with("hub/") || path.starts_with("nodes/");
    let passing =
        ["LOCK", "config.toml"].contains(&name) || name.ends_with(".sock") || name.ends_with(".port");
    path == "linking.key" || of_a_site && !passing
}
