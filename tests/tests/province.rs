//! A hub and some cities as real processes in a directory of their own.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use liandong_node::site::Paths;
use liandong_node::trust::Membership;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::record::v1 as pb;
use liandong_tests::cluster::{Cluster, Door, decoded, id_of};
use serde_json::Value;

pub const GUANGZHOU: SiteCode = SiteCode(440_100);
pub const SHAOGUAN: SiteCode = SiteCode(440_200);
pub const SHENZHEN: SiteCode = SiteCode(440_300);

pub const MEMBER: u32 = 1;
pub const AWARD_ROUND: u32 = 2;
pub const SANCTION: u32 = 5;
pub const FINDING: u32 = 7;

/// How long nothing may move while equal records are waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program whose hidden subcommands stand for the sites.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_federation"))
}

/// A cluster that goes, with its files, at the end of the test.
pub struct Province {
    cluster: Cluster,
    dir: tempfile::TempDir,
}

impl Province {
    /// Makes hub and nodes; nothing runs.
    pub async fn made(cities: &[SiteCode]) -> Province {
        let dir = tempfile::tempdir().expect("a directory");
        let cluster = Cluster::make(program(), dir.path(), cities).await.expect("sites are made");
        Province { cluster, dir }
    }

    /// Hub and nodes that are in a directory already, as [`Cluster::make`] lays them out; nothing runs.
    pub fn over(dir: tempfile::TempDir, cities: &[SiteCode]) -> Province {
        let cluster = Cluster::over(program(), dir.path(), cities).expect("sites are there");
        Province { cluster, dir }
    }

    /// Makes and starts hub and nodes.
    pub async fn running(cities: &[SiteCode]) -> Province {
        let mut province = Province::made(cities).await;
        province.start_hub().await.expect("the hub starts");
        province.start_nodes().await.expect("the nodes start");
        province
    }

    /// What a city keeps of having joined.
    pub fn membership(&self, city: SiteCode) -> Membership {
        let paths = Paths::new(&self.node(city).data_dir);
        Membership::load(&paths).expect("readable").expect("joined")
    }

    /// A fresh invitation of a city, named by code or name.
    pub async fn invited(&self, city: &str) -> String {
        let answer = self.hub().answer(&["city", "invite", city, "--json"]).await.expect("invited");
        let answer: Value = serde_json::from_str(&answer).expect("an object");
        answer["code"].as_str().expect("a code").to_owned()
    }

    /// A file beside the sites.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The way to a site's services.
    pub async fn door(&self, site: SiteCode) -> Door {
        let home = if site.is_province() { self.hub() } else { self.node(site) };
        home.door().await.expect("the site runs")
    }

    /// Waits until all that runs has proved to show the same.
    #[track_caller]
    pub fn equal(&self) -> impl Future<Output = ()> {
        let waited = self.cluster.until_equal(PATIENCE, |_, _| {});
        async { drop(waited.await.unwrap_or_else(|error| panic!("{error}"))) }
    }
}

impl Deref for Province {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for Province {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

/// Waits until a node's link with the hub is as wanted.
pub async fn linked(door: &Door, link: Link) {
    let waiting = async {
        while door.status().await.expect("a status").link() != link {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {link:?}"));
}

/// An ordinary member; the same number gives the same one.
pub fn member(n: u32) -> pb::Member {
    // Names have no digits.
    let digits: Vec<char> = "零一二三四五六七八九".chars().collect();
    let number = n.to_string().bytes().map(|digit| digits[usize::from(digit - b'0')]).collect::<String>();
    pb::Member {
        name: format!("陈{number}"),
        employer: "示范社会工作服务中心".into(),
        member_no: format!("M{n:06}"),
        tier: pb::MemberTier::Ordinary as i32,
        status: pb::MemberStatus::Active as i32,
        ..pb::Member::default()
    }
}

/// Everything a site shows of some kinds: id, version and the fields as bytes.
pub async fn shown(door: &Door, kinds: &[u32]) -> Vec<(u32, RecordId, String, Vec<u8>)> {
    let mut all = Vec::new();
    for kind in kinds {
        for record in door.list(*kind, &[]).await.expect("a list") {
            all.push((*kind, id_of(&record), record.version, record.fields.to_vec()));
        }
    }
    all
}

/// The open findings that a site shows.
pub async fn open_findings(door: &Door) -> Vec<(RecordId, pb::Finding)> {
    let findings = door.list(FINDING, &[]).await.expect("a list");
    let findings = findings.iter().map(|record| (id_of(record), decoded::<pb::Finding>(record)));
    findings.filter(|(_, finding)| finding.status() == pb::FindingStatus::Open).collect()
}

/// Copies a directory, as a backup does.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("named"));
        if path.is_dir() {
            copy(&path, &target);
        } else if path.is_file() {
            std::fs::copy(&path, target).expect("copied");
        }
    }
}
