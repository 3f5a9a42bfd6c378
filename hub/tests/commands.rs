//! The hub's commands: what they answer and how they end.

use std::path::PathBuf;
use std::process::{Command, Output};

use liandong_proto::share::LinkingKey;
use serde_json::Value;
use tempfile::TempDir;

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().expect("a directory for the test") };
        assert_eq!(place.json(&["init"], 0)["site"], "440000");
        place
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("hub")
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_liandong-hub"));
        let ours = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("LIANDONG_"));
        for name in ours.collect::<Vec<_>>() {
            command.env_remove(name);
        }
        command.env("LC_ALL", "en_GB.UTF-8").args(args).arg("--data-dir").arg(self.data_dir());
        command.output().expect("the program starts")
    }

    #[track_caller]
    fn lines(&self, args: &[&str], expected_exit: i32) -> Vec<Value> {
        let output = self.run(&[args, &["--json"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected_exit), "{args:?}: {stderr}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("one object on each line")).collect()
    }

    #[track_caller]
    fn json(&self, args: &[&str], expected_exit: i32) -> Value {
        self.lines(args, expected_exit).pop().expect("an answer")
    }
}

#[test]
fn the_provinces_own_records_are_kept() {
    let place = Place::new();
    let quotas = r#"quotas=[{"city": "广州", "category": "新秀", "places": 3}]"#;
    let put = ["record", "put", "--kind", "award_round", "--set", "year=2026", "--set", "title=优秀社工"];
    place.json(&[&put[..], &["--set", "categories=优秀社工,新秀", "--set", quotas]].concat(), 0);
    let round = place.json(&["record", "list", "--kind", "评选活动"], 0);
    assert_eq!(round["fields"]["categories"], serde_json::json!(["优秀社工", "新秀"]));
    assert_eq!(round["fields"]["quotas"][0]["city"], "440100");
    assert_eq!(round["home"], "440000");

    let before = place.json(&["verify"], 0);
    assert_eq!(place.json(&["rebuild"], 0)["records"], 1);
    assert_eq!(place.json(&["verify"], 0)["sound"], before["sound"]);
    assert_eq!(place.json(&["status"], 0)["records"]["award_round"], 1);
}

#[test]
fn what_is_a_citys_to_make_is_not_made_by_the_province() {
    let place = Place::new();
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (kind, set) in [("member", "name=王芳"), ("nomination", "deeds=x"), ("case", "summary=x")] {
        for name in [&[][..], &["--id", id]] {
            let put = ["record", "put", "--kind", kind, "--set", set];
            let output = place.run(&[&put[..], name].concat());
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{text}");
            assert!(!name.is_empty() || text.contains(&format!("{kind}s are made by their city")), "{text}");
        }
        assert!(place.lines(&["record", "list", "--kind", kind], 0).is_empty());
    }
}

#[test]
fn all_cities_are_listed_before_any_has_synced() {
    let place = Place::new();
    let cities = place.lines(&["city", "list"], 0);
    assert_eq!(cities.len(), 21);
    assert_eq!((&cities[0]["site"], &cities[0]["connected"]), (&"440100".into(), &false.into()));
}

#[test]
fn settling_needs_a_finding_and_its_arguments() {
    let place = Place::new();
    assert!(place.lines(&["finding", "list"], 0).is_empty());
    let nothing = "01890a5d-ac96-774b-bcce-b302099a8057";
    place.lines(&["finding", "settle", nothing, "--choose", "shown", "--reason", "x"], 3);
    place.lines(&["finding", "settle", nothing, "--choose", "other", "--reason", "x"], 2);
    place.lines(&["finding", "settle", nothing, "--choose", "shown", "--value", "1", "--reason", "x"], 2);
    place.lines(&["finding", "settle", "nonsense", "--choose", "held", "--reason", "x"], 2);
}

#[test]
fn a_port_that_is_taken_is_named_before_anything_begins() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = place.run(&["run", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address), "{output:?}");
    assert_eq!(place.run(&["init"]).status.code(), Some(2), "there is a hub already");
}

#[test]
fn cities_are_invited_by_code_or_name_and_cut_off_with_a_reason() {
    let place = Place::new();
    let invite = ["city", "invite", "广州", "--address", "hub.example.org:7444"];
    let invited = place.json(&invite, 0);
    assert!(invited["code"].as_str().is_some_and(|code| code.starts_with("liandong1.")), "{invited}");
    let city = |at: usize| place.lines(&["city", "list"], 0)[at].clone();
    assert_eq!(city(0)["invited_until_ms"], invited["until_ms"]);
    let unknown = place.run(&["city", "invite", "北京", "--address", "hub.example.org:7444"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert_eq!(place.run(&["city", "invite", "440300"]).status.code(), Some(2), "no address is known");
    assert_eq!(place.run(&["city", "revoke", "440300", "--reason", "x"]).status.code(), Some(2), "no member");
    place.json(&["city", "retire", "440100", "--reason", "协会合并"], 0);
    assert_eq!(
        (city(0)["standing"].as_str(), city(0)["reason"].as_str()),
        (Some("RETIRED"), Some("协会合并"))
    );
    assert_eq!(place.run(&invite).status.code(), Some(2), "it has left for good");
    place.json(&["rebuild"], 0);
    assert_eq!(city(0)["standing"], "RETIRED", "the log alone says so");
}

#[test]
fn a_linking_key_is_made_once_for_its_owner_and_away_from_any_hub() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("linking.key");
    let make = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_liandong-hub"));
        command.args(["linking-key", "new", "--json", "--out"]).arg(&file).env_remove("LIANDONG_DATA_DIR");
        command.output().expect("it runs")
    };
    let made = make();
    assert!(made.status.success(), "{made:?}");
    let key = LinkingKey::new(&liandong_node::site::read_key(&file).expect("a key"));
    let told: Value = serde_json::from_slice(&made.stdout).expect("an object");
    assert_eq!(told["fingerprint"], key.fingerprint());
    let mode = std::fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(make().status.code(), Some(2), "it is not written over");
    assert_eq!(
        LinkingKey::new(&liandong_node::site::read_key(&file).expect("a key")).fingerprint(),
        key.fingerprint()
    );
}

#[test]
fn what_is_decided_about_a_city_is_recorded_with_who_and_why() {
    let place = Place::new();
    let by = |args: &[&str]| place.json(&[args, &["--author", "officer-3"]].concat(), 0);
    by(&["city", "invite", "广州", "--address", "hub.example.org:7444"]);
    by(&["city", "retire", "440100", "--reason", "协会合并"]);
    assert_eq!(place.run(&["city", "revoke", "440300", "--reason", "x"]).status.code(), Some(2));
    let listed = place.lines(&["audit", "list", "--who", "officer-3"], 0);
    let told: Vec<_> = listed
        .iter()
        .map(|it| ["what", "site", "detail"].map(|name| it[name].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(told, [["INVITED", "440100", ""], ["RETIRED", "440100", "协会合并"]]);
    assert_eq!(place.json(&["audit", "verify"], 0)["sound"], true);
    let status = place.json(&["status"], 0);
    assert_eq!(status["audit"]["failure"], "");
    place.json(&["rebuild"], 0);
    assert_eq!(place.lines(&["audit", "list", "--what", "REBUILT"], 0).len(), 1);
}
