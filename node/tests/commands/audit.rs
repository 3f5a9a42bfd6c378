//! The audit log at a node: who read what and what for, without a word of what was read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

const NAME: &str = "欧阳若曦";
const MOBILE: &str = "13912345678";
const AUTHOR: &str = "clerk-7";
const PURPOSE: &str = "年检核对";

impl Place {
    /// Runs a command as a clerk with a purpose.
    #[track_caller]
    fn clerk(&self, args: &[&str], expected_exit: i32) -> Vec<Value> {
        self.lines(&[args, &["--author", AUTHOR, "--purpose", PURPOSE]].concat(), expected_exit)
    }

    fn audit(&self, what: &str) -> Vec<Value> {
        self.lines(&["audit", "list", "--limit", "0", "--what", what], 0)
    }

    fn with_a_member() -> (Place, String) {
        let place = Place::new();
        let sets = [format!("name={NAME}"), format!("id_number={ID}"), format!("mobile={MOBILE}")];
        let mut put = vec!["record", "put", "--kind", "member", "--set", "status=ACTIVE"];
        sets.iter().for_each(|set| put.extend(["--set", set]));
        let id = place.clerk(&put, 0)[0]["id"].as_str().expect("an id").to_owned();
        (place, id)
    }
}

fn call_and_count(record: &Value) -> (&str, u64) {
    (record["detail"].as_str().expect("a call"), record["count"].as_u64().expect("a number"))
}

