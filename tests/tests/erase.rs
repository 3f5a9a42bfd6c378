//! A person asks to be forgotten: nothing of the record stays at any holder, each proves it, and no restore and no old
//! backup brings it back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use liandong_node::site::{Paths, RecoveryKey};
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::cluster::Home;
use serde_json::Value;

use crate::province::{GUANGZHOU, MEMBER, PATIENCE, Province, SHENZHEN, copy, linked, member, open_findings};

const PROVINCE: SiteCode = SiteCode::PROVINCE;
const TRANSFER: u32 = 6;
const NAME: &str = "欧阳须删除";
const REASON: &str = "与欧阳本人核实过";
const DAY: &str = "2031-07-23";

pub fn holds(dir: &Path, what: &str) -> Option<String> {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if let Some(found) = holds(&path, what) {
                return Some(found);
            }
        } else if path.is_file() {
            let bytes = fs::read(&path).expect("a file");
            // Text stays text, whatever stands around it.
            if String::from_utf8_lossy(&bytes).contains(what) {
                return Some(path.display().to_string());
            }
        }
    }
    None
}

async fn erasures(home: &Home) -> Vec<Value> {
    let answer = home.answer(&["record", "erasures", "--json"]).await.expect("listed");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["erasures"].as_array().expect("a list").clone()
}

