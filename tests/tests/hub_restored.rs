//! A hub that was put back from a backup has forgotten who was invited and who was cut off since: nobody is let in before
//! a person has looked at that.

use liandong_proto::pb::node::v1::Link;
use serde_json::Value;

use crate::province::{GUANGZHOU, MEMBER, Province, SHAOGUAN, SHENZHEN, copy, linked, member};

/// The hub's directory as it was when `meanwhile` began is put back behind it; neither runs then.
async fn put_back(province: &mut Province, meanwhile: impl AsyncFnOnce(&mut Province)) {
    province.stop_hub().await.expect("it stops");
    let (dir, backup) = (province.hub().data_dir.clone(), province.file("backup"));
    copy(&dir, &backup);
    province.start_hub().await.expect("it starts");
    meanwhile(province).await;
    province.stop_hub().await.expect("it stops");
    std::fs::remove_dir_all(&dir).expect("lost");
    copy(&backup, &dir);
}

/// The hub's directory is put back as it was copied while the hub ran, and is still running.
async fn put_back_running(province: &mut Province, meanwhile: impl AsyncFnOnce(&mut Province)) {
    let (dir, backup) = (province.hub().data_dir.clone(), province.file("backup"));
    let _ = std::fs::remove_dir_all(&backup);
    copy(&dir, &backup);
    meanwhile(province).await;
    province.stop_hub().await.expect("it stops");
    std::fs::remove_dir_all(&dir).expect("lost");
    copy(&backup, &dir);
    province.start_hub().await.expect("it starts");
}

async fn waits(province: &Province, city: liandong_proto::id::SiteCode) {
    let door = province.door(city).await;
    let waiting = async {
        loop {
            let status = door.status().await.expect("a status");
            if status.link() == Link::Offline && status.link_en.contains("restored from a backup") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(crate::province::PATIENCE, waiting).await;
    if waited.is_err() {
        panic!("{city} is let in: {:?}", door.status().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_proves_what_the_hub_has_forgotten_and_nobody_is_let_in_before_a_person_has_looked() {
    let mut province = Province::made(&[GUANGZHOU, SHAOGUAN, SHENZHEN]).await;
    province.start_hub().await.expect("it starts");
    for city in [GUANGZHOU, SHENZHEN] {
        province.start_node(city).await.expect("it starts");
        province.door(city).await.put(MEMBER, None, &member(city.0)).await.expect("a member");
    }
    province.equal().await;
    let forgotten = province.invited("440200").await;
    // After the backup: entries are received, and Shenzhen is cut off.
    put_back(&mut province, async |province| {
        province.door(GUANGZHOU).await.put(MEMBER, None, &member(7)).await.expect("a member");
        linked(&province.door(SHENZHEN).await, Link::Connected).await;
        let revoke = ["city", "revoke", "440300", "--reason", "证书泄露"];
        province.hub().answer(&revoke).await.expect("cut off");
        linked(&province.door(SHENZHEN).await, Link::Refused).await;
        province.stop_node(SHENZHEN).await.expect("it stops");
        province.equal().await;
    })
    .await;

    // The hub does not know that it is another than it was; Guangzhou has its word for it.
    province.start_hub().await.expect("it starts");
    waits(&province, GUANGZHOU).await;
    province.start_node(SHENZHEN).await.expect("it starts");
    waits(&province, SHENZHEN).await;
    let refused = province.node(SHAOGUAN).command(&["join", &forgotten]).await.expect("it runs");
    assert!(!refused.status.success(), "an invitation from before is void: {refused:?}");
    let refused = province.hub().command(&["city", "invite", "440200"]).await.expect("it runs");
    assert!(!refused.status.success(), "{refused:?}");
    // Not over a restart either.
    province.stop_hub().await.expect("it stops");
    province.start_hub().await.expect("it starts");
    waits(&province, GUANGZHOU).await;

    let refused = province.hub().command(&["city", "confirm"]).await.expect("it runs");
    assert_eq!(refused.status.code(), Some(2), "without a terminal nobody could say yes");
    // What was forgotten is said again before cities are let in.
    province
        .hub()
        .answer(&["city", "revoke", "440300", "--reason", "证书泄露"])
        .await
        .expect("cut off again");
    let confirmed = province.hub().answer(&["city", "confirm", "--yes", "--json"]).await.expect("confirmed");
    let confirmed: Value = serde_json::from_str(&confirmed).expect("JSON");
    assert_eq!(confirmed["cut_off"], serde_json::json!(["440300"]));
    linked(&province.door(SHENZHEN).await, Link::Refused).await;
    linked(&province.door(GUANGZHOU).await, Link::Connected).await;
    province.stop_node(SHENZHEN).await.expect("it stops");
    province.equal().await;
    let members = province.door(liandong_proto::id::SiteCode::PROVINCE).await.list(MEMBER, &[]).await;
    assert_eq!(members.expect("a list").len(), 3, "Guangzhou has sent again what the hub had lost");
    let again = province.hub().command(&["city", "confirm", "--yes"]).await.expect("it runs");
    assert_eq!(again.status.code(), Some(2), "there is nothing left to confirm");
    let found = province.hub().answer(&["verify", "--json"]).await.expect("sound");
    assert_eq!(serde_json::from_str::<Value>(&found).expect("JSON")["sound"], true, "{found}");
    let audit = province.hub().answer(&["audit", "list", "--json"]).await.expect("listed");
    assert!(audit.contains("HUB_RESTORED") && audit.contains("CONFIRMED"), "{audit}");
    province.start_node(SHAOGUAN).await.expect("a fresh invitation is good");
    province.equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_hub_that_ran_parts_nobody_from_it_and_what_it_lacks_is_proved() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    // The hub in the backup was in the life of its order that the cities know, and knows an older session of one.
    put_back_running(&mut province, async |province| {
        province.stop_node(SHENZHEN).await.expect("it stops");
        province.start_node(SHENZHEN).await.expect("it starts");
        linked(&province.door(SHENZHEN).await, Link::Connected).await;
    })
    .await;
    linked(&province.door(SHENZHEN).await, Link::Connected).await;
    province.equal().await;

    put_back_running(&mut province, async |province| {
        province.door(GUANGZHOU).await.put(MEMBER, None, &member(2)).await.expect("a member");
        province.equal().await;
    })
    .await;
    for city in [GUANGZHOU, SHENZHEN] {
        waits(&province, city).await;
    }
    province.hub().answer(&["city", "confirm", "--yes"]).await.expect("confirmed");
    province.equal().await;
    let members = province.door(liandong_proto::id::SiteCode::PROVINCE).await.list(MEMBER, &[]).await;
    assert_eq!(members.expect("a list").len(), 2, "Guangzhou has sent again what the hub had lost");
    province.hub().answer(&["rebuild"]).await.expect_err("it runs");
    province.stop_hub().await.expect("it stops");
    province.hub().answer(&["rebuild"]).await.expect("made again");
    province.start_hub().await.expect("it starts");
    province.equal().await;
}
