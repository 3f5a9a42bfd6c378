//! The linking key reaches the cities through the hub, which never has it; another one takes its place.

use std::fs;
use std::path::Path;
use std::time::Duration;

use liandong_node::site::{Paths, read_key};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::cluster::decoded;
use serde_json::Value;

use crate::needles::{Needles, check_hub, scan};
use crate::province::{GUANGZHOU, MEMBER, PATIENCE, Province, SHENZHEN, member};

const CITIES: [SiteCode; 2] = [GUANGZHOU, SHENZHEN];
const NUMBER: &str = "11010519491231002X";
const MOBILE: &str = "13800138000";

fn person(n: u32) -> pb::Member {
    pb::Member { id_number: NUMBER.into(), mobile: MOBILE.into(), ..member(n) }
}

async fn recipient(province: &Province, city: SiteCode) -> String {
    let list = province.hub().answer(&["city", "list", "--json"]).await.expect("a list");
    let cities = list.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let row = cities.into_iter().find(|row| row["site"] == city.to_string()).expect("the city");
    row["linking_recipient"].as_str().expect("a text").to_owned()
}

/// Makes a linking key away from the hub, wraps it for both cities and has the hub relay it; its file.
async fn deliver(province: &Province, name: &str) -> std::path::PathBuf {
    let file = |name: &str| province.file(name).display().to_string();
    let key = file(name);
    let hub = province.hub();
    hub.answer(&["linking-key", "new", "--out", &key]).await.expect("made");
    for city in CITIES {
        let wrapped = file(&format!("{name}.{city}.age"));
        let wrap = [
            "linking-key",
            "wrap",
            "--key",
            &key,
            "--for",
            &recipient(province, city).await,
            "--out",
            &wrapped,
        ];
        hub.answer(&wrap).await.expect("wrapped");
        hub.answer(&["linking-key", "send", &city.to_string(), &wrapped]).await.expect("sent");
    }
    province.file(name)
}

/// The tokens that the hub shows of a record, once they are by this key.
async fn tokens(province: &Province, record: RecordId, key: &Path) -> (String, String) {
    let key = liandong_proto::share::LinkingKey::new(&read_key(key).expect("a key"));
    let expected = (key.token(NUMBER.as_bytes()), key.token(MOBILE.as_bytes()));
    let hub = province.door(SiteCode::PROVINCE).await;
    let waiting = async {
        loop {
            let found = hub.get(MEMBER, record).await.expect("a call");
            let found: pb::Member = found.as_ref().map(decoded).unwrap_or_default();
            if (&found.id_number, &found.mobile) == (&expected.0, &expected.1) {
                return (found.id_number, found.mobile);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("tokens by this key in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cities_get_the_linking_key_over_the_hub_and_then_another_one() {
    let mut province = Province::made(&CITIES).await;
    province.start_hub().await.expect("the hub starts");
    // No key is configured: it comes over the hub, or not at all.
    province.forget_linking_key();
    province.start_nodes().await.expect("the nodes start");
    let mut same = Vec::new();
    for (n, city) in CITIES.into_iter().enumerate() {
        let node = province.door(city).await;
        for other in 0..20 {
            node.put(MEMBER, None, &member(100 + other)).await.expect("a member");
        }
        same.push(node.put(MEMBER, None, &person(n as u32)).await.expect("a member"));
        let draft = pb::Member { status: pb::MemberStatus::Draft as i32, ..person(50) };
        node.put(MEMBER, None, &draft).await.expect("a draft");
    }
    province.equal().await;
    let hub = province.door(SiteCode::PROVINCE).await;
    let before: pb::Member = decoded(&hub.get(MEMBER, same[0]).await.expect("a call").expect("there"));
    assert_eq!(before.id_number, "", "no key, no token");

    let first = deliver(&province, "first.key").await;
    let tokens_of = async |key: &Path| {
        let [one, two] = [tokens(&province, same[0], key).await, tokens(&province, same[1], key).await];
        assert_eq!(one, two, "the same person, the same tokens");
        one
    };
    let old = tokens_of(&first).await;
    province.equal().await;
    // One that was written after it had come needs nothing made again.
    let written = province.door(GUANGZHOU).await.put(MEMBER, None, &person(7)).await.expect("a member");
    assert_eq!(tokens(&province, written, &first).await, old);

    let second = deliver(&province, "second.key").await;
    assert_ne!(tokens_of(&second).await, old);
    tokens(&province, written, &second).await;
    province.equal().await;
    for city in CITIES {
        let list = province.node(city).answer(&["linking-key", "list", "--json"]).await.expect("a list");
        let list: Value = serde_json::from_str(&list).expect("JSON");
        assert_eq!(list["fingerprints"].as_array().map(Vec::len), Some(2), "{list}");
        assert_eq!(list["in_use"], list["fingerprints"][1], "{list}");
        // At home nothing has changed.
        let door = province.door(city).await;
        let shown = door.list(MEMBER, &[("mobile", MOBILE)]).await.expect("a list");
        assert!(
            shown.iter().all(|record| decoded::<pb::Member>(record).id_number == NUMBER) && shown.len() >= 2
        );
    }
    // All is done: another start makes nothing again.
    let seq = async |city| province.door(city).await.status().await.expect("a status").head_seq;
    let settled = [seq(GUANGZHOU).await, seq(SHENZHEN).await];
    drop(hub);
    for city in CITIES {
        province.stop_node(city).await.expect("it stops");
        province.start_node(city).await.expect("it starts");
    }
    province.equal().await;
    let seq = async |city| province.door(city).await.status().await.expect("a status").head_seq;
    assert_eq!([seq(GUANGZHOU).await, seq(SHENZHEN).await], settled);

    // What is no age file, or no member's, is not relayed; nor is anything wrapped for what is no recipient.
    let hub = province.hub();
    let raw = first.display().to_string();
    assert!(hub.answer(&["linking-key", "send", "440100", &raw]).await.is_err(), "the key itself");
    let wrapped = province.file("first.key.440100.age").display().to_string();
    assert!(hub.answer(&["linking-key", "send", "440200", &wrapped]).await.is_err(), "no member");
    let out = province.file("none.age");
    let shown = out.display().to_string();
    let wrap = ["linking-key", "wrap", "--key", &raw, "--for", "age1xyz", "--out", &shown];
    let output = hub.command(&wrap).await.expect("it runs");
    assert_eq!((output.status.code(), out.exists()), (Some(2), false), "{output:?}");

    province.stop().await.expect("all stop");
    for key in [&first, &second] {
        let needles = Needles::of_bytes(&read_key(key).expect("a key"));
        assert!(needles.find(&fs::read(key).expect("a file")).is_some(), "it would be found");
        let city = Paths::new(&province.node(GUANGZHOU).data_dir).dir.join("keys");
        assert_eq!(scan(&city, &needles).0.len(), 1, "it is in the city's ring, once");
        check_hub(&province.hub().data_dir, &needles);
    }
}
