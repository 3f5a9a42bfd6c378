//! Every read stands in the audit log: who, for what purpose, which tables, how many rows; no statement and no value.

use liandong_proto::pb::record::v1 as pb;
use serde_json::Value;

use super::clients::{asked, refusal, rows};
use super::study::Study;
use crate::province::PATIENCE;

/// What was recorded of a token, oldest first: what, detail, rows, purpose.
async fn recorded(study: &Study, who: &str) -> Vec<(String, String, u64, String)> {
    let args = ["audit", "list", "--limit", "0", "--who", who, "--json"];
    let answer = study.province.hub().answer(&args).await.expect("an answer");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = answer.lines().map(|line| {
        let it: Value = serde_json::from_str(line).expect("an object");
        assert_eq!(it["via"], "tcp");
        (
            text(&it["what"]),
            text(&it["detail"]),
            it["count"].as_u64().unwrap_or_default(),
            text(&it["purpose"]),
        )
    });
    each.collect()
}

/// Waits for the newest record: a read is recorded once its answer is over.
async fn newest(study: &Study, who: &str, count: usize) -> (String, String, u64, String) {
    let waiting = async {
        loop {
            let mut all = recorded(study, who).await;
            if all.len() == count {
                return all.pop().expect("one");
            }
            assert!(all.len() < count, "{all:?}");
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {count} of {who}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_read_is_recorded_with_its_purpose_and_without_what_was_read() {
    let study = Study::published().await;
    let name = &study.members[0].2.name;
    let token = study.token("registrar", "thesis").await;
    let mut client = study.client(&token).await;
    let read = |detail: &str, rows: u64| ("READ".to_owned(), detail.to_owned(), rows, "行业调查".to_owned());
    let who = "token:thesis";

    let by_name = format!("SELECT * FROM members WHERE name = '{name}'");
    assert_eq!(asked(&mut client, &by_name).await.len(), 1);
    assert_eq!(newest(&study, who, 1).await, read("sql members", 1));
    let joined = "SELECT m.record_id FROM r000001.nominations n JOIN members m ON m.record_id = n.member \
                  WHERE EXISTS (SELECT 1 FROM cases c WHERE c.respondent <> m.record_id)";
    assert_eq!(asked(&mut client, joined).await.len(), 1);
    assert_eq!(newest(&study, who, 2).await, read("sql cases members r000001.nominations", 1));
    // Of a view it is the tables that it reads.
    asked(&mut client, "SELECT * FROM duplicates").await;
    assert_eq!(newest(&study, who, 3).await, read("sql members", 1));
    let mut prepared = client.prepare("SELECT count(*) FROM members".into(), None).await.expect("prepared");
    let info = prepared.execute().await.expect("run");
    super::clients::fetched(&mut client, info).await.expect("answered");
    assert_eq!(newest(&study, who, 4).await, read("sql members", 1));
    // One that fails after it has begun has read as well.
    refusal(rows(&mut client, "SELECT CAST(name AS INT) FROM members").await);
    assert_eq!(newest(&study, who, 5).await, read("sql members", 0));

    let https = study.https(&token);
    let people = study.members.len() as u64;
    let csv = https.get("/releases/latest/members.csv").await;
    assert_eq!(newest(&study, who, 6).await, read("download members.csv", people));
    // Whoever has it already reads nothing.
    let tag = csv.header("etag").to_owned();
    assert_eq!(
        https.ask("GET", "/releases/latest/members.csv", &[("if-none-match", &tag)]).await.status,
        304
    );
    let (city, id, _) = study.members[3].clone();
    let edit = pb::Member { cpd_hours: Some(74), ..pb::Member::default() };
    study.province.door(city).await.put(crate::province::MEMBER, Some(id), &edit).await.expect("an edit");
    study.province.equal().await;
    study.publish("").await;
    https.get("/releases/latest/changes/members.parquet?since=1").await;
    assert_eq!(newest(&study, who, 7).await, read("changes of members", 1));

    // Who is turned away is recorded as well, by name where there is one.
    study.asked(&["token", "revoke", "thesis"]).await;
    assert_eq!(https.get("/releases").await.status, 401);
    let (what, detail, ..) = newest(&study, who, 8).await;
    assert_eq!((what.as_str(), detail.as_str()), ("REFUSED", "token revoked"));

    // So is who gave it out, and who revoked it.
    for (what, at) in [("TOKEN_MADE", 1), ("TOKEN_REVOKED", 1)] {
        let args = ["audit", "list", "--limit", "0", "--what", what, "--json"];
        let listed = study.province.hub().answer(&args).await.expect("an answer");
        assert_eq!(listed.lines().count(), at, "{listed}");
        let it: Value = serde_json::from_str(listed.trim()).expect("an object");
        assert_eq!((&it["detail"], &it["count"]), (&"thesis".into(), &1.into()));
        assert!(it["peer"].as_str().is_some_and(|peer| peer.starts_with("uid:")), "{it}");
    }

    // Publishing is recorded as well.
    let args = ["audit", "list", "--limit", "0", "--what", "EXPORTED", "--json"];
    let published = study.province.hub().answer(&args).await.expect("an answer");
    let mut published: Vec<Value> =
        published.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    published.sort_by_key(|it| it["number"].as_u64());
    let told: Vec<&Value> = published.iter().map(|it| &it["detail"]).collect();
    assert_eq!(told, ["release 1", "release 2"]);

    // Neither a statement nor a value of it, nor a token.
    let all = study.province.hub().answer(&["audit", "list", "--limit", "0", "--json"]).await.expect("all");
    for text in [name.as_str(), "SELECT", "CAST", token.as_str(), &token[5..]] {
        assert!(!all.contains(text), "{text} stands in the audit log");
    }
    study.forbidden("registrar").check(all.as_bytes(), "the audit log");
    assert_eq!(study.asked(&["audit", "verify"]).await["sound"], true);
    // And the hub's own log, of which a failed query is part.
    let log = std::fs::read(&study.province.hub().log).expect("a log");
    study.forbidden("analyst").check(&log, "the hub's log");
    assert!(!String::from_utf8_lossy(&log).contains("SELECT"), "no statement in the log");
    study.stop().await;
}
