//! The node's commands as a clerk meets them: what they answer, how they end, and what they never say.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

#[path = "commands/again.rs"]
mod again;
#[path = "commands/audit.rs"]
mod audit;
#[path = "commands/keys.rs"]
mod keys;

const ID: &str = "11010519491231002X";
const OTHER_ID: &str = "440100197401024011";

/// A site in a directory of its own.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().expect("a directory for the test") };
        let made = place.run(&["init", "--site", "440100"]);
        assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
        place
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("site")
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).expect("the test's directory can be written");
        path.to_str().expect("an ordinary path").to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program(args);
        command.arg("--data-dir").arg(self.data_dir());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program starts")
    }

    /// Runs a command that answers in JSON; every line of the answer.
    #[track_caller]
    fn lines(&self, args: &[&str], expected_exit: i32) -> Vec<Value> {
        let output = self.run(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(expected_exit), "{args:?}: {}", stderr(&output));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("one object on each line")).collect()
    }

    #[track_caller]
    fn json(&self, args: &[&str], expected_exit: i32) -> Value {
        self.lines(args, expected_exit).pop().expect("an answer")
    }

    #[track_caller]
    fn check_import(&self, file: &str, expected_exit: i32, expected: [u64; 5]) -> Value {
        let told = self.json(&["import", file, "--kind", "member"], expected_exit);
        let counts = ["rows", "saved", "updated", "unchanged", "rejected"];
        assert_eq!(counts.map(|name| told[name].as_u64().unwrap_or(u64::MAX)), expected, "{told}");
        told
    }

    fn members(&self) -> Vec<Value> {
        self.lines(&["record", "list", "--kind", "member", "--limit", "0"], 0)
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_liandong-node"));
    let ours = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("LIANDONG_"));
    for name in ours.collect::<Vec<_>>() {
        command.env_remove(name);
    }
    command.env("LC_ALL", "en_GB.UTF-8").args(args);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn roster(rows: &[&str]) -> String {
    format!("姓名,身份证号码,手机,会员编号\n{}\n", rows.join("\n"))
}

#[test]
fn a_roster_is_imported_once_however_often_it_is_given() {
    let place = Place::new();
    let rows = [
        &format!("王 芳,{ID},13800138000/13900139000,A1"),
        "李娜,,13700137000,A2",
        "无名氏,,13600136000,",
        ",,13500135000,A4",
        "赵敏,440100197401024012,13400134000,A5",
    ];
    let file = place.file("roster.csv", roster(&rows));
    let told = place.check_import(&file, 3, [5, 3, 0, 0, 2]);
    let codes: Vec<(u64, &str)> = told["problems"].as_array().unwrap().iter().map(row_and_code).collect();
    assert_eq!(codes, [(5, "record.required"), (6, "resident_id.check")]);
    assert_eq!(row_and_code(&told["notes"][0]), (2, "mobile.first_kept"));
    assert_eq!(place.members().len(), 3);
    assert!(place.members().iter().all(|record| record["fields"]["status"] == "ACTIVE"));

    place.check_import(&file, 3, [5, 0, 0, 3, 2]);
    let changed = place.file("changed.csv", roster(&[&format!("王芳,{ID},13800138000,A9")]));
    place.check_import(&changed, 0, [1, 0, 1, 0, 0]);
    assert_eq!(place.members().len(), 3);

    let report = told["report"].as_str().expect("rows were sent back").to_owned();
    let mended = fs::read_to_string(&report).unwrap().replace("440100197401024012", OTHER_ID);
    let mended = place.file("mended.csv", mended.replace("\n,,13500135000", "\n钱多,,13500135000"));
    place.check_import(&mended, 0, [2, 2, 0, 0, 0]);
}

#[test]
fn a_quotation_mark_without_partner_swallows_nobody() {
    let place = Place::new();
    let rows: Vec<String> =
        (1..=15).map(|n| format!("{}钱一,,138001380{n:02},A{n}", if n == 3 { "\"" } else { "" })).collect();
    let file = place.file("roster.csv", roster(&rows.iter().map(String::as_str).collect::<Vec<_>>()));
    let told = place.check_import(&file, 3, [3, 2, 0, 0, 1]);
    assert_eq!(row_and_code(&told["problems"][0]), (4, "row.shape"));
    assert!(told["problems"][0]["en"].as_str().unwrap().contains("12 lines below"), "{told}");
    let named = |name: &str| {
        place.json(&["record", "put", "--kind", "member", "--set", name, "--set", "status=ACTIVE"], 3)
    };
    let told = named("name=示例社会工作服务中心,男,13800138000");
    assert_eq!(told["problems"][0]["code"], "name.number");
    assert_eq!(named("name=示例社会工作服务中心\n钱一")["problems"][0]["code"], "name.lines");
    assert_eq!(place.members().len(), 2);
}

