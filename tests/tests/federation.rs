//! `federation` itself: what it prints, what it writes down, and that nothing of it outlives it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use liandong_tests::roster::Plan;
use serde_json::Value;
use tokio::process::Command;

use crate::province::program;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn pids(endpoints: &Value) -> Vec<u64> {
    let cities = endpoints["cities"].as_array().into_iter().flatten();
    cities.chain([&endpoints["hub"]]).filter_map(|site| site["pid"].as_u64()).collect()
}

/// Whether a process is there and has not ended.
fn lives(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_equal_records_and_says_how_many() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out");
    let mut command = Command::new(program());
    command.args(["--cities", "3", "--members", "40", "--seed", "7", "--exit", "--json", "--out"]).arg(&out);
    let output = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let expected =
        Plan { cities: 3, members: 120, seed: 7 }.write(&dir.path().join("again")).expect("rosters");
    assert_eq!(report["equal"], true);
    for (city, roster) in report["cities"].as_array().expect("cities").iter().zip(&expected) {
        assert_eq!(city["code"], roster.code.to_string());
        assert_eq!(
            (city["rows"].as_u64(), city["rejected"].as_u64()),
            (Some(roster.rows as u64), Some(roster.bad_rows as u64))
        );
        assert_eq!(
            city["records"].as_u64(),
            Some(roster.people as u64 + 4),
            "members, nominations and a case"
        );
        assert_eq!(city["merged"], city["records"]);
        assert_eq!(city["lag_changes"], 0);
    }
    assert_eq!(report["province"]["kinds"]["award_round"], 1);
    assert_eq!(report["cities"][2]["findings"], 3, "{said}");
    let endpoints = read(&out.join("federation.json")).expect("the endpoints");
    assert!(endpoints["hub"]["sync"].as_str().is_some_and(|url| url.starts_with("https://127.0.0.1:")));
    assert!(Path::new(endpoints["cities"][1]["roster"].as_str().expect("a path")).is_file());
    assert_eq!(pids(&endpoints).len(), 4);
    assert!(pids(&endpoints).into_iter().all(|pid| !lives(pid)), "no child is left");

    let again = command.output().await.expect("it runs");
    assert_eq!(again.status.code(), Some(2), "a directory that is in use is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_sites_end_with_it_even_when_it_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let rosters = dir.path().join("rosters");
    Plan { cities: 2, members: 20, seed: 3 }.write(&rosters).expect("rosters");
    let out = dir.path().join("out");
    let mut running = Command::new(program())
        .arg("--rosters")
        .arg(&rosters)
        .arg("--out")
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let waiting = async {
        let pids = loop {
            match read(&out.join("federation.json")) {
                Some(endpoints) if pids(&endpoints).len() == 3 => break pids(&endpoints),
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        running.kill().await.expect("killed");
        while pids.iter().any(|pid| lives(*pid)) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("all sites end with it");
}