/// Waits until a site knows of so many erasures, all proved by everybody who held the record.
pub async fn proved(home: &Home, count: usize) -> Vec<Value> {
    let waiting = async {
        loop {
            let all = erasures(home).await;
            if all.len() == count
                && all.iter().all(|it| it["outstanding"].as_array().is_some_and(Vec::is_empty))
            {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    match waited {
        Ok(all) => all,
        Err(_) => panic!("not proved at {}: {:#?}", home.site, erasures(home).await),
    }
}

async fn sound(home: &Home) {
    let found = home.answer(&["verify", "--json"]).await.expect("sound");
    let found: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found["sound"], true, "{found}");
}

/// A member that was edited, was the subject of a finding that somebody settled with a reason, and is in a transfer.
async fn history(province: &mut Province) -> (RecordId, RecordId) {
    let node = province.door(GUANGZHOU).await;
    let email = "ouyang@example.org".into();
    let id = node
        .put(MEMBER, None, &pb::Member { name: NAME.into(), email, ..member(1) })
        .await
        .expect("a member");
    node.put(MEMBER, None, &member(2)).await.expect("another");
    let transfer = pb::Transfer {
        member: bytes::Bytes::copy_from_slice(&id.0),
        from: GUANGZHOU.0,
        to: SHENZHEN.0,
        effective_on: DAY.into(),
        status: pb::TransferStatus::Offered as i32,
    };
    let transfer = node.put(TRANSFER, None, &transfer).await.expect("a transfer");
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("the node stops");
    let hub = province.door(PROVINCE).await;
    let tier = pb::Member { tier: pb::MemberTier::VicePresident as i32, ..pb::Member::default() };
    hub.put(MEMBER, Some(id), &tier).await.expect("the province's edit");
    let text = id.to_string();
    let edit = ["record", "put", "--kind", "member", "--id", &text, "--set", "tier=COUNCIL"];
    province.node(GUANGZHOU).answer(&edit).await.expect("the city's edit, offline");
    province.start_node(GUANGZHOU).await.expect("the node starts");
    province.equal().await;
    let findings = open_findings(&province.door(GUANGZHOU).await).await;
    let [(finding, _)] = findings.as_slice() else { panic!("one finding at the city") };
    let finding = finding.to_string();
    let settle = ["finding", "settle", &finding, "--choose", "held", "--reason", REASON];
    province.hub().answer(&settle).await.expect("settled");
    province.equal().await;
    (id, transfer)
}

async fn erase(province: &Province, id: RecordId, kind: &str) {
    let text = id.to_string();
    let home = province.node(GUANGZHOU);
    let refused =
        home.command(&["record", "erase", &text, "--kind", kind, "--reason", "x"]).await.expect("it runs");
    assert_eq!(refused.status.code(), Some(2), "without a terminal nobody could say yes");
    let answer = home
        .answer(&["record", "erase", &text, "--kind", kind, "--reason", "本人申请", "--yes", "--json"])
        .await
        .expect("erased");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert!(answer["dropped"].as_u64().is_some_and(|dropped| dropped > 0), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_person_stays_anywhere_and_every_holder_proves_it() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    let (id, transfer) = history(&mut province).await;
    for city in [GUANGZHOU, SHENZHEN] {
        assert!(holds(&province.node(city).data_dir, DAY).is_some(), "{city} was told of the transfer");
    }
    for what in [NAME, REASON, DAY] {
        assert!(holds(&province.hub().data_dir, what).is_some(), "{what} is at the hub");
    }
    // Not the city's to erase, and not the hub's.
    let text = id.to_string();
    for home in [province.hub(), province.node(SHENZHEN)] {
        let refused = home
            .command(&["record", "erase", &text, "--kind", "member", "--reason", "x", "--yes"])
            .await
            .expect("runs");
        assert!(!refused.status.success(), "{refused:?}");
    }
    assert!(holds(&province.hub().data_dir, NAME).is_some());

    erase(&province, id, "member").await;
    erase(&province, transfer, "transfer").await;
    // The member, the finding about it, the transfer.
    let at_hub = proved(province.hub(), 3).await;
    let proofs = |kind: &str| -> Vec<String> {
        let it = at_hub.iter().find(|it| it["kind"] == kind).expect("erased");
        let proofs = it["proofs"].as_array().expect("a list").iter();
        proofs.map(|proof| proof["holder"].as_str().expect("a site").to_owned()).collect()
    };
    assert_eq!(proofs("member"), ["440000", "440100"]);
    assert_eq!(proofs("finding"), ["440000", "440100"]);
    assert_eq!(proofs("transfer"), ["440000", "440100", "440300"]);
    proved(province.node(GUANGZHOU), 3).await;
    proved(province.node(SHENZHEN), 1).await;
    province.equal().await;
    for home in [province.hub(), province.node(GUANGZHOU), province.node(SHENZHEN)] {
        for what in [NAME, REASON, DAY] {
            assert_eq!(holds(&home.data_dir, what), None, "{what} stays at {}", home.site);
        }
        sound(home).await;
    }

    // Indexes made again from the logs show the same.
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.stop_hub().await.expect("it stops");
    province.hub().answer(&["rebuild"]).await.expect("rebuilt");
    province.node(GUANGZHOU).answer(&["rebuild"]).await.expect("rebuilt");
    province.start_hub().await.expect("it starts");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    proved(province.hub(), 3).await;

    // A lost city gets back what was not erased, and no more.
    let dir = province.node(GUANGZHOU).data_dir.clone();
    let key = RecoveryKey::of(&Paths::new(&dir)).expect("a key").to_string();
    province.stop_node(GUANGZHOU).await.expect("it stops");
    fs::remove_dir_all(&dir).expect("the server is lost");
    fs::create_dir_all(&dir).expect("a new one");
    let file = province.file("recovery.key");
    fs::write(&file, format!("{key}\n")).expect("written");
    let (code, file) = (province.invited("440100").await, file.display().to_string());
    let restore = ["restore", &code, "--site", "440100", "--recovery-key", &file];
    province.node(GUANGZHOU).answer(&restore).await.expect("restored");
    province.agree(GUANGZHOU).await.expect("an agreement that names its new key");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    let members = province.door(GUANGZHOU).await.list(MEMBER, &[]).await.expect("a list");
    assert_eq!(members.len(), 1);
    proved(province.node(GUANGZHOU), 3).await;
    assert_eq!(holds(&dir, NAME), None);
    sound(province.node(GUANGZHOU)).await;
    province.stop().await.expect("all stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_backup_of_the_hub_erases_again_what_it_had_forgotten() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    let (id, transfer) = history(&mut province).await;
    province.stop_hub().await.expect("it stops");
    let (dir, backup) = (province.hub().data_dir.clone(), province.file("backup"));
    copy(&dir, &backup);
    province.start_hub().await.expect("it starts");
    erase(&province, id, "member").await;
    erase(&province, transfer, "transfer").await;
    proved(province.hub(), 3).await;
    province.stop_hub().await.expect("it stops");
    fs::remove_dir_all(&dir).expect("lost");
    copy(&backup, &dir);
    assert!(holds(&dir, NAME).is_some(), "the backup holds it yet");
    province.hub().answer(&["restored"]).await.expect("said");
    province.hub().answer(&["city", "confirm", "--yes"]).await.expect("confirmed");
    province.start_hub().await.expect("it starts");
    for city in [GUANGZHOU, SHENZHEN] {
        linked(&province.door(city).await, Link::Connected).await;
    }
    province.equal().await;
    let waiting = async {
        while holds(&dir, NAME).is_some() || holds(&dir, DAY).is_some() || holds(&dir, REASON).is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the old backup is emptied as well");
    // The backup lacks what the cities had proved.
    proved(province.hub(), 3).await;
    sound(province.hub()).await;
    province.stop().await.expect("all stop");
}

/// A city wrote to a record of another, in vain; the other has erased it. What went with that does not stand in the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_city_is_restored_without_what_another_has_erased() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    let id = province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    let node = province.door(SHENZHEN).await;
    let email = "in-vain@example.org".to_owned();
    let in_vain = pb::Member { name: NAME.into(), email, ..member(1) };
    node.put(MEMBER, Some(id), &in_vain).await.expect("written");
    node.put(MEMBER, None, &member(2)).await.expect("its own");
    let refused = async {
        while province.door(PROVINCE).await.list(MEMBER, &[]).await.expect("a list").len() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("in time");
    drop(node);
    let findings = open_findings(&province.door(PROVINCE).await).await.len();
    assert!(findings > 0, "nothing was written in vain");
    erase(&province, id, "member").await;
    // The findings about it have gone as well.
    proved(province.hub(), 1 + findings).await;
    province.equal().await;

    let home = province.node(SHENZHEN).data_dir.clone();
    let key = RecoveryKey::of(&Paths::new(&home)).expect("a key").to_string();
    province.stop_node(SHENZHEN).await.expect("it stops");
    fs::remove_dir_all(&home).expect("lost");
    fs::create_dir_all(&home).expect("a new one");
    let file = province.file("recovery.key");
    fs::write(&file, format!("{key}\n")).expect("written");
    let (code, file) = (province.invited("440300").await, file.display().to_string());
    let restore = ["restore", &code, "--site", "440300", "--recovery-key", &file];
    province.node(SHENZHEN).answer(&restore).await.expect("restored");
    province.agree(SHENZHEN).await.expect("agreed");
    province.start_node(SHENZHEN).await.expect("it starts");
    province.equal().await;
    assert_eq!(province.door(SHENZHEN).await.list(MEMBER, &[]).await.expect("a list").len(), 1);
    assert_eq!(holds(&home, NAME), None);
    for home in [province.node(SHENZHEN), province.hub()] {
        sound(home).await;
    }
}
