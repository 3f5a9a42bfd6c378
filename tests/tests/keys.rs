//! Signing keys that change while the sites run, over real processes.

use liandong_node::site::Paths;
use liandong_node::trust;
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::trust::v1 as pb;
use liandong_proto::rotation::Rotation;
use liandong_proto::sign::SigningKey;
use pb::membership_client::MembershipClient;
use serde_json::Value;
use tonic::Code;

use crate::province::{GUANGZHOU, MEMBER, Province, SHENZHEN, linked, member};

async fn json(province: &Province, site: SiteCode, args: &[&str]) -> Value {
    let home = if site.is_province() { province.hub() } else { province.node(site) };
    let args = [args, &["--json"]].concat();
    let answer = home.answer(&args).await.unwrap_or_else(|error| panic!("{args:?}: {error}"));
    serde_json::from_str(&answer).expect("JSON")
}

async fn sound(province: &Province, site: SiteCode) -> Value {
    let found = json(province, site, &["verify"]).await;
    assert_eq!(found["sound"], true, "{found}");
    found
}

async fn put(province: &Province, numbers: std::ops::Range<u32>) {
    let node = province.door(GUANGZHOU).await;
    for n in numbers {
        node.put(MEMBER, None, &member(n)).await.expect("a member");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_goes_over_to_another_signing_key_in_the_middle_of_its_log() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    put(&province, 0..5).await;
    province.equal().await;
    let first =
        json(&province, GUANGZHOU, &["status"]).await["signing_key"].as_str().expect("a key").to_owned();
    let rotate = ["signing-key", "rotate", "--yes"];
    let rotated = json(&province, GUANGZHOU, &rotate).await;
    assert_eq!(
        (rotated["in_use"].as_bool(), rotated["old"].as_str()),
        (Some(true), Some(first.as_str())),
        "{rotated}"
    );
    put(&province, 5..10).await;
    province.equal().await;

    // While the hub is away it is made and waits; a restart does not forget it.
    province.stop_hub().await.expect("it stops");
    let waiting = json(&province, GUANGZHOU, &rotate).await;
    assert_eq!(waiting["in_use"], false, "{waiting}");
    put(&province, 10..12).await;
    let again = json(&province, GUANGZHOU, &rotate).await;
    assert_eq!(again["new"], waiting["new"], "the one that waits, not another");
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.start_hub().await.expect("it starts");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    let status = json(&province, GUANGZHOU, &["status"]).await;
    assert_eq!((&status["signing_key"], &status["keys_waiting"]), (&waiting["new"], &serde_json::json!([])));

    sound(&province, SiteCode::PROVINCE).await;
    sound(&province, GUANGZHOU).await;
    // Held against the paper in place of the registry.
    let pin = |fingerprint: &str| format!("--pin=440100={fingerprint}");
    let found = json(&province, SiteCode::PROVINCE, &["verify", &pin(&first)]).await;
    assert!(
        found["sound"] == true && found["pins"].as_array().is_some_and(|pins| pins.len() == 1),
        "{found}"
    );
    let later = rotated["new"].as_str().expect("a key");
    let output = province.hub().command(&["verify", &pin(later)]).await.expect("it runs");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let output = province.hub().command(&["verify", "--pin", "440100=123"]).await.expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    province.stop().await.expect("all stop");
}

/// The answer is lost on the way: the hub has gone over, the node does not know, and asks once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_the_old_keys_word_and_is_answered_twice() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    put(&province, 0..3).await;
    province.equal().await;
    let status = province.door(GUANGZHOU).await.status().await.expect("a status");
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let paths = Paths::new(&province.node(GUANGZHOU).data_dir);
    let (old, next) = (paths.signing().expect("a key"), SigningKey::new(&[9; 32]));
    let membership = province.membership(GUANGZHOU);
    let channel =
        trust::endpoint(&membership.hub, &membership).expect("an address").connect().await.expect("TLS");
    let epoch = Epoch::from_slice(&status.epoch).expect("an epoch");
    let origin = Origin { site: GUANGZHOU, epoch };
    let ask = async |old: &SigningKey, site| {
        let rotation = Rotation::sign(Origin { site, ..origin }, status.head_seq, 1, old, next.verifying());
        let asked = pb::RotateSigningKeyRequest { rotation: Some(rotation) };
        let answer = MembershipClient::new(channel.clone()).rotate_signing_key(asked).await;
        answer.err().map_or(Code::Ok, |status| status.code())
    };
    assert_eq!(ask(&SigningKey::new(&[8; 32]), GUANGZHOU).await, Code::InvalidArgument, "another key's word");
    assert_eq!(ask(&old, SHENZHEN).await, Code::InvalidArgument, "another city's");
    assert_eq!(ask(&old, GUANGZHOU).await, Code::Ok);
    liandong_node::site::write_key(&paths.next_signing_key(), &[9; 32]).expect("written");
    province.start_node(GUANGZHOU).await.expect("it starts");
    put(&province, 3..6).await;
    province.equal().await;
    assert_eq!(paths.signing().expect("a key").verifying(), next.verifying());
    assert!(!paths.next_signing_key().exists());
    sound(&province, SiteCode::PROVINCE).await;
    province.stop().await.expect("all stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn cities_follow_the_hub_to_its_next_signing_key_and_to_no_other() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    put(&province, 0..5).await;
    province.equal().await;
    // This one is away, and hears of two rotations at once.
    province.stop_node(SHENZHEN).await.expect("it stops");
    let rotate = ["signing-key", "rotate", "--yes"];
    let first = json(&province, SiteCode::PROVINCE, &rotate).await;
    put(&province, 5..8).await;
    let second = json(&province, SiteCode::PROVINCE, &rotate).await;
    assert_eq!(first["new"], second["old"]);
    put(&province, 8..10).await;
    province.start_node(SHENZHEN).await.expect("it starts");
    province.equal().await;
    for city in [GUANGZHOU, SHENZHEN] {
        let keys = province.membership(city).hub_keys().expect("keys");
        let prints: Vec<_> = keys.iter().map(|key| Value::from(key.fingerprint())).collect();
        assert_eq!(prints, [first["old"].clone(), first["new"].clone(), second["new"].clone()], "{city}");
        sound(&province, city).await;
    }
    let pin = format!("440000={}", first["old"].as_str().expect("a key"));
    let found = json(&province, SiteCode::PROVINCE, &["verify", "--pin", &pin]).await;
    assert_eq!(found["sound"], true, "{found}");

    // A hub that shows a key for which no key pinned here vouches is not synced with.
    province.stop_node(SHENZHEN).await.expect("it stops");
    let path = province.node(SHENZHEN).data_dir.join("keys/membership.json");
    let text = std::fs::read_to_string(&path).expect("readable");
    let mut kept: Value = serde_json::from_str(&text).expect("JSON");
    let foreign: String =
        SigningKey::new(&[3; 32]).verifying().to_bytes().iter().map(|b| format!("{b:02x}")).collect();
    kept["hub_signing_key"] = foreign.into();
    std::fs::write(&path, kept.to_string()).expect("written");
    province.start_node(SHENZHEN).await.expect("it starts");
    linked(&province.door(SHENZHEN).await, Link::Refused).await;
}

/// Each change is a record of the hub's log: a city that makes them in a loop is told to wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_city_changes_its_keys_a_few_times_at_once_and_no_more() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    put(&province, 0..1).await;
    province.equal().await;
    let status = province.door(GUANGZHOU).await.status().await.expect("a status");
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let paths = Paths::new(&province.node(GUANGZHOU).data_dir);
    let membership = province.membership(GUANGZHOU);
    let channel =
        trust::endpoint(&membership.hub, &membership).expect("an address").connect().await.expect("TLS");
    let code = |answer: Result<(), tonic::Status>| answer.err().map_or(Code::Ok, |status| status.code());
    let epoch = Epoch::from_slice(&status.epoch).expect("an epoch");
    let origin = Origin { site: GUANGZHOU, epoch };
    let rotate = async |old: &SigningKey, new: &SigningKey| {
        let rotation = Some(Rotation::sign(origin, status.head_seq, 1, old, new.verifying()));
        let asked = pb::RotateSigningKeyRequest { rotation };
        code(MembershipClient::new(channel.clone()).rotate_signing_key(asked).await.map(drop))
    };
    let mut key = paths.signing().expect("a key");
    for n in 1..=4 {
        let next = SigningKey::new(&[n; 32]);
        assert_eq!(rotate(&key, &next).await, Code::Ok, "{n}");
        assert_eq!(rotate(&key, &next).await, Code::Ok, "{n} once more: its answer got lost");
        key = next;
    }
    assert_eq!(rotate(&key, &SigningKey::new(&[5; 32])).await, Code::InvalidArgument);

    let deposit = async |n: u8| {
        let asked = pb::DepositKeyRingRequest { key_ring: vec![n; 100].into() };
        code(MembershipClient::new(channel.clone()).deposit_key_ring(asked).await.map(drop))
    };
    // The node may have handed in its own a moment ago.
    let mut taken = 0;
    while taken < 5 && deposit(taken + 1).await == Code::Ok {
        taken += 1;
    }
    assert!((1..=4).contains(&taken), "{taken}");
    assert_eq!(deposit(taken).await, Code::Ok, "it is so already");
}