fn row_and_code(problem: &Value) -> (u64, &str) {
    (problem["row"].as_u64().expect("a row"), problem["code"].as_str().expect("a code"))
}

#[test]
fn what_the_sheet_does_not_say_is_told() {
    let place = Place::new();
    let sheet = "姓名,手机,状态\n王芳,13800138000,在册\n李娜,13700137000,\n赵敏,13600136000\n钱多,1,,x\n";
    let file = place.file("roster.csv", sheet);
    let told = place.json(&["import", &file, "--kind", "member", "--dry-run"], 3);
    assert_eq!((&told["saved"], &told["status_assumed"]), (&3.into(), &2.into()), "{told}");
    assert_eq!(row_and_code(&told["notes"][0]), (4, "row.short"));
    assert_eq!(row_and_code(&told["problems"][0]), (5, "row.shape"));
    for (lang, expected) in [
        ("zh", "有 2 行没有写明状态，按“在册”（ACTIVE）处理"),
        ("en", "status not given: ACTIVE assumed for 2 rows"),
    ] {
        let output = place.run(&["import", &file, "--kind", "member", "--dry-run", "--lang", lang]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(expected), "{text}");
    }
    place.check_import(&file, 3, [4, 3, 0, 0, 1]);
    let told = place.check_import(&file, 3, [4, 0, 0, 3, 1]);
    assert_eq!(told["status_assumed"], 0);
}

#[test]
fn a_status_that_has_moved_on_is_not_set_back() {
    let place = Place::new();
    let file = place.file("roster.csv", roster(&[&format!("王芳,{ID},,A1")]));
    place.check_import(&file, 0, [1, 1, 0, 0, 0]);
    let id = place.members()[0]["id"].as_str().unwrap().to_owned();
    place.json(&["record", "put", "--kind", "member", "--id", &id, "--set", "status=SUSPENDED"], 0);
    place.check_import(&file, 0, [1, 0, 0, 1, 0]);
    assert_eq!(place.members()[0]["fields"]["status"], "SUSPENDED");
}

