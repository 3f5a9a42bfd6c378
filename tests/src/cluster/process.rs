//! A child process that stands for one site, and commands that answer and end.
//!
//! A child dies with its parent: its standard input is a pipe that the parent holds, and a child whose pipe
//! ends stops as it would on SIGTERM. It has a process group of its own, so that Ctrl-C at the terminal
//! reaches the parent alone.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Output, Stdio};

use rustix::process::{Signal, getpid, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::ClusterError;
use crate::line::{AIR, carry_air};

/// Subcommand that stands for `liandong-node`.
pub const SITE_NODE: &str = "site-node";
/// Subcommand that stands for `liandong-hub`.
pub const SITE_HUB: &str = "site-hub";
/// First argument after the subcommand: stop when standard input ends.
pub const TIED: &str = "--tied";

/// Runs the command line that a hidden subcommand stands for. `None` when `args` (the program's name left
/// out) begin with another word.
pub fn stand_in(args: &[OsString]) -> Option<ExitCode> {
    let (word, mut rest) = args.split_first()?;
    if word == AIR {
        return Some(carry_air(rest.first()));
    }
    let (program, main_with): (&str, fn(Vec<OsString>) -> ExitCode) = match word.to_str()? {
        SITE_NODE => ("liandong-node", |args| liandong_node::cli::main_with(args)),
        SITE_HUB => ("liandong-hub", |args| liandong_hub::cli::main_with(args)),
        _ => return None,
    };
    if let Some((first, after)) = rest.split_first()
        && first == TIED
    {
        rest = after;
        stop_when_stdin_ends();
    }
    let args = std::iter::once(OsString::from(program)).chain(rest.iter().cloned());
    Some(main_with(args.collect()))
}

/// Asks this process to stop once nobody holds the other end of its standard input.
pub fn stop_when_stdin_ends() {
    std::thread::spawn(|| {
        let mut nothing = [0; 64];
        while std::io::stdin().read(&mut nothing).is_ok_and(|read| read > 0) {}
        // A process that cannot signal itself is ending already.
        let _ = kill_process(getpid(), Signal::TERM);
    });
}

/// The program that has the hidden subcommands, and where it is told to write its log.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// [`SITE_NODE`] or [`SITE_HUB`].
    pub subcommand: &'static str,
    /// A command that runs it, with its arguments; nothing: it runs where its parent does.
    pub by: Vec<OsString>,
}

/// A child that stays.
#[derive(Debug)]
pub struct Process {
    child: Child,
    answers: Option<BufReader<ChildStdout>>,
    name: String,
    log: PathBuf,
}

impl Program {
    fn begin(&self) -> Command {
        let Some((first, rest)) = self.by.split_first() else { return Command::new(&self.path) };
        let mut command = Command::new(first);
        command.args(rest).arg(&self.path);
        command
    }

    /// Starts a child that stays; its standard error goes to the end of `log`.
    ///
    /// # Errors
    /// [`ClusterError::File`].
    pub fn spawn(&self, name: &str, args: Vec<OsString>, log: &Path) -> Result<Process, ClusterError> {
        let file = OpenOptions::new().create(true).append(true).open(log).map_err(ClusterError::file(log))?;
        let mut child = self
            .begin()
            .args([self.subcommand, TIED])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(ClusterError::file(&self.path))?;
        let answers = child.stdout.take().map(BufReader::new);
        Ok(Process { child, answers, name: name.to_owned(), log: log.to_path_buf() })
    }

    /// Runs a command to its end; what it says is in the answer.
    ///
    /// # Errors
    /// [`ClusterError::File`] when it cannot be started.
    pub async fn command(&self, args: Vec<OsString>) -> Result<Output, ClusterError> {
        let mut command = self.begin();
        command.arg(self.subcommand).args(args).stdin(Stdio::null()).kill_on_drop(true);
        command.process_group(0);
        command.output().await.map_err(ClusterError::file(&self.path))
    }
}

impl Process {
    /// The next line on its standard output; `None` when it has closed that.
    pub async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.answers.as_mut()?.read_line(&mut line).await.ok()?;
        (read > 0).then_some(line)
    }

    /// Its process id, while it lives.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Fails when the process has ended by itself, with the end of what it said.
    ///
    /// # Errors
    /// [`ClusterError::Ended`].
    pub fn check(&mut self) -> Result<(), ClusterError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(source) => Err(ClusterError::File { path: self.log.clone(), source }),
        }
    }

    /// Waits until it ends by itself; how.
    pub async fn wait(&mut self) -> ClusterError {
        match self.child.wait().await {
            Ok(status) => self.ended(status),
            Err(source) => ClusterError::File { path: self.log.clone(), source },
        }
    }

    fn ended(&self, status: ExitStatus) -> ClusterError {
        ClusterError::Ended { name: self.name.clone(), status, said: last_lines(&self.log) }
    }

    /// Ends it at once with SIGKILL.
    ///
    /// # Errors
    /// [`ClusterError::File`].
    pub async fn kill(mut self) -> Result<(), ClusterError> {
        self.child.kill().await.map_err(ClusterError::file(&self.log))
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// [`ClusterError::Ended`] when it does not end well.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await.map_err(ClusterError::file(&self.log))?;
        if status.success() { Ok(()) } else { Err(self.ended(status)) }
    }
}

/// The last lines of a log.
fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
