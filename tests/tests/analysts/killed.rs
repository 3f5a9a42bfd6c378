//! A hub that is killed while it publishes: the release is there as a whole, or not at all.

use std::time::Duration;

use liandong_proto::pb::record::v1 as pb;
use liandong_tests::cluster::put_of;
use liandong_tests::roster::SplitMix64;

use super::clients::column;
use super::study::{Study, person};
use crate::province::{GUANGZHOU, MEMBER};

/// Replays one run: `LIANDONG_TEST_SEED=7 cargo nextest run -p liandong-tests analysts::killed`.
const SEED: &str = "LIANDONG_TEST_SEED";
const ROUNDS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_dies_while_it_publishes_leaves_the_old_release_or_the_new_one() {
    let asked = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    for seed in asked.map_or(vec![1, 2], |seed| vec![seed]) {
        println!("replay with {SEED}={seed}");
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let mut random = SplitMix64::of(&[seed, 0x0F_0B]);
    let mut study = Study::published().await;
    let puts: Vec<_> = (0..2_000)
        .map(|n| put_of(MEMBER, None, &person(10_000 + n, pb::QualificationLevel::Assistant)))
        .collect();
    let door = study.province.door(GUANGZHOU).await;
    for some in puts.chunks(500) {
        door.put_all(some.to_vec()).await.expect("members");
    }
    drop(door);
    study.province.equal().await;
    let token = study.token("registrar", "secretariat").await;
    let dir = study.province.hub().data_dir.join("releases");
    let (mut last, mut cut, mut whole) = (1, 0, 0);
    for round in 0..ROUNDS {
        let home = study.province.hub().clone();
        let publishing = tokio::spawn(async move { home.command(&["release", "publish", "--json"]).await });
        // Some moment between the first file and the last.
        let begun = random.between(0, 30);
        let waiting = async {
            while begun_files(&dir) < begun && newest(&dir) == last {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it publishes");
        study.province.kill_hub().await.expect("it ends");
        let answered = publishing.await.expect("joined").expect("it ran").status.success();
        let is_there = newest(&dir) > last;
        assert!(is_there || !answered, "seed {seed}, round {round}: what was answered is there");
        study.province.start_hub().await.expect("it starts");
        last = newest(&dir);
        if is_there {
            whole += 1
        } else {
            cut += 1
        }
        let shown = study.asked(&["release", "show"]).await;
        assert_eq!(shown["release"], last, "seed {seed}, round {round}");
        let verified = study.asked(&["release", "verify"]).await;
        assert_eq!(verified["sound"], true, "seed {seed}, round {round}: {verified}");
        let mut client = study.client(&token).await;
        let expected = if last == 1 { study.members.len() } else { study.members.len() + 2_000 };
        let rows = column(&mut client, "SELECT count(*) FROM members").await;
        assert_eq!(rows, [expected.to_string()], "seed {seed}, round {round}");
    }
    println!("seed {seed}: {cut} were cut, {whole} were whole");
    assert!(cut > 0, "seed {seed}: none was cut");
    // A number that was used for one that was cut is not given again.
    assert!(study.publish("").await > last, "what was cut is in nobody's way");
    let again = study.asked(&["release", "verify", "--rebuild"]).await;
    assert_eq!(again["sound"], true, "{again}");
    let names: Vec<String> = std::fs::read_dir(&dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(names, [""; 0], "no part is left");
    study.stop().await;
}

/// The newest release that there is.
fn newest(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let number = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    entries.filter_map(number).max().expect("one")
}

/// How many files there are of one that is being made.
fn begun_files(dir: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    let parts = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part"));
    parts.map(|entry| files(&entry.path())).sum()
}

/// How many files there are below a directory.
fn files(dir: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some(if path.is_dir() { files(&path) } else { 1 })
        })
        .sum()
}
