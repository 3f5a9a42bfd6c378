//! `doctor` finds what is wrong and says what to do; where it could not look it says that.

use std::fs;
use std::path::{Path, PathBuf};

use liandong_node::cli::doctor::CHECKS;
use liandong_node::cli::doctor::codes::{CODES, page};
use liandong_node::log::segment_path;
use liandong_node::site::Paths;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::node::v1::Link;
use liandong_tests::cluster::Home;
use serde_json::Value;

use crate::backup::json;
use crate::province::{GUANGZHOU, MEMBER, Province, linked, member};

const BLESS: &str = "LIANDONG_BLESS";

#[test]
fn every_code_stands_on_the_page_as_the_program_says_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/doctor.md");
    let text = fs::read_to_string(&path).expect("the page");
    let (head, codes) = text.split_once("## Codes\n\n").expect("a section of codes");
    if std::env::var_os(BLESS).is_some() {
        fs::write(&path, format!("{head}## Codes\n\n{}", page())).expect("written");
        return;
    }
    let missing: Vec<&str> = CODES
        .iter()
        .map(|code| code.name)
        .filter(|name| !codes.contains(&format!("### `{name}`\n")))
        .collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}; {BLESS}=1 writes them");
    assert!(codes == page(), "the page says something else than the program; {BLESS}=1 writes it anew");
    for (_, label) in CHECKS {
        assert!(head.contains(&format!("| {} |", label.en)), "{} is no row of the table", label.en);
    }
}

/// Exit code and answer.
async fn doctor(home: &Home, flags: &[&str]) -> (i32, Value) {
    let output = home.command(&[&["doctor", "--json"], flags].concat()).await.expect("it runs");
    let answer = serde_json::from_slice(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), answer.unwrap_or_else(|error| panic!("{error}: {said}")))
}

fn found(answer: &Value) -> Vec<&str> {
    let findings = answer["findings"].as_array().expect("findings");
    findings.iter().filter_map(|finding| finding["code"].as_str()).collect()
}

fn not_done(answer: &Value) -> Vec<&str> {
    let checks = answer["checks"].as_array().expect("checks").iter();
    checks.filter(|it| it["result"] == "not_done").filter_map(|it| it["check"].as_str()).collect()
}

fn fine(answer: &Value) -> Vec<&str> {
    let checks = answer["checks"].as_array().expect("checks").iter();
    checks.filter(|it| it["result"] == "fine").filter_map(|it| it["check"].as_str()).collect()
}

/// Where the small disks of a test machine are no finding of the test's.
fn without_disk(mut codes: Vec<&str>) -> Vec<&str> {
    codes.retain(|code| !["DISK_LOW", "MIRROR_DISK_LOW", "MIRROR_DISK_FULL"].contains(code));
    codes
}

