//! A city's node as a child: the site's own record API and uplink in one process, as in the real program.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use liandong_node::log::Pos;
use liandong_node::process::peak_rss_bytes;
use liandong_node::site::{By, Put, PutAnswer, Records as _, Site, SiteOptions};
use liandong_node::text::Said;
use liandong_node::trust::{self, Invitation};
use liandong_node::uplink::{self, UplinkOptions};
use liandong_proto::fields::Fields;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1::{Comparison, Link};
use liandong_proto::pb::record::v1 as pb;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::members::Members;
use super::peer::{self, Answers};
use super::{BenchError, Clock};
use crate::roster::Plan;

/// Hidden subcommand of this child.
pub const SUBCOMMAND: &str = "bench-node";

const MEMBER: u32 = 1;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Who the child is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Its directory, where it makes its site.
    pub data_dir: PathBuf,
    /// Its code.
    pub site: u32,
    /// Its place among the cities.
    pub city: usize,
    /// How many cities there are.
    pub cities: usize,
    /// Members of all cities together.
    pub members: usize,
    /// Seed of the members.
    pub seed: u64,
    /// File with the linking key.
    pub linking_key: PathBuf,
}

/// What it is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Make so many more members in memory: [`Made`].
    Make(usize),
    /// Write them in groups of so many: seconds until all are durable.
    Write(usize),
    /// Change one field of so many records, spread over all: seconds until all are durable.
    Update { count: usize, group: usize },
    /// Join the federation.
    Join(String),
    /// Begin to sync; when asked so, answer once the session stands.
    Connect { hub: String, and_wait: bool },
    /// Wait until the hub has confirmed everything.
    Receipts,
    /// Wait until a comparison with the hub over everything has come out equal.
    Compared,
    /// So many single changes, one after the other: [`Single`] for each.
    Singles(usize),
    /// Wait until the index has caught up: seconds.
    CatchUp,
    /// [`Counters`].
    Count,
}

/// Answer to [`Ask::Make`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Made {
    /// Fields of all of them.
    pub fields: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// One change, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Single {
    /// From the call to durable at the node.
    pub local_ms: f64,
    /// From there to durable at the hub, as the node knows by the receipt.
    pub hub_ms: f64,
}

/// Running totals.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Messages to the hub, in bytes.
    pub sent: u64,
    /// Messages from the hub, in bytes.
    pub received: u64,
    /// The log, in bytes.
    pub log: u64,
    /// The index on disk, in bytes.
    pub index: u64,
    /// Most memory so far, in bytes.
    pub rss: u64,
}

/// The child's life.
pub fn serve(setup: Option<&OsString>) -> ExitCode {
    peer::serve::<Node>(setup)
}

struct Node {
    site: Arc<Site>,
    setup: Setup,
    runtime: Runtime,
    /// The uplink runs until this goes.
    stop: Option<watch::Sender<bool>>,
    waiting: Members,
    made: usize,
    records: Vec<RecordId>,
}

impl Answers for Node {
    type Setup = Setup;
    type Ask = Ask;

    fn begin(setup: Setup) -> Result<Node, BenchError> {
        Site::init(&setup.data_dir, SiteCode(setup.site))?;
        let mut options = SiteOptions::new(&setup.data_dir);
        options.linking_key = Some(setup.linking_key.clone());
        let site = Site::open(&options, &mut |_| {})?;
        site.accept_outbound(&site.rules().fingerprint(), "bench", true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(BenchError::io("the runtime"))?;
        Ok(Node {
            site,
            setup,
            runtime,
            stop: None,
            waiting: Members::default(),
            made: 0,
            records: Vec::new(),
        })
    }

    fn answer(&mut self, ask: Ask) -> Result<Value, BenchError> {
        Ok(match ask {
            Ask::Make(count) => json!(self.make(count)),
            Ask::Write(group) => json!(self.write(group)?),
            Ask::Update { count, group } => json!(self.update(count, group)?),
            Ask::Join(code) => json!(self.join(&code)?),
            Ask::Connect { hub, and_wait } => json!(self.connect(hub, and_wait)),
            Ask::Receipts => json!(self.receipts()),
            Ask::Compared => json!(self.compared()?),
            Ask::Singles(count) => json!(self.singles(count)?),
            Ask::CatchUp => {
                let clock = Clock::start();
                self.site.catch_up()?;
                json!(clock.seconds())
            }
            Ask::Count => json!(self.count()),
        })
    }
}

impl Node {
    fn make(&mut self, count: usize) -> Made {
        let Setup { cities, members, seed, city, .. } = self.setup;
        let plan = Plan { cities, members, seed };
        self.waiting = Members::make(plan, city, self.made, self.made + count);
        self.made += count;
        self.records.reserve_exact(count);
        let size = self.waiting.size();
        Made { fields: size.fields, bytes: size.bytes }
    }

    fn put(&self, puts: Vec<Put>) -> Result<Vec<PutAnswer>, BenchError> {
        let answers = self.site.put(puts, &By::default(), false)?;
        let refused = |answer: &PutAnswer| Some(answer.problems.first()?.en.clone());
        match answers.iter().find_map(refused) {
            Some(why) => Err(BenchError::Child { name: self.setup.site.to_string(), why }),
            None => Ok(answers),
        }
    }

