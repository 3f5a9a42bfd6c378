//! Two processes on one data directory, and a copy of a data directory that runs beside the original.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1::Link;
use liandong_tests::cluster::{Door, Home, TIED};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::province::{GUANGZHOU, MEMBER, PATIENCE, Province, copy, linked, member, program};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_directory_is_refused_and_the_first_goes_on() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let id = province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    for site in [SiteCode::PROVINCE, GUANGZHOU] {
        let home: Home =
            if site.is_province() { province.hub().clone() } else { province.node(site).clone() };
        let pid = province.pid(site).expect("it runs").to_string();
        for command in ["run", "rebuild"] {
            let output = home.command(&[command]).await.expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{command} at {site}: {output:?}");
            assert!(said.contains(&pid), "{command} at {site} does not name the process {pid}: {said}");
        }
    }
    for site in [SiteCode::PROVINCE, GUANGZHOU] {
        let door = province.door(site).await;
        assert!(door.get(MEMBER, id).await.expect("readable").is_some(), "{site} goes on");
    }
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(2)).await.expect("another");
    province.equal().await;
    province.stop().await.expect("all stop");
}

/// Runs a node in a directory that is none of the cluster's.
async fn started(data_dir: &Path) -> (Child, Door) {
    let child = Command::new(program())
        .args(["site-node", TIED, "run", "--data-dir"])
        .arg(data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let opening = async {
        loop {
            if let Some(door) = Door::open(&data_dir.join("node.sock")).await {
                return door;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    (child, tokio::time::timeout(PATIENCE, opening).await.expect("in time"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_beside_the_original_is_noticed_and_one_command_decides() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    let first = province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let twin = province.file("twin");
    copy(&province.node(GUANGZHOU).data_dir, &twin);
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Connected).await;

    // Both run. The copy is told at once, and does not take the place of the original, which goes on.
    let (_child, copied) = started(&twin).await;
    linked(&copied, Link::Diverged).await;
    let status = copied.status().await.expect("a status");
    assert!(status.link_en.contains("takeover") && status.link_zh.contains("takeover"), "{status:?}");
    for n in [2, 4] {
        copied.put(MEMBER, None, &member(n)).await.expect("local work goes on");
    }
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(3)).await.expect("and at the original");
    province.equal().await;
    let at_hub = province.door(SiteCode::PROVINCE).await.list(MEMBER, &[]).await.expect("a list").len();
    assert_eq!(at_hub, 2, "what the copy wrote is not there");
    drop((copied, _child));

    // A person decides for the copy: it lives, and the original is told while the copy has its session.
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let taken = loop {
        let taken = Command::new(program())
            .args(["site-node", "takeover", "--yes", "--json", "--data-dir"])
            .arg(&twin)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("it runs");
        // The process that was killed may hold the directory for another moment.
        if taken.status.success() {
            break taken;
        }
        let said = String::from_utf8_lossy(&taken.stderr).into_owned();
        assert!(said.contains("in use"), "{said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let told: Value = serde_json::from_slice(&taken.stdout).expect("an object");
    assert_eq!((&told["fetched"], &told["again"]), (&1.into(), &2.into()), "{told}");
    let (_child, copied) = started(&twin).await;
    linked(&copied, Link::Connected).await;
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Diverged).await;
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(5)).await.expect("local work goes on");
    let hub = province.door(SiteCode::PROVINCE).await;
    let waiting = async {
        while hub.list(MEMBER, &[]).await.expect("a list").len() < 4 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("both copies' records are at the hub");
    assert!(hub.get(MEMBER, first).await.expect("readable").is_some());
    assert_eq!(
        hub.list(MEMBER, &[]).await.expect("a list").len(),
        4,
        "and nothing of whom it was decided against"
    );
}