async fn backed_up(home: &Home, file: &Path, flags: &[&str]) {
    let file = file.display().to_string();
    json(home, &[&["backup", "create", &file, "--unencrypted"], flags].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_well_is_told_so_while_it_runs_and_while_it_is_stopped() {
    let mut province = Province::made(&[GUANGZHOU]).await;
    let other_disk = PathBuf::from("/dev/shm").is_dir().then(|| tempfile::tempdir_in("/dev/shm"));
    let other_disk = other_disk.and_then(Result::ok);
    province.mirror(other_disk.as_ref().map(|dir| dir.path().to_path_buf()));
    province.start_hub().await.expect("it starts");
    province.start_nodes().await.expect("they start");
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    let (hub, node) = (province.hub().clone(), province.node(GUANGZHOU).clone());
    let (_, answer) = doctor(&hub, &[]).await;
    assert!(found(&answer).contains(&"HUB_NO_BACKUP"), "{answer}");
    let (_, answer) = doctor(&node, &[]).await;
    assert!(found(&answer).contains(&"NO_BACKUP"), "{answer}");
    // Keys alone are no backup, but with a mirror; nor are records alone.
    for (home, name) in [(&hub, "hub.keys"), (&node, "node.keys")] {
        backed_up(home, &province.file(name), &["--only-keys"]).await;
    }
    let (_, answer) = doctor(&hub, &["--quick"]).await;
    assert_eq!(found(&answer).contains(&"HUB_NO_BACKUP"), other_disk.is_none(), "{answer}");
    let (_, answer) = doctor(&node, &["--quick"]).await;
    assert!(found(&answer).contains(&"NO_BACKUP"), "{answer}");
    fs::remove_file(node.data_dir.join("backup.keys")).expect("forgotten");
    backed_up(&node, &province.file("node.records"), &["--without-keys"]).await;
    let (code, answer) = doctor(&node, &["--quick"]).await;
    assert!(code == 1 && found(&answer).contains(&"KEYS_NOT_BACKED_UP"), "{answer}");
    for (home, name) in [(&hub, "hub.backup"), (&node, "node.backup")] {
        backed_up(home, &province.file(name), &[]).await;
    }
    let (code, answer) = doctor(&node, &[]).await;
    assert_eq!(without_disk(found(&answer)), [] as [&str; 0], "{answer}");
    if found(&answer).is_empty() {
        assert_eq!((code, &answer["sound"], &answer["running"]), (0, &true.into(), &true.into()));
    }
    for check in ["clock", "log", "audit", "index", "sync", "held", "certificate", "backup"] {
        assert!(fine(&answer).contains(&check), "{check}: {answer}");
    }
    let (_, answer) = doctor(&hub, &[]).await;
    let expected: &[&str] = if other_disk.is_some() { &[] } else { &["NO_MIRROR"] };
    assert_eq!(without_disk(found(&answer)), expected, "{answer}");
    for check in ["clock", "log", "audit", "index", "held", "cities", "backup"] {
        assert!(fine(&answer).contains(&check), "{check}: {answer}");
    }
    let (_, answer) = doctor(&hub, &["--quick"]).await;
    assert!(not_done(&answer).contains(&"log") && not_done(&answer).contains(&"index"), "{answer}");

    province.stop().await.expect("they stop");
    let (_, answer) = doctor(&node, &[]).await;
    assert_eq!((&answer["running"], without_disk(found(&answer)).len()), (&false.into(), 0), "{answer}");
    assert_eq!(not_done(&answer), ["clock", "sync"], "it says what it could not do: {answer}");
    assert!(fine(&answer).contains(&"log") && fine(&answer).contains(&"index"), "{answer}");
    let (_, answer) = doctor(&hub, &[]).await;
    assert_eq!((&answer["running"], without_disk(found(&answer))), (&false.into(), expected.to_vec()));
    let checks = answer["checks"].as_array().expect("checks").iter();
    assert_eq!(checks.filter(|it| it["check"] == "cities").count(), 1, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_site_that_runs_is_found() {
    let mut province = Province::made(&[GUANGZHOU]).await;
    let mirror = province.file("mirror");
    fs::create_dir(&mirror).expect("made");
    province.mirror(Some(mirror.clone()));
    province.start_hub().await.expect("it starts");
    province.start_nodes().await.expect("they start");
    province.equal().await;
    let (hub, node) = (province.hub().clone(), province.node(GUANGZHOU).clone());
    let (code, answer) = doctor(&hub, &["--quick"]).await;
    assert!(code == 1 && found(&answer).contains(&"MIRROR_SAME_DISK"), "{answer}");
    fs::rename(&mirror, province.file("unmounted")).expect("gone");
    let (code, said) = crate::backup::refused(&hub, &["city", "invite", "nowhere"]).await;
    assert!(code != 0, "{said}");
    let failed = async {
        loop {
            let (code, answer) = doctor(&hub, &["--quick"]).await;
            if found(&answer).contains(&"MIRROR_NOT_WRITTEN") {
                return (code, answer);
            }
        }
    };
    let (code, answer) =
        tokio::time::timeout(crate::province::PATIENCE, failed).await.expect("it is noticed");
    assert_eq!((code, &answer["sound"]), (1, &false.into()), "{answer}");
    let checked = hub.command(&["status", "--check"]).await.expect("it runs");
    assert_eq!(checked.status.code(), Some(1), "a watchdog hears of it too");

    // A node without its hub, and one that has parted from it.
    province.stop_hub().await.expect("it stops");
    linked(&province.door(GUANGZHOU).await, Link::Offline).await;
    let (code, answer) = doctor(&node, &["--quick"]).await;
    assert!(code == 1 && found(&answer).contains(&"LINK_OFFLINE"), "{answer}");
    fs::rename(province.file("unmounted"), &mirror).expect("mounted");
    province.start_hub().await.expect("it starts");
    province.stop_node(GUANGZHOU).await.expect("it stops");
    let twin = province.file("twin");
    crate::province::copy(&node.data_dir, &twin);
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Connected).await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    fs::remove_dir_all(&node.data_dir).expect("lost");
    fs::rename(twin, &node.data_dir).expect("put back");
    province.start_node(GUANGZHOU).await.expect("it starts");
    linked(&province.door(GUANGZHOU).await, Link::Diverged).await;
    let (code, answer) = doctor(&node, &["--quick"]).await;
    assert!(code == 1 && found(&answer).contains(&"LINK_DIVERGED"), "{answer}");
    // The hub was restored, and nobody has looked.
    province.hub().answer(&["restored"]).await.expect("said");
    let (code, answer) = doctor(&hub, &["--quick"]).await;
    assert!(code == 1 && found(&answer).contains(&"HUB_UNCONFIRMED"), "{answer}");
}

/// A hub that does not open cannot say that it has a mirror, with which its keys are backup enough; its settings can.
async fn backup_counts_by_the_settings(hub: &Home) {
    let (_, answer) = doctor(hub, &["--quick"]).await;
    assert!(found(&answer).contains(&"HUB_NO_BACKUP"), "{answer}");
    let settings = hub.data_dir.join("config.toml");
    let before = fs::read_to_string(&settings).unwrap_or_default();
    fs::write(&settings, format!("mirror = \"/srv/mirror\"\n{before}")).expect("written");
    let (_, answer) = doctor(hub, &["--quick"]).await;
    assert!(!found(&answer).contains(&"HUB_NO_BACKUP") && fine(&answer).contains(&"backup"), "{answer}");
    fs::write(&settings, before).expect("as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_damaged_is_found_although_the_site_does_not_open() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    for n in 0..20 {
        province.door(GUANGZHOU).await.put(MEMBER, None, &member(n)).await.expect("a member");
    }
    province.equal().await;
    province.stop().await.expect("they stop");
    backed_up(province.hub(), &province.file("hub.keys"), &["--only-keys"]).await;
    for site in [GUANGZHOU, SiteCode::PROVINCE] {
        let home = if site.is_province() { province.hub() } else { province.node(site) };
        let path = segment_path(&Paths::new(&home.data_dir).log(), 1);
        let whole = fs::read(&path).expect("read");
        let mut flipped = whole.clone();
        // Within the first kilobyte stands a record that is durable.
        flipped[500] ^= 1;
        fs::write(&path, flipped).expect("damaged");
        let before = fs::read(&path).expect("read");
        if site.is_province() {
            backup_counts_by_the_settings(home).await;
        }
        let (code, answer) = doctor(home, &[]).await;
        let codes = found(&answer);
        assert!(codes.contains(&"SITE_NOT_OPEN") && codes.contains(&"LOG_DAMAGED"), "{answer}");
        assert_eq!((code, &answer["sound"]), (1, &false.into()));
        assert!(not_done(&answer).contains(&"index") && fine(&answer).contains(&"audit"), "{answer}");
        assert!(fs::read(&path).expect("read") == before, "it is only looked at");
        fs::write(&path, whole).expect("mended");
        let (_, answer) = doctor(home, &[]).await;
        assert!(!found(&answer).contains(&"SITE_NOT_OPEN"), "{answer}");
    }
}
