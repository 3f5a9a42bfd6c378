//! Flipped bits in the log of a city: named, refused, and repaired from what the hub holds.

use std::fs;
use std::path::{Path, PathBuf};

use liandong_node::log::{Log, Options, Pos, Record};
use liandong_node::site::{Paths, record_kind};
use liandong_proto::id::SiteCode;
use liandong_proto::pb::record::v1 as pb;
use liandong_proto::schema;
use serde_json::Value;

use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, Province, SHENZHEN, member, shown};

fn records(data_dir: &Path) -> Vec<Record> {
    let (log, _) = Log::open(&Paths::new(data_dir).log(), Options::default()).expect("sound");
    log.read(Pos::default()).collect::<Result<_, _>>().expect("readable")
}

fn segment(data_dir: &Path, number: u64) -> PathBuf {
    Paths::new(data_dir).log().join(format!("{number:020}.log"))
}

/// Flips a bit in the middle of a record.
fn flip(data_dir: &Path, record: &Record) {
    let file = segment(data_dir, record.pos.segment);
    let mut bytes = fs::read(&file).expect("readable");
    let middle = (record.pos.offset + record.next.offset) / 2;
    bytes[middle as usize] ^= 0x10;
    fs::write(&file, bytes).expect("written");
}

async fn repair(province: &Province, more: &[&str]) -> Result<Value, String> {
    let node = province.node(GUANGZHOU);
    let output = node.command(&[&["repair", "--json"], more].concat()).await.expect("it runs");
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).expect("an object"));
    }
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Two cities with members of their own, and a round of the province that both are given.
async fn with_records() -> Province {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    for city in [GUANGZHOU, SHENZHEN] {
        let door = province.door(city).await;
        for n in 0..10 {
            let born = pb::Member { id_number: "440100199001010023".into(), ..member(n) };
            door.put(MEMBER, None, &if n == 3 { born } else { member(n) }).await.expect("a member");
        }
    }
    let hub = province.door(SiteCode::PROVINCE).await;
    let round = pb::AwardRound {
        year: 2026,
        title: "年度优秀社工评选".into(),
        categories: vec!["优秀一线社工".into()],
        ..pb::AwardRound::default()
    };
    let round = hub.put(AWARD_ROUND, None, &round).await.expect("a round");
    province.equal().await;
    let change = pb::AwardRound { title: "优秀社工评选".into(), ..pb::AwardRound::default() };
    hub.put(AWARD_ROUND, Some(round), &change).await.expect("a change");
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    province
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_any_kind_of_record_is_named_and_repaired() {
    let mut province = with_records().await;
    let kinds: Vec<u32> = schema::kinds().iter().map(|kind| kind.number).collect();
    let before = shown(&province.door(GUANGZHOU).await, &kinds).await;
    let dir = province.node(GUANGZHOU).data_dir.clone();
    for kind in [
        record_kind::OPENED,
        record_kind::OWN,
        record_kind::RECEIVED,
        record_kind::TRIED,
        record_kind::WELCOMED,
        record_kind::CONFIRMED,
    ] {
        province.stop_node(GUANGZHOU).await.expect("it stops");
        let all = records(&dir);
        let of_kind: Vec<&Record> = all.iter().filter(|record| record.kind == kind).collect();
        let hit = of_kind[of_kind.len() / 2];
        flip(&dir, hit);
        let refused = province.node(GUANGZHOU).command(&["verify"]).await.expect("it runs");
        assert_eq!(refused.status.code(), Some(7), "kind {kind}: {refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(".log") && said.contains("repair"), "kind {kind}: {said}");
        let done = repair(&province, &[]).await.unwrap_or_else(|why| panic!("kind {kind}: {why}"));
        assert_eq!(done["fetched"], u64::from(kind == record_kind::OWN), "{done}");
        assert_eq!(done["places"].as_array().map(Vec::len), Some(1), "{done}");
        province.start_node(GUANGZHOU).await.expect("it starts");
        province.equal().await;
        let node = province.door(GUANGZHOU).await;
        assert_eq!(shown(&node, &kinds).await, before, "kind {kind}");
        let verified = node.verify().await.expect("readable");
        assert!(verified.sound, "kind {kind}: {:?}", verified.en);
    }
    let audit = province.node(GUANGZHOU).answer(&["audit", "list", "--json"]).await.expect("listed");
    assert!(audit.contains("REPAIRED"), "{audit}");
    assert_eq!(repair_of_a_sound_log(&mut province).await["repaired"], false);
}

async fn repair_of_a_sound_log(province: &mut Province) -> Value {
    province.stop_node(GUANGZHOU).await.expect("it stops");
    repair(province, &[]).await.expect("there is nothing to do")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_not_been_sent_is_named_and_never_left_out_unasked() {
    let mut province = with_records().await;
    province.stop_hub().await.expect("it stops");
    let door = province.door(GUANGZHOU).await;
    for n in 20..23 {
        door.put(MEMBER, None, &member(n)).await.expect("written offline");
    }
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.start_hub().await.expect("it starts");
    let dir = province.node(GUANGZHOU).data_dir.clone();
    let own: Vec<Record> =
        records(&dir).into_iter().filter(|record| record.kind == record_kind::OWN).collect();
    let file = segment(&dir, 1);
    let sound = fs::read(&file).expect("readable");

    flip(&dir, &own[own.len() - 2]);
    let damaged = fs::read(&file).expect("readable");
    let why = repair(&province, &["--accept-loss"]).await.expect_err("in the middle");
    assert!(why.contains("尚未上报") || why.contains("had not been sent"), "{why}");
    assert_eq!(fs::read(&file).expect("readable"), damaged, "nothing was changed");

    fs::write(&file, sound).expect("written");
    flip(&dir, &own[own.len() - 1]);
    let why = repair(&province, &[]).await.expect_err("it is the last");
    assert!(why.contains("--accept-loss"), "{why}");
    let done = repair(&province, &["--accept-loss"]).await.expect("accepted");
    assert_eq!(done["lost"], serde_json::json!([13, 13]), "{done}");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    let members = province.door(GUANGZHOU).await.list(MEMBER, &[]).await.expect("a list");
    assert_eq!(members.len(), 12, "all but the one that is lost");
}

/// Flips the records of the own line from one place of it to another: epochs that begin, and entries.
fn flip_line(data_dir: &Path, from: usize, to: usize) {
    let all = records(data_dir);
    let own = all.iter().filter(|record| matches!(record.kind, record_kind::OPENED | record_kind::OWN));
    own.skip(from).take(to - from).for_each(|record| flip(data_dir, record));
}

async fn put(province: &Province, n: u32) {
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(n)).await.expect("written");
}

async fn members(province: &Province) -> usize {
    province.door(GUANGZHOU).await.list(MEMBER, &[]).await.expect("a list").len()
}

/// Two takeovers close together: the epoch between them is a record and two entries, and all of it is damaged.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_epoch_comes_back_and_one_that_the_hub_does_not_know_is_no_hindrance() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let dir = province.node(GUANGZHOU).data_dir.clone();
    for n in 0..3 {
        put(&province, n).await;
    }
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.node(GUANGZHOU).answer(&["takeover", "--yes"]).await.expect("taken over");
    // The hub has not heard of the new epoch.
    flip_line(&dir, 2, 3);
    let done = repair(&province, &[]).await.expect("the hub has it");
    assert_eq!((&done["fetched"], &done["lost"]), (&1.into(), &Value::Null), "{done}");
    province.start_node(GUANGZHOU).await.expect("it starts");
    for n in 3..5 {
        put(&province, n).await;
    }
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.node(GUANGZHOU).answer(&["takeover", "--yes"]).await.expect("taken over");
    province.start_node(GUANGZHOU).await.expect("it starts");
    put(&province, 5).await;
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    // An epoch, three entries; an epoch, two entries; an epoch, one entry.
    flip_line(&dir, 3, 8);
    let done = repair(&province, &[]).await.expect("all of it is at the hub");
    assert_eq!(done["fetched"], 3, "{done}");
    province.start_node(GUANGZHOU).await.expect("it starts");
    put(&province, 6).await;
    province.equal().await;
    assert_eq!(members(&province).await, 7);
    assert!(province.door(GUANGZHOU).await.verify().await.expect("readable").sound);
}

/// An older copy of the log is put beside the newer index: what was saved since is missing, and nothing goes on without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_older_than_its_index_is_refused_until_somebody_accepts_the_loss() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let paths = Paths::new(&province.node(GUANGZHOU).data_dir);
    for n in 0..3 {
        put(&province, n).await;
    }
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let older = fs::read(segment(&paths.dir, 1)).expect("readable");
    province.start_node(GUANGZHOU).await.expect("it starts");
    put(&province, 3).await;
    province.equal().await;
    province.stop_hub().await.expect("it stops");
    put(&province, 4).await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.start_hub().await.expect("it starts");
    fs::write(segment(&paths.dir, 1), &older).expect("written");
    for command in ["verify", "rebuild", "takeover"] {
        let refused = province.node(GUANGZHOU).command(&[command]).await.expect("it runs");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(7), "{command}: {said}");
        assert!(said.contains("repair"), "{command}: {said}");
    }
    assert!(province.start_node(GUANGZHOU).await.is_err());
    assert_eq!(fs::read(segment(&paths.dir, 1)).expect("readable"), older, "nothing was changed");
    let why = repair(&province, &[]).await.expect_err("an entry was not sent");
    assert!(why.contains("--accept-loss"), "{why}");
    let done = repair(&province, &["--accept-loss"]).await.expect("accepted");
    assert_eq!((&done["fetched"], &done["lost"]), (&1.into(), &serde_json::json!([5, 5])), "{done}");
    assert_eq!(done["perhaps_more"], true, "{done}");
    province.start_node(GUANGZHOU).await.expect("it starts");
    put(&province, 5).await;
    province.equal().await;
    assert_eq!(members(&province).await, 5);
    assert!(province.door(GUANGZHOU).await.verify().await.expect("readable").sound);
}
