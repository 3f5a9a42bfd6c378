//! One site of a cluster with its process, if it has one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use liandong_proto::id::SiteCode;

use super::process::Process;
use super::{ClusterError, Door, Home};

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
        let home = &self.home;
        let args = vec!["run".into(), "--data-dir".into(), home.data_dir.clone().into()];
        self.process = Some(home.program.spawn(&home.site.to_string(), args, &home.log)?);
        let home = home.clone();
        let look = || {
            let socket = home.socket.clone();
            async move { Door::open(&socket).await.map(drop) }
        };
        self.wait("its socket", look).await
    }

    /// Starts a hub; the address that it listens on.
    pub async fn start_listening(&mut self) -> Result<String, ClusterError> {
        let told = self.home.data_dir.join("sync.addr");
        match fs::remove_file(&told) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ClusterError::File { path: told, source: error });
            }
            _ => {}
        }
        self.start().await?;
        let look = || std::future::ready(fs::read_to_string(&told).ok().map(|text| text.trim().to_owned()));
        self.wait("its address", look).await
    }

    async fn wait<T, F>(&mut self, what: &str, look: impl Fn() -> F) -> Result<T, ClusterError>
    where
        F: Future<Output = Option<T>>,
    {
        let site = self.home.site;
        let waiting = async {
            loop {
                if let Some(found) = look().await {
                    return Ok(found);
                }
                self.process.as_mut().map_or(Ok(()), Process::check)?;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| Err(ClusterError::Slow(format!("{what} at {site}"))))
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
