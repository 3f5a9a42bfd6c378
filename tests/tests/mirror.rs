//! A hub made again from its mirror, and mirrors that it is not made from.

use std::fs::{self, File};
use std::path::Path;

use liandong_node::log::{BATCH_HEAD_BYTES, Copied, batch_end, segment_path};
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

    // A byte that differs is found, also in the last batch, behind which nothing says that it was synced; so is one that is
    // missing. The heads of a mirror are written last: with its head there, what follows was whole and may have been answered.
    let damaged = province.file("damaged");
    for (name, from_end) in [("log", None), ("log", Some(1)), ("log", Some(20)), ("audit", Some(1))] {
        copy(&mirror, &damaged);
        let segment = segment_path(&damaged.join(name), 1);
        let mut flipped = fs::read(&segment).expect("read");
        let at = from_end.map_or(500, |from_end| flipped.len() - from_end);
        flipped[at] ^= 1;
        fs::write(&segment, &flipped).expect("damaged");
        check(&hub, restore(&full, &damaged, &[]).await, 7, "damaged");
        check(&hub, restore(&keys, &damaged, &["--rehearse"]).await, 7, "damaged");
        flipped[at] ^= 1;
        flipped.pop();
        fs::write(&segment, &flipped).expect("cut short");
        check(&hub, restore(&keys, &damaged, &[]).await, 7, "damaged");
        check(&hub, restore(&keys, &damaged, &["--rehearse"]).await, 7, "damaged");
        fs::remove_dir_all(&damaged).expect("removed");
    }

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

/// Where the batches of a log's first segment begin.
fn heads(log: &Path) -> Vec<u64> {
    let path = segment_path(log, 1);
    let open = || File::open(&path).expect("opened");
    let records = Copied::open(open(), &path, 1, None).expect("a segment");
    let head = |at: u64| batch_end(&open(), 1, at).expect("read").map(|_| at);
    records.filter_map(|record| head(record.expect("a record").pos.offset - BATCH_HEAD_BYTES)).collect()
}

/// As the power leaves it: of several batches that were copied at once all but the head of the first has come to the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_copying_that_was_cut_short_is_restored_up_to_there() {
    let mut province = mirrored().await;
    let hub = province.hub().clone();
    let keys = path(&province, "keys");
    json(&hub, &["backup", "create", &keys, "--unencrypted", "--only-keys"]).await;
    for title in ["第一届", "第二届", "第三届", "第四届"] {
        write(&province, title).await;
    }
    province.stop().await.expect("it stops");
    fs::remove_dir_all(&hub.data_dir).expect("lost");
    let log = province.file("mirror").join("log");
    let (segment, heads) = (segment_path(&log, 1), heads(&log));
    let mut torn = fs::read(&segment).expect("read");
    let (first, whole) = (usize::try_from(heads[heads.len() - 2]).expect("small"), torn.len());
    torn[first..first + usize::try_from(BATCH_HEAD_BYTES).expect("small")].fill(0);
    fs::write(&segment, torn).expect("torn");
    // A version before has made it.
    fs::remove_file(province.file("mirror").join("liandong-mirror")).expect("no mark");
    let mirror = path(&province, "mirror");
    let restore = ["backup", "restore", &keys, "--mirror", &mirror];
    let said =
        hub.answer(&[&restore[..], &["--rehearse", "--lang", "en"]].concat()).await.expect("it goes well");
    assert!(said.contains("cut short"), "{said}");
    let told = json(&hub, &restore).await;
    assert_eq!(
        (&told["records"], &told["mirror"]["cut_bytes"]),
        (&2.into(), &(whole - first).into()),
        "{told}"
    );
    assert!(!hub.data_dir.join("mirrors").exists(), "one without a mark is left to the hub");
    province.start_hub().await.expect("it starts");
    write(&province, "第五届").await;
    assert!(
        province.file("mirror").join("liandong-mirror").exists() && hub.data_dir.join("mirrors").exists()
    );
    let rounds = province.door(SiteCode::PROVINCE).await.list(AWARD_ROUND, &[]).await.expect("a list");
    assert_eq!(rounds.len(), 3, "and it goes on in the same mirror");
    province.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_older_than_the_log_are_noticed_before_anything_is_in_its_place() {
    let mut province = mirrored().await;
    let hub = province.hub().clone();
    let (old, new) = (path(&province, "old"), path(&province, "new"));
    json(&hub, &["backup", "create", &old, "--unencrypted", "--only-keys"]).await;
    json(&hub, &["signing-key", "rotate", "--yes"]).await;
    write(&province, "第一届").await;
    json(&hub, &["backup", "create", &new, "--unencrypted", "--only-keys"]).await;
    province.stop().await.expect("it stops");
    fs::remove_dir_all(&hub.data_dir).expect("lost");
    let mirror = path(&province, "mirror");
    let restore = |backup| ["backup", "restore", backup, "--mirror", &mirror, "--lang", "en"];
    check(&hub, refused(&hub, &restore(&old)).await, 3, "signing-key rotate");
    let told = json(&hub, &restore(&new)).await;
    assert!(hub.data_dir.join("mirrors").exists(), "its mount point is not taken for a new mirror");
    assert_eq!((&told["opened"], &told["records"]), (&true.into(), &1.into()));
    province.start_hub().await.expect("it starts");
    write(&province, "第二届").await;
    province.stop().await.expect("it stops");
}
