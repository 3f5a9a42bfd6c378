//! Real processes on one machine: a hub and its nodes, each in a directory of its own, over loopback.
//!
//! ```text
//! DIR/hub/…  DIR/nodes/440100/…  DIR/logs/440100.log  DIR/linking.key
//! ```
//!
//! Every data directory holds the settings that its site runs with, so that a site which was stopped or
//! killed can be started again by hand with its directory alone.

mod equal;
mod home;
mod place;
mod port;
mod process;
mod socket;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use liandong_node::now::random;
use liandong_proto::id::{SiteCode, hex};
use place::Place;
use port::Port;
use tokio::task::JoinSet;

pub use equal::Standing;
pub use home::Home;
pub use process::{SITE_HUB, SITE_NODE, TIED, stand_in, stop_when_stdin_ends};
pub use socket::{Door, decoded, fields_of, id_of, put_of};

/// Why something with a cluster did not work.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A file, a directory or a program.
    #[error("{path}: {source}; check the path, the permissions and the free space")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A command of a site failed.
    #[error("{what} failed ({status}): {said}")]
    Command {
        /// Site and command.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// A process that should stay has ended.
    #[error("the process of {name} has ended ({status}); the last it said:\n{said}")]
    Ended {
        /// Which site.
        name: String,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        said: String,
    },
    /// Something did not happen in time.
    #[error("waited in vain for {0}")]
    Slow(String),
    /// A site refused a change.
    #[error("a site refused a change: {0}")]
    Refused(String),
    /// A call over a socket.
    #[error("a call to a site failed: {0}")]
    Status(Box<tonic::Status>),
    /// Nobody serves the socket of a site.
    #[error("site {0} does not run")]
    NotRunning(SiteCode),
    /// Two sites that have exchanged everything show different records.
    #[error("city {0} and the hub show different records; run verify at both")]
    Different(SiteCode),
}

impl ClusterError {
    /// For `map_err`: an error of this path.
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> ClusterError + '_ {
        move |source| ClusterError::File { path: path.to_path_buf(), source }
    }
}

impl From<tonic::Status> for ClusterError {
    fn from(status: tonic::Status) -> Self {
        ClusterError::Status(Box::new(status))
    }
}

/// Where a hub listens, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// For members.
    pub sync: String,
    /// For cities that join.
    pub enrolment: String,
    /// For analysts.
    pub analysts: String,
}

impl Ports {
    fn settings(&self) -> String {
        let Ports { sync, enrolment, analysts } = self;
        format!("listen = {sync:?}\n[enrolment]\nlisten = {enrolment:?}\n[analysts]\nlisten = {analysts:?}\n")
    }
}

async fn join(hub: &Home, node: &Home) -> Result<(), ClusterError> {
    let invitation = hub.answer(&["city", "invite", &node.site.to_string(), "--json"]).await?;
    let invitation: serde_json::Value = serde_json::from_str(&invitation).unwrap_or_default();
    let code = invitation["code"].as_str().unwrap_or_default();
    node.answer(&["join", code]).await?;
    agree(hub, node.site).await
}

/// Registers an agreement with a city that has joined: for the key that it has enrolled, and for as long as anybody
/// works with these directories.
async fn agree(hub: &Home, city: SiteCode) -> Result<(), ClusterError> {
    let city = city.to_string();
    let agreed = ["city", "agree", &city, "--role", "provide", "--fingerprint", "enrolled"];
    let terms = ["--from", "2020-01-01", "--to", "2099-12-31", "--document", "粤社协〔2026〕1号"];
    hub.answer(&[&agreed[..], &terms, &["--purpose", "省级汇总、评选和自律"]].concat()).await.map(drop)
}

/// Starts a node; one that is no member yet joins first, when there is a hub to join. Without one it works on its own.
async fn start(node: &mut Place, settings: &str, hub: Option<&Home>) -> Result<(), ClusterError> {
    node.home.settings(settings)?;
    if let Some(hub) = hub.filter(|_| !node.home.is_member()) {
        join(hub, &node.home).await?;
    }
    node.start().await
}

/// A hub and its nodes.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    hub: Place,
    nodes: BTreeMap<SiteCode, Place>,
    /// Where the hub listens, once it has been started; it listens there again.
    ports: Option<Ports>,
    /// What it holds of them while it is down.
    held: Vec<Port>,
    /// The city at which a person accepts what leaves; all others have the setting for unattended installs.
    by_hand: Option<SiteCode>,
    /// Whether the nodes' settings name the linking key.
    links: bool,
    /// Where the hub mirrors its log, from its next start on.
    mirror: Option<PathBuf>,
    /// Where nodes reach the hub, if that is another place than the one where it listens.
    way: Option<String>,
}

