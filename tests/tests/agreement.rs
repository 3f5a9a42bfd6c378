//! Nothing syncs without an agreement in force: neither before one is registered, nor behind its term, nor with another
//! key than it names.

use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1::Link;
use serde_json::Value;

use crate::province::{GUANGZHOU, MEMBER, Province, linked, member};

/// A city that has joined, with a member of its own, and no agreement.
async fn joined() -> Province {
    let mut province = Province::made(&[GUANGZHOU]).await;
    province.start_hub().await.expect("the hub starts");
    let code = province.invited("440100").await;
    province.node(GUANGZHOU).answer(&["join", &code]).await.expect("joined");
    province.start_node(GUANGZHOU).await.expect("the node starts");
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("local work goes on");
    province
}

/// Registers an agreement; its id.
async fn agree(province: &Province, to: &str, fingerprint: &str) -> String {
    let agreed = [
        "city",
        "agree",
        "广州",
        "--role",
        "provide",
        "--purpose",
        "评选",
        "--from",
        "2020-01-01",
        "--to",
        to,
    ];
    let more = ["--document", "粤社协〔2026〕1号", "--fingerprint", fingerprint, "--json"];
    let answer = province.hub().answer(&[&agreed[..], &more].concat()).await.expect("registered");
    let answer: Value = serde_json::from_str(&answer).expect("an object");
    answer["agreement"].as_str().expect("an id").to_owned()
}

/// What stands in the way of a node's sync, once something does.
async fn refused(province: &Province) -> String {
    let door = province.door(GUANGZHOU).await;
    linked(&door, Link::Refused).await;
    door.status().await.expect("a status").link_en
}

/// What the hub has of members, and what its list says of the city.
async fn at_hub(province: &Province) -> (usize, Value) {
    let hub = province.door(SiteCode::PROVINCE).await;
    let members = hub.list(MEMBER, &[]).await.expect("a list").len();
    let cities = province.hub().answer(&["city", "list", "--json"]).await.expect("a list");
    (members, serde_json::from_str(cities.lines().next().expect("a city")).expect("an object"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_syncs_once_its_agreement_is_registered_and_until_it_is_ended() {
    let province = joined().await;
    assert!(refused(&province).await.contains("no agreement in force"));
    let (members, city) = at_hub(&province).await;
    assert_eq!((members, &city["agreement_to"], &city["seq"]), (0, &Value::Null, &0.into()), "{city}");

    let id = agree(&province, "2099-12-31", "enrolled").await;
    let door = province.door(GUANGZHOU).await;
    // By itself, without a restart.
    linked(&door, Link::Connected).await;
    province.equal().await;
    let (members, city) = at_hub(&province).await;
    assert_eq!((members, &city["agreement_to"]), (1, &"2099-12-31".into()), "{city}");

    let end = ["record", "put", "--kind", "agreement", "--id", &id, "--set", "status=ENDED"];
    province.hub().answer(&end).await.expect("ended");
    // The session that stands is cut, though the node has nothing to say.
    assert!(refused(&province).await.contains("no agreement in force"));
    door.put(MEMBER, None, &member(2)).await.expect("local work goes on");
    agree(&province, "2099-12-31", "enrolled").await;
    linked(&door, Link::Connected).await;
    province.equal().await;
    assert_eq!(at_hub(&province).await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_term_that_is_over_and_another_key_let_no_city_in() {
    let province = joined().await;
    agree(&province, "2025-06-30", "enrolled").await;
    let door = province.door(GUANGZHOU).await;
    let says = async |words: &str| {
        let waiting = async {
            while !door.status().await.expect("a status").link_en.contains(words) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(crate::province::PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("never: {words}"));
    };
    says("ended on 2025-06-30").await;
    agree(&province, "2099-12-31", "0123 4567 89ab cdef 0123 4567 89ab cdef").await;
    says("names another signing key").await;
    let (members, city) = at_hub(&province).await;
    assert_eq!((members, &city["agreement_of_other_key"]), (0, &true.into()), "{city}");
    let key = door.status().await.expect("a status").signing_key;
    agree(&province, "2099-12-31", &key).await;
    linked(&door, Link::Connected).await;
    province.equal().await;
    assert_eq!(at_hub(&province).await.0, 1);
}
