//! The recipes in docs/analysts.md are those that run: by Python, a shell and R where these are there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use liandong_proto::pb::record::v1 as pb;
use tokio::process::Command;

use super::study::Study;
use crate::province::MEMBER;
use crate::tidy::root;

/// Where Python is, if it is not `python3` on the PATH.
const PYTHON: &str = "LIANDONG_TEST_PYTHON";
const PACKAGES: &str = "import adbc_driver_flightsql, duckdb, pandas, polars, pyarrow";

fn recipes() -> PathBuf {
    root().join("tests").join("recipes")
}

/// The pieces of a script: name and text.
fn pieces(script: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(recipes().join(script)).expect("a script");
    let mut pieces = Vec::<(String, String)>::new();
    for line in text.lines() {
        match (line.strip_prefix("# ---- "), pieces.last_mut()) {
            (Some(name), _) => pieces.push((name.to_owned(), String::new())),
            (None, Some((_, piece))) => piece.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    pieces
}

/// The fenced blocks of a language in the documentation.
fn fenced(language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("docs").join("analysts.md")).expect("a document");
    let mut blocks = Vec::new();
    let mut inside: Option<(bool, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), inside.take()) {
            (Some(_), Some((wanted, block))) => blocks.extend(wanted.then_some(block)),
            (Some(begun), None) => inside = Some((begun == language, String::new())),
            (None, Some((wanted, block))) => inside = Some((wanted, block + line + "\n")),
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn the_document_shows_what_runs() {
    for (script, language) in [("recipes.py", "python"), ("recipes.sh", "sh"), ("recipes.R", "r")] {
        let (pieces, blocks) = (pieces(script), fenced(language));
        assert!(!pieces.is_empty(), "{script}");
        for (name, piece) in pieces.iter().filter(|(name, _)| name != "end") {
            let is_shown = blocks.iter().any(|block| block.trim_matches('\n') == piece.trim_matches('\n'));
            assert!(is_shown, "{name} of {script} is not in the document word for word");
        }
        for block in &blocks {
            let is_run = pieces.iter().any(|(_, piece)| piece.trim_matches('\n') == block.trim_matches('\n'));
            assert!(is_run, "{script} has no piece:\n{block}");
        }
    }
}

/// A release with something that changed since the first, and whoever reads it, in a directory of their own.
struct Desk {
    study: Study,
    token: String,
    certificate: PathBuf,
    dir: PathBuf,
}

impl Desk {
    async fn new(role: &str) -> Desk {
        let study = Study::published().await;
        let (city, id, _) = study.members[0].clone();
        let edit = pb::Member { cpd_hours: Some(76), ..pb::Member::default() };
        let node = study.province.door(city).await;
        node.put(MEMBER, Some(id), &edit).await.expect("an edit");
        let more = super::study::person(930, pb::QualificationLevel::Assistant);
        node.put(MEMBER, None, &more).await.expect("one more");
        study.province.equal().await;
        study.publish("").await;
        let (token, dir) = (study.token(role, role).await, study.province.file("desk"));
        fs::create_dir(&dir).expect("a directory");
        let certificate = study.province.hub().data_dir.join("keys").join("ca.crt");
        Desk { study, token, certificate, dir }
    }

    async fn run(&self, program: &str, args: &[&str]) -> Output {
        Command::new(program)
            .args(args)
            .current_dir(&self.dir)
            .env("HUB_ADDRESS", self.study.address())
            .env("HUB_TOKEN", &self.token)
            .env("HUB_CA", &self.certificate)
            .kill_on_drop(true)
            .output()
            .await
            .expect("it runs")
    }

    fn script(name: &str) -> String {
        recipes().join(name).display().to_string()
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Whether a program is there and does that.
async fn does(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().await.is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn python_reads_releases_in_each_way_that_is_shown() {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".into());
    if !does(&python, &["-c", PACKAGES]).await {
        println!("skipped: {python} lacks one of what `{PACKAGES}` names; {PYTHON} names another");
        return;
    }
    for role in ["registrar", "analyst"] {
        let desk = Desk::new(role).await;
        let told = said(&desk.run(&python, &[&Desk::script("recipes.py")]).await);
        let expected = [
            "adbc [('广州市',)]",
            "parameters 15",
            "pandas 21 2",
            "polars 21 3",
            "duckdb 3",
            "flight 21 True",
            "download 21 21",
            "in duckdb 21",
            "csv 21 440100",
            "changes 2 True",
            "pinned 20",
        ];
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{role}");
        let csv = fs::read(desk.dir.join("members.csv")).expect("a file");
        assert!(csv.starts_with("\u{feff}".as_bytes()));
        desk.study.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_downloads_releases_as_it_is_shown() {
    if !does("curl", &["--version"]).await || !does("bash", &["--version"]).await {
        println!("skipped: there is no curl or no bash on the PATH");
        return;
    }
    let desk = Desk::new("registrar").await;
    // The second time the server says that nothing is new.
    for _ in 0..2 {
        let told = said(&desk.run("bash", &["-e", &Desk::script("recipes.sh")]).await);
        let releases: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(releases.as_array().map(Vec::len), Some(2));
    }
    let published = desk.study.province.hub().data_dir.join("releases/000002/registrar/members.parquet");
    let read = |path: &Path| fs::read(path).expect("a file");
    assert_eq!(read(&desk.dir.join("members.parquet")), read(&published));
    let csv = desk.study.https(&desk.token).get("/releases/latest/members.csv").await;
    assert_eq!(read(&desk.dir.join("members.csv")), csv.body, "what was fetched first is still there");
    desk.study.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r_reads_a_release_as_it_is_shown() {
    if !does("Rscript", &["--version"]).await {
        println!("skipped: there is no Rscript on the PATH");
        return;
    }
    let has_arrow = does("Rscript", &["-e", "library(arrow)"]).await;
    if !has_arrow {
        println!("skipped in part: this R has no package arrow");
    }
    let desk = Desk::new("analyst").await;
    let told = said(&desk.run("Rscript", &[&Desk::script("recipes.R")]).await);
    assert!(told.contains("440100") && told.contains("440300"), "{told}");
    assert_eq!(told.contains("ASSISTANT"), has_arrow, "{told}");
    desk.study.stop().await;
}
