//! The hub: a site that also listens. Opening, writing, and what is published.

mod options;
mod taken;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use liandong_node::audit::Audit;
use liandong_node::index::{Index, IndexOptions, Pace, Staged};
use liandong_node::log::{self, Batch, DirLock, Log, Pos};
use liandong_node::now::{generator, now_ms, random};
use liandong_node::payload;
use liandong_node::rows;
use liandong_node::site::{
    Author, Keys, OnProgress, Paths, PutAnswer, SiteError, make_private_dir, record_kind, write_key,
};
use liandong_proto::entry::Head;
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::position::{GenerationStart, Generations};
use liandong_proto::session::hub::Input;
use liandong_proto::share::{CityKey, CityRing};
use liandong_proto::sign::{SigningKey, VerifyingKey};
use liandong_proto::stamp::{Clock, Stamp};
use prost::Message as _;
use tokio::sync::{mpsc as async_mpsc, watch};

use crate::ca::Ca;
use crate::chain;
use crate::commit::Judge;
use crate::compare::Scanned;
use crate::failure::Failed;
use crate::learned::{CityState, Committed};
use crate::mirror::{self, Mirror};
use crate::queue::{Job, OwnWrite, Queue};
use crate::registry::Registry;
use crate::release::Releases;
use crate::replay::Replay;
use crate::sanctions::Sanctions;
use crate::writer::Writer;

pub use options::HubOptions;
pub use taken::Loss;
use taken::Taken;

/// What the threads and sessions of a hub share.
pub struct Shared {
    pub(crate) paths: Paths,
    pub(crate) log: Arc<Log>,
    pub(crate) audit: Arc<Audit>,
    /// A second copy of both, where one is configured.
    pub(crate) mirror: Option<Mirror>,
    pub(crate) releases: Releases,
    /// Vouches for cities and hub.
    pub(crate) ca: Ca,
    /// Signs receipts and commits.
    pub(crate) signer: RwLock<SigningKey>,
    /// Held while that key is being replaced.
    pub(crate) rekeying: Mutex<()>,
    pub(crate) index: Index,
    pub(crate) queue: Queue,
    pub(crate) published: RwLock<Published>,
    /// Rounds published so far.
    pub(crate) rounds: Mutex<u64>,
    pub(crate) round_done: Condvar,
    pub(crate) sessions: Mutex<HashMap<SiteCode, async_mpsc::UnboundedSender<Input>>>,
    /// Why the hub cannot go on; told to whoever runs the process.
    pub(crate) failed: watch::Sender<Option<Failed>>,
    pub(crate) full: Mutex<Option<String>>,
    pub(crate) cities: Mutex<HashMap<SiteCode, CityState>>,
    pub(crate) started_at_ms: u64,
    pub(crate) committed: Committed,
    pub(crate) scanned: Scanned,
    /// There is something to erase.
    pub(crate) erasing: Mutex<bool>,
    pub(crate) erase: Condvar,
    /// Of these the log is without the content; their proof may be waiting for the mirror.
    pub(crate) stripped: Mutex<payload::Erased>,
    /// Log records that erasures have emptied since the start.
    pub(crate) emptied: Mutex<u64>,
    /// Where cities join, while it is listened on.
    pub(crate) enrolment: Mutex<Option<SocketAddr>>,
}

/// What is durable and may be told.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// All origins.
    pub registry: Registry,
    /// The hub's own row.
    pub row: pb::SiteRow,
    /// Its history.
    pub generations: Generations,
}

