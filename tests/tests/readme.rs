//! The install section of the README, typed as it stands.
//!
//! Every `sh` block of the section goes, command by command, through one `bash` in a clean home directory, and each must
//! end with 0. What differs from a person at a keyboard:
//!
//! * `cargo build …` is left out, and nothing else: `liandong-hub` and `liandong-node` are scripts that stand for the
//!   programs of this build. The hub's has it listen on ports that the system chooses, so that tests can run beside one
//!   another; the running hub knows them and writes them into its invitations.
//! * `CODE` and `AGE_RECIPIENT` are what was last printed that looks like one, as a person would copy it. `recovery-key
//!   check` is answered with the recovery key that was last shown.
//! * A command that ends in `> FILE 2>&1 &` stays; the next one is typed when FILE says `serving`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::province::{PATIENCE, program};

/// Before the exit code and the directory that stand behind a command's output.
const ENDED: &str = "-- ended:";
const LOOK_AGAIN: Duration = Duration::from_millis(50);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The fenced blocks of one language in the section under a heading, without lines that are comments.
fn blocks(file: &str, heading: &str, language: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join(file)).expect("a text");
    let section = text.lines().skip_while(|line| *line != heading).skip(1);
    let section = section.take_while(|line| !line.starts_with("## "));
    let (mut blocks, mut inside) = (Vec::<Vec<String>>::new(), None);
    for line in section {
        match (line.strip_prefix("```"), inside) {
            (Some(_), Some(_)) => inside = None,
            (Some(begun), None) => {
                inside = Some(begun == language);
                blocks.extend((begun == language).then(Vec::new));
            }
            (None, Some(true)) if !line.starts_with('#') => {
                blocks.last_mut().expect("one was begun").push(line.to_owned());
            }
            (None, _) => {}
        }
    }
    blocks
}

fn english(language: &str) -> Vec<Vec<String>> {
    blocks("README.md", "## Install it", language)
}

/// The last word in a text that a test holds for.
fn last_word(text: &str, is_one: impl Fn(&str) -> bool) -> Option<String> {
    text.split_whitespace().rfind(|word| is_one(word)).map(str::to_owned)
}

fn is_recovery_key(word: &str) -> bool {
    let groups: Vec<&str> = word.split('-').collect();
    groups.len() == 11 && groups.iter().all(|group| group.len() == 5)
}

/// A shell in a home of its own. It ends, with everything that was started in it, when nobody types any more, and at the
/// latest when this goes.
struct Terminal {
    shell: Child,
    keyboard: Option<ChildStdin>,
    screen: Lines<BufReader<ChildStdout>>,
    /// All that was shown so far.
    shown: String,
    /// Where the shell is.
    place: PathBuf,
    dir: tempfile::TempDir,
}

