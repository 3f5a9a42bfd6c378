//! Steps back: a directory that a newer program has worked in is refused by name and left as it is, or, where the layout
//! is the same, used with a word about it.

use std::fs;
use std::path::Path;

use liandong_node::site::LAYOUT;
use liandong_tests::cluster::Home;

use super::pack;
use crate::province::{GUANGZHOU, MEMBER, PATIENCE, Province, member};

/// Everything in a directory but what any look at it leaves.
fn contents(home: &Home) -> Vec<u8> {
    pack::pack(&home.data_dir, |path| path != "LOCK")
}

/// What a command says that ends in the exit code of wrong settings: the service manager then does not start the site
/// again and again.
async fn refused(home: &Home, args: &[&str]) -> String {
    let ended = tokio::time::timeout(PATIENCE, home.command(args)).await;
    let ended = ended.unwrap_or_else(|_| panic!("{args:?} at {} goes on", home.site)).expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{args:?} at {}: {said}", home.site);
    said
}

/// Commands that would open the site: none does, and nothing is changed.
async fn check_refused(home: &Home, zh: &[&str], en: &[&str]) {
    let before = contents(home);
    let commands: [&[&str]; 6] = [
        &["run"],
        &["status"],
        &["verify"],
        &["rebuild"],
        &["record", "list", "--kind", "member"],
        &["audit", "list"],
    ];
    for (lang, words) in [("zh", zh), ("en", en)] {
        for command in commands {
            let said = refused(home, &[command, &["--lang", lang]].concat()).await;
            for word in words {
                assert!(said.contains(word), "{command:?} at {}: {said}", home.site);
            }
            assert!(contents(home) == before, "{command:?} at {} changes the directory", home.site);
        }
    }
}

async fn with_a_member() -> Province {
    let mut province = Province::running(&[GUANGZHOU]).await;
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    province.stop().await.expect("both stop");
    province
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_newer_layout_is_refused_and_left_as_it_is() {
    let mut province = with_a_member().await;
    let newer = format!("{} 99.0.0\n", LAYOUT + 1);
    let mut before = Vec::new();
    for home in [province.hub(), province.node(GUANGZHOU)] {
        let layout = home.data_dir.join("layout");
        before.push((layout.clone(), fs::read_to_string(&layout).expect("there is one")));
        fs::write(&layout, &newer).expect("written");
        let (found, known) = (format!("layout {}", LAYOUT + 1), format!("up to {LAYOUT}"));
        let zh = ["属于更新的版本（99.0.0）", "没有启动，也没有改动", "请放回升级前的备份"];
        check_refused(home, &zh, &["newer version (99.0.0)", &found, &known, "the backup from before"]).await;
    }
    for (layout, text) in before {
        fs::write(layout, text).expect("written");
    }
    province.start_hub().await.expect("the hub starts");
    province.start_nodes().await.expect("the node starts");
    province.equal().await;
    province.stop().await.expect("both stop");
}

/// Puts another format version into the header of the newest segment of a log.
fn newer_segment(home: &Home) {
    let log = home.data_dir.join("log");
    let mut segments: Vec<_> =
        fs::read_dir(log).expect("a log").map(|entry| entry.expect("an entry").path()).collect();
    segments.retain(|path| path.extension() == Some("log".as_ref()));
    segments.sort();
    let newest: &Path = segments.last().expect("a segment");
    let mut bytes = fs::read(newest).expect("readable");
    bytes[8..12].copy_from_slice(&7u32.to_be_bytes());
    fs::write(newest, bytes).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_newer_format_is_refused_where_the_layout_was_lost() {
    let province = with_a_member().await;
    for home in [province.hub(), province.node(GUANGZHOU)] {
        fs::remove_file(home.data_dir.join("layout")).expect("there was one");
        newer_segment(home);
        let log = || pack::pack(&home.data_dir, |path| path.starts_with("log/"));
        let before = log();
        for (lang, words) in [("zh", "日志格式为 7"), ("en", "newer version: log format 7")] {
            let said = refused(home, &["run", "--lang", lang]).await;
            assert!(said.contains(words), "{said}");
            assert!(log() == before, "the log of {} is changed", home.site);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_back_within_a_layout_goes_on_and_says_so() {
    let mut province = with_a_member().await;
    let noted = format!("{LAYOUT} 99.0.0\n");
    for home in [province.hub(), province.node(GUANGZHOU)] {
        fs::write(home.data_dir.join("layout"), &noted).expect("written");
    }
    province.start_hub().await.expect("the hub starts");
    province.start_nodes().await.expect("the node starts");
    province.equal().await;
    province.stop().await.expect("both stop");
    for home in [province.hub(), province.node(GUANGZHOU)] {
        let said = fs::read_to_string(&home.log).expect("readable");
        assert!(
            said.contains("a newer version has worked in this directory") && said.contains("99.0.0"),
            "{said}"
        );
        // The newest stays noted.
        assert_eq!(fs::read_to_string(home.data_dir.join("layout")).expect("readable"), noted);
    }
}