/// A running hub.
pub struct Hub {
    pub(crate) shared: Arc<Shared>,
    origin: Origin,
    threads: Mutex<Vec<JoinHandle<()>>>,
    mirroring: Mutex<Vec<JoinHandle<()>>>,
    _lock: DirLock,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Makes a hub in a directory that holds none, with an authority of its own unless one (certificate and key, PEM)
    /// is given.
    ///
    /// # Errors
    /// [`SiteError::Exists`] when there is one already.
    pub fn init(data_dir: &Path, authority: Option<(&str, &str)>) -> Result<(), SiteError> {
        let paths = Paths::new(data_dir);
        if paths.log().exists() {
            return Err(SiteError::Exists(data_dir.to_path_buf()));
        }
        make_private_dir(data_dir)?;
        let _lock = DirLock::acquire(data_dir)?;
        paths.note_layout()?;
        match authority {
            Some((certificate, key)) => Ca::adopt(&paths, certificate, key)?,
            None => Ca::make(&paths, now_ms())?,
        }
        write_key(&paths.signing_key(), &random())?;
        let (log, _) = Log::open(&paths.log(), log::Options::default())?;
        let epoch: [u8; 16] = random();
        let opened = pb::EpochOpened {
            site: SiteCode::PROVINCE.0,
            epoch: Bytes::copy_from_slice(&epoch),
            anchor: None,
        };
        let mut batch = Batch::new();
        batch.push(record_kind::OPENED, &[&opened.encode_to_vec()]);
        let span = log.append(&batch, 0)?;
        Ok(log.sync_to(span.end)?)
    }

    /// Opens a hub: takes the directory, replays what the index lacks, and begins a new generation.
    ///
    /// # Errors
    /// [`SiteError`]; a damaged index is no error, it is made again from the log.
    pub fn open(options: &HubOptions, progress: OnProgress<'_>) -> Result<Arc<Hub>, SiteError> {
        let taken = Taken::new(options, false)?;
        Hub::begin(options, taken, progress)?.heed_put_back()
    }

    fn begin(options: &HubOptions, taken: Taken, progress: OnProgress<'_>) -> Result<Arc<Hub>, SiteError> {
        let Taken { paths, lock, log } = taken;
        let (index, position) = open_index(options, &paths, &log)?;
        let row = match index.get(rows::SITE)? {
            Some(item) => pb::SiteRow::decode(item.value)
                .map_err(|error| SiteError::corrupt("the hub's row in the index", error))?,
            None => pb::SiteRow::default(),
        };
        let mut replay = Replay::new(row, &index)?;
        replay.run(&*log, position.map(Pos::from_bytes).unwrap_or_default(), &index, progress)?;
        let Replay { mut row, mut generations, registry, lineage, .. } = replay;
        let sanctions = Sanctions::load(&index)?;
        let epoch = Epoch::from_slice(&row.epoch)
            .ok_or_else(|| SiteError::corrupt("the log", "it does not begin with an epoch"))?;
        let origin = Origin { site: SiteCode(row.site), epoch };
        let audit = Audit::open(&paths.audit(), options.require_purpose);
        begin_generation(&log, &index, &audit, &mut row, &mut generations)?;
        if registry.erasures.wait() {
            log.begin_segment(row.hub_seq + 1)?;
        }
        let keys = Keys { city: CityRing::new(CityKey::new(&random()), Vec::new()), linking: None };
        let mut author = Author::new(origin, keys, generator());
        author.head = Head { seq: row.seq, hash: row.hash.as_ref().try_into().unwrap_or_default() };
        author.clock = Clock::resume(Stamp(row.stamp));
        author.generations = generations.clone();
        let line = registry.members.rotations(SiteCode::PROVINCE);
        let (ca, signer) = (Ca::load(&paths)?, RwLock::new(crate::rekey::signer(&paths, &line)?));
        let shared = Arc::new(Shared {
            releases: Releases::new(paths.dir.join("releases")),
            paths,
            log,
            audit,
            mirror: options.mirror.as_deref().map(|dir| Mirror::new(dir, options, epoch)),
            ca,
            signer,
            rekeying: Mutex::new(()),
            index,
            queue: Queue::default(),
            published: RwLock::new(Published {
                registry: registry.clone(),
                row: row.clone(),
                generations: generations.clone(),
            }),
            rounds: Mutex::new(0),
            round_done: Condvar::new(),
            sessions: Mutex::new(HashMap::new()),
            failed: watch::Sender::new(None),
            full: Mutex::new(None),
            cities: Mutex::new(HashMap::new()),
            started_at_ms: now_ms(),
            committed: Committed::default(),
            scanned: Scanned::default(),
            erasing: Mutex::new(false),
            erase: Condvar::new(),
            stripped: Mutex::default(),
            emptied: Mutex::new(0),
            enrolment: Mutex::new(None),
        });
        let (sender, receiver) = mpsc::sync_channel(1);
        let published = Arc::new(AtomicU64::new(0));
        let judge = Judge::new(
            Arc::<Shared>::clone(&shared),
            shared.signer(),
            author,
            row,
            generations,
            registry,
            lineage,
            sanctions,
        );
        let writer = Writer { shared: Arc::clone(&shared), published: Arc::clone(&published) };
        let judged = Arc::clone(&shared);
        let threads = vec![
            spawn("judge", &shared, move || judge.run(&judged, &sender, &published))?,
            spawn("writer", &shared, move || writer.run(&receiver))?,
            {
                let eraser = Arc::clone(&shared);
                spawn("eraser", &shared, move || eraser.erase_all())?
            },
        ];
        let mirroring = Mutex::new(mirror::start(&shared)?);
        Ok(Arc::new(Hub { shared, origin, threads: Mutex::new(threads), mirroring, _lock: lock }))
    }

