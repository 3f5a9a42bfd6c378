//! Publishing, and looking at what was published: by command line, while the province goes on.

use liandong_proto::id::SiteCode;
use liandong_proto::pb::record::v1 as pb;
use serde_json::Value;

use super::study::{CITIES, Study, person};
use crate::province::{GUANGZHOU, MEMBER, SHENZHEN};

/// Every release is what was published, and comes out the same from the log.
async fn made_again(study: &Study, releases: u64) {
    for release in 1..=releases {
        for flags in [&[][..], &["--rebuild"]] {
            let number = release.to_string();
            let found = study.asked(&[&["release", "verify", &number][..], flags].concat()).await;
            assert_eq!(found["sound"], true, "{found}");
        }
    }
}

async fn one_more(study: &Study, city: SiteCode, n: u32) {
    let member = person(n, pb::QualificationLevel::Senior);
    study.province.door(city).await.put(MEMBER, None, &member).await.expect("a member");
    study.province.equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_listed_shown_compared_and_made_again() {
    let study = Study::published().await;
    one_more(&study, GUANGZHOU, 902).await;
    let (city, id, _) = study.members[0].clone();
    let edit = pb::Member { cpd_hours: Some(75), ..pb::Member::default() };
    study.province.door(city).await.put(MEMBER, Some(id), &edit).await.expect("an edit");
    study.province.equal().await;
    assert_eq!(study.publish("年中").await, 2);

    let listed = study.province.hub().answer(&["release", "list", "--json"]).await.expect("listed");
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(listed.iter().map(|it| it["release"].as_u64().expect("a number")).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((&listed[0]["note"], &listed[1]["note"]), (&"first".into(), &"年中".into()));
    let shown = study.asked(&["release", "show", "2"]).await;
    assert!(
        shown["citation"]["zh"]
            .as_str()
            .is_some_and(|line| line.contains("第 2 版") && line.contains("年中"))
    );
    let guangzhou = shown["cities"].as_array().expect("a list").iter().find(|it| it["site"] == 440_100);
    let counted = &guangzhou.expect("a city")["counted"];
    // Nine members, a nomination, a case, a transfer.
    assert_eq!((&counted["records"], &counted["completeness_permille"]), (&12.into(), &1000.into()));
    assert!(counted["open_findings"].as_u64().is_some_and(|open| open >= 1), "{counted}");
    let head = study.province.door(GUANGZHOU).await.status().await.expect("a status").head_seq;
    assert_eq!(counted["last_seq"], head);
    for table in shown["tables"].as_array().expect("a list") {
        let (role, name) = (table["role"].as_str().expect("a role"), table["name"].as_str().expect("a name"));
        let path = study.province.hub().data_dir.join(format!("releases/000002/{role}/{name}.parquet"));
        assert_eq!(std::fs::metadata(&path).expect("a file").len(), table["bytes"].as_u64().expect("bytes"));
    }

    let differ = study.asked(&["release", "diff", "1", "2"]).await;
    let of = |name: &str| {
        let table = differ["tables"].as_array().expect("a list").iter().find(|it| it["table"] == name);
        let changes = &table.expect("a table")["changes"];
        ["added", "changed", "removed"].map(|what| changes[what].as_u64().expect("a number"))
    };
    assert_eq!((of("members"), of("nominations")), ([1, 1, 0], [0, 0, 0]));
    let out = study.province.file("changes.parquet").display().to_string();
    let written = study.asked(&["release", "diff", "1", "--table", "members", "--out", &out]).await;
    assert_eq!(written["changes"]["added"], 1);
    let again =
        study.province.hub().command(&["release", "diff", "1", "--table", "members", "--out", &out]).await;
    assert!(!again.expect("it runs").status.success(), "a file that is there stays as it is");
    for wrong in [&["release", "show", "9"][..], &["release", "verify", "9"], &["release", "diff", "1", "9"]]
    {
        let output = study.province.hub().command(wrong).await.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("release list"), "{wrong:?}: {said}");
    }
    made_again(&study, 2).await;
    study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_comes_out_the_same_after_all_that_came_later() {
    let mut study = Study::published().await;
    for (n, city) in (910..).zip(CITIES) {
        one_more(&study, city, n).await;
    }
    assert_eq!(study.publish("").await, 2);
    made_again(&study, 2).await;
    // The hub is killed, starts again, and its index is made again from the log.
    study.province.kill_hub().await.expect("it ends");
    study.province.start_hub().await.expect("it starts");
    made_again(&study, 2).await;
    study.province.stop_hub().await.expect("it stops");
    study.province.hub().answer(&["rebuild"]).await.expect("rebuilt");
    study.province.start_hub().await.expect("it starts");
    study.province.equal().await;
    assert_eq!(study.publish("").await, 3);
    made_again(&study, 3).await;
    // A city that is lost and goes on under a new log.
    study.province.stop_node(SHENZHEN).await.expect("it stops");
    let dir = study.province.node(SHENZHEN).data_dir.clone();
    let key = liandong_node::site::RecoveryKey::of(&liandong_node::site::Paths::new(&dir)).expect("a key");
    std::fs::remove_dir_all(&dir).expect("lost");
    std::fs::create_dir_all(&dir).expect("a new one");
    let file = study.province.file("recovery.key");
    std::fs::write(&file, format!("{key}\n")).expect("written");
    let (code, file) = (study.province.invited("440300").await, file.display().to_string());
    let restore = ["restore", &code, "--site", "440300", "--recovery-key", &file];
    study.province.node(SHENZHEN).answer(&restore).await.expect("restored");
    study.province.agree(SHENZHEN).await.expect("agreed");
    study.province.start_node(SHENZHEN).await.expect("it starts");
    study.province.equal().await;
    made_again(&study, 3).await;
    one_more(&study, SHENZHEN, 920).await;
    assert_eq!(study.publish("").await, 4);
    made_again(&study, 4).await;
    study.stop().await;
}

/// The numbers stand in the hub's log: what somebody has cited is never the number of something else.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_go_on_when_the_directory_of_releases_is_lost() {
    let mut study = Study::published().await;
    let releases = study.province.hub().data_dir.join("releases");
    let away = ["first", "second"].map(|name| study.province.file(name));
    std::fs::rename(&releases, &away[0]).expect("moved away");
    assert_eq!(study.publish("").await, 2);
    study.province.stop_hub().await.expect("it stops");
    std::fs::rename(&releases, &away[1]).expect("moved away");
    study.province.hub().answer(&["rebuild"]).await.expect("rebuilt");
    study.province.start_hub().await.expect("it starts");
    assert_eq!(study.publish("").await, 3);
    study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_made_while_cities_write_is_of_one_moment() {
    let study = Study::published().await;
    let mut writing = tokio::task::JoinSet::new();
    for (n, city) in (0u32..).zip(CITIES) {
        let door = study.province.door(city).await;
        writing.spawn(async move {
            for at in 0..60 {
                let member = person(1_000 + 100 * n + at, pb::QualificationLevel::Assistant);
                door.put(MEMBER, None, &member).await.expect("a member");
            }
        });
    }
    let mut last = 1;
    while !writing.is_empty() {
        last = study.publish("").await;
        while let Some(done) = writing.try_join_next() {
            done.expect("written");
        }
    }
    study.province.equal().await;
    assert_eq!(study.publish("").await, last + 1);
    made_again(&study, last + 1).await;
    let shown = study.asked(&["release", "show"]).await;
    let members = shown["tables"].as_array().expect("a list").iter();
    let mut members = members.filter(|it| it["role"] == "registrar" && it["name"] == "members");
    assert_eq!(members.next().expect("a table")["rows"], study.members.len() as u64 + 180);
    study.stop().await;
}
