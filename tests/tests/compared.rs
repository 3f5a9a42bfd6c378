//! A record that one side has otherwise than its log: the comparison names it, and it is made again from the log.

use std::fs;
use std::time::Duration;

use liandong_node::index::Engine;
use liandong_node::site::Paths;
use liandong_node::store::open_sled;
use liandong_proto::fields::FieldsBuilder;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1::Comparison;
use liandong_proto::pb::record::v1 as pb;
use liandong_proto::schema;
use liandong_tests::chaos::alter;
use liandong_tests::cluster::{Home, decoded};

use crate::province::{GUANGZHOU, MEMBER, PATIENCE, Province, member, shown};

const CACHE: u64 = 8 << 20;

/// A city with members, all equal; one of them.
async fn with_members() -> (Province, RecordId) {
    let province = Province::running(&[GUANGZHOU]).await;
    let door = province.door(GUANGZHOU).await;
    let mut some = None;
    for n in 0..20 {
        let email = format!("m{n}@example.org");
        let id = door.put(MEMBER, None, &pb::Member { email, ..member(n) }).await.expect("a member");
        some = some.or((n == 7).then_some(id));
    }
    province.equal().await;
    (province, some.expect("one of them"))
}

/// The name of a member, in an index behind everybody's back.
fn altered(home: &Home, engine: Engine, record: RecordId) {
    let name = schema::kind(MEMBER).and_then(|kind| kind.field_by_name("name")).expect("a field").tag;
    let change = |state: &mut liandong_proto::state::RecordState| {
        let set = FieldsBuilder::new().str(name, "改名者").take();
        state.fields = state.fields.patched(&set, &[]);
    };
    alter(&Paths::new(&home.data_dir).index(), engine, (MEMBER, record), change).expect("altered");
}

/// Waits for how the next comparison ends, after the site has said something.
async fn compared(province: &Province, verdict: Comparison, said: &str) {
    let waiting = async {
        loop {
            let is_said = log_of(province.node(GUANGZHOU)).contains(said);
            if is_said
                && province.door(GUANGZHOU).await.status().await.expect("a status").comparison() == verdict
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never {verdict:?} after {said:?}"));
}

fn log_of(home: &Home) -> String {
    fs::read_to_string(&home.log).unwrap_or_default()
}

fn has_line(home: &Home, words: &str, record: RecordId) -> bool {
    log_of(home).lines().any(|line| line.contains(words) && line.contains(&record.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_record_at_a_city_is_named_and_made_again_from_its_log() {
    let (mut province, record) = with_members().await;
    let before = shown(&province.door(GUANGZHOU).await, &[MEMBER]).await;
    province.stop_node(GUANGZHOU).await.expect("it stops");
    altered(province.node(GUANGZHOU), Box::new(|dir| open_sled(dir, CACHE)), record);
    province.start_node(GUANGZHOU).await.expect("it starts");
    compared(&province, Comparison::Equal, "it is made again from the log").await;
    let node = province.node(GUANGZHOU).clone();
    assert!(has_line(&node, "differently", record), "named here");
    assert!(has_line(&node, "made again from the log", record), "and what was done");
    assert!(has_line(province.hub(), "differently", record), "named there");
    let door = province.door(GUANGZHOU).await;
    assert_eq!(shown(&door, &[MEMBER]).await, before, "as it was, what is sealed included");
    let audit = node.answer(&["audit", "list", "--json"]).await.expect("listed");
    let noted = audit.lines().any(|line| line.contains("REPAIRED") && line.contains(&record.to_string()));
    assert!(noted, "{audit}");
    assert!(!node.data_dir.join("index.check").exists(), "nothing is left beside the index");
    // It stays so.
    province.stop_node(GUANGZHOU).await.expect("it stops");
    province.start_node(GUANGZHOU).await.expect("it starts");
    province.equal().await;
    assert!(province.door(GUANGZHOU).await.verify().await.expect("readable").sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_record_at_the_hub_is_named_and_a_rebuild_makes_it_again() {
    let (mut province, record) = with_members().await;
    province.stop_hub().await.expect("it stops");
    altered(province.hub(), Box::new(|dir| liandong_hub::store_fjall::open(dir, CACHE)), record);
    province.start_hub().await.expect("it starts");
    compared(&province, Comparison::Different, "run rebuild there").await;
    assert!(has_line(province.node(GUANGZHOU), "differently", record), "named at the city");
    assert!(has_line(province.hub(), "differently", record), "named at the hub");
    assert!(!log_of(province.node(GUANGZHOU)).contains("made again"), "the city is right and stays as it is");
    province.stop_hub().await.expect("it stops");
    province.hub().answer(&["rebuild"]).await.expect("made again");
    province.start_hub().await.expect("it starts");
    let waiting = async {
        // The comparison from before is still shown.
        while province.door(GUANGZHOU).await.status().await.expect("a status").comparison()
            != Comparison::Equal
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("equal in the end");
    let door = province.door(SiteCode::PROVINCE).await;
    let shown = door.get(MEMBER, record).await.expect("readable").expect("there");
    assert_eq!(decoded::<pb::Member>(&shown).name, member(7).name);
}
