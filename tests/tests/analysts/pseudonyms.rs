//! Pseudonyms: the same in every release for one project, others for every other, and none leads back.

use std::collections::{BTreeMap, BTreeSet};

use liandong_proto::pb::record::v1 as pb;

use super::clients::{asked, column};
use super::study::{GROUPS, Study};
use crate::province::MEMBER;

/// A row of an analyst without its ids: rows that are alike are told apart by their place in the hub's order.
const MEMBERS: &str = "SELECT hub_seq, record_id, person_id FROM members ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_project_keeps_its_pseudonyms_and_shares_them_with_no_other() {
    let study = Study::published().await;
    let (one, same) =
        (study.token_of("analyst", "a1", "a").await, study.token_of("analyst", "a2", "a").await);
    let other = study.token_of("analyst", "b1", "b").await;
    let (mut one, mut same) = (study.client(&one).await, study.client(&same).await);
    let mut other = study.client(&other).await;
    let mine = asked(&mut one, MEMBERS).await;
    let people: u32 = GROUPS.iter().map(|(_, _, count)| count).sum();
    assert_eq!(mine.len(), people as usize);
    assert_eq!(mine, asked(&mut same, MEMBERS).await, "a project is one, whoever of it asks");
    let ids = |rows: &[Vec<String>]| -> BTreeSet<String> {
        rows.iter().flat_map(|row| row[1..].to_vec()).collect()
    };
    let theirs = asked(&mut other, MEMBERS).await;
    assert!(ids(&mine).is_disjoint(&ids(&theirs)), "two projects have no id in common");
    let real: BTreeSet<String> = study.members.iter().map(|(_, id, _)| id.to_string()).collect();
    assert!(ids(&mine).is_disjoint(&real) && ids(&theirs).is_disjoint(&real));
    assert_eq!(ids(&mine).len(), people as usize, "one person has two records, and none has two ids");

    // Ids in other tables are those of this one.
    for (table, column_) in [("nominations", "member"), ("transfers", "member")] {
        let sql = format!("SELECT count(*) FROM {table} t JOIN members m ON m.record_id = t.{column_}");
        assert_eq!(column(&mut one, &sql).await, ["1"], "{table}.{column_}");
    }
    let rounds = "SELECT count(*) FROM nominations n JOIN award_rounds r ON r.record_id = n.round";
    assert_eq!(column(&mut one, rounds).await, ["1"]);
    let order = column(&mut one, "SELECT record_id FROM members WHERE site = 440100").await;
    assert!(order.is_sorted(), "rows stand in the order of pseudonyms, not of records");

    // What is new is new; all else keeps its name in the next release, and after a restart of the hub.
    let node = study.province.door(study.members[0].0).await;
    node.put(MEMBER, None, &super::study::person(900, pb::QualificationLevel::Senior))
        .await
        .expect("one more");
    study.province.equal().await;
    study.publish("").await;
    let mut study = study;
    study.province.stop_hub().await.expect("it stops");
    study.province.start_hub().await.expect("it starts");
    let again = study.token_of("analyst", "a3", "a").await;
    let mut again = study.client(&again).await;
    let now: BTreeMap<String, Vec<String>> =
        asked(&mut again, MEMBERS).await.into_iter().map(|row| (row[0].clone(), row)).collect();
    assert_eq!(now.len(), mine.len() + 1);
    assert!(mine.iter().all(|row| now[&row[0]] == *row), "names stay");
    assert_eq!(asked(&mut again, &MEMBERS.replace("members", "r000001.members")).await, mine);
    study.stop().await;
}
