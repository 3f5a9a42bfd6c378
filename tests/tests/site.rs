//! One site as a process of its own, started as its tests want it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::province::program;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A node or a hub in a directory of its own, with the options that all its commands get.
pub struct Site {
    dir: tempfile::TempDir,
    subcommand: &'static str,
    options: Vec<String>,
}

/// A site that runs.
pub struct Running {
    child: Child,
    /// What it said when everything was served.
    pub told: Value,
}

impl Site {
    /// Makes a node.
    pub async fn node(options: &[&str]) -> Site {
        let site = Site::new("site-node", options);
        site.answer(&["init", "--site", "440100"]).await;
        site
    }

    /// Makes a hub.
    pub async fn hub(options: &[&str]) -> Site {
        let site = Site::new("site-hub", options);
        site.answer(&["init"]).await;
        site
    }

    fn new(subcommand: &'static str, options: &[&str]) -> Site {
        let dir = tempfile::tempdir().expect("a directory");
        Site { dir, subcommand, options: options.iter().map(|option| (*option).to_owned()).collect() }
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("site")
    }

    /// A file beside it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn program(&self, before: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg(self.subcommand).args(before).args(args).arg("--data-dir").arg(self.data_dir());
        for option in &self.options {
            command.args(["--option", option]);
        }
        command.args(["--lang", "en"]).kill_on_drop(true).process_group(0);
        command
    }

    /// Runs a command to its end.
    pub async fn command(&self, args: &[&str]) -> Output {
        self.program(&[], args).stdin(Stdio::null()).output().await.expect("it runs")
    }

    /// As [`Site::command`], for commands that must end well: their answer in JSON.
    #[track_caller]
    pub fn answer(&self, args: &[&str]) -> impl Future<Output = Value> {
        let command = self.program(&[], &[args, &["--json"]].concat()).stdin(Stdio::null()).output();
        let shown = format!("{args:?}");
        async move {
            let output = command.await.expect("it runs");
            assert!(output.status.success(), "{shown}: {}{}", stdout(&output), stderr(&output));
            serde_json::from_slice(&output.stdout).unwrap_or_default()
        }
    }

    /// Starts it, and waits until it says that everything is served.
    pub async fn start(&self) -> Running {
        self.start_with(&[] as &[(&str, &Path)]).await
    }

    /// As [`Site::start`], with variables of the environment.
    pub async fn start_with(&self, variables: &[(&str, impl AsRef<OsStr>)]) -> Running {
        let mut command = self.program(&["--tied"], &["run", "--json"]);
        for (name, value) in variables {
            command.env(name, value);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time");
        let line = line.expect("readable").expect("it says where it is");
        Running { child, told: serde_json::from_str(&line).expect("an object") }
    }
}

impl Running {
    /// Ends it at once.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) {
        drop(self.child.stdin.take());
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("in time");
        assert!(status.expect("it ends").success());
    }
}

/// What a command has said.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it has answered.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
