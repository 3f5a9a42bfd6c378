//! Making, opening and replaying a site.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use liandong_proto::entry::{Anchor, Head, Header, Op};
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode, sha256};
use liandong_proto::merge::Lineage;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::Position;
use liandong_proto::session::{generations_from_pb, position_from_pb};
use liandong_proto::share::CityRing;
use liandong_proto::share::rules::Rules;
use liandong_proto::sign::SigningKey;
use liandong_proto::stamp::{Clock, Stamp};
use liandong_proto::state::RecordState;
use prost::Message as _;
use tokio::sync::watch;

use super::ahead;
use super::deliver::{Fold, confirm, learn};
use super::files::{make_private_dir, write_key};
use super::keyring::read_city_ring;
use super::outbound::accept;
use super::repair::note_repair;
use super::{
    Author, Keys, LinkState, LinkingRing, OnProgress, Paths, Progress, Record, Renewal, Site, SiteError,
    Touched, Wire, Writer, begin, fold_own, forget_lost, patches, proved, record_kind,
};
use crate::audit::Audit;
use crate::index::{Index, IndexOptions, Pace, Staged};
use crate::log::{self, Batch, DirLock, Log, LogView, Pos};
use crate::now::{generator, now_ms, random};
use crate::{rows, store};

/// How to open a site.
#[derive(Clone, Debug)]
pub struct SiteOptions {
    /// Its directory.
    pub data_dir: PathBuf,
    /// The province's linking key, when the secretariat has given it out.
    pub linking_key: Option<PathBuf>,
    /// Size of a log segment in bytes.
    pub segment_bytes: u64,
    /// How much the index may stage before it writes, in bytes.
    pub overlay_bytes: usize,
    /// Cache of the store in bytes.
    pub cache_bytes: u64,
    /// Whether reads of personal data must name a purpose.
    pub require_purpose: bool,
    /// How far fields travel: what somebody has to accept before anything is sent.
    pub rules: Rules,
}

impl SiteOptions {
    /// The defaults for a directory.
    pub fn new(data_dir: &Path) -> SiteOptions {
        SiteOptions {
            data_dir: data_dir.to_path_buf(),
            linking_key: None,
            segment_bytes: 16 << 20,
            overlay_bytes: 40 << 20,
            cache_bytes: 32 << 20,
            require_purpose: false,
            rules: Rules::in_force(),
        }
    }
}

/// How many log records are folded before their rows are staged together.
const REPLAY_CHUNK: usize = 4_096;

impl Site {
    /// Makes a site in a directory that holds none: its key, its log, its first epoch.
    ///
    /// # Errors
    /// [`SiteError::Exists`] when there is one already; nothing is changed then.
    pub fn init(data_dir: &Path, site: SiteCode) -> Result<(), SiteError> {
        let paths = Paths::new(data_dir);
        if paths.log().exists() || paths.city_key().exists() {
            return Err(SiteError::Exists(data_dir.to_path_buf()));
        }
        make_private_dir(data_dir)?;
        let _lock = DirLock::acquire(data_dir)?;
        paths.note_layout()?;
        write_key(&paths.city_key(), &random())?;
        write_key(&paths.signing_key(), &random())?;
        paths.linking_recipient()?;
        let (log, _) = Log::open(&paths.log(), log::Options::default())?;
        let epoch: [u8; 16] = random();
        let opened = pb::EpochOpened { site: site.0, epoch: Bytes::copy_from_slice(&epoch), anchor: None };
        let mut batch = Batch::new();
        batch.push(record_kind::OPENED, &[&opened.encode_to_vec()]);
        let span = log.append(&batch, 0)?;
        Ok(log.sync_to(span.end)?)
    }

    /// Opens a site: takes the directory, opens log and index, and replays what the index lacks. What waits to be erased
    /// is left to [`finish_erasures`](Site::finish_erasures).
    ///
    /// # Errors
    /// [`SiteError`]; a damaged index is no error, it is made again from the log.
    pub fn open(options: &SiteOptions, progress: OnProgress<'_>) -> Result<Arc<Site>, SiteError> {
        let taken = Taken::new(options)?;
        Site::begin(options, taken, progress)
    }