impl Terminal {
    async fn open() -> Terminal {
        let dir = tempfile::tempdir().expect("a directory");
        let (home, programs) = (dir.path().join("at-home"), dir.path().join("programs"));
        for made in [&home, &programs] {
            fs::create_dir(made).expect("a directory");
        }
        let any_port = "LIANDONG_LISTEN=127.0.0.1:0 LIANDONG_ENROLMENT_LISTEN=127.0.0.1:0 ";
        for (name, settings, stands_in) in
            [("liandong-hub", any_port, "site-hub"), ("liandong-node", "", "site-node")]
        {
            let script = programs.join(name);
            let text = format!("#!/bin/sh\n{settings}exec '{}' {stands_in} \"$@\"\n", program().display());
            fs::write(&script, text).expect("written");
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
        }
        let path = std::env::var("PATH").expect("a PATH");
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LIANDONG_") {
                command.env_remove(name);
            }
        }
        let mut shell = command
            .args(["--noprofile", "--norc"])
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("HOME", &home)
            .current_dir(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("bash starts");
        let (keyboard, screen) = (shell.stdin.take(), shell.stdout.take().expect("piped"));
        let screen = BufReader::new(screen).lines();
        let mut terminal = Terminal { shell, keyboard, screen, shown: String::new(), place: home, dir };
        terminal.write("exec 2>&1\ntrap 'kill $(jobs -p); wait' EXIT\n").await.expect("it listens");
        terminal
    }

    async fn write(&mut self, text: &str) -> io::Result<()> {
        self.keyboard.as_mut().expect("open").write_all(text.as_bytes()).await
    }

    /// Types a command; what it shows and its exit code.
    async fn command(&mut self, command: &str) -> (String, i32) {
        let (script, typed) = (self.dir.path().join("command"), self.dir.path().join("typed"));
        let answers_with = command.contains("recovery-key check").then(|| self.last(is_recovery_key));
        fs::write(&script, format!("{command}\n")).expect("written");
        fs::write(&typed, format!("{}\n", answers_with.unwrap_or_default())).expect("written");
        let (script, typed) = (script.display(), typed.display());
        let line = format!(". '{script}' < '{typed}'; printf '\\n{ENDED} %s %s\\n' $? \"$PWD\"\n");
        self.write(&line).await.expect("the shell listens");
        let mut said = String::new();
        let waiting = async {
            loop {
                let line = self.screen.next_line().await.expect("readable").expect("the shell lives");
                match line.strip_prefix(ENDED).and_then(|ended| ended.trim().split_once(' ')) {
                    Some((status, place)) => {
                        return (status.parse().expect("a number"), PathBuf::from(place));
                    }
                    None => said.push_str(&format!("{line}\n")),
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        let (status, place) = ended.unwrap_or_else(|_| panic!("it does not end: {command}\n{said}"));
        self.place = place;
        self.shown.push_str(&said);
        (said, status)
    }

    /// Types a line of the README, and waits for what stays to be there.
    async fn type_line(&mut self, line: &str) {
        let mut command = line.to_owned();
        for (word, is_one) in [
            ("CODE", (|word| word.starts_with("liandong1.")) as fn(&str) -> bool),
            ("AGE_RECIPIENT", |word| word.starts_with("age1")),
        ] {
            if command.split_whitespace().any(|typed| typed == word) {
                command = command.replace(word, &self.last(is_one));
            }
        }
        let (said, status) = self.command(&command).await;
        assert_eq!(status, 0, "{line}\n{said}");
        let Some(stays) = line.strip_suffix(" 2>&1 &") else { return };
        let log = self.place.join(stays.rsplit("> ").next().expect("a file"));
        let read = || fs::read_to_string(&log).unwrap_or_default();
        let waiting = async {
            while !read().contains("\"serving\"") {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(in_time.is_ok(), "it never serves: {line}\n{}", read());
    }

    fn last(&self, is_one: impl Fn(&str) -> bool) -> String {
        last_word(&self.shown, is_one).unwrap_or_else(|| panic!("nothing to copy was shown:\n{}", self.shown))
    }

    /// The rows of `city list --json` by city.
    async fn cities(&mut self) -> Vec<Value> {
        let (said, status) = self.command("liandong-hub city list --json --data-dir hub").await;
        assert_eq!(status, 0, "{said}");
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Types nothing more and waits until all that was started has ended.
    async fn close(mut self) {
        drop(self.keyboard.take());
        let ended = tokio::time::timeout(PATIENCE, self.shell.wait()).await;
        assert!(ended.expect("all that was started ends").is_ok());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let group = self.shell.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(group) = group {
            // Whoever has ended already cannot be ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Whether the hub has the one member of a city, and has compared since.
fn is_there(city: &Value) -> bool {
    let number = |name: &str| city[name].as_u64().unwrap_or_default();
    city["comparison"] == "EQUAL"
        && (number("records"), number("lag_changes")) == (1, 0)
        && number("compared_at_ms") >= number("last_received_ms")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_types_the_install_section_has_a_hub_and_two_cities_that_sync() {
    let mut terminal = Terminal::open().await;
    let lines = english("sh").into_iter().flatten();
    for line in lines.filter(|line| !line.starts_with("cargo build")) {
        terminal.type_line(&line).await;
    }
    let typed = terminal.shown.clone();
    let (mut cities, mut tokens) = (Vec::new(), 0);
    let waiting = async {
        loop {
            cities = terminal.cities().await;
            cities.retain(|city| city["site"] == "440100" || city["site"] == "440300");
            // The numbers are there as tokens: the linking key has come over the hub.
            let list = "liandong-hub record list --kind member --json --data-dir hub";
            tokens = terminal.command(list).await.0.matches("\"t1:").count();
            if cities.len() == 2 && cities.iter().all(is_there) && tokens == 2 {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(in_time.is_ok(), "{tokens} tokens; {cities:#?}\nbefore that:\n{typed}");
    terminal.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_that_it_shows_for_other_machines_are_right() {
    let [settings] = &english("toml")[..] else { panic!("one block of settings") };
    let mut terminal = Terminal::open().await;
    let file = terminal.place.join("hub.toml");
    fs::write(file, settings.join("\n")).expect("written");
    let (said, status) = terminal.command("liandong-hub config check --config hub.toml --data-dir hub").await;
    assert_eq!(status, 0, "{said}");
    terminal.close().await;
}

#[test]
fn both_languages_say_to_type_the_same() {
    for language in ["sh", "toml"] {
        let english = english(language);
        assert!(!english.is_empty());
        assert_eq!(english, blocks("README.zh.md", "## 安装", language));
    }
}
