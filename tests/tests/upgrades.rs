//! What one version leaves in its directories, every later one opens, reads, makes anew from the log and syncs on with.
//!
//! `tests/golden` holds a directory for each version: `sites.bin`, the data directories of a hub and a city as that
//! version left them, and `shown.json`, what it showed of them. What they hold stands in [`made`]. That of this version is
//! written by
//!
//! ```text
//! MAKE_GOLDEN=1 cargo test -p liandong-tests --test integration upgrades::this_version_has_a_golden_directory
//! ```
//!
//! Not checked: a federation in which the two sides are of different versions; certificates of the golden sites, which
//! end (the city joins again).

mod made;
mod pack;
mod refused;

use std::path::{Path, PathBuf};
use std::{env, fs};

use liandong_node::{log, rows, site};
use liandong_proto::id::{SiteCode, hex};
use liandong_proto::pb::node::v1::Link;
use liandong_proto::{merge, schema, session};
use liandong_tests::cluster::{Home, id_of};
use serde_json::{Value, json};

use crate::province::{AWARD_ROUND, GUANGZHOU, MEMBER, Province, linked, member};

const PROVINCE: SiteCode = SiteCode::PROVINCE;
/// What makes a golden directory, and the number that goes up where an older program would stumble.
const MAKE: &str = "MAKE_GOLDEN=1 cargo test -p liandong-tests --test integration \
                    upgrades::this_version_has_a_golden_directory";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The golden directories with what each shows, oldest first.
fn all_golden() -> Vec<(PathBuf, Value)> {
    let mut all: Vec<(Vec<u64>, PathBuf, Value)> = Vec::new();
    for entry in fs::read_dir(golden()).expect("they are in the repository") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a version").to_owned();
        let version = name.split('.').map(|number| number.parse().expect("a number")).collect();
        let shown = fs::read_to_string(path.join("shown.json")).expect("readable");
        all.push((version, path, serde_json::from_str(&shown).expect("JSON")));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.into_iter().map(|(_, path, shown)| (path, shown)).collect()
}

/// What a directory of this version is written in.
fn formats() -> Value {
    let journal = include_str!("../../node/src/site/journal.rs");
    let kinds = journal.lines().filter_map(|line| {
        let number = line.trim().strip_prefix("pub const ")?.split_once(": u8 = ")?.1;
        number.strip_suffix(';')?.parse::<u8>().ok()
    });
    json!({
        "layout": site::LAYOUT,
        "log": log::FORMAT,
        "log_records": kinds.collect::<Vec<u8>>(),
        "merge": merge::VERSION,
        "index": rows::FORMAT,
        "protocol": session::PROTOCOL,
    })
}

async fn answer(home: &Home, args: &[&str]) -> Value {
    let args = [args, &["--json"]].concat();
    let answer = home.answer(&args).await.unwrap_or_else(|error| panic!("{args:?}: {error}"));
    serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{args:?}: {answer}"))
}

async fn sound(home: &Home) -> Value {
    for args in [&["audit", "verify"][..], &["verify"]] {
        let found = answer(home, args).await;
        assert_eq!(found["sound"], true, "{args:?} at {}: {found}", home.site);
    }
    answer(home, &["verify"]).await["entries"].clone()
}

/// What a running site shows: where it stands, every record, what is erased, and what the audit log said before.
async fn shown(home: &Home) -> Value {
    let door = home.door().await.expect("it runs");
    let audit = home.answer(&["audit", "list", "--limit", "0", "--json"]).await.expect("readable");
    let audit = audit.lines().map(|line| serde_json::from_str(line).expect("an object"));
    let mut audit: Vec<Value> =
        audit.map(|act: Value| json!([act["number"], act["what"], act["who"], act["at_ms"]])).collect();
    audit.sort_by_key(|act| act[0].as_u64());
    let mut records = Vec::new();
    for kind in schema::kinds() {
        for record in door.list(kind.number, &[]).await.expect("a list") {
            let (id, fields) = (id_of(&record).to_string(), hex(&record.fields));
            records.push(json!([kind.name, id, record.version, fields]));
        }
    }
    let status = door.status().await.expect("a status");
    json!({
        "head": [status.head_seq, hex(&status.head_hash)],
        "confirmed": status.confirmed_seq,
        "open_findings": status.open_findings,
        "records": records,
        "erasures": answer(home, &["record", "erasures"]).await["erasures"],
        "audit": audit,
    })
}

/// Holds what a site shows against what was shown of it; the audit log goes on.
#[track_caller]
fn check(mut found: Value, expected: &Value) {
    let known = expected["audit"].as_array().expect("a list").len();
    let audit = found["audit"].as_array_mut().expect("a list");
    assert!(known > 0 && audit.len() >= known, "{} of {known} acts", audit.len());
    audit.truncate(known);
    for (part, expected) in expected.as_object().expect("an object") {
        assert_eq!(found[part], *expected, "{part}");
    }
}

