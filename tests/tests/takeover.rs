//! A city's log and the hub's copy of it have parted. One machine is to live, and what either had is still there.

use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::record::v1 as pb;
use serde_json::Value;

use crate::erase::{holds, proved};
use crate::province::{GUANGZHOU, MEMBER, PATIENCE, Province, copy, linked, member, open_findings};

async fn put(province: &Province, n: u32, id: Option<RecordId>, post: &str) -> RecordId {
    let member = pb::Member { post: post.into(), email: format!("m{n}@example.org"), ..member(n) };
    province.door(GUANGZHOU).await.put(MEMBER, id, &member).await.expect("written")
}

async fn answer(province: &Province, args: &[&str]) -> Value {
    let args = [args, &["--json"]].concat();
    let answer = province.node(GUANGZHOU).answer(&args).await.expect("it ends well");
    serde_json::from_str(&answer).expect("an object")
}

/// How many members the hub shows, and the posts of one.
async fn at_the_hub(province: &Province, id: RecordId) -> (usize, Vec<String>) {
    let hub = province.door(SiteCode::PROVINCE).await;
    let members = hub.list(MEMBER, &[]).await.expect("a list").len();
    let record = hub.get(MEMBER, id).await.expect("a call").expect("known");
    let read = |fields: bytes::Bytes| <pb::Member as prost::Message>::decode(fields).expect("a member").post;
    let mut posts = vec![read(record.fields.clone())];
    posts.extend(record.held.iter().map(|held| read(held.set.clone())));
    posts.sort();
    (members, posts)
}

/// What another machine would see: the directory as it is now.
fn copied(province: &Province, name: &str) -> std::path::PathBuf {
    let to = province.file(name);
    copy(&province.node(GUANGZHOU).data_dir, &to);
    to
}

/// Puts a copy in the place of the directory, which is kept under another name.
fn changed_for(province: &Province, copy: &std::path::Path, kept: &str) {
    let dir = &province.node(GUANGZHOU).data_dir;
    std::fs::rename(dir, province.file(kept)).expect("moved");
    std::fs::rename(copy, dir).expect("moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_backup_goes_on_with_what_came_after_it_and_what_was_written_since() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let first = put(&province, 1, None, "社工").await;
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let backup = copied(&province, "backup");
    province.start_node(GUANGZHOU).await.expect("it starts");
    for n in 2..5 {
        put(&province, n, None, "督导").await;
    }
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    changed_for(&province, &backup, "lost");
    province.start_node(GUANGZHOU).await.expect("it starts");
    let door = province.door(GUANGZHOU).await;
    linked(&door, Link::Diverged).await;
    let status = door.status().await.expect("a status");
    assert!(status.link_en.contains("takeover") && status.link_zh.contains("takeover"), "{status:?}");
    put(&province, 9, None, "主任").await;
    let refused = province.node(GUANGZHOU).command(&["takeover", "--yes"]).await.expect("it runs");
    assert!(!refused.status.success(), "not beside a node that runs: {refused:?}");
    province.stop_node(GUANGZHOU).await.expect("it stops");

    let asked = province.node(GUANGZHOU).command(&["takeover"]).await.expect("it runs");
    assert_eq!(asked.status.code(), Some(2), "nobody says yes: {asked:?}");
    let told = answer(&province, &["takeover", "--dry-run"]).await;
    assert_eq!((&told["done"], &told["fetched"], &told["again"]), (&false.into(), &3.into(), &1.into()));
    let told = answer(&province, &["takeover", "--yes"]).await;
    assert_eq!((&told["fetched"], &told["again"]), (&3.into(), &1.into()), "{told}");
    assert!(std::path::Path::new(told["kept"].as_str().expect("a path")).exists(), "the old log is kept");
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Connected).await;
    province.equal().await;
    assert_eq!(at_the_hub(&province, first).await, (5, vec!["社工".to_owned()]));
    let members = province.door(GUANGZHOU).await.list(MEMBER, &[]).await.expect("a list");
    assert_eq!(members.len(), 5);
    for record in &members {
        let sealed = <pb::Member as prost::Message>::decode(record.fields.clone()).expect("a member").email;
        assert!(sealed.ends_with("@example.org"), "what is sealed is there as well");
    }
    for home in [province.node(GUANGZHOU), province.hub()] {
        let found: Value =
            serde_json::from_str(&home.answer(&["verify", "--json"]).await.expect("read")).expect("JSON");
        assert_eq!(found["sound"], true, "{found}");
    }
}

