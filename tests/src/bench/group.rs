//! A hub and its nodes as children; all nodes are asked at once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use liandong_proto::city::cities;
use serde::de::DeserializeOwned;

use super::node::Counters;
use super::peer::Peer;
use super::{BenchError, SyncArgs, hub, node};

/// The children of one measurement.
pub struct Group {
    dir: PathBuf,
    /// The hub, while it runs.
    hub: Option<Peer>,
    nodes: Vec<Peer>,
    joined: bool,
}

/// Sums over all nodes, and the most memory of one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Counters of the nodes added up; `rss` is that of the largest.
    pub nodes: Counters,
    /// Counters of the hub.
    pub hub: Counters,
}

impl Group {
    /// Makes the nodes in a directory of their own; the hub does not run yet.
    pub fn start(args: &SyncArgs, dir: &Path) -> Result<Group, BenchError> {
        fs::create_dir_all(dir).map_err(BenchError::io(dir.display().to_string()))?;
        let linking_key = dir.join("linking.key");
        fs::write(&linking_key, "5c".repeat(32)).map_err(BenchError::io("the linking key"))?;
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&linking_key, private).map_err(BenchError::io("the linking key"))?;
        let sites = args.sites as usize;
        let node = |(place, city): (usize, &liandong_proto::city::City)| {
            let setup = node::Setup {
                data_dir: dir.join(city.code.to_string()),
                site: city.code.0,
                city: place,
                cities: sites,
                members: (args.records + args.changes) as usize,
                seed: args.seed,
                linking_key: linking_key.clone(),
            };
            Peer::start(&city.code.to_string(), node::SUBCOMMAND, &setup)
        };
        let nodes = cities().iter().take(sites).enumerate().map(node).collect::<Result<_, _>>()?;
        Ok(Group { dir: dir.to_path_buf(), hub: None, nodes, joined: false })
    }

    /// Starts the hub; host and port that nodes reach it at. Whoever is no member yet joins.
    pub fn start_hub(&mut self) -> Result<String, BenchError> {
        let setup = hub::Setup { data_dir: self.dir.join("hub") };
        let hub = self.hub.insert(Peer::start("hub", hub::SUBCOMMAND, &setup)?);
        if !self.joined {
            for (city, node) in cities().iter().zip(&mut self.nodes) {
                let code: String = hub.ask(&hub::Ask::Invite(city.code.0))?;
                node.ask::<()>(&node::Ask::Join(code))?;
                hub.ask::<()>(&hub::Ask::Agree(city.code.0))?;
            }
            self.joined = true;
        }
        hub.ask(&hub::Ask::Address)
    }

    /// Stops the hub, everything put away.
    pub fn stop_hub(&mut self) -> Result<(), BenchError> {
        self.hub()?.ask::<()>(&hub::Ask::Close)?;
        self.hub = None;
        Ok(())
    }

    /// The hub.
    pub fn hub(&mut self) -> Result<&mut Peer, BenchError> {
        self.hub
            .as_mut()
            .ok_or_else(|| BenchError::Child { name: "hub".into(), why: "it does not run".into() })
    }

    /// The first node.
    pub fn first(&mut self) -> &mut Peer {
        &mut self.nodes[0]
    }

    /// Asks every node the same; the answers are heard with [`Group::hear`].
    pub fn tell(&mut self, ask: impl Fn(usize) -> node::Ask) -> Result<(), BenchError> {
        let mut nodes = self.nodes.iter_mut().enumerate();
        nodes.try_for_each(|(place, node)| node.tell(&ask(place)))
    }

    /// The answers of all nodes, in order.
    pub fn hear<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, BenchError> {
        self.nodes.iter_mut().map(Peer::hear).collect()
    }

    /// Asks every node, and waits until all have answered.
    pub fn ask<T: DeserializeOwned>(
        &mut self,
        ask: impl Fn(usize) -> node::Ask,
    ) -> Result<Vec<T>, BenchError> {
        self.tell(ask)?;
        self.hear()
    }

    /// All counters.
    pub fn count(&mut self) -> Result<Totals, BenchError> {
        let hub = self.hub()?.ask(&hub::Ask::Count)?;
        let nodes: Vec<Counters> = self.ask(|_| node::Ask::Count)?;
        let sum = |part: fn(&Counters) -> u64| nodes.iter().map(part).sum();
        let nodes = Counters {
            sent: sum(|node| node.sent),
            received: sum(|node| node.received),
            log: sum(|node| node.log),
            index: sum(|node| node.index),
            rss: nodes.iter().map(|node| node.rss).max().unwrap_or(0),
        };
        Ok(Totals { nodes, hub })
    }
}