    /// The province as a writer.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// What its receipts are signed with.
    pub fn signing_key(&self) -> VerifyingKey {
        self.shared.signer().verifying()
    }

    /// Its index, for reading.
    pub fn index(&self) -> &Index {
        &self.shared.index
    }

    /// Looks at what is durable and may be told. The writer waits meanwhile: a look, and no work.
    pub fn read<T>(&self, look: impl FnOnce(&Published) -> T) -> T {
        self.shared.read(look)
    }

    /// Waits until everything up to a place of the order is durable and merged.
    ///
    /// # Errors
    /// When the hub cannot go on.
    pub fn wait_merged(&self, hub_seq: u64) -> Result<(), SiteError> {
        self.shared.wait_for(|published| published.row.hub_seq >= hub_seq);
        self.shared.failure().map_or(Ok(()), Err)
    }

    /// The log, for reading.
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Writes as the province: durable and merged before it returns.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn write(
        &self,
        puts: Vec<liandong_node::site::Put>,
        by: &liandong_node::site::By,
        dry_run: bool,
    ) -> Result<Vec<PutAnswer>, SiteError> {
        if let Some(why) = locked(&self.shared.full).clone() {
            return Err(SiteError::Refused(why));
        }
        if let Some(error) = self.shared.failure() {
            return Err(error);
        }
        if let Some(mirror) = self.shared.mirror.as_ref().filter(|_| !dry_run) {
            mirror.ready()?;
        }
        let (sender, receiver) = mpsc::channel();
        let answer = Box::new(move |answers| {
            let _ = sender.send(answers);
        });
        self.shared.queue.put(Job::Own(OwnWrite { puts, by: by.clone(), dry_run, answer }));
        receiver.recv().unwrap_or_else(|_| Err(self.unanswered()))
    }

    /// Stops: what waits is committed, the index is brought up to date.
    ///
    /// # Errors
    /// [`SiteError`]; nothing is lost, the next start replays the log.
    pub fn close(&self) -> Result<(), SiteError> {
        self.shared.queue.stop();
        self.shared.wake_eraser();
        for thread in locked(&self.threads).drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
        self.shared.audit.close();
        // Nobody writes any more: the mirror gets the rest.
        let has_ended = self.shared.mirror.as_ref().is_none_or(Mirror::stop);
        for thread in locked(&self.mirroring).drain(..).filter(|_| has_ended) {
            // One whose disk hangs is left behind: it holds nothing that the next start needs.
            let _ = thread.join();
        }
        self.shared.index.close()?;
        Ok(())
    }

    /// Whether both threads of the committer work.
    pub(crate) fn has_threads(&self) -> bool {
        let threads = locked(&self.threads);
        !threads.is_empty() && threads.iter().all(|thread| !thread.is_finished())
    }

    /// Waits until the index has caught up.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn catch_up(&self) -> Result<(), SiteError> {
        Ok(self.shared.index.flush()?)
    }
}

/// A thread of the committer. One that panics is a failure of the hub.
pub(crate) fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, SiteError> {
    let shared = Arc::clone(shared);
    let guarded = move || {
        // What it held goes with it; nothing of that is read again.
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            shared.fail(SiteError::torn());
        }
    };
    let spawned = std::thread::Builder::new().name(name.into()).spawn(guarded);
    spawned.map_err(|source| SiteError::File { path: PathBuf::from(name), source })
}

