//! The hub's index from its log alone.

use liandong_proto::id::SiteCode;
use liandong_proto::schema;

use crate::province::{GUANGZHOU, MEMBER, Province, SHENZHEN, member, shown};

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