#[test]
fn nothing_personal_is_told_about_bad_rows() {
    let place = Place::new();
    let file = place.file("roster.csv", roster(&["王芳芳,440100197401024012,1381234567,A1"]));
    for lang in ["zh", "en"] {
        let output = place.run(&["import", &file, "--kind", "member", "--lang", lang]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        for value in ["王芳芳", "440100197401024012", "1381234567"] {
            assert!(!text.contains(value), "{text}");
        }
    }
}

#[test]
fn a_question_stops_the_import_before_it_begins() {
    let place = Place::new();
    let file = place.file("roster.csv", "姓名,手机,移动电话\n王芳,13800138000,13900139000\n");
    let told = place.json(&["import", &file, "--kind", "member"], 4);
    assert_eq!(told["questions"].as_array().map(Vec::len), Some(2), "{told}");
    assert!(place.members().is_empty());
    let told = place.json(&["import", &file, "--kind", "member", "--map", "移动电话="], 0);
    assert_eq!(told["saved"], 1);
    assert_eq!(place.members()[0]["fields"]["mobile"], "13800138000");
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    let place = Place::new();
    let file = place.file("roster.csv", roster(&[&format!("王芳,{ID},,A1"), ",,,A2"]));
    let told = place.json(&["import", &file, "--kind", "member", "--dry-run"], 3);
    assert_eq!((&told["saved"], &told["rejected"], &told["report"]), (&1.into(), &1.into(), &Value::Null));
    assert!(place.members().is_empty());
    assert!(!Path::new(&file.replace("roster.csv", "roster.rejected.csv")).exists());
}

#[test]
fn files_that_are_no_utf8_csv_are_refused_with_advice() {
    let place = Place::new();
    #[track_caller]
    fn check(place: &Place, file: &str, exit: i32, advice: &str) {
        let output = place.run(&["import", file, "--kind", "member"]);
        assert_eq!(output.status.code(), Some(exit), "{}", stderr(&output));
        assert!(stderr(&output).contains(advice), "{}", stderr(&output));
    }
    check(&place, &place.file("gbk.csv", b"\xD0\xD5\xC3\xFB\n\xCD\xF5\n"), 3, "GB18030");
    check(&place, &place.file("book.csv", b"PK\x03\x04"), 3, "workbook");
    check(&place, &place.file("plain.csv", "a,b\n1,2\n"), 3, "no headings");
    check(&place, "absent.csv", 2, "there is no absent.csv");
}

#[test]
fn an_import_that_was_cut_short_goes_on_where_it_stopped() {
    let place = Place::new();
    let rows: Vec<String> = (0..30_000).map(|n| format!("王芳,,,B{n}")).collect();
    let file = place.file("roster.csv", roster(&rows.iter().map(String::as_str).collect::<Vec<_>>()));
    let mut command = place.command(&["import", &file, "--kind", "member", "--json"]);
    let import = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    // Asks through the socket that the import serves, until the first batch is there.
    while place.lines(&["record", "list", "--kind", "member", "--limit", "1"], 0).is_empty() {}
    let pid = rustix::process::Pid::from_child(&import);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
    let output = import.wait_with_output().expect("it ends");
    let told: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let saved = told["saved"].as_u64().expect("it says how many");
    assert!(saved > 0);
    // On a fast machine it may have been done before the signal came.
    let expected = if told["interrupted"] == true { 1 } else { 0 };
    assert_eq!(output.status.code(), Some(expected), "{told}");
    place.check_import(&file, 0, [30_000, 30_000 - saved, 0, saved, 0]);
}

#[test]
fn records_are_made_changed_shown_and_deleted() {
    let place = Place::new();
    let put = ["record", "put", "--kind", "会员", "--set", "name=王芳", "--set", "status=在册"];
    let made = place.json(&put, 0);
    let (id, version) = (made["id"].as_str().unwrap(), made["version"].as_str().unwrap());
    let edit = ["record", "put", "--kind", "member", "--id", id, "--set", "post=督导"];
    place.json(&edit, 0);
    let conflict = place.json(&[&edit[..], &["--set", "post=x", "--expect", version]].concat(), 4);
    assert_eq!(conflict["problems"][0]["code"], "record.version");

    let shown = place.json(&["record", "show", id], 0);
    assert_eq!((&shown["fields"]["post"], &shown["home"]), (&"督导".into(), &"440100".into()));
    let file = place.file("record.json", shown.to_string().replace("督导", "主任"));
    assert_eq!(place.json(&["record", "put", "--file", &file], 0)["unchanged"], false);
    place.json(&["record", "put", "--file", &file], 4);
    assert_eq!(place.lines(&["record", "history", id], 0).len(), 3);
    assert_eq!(place.lines(&["record", "list", "--kind", "member", "--where", "post=主任"], 0).len(), 1);
    assert!(place.lines(&["record", "list", "--kind", "member", "--where", "post=督导"], 0).is_empty());

    place.json(&["record", "delete", id], 0);
    assert!(place.members().is_empty());
    assert_eq!(place.lines(&["record", "history", id], 0).len(), 4);
    assert_eq!(place.run(&["record", "show", "01890a5d-ac96-774b-bcce-b302099a8057"]).status.code(), Some(3));
    let bad = place.json(&["record", "put", "--kind", "member", "--set", "nme=x", "--set", "mobile=1"], 3);
    assert_eq!(bad["problems"].as_array().map(Vec::len), Some(2), "{bad}");
}

#[test]
fn a_refusal_says_what_may_be_done() {
    let place = Place::new();
    let put = ["record", "put", "--kind", "member", "--set"];
    let refused = |args: &[&str]| {
        let told = place.json(args, 3);
        let problems = told["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 1, "{told}");
        ["code", "zh", "en"].map(|name| problems[0][name].as_str().unwrap().to_owned())
    };
    let [code, zh, en] = refused(&[&put[..], &["name=王芳", "--set", "status=RETURNED"]].concat());
    assert_eq!(code, "record.step");
    assert!(en.contains("a record may begin with: ") && en.contains("Active"), "{en}");
    assert!(zh.contains("新记录可选："), "{zh}");

    let made = place.json(&[&put[..], &["name=王芳", "--set", "status=ACTIVE"]].concat(), 0);
    let id = made["id"].as_str().unwrap();
    let [_, zh, en] = refused(&[&put[..], &["status=APPLIED", "--id", id]].concat());
    assert!(en.contains("it is \"Active\" now and may become: ") && en.contains("Suspended"), "{en}");
    assert!(!en.contains("Applied") && zh.contains("可改为："), "{zh}");

    let round = ["record", "put", "--kind", "award_round", "--set", "year=2026", "--set", "title=优秀社工"];
    let [code, zh, en] = refused(&round);
    assert_eq!(code, "record.not_owner");
    assert!(en.starts_with("award rounds are made by the province"), "{en}");
    assert!(zh.starts_with("评选活动由省级建立"), "{zh}");
}

#[test]
fn a_mistyped_id_makes_no_record() {
    let place = Place::new();
    let absent = "01890a5d-ac96-774b-bcce-b302099a8057";
    let put = ["record", "put", "--kind", "member", "--set", "name=王芳", "--set", "status=ACTIVE"];
    let check = |args: &[&str]| {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains("there is no member"), "{}", stderr(&output));
    };
    check(&[&put[..], &["--id", absent]].concat());
    let both = format!(
        r#"[{{"name":"李娜","status":"ACTIVE"}},
            {{"kind":"member","id":"{absent}","fields":{{"name":"王芳","status":"ACTIVE"}}}}]"#
    );
    let file = place.file("records.json", both);
    check(&["record", "put", "--kind", "member", "--file", &file]);
    assert!(place.members().is_empty());

    let made = place.json(&put, 0);
    let id = made["id"].as_str().unwrap();
    place.json(&["record", "delete", id], 0);
    place.json(&[&put[..], &["--id", id]].concat(), 0);
    assert_eq!(place.members().len(), 1, "a deleted record can be brought back");
}