fn open_index(
    options: &HubOptions,
    paths: &Paths,
    log: &Arc<Log>,
) -> Result<(Index, Option<[u8; 16]>), SiteError> {
    let cache = options.cache_bytes;
    let (durable, end) = (Arc::clone(log), log.end());
    let (index, opened) = Index::open(IndexOptions {
        dir: paths.index(),
        engine: Box::new(move |dir| crate::store_fjall::open(dir, cache)),
        overlay_bytes: options.overlay_bytes,
        pace: Pace::default(),
        before_apply: Box::new(move |position| {
            durable.sync_to(Pos::from_bytes(position)).map_err(|error| error.to_string())
        }),
        in_log: Box::new(move |position| Pos::from_bytes(position) <= end),
    })?;
    if let Some(reason) = &opened.rebuilt {
        tracing::warn!(%reason, "the index is made again from the log");
    }
    Ok((index, opened.position))
}

fn begin_generation(
    log: &Log,
    index: &Index,
    audit: &Audit,
    row: &mut pb::SiteRow,
    generations: &mut Generations,
) -> Result<(), SiteError> {
    let generation = u64::from_be_bytes(random::<8>()) | 1;
    let audit = audit.durable_end();
    let start = pb::GenerationStart {
        audit_number: audit.number,
        audit_hash: Bytes::copy_from_slice(&audit.hash),
        generation,
        first_hub_seq: row.hub_seq + 1,
        started_at_ms: now_ms(),
        prev_hash: row.commit_hash.clone(),
    };
    let (mut batch, payload) = (Batch::new(), start.encode_to_vec());
    batch.push(record_kind::GENERATION, &[&payload]);
    let span = log.append(&batch, row.hub_seq + 1)?;
    log.sync_to(span.end)?;
    generations.begin(GenerationStart { generation, first_hub_seq: row.hub_seq + 1 });
    let hash = chain::note_hash(&row.commit_hash, record_kind::GENERATION, &payload);
    chain::advance(row, hash);
    started(row, &start);
    stage_row(index, row, Vec::new(), span.end)
}

/// A generation's effect on the hub's row.
pub fn started(row: &mut pb::SiteRow, start: &pb::GenerationStart) {
    row.generation = start.generation;
    row.generations
        .push(pb::HistoryStart { generation: start.generation, first_hub_seq: start.first_hub_seq });
}

/// Stages rows together with where the hub stands after them.
pub fn stage_row(
    index: &Index,
    row: &pb::SiteRow,
    mut staged: Vec<Staged>,
    end: Pos,
) -> Result<(), SiteError> {
    let old = index.get(rows::SITE)?.map(|item| item.check);
    let new = Some(Bytes::from(row.encode_to_vec()));
    staged.push(Staged { key: Bytes::from_static(rows::SITE), old, new });
    index.stage(&staged, end.to_bytes());
    Ok(())
}

impl Shared {
    /// See [`Hub::read`].
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Published) -> T) -> T {
        look(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until what is published is as wanted, or the hub has failed.
    pub(crate) fn wait_for(&self, mut wanted: impl FnMut(&Published) -> bool) {
        let mut done = locked(&self.rounds);
        // A round is published before it is counted, so that none is missed between the look and the wait.
        while !wanted(&self.published.read().unwrap_or_else(PoisonError::into_inner))
            && self.failed.borrow().is_none()
        {
            done = self.round_done.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets whoever waits look again, where what they wait for is not a round.
    pub(crate) fn wake_waiting(&self) {
        // Not between somebody's look and the wait.
        drop(locked(&self.rounds));
        self.round_done.notify_all();
    }

    /// Waits until an origin's entries are durable up to a place.
    #[cfg(test)]
    pub(crate) fn wait_origin(&self, origin: Origin, seq: u64) {
        self.wait_for(|published| published.registry.head(origin).seq >= seq);
    }

    /// Waits until a round is published.
    pub(crate) fn wait_published(&self, round: u64) {
        let mut done = locked(&self.rounds);
        while *done < round && self.failed.borrow().is_none() {
            done = self.round_done.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests;
