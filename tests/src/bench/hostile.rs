//! What an honest city notices while the hub is attacked: single changes in calm, then under attack.
//!
//! Strangers hold silent connections, and a member with a valid certificate begins sessions, asks without reading and
//! sends what is too large. The attack runs on the same machine and takes its share of the processors: the figures say
//! at most what the hub lets through, never less.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use liandong_node::cli::screen::Screen;
use liandong_node::say;
use liandong_node::site::Paths;
use liandong_node::trust::{self, Membership};
use liandong_proto::city::cities;
use liandong_proto::pb::sync::v1 as sync;
use serde_json::{Value, json};
use sync::sync_client::SyncClient;
use sync::up::Message as Up;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::ReceiverStream;

use super::figures::quantile;
use super::group::Group;
use super::node::{Ask, Counters, Single};
use super::{BenchError, HostileArgs, SyncArgs, hub};

/// Silent connections that the strangers hold at a time.
const STRANGERS: usize = 200;
/// Sessions that the member attempts at a time.
const SESSIONS: usize = 8;

/// The result.
#[derive(Debug)]
pub struct Measured {
    /// Median and 99th percentile until the hub has confirmed a change, in milliseconds: in calm, under attack.
    calm_ms: [f64; 2],
    attacked_ms: [f64; 2],
    attempts: u64,
    hub_rss: u64,
}

impl Measured {
    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "calm_p50_ms": self.calm_ms[0],
            "calm_p99_ms": self.calm_ms[1],
            "attacked_p50_ms": self.attacked_ms[0],
            "attacked_p99_ms": self.attacked_ms[1],
            "p99_ratio": self.attacked_ms[1] / self.calm_ms[1],
            "attempts": self.attempts,
            "hub_rss_bytes": self.hub_rss,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let [calm, attacked] = [self.calm_ms, self.attacked_ms];
        format!(
            "平时 calm            p50 {:.1} ms  p99 {:.1} ms\n受攻击 under attack  p50 {:.1} ms  p99 {:.1} ms  ({:.2} ×)\n\
             攻击次数 attempts    {}\n枢纽内存 hub memory   {} MiB",
            calm[0],
            calm[1],
            attacked[0],
            attacked[1],
            attacked[1] / calm[1],
            self.attempts,
            self.hub_rss >> 20
        )
    }
}

/// Measures.
pub fn run(args: &HostileArgs, dir: &Path, screen: &Screen) -> Result<Measured, BenchError> {
    let note = |zh: &str, en: &str| screen.note(&say!("{zh}…", "{en}…"));
    let mut group = Group::start(&two_cities(args), dir)?;
    let address = group.start_hub()?;
    let enemy = Paths::new(&dir.join(cities()[1].code.to_string()));
    let enemy = Membership::load(&enemy)?
        .ok_or_else(|| BenchError::Child { name: "the enemy".into(), why: "it has not joined".into() })?;
    let honest = group.first();
    honest.ask::<()>(&Ask::Connect { hub: address.clone(), and_wait: true })?;
    honest.ask::<super::node::Made>(&Ask::Make(args.records as usize))?;
    honest.ask::<f64>(&Ask::Write(500))?;
    honest.ask::<()>(&Ask::Compared)?;
    note("平时", "in calm");
    let singles = args.singles as usize;
    let calm: Vec<Single> = honest.ask(&Ask::Singles(singles))?;
    note("受攻击", "under attack");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(BenchError::io("the runtime"))?;
    let attempts = attack(&runtime, &address, &enemy);
    let attacked: Vec<Single> = honest.ask(&Ask::Singles(singles))?;
    let attempts = attempts.load(Ordering::Relaxed);
    runtime.shutdown_background();
    group.first().ask::<()>(&Ask::Compared)?;
    let hub: Counters = group.hub()?.ask(&hub::Ask::Count)?;
    Ok(Measured { calm_ms: parts(&calm), attacked_ms: parts(&attacked), attempts, hub_rss: hub.rss })
}

fn two_cities(args: &HostileArgs) -> SyncArgs {
    SyncArgs {
        sites: 2,
        changes: args.records,
        records: 0,
        group: 500,
        singles: args.singles,
        seed: 1,
        dir: None,
        json: args.json,
    }
}

fn parts(times: &[Single]) -> [f64; 2] {
    let hub: Vec<f64> = times.iter().map(|single| single.hub_ms).collect();
    [0.50, 0.99].map(|part| quantile(&hub, part))
}

/// Attacks until the runtime goes; how often so far.
fn attack(runtime: &Runtime, address: &str, enemy: &Membership) -> Arc<AtomicU64> {
    let attempts = Arc::new(AtomicU64::new(0));
    for _ in 0..STRANGERS {
        let (address, attempts) = (address.to_owned(), Arc::clone(&attempts));
        runtime.spawn(async move {
            loop {
                attempts.fetch_add(1, Ordering::Relaxed);
                if let Ok(stream) = TcpStream::connect(&address).await {
                    // Until the hub has had enough of it.
                    let _ = stream.readable().await;
                }
            }
        });
    }
    for n in 0..SESSIONS {
        let (address, enemy, attempts) = (address.to_owned(), enemy.clone(), Arc::clone(&attempts));
        runtime.spawn(async move {
            loop {
                attempts.fetch_add(1, Ordering::Relaxed);
                let begun = session(&address, &enemy, n % 2 == 0).await;
                if begun.is_none() {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    attempts
}

/// One session that keeps to nothing: questions without reading, or a message that is too large.
async fn session(address: &str, enemy: &Membership, asks: bool) -> Option<()> {
    let channel = trust::endpoint(address, enemy).ok()?.connect().await.ok()?;
    let (up, outbound) = tokio::sync::mpsc::channel(64);
    let say = |message| up.send(sync::Up { message: Some(message) });
    let hello = sync::Hello {
        protocol_min: 1,
        protocol_max: 1,
        site: cities()[1].code.0,
        epoch: Bytes::from_static(&[3; 16]),
        nonces: vec![Bytes::from_static(&[5; 16])],
        ..sync::Hello::default()
    };
    say(Up::Hello(hello)).await.ok()?;
    let begun = SyncClient::new(channel).session(ReceiverStream::new(outbound)).await.ok()?;
    if !asks {
        let sealed = Bytes::from(vec![0; 5 << 20]);
        let entry = liandong_proto::entry::Entry { sealed, ..Default::default() };
        return say(Up::Push(sync::Push { entries: vec![entry], ..sync::Push::default() })).await.ok();
    }
    let mut down = begun.into_inner();
    let _ = down.message().await;
    while say(Up::Compare(sync::Compare::default())).await.is_ok() {}
    Some(())
}