/// Where indexes are kept whose place a new one has taken.
fn indexes_aside(home: &Home) -> usize {
    let names =
        fs::read_dir(&home.data_dir).expect("a directory").map(|entry| entry.expect("one").file_name());
    names.filter(|name| name.to_string_lossy().starts_with("index.broken-")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_older_versions_have_left_is_read_made_anew_and_synced_on() {
    let all = all_golden();
    assert!(!all.is_empty());
    for (path, expected) in all {
        let dir = tempfile::tempdir().expect("a directory");
        pack::unpack(&fs::read(path.join("sites.bin")).expect("readable"), dir.path());
        let mut province = Province::over(dir, &[GUANGZHOU]);
        for home in [province.hub(), province.node(GUANGZHOU)] {
            sound(home).await;
        }
        // With the index that is there, then with one from the log.
        for anew in [false, true] {
            if anew {
                province.stop().await.expect("both stop");
                for home in [province.hub(), province.node(GUANGZHOU)] {
                    home.answer(&["rebuild"]).await.expect("made again");
                }
            }
            province.start_hub().await.expect("the hub starts");
            province.start_nodes().await.expect("the node starts");
            for home in [province.hub(), province.node(GUANGZHOU)] {
                check(shown(home).await, &expected["sites"][home.site.to_string()]);
                let is_same = expected["formats"]["index"] == rows::FORMAT;
                assert_eq!(
                    indexes_aside(home),
                    usize::from(anew) + usize::from(!is_same),
                    "at {}",
                    home.site
                );
            }
        }
        syncs_on(&province).await;
        province.stop().await.expect("both stop");
    }
}

/// The hub listens elsewhere, and certificates end: the city joins again. Its log and the hub's go on.
async fn syncs_on(province: &Province) {
    let (city, hub) = (province.door(GUANGZHOU).await, province.door(PROVINCE).await);
    let code = province.invited("440100").await;
    province.node(GUANGZHOU).answer(&["join", &code]).await.expect("joined");
    linked(&city, Link::Connected).await;
    let new = city.put(MEMBER, None, &member(99)).await.expect("a member");
    for record in city.list(MEMBER, &[]).await.expect("a list") {
        let remark =
            liandong_proto::pb::record::v1::Member { remarks: "升级之后".into(), ..Default::default() };
        city.put(MEMBER, Some(id_of(&record)), &remark).await.expect("an edit");
    }
    let rounds = hub.list(AWARD_ROUND, &[]).await.expect("a list");
    let notice = liandong_proto::pb::record::v1::AwardRound { notice_days: 9, ..Default::default() };
    hub.put(AWARD_ROUND, Some(id_of(&rounds[0])), &notice).await.expect("the province's edit");
    province.equal().await;
    assert!(hub.get(MEMBER, new).await.expect("readable").is_some());
    let status = city.status().await.expect("a status");
    assert_eq!(status.confirmed_seq, status.head_seq, "the hub has receipted all of it");
    for home in [province.hub(), province.node(GUANGZHOU)] {
        sound(home).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn this_version_has_a_golden_directory() {
    let dir = golden().join(env!("CARGO_PKG_VERSION"));
    if env::var_os("MAKE_GOLDEN").is_some() {
        let mut province = made::made().await;
        let mut sites = serde_json::Map::new();
        for home in [province.hub(), province.node(GUANGZHOU)] {
            sound(home).await;
            sites.insert(home.site.to_string(), shown(home).await);
        }
        province.stop().await.expect("both stop");
        let packed = pack::pack(province.dir(), made::is_kept);
        let shown = json!({ "formats": formats(), "sites": sites });
        fs::create_dir_all(&dir).expect("made");
        fs::write(dir.join("sites.bin"), &packed).expect("written");
        let shown = serde_json::to_string_pretty(&shown).expect("JSON");
        fs::write(dir.join("shown.json"), shown + "\n").expect("written");
        println!("{} bytes in {}", packed.len(), dir.display());
    }
    let all = all_golden();
    let (newest, shown) = all.last().expect("there is one");
    assert_eq!(*newest, dir, "a golden directory of this version is missing; make it: {MAKE}");
    assert_eq!(
        shown["formats"],
        formats(),
        "directories are written otherwise than the golden one of this version; see docs/upgrades.md, then make it \
         anew: {MAKE}"
    );
}

/// What an older program would take for damage raises the layout, so that it says what it is.
#[test]
fn what_older_programs_cannot_read_has_another_layout() {
    let all = all_golden();
    for pair in all.windows(2) {
        let of = |at: usize, name: &str| pair[at].1["formats"][name].clone();
        let changed = ["log", "log_records", "merge"].iter().any(|name| of(0, name) != of(1, name));
        let layouts = [0, 1].map(|at| of(at, "layout").as_u64().expect("a number"));
        assert!(layouts[1] > layouts[0] || !changed && layouts[1] == layouts[0], "{}", pair[1].0.display());
    }
}