#[test]
fn the_index_can_be_made_again_from_the_log() {
    let place = Place::new();
    let file = place.file("roster.csv", roster(&["王芳,,,A1", "李娜,,,A2"]));
    place.check_import(&file, 0, [2, 2, 0, 0, 0]);
    let before = place.json(&["verify"], 0);
    assert_eq!(place.json(&["rebuild"], 0)["records"], 2);
    let one = place.run(&["import", &place.file("one.csv", roster(&["王芳,,,A1"])), "--kind", "member"]);
    let text = String::from_utf8_lossy(&one.stdout).into_owned();
    assert!(text.contains("  1 row: 0 new, 0 updated, 1 unchanged"), "{text}");
    let after = place.json(&["verify"], 0);
    assert_eq!((&before["digest"], &before["sound"]), (&after["digest"], &true.into()));
    let status = place.json(&["status"], 0);
    assert_eq!((&status["records"]["member"], &status["outbox"]), (&2.into(), &2.into()));
    assert_eq!(place.run(&["status", "--check"]).status.code(), Some(1), "nobody runs it");
}

#[test]
fn a_damaged_log_sends_nobody_to_rebuild() {
    let place = Place::new();
    let file = place.file("roster.csv", roster(&["王芳,,,A1", "李娜,,,A2"]));
    place.check_import(&file, 0, [2, 2, 0, 0, 0]);
    let segment = place.data_dir().join("log/00000000000000000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[200] ^= 1;
    fs::write(&segment, bytes).unwrap();
    for (lang, backup) in [("zh", "备份"), ("en", "backup")] {
        for command in ["rebuild", "status"] {
            let output = place.run(&[command, "--lang", lang]);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(7), "{command}: {said}");
            assert!(
                said.contains(backup) && !said.contains("run rebuild") && !said.contains("可用 rebuild"),
                "{said}"
            );
        }
    }
    assert!(place.data_dir().join("index/store").exists(), "the index is left alone");
}