/// Both machines have gone on; neither saw what the other did.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_one_lives_and_what_both_changed_is_shown_with_both_values() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let id = put(&province, 1, None, "社工").await;
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let twin = copied(&province, "twin");
    province.start_node(GUANGZHOU).await.expect("it starts");
    put(&province, 1, Some(id), "督导").await;
    put(&province, 2, None, "社工").await;
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");

    changed_for(&province, &twin, "first");
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Diverged).await;
    put(&province, 1, Some(id), "主任").await;
    put(&province, 3, None, "社工").await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let told = answer(&province, &["takeover", "--yes"]).await;
    assert_eq!((&told["fetched"], &told["again"]), (&2.into(), &2.into()), "{told}");
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Connected).await;
    province.equal().await;
    assert_eq!(at_the_hub(&province, id).await, (3, vec!["主任".to_owned(), "督导".to_owned()]));
    assert_eq!(open_findings(&province.door(GUANGZHOU).await).await.len(), 1, "a person decides");
    // What is written from here on has seen both.
    let other = put(&province, 4, None, "社工").await;
    put(&province, 4, Some(other), "督导").await;
    province.equal().await;
    assert_eq!(at_the_hub(&province, other).await, (4, vec!["督导".to_owned()]));

    // The other machine is told, and works on alone.
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let first = province.file("first");
    changed_for(&province, &first, "second");
    province.start_node(GUANGZHOU).await.expect("it starts");
    let door = province.door(GUANGZHOU).await;
    linked(&door, Link::Diverged).await;
    put(&province, 7, None, "社工").await;
    assert_eq!(at_the_hub(&province, other).await.0, 4, "nothing of it comes to the hub");

    // The index is made again from a log that was taken over.
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let second = province.file("second");
    changed_for(&province, &second, "first");
    province.node(GUANGZHOU).answer(&["rebuild"]).await.expect("made again");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    let waited = tokio::time::timeout(PATIENCE, async { at_the_hub(&province, id).await });
    assert_eq!(waited.await.expect("in time").0, 4);
}