impl Cluster {
    /// Makes a hub and a node for each city; nothing runs yet. `program` has the hidden subcommands.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn make(program: &Path, dir: &Path, cities: &[SiteCode]) -> Result<Cluster, ClusterError> {
        let mut cluster = Cluster::over(program, dir, cities)?;
        let key = cluster.linking_key();
        fs::write(&key, format!("{}\n", hex(&random::<32>()))).map_err(ClusterError::file(&key))?;
        // A key that others may read is refused.
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).map_err(ClusterError::file(&key))?;
        cluster.hub.home.init().await?;
        cluster.each_node(|node| async move { node.home.init().await.map(|()| node) }).await?;
        Ok(cluster)
    }

    /// A hub and nodes whose directories are there already, as a cluster has left them; nothing runs yet.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn over(program: &Path, dir: &Path, cities: &[SiteCode]) -> Result<Cluster, ClusterError> {
        let logs = dir.join("logs");
        fs::create_dir_all(&logs).map_err(ClusterError::file(&logs))?;
        let place = |site: SiteCode| Place::new(program, dir, site);
        let hub = place(SiteCode::PROVINCE);
        let nodes = cities.iter().map(|city| (*city, place(*city))).collect();
        let dir = dir.to_path_buf();
        let (by_hand, mirror, way) = (None, None, None);
        let (ports, held) = (None, Vec::new());
        Ok(Cluster { dir, hub, nodes, ports, held, by_hand, links: true, mirror, way })
    }

    /// The directory with everything in it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file with the province's linking key.
    pub fn linking_key(&self) -> PathBuf {
        self.dir.join("linking.key")
    }

    /// Nodes started from now on have no linking key but one that comes over the hub.
    pub fn forget_linking_key(&mut self) {
        self.links = false;
    }

    /// The hub mirrors its log into a directory, from its next start on; with `None` it does not any more.
    pub fn mirror(&mut self, dir: Option<PathBuf>) {
        self.mirror = dir;
    }

    /// Hub and nodes run by these commands from now on.
    pub fn live_on(&mut self, hub: &[OsString], nodes: &[OsString]) {
        self.hub.home.program.by = hub.to_vec();
        self.nodes.values_mut().for_each(|node| node.home.program.by = nodes.to_vec());
    }

    /// The hub listens at this address from its next start on, wherever there is room.
    pub fn listen_at(&mut self, address: &str) {
        self.ports = Some(Ports {
            sync: address.to_owned(),
            enrolment: address.to_owned(),
            analysts: address.to_owned(),
        });
    }

    /// Nodes started from now on reach the hub at this host and port, which somebody passes on to where it listens.
    pub fn reach_hub_at(&mut self, way: &str) {
        self.way = Some(way.to_owned());
    }

    /// The hub.
    pub fn hub(&self) -> &Home {
        &self.hub.home
    }

    /// The node of a city.
    ///
    /// # Panics
    /// When the cluster was made without it.
    pub fn node(&self, city: SiteCode) -> &Home {
        &self.nodes[&city].home
    }

    /// The cities, in the order of their codes.
    pub fn cities(&self) -> impl Iterator<Item = SiteCode> {
        self.nodes.keys().copied()
    }

    /// Process id of a site, while it runs.
    pub fn pid(&self, site: SiteCode) -> Option<u32> {
        if site.is_province() { self.hub.pid() } else { self.nodes.get(&site)?.pid() }
    }

    /// Where the hub listens; `None` before its first start.
    pub fn ports(&self) -> Option<&Ports> {
        self.ports.as_ref()
    }

    /// Starts the hub, where it listened before if it has run already.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn start_hub(&mut self) -> Result<(), ClusterError> {
        let mut any = || {
            // Held for as long as the cluster lives: the hub may be down for a while.
            let mut one = || match Port::free() {
                Some(port) => {
                    let address = format!("127.0.0.1:{}", port.number);
                    self.held.push(port);
                    address
                }
                None => "127.0.0.1:0".into(),
            };
            Ports { sync: one(), enrolment: one(), analysts: one() }
        };
        let mirror = self.mirror.as_ref().map(|dir| format!("mirror = {:?}\n", dir.display().to_string()));
        let settings = |ports: &Ports| mirror.clone().unwrap_or_default() + &ports.settings();
        let ports = self.ports.clone().unwrap_or_else(&mut any);
        self.hub.home.settings(&settings(&ports))?;
        let ports = self.hub.start_listening().await?;
        // For whoever starts it again by hand: the nodes look for it here.
        self.hub.home.settings(&settings(&ports))?;
        self.ports = Some(ports);
        Ok(())
    }

    /// Registers an agreement with a city, for the signing key that it has enrolled last.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn agree(&self, city: SiteCode) -> Result<(), ClusterError> {
        agree(&self.hub.home, city).await
    }

    /// Makes a city a member of the federation: an invitation by the hub's command line, taken at the node's, and an
    /// agreement, without which it would not sync.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn join(&self, city: SiteCode) -> Result<(), ClusterError> {
        join(&self.hub.home, self.node(city)).await
    }

    /// Has a city wait, from its next start on, until somebody has accepted what leaves it.
    pub fn accept_by_hand(&mut self, city: SiteCode) {
        self.by_hand = Some(city);
    }

    /// Starts a city's node.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn start_node(&mut self, city: SiteCode) -> Result<(), ClusterError> {
        let (settings, hub) = (self.node_settings(city), self.inviting());
        let node = self.nodes.get_mut(&city).ok_or(ClusterError::NotRunning(city))?;
        start(node, &settings, hub.as_ref()).await
    }

    /// Starts all nodes that do not run, at the same time.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn start_nodes(&mut self) -> Result<(), ClusterError> {
        let hub = self.inviting();
        let settings: BTreeMap<SiteCode, String> =
            self.cities().map(|city| (city, self.node_settings(city))).collect();
        self.each_node(|mut node| {
            let (settings, hub) = (settings[&node.home.site].clone(), hub.clone());
            async move {
                if !node.runs() {
                    start(&mut node, &settings, hub.as_ref()).await?;
                }
                Ok(node)
            }
        })
        .await
    }

    fn node_settings(&self, city: SiteCode) -> String {
        let unattended = self.by_hand != Some(city);
        let key = format!("linking_key = {:?}\n", self.linking_key().display().to_string());
        let key = if self.links { &key } else { "" };
        let way = self.way.as_ref().map(|way| format!("hub = {way:?}\n")).unwrap_or_default();
        format!("{key}{way}accept_outbound_unattended = {unattended}\n[sync]\nretry_max_s = 1\n")
    }

    /// The hub, if it can invite anybody now.
    fn inviting(&self) -> Option<Home> {
        self.hub.runs().then(|| self.hub.home.clone())
    }

    /// The nodes that were started and not stopped since.
    fn running(&self) -> impl Iterator<Item = &Home> {
        self.nodes.values().filter(|node| node.runs()).map(|node| &node.home)
    }

    /// Ends the hub at once (SIGKILL).
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn kill_hub(&mut self) -> Result<(), ClusterError> {
        self.hub.kill().await
    }

    /// Ends a city's node at once (SIGKILL).
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn kill_node(&mut self, city: SiteCode) -> Result<(), ClusterError> {
        self.nodes.get_mut(&city).ok_or(ClusterError::NotRunning(city))?.kill().await
    }

    /// Asks the hub to stop and waits until it has.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn stop_hub(&mut self) -> Result<(), ClusterError> {
        self.hub.stop().await
    }

    /// Asks a city's node to stop and waits until it has.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn stop_node(&mut self, city: SiteCode) -> Result<(), ClusterError> {
        self.nodes.get_mut(&city).ok_or(ClusterError::NotRunning(city))?.stop().await
    }

    /// Asks everything that runs to stop: the nodes at the same time, then the hub.
    ///
    /// # Errors
    /// [`ClusterError`]; the first of those that did not end well.
    pub async fn stop(&mut self) -> Result<(), ClusterError> {
        let nodes = self.each_node(|mut node| async move { node.stop().await.map(|()| node) }).await;
        let hub = self.hub.stop().await;
        nodes.and(hub)
    }

    /// Sites whose processes have ended by themselves since the last call, and how.
    pub fn ended(&mut self) -> Vec<(SiteCode, ClusterError)> {
        let all = std::iter::once(&mut self.hub).chain(self.nodes.values_mut());
        all.filter_map(|place| Some((place.home.site, place.ended()?))).collect()
    }

    /// Does something with all nodes at once.
    async fn each_node<F>(&mut self, work: impl Fn(Place) -> F) -> Result<(), ClusterError>
    where
        F: Future<Output = Result<Place, ClusterError>> + Send + 'static,
    {
        let mut all = JoinSet::new();
        for node in std::mem::take(&mut self.nodes).into_values() {
            all.spawn(work(node));
        }
        let mut first = Ok(());
        while let Some(done) = all.join_next().await {
            match done {
                Ok(Ok(node)) => {
                    self.nodes.insert(node.home.site, node);
                }
                Ok(Err(error)) => first = first.and(Err(error)),
                Err(_) => first = first.and(Err(ClusterError::Slow("a task that was cut short".into()))),
            }
        }
        first
    }
}
