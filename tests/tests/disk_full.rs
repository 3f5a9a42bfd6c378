//! A full disk at a city and at the hub: said clearly, nothing acknowledged is lost, and work goes on once there is room.
//!
//! The disk is a small tmpfs in a mount namespace of its own; where none can be made, the tests say why and end.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::cluster::{ClusterError, Home, id_of, put_of};

use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, PATIENCE, Province, copy, linked, member};

const MIB: usize = 1 << 20;
/// Room for what a site holds in these tests, and not for much more.
const SIZE: usize = 192 * MIB;
/// More than one segment of a log.
const MUCH: usize = 24 * MIB;

/// A disk that ends with this value.
struct Disk {
    holder: Child,
    dir: PathBuf,
    ballast: PathBuf,
}

impl Disk {
    /// `None` where this machine does not let anybody make one; why is printed.
    fn new(at: &Path) -> Option<Disk> {
        fs::create_dir_all(at).expect("a directory");
        let script = r#"mount -t tmpfs -o size="$1",mode=700 tmpfs "$0" && echo ready && exec cat"#;
        let holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .args([at.as_os_str(), SIZE.to_string().as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut holder = match holder {
            Ok(holder) => holder,
            Err(error) => {
                println!("skipped: no small disk can be made: unshare: {error}");
                return None;
            }
        };
        let mut said = String::new();
        let _ = BufReader::new(holder.stdout.take().expect("a pipe")).read_line(&mut said);
        if said.trim() != "ready" {
            let output = holder.wait_with_output().expect("it ends");
            println!(
                "skipped: no small disk can be made: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            return None;
        }
        // The holder's own view of the directory, from outside.
        let inside = at.strip_prefix("/").expect("an absolute path");
        let dir = Path::new("/proc").join(holder.id().to_string()).join("root").join(inside);
        Some(Disk { ballast: dir.join("ballast"), holder, dir })
    }

    /// Moves a site that does not run onto this disk.
    fn take_in(&self, home: &Home) {
        let there = self.dir.join("site");
        copy(&home.data_dir, &there);
        fs::remove_dir_all(&home.data_dir).expect("removed");
        std::os::unix::fs::symlink(&there, &home.data_dir).expect("linked");
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut ballast =
            fs::OpenOptions::new().create(true).append(true).open(&self.ballast).expect("a file");
        for piece in [vec![0x5a; MIB], vec![0x5a; 1024], vec![0x5a]] {
            while ballast.write_all(&piece).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(&self.ballast).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Writes members with long remarks until a site refuses or so many bytes are written: those that were saved, and why it
/// refused.
async fn write(province: &Province, from: u32, most: usize) -> (Vec<RecordId>, Option<String>) {
    let door = province.door(GUANGZHOU).await;
    let (mut saved, mut n, mut bytes) = (Vec::new(), from, 0);
    while bytes < most {
        let batch = (0..50).map(|_| {
            n += 1;
            let remarks = format!("备注{n} ").repeat(300);
            bytes += remarks.len();
            put_of(MEMBER, None, &pb::Member { remarks, ..member(n) })
        });
        let answer = tokio::time::timeout(PATIENCE, door.put_all(batch.collect())).await.expect("an answer");
        match answer {
            Ok(ids) => saved.extend(ids),
            Err(ClusterError::Status(status)) => return (saved, Some(status.message().to_owned())),
            Err(error) => panic!("{error}"),
        }
    }
    (saved, None)
}

async fn has_all(province: &Province, site: SiteCode, saved: &[RecordId]) {
    let shown = province.door(site).await.list(MEMBER, &[]).await.expect("a list");
    let shown: Vec<RecordId> = shown.iter().map(id_of).collect();
    let missing = saved.iter().filter(|record| !shown.contains(record)).count();
    assert_eq!(missing, 0, "of {} records {missing} are missing at {site}", saved.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_with_a_full_disk_says_so_loses_nothing_and_goes_on() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let Some(disk) = Disk::new(&province.file("disk")) else { return };
    province.stop_node(GUANGZHOU).await.expect("it stops");
    disk.take_in(province.node(GUANGZHOU));
    province.start_node(GUANGZHOU).await.expect("it starts");
    let (mut saved, refused) = write(&province, 0, MIB).await;
    assert_eq!(refused, None, "there is room");
    province.equal().await;

    disk.fill();
    let (more, refused) = write(&province, 10_000, MUCH).await;
    let refused = refused.expect("there is no room for all of it");
    assert!(refused.contains("disk full") && refused.contains("free"), "{refused}");
    println!("saved on a full disk: {}, then: {refused}", more.len());
    saved.extend(more);
    // Not even what the hub delivers can be taken in; sync waits.
    while let Ok(id) = province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await {
        saved.push(id);
    }
    let round = pb::AwardRound {
        year: 2026,
        title: "年度优秀社工评选".into(),
        categories: vec!["优秀一线社工".into()],
        ..pb::AwardRound::default()
    };
    province.door(SiteCode::PROVINCE).await.put(AWARD_ROUND, None, &round).await.expect("a round");
    linked(&province.door(GUANGZHOU).await, Link::Offline).await;
    let status = province.door(GUANGZHOU).await.status().await.expect("a status");
    assert!(status.link_en.contains("disk full") && status.link_zh.contains("磁盘已满"), "{status:?}");

    disk.free();
    let (more, refused) = write(&province, 20_000, MIB).await;
    assert_eq!(refused, None, "there is room again, without a restart");
    saved.extend(more);
    province.equal().await;
    has_all(&province, GUANGZHOU, &saved).await;
    has_all(&province, SiteCode::PROVINCE, &saved).await;

    province.stop_node(GUANGZHOU).await.expect("it stops");
    disk.fill();
    let refused = province.start_node(GUANGZHOU).await.expect_err("the disk is full").to_string();
    assert!(refused.contains("disk full") || refused.contains("磁盘"), "{refused}");
    disk.free();
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    has_all(&province, GUANGZHOU, &saved).await;
    assert!(province.door(GUANGZHOU).await.verify().await.expect("readable").sound);
    province.stop().await.expect("all stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_with_a_full_disk_says_so_loses_nothing_and_goes_on() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let Some(disk) = Disk::new(&province.file("disk")) else { return };
    province.stop_hub().await.expect("it stops");
    disk.take_in(province.hub());
    province.start_hub().await.expect("it starts");
    let (mut saved, _) = write(&province, 0, MIB).await;
    province.equal().await;

    disk.fill();
    let (more, refused) = write(&province, 10_000, MUCH).await;
    assert_eq!(refused, None, "the city does not notice");
    saved.extend(more);
    let log = province.hub().log.clone();
    let said = async {
        while !fs::read_to_string(&log).unwrap_or_default().contains("disk full") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, said).await.expect("the hub says so");
    let before = province.door(GUANGZHOU).await.status().await.expect("a status");
    assert!(before.confirmed_seq < before.head_seq, "no receipt for what is not durable");

    disk.free();
    province.equal().await;
    has_all(&province, SiteCode::PROVINCE, &saved).await;
    province.kill_hub().await.expect("it ends");
    province.start_hub().await.expect("it starts");
    province.equal().await;
    has_all(&province, SiteCode::PROVINCE, &saved).await;
    assert!(province.door(SiteCode::PROVINCE).await.verify().await.expect("readable").sound);
    province.stop().await.expect("all stop");
}