#[test]
fn a_city_key_that_is_lost_or_exposed_is_told_with_what_to_do() {
    #[track_caller]
    fn check(place: &Place, exit: i32, texts: [&str; 2]) {
        for (lang, text) in ["zh", "en"].into_iter().zip(texts) {
            for command in ["status", "rebuild"] {
                let output = place.run(&[command, "--lang", lang]);
                assert_eq!(output.status.code(), Some(exit), "{}", stderr(&output));
                assert!(stderr(&output).contains(text), "{}", stderr(&output));
            }
        }
    }
    let place = Place::new();
    let key = place.data_dir().join("keys/city.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let advice = format!("chmod 600 {}", key.display());
    check(&place, 2, [&advice, &advice]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let copy = place.data_dir().join("copy.key");
    fs::rename(&key, &copy).unwrap();
    check(&place, 7, ["请把备份的 keys/ 放回原处", "put the copy of keys/ back"]);
    fs::rename(&copy, &key).unwrap();
    place.json(&["status"], 0);
}

#[test]
fn commands_at_the_same_time_share_the_site() {
    let place = Place::new();
    let start = |n: usize| {
        let name = format!("name=王{}", ["一", "二", "三", "四"][n]);
        let mut command =
            place.command(&["record", "put", "--kind", "member", "--set", &name, "--set", "status=ACTIVE"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    };
    let running: Vec<_> = (0..4).map(start).collect();
    let failed: Vec<String> = running
        .into_iter()
        .map(|child| child.wait_with_output().expect("it ends"))
        .filter(|output| !output.status.success())
        .map(|output| stderr(&output))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(place.members().len(), 4);
}

#[test]
fn mistakes_are_told_at_once_and_nothing_begins() {
    let place = Place::new();
    let options =
        ["--option", "log.segment_mib=0", "--option", "hub=http://10.0.0.1:1", "--option", "nothing=1"];
    let output = place.run(&[&["run"][..], &options].concat());
    assert_eq!(output.status.code(), Some(2));
    for expected in ["3 mistakes", "log.segment_mib", "a host with a port is wanted", "no setting nothing"] {
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    let output = place.run(&["run", "--option", "nothing=1"]);
    assert!(stderr(&output).contains("1 mistake in the settings"), "{}", stderr(&output));
    assert!(!place.data_dir().join("node.sock").exists());
    let json = place.run(&["init", "--site", "100000", "--json"]);
    let error: Value = serde_json::from_slice(&json.stderr).expect("an object on stderr");
    assert_eq!((json.status.code(), &error["error"]["code"]), (Some(2), &"usage".into()));
    assert_eq!(place.run(&["init", "--site", "440100"]).status.code(), Some(2), "there is a site already");
    assert_eq!(program(&["status"]).output().unwrap().status.code(), Some(2), "no directory was named");
}

#[test]
fn settings_come_from_the_directory_and_can_be_checked() {
    let place = Place::new();
    let template = String::from_utf8(place.run(&["config", "template"]).stdout).unwrap();
    let config = template
        .replace("#drain_seconds = 20", "drain_seconds = 7")
        .replace("#lang = \"auto\"", "lang = \"zh\"");
    fs::write(place.data_dir().join("config.toml"), config).unwrap();
    let checked = place.json(&["config", "check"], 0);
    assert_eq!(checked["settings"]["drain_seconds"]["value"], "7");
    assert!(checked["settings"]["lang"]["from"].as_str().is_some_and(|from| from.contains("config.toml:")));
    let text = String::from_utf8(place.run(&["status"]).stdout).unwrap();
    assert!(text.contains("广州市"), "the file's language holds: {text}");
}

/// What `init` shows is what can be checked, and nothing else passes for it.
#[test]
fn a_recovery_key_that_was_written_down_can_be_checked() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("node").display().to_string();
    let made =
        program(&["init", "--site", "440100", "--json", "--data-dir", &data_dir]).output().expect("it runs");
    let made: Value = serde_json::from_slice(&made.stdout).expect("an object");
    let key = made["recovery_key"].as_str().expect("a key").to_owned();
    let check = |typed: &str| {
        let mut command = program(&["recovery-key", "check", "--data-dir", &data_dir]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("it starts");
        writeln!(child.stdin.take().expect("a pipe"), "{typed}").expect("written");
        child.wait_with_output().expect("it ends").status.code()
    };
    assert_eq!(check(&key.to_lowercase().replace('-', " ")), Some(0));
    let other = if key.starts_with('7') { "8" } else { "7" };
    assert_eq!(check(&format!("{other}{}", &key[1..])), Some(3), "a mistake");
    assert_eq!(check(""), Some(3), "nothing");
}
