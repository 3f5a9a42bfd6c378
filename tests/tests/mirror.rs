//! A hub made again from its mirror, and mirrors that it is not made from.

use std::fs;
use std::path::Path;

use liandong_node::log::segment_path;
use liandong_proto::id::SiteCode;
use liandong_tests::cluster::Home;
use serde_json::Value;

use crate::backup::{json, refused, round};
use crate::province::{AWARD_ROUND, Province, copy};

async fn write(province: &Province, title: &str) {
    province.door(SiteCode::PROVINCE).await.put(AWARD_ROUND, None, &round(title)).await.expect("written");
}

async fn mirrored() -> Province {
    let mut province = Province::made(&[]).await;
    let mirror = province.file("mirror");
    fs::create_dir(&mirror).expect("made");
    province.mirror(Some(mirror));
    province.start_hub().await.expect("it starts");
    province
}

fn path(province: &Province, name: &str) -> String {
    province.file(name).display().to_string()
}

/// Nothing is restored: the exit code, what is said, and that there is no directory.
#[track_caller]
fn check(home: &Home, (code, said): (i32, String), expected: i32, words: &str) {
    assert!(code == expected && said.contains(words), "{code} {said}");
    assert!(!home.data_dir.exists(), "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_own_mirror_that_is_whole_brings_a_hub_back() {
    let mut other = mirrored().await;
    write(&other, "别处").await;
    other.stop().await.expect("it stops");
    let mut province = mirrored().await;
    write(&province, "第一届").await;
    let (mirror, older) = (province.file("mirror"), province.file("older"));
    copy(&mirror, &older);
    write(&province, "第二届").await;
    let hub = province.hub().clone();
    let (full, keys) = (path(&province, "full"), path(&province, "keys"));
    json(&hub, &["backup", "create", &full, "--unencrypted"]).await;
    json(&hub, &["backup", "create", &keys, "--unencrypted", "--only-keys"]).await;
    write(&province, "第三届").await;
    province.stop().await.expect("it stops");
    fs::remove_dir_all(&hub.data_dir).expect("lost");

    let restore = async |backup: &str, mirror: &Path, flag: &[&str]| {
        let mirror = mirror.display().to_string();
        let args = [&["backup", "restore", backup, "--mirror", &mirror, "--lang", "en"], flag].concat();
        refused(&hub, &args).await
    };
    check(&hub, restore(&full, &older, &[]).await, 3, "the mirror is older");
    check(&hub, restore(&full, &other.file("mirror"), &[]).await, 3, "another hub");
    check(&hub, restore(&keys, &other.file("mirror"), &[]).await, 3, "another hub");
    check(&hub, restore(&full, &province.file("nowhere"), &[]).await, 2, "holds no mirror");
    check(&hub, refused(&hub, &["backup", "restore", &keys, "--lang", "en"]).await, 2, "keys alone");

    // A byte that differs is found, and a copying that was cut short is none that is damaged.
    let damaged = province.file("damaged");
    copy(&mirror, &damaged);
    let segment = segment_path(&damaged.join("log"), 1);
    let whole = fs::read(&segment).expect("read");
    let mut flipped = whole.clone();
    flipped[500] ^= 1;
    fs::write(&segment, flipped).expect("damaged");
    check(&hub, restore(&full, &damaged, &[]).await, 7, "damaged");
    check(&hub, restore(&keys, &damaged, &["--rehearse"]).await, 7, "damaged");
    fs::write(&segment, &whole[..whole.len() - 1]).expect("cut short");
    let cut = damaged.display().to_string();
    let tried = json(&hub, &["backup", "restore", &keys, "--mirror", &cut, "--rehearse"]).await;
    assert_eq!((&tried["sound"], &tried["mirror"]["cut"]), (&true.into(), &true.into()), "{tried}");
    assert!(!hub.data_dir.exists());

    let mirror = mirror.display().to_string();
    let told = json(&hub, &["backup", "restore", &full, "--mirror", &mirror]).await;
    assert_eq!(
        (&told["opened"], &told["records"], &told["mirror"]["cut"]),
        (&true.into(), &3.into(), &false.into())
    );
    let found = json(&hub, &["verify"]).await;
    assert_eq!(found["sound"], true, "the audit log came from the mirror as well: {found}");
    province.start_hub().await.expect("it starts");
    write(&province, "第四届").await;
    let rounds = province.door(SiteCode::PROVINCE).await.list(AWARD_ROUND, &[]).await.expect("a list");
    assert_eq!(rounds.len(), 4);
    let status: Value = json(&hub, &["status"]).await;
    assert_eq!(status["mirror"]["live"], true, "it goes on in the same mirror: {status}");
    province.stop().await.expect("it stops");
}
