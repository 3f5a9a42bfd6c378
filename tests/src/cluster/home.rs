//! Where a site of a cluster lives, and how it is spoken to.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use liandong_node::site::Paths;
use liandong_proto::id::SiteCode;

use super::process::{Program, SITE_HUB, SITE_NODE};
use super::{ClusterError, Door};

/// A site's directory and its command line, whether or not it runs.
#[derive(Debug, Clone)]
pub struct Home {
    /// Which site.
    pub site: SiteCode,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
    /// Where its process writes what it says.
    pub log: PathBuf,
    pub(super) program: Program,
}

impl Home {
    pub(super) fn new(program: &Path, dir: &Path, site: SiteCode) -> Home {
        let (data_dir, socket, subcommand) = if site.is_province() {
            (dir.join("hub"), "hub.sock", SITE_HUB)
        } else {
            (dir.join("nodes").join(site.to_string()), "node.sock", SITE_NODE)
        };
        Home {
            site,
            socket: data_dir.join(socket),
            data_dir,
            log: dir.join("logs").join(format!("{site}.log")),
            program: Program { path: program.to_path_buf(), subcommand, by: Vec::new() },
        }
    }

    pub(super) async fn init(&self) -> Result<(), ClusterError> {
        let mut args = vec!["init"];
        let site = self.site.to_string();
        if !self.site.is_province() {
            args.extend(["--site", &site]);
        }
        self.answer(&args).await.map(drop)
    }

    /// Whether it has joined the federation.
    pub fn is_member(&self) -> bool {
        Paths::new(&self.data_dir).membership().exists()
    }

    /// Writes the settings that the site runs with from its next start on.
    pub(super) fn settings(&self, text: &str) -> Result<(), ClusterError> {
        let path = self.data_dir.join("config.toml");
        fs::write(&path, text).map_err(ClusterError::file(&path))
    }

    /// Runs a command of this site's command line, `--data-dir` added; its answer, whatever the exit code.
    ///
    /// # Errors
    /// [`ClusterError::File`] when it cannot be started.
    pub async fn command(&self, args: &[&str]) -> Result<Output, ClusterError> {
        let mut all: Vec<OsString> = args.iter().map(OsString::from).collect();
        all.extend(["--data-dir".into(), self.data_dir.clone().into()]);
        self.program.command(all).await
    }

    /// As [`Home::command`], for commands that must end well; what stands on standard output.
    ///
    /// # Errors
    /// [`ClusterError::Command`] with what it said.
    pub async fn answer(&self, args: &[&str]) -> Result<String, ClusterError> {
        let output = self.command(args).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(self.failed(args.first().copied().unwrap_or_default(), &output))
    }

    /// A command of this site that did not end well.
    pub fn failed(&self, command: &str, output: &Output) -> ClusterError {
        let (said, answered) = (&output.stderr, &output.stdout);
        let said = String::from_utf8_lossy(if said.is_empty() { answered } else { said });
        ClusterError::Command {
            what: format!("{command} at {}", self.site),
            status: output.status,
            said: said.trim().to_owned(),
        }
    }

    /// The way to its services.
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`].
    pub async fn door(&self) -> Result<Door, ClusterError> {
        Door::open(&self.socket).await.ok_or(ClusterError::NotRunning(self.site))
    }
}
