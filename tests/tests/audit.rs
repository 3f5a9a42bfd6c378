//! The audit log over real processes: who came, who was turned away, who read, at both ends and while they run.

use std::fs;
use std::path::Path;

use liandong_node::site::{Paths, RecoveryKey};
use liandong_node::trust;
use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::cluster::Home;
use serde_json::Value;

use crate::province::{GUANGZHOU, MEMBER, PATIENCE, Province, SHENZHEN, linked, member};

const NAME: &str = "欧阳若曦";
const MOBILE: &str = "13912345678";

async fn lines(home: &Home, args: &[&str]) -> Vec<Value> {
    let answer = home.answer(&[args, &["--json"]].concat()).await.expect("an answer");
    answer.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

/// What was recorded of these kinds: what, who, site.
async fn acts(home: &Home, what: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let records = lines(home, &["audit", "list", "--limit", "0", "--what", what]).await;
    records
        .iter()
        .map(|record| (text(&record["what"]), text(&record["who"]), text(&record["site"])))
        .collect()
}

/// Waits until so many acts were recorded.
async fn recorded(home: &Home, what: &str, count: usize) -> Vec<(String, String, String)> {
    let waiting = async {
        loop {
            let acts = acts(home, what).await;
            if acts.len() >= count {
                return acts;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {count} of {what}"))
}

fn act(what: &str, who: &str, site: &str) -> (String, String, String) {
    (what.into(), who.into(), site.into())
}

async fn sound(home: &Home) {
    for command in [&["audit", "verify"][..], &["verify"]] {
        let found = lines(home, command).await.pop().expect("an answer");
        assert_eq!(found["sound"], true, "{found}");
    }
}

fn holds(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(path).expect("a file");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_records_who_comes_who_goes_and_who_reads() {
    let mut province = Province::running(&[GUANGZHOU, SHENZHEN]).await;
    let person = pb::Member { name: NAME.into(), mobile: MOBILE.into(), ..member(1) };
    let id = province.door(GUANGZHOU).await.put(MEMBER, None, &person).await.expect("a member");
    province.equal().await;
    let hub = province.hub().clone();
    let mut joined = acts(&hub, "JOINED").await;
    joined.sort();
    let both = ["440100", "440300"];
    assert_eq!(joined, both.map(|site| act("JOINED", &format!("city {site}"), site)));
    assert_eq!(acts(&hub, "INVITED").await.len(), 2);
    let mut signed_in = recorded(&hub, "SIGNED_IN", 2).await;
    signed_in.sort();
    assert_eq!(signed_in, both.map(|site| act("SIGNED_IN", &format!("city {site}"), site)));

    let show =
        ["record", "show", &id.to_string(), "--kind", "member", "--author", "officer-3", "--purpose", "抽查"];
    for home in [&hub, province.node(GUANGZHOU)] {
        assert!(home.answer(&show).await.expect("shown").contains(NAME));
        let read = lines(home, &["audit", "list", "--who", "officer-3", "--what", "READ"]).await;
        let told = ["kind", "purpose", "via"].map(|name| read[0][name].as_str().unwrap_or_default());
        assert_eq!((told, &read[0]["count"]), (["member", "抽查", "socket"], &1.into()), "{read:?}");
    }

    // A code that nobody gave out; a city that was cut off and does not know when to stop.
    let invited = province.invited("440300").await;
    province.node(SHENZHEN).answer(&["join", &invited]).await.expect("joined again");
    let output = province.node(SHENZHEN).command(&["join", &invited]).await.expect("it runs");
    assert_eq!(output.status.code(), Some(6), "used");
    hub.answer(&["city", "revoke", "440100", "--reason", "密钥遗失", "--author", "officer-3"])
        .await
        .expect("revoked");
    linked(&province.door(GUANGZHOU).await, Link::Refused).await;
    let void = province.membership(GUANGZHOU);
    trust::renew(
        trust::endpoint(&void.hub, &void).expect("an address").connect().await.expect("TLS"),
        void.clone(),
        &Paths::new(&province.node(GUANGZHOU).data_dir),
    )
    .await
    .expect_err("a void certificate");
    assert_eq!(acts(&hub, "REVOKED").await, [act("REVOKED", "officer-3", "440100")]);
    let refused = recorded(&hub, "REFUSED", 2).await;
    assert!(refused.contains(&act("REFUSED", "city 440100", "440100")), "{refused:?}");
    assert!(refused.contains(&act("REFUSED", "", "440300")), "{refused:?}");

    sound(&hub).await;
    sound(province.node(GUANGZHOU)).await;
    province.stop().await.expect("all stop");
    for home in [&hub, province.node(GUANGZHOU)] {
        let lives: Vec<String> = acts(home, "STARTED,STOPPED").await.into_iter().map(|act| act.0).collect();
        assert_eq!(lives, ["STARTED", "STOPPED"]);
        sound(home).await;
        let audit = Paths::new(&home.data_dir).audit();
        assert!(holds(&audit, "officer-3"), "the search finds what is there");
        assert!(!holds(&audit, NAME) && !holds(&audit, MOBILE));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_that_was_begun_anew_does_not_fit_the_sites_log() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    province.equal().await;
    // A second start, so that both logs tell of the first one.
    province.stop().await.expect("all stop");
    province.start_hub().await.expect("the hub starts");
    province.start_node(GUANGZHOU).await.expect("the node starts");
    province.equal().await;
    province.stop().await.expect("all stop");
    for home in [province.hub(), province.node(GUANGZHOU)] {
        sound(home).await;
        fs::remove_dir_all(Paths::new(&home.data_dir).audit()).expect("removed");
        assert_eq!(lines(home, &["audit", "verify"]).await[0]["sound"], true, "it begins anew");
        let output = home.command(&["verify", "--json"]).await.expect("it runs");
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("audit log: "), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_that_fetches_its_entries_is_recorded_at_both_ends() {
    let mut province = Province::running(&[GUANGZHOU]).await;
    province.door(GUANGZHOU).await.put(MEMBER, None, &member(1)).await.expect("a member");
    province.equal().await;
    let dir = province.node(GUANGZHOU).data_dir.clone();
    let key = RecoveryKey::of(&Paths::new(&dir)).expect("a key").to_string();
    province.kill_node(GUANGZHOU).await.expect("it dies");
    fs::remove_dir_all(&dir).expect("and is lost");
    fs::create_dir_all(&dir).expect("a new one");
    let (code, file) = (province.invited("440100").await, province.file("recovery.key"));
    fs::write(&file, key).expect("written");
    let file = file.display().to_string();
    let restore = ["restore", &code, "--site", "440100", "--recovery-key", &file, "--author", "it-1"];
    province.node(GUANGZHOU).answer(&restore).await.expect("restored");
    assert_eq!(acts(province.node(GUANGZHOU), "RESTORED").await, [act("RESTORED", "it-1", "")]);
    let fetched = recorded(province.hub(), "FETCHED", 1).await;
    assert_eq!(fetched, [act("FETCHED", "city 440100", "440100")]);
    province.stop().await.expect("all stop");
}
