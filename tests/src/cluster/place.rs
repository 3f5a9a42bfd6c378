//! One site of a cluster with its process, if it has one.

use std::path::Path;
use std::time::Duration;

use liandong_proto::id::SiteCode;
use serde_json::Value;

use super::process::Process;
use super::{ClusterError, Door, Home, Ports};

/// How long a site may take to open: a rebuild of a large index included.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct Place {
    pub home: Home,
    process: Option<Process>,
}

impl Place {
    pub fn new(program: &Path, dir: &Path, site: SiteCode) -> Place {
        Place { home: Home::new(program, dir, site), process: None }
    }

    /// Whether it was started and not stopped since.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::pid)
    }

    /// Starts it and waits until its socket is served.
    pub async fn start(&mut self) -> Result<(), ClusterError> {
        self.spawn(&[])?;
        self.served().await
    }

    /// Starts a hub; where it listens.
    pub async fn start_listening(&mut self) -> Result<Ports, ClusterError> {
        let process = self.spawn(&["--json"])?;
        let line = tokio::time::timeout(PATIENCE, process.line()).await.ok().flatten();
        let told: Option<Value> = line.and_then(|line| serde_json::from_str(&line).ok());
        let ports = told.and_then(|told| {
            let port = |name: &str| told[name].as_str().map(str::to_owned);
            Some(Ports { sync: port("sync")?, enrolment: port("enrolment")?, analysts: port("analysts")? })
        });
        let Some(ports) = ports else {
            let ended = tokio::time::timeout(PATIENCE, process.wait()).await;
            return Err(ended.unwrap_or_else(|_| self.slow("the address")));
        };
        self.served().await?;
        Ok(ports)
    }

    fn spawn(&mut self, flags: &[&str]) -> Result<&mut Process, ClusterError> {
        let home = &self.home;
        let mut args = vec!["run".into(), "--data-dir".into(), home.data_dir.clone().into()];
        args.extend(flags.iter().map(Into::into));
        let process = home.program.spawn(&home.site.to_string(), args, &home.log)?;
        Ok(self.process.insert(process))
    }

    async fn served(&mut self) -> Result<(), ClusterError> {
        let socket = self.home.socket.clone();
        let waiting = async {
            while Door::open(&socket).await.is_none() {
                self.process.as_mut().map_or(Ok(()), Process::check)?;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(served) => served,
            Err(_) => Err(self.slow("the socket")),
        }
    }

    fn slow(&self, what: &str) -> ClusterError {
        ClusterError::Slow(format!("{what} of {}", self.home.site))
    }

    /// How the process has ended by itself, once.
    pub fn ended(&mut self) -> Option<ClusterError> {
        let ended = self.process.as_mut()?.check().err()?;
        self.process = None;
        Some(ended)
    }

    pub async fn kill(&mut self) -> Result<(), ClusterError> {
        match self.process.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    pub async fn stop(&mut self) -> Result<(), ClusterError> {
        match self.process.take() {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }
}