/// Every byte under a directory.
fn bytes_of(dir: &Path) -> Vec<u8> {
    let files = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    files
        .flat_map(|path| if path.is_dir() { bytes_of(&path) } else { fs::read(path).expect("a file") })
        .collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_read_is_recorded_with_who_why_and_how_many_and_nothing_of_what_was_read() {
    let (place, id) = Place::with_a_member();
    assert!(place.audit("READ").is_empty(), "a new record reads nothing");
    let filter = format!("id_number={ID}");
    place.clerk(&["record", "show", &id], 0);
    place.clerk(&["record", "list", "--kind", "member", "--where", &filter], 0);
    place.clerk(&["record", "list", "--kind", "member", "--where", "name=无此人"], 0);
    place.clerk(&["record", "history", &id, "--kind", "member"], 0);
    place.clerk(&["record", "put", "--kind", "member", "--id", &id, "--set", "employer=示例中心"], 0);
    place.clerk(&["record", "delete", &id, "--kind", "member"], 0);

    let reads = place.audit("READ");
    let calls: Vec<_> = reads.iter().map(call_and_count).collect();
    assert_eq!(
        calls,
        [
            ("get", 1),
            ("list where id_number", 1),
            ("list where name", 0),
            ("get", 1),
            ("history", 1),
            ("get", 1),
            ("get", 1)
        ]
    );
    let uid = format!(
        "uid:{}",
        fs::metadata(place.data_dir()).map(|m| std::os::unix::fs::MetadataExt::uid(&m)).unwrap()
    );
    for read in &reads {
        let told =
            ["who", "purpose", "kind", "via", "peer"].map(|name| read[name].as_str().unwrap_or_default());
        assert_eq!(told, [AUTHOR, PURPOSE, "member", "socket", &uid], "{read}");
    }
    let deleted = place.audit("DELETED");
    assert_eq!((deleted.len(), deleted[0]["detail"].as_str()), (1, Some(id.as_str())));

    let file = place.dir.path().join("audit.jsonl").display().to_string();
    place.json(&["audit", "export", &file], 0);
    let listed = place.run(&["audit", "list", "--limit", "0", "--json"]).stdout;
    let shown = place.run(&["audit", "list", "--limit", "0", "--lang", "zh"]).stdout;
    let exported = fs::read(&file).expect("exported");
    for told in [&bytes_of(&place.data_dir().join("audit")), &listed, &shown, &exported] {
        assert!(holds(told, PURPOSE), "the search finds what is there");
        for value in [NAME, ID, MOBILE, "示例中心", "无此人"] {
            assert!(!holds(told, value), "{value}");
        }
    }
}

#[test]
fn an_import_is_counted_and_reads_for_itself() {
    let place = Place::new();
    let file = place.file("roster.csv", roster(&[&format!("王芳,{ID},,A1"), "李娜,,13700137000,A2"]));
    let import = ["import", &file, "--kind", "member", "--option", "require_purpose=true"];
    let told = place.json(&import, 0);
    place.json(&import, 0);
    let imports = place.audit("IMPORTED");
    assert_eq!(imports.len(), 1, "the second time nothing was new: {imports:?}");
    assert_eq!((&imports[0]["count"], &imports[0]["detail"]), (&2.into(), &told["import_id"]));
    let reads: Vec<_> = place.audit("READ");
    assert_eq!((call_and_count(&reads[0]), reads[0]["purpose"].as_str()), (("list", 2), Some("import")));
}

#[test]
fn a_site_may_want_a_purpose_for_every_read() {
    let (place, id) = Place::with_a_member();
    place.file("site/config.toml", "require_purpose = true\n");
    for (lang, expected) in [("zh", "--purpose 用途"), ("en", "say it with --purpose")] {
        for args in [&["record", "show", &id][..], &["record", "list", "--kind", "member"]] {
            let output = place.run(&[args, &["--lang", lang]].concat());
            assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
            assert!(stderr(&output).contains(expected) && !stderr(&output).contains("purpose: "), "{lang}");
            assert!(!holds(&output.stdout, NAME));
        }
    }
    assert!(place.audit("READ").is_empty());
    place.clerk(&["record", "show", &id], 0);
    let mut command = place.command(&["record", "show", &id]);
    assert!(command.env("LIANDONG_PURPOSE", "来信来访").output().expect("it runs").status.success());
    let purposes: Vec<Value> = place.audit("READ").iter().map(|read| read["purpose"].clone()).collect();
    assert_eq!(purposes, [PURPOSE, "来信来访"]);
    // What says nothing about people needs none.
    place.lines(&["record", "list", "--kind", "award_round"], 0);
    place.json(&["record", "put", "--kind", "member", "--id", &id, "--set", "employer=示例中心"], 0);
    let wrong = place.run(&["status", "--option", "require_purpose=maybe"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("true or false"), "{}", stderr(&wrong));
}

#[test]
fn without_an_audit_log_nothing_personal_is_read_and_work_goes_on() {
    let (place, id) = Place::with_a_member();
    let audit = place.data_dir().join("audit");
    // What was there before is kept, and something else stands in its place.
    fs::rename(&audit, place.dir.path().join("before")).ok();
    fs::write(&audit, "in the way").expect("written");
    for (lang, expected) in [("zh", "无法留痕"), ("en", "cannot be recorded")] {
        let output = place.run(&["record", "show", &id, "--lang", lang]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected) && !holds(&output.stdout, NAME), "{}", stderr(&output));
    }
    let put = ["record", "put", "--kind", "member", "--set", "name=李娜", "--set", "status=ACTIVE"];
    place.json(&put, 0);
    let failure = place.json(&["status"], 0)["audit"]["failure"].as_str().map(str::to_owned);
    assert!(failure.is_some_and(|failure| failure.contains("audit")));
    assert_eq!(place.json(&["audit", "verify"], 7)["sound"], false);

    fs::remove_file(&audit).expect("removed");
    place.clerk(&["record", "show", &id], 0);
    assert_eq!(place.json(&["status"], 0)["audit"]["failure"], "");
}

#[test]
fn the_audit_log_is_checked_exported_and_guards_its_end() {
    let (place, id) = Place::with_a_member();
    (0..3).for_each(|_| drop(place.clerk(&["record", "show", &id], 0)));
    let found = place.json(&["audit", "verify"], 0);
    assert_eq!((&found["sound"], &found["records"]), (&true.into(), &found["number"]));
    let noted = format!("{}:{}", found["number"], found["hash"].as_str().expect("a hash"));
    place.json(&["audit", "verify", "--expect", &noted], 0);
    let other = format!("{}:{}", found["number"], "00".repeat(32));
    place.json(&["audit", "verify", "--expect", &other], 7);
    place.lines(&["audit", "verify", "--expect", "12"], 2);

    for name in ["audit.csv", "audit.jsonl"] {
        let path = place.file(name, "something older");
        let told = place.json(&["audit", "export", &path, "--who", AUTHOR], 0);
        let text = fs::read_to_string(&path).expect("text");
        assert_eq!(told["records"], 3, "{text}");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let lines = text.lines().count();
        assert_eq!(lines, 3 + usize::from(text.starts_with("\u{FEFF}number,at_ms,what,who")), "{text}");
    }
    let gone = place.dir.path().join("nowhere/audit.csv").display().to_string();
    assert_eq!(place.run(&["audit", "export", &gone]).status.code(), Some(2));
    let acts = |what: &str| place.audit(what).len();
    assert_eq!((acts("AUDIT_EXPORTED"), acts("AUDIT_VERIFIED")), (2, 3));
    assert!(acts("AUDIT_READ") >= 3, "this as well");
    assert_eq!(place.lines(&["audit", "list", "--limit", "2"], 0).len(), 2);
    assert!(place.lines(&["audit", "list", "--since", "2999-01-01"], 2).is_empty());
    assert!(place.lines(&["audit", "list", "--since", "2190-01-01"], 0).is_empty());
    assert!(!place.lines(&["audit", "list", "--since", "2020"], 0).is_empty());
    place.lines(&["audit", "list", "--what", "NONSENSE"], 2);

    // The first record, on the disk, in its own file.
    let segment = place.data_dir().join("audit/00000000000000000001.log");
    let mut bytes = fs::read(&segment).expect("a segment");
    let at = bytes.windows(AUTHOR.len()).position(|window| window == AUTHOR.as_bytes()).expect("a record");
    bytes[at] ^= 1;
    fs::write(&segment, bytes).expect("written");
    assert_eq!(place.json(&["audit", "verify"], 7)["sound"], false);
}

#[test]
fn upkeep_is_recorded_and_the_audit_log_outlives_its_site() {
    let (place, _) = Place::with_a_member();
    place.json(&["verify"], 0);
    place.json(&["rebuild"], 0);
    let what: Vec<Value> = place.audit("VERIFIED,rebuilt").iter().map(|it| it["what"].clone()).collect();
    assert_eq!(what, ["VERIFIED", "REBUILT"]);
    for lost in ["log", "index", "keys"] {
        fs::remove_dir_all(place.data_dir().join(lost)).expect("removed");
    }
    assert_eq!(place.audit("REBUILT").len(), 1);
    fs::remove_dir_all(place.data_dir().join("audit")).expect("removed");
    assert_eq!(place.run(&["audit", "list"]).status.code(), Some(2), "there is nothing");
}
