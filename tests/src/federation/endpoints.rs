//! `federation.json`: where everything is, for other programs.

use std::fs;
use std::path::{Path, PathBuf};

use liandong_node::cli::exit::Failure;
use serde::Serialize;

use super::analysts::Tokens;
use super::rosters::Roster;
use crate::cluster::{Cluster, Ports};

#[derive(Serialize)]
struct Endpoints<'a> {
    hub: Hub<'a>,
    cities: Vec<City<'a>>,
    /// Absent before something is published.
    analysts: Option<Analysts<'a>>,
    /// File with the province's linking key: 64 hexadecimal digits.
    linking_key: PathBuf,
}

#[derive(Serialize)]
struct Hub<'a> {
    sync: String,
    enrolment: String,
    data_dir: &'a Path,
    /// Absent when it does not run.
    pid: Option<u32>,
}

#[derive(Serialize)]
struct City<'a> {
    code: String,
    data_dir: &'a Path,
    roster: &'a Path,
    /// Absent when it does not run.
    pid: Option<u32>,
}

#[derive(Serialize)]
struct Analysts<'a> {
    flight: String,
    https: String,
    /// The certificate that vouches for both.
    ca: PathBuf,
    tokens: Roles<'a>,
}

#[derive(Serialize)]
struct Roles<'a> {
    registrar: &'a str,
    analyst: &'a str,
    public: &'a str,
}

/// Where the file is.
pub fn path(cluster: &Cluster) -> PathBuf {
    cluster.dir().join("federation.json")
}

/// Writes it, in place of an older one at once.
pub fn write(cluster: &Cluster, rosters: &[Roster], tokens: Option<&Tokens>) -> Result<(), Failure> {
    let hub = cluster.hub();
    let cities = rosters.iter().map(|roster| {
        let node = cluster.node(roster.city);
        City {
            code: roster.city.to_string(),
            data_dir: &node.data_dir,
            roster: &roster.path,
            pid: cluster.pid(roster.city),
        }
    });
    let url = |port: fn(&Ports) -> &String| {
        cluster.ports().map(|ports| format!("https://{}", port(ports))).unwrap_or_default()
    };
    let endpoints = Endpoints {
        hub: Hub {
            sync: url(|ports| &ports.sync),
            enrolment: url(|ports| &ports.enrolment),
            data_dir: &hub.data_dir,
            pid: cluster.pid(hub.site),
        },
        cities: cities.collect(),
        analysts: cluster.ports().zip(tokens).map(|(ports, tokens)| Analysts {
            flight: format!("grpc+tls://{}", ports.analysts),
            https: format!("https://{}", ports.analysts),
            ca: hub.data_dir.join("keys").join("ca.crt"),
            tokens: Roles { registrar: &tokens.registrar, analyst: &tokens.analyst, public: &tokens.public },
        }),
        linking_key: cluster.linking_key(),
    };
    let text = serde_json::to_string_pretty(&endpoints).expect("paths and numbers have a JSON form");
    let (path, new) = (path(cluster), cluster.dir().join("federation.json.new"));
    let written = fs::write(&new, text + "\n").and_then(|()| fs::rename(&new, &path));
    written.map_err(|error| Failure::file(&path, &error))
}
