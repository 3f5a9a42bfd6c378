//! The hub's index from its log alone.

use std::fs;

use liandong_node::log::segment_path;
use liandong_proto::id::SiteCode;
use liandong_proto::schema;

use crate::backup::{json, refused, round};
use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, Province, SHENZHEN, member, shown};

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_made_again_from_its_log_shows_the_same() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    for city in [GUANGZHOU, SHENZHEN] {
        let node = province.door(city).await;
        for n in 0..50 {
            node.put(MEMBER, None, &member(n)).await.expect("a member");
        }
    }
    province.equal().await;
    let kinds: Vec<u32> = schema::kinds().iter().map(|kind| kind.number).collect();
    let hub = province.door(SiteCode::PROVINCE).await;
    let before = shown(&hub, &kinds).await;
    assert_eq!(before.len(), 102, "members and agreements");
    drop(hub);
    province.stop_hub().await.expect("the hub stops");
    province.hub().answer(&["rebuild"]).await.expect("made again");
    province.start_hub().await.expect("the hub starts");
    let hub = province.door(SiteCode::PROVINCE).await;
    assert_eq!(shown(&hub, &kinds).await, before);
    let verified = hub.verify().await.expect("readable");
    assert!(verified.sound, "{:?}", verified.en);
    drop(hub);
    province.equal().await;
    province.stop().await.expect("all stop");
}

/// A bad sector at the end of the log, of which the index has seen all: a person decides, and knows what it costs.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_goes_on_without_the_lost_end_of_its_log_when_that_is_accepted() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    for title in ["第一届", "第二届"] {
        province.door(SiteCode::PROVINCE).await.put(AWARD_ROUND, None, &round(title)).await.expect("a round");
    }
    let hub = province.hub().clone();
    let known = json(&hub, &["status"]).await["hub_seq"].clone();
    province.stop_hub().await.expect("the hub stops");
    let segment = segment_path(&hub.data_dir.join("log"), 1);
    let mut damaged = fs::read(&segment).expect("read");
    let end = damaged.iter().rposition(|byte| *byte != 0).expect("not empty") + 1;
    damaged[end - 60..end].fill(0x55);
    fs::write(&segment, &damaged).expect("damaged");
    for command in ["status", "rebuild"] {
        let (code, said) = refused(&hub, &[command, "--lang", "en"]).await;
        assert!(code == 7 && said.contains("rebuild --accept-loss"), "{command}: {code} {said}");
        assert!(fs::read(&segment).expect("read") == damaged, "nothing was changed");
    }
    let (_, said) = refused(&hub, &["rebuild", "--lang", "en"]).await;
    assert!(said.contains(&format!("the order up to {known}")), "{said}");
    let told = json(&hub, &["rebuild", "--accept-loss"]).await;
    assert_eq!((&told["rebuilt"], &told["accepted_loss"]["known_hub_seq"]), (&true.into(), &known), "{told}");
    province.start_hub().await.expect("it starts");
    json(&hub, &["city", "confirm", "--yes"]).await;
    province.equal().await;
    let kinds = [MEMBER, AWARD_ROUND];
    let held = shown(&province.door(SiteCode::PROVINCE).await, &kinds).await;
    assert!(held.len() >= 2, "the member, and what was not lost: {held:?}");
    province.stop().await.expect("all stop");
}
