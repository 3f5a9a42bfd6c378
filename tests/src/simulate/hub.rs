//! The hub as it is between two events: a disk, and a running hub over it. It stands for `liandong_hub::hub::Hub`, its two
//! threads and its files, with the queue, judge, fold, feed, registry and replay that a real hub has.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use liandong_hub::audience;
use liandong_hub::ca::Identity;
use liandong_hub::chain;
use liandong_hub::commit::{Ground, Judge, Round};
use liandong_hub::feed;
use liandong_hub::fold::{Accepting, Fold};
use liandong_hub::hub::{Published, stage_row, started};
use liandong_hub::queue::{Job, Pushed, Queue};
use liandong_hub::replay::Replay;
use liandong_hub::sanctions::Sanctions;
use liandong_node::audit::Note;
use liandong_node::index::Index;
use liandong_node::log::{LogView as _, Pos};
use liandong_node::site::{Author, Keys, SiteError, digests, record_kind};
use liandong_proto::entry::Head;
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::merge::Verdicts;
use liandong_proto::pb::log::v1 as log;
use liandong_proto::position::{GenerationStart, Generations};
use liandong_proto::session::hub::{Ask, Compared, FeedBatch, HubSession, Input};
use liandong_proto::session::node::{Ask as Level, Digests};
use liandong_proto::share::{CityKey, CityRing};
use liandong_proto::sign::SigningKey;
use liandong_proto::stamp::{Clock, Stamp};
use liandong_proto::state::RecordState;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::disk::{Beside, Disk};
use super::node::{full, one};
use super::planted::Planted;
use super::truth::{Sights, Truth};

/// What the judge stands on.
pub struct Simulated {
    index: Index,
    now_ms: AtomicU64,
    published: AtomicU64,
    planted: Option<Planted>,
}

