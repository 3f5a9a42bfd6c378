//! Metrics: OpenMetrics as its text format has it, and nothing personal in them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use super::study::Study;

/// What a line says: its family, labels, value. Fails at whatever the format does not allow.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("# EOF\n"), "it says where it ends");
    let (mut kinds, mut samples) = (BTreeMap::new(), BTreeMap::new());
    let mut done = BTreeSet::new();
    let mut current = String::new();
    for line in text.strip_suffix("# EOF\n").expect("an end").lines() {
        if let Some(told) = line.strip_prefix("# ") {
            let mut words = told.splitn(3, ' ');
            let (what, family, rest) = (words.next(), words.next().expect("a family"), words.next());
            if family != current {
                assert!(done.insert(current.clone()), "{current} stands in two places");
                family.clone_into(&mut current);
            }
            match what {
                Some("TYPE") => {
                    let kind = rest.expect("a type").to_owned();
                    assert!(["counter", "gauge", "histogram"].contains(&kind.as_str()), "{line}");
                    assert!(kinds.insert(family.to_owned(), kind).is_none(), "{line} for the second time");
                }
                Some("UNIT") => assert!(family.ends_with(&format!("_{}", rest.expect("a unit"))), "{line}"),
                Some("HELP") => assert!(rest.is_some_and(|help| help.ends_with('.')), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let plain = name.split('{').next().expect("a name");
        assert!(plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
        let family = plain
            .strip_suffix("_total")
            .filter(|family| kinds.get(*family).is_some_and(|it| it == "counter"));
        let family = family.unwrap_or(plain);
        assert_eq!(family, current, "{line} stands under its family");
        let is_counter = kinds.get(family).unwrap_or_else(|| panic!("{line} has no type")) == "counter";
        assert_eq!(is_counter, plain.ends_with("_total"), "{line}");
        if let Some(labels) = name.strip_prefix(plain).filter(|labels| !labels.is_empty()) {
            let labels = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("labels");
            let is_site = labels.strip_prefix("site=\"").and_then(|rest| rest.strip_suffix('"'));
            assert!(is_site.is_some_and(|site| site.len() == 6 && site.starts_with("44")), "{line}");
        }
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "{line} for the second time");
    }
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_as_openmetrics_has_them() {
    let study = Study::published().await;
    let https = study.https(&study.token("analyst", "prometheus").await);
    // As Prometheus asks.
    let takes = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5";
    let answer = https.ask("GET", "/metrics", &[("accept", takes)]).await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let text = answer.text();
    let found = samples(&text);
    assert_eq!(found["liandong_release_latest"], 1.0);
    assert_eq!(found["liandong_city_connected{site=\"440100\"}"], 1.0);
    assert_eq!(found["liandong_city_connected{site=\"445300\"}"], 0.0);
    assert!(found["liandong_commits_total"] > 0.0 && found["liandong_commit_sync_seconds_total"] > 0.0);
    assert!(found["liandong_city_open_findings{site=\"440100\"}"] >= 1.0);
    assert!(found["liandong_city_last_received_seconds{site=\"440300\"}"] > 1.7e9);
    assert_eq!(found.keys().filter(|name| name.starts_with("liandong_city_connected")).count(), 21);
    study.forbidden("public").check(text.as_bytes(), "the metrics");

    // As anything else asks: the same, in the format of before.
    let answer = https.get("/metrics").await;
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    let comments: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert!(comments.contains(&"# TYPE liandong_commits_total counter"), "{comments:?}");
    assert!(
        comments.iter().all(|line| line.starts_with("# HELP ") || line.starts_with("# TYPE ")),
        "{comments:?}"
    );
    let names = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    assert_eq!(names(&text), found.keys().cloned().collect());
    study.forbidden("public").check(text.as_bytes(), "the metrics");

    let checked = tokio::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    match checked {
        Err(_) => println!("skipped: there is no promtool on the PATH"),
        Ok(mut child) => {
            let mut stdin = child.stdin.take().expect("a pipe");
            stdin.write_all(text.as_bytes()).await.expect("taken");
            drop(stdin);
            let output = child.wait_with_output().await.expect("it ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    study.stop().await;
}