    fn write(&mut self, group: usize) -> Result<f64, BenchError> {
        let waiting = std::mem::take(&mut self.waiting);
        let clock = Clock::start();
        let mut next = 0;
        while next < waiting.len() {
            let end = waiting.len().min(next + group);
            let puts = (next..end).map(|at| Put::set(MEMBER, None, waiting.get(at))).collect();
            self.records.extend(self.put(puts)?.iter().map(|answer| answer.record));
            next = end;
        }
        Ok(clock.seconds())
    }

    fn update(&mut self, count: usize, group: usize) -> Result<f64, BenchError> {
        let paid = pb::Member { dues_paid_to: "2026".into(), ..pb::Member::default() };
        let paid = Fields::split(paid.encode_to_vec()).expect("encoded as a message");
        let records = spread(&self.records, count);
        let clock = Clock::start();
        for group in records.chunks(group) {
            self.put(group.iter().map(|record| Put::set(MEMBER, Some(*record), paid.clone())).collect())?;
        }
        Ok(clock.seconds())
    }

    fn join(&self, code: &str) -> Result<(), BenchError> {
        let failed = |why: String| BenchError::Child { name: self.setup.site.to_string(), why };
        let invitation: Invitation = code.parse().map_err(|said: Said| failed(said.en))?;
        let joined = trust::join(&invitation, self.site.code(), self.site.paths());
        self.runtime.block_on(joined).map(drop).map_err(|error| failed(error.to_string()))
    }

    fn connect(&mut self, hub: String, and_wait: bool) {
        let (stop, stopping) = watch::channel(false);
        self.stop = Some(stop);
        let options = UplinkOptions { hub: Some(hub), retry_max: Duration::from_secs(1) };
        self.runtime.spawn(uplink::run(Arc::clone(&self.site), options, stopping));
        let site = &self.site;
        self.runtime.block_on(async {
            while and_wait && site.link().link != Link::Connected {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
    }

    /// Waits until the hub has confirmed the newest entry.
    fn receipts(&self) {
        let newest = self.site.durable().borrow().seq;
        let mut receipts = self.site.receipts();
        // The site outlives the wait, so that the sender cannot be gone.
        let _ = self.runtime.block_on(receipts.wait_for(|seq| *seq >= newest));
    }

    fn compared(&self) -> Result<(), BenchError> {
        self.receipts();
        self.runtime.block_on(async {
            loop {
                let (row, link) = (self.site.row(), self.site.link());
                match link.comparison {
                    Comparison::Different => return Err(BenchError::Different(self.setup.site.to_string())),
                    Comparison::Equal if link.compared == (row.seq, row.hub_seq) => return Ok(()),
                    _ => tokio::time::sleep(LOOK_AGAIN).await,
                }
            }
        })
    }

    fn singles(&self, count: usize) -> Result<Vec<Single>, BenchError> {
        let mut receipts = self.site.receipts();
        let mut times = Vec::with_capacity(count);
        for record in spread(&self.records, count) {
            // Never what it was before: that would be no change.
            let seq = self.site.row().seq;
            let post = pb::Member { post: format!("岗位{seq}"), ..pb::Member::default() };
            let fields = Fields::split(post.encode_to_vec()).expect("encoded as a message");
            let clock = Clock::start();
            self.put(vec![Put::set(MEMBER, Some(record), fields)])?;
            let local = clock.elapsed();
            let newest = self.site.durable().borrow().seq;
            let _ = self.runtime.block_on(receipts.wait_for(|seq| *seq >= newest));
            let hub = clock.elapsed() - local;
            let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
            times.push(Single { local_ms: ms(local), hub_ms: ms(hub) });
        }
        Ok(times)
    }

    fn count(&self) -> Counters {
        Counters {
            sent: self.site.wire.sent.load(Ordering::Relaxed),
            received: self.site.wire.received.load(Ordering::Relaxed),
            log: self.site.log().bytes_from(Pos::default()),
            index: self.site.index().disk_bytes(),
            rss: peak_rss_bytes(),
        }
    }
}

/// So many records, each once while there are enough, spread evenly over all.
fn spread(records: &[RecordId], count: usize) -> Vec<RecordId> {
    let all = records.len();
    // A prime greater than any number of records: its multiples meet each record once before they repeat.
    const STRIDE: usize = 2_147_483_647;
    (0..count).filter_map(|n| records.get(n.wrapping_mul(STRIDE) % all.max(1)).copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_record_comes_once() {
        let records: Vec<RecordId> = (0..1_000u32)
            .map(|n| {
                let mut id = [0; 16];
                id[..4].copy_from_slice(&n.to_be_bytes());
                RecordId(id)
            })
            .collect();
        assert_eq!(spread(&records, 1_000).into_iter().collect::<HashSet<_>>().len(), 1_000);
        assert_eq!(spread(&records, 10).len(), 10);
        assert_ne!(spread(&records, 2)[1], records[1]);
    }
}