/// What is for the city alone is not judged by the hub; and what must not be there does not come back with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_city_sees_is_named_and_neither_erasures_nor_consent_are_undone() {
    const WORKS_AT: &str = "须留在本市的单位";
    const GONE: &str = "陈须删除";
    let mut province = Province::running(&[GUANGZHOU]).await;
    let door = province.door(GUANGZHOU).await;
    let named = pb::Member { name: GONE.into(), ..member(3) };
    let mut ids = Vec::new();
    for member in [member(1), member(2), named] {
        ids.push(door.put(MEMBER, None, &member).await.expect("written"));
    }
    let [noted, withdrawn, erased] = ids[..] else { panic!("three members") };
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let twin = copied(&province, "twin");

    province.start_node(GUANGZHOU).await.expect("it starts");
    let door = province.door(GUANGZHOU).await;
    let remarks = |text: &str| pb::Member { remarks: text.into(), ..pb::Member::default() };
    door.put(MEMBER, Some(noted), &remarks("那边的话")).await.expect("written");
    let consent = pb::Consent {
        group: pb::ConsentGroup::Employment as i32,
        basis: pb::ConsentBasis::Consent as i32,
        given_on: "2026-01-01".into(),
        withdrawn_on: "2026-02-01".into(),
        ..pb::Consent::default()
    };
    let consents = pb::Member { consents: vec![consent], ..pb::Member::default() };
    door.put(MEMBER, Some(withdrawn), &consents).await.expect("written");
    let erase = async |province: &Province, id: RecordId| {
        let id = id.to_string();
        let erase = ["record", "erase", &id, "--kind", "member", "--reason", "本人申请", "--yes"];
        province.node(GUANGZHOU).answer(&erase).await.expect("erased");
    };
    erase(&province, erased).await;
    province.equal().await;
    proved(province.hub(), 1).await;
    province.stop_node(GUANGZHOU).await.expect("it stops");

    changed_for(&province, &twin, "first");
    province.start_node(GUANGZHOU).await.expect("it starts");
    let door = province.door(GUANGZHOU).await;
    linked(&door, Link::Diverged).await;
    door.put(MEMBER, Some(noted), &remarks("这边的话")).await.expect("written");
    let employer = pb::Member { employer: WORKS_AT.into(), ..pb::Member::default() };
    door.put(MEMBER, Some(withdrawn), &employer).await.expect("written");
    put(&province, 3, Some(erased), "主任").await;
    let never_sent = put(&province, 4, None, "社工").await;
    erase(&province, never_sent).await;
    province.stop_node(GUANGZHOU).await.expect("it stops");

    let told = answer(&province, &["takeover", "--yes"]).await;
    let both = serde_json::json!([{ "kind": "member", "id": noted.to_string(), "fields": ["remarks"] }]);
    assert_eq!((&told["changed_on_both_sides"], &told["erased"]), (&both, &1.into()), "{told}");
    assert_eq!((&told["fetched"], &told["again"]), (&3.into(), &2.into()), "{told}");
    let dir = province.node(GUANGZHOU).data_dir.clone();
    assert_eq!(holds(&dir, GONE), None, "the command has erased what the hub had sent");
    assert_eq!(told["kept"], Value::Null, "and the old log with it: {told}");
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Connected).await;
    province.equal().await;
    proved(province.hub(), 1).await;
    let read = |fields: bytes::Bytes| <pb::Member as prost::Message>::decode(fields).expect("a member");
    let door = province.door(GUANGZHOU).await;
    let shown = async |id| read(door.get(MEMBER, id).await.expect("a call").expect("there").fields);
    assert_eq!(shown(noted).await.remarks, "这边的话");
    assert_eq!(shown(withdrawn).await.employer, WORKS_AT);
    assert_eq!(door.list(MEMBER, &[]).await.expect("a list").len(), 2);
    let id = noted.to_string();
    let history = ["record", "history", &id, "--kind", "member", "--json"];
    let history = province.node(GUANGZHOU).answer(&history).await.expect("listed");
    assert!(history.contains("那边的话") && history.contains("这边的话"), "{history}");
    for what in [WORKS_AT, GONE] {
        assert_eq!(holds(&province.hub().data_dir, what), None, "{what} is not at the hub");
    }
    for home in [province.node(GUANGZHOU), province.hub()] {
        let found = home.answer(&["verify", "--json"]).await.expect("read");
        let found: Value = serde_json::from_str(&found).expect("JSON");
        assert_eq!(found["sound"], true, "{found}");
    }
}

/// The hub is put back from a backup that knows nothing of the epoch that lives, and not all of the one before, or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_from_a_backup_older_than_a_takeover_gets_both_epochs_again() {
    for written_before in [1, 0] {
        let mut province = Province::running(&[GUANGZHOU]).await;
        for n in 0..written_before {
            put(&province, 100 + n, None, "社工").await;
        }
        province.equal().await;
        province.stop_hub().await.expect("it stops");
        let (dir, backup) = (province.hub().data_dir.clone(), province.file("backup"));
        copy(&dir, &backup);
        province.start_hub().await.expect("it starts");
        let id = put(&province, 2, None, "社工").await;
        province.equal().await;
        // Twice, so that the line has three epochs.
        for n in [3, 4] {
            province.stop_node(GUANGZHOU).await.expect("it stops");
            answer(&province, &["takeover", "--yes"]).await;
            province.start_node(GUANGZHOU).await.expect("it starts");
            put(&province, n, None, "社工").await;
            province.equal().await;
        }
        province.stop_hub().await.expect("it stops");
        std::fs::remove_dir_all(&dir).expect("lost");
        std::fs::rename(&backup, &dir).expect("put back");
        province.start_hub().await.expect("it starts");
        linked(&province.door(GUANGZHOU).await, Link::Offline).await;
        province.hub().answer(&["restored"]).await.expect("said");
        province.hub().answer(&["city", "confirm", "--yes"]).await.expect("confirmed");
        linked(&province.door(GUANGZHOU).await, Link::Connected).await;
        province.equal().await;
        let members = 3 + written_before as usize;
        assert_eq!(at_the_hub(&province, id).await, (members, vec!["社工".to_owned()]));
        for home in [province.node(GUANGZHOU), province.hub()] {
            let found = home.answer(&["verify", "--json"]).await.expect("read");
            let found: Value = serde_json::from_str(&found).expect("JSON");
            assert_eq!(found["sound"], true, "{found}");
        }
    }
}