    /// Makes the index again from the log alone. The log is read from end to end before the index there is gets
    /// moved aside, where it is kept; a rebuild that fails leaves it in its place.
    ///
    /// # Errors
    /// [`SiteError`]; the log is only read. [`IndexError::AheadOfLog`](crate::index::IndexError::AheadOfLog): the index
    /// stays, which may be the last that knows what is lost.
    pub fn rebuild(options: &SiteOptions, progress: OnProgress<'_>) -> Result<Arc<Site>, SiteError> {
        let taken = Taken::new(options)?;
        ahead::check(&taken.paths, options.cache_bytes, taken.log.end())?;
        taken.log.verify(&mut |done, total| progress(Progress { what: "log", done, total }))?;
        let index = taken.paths.index();
        Index::anew(&index, || Site::begin(options, taken, progress))
    }

    fn begin(options: &SiteOptions, taken: Taken, progress: OnProgress<'_>) -> Result<Arc<Site>, SiteError> {
        let Taken { paths, lock, log, keys, signer, linking } = taken;
        let index = open_index(options, &paths, &log)?;
        let row = match index.0.get(rows::SITE)? {
            Some(item) => pb::SiteRow::decode(item.value)
                .map_err(|error| SiteError::corrupt("the site's row in the index", error))?,
            None => pb::SiteRow::default(),
        };
        let mut replay = Replay::new(row, &keys.city);
        let from = index.1.map(Pos::from_bytes).unwrap_or_default();
        replay.run(&*log, from, &index.0, progress)?;
        let Replay { row, lineage, .. } = replay;
        let origin = origin_of(&row)?;
        let mut author = Author::new(origin, keys, generator());
        author.head = head_of(&row);
        author.clock = clock_of(&row, now_ms());
        author.generations = generations_of(&row);
        author.anchor = row.anchor.as_ref().and_then(Anchor::from_pb);
        let (durable, _) = watch::channel(author.head);
        let (confirmed, _) = watch::channel(row.confirmed_seq);
        let audit = Audit::open(&paths.audit(), options.require_purpose);
        let rules = options.rules.clone();
        let (accepted, _) = watch::channel(row.accepted_rules == rules.fingerprint().as_slice());
        Ok(Arc::new(Site {
            paths,
            _lock: lock,
            log,
            index: Arc::new(index.0),
            lineage,
            audit,
            signer: Mutex::new(signer),
            keys: watch::Sender::new(()),
            linking: Mutex::new(linking),
            renewal: watch::Sender::new(Renewal::default()),
            mark_base: row.mark_base,
            writer: Mutex::new(Writer::new(author, row)),
            proved: Mutex::default(),
            erasing: Mutex::new(()),
            closing: AtomicBool::new(false),
            durable,
            confirmed,
            rules,
            accepted,
            link: Mutex::new(LinkState::default()),
            oldest_waiting: Mutex::new(None),
            wire: Wire::default(),
            listening: OnceLock::new(),
        }))
    }
}

/// A site's directory, held from here on, with what the index does not depend on.
struct Taken {
    paths: Paths,
    lock: DirLock,
    log: Arc<Log>,
    keys: Keys,
    signer: SigningKey,
    linking: LinkingRing,
}

impl Taken {
    fn new(options: &SiteOptions) -> Result<Taken, SiteError> {
        let paths = Paths::new(&options.data_dir);
        let lock = paths.take()?;
        let signer = paths.signing()?;
        let linking = LinkingRing::read(&paths, options.linking_key.as_deref())?;
        let keys = Keys { city: read_city_ring(&paths)?, linking: linking.in_use().cloned() };
        let log_options = log::Options { segment_bytes: options.segment_bytes, ..log::Options::default() };
        // An index that has followed the log further proves that what cannot be read at its end had been synced.
        let (log, opened) =
            Log::open_beside(&paths.log(), log_options, || ahead::followed(&paths, options.cache_bytes))?;
        if let Some(cut) = opened.cut {
            tracing::warn!(at = ?cut.at, bytes = cut.bytes, "cut an unfinished write off the end of the log");
        }
        Ok(Taken { paths, lock, log: Arc::new(log), keys, signer, linking })
    }
}