impl Simulated {
    /// Sets the hub's clock.
    pub fn set_now(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Ground for Simulated {
    fn index(&self) -> &Index {
        &self.index
    }

    fn wait_published(&self, round: u64) {
        assert!(
            self.published.load(Ordering::Relaxed) >= round,
            "whoever steps the judge has published before"
        );
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn note(&self, _: Note) {}

    fn judge(&self, fold: &Fold<'_>, entry: &Accepting<'_>) -> Verdicts {
        let verdicts = fold.judge(entry);
        match self.planted {
            Some(planted) => planted.judge(fold, entry, verdicts),
            None => verdicts,
        }
    }
}

/// One session.
pub struct Driver {
    /// Whose.
    pub identity: Identity,
    /// The hub's half.
    pub session: HubSession,
    /// The hub's history as the node knows it.
    pub known: Arc<Generations>,
    /// Of its hello.
    pub nonce: Option<Bytes>,
    /// A copy would be told from it: it knows no life of the order that the hub has lost.
    pub is_told: bool,
    /// It has taken the city's one place.
    pub registered: bool,
}

/// Answers on their way to sessions.
pub type Mailbox = Arc<Mutex<VecDeque<(u64, Input)>>>;

/// A hub that runs.
pub struct Running {
    /// What the judge stands on.
    pub ground: Arc<Simulated>,
    /// Orders and decides.
    pub judge: Judge,
    /// What waits for it.
    pub queue: Queue,
    /// With a bug: what waits in one lane.
    pub lane: VecDeque<Job>,
    /// Pushes that may come once more.
    pub stale: Vec<Pushed>,
    /// How many rounds each city's oldest push has waited.
    pub waits: BTreeMap<SiteCode, (u64, u64)>,
    /// Judged and not yet told; the first may be in the log and not yet synced.
    pub rounds: VecDeque<Round>,
    /// The first of the rounds is in the log.
    pub appended: Option<Pos>,
    /// What may be told.
    pub published: Published,
    /// The connection of each city's session.
    pub sessions: HashMap<SiteCode, u64>,
    /// Sessions by connection.
    pub drivers: HashMap<u64, Driver>,
    /// Answers.
    pub mailbox: Mailbox,
    /// The order in truth, as far as it is published.
    pub truth: Truth,
    /// Records of the log that the truth has taken in.
    pub told: usize,
}

/// Who the province is, and what it signs with.
#[derive(Clone)]
pub struct Province {
    /// Its epoch.
    pub epoch: Epoch,
    /// Signs commits and receipts.
    pub signer: SigningKey,
}

impl Running {
    /// Opens a hub: its index is made from the log alone, and a new generation begins.
    pub fn open(
        disk: &mut Disk,
        province: &Province,
        now_ms: u64,
        planted: Option<Planted>,
        sights: &mut Sights,
        random: &mut StdRng,
    ) -> Result<Running, SiteError> {
        let index = Index::in_memory();
        let mut replay = Replay::new(log::SiteRow::default(), &index)?;
        replay.run(&*disk, Pos::default(), &index, &mut |_| ())?;
        let Replay { mut row, mut generations, registry, lineage, .. } = replay;
        let sanctions = Sanctions::load(&index)?;
        begin_generation(disk, &index, &mut row, &mut generations, now_ms, random)?;
        let keys = Keys { city: CityRing::new(CityKey::new(&random.random()), Vec::new()), linking: None };
        let origin = Origin { site: SiteCode::PROVINCE, epoch: province.epoch };
        let mut author = Author::new(origin, keys, StdRng::from_seed(random.random()));
        author.head = Head { seq: row.seq, hash: row.hash.as_ref().try_into().unwrap_or_default() };
        author.clock = Clock::resume(Stamp(row.stamp));
        author.generations = generations.clone();
        let (now, published) = (AtomicU64::new(now_ms), AtomicU64::new(0));
        let ground = Arc::new(Simulated { index, now_ms: now, published, planted });
        let published =
            Published { registry: registry.clone(), row: row.clone(), generations: generations.clone() };
        let judged = Arc::<Simulated>::clone(&ground);
        let signer = province.signer.clone();
        let judge = Judge::new(judged, signer, author, row, generations, registry, lineage, sanctions);
        let mut running = Running {
            ground,
            judge,
            queue: Queue::default(),
            lane: VecDeque::new(),
            stale: Vec::new(),
            waits: BTreeMap::new(),
            rounds: VecDeque::new(),
            appended: None,
            published,
            sessions: HashMap::new(),
            drivers: HashMap::new(),
            mailbox: Mailbox::default(),
            truth: Truth::default(),
            told: 0,
        };
        running.follow(disk, disk.len(), sights).map_err(|broken| SiteError::Refused(broken.to_string()))?;
        Ok(running)
    }

    /// Takes the commits of the log up to a record into the truth; the records that they touch.
    pub fn follow(
        &mut self,
        disk: &Disk,
        up_to: usize,
        sights: &mut Sights,
    ) -> Result<Vec<super::truth::Key>, super::invariants::Broken> {
        let mut touched = Vec::new();
        for (record, beside) in disk.beside(self.told).take(up_to.saturating_sub(self.told)) {
            if let (record_kind::COMMIT, Beside::Places(first)) = (record.kind, beside) {
                let commit = log::Commit::decode(record.payload).expect("a commit");
                touched.extend(self.truth.commit(&commit, *first, sights)?);
            }
        }
        self.told = self.told.max(up_to);
        Ok(touched)
    }

    /// What it shows.
    pub fn index(&self) -> &Index {
        &self.ground.index
    }

    /// A round is stored and told.
    pub fn publish(&mut self, number: u64) {
        self.ground.published.store(number, Ordering::Relaxed);
    }

    /// The newest round that is.
    pub fn published_round(&self) -> u64 {
        self.ground.published.load(Ordering::Relaxed)
    }

    /// As `Hub::read_feed`.
    pub fn read_feed(&self, origin: Origin, after: u64, max_bytes: usize) -> FeedBatch {
        let own_seq_inclusive = self.published.registry.head(origin).seq;
        let batch = FeedBatch { items: Vec::new(), own_seq_inclusive, up_to: self.published.row.hub_seq };
        feed::read(self.index(), origin, after, max_bytes, batch).expect("memory")
    }

    fn level(&self, site: SiteCode, level: &Level) -> Digests {
        let shown = |kind, state: &RecordState| audience::sees(site, kind, state);
        digests(self.index(), level, |kind, state| {
            shown(kind, state).then(|| audience::project(site, kind, &state.fields))
        })
        .expect("memory")
    }

    /// As `Hub::digests`, without what that keeps between two calls.
    pub fn compared(&self, origin: Origin, ask: &Ask) -> Option<Compared> {
        let held = self.published.registry.head(origin) == ask.own_head;
        if !held || !self.read_feed(origin, ask.feed_head, 1).items.is_empty() {
            return None;
        }
        let mut out = Compared::default();
        if !ask.records_of.is_empty() {
            if let Digests::Records(records) =
                self.level(origin.site, &Level::Records(ask.records_of.clone()))
            {
                out.records = records;
            }
            return Some(out);
        }
        if let Digests::Kinds(kinds) = self.level(origin.site, &Level::Kinds) {
            out.kinds = kinds;
        }
        if let Digests::Buckets(buckets) = self.level(origin.site, &Level::Buckets(ask.buckets_of.clone())) {
            out.buckets = buckets;
        }
        Some(out)
    }
}

/// An index made from a hub's log alone, and the places of the order that would be judged otherwise.
pub fn rebuilt(disk: &Disk) -> (Index, Vec<u64>) {
    let index = Index::in_memory();
    let mut replay = Replay::new(log::SiteRow::default(), &index).expect("memory");
    replay.run(disk, Pos::default(), &index, &mut |_| ()).expect("a log that can be read");
    (index, replay.judged_otherwise)
}

/// As the hub's own, without the audit log.
fn begin_generation(
    disk: &mut Disk,
    index: &Index,
    row: &mut log::SiteRow,
    generations: &mut Generations,
    now_ms: u64,
    random: &mut StdRng,
) -> Result<(), SiteError> {
    let start = log::GenerationStart {
        generation: random.random::<u64>() | 1,
        first_hub_seq: row.hub_seq + 1,
        started_at_ms: now_ms,
        prev_hash: row.commit_hash.clone(),
        ..log::GenerationStart::default()
    };
    let payload = start.encode_to_vec();
    let batch = one(record_kind::GENERATION, &payload);
    disk.append(&batch, Beside::Nothing).or_else(full)?;
    disk.sync();
    generations.begin(GenerationStart { generation: start.generation, first_hub_seq: start.first_hub_seq });
    let hash = chain::note_hash(&row.commit_hash, record_kind::GENERATION, &payload);
    chain::advance(row, hash);
    started(row, &start);
    stage_row(index, row, Vec::new(), disk.end())
}

/// The log of a hub that has just been made.
pub fn format(epoch: Epoch) -> Disk {
    let opened = log::EpochOpened {
        site: SiteCode::PROVINCE.0,
        epoch: Bytes::copy_from_slice(&epoch.0),
        anchor: None,
    };
    let mut disk = Disk::default();
    disk.append(&one(record_kind::OPENED, &opened.encode_to_vec()), Beside::Nothing).expect("space");
    disk.sync();
    disk
}
