//! Nothing leaves a city before somebody has seen and accepted what does.

use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::record::v1 as pb;
use serde_json::Value;

use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, Province, linked, member};

async fn preview(province: &Province) -> Value {
    let preview = province.node(GUANGZHOU).answer(&["outbound", "preview", "--json", "--rows", "3"]).await;
    serde_json::from_str(&preview.expect("a preview")).expect("an object")
}

fn kind<'a>(preview: &'a Value, name: &str) -> &'a Value {
    let kinds = preview["kinds"].as_array().expect("kinds");
    kinds.iter().find(|kind| kind["kind"] == name).expect("a kind that a city may write")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_sends_nothing_before_somebody_has_accepted_what_leaves() {
    let mut province = Province::made(&[GUANGZHOU]).await;
    province.start_hub().await.expect("the hub starts");
    province.accept_by_hand(GUANGZHOU);
    province.start_nodes().await.expect("the node starts");
    let door = province.door(GUANGZHOU).await;
    let email = "member1@example.org".to_owned();
    let mobile = "13912345678".to_owned();
    let full = pb::Member { email: email.clone(), mobile: mobile.clone(), ..member(1) };
    let id = door.put(MEMBER, None, &full).await.expect("local work goes on");
    for n in 2..6 {
        door.put(MEMBER, None, &member(n)).await.expect("a member");
    }
    let hub = province.door(SiteCode::PROVINCE).await;
    let categories = vec!["优秀社工".into()];
    let round = pb::AwardRound { year: 2026, title: "评选".into(), categories, ..Default::default() };
    let round = hub.put(AWARD_ROUND, None, &round).await.expect("a round");

    linked(&door, Link::Waiting).await;
    let status = door.status().await.expect("a status");
    for text in [&status.link_zh, &status.link_en] {
        assert!(text.contains("outbound preview") && text.contains("outbound accept"), "{text}");
    }
    let check = province.node(GUANGZHOU).command(&["status", "--check"]).await.expect("it runs");
    assert_eq!(check.status.code(), Some(4), "a person has to act: {check:?}");
    let shown = preview(&province).await;
    assert_eq!((&shown["accepted"], &shown["last_accepted"]), (&false.into(), &Value::Null), "{shown}");
    let members = kind(&shown, "member");
    assert_eq!((&members["waiting_changes"], &members["records"]), (&5.into(), &5.into()));
    assert!(members["fields"]["token"].as_array().expect("a list").contains(&"mobile".into()));
    assert!(members["fields"]["sealed"].as_array().expect("a list").contains(&"email".into()));
    let rows = members["rows"].as_array().expect("rows");
    assert_eq!((rows.len(), &rows[0]["id"]), (3, &id.to_string().into()), "three were asked for");
    let row = rows[0].to_string();
    assert!(!row.contains(&email) && !row.contains(&mobile), "as it leaves: {row}");
    assert!(rows[0]["open"]["mobile"].as_str().expect("a token").starts_with("t1:"), "{row}");
    assert_eq!(
        (&rows[0]["open"]["name"], &rows[0]["sealed"]),
        (&"陈一".into(), &serde_json::json!(["mobile", "email"]))
    );
    let reads = ["audit", "list", "--what", "READ", "--json"];
    let reads = province.node(GUANGZHOU).answer(&reads).await.expect("listed");
    let read = reads.lines().find(|line| line.contains("outbound preview")).expect("samples were read");
    let read: Value = serde_json::from_str(read).expect("an object");
    assert_eq!(read["count"], 3, "{read}");

    // Nobody is at a terminal to say yes.
    let asked = province.node(GUANGZHOU).command(&["outbound", "accept"]).await.expect("it runs");
    assert_eq!(asked.status.code(), Some(2), "{asked:?}");
    let city = &hub.cities().await.expect("a list").cities[0];
    assert_eq!((city.site, city.connected, city.seq, city.records), (GUANGZHOU.0, false, 0, 0));
    assert!(hub.list(MEMBER, &[]).await.expect("a list").is_empty());
    assert!(door.get(AWARD_ROUND, round).await.expect("a call").is_none(), "there was no session at all");

    let accept = ["outbound", "accept", "--yes", "--author", "A7"];
    province.node(GUANGZHOU).answer(&accept).await.expect("accepted");
    linked(&door, Link::Connected).await;
    province.equal().await;
    assert_eq!(hub.list(MEMBER, &[]).await.expect("a list").len(), 5);
    let shown = preview(&province).await;
    assert_eq!(
        (&shown["accepted"], &shown["last_accepted"]["author"]),
        (&true.into(), &"A7".into()),
        "{shown}"
    );
    let members = kind(&shown, "member");
    assert_eq!((&members["waiting_changes"], &members["rows"][0]["waiting"]), (&0.into(), &false.into()));

    // The site's log says so, not its index.
    drop((door, hub));
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.node(GUANGZHOU).answer(&["rebuild"]).await.expect("made again");
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Connected).await;
    province.stop().await.expect("all stop");
}