fn open_index(
    options: &SiteOptions,
    paths: &Paths,
    log: &Arc<Log>,
) -> Result<(Index, Option<[u8; 16]>), SiteError> {
    let cache = options.cache_bytes;
    let (durable, end) = (Arc::clone(log), log.end());
    let (index, opened) = Index::open(IndexOptions {
        dir: paths.index(),
        engine: Box::new(move |dir| store::open_sled(dir, cache)),
        overlay_bytes: options.overlay_bytes,
        pace: Pace::default(),
        // The store never gets ahead of the log: what it describes is durable first.
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

/// Who a site is.
///
/// # Errors
/// [`SiteError::Corrupt`] for one whose log does not begin with an epoch.
pub fn origin_of(row: &pb::SiteRow) -> Result<Origin, SiteError> {
    let epoch = Epoch::from_slice(&row.epoch);
    let epoch = epoch.ok_or_else(|| SiteError::corrupt("the log", "it does not begin with an epoch"))?;
    Ok(Origin { site: SiteCode(row.site), epoch })
}

fn note_epoch(lineage: &mut Lineage, opened: &pb::EpochOpened) {
    let anchor = opened.anchor.as_ref().and_then(Anchor::from_pb);
    if let (Some(epoch), Some(anchor)) = (Epoch::from_slice(&opened.epoch), anchor) {
        lineage.note(epoch, anchor);
    }
}

/// The newest own entry.
pub fn head_of(row: &pb::SiteRow) -> Head {
    Head { seq: row.seq, hash: row.hash.as_ref().try_into().unwrap_or_default() }
}

/// A clock that goes on from what a site has given out and seen.
pub fn clock_of(row: &pb::SiteRow, now_ms: u64) -> Clock {
    let mut clock = Clock::resume(Stamp(row.stamp));
    clock.saw(Stamp(row.seen_stamp), now_ms);
    clock
}

/// The hub's history as the site knows it.
pub fn generations_of(row: &pb::SiteRow) -> liandong_proto::position::Generations {
    let starts: Vec<sync::GenerationStart> = row
        .generations
        .iter()
        .map(|start| sync::GenerationStart {
            generation: start.generation,
            first_hub_seq: start.first_hub_seq,
        })
        .collect();
    generations_from_pb(&starts)
}

/// Folds the log, or its tail, into the index.
pub struct Replay<'a> {
    /// Where the site stands.
    pub row: pb::SiteRow,
    /// Only these records are folded, where they are named.
    pub only: Option<HashSet<(u32, RecordId)>>,
    /// What is appended from there on is left to another run, where it is named.
    pub until: Option<Pos>,
    /// Which epochs go on from which.
    pub lineage: Lineage,
    key: &'a CityRing,
    touched: Touched,
    checks: Vec<((u32, RecordId), Option<u64>)>,
    /// Rows that a delivery changed: they wait so that later entries see them.
    gone: Vec<Staged>,
}

impl<'a> Replay<'a> {
    /// Goes on from what an index holds.
    pub fn new(row: pb::SiteRow, key: &'a CityRing) -> Replay<'a> {
        let mut lineage = Lineage::default();
        row.line.iter().for_each(|opened| note_epoch(&mut lineage, opened));
        let (touched, checks, gone) = Default::default();
        Replay { row, only: None, until: None, lineage, key, touched, checks, gone }
    }

    /// The same with a ring that has more keys.
    pub fn with_keys<'b>(self, key: &'b CityRing) -> Replay<'b>
    where
        'a: 'b,
    {
        let replay: Replay<'b> = self;
        Replay { key, ..replay }
    }

    /// Folds the log from a place to its end into an index: how far it has come, which is where another run goes on.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn run(
        &mut self,
        log: &dyn LogView,
        from: Pos,
        index: &Index,
        progress: OnProgress<'_>,
    ) -> Result<Pos, SiteError> {
        let (total, mut done, mut in_chunk) = (log.bytes_from(from), 0u64, 0usize);
        let mut reached = from;
        for raw in log.read(from) {
            let raw = raw?;
            if self.until.is_some_and(|until| raw.pos >= until) {
                break;
            }
            done += raw.payload.len() as u64;
            reached = raw.next;
            let delivery = raw.kind == record_kind::RECEIVED;
            if delivery {
                // A delivery reads states: everything before it must be visible.
                self.flush(index, raw.pos)?;
            }
            self.record(&raw, log, index)?;
            in_chunk += 1;
            if delivery || in_chunk >= REPLAY_CHUNK {
                in_chunk = 0;
                self.flush(index, raw.next)?;
                progress(Progress { what: "replay", done, total });
            }
        }
        self.flush(index, log.end())?;
        Ok(reached)
    }

    fn record(&mut self, raw: &log::Record, log: &dyn LogView, index: &Index) -> Result<(), SiteError> {
        match Record::read(raw)? {
            Record::Opened(opened) => {
                (self.row.site, self.row.epoch) = (opened.site, opened.epoch.clone());
                self.row.mark_base += self.row.seq;
                (self.row.seq, self.row.hash) = (0, Bytes::new());
                // What the hub said of an older epoch says nothing of this one.
                (self.row.confirmed_seq, self.row.nonces, self.row.receipt) = (0, Vec::new(), Bytes::new());
                note_epoch(&mut self.lineage, &opened);
                self.row.anchor = opened.anchor.clone();
                self.row.line.extend(Some(opened).filter(|opened| opened.anchor.is_some()));
            }
            Record::Own(entry) => {
                let header =
                    Header::decode(&entry.header).map_err(|e| SiteError::corrupt("an own entry", e))?;
                self.row.seq = header.seq;
                self.row.hash = Bytes::copy_from_slice(&sha256(&entry.header));
                self.row.stamp = self.row.stamp.max(header.stamp.0);
                let key = (header.kind, header.record);
                if self.only.as_ref().is_some_and(|only| !only.contains(&key)) {
                    return Ok(());
                }
                let (open, sealed) = patches(&entry, &header, self.key)?;
                if header.op == Op::Erase {
                    // A row that waits must be seen first.
                    self.flush(index, raw.pos)?;
                }
                if !self.touched.contains_key(&key) {
                    let known = read_state(index, key)?;
                    self.checks.push((key, known.as_ref().map(|(_, check)| *check)));
                    if let Some((state, _)) = known {
                        self.touched.insert(key, state);
                    }
                }
                let state = self.touched.remove(&key);
                // An entry that the store has already folded is not folded again.
                let done = state.as_ref().is_some_and(|state| state.own_seq(header.origin) >= header.seq);
                let state = match state {
                    Some(state) if done => state,
                    state => fold_own(state, &header, &open, &sealed, &self.lineage),
                };
                if header.op == Op::Erase {
                    self.gone.extend(begin(index, key, header.origin, header.seq)?);
                }
                self.touched.insert(key, state);
            }
            Record::Received(mut deliver) => {
                if let Some(only) = &self.only {
                    let key = |item: &sync::Item| Some((item.kind, RecordId::from_slice(&item.record)?));
                    deliver.items.retain(|item| key(item).is_some_and(|key| only.contains(&key)));
                }
                let mut fold = Fold::new(origin_of(&self.row)?, self.key, &self.lineage, self.row.mark_base);
                let staged = fold.deliver(&deliver, log, raw.pos, index)?;
                self.gone.extend(staged);
                let cursor = position_from_pb(deliver.cursor.as_ref());
                (self.row.generation, self.row.hub_seq) = (cursor.generation, cursor.hub_seq);
                self.row.seen_stamp = self.row.seen_stamp.max(fold.newest.0);
            }
            Record::Erased(proof) => {
                // A row that waits must be seen first.
                self.flush(index, raw.pos)?;
                self.gone.push(proved(index, &proof)?);
            }
            Record::Tried(tried) => self.row.nonces.push(tried.nonce),
            Record::Welcomed(learned) => {
                let cursor = Position { generation: self.row.generation, hub_seq: self.row.hub_seq };
                learn(&mut self.row, learned);
                let generations = generations_of(&self.row);
                if generations.lost(cursor) {
                    // A row that waits must be seen first.
                    self.flush(index, raw.pos)?;
                    let folds = (self.key, &self.lineage);
                    self.gone.extend(forget_lost(&generations, cursor, log, raw.pos, index, folds)?);
                    self.flush(index, raw.next)?;
                }
            }
            Record::Confirmed(receipt) => {
                confirm(&mut self.row, &receipt);
            }
            Record::Accepted(accepted) => accept(&mut self.row, &accepted),
            Record::Repaired(repaired) => note_repair(&mut self.row, repaired),
        }
        Ok(())
    }

    fn flush(&mut self, index: &Index, at: Pos) -> Result<(), SiteError> {
        let mut staged = std::mem::take(&mut self.gone);
        for (key, old) in self.checks.drain(..) {
            if let Some(state) = self.touched.remove(&key) {
                let new = Some(Bytes::from(state.encode()));
                staged.push(Staged { key: rows::record(key.0, key.1), old, new });
            }
        }
        self.touched.clear();
        let old = index.get(rows::SITE)?.map(|item| item.check);
        let new = Some(Bytes::from(self.row.encode_to_vec()));
        staged.push(Staged { key: Bytes::from_static(rows::SITE), old, new });
        index.stage(&staged, at.to_bytes());
        Ok(())
    }
}

pub(super) fn read_state(
    index: &Index,
    key: (u32, RecordId),
) -> Result<Option<(RecordState, u64)>, SiteError> {
    match index.get(&rows::record(key.0, key.1))? {
        None => Ok(None),
        Some(item) => Ok(Some((RecordState::decode(&item.value)?, item.check))),
    }
}
