//! One city's site: its log is the truth, its index what the log says.
//!
//! Order of every write: make the entry, append it, sync, answer. The index follows behind the answer; an
//! overlay shows the change at once. Entries are pushed only once they are durable.

mod ahead;
mod author;
mod chain;
mod deliver;
mod digests;
mod erase;
mod error;
mod files;
mod heal;
mod history;
mod journal;
mod keyring;
mod keys;
mod layout;
mod linking;
mod lost;
mod open;
mod outbound;
mod places;
mod records;
mod recovery;
mod refusal;
mod renew;
mod repair;
mod restore;
mod takeover;
#[cfg(test)]
mod tests;
mod verify;
pub mod view;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use liandong_proto::entry::{Encoded, Head, Op};
use liandong_proto::id::{Origin, RecordId, RecordMap, SiteCode};
use liandong_proto::merge::Lineage;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::pb::node::v1 as node_pb;
use liandong_proto::share::rules::Rules;
use liandong_proto::sign::SigningKey;
use liandong_proto::state::RecordState;
use prost::Message as _;
use tokio::sync::watch;

use crate::api::access::Listening;
use crate::audit::Audit;
use crate::index::{Check, Index, Staged, check_of};
use crate::log::{Batch, DirLock, Log, Pos};
use crate::now::now_ms;
use crate::rows;

pub use author::{Author, Keys, Made, Touched, Verdict, fold_own, patches};
pub use chain::OwnChain;
pub use deliver::{Fold, PushReader, confirm, learn};
pub use digests::digests;
pub use erase::{Missing, begin, erasures, lacks, proved, told};
pub use error::{Class, SiteError};
pub use files::{
    Paths, make_private_dir, read_key, read_private, read_signing_key, write_key, write_private,
};
pub use heal::NAMED;
pub use history::item as history_item;
pub use journal::{Record, record_kind};
pub use layout::LAYOUT;
pub use linking::LinkingRing;
pub use lost::forget_lost;
pub use open::{Replay, SiteOptions, clock_of, generations_of, head_of, origin_of};
pub use records::{By, Findings, OnProgress, Page, Pin, Progress, Put, PutAnswer, Query, Records, Shown};
pub use recovery::RecoveryKey;
pub use repair::{Repair, Repaired};
pub use restore::{Line, Restoring};
pub use takeover::{Alone, Both, Held, TakenOver, Takeover};
pub use verify::counted;

/// A running site.
pub struct Site {
    paths: Paths,
    _lock: DirLock,
    log: Arc<Log>,
    index: Arc<Index>,
    lineage: Lineage,
    /// Signs the heads of the own log.
    audit: Arc<Audit>,
    signer: Mutex<SigningKey>,
    /// Told when there is something new among the key files.
    keys: watch::Sender<()>,
    /// Linking keys: those that came over the hub, and the one that the settings name.
    linking: Mutex<LinkingRing>,
    /// Records whose tokens are being made again, and the news that there may be some.
    renewal: watch::Sender<Renewal>,
    /// Own entries of the epochs before this one: what places in the log are counted from.
    mark_base: u64,
    /// Whoever holds it may write: own entries have one order.
    writer: Mutex<Writer>,
    /// Records that differ from the hub's, and yet are as the log has them.
    proved: Mutex<heal::Proved>,
    /// Held while payloads are dropped.
    erasing: Mutex<()>,
    /// Nothing long is begun any more.
    closing: AtomicBool,
    /// Newest durable own entry.
    durable: watch::Sender<Head>,
    /// Newest own entry that the hub has confirmed.
    confirmed: watch::Sender<u64>,
    /// How far fields travel.
    rules: Rules,
    /// Whether somebody has accepted that.
    accepted: watch::Sender<bool>,
    /// How the uplink is, for `status`.
    link: Mutex<LinkState>,
    /// The oldest entry that was looked for in the log as not confirmed, and when it was written.
    oldest_waiting: Mutex<Option<((Origin, u64), u64)>>,
    /// Bytes sent to and received from the hub.
    pub wire: Wire,
    /// Where the city's other systems are served, once they are.
    pub listening: OnceLock<Listening>,
}

/// How far tokens have been made again under another linking key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Records done.
    pub done: u64,
    /// Of so many; 0 when none are being made again.
    pub total: u64,
}

/// Bytes that went over the wire.
#[derive(Debug, Default)]
pub struct Wire {
    /// To the hub.
    pub sent: AtomicU64,
    /// From the hub.
    pub received: AtomicU64,
}

struct Writer {
    author: Author,
    row: pb::SiteRow,
    /// Check of the row as it was staged last: nothing is read between an append and what it changes.
    check: Check,
    /// A write is under way, or one panicked halfway: then head, row and log may not agree any more.
    torn: bool,
}

impl Writer {
    fn new(author: Author, row: pb::SiteRow) -> Writer {
        let check = check_of(rows::SITE, &row.encode_to_vec());
        Writer { author, row, check, torn: false }
    }

    /// Place of the next own entry among those of all epochs.
    fn next_mark(&self) -> u64 {
        self.row.mark_base + self.author.head.seq + 1
    }

    /// Runs a write. It fails before its append or not at all; after one that panicked there is none any more.
    fn whole<T>(&mut self, write: impl FnOnce(&mut Writer) -> Result<T, SiteError>) -> Result<T, SiteError> {
        if self.torn {
            return Err(SiteError::torn());
        }
        self.torn = true;
        let written = write(self);
        self.torn = false;
        written
    }
}

/// How the uplink is.
#[derive(Clone, Debug, Default)]
pub struct LinkState {
    /// Connected, offline, diverged, refused.
    pub link: node_pb::Link,
    /// What stands in the way, (zh, en).
    pub text: (String, String),
    /// When something last went through, milliseconds since 1970.
    pub last_sync_ms: u64,
    /// The hub's clock when a session began last, and this machine's then.
    pub hub_clock: (u64, u64),
    /// The last comparison with the hub.
    pub comparison: node_pb::Comparison,
    /// What it covered: own head and cursor.
    pub compared: (u64, u64),
    /// When it was.
    pub compared_at_ms: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic leaves half done under the writer's lock is noted there; the others hold nothing that has halves.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Site {
    /// Who this site is.
    pub fn origin(&self) -> Origin {
        locked(&self.writer).author.origin
    }

    /// Its code.
    pub fn code(&self) -> SiteCode {
        self.origin().site
    }

    /// Where its files are.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Its index, for reading.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The newest durable own entry, and a way to wait for the next.
    pub fn durable(&self) -> watch::Receiver<Head> {
        self.durable.subscribe()
    }

    /// Place of the newest own entry that the hub has confirmed, and a way to wait for the next.
    pub fn receipts(&self) -> watch::Receiver<u64> {
        self.confirmed.subscribe()
    }

    /// How the uplink is.
    pub fn link(&self) -> LinkState {
        locked(&self.link).clone()
    }

    /// Says how the uplink is.
    pub fn set_link(&self, change: impl FnOnce(&mut LinkState)) {
        change(&mut locked(&self.link));
    }

    /// Where the site stands: its row in the index.
    pub fn row(&self) -> pb::SiteRow {
        locked(&self.writer).row.clone()
    }

    fn state(&self, kind: u32, record: RecordId) -> Result<Option<(RecordState, u64)>, SiteError> {
        match self.index.get(&rows::record(kind, record))? {
            None => Ok(None),
            Some(item) => Ok(Some((RecordState::decode(&item.value)?, item.check))),
        }
    }

    /// Waits until the log is durable up to `end`, then tells the uplink of own entries up to `head`.
    fn make_durable(&self, end: Pos, head: Head) -> Result<(), SiteError> {
        self.log.sync_to(end)?;
        self.durable.send_if_modified(|newest| {
            let newer = head.seq > newest.seq;
            if newer {
                *newest = head;
            }
            newer
        });
        Ok(())
    }

    /// Whether it can write: whoever runs the process starts it again when it cannot. Waits for a write that is under
    /// way.
    ///
    /// # Errors
    /// Why not.
    pub fn alive(&self) -> Result<(), SiteError> {
        if locked(&self.writer).torn {
            return Err(SiteError::torn());
        }
        Ok(self.index.alive()?)
    }

    /// Stops: everything staged goes into the store, so that the next start is quick.
    ///
    /// # Errors
    /// [`SiteError`]; nothing is lost, the next start replays the log.
    pub fn close(&self) -> Result<(), SiteError> {
        self.closing.store(true, Ordering::Relaxed);
        let _erased = locked(&self.erasing);
        self.audit.close();
        self.log.sync_to(self.log.end())?;
        self.index.close()?;
        Ok(())
    }

    /// Waits until the index has caught up with the log.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn catch_up(&self) -> Result<(), SiteError> {
        Ok(self.index.flush()?)
    }

    /// Writes a batch of puts; the records they name are read in the order given.
    fn put_batch(&self, puts: &[Put], by: &By, dry_run: bool) -> Result<Vec<PutAnswer>, SiteError> {
        let mut writer = locked(&self.writer);
        let (answers, end) = writer.whole(|writer| self.append_puts(writer, puts, by, dry_run))?;
        let head = writer.author.head;
        drop(writer);
        if let Some(end) = end {
            self.make_durable(end, head)?;
        }
        Ok(answers)
    }

    /// Appends and shows what the puts come to, and answers where the log ends behind it; `None`: nothing to write.
    fn append_puts(
        &self,
        writer: &mut Writer,
        puts: &[Put],
        by: &By,
        dry_run: bool,
    ) -> Result<(Vec<PutAnswer>, Option<Pos>), SiteError> {
        let now = now_ms();
        let before = writer.author.head;
        let mut batch = Batch::new();
        let mut touched = Touched::with_capacity_and_hasher(puts.len(), Default::default());
        let mut checks: RecordMap<Option<u64>> =
            RecordMap::with_capacity_and_hasher(puts.len(), Default::default());
        let mut answers = Vec::with_capacity(puts.len());
        let mut erased = Vec::new();
        let outcome = puts.iter().try_for_each(|put| {
            let key = put.record.map(|record| (put.kind, record));
            let mut check = None;
            if let Some(key) = key.filter(|key| !touched.contains_key(key))
                && let Some((state, known)) = self.state(key.0, key.1)?
            {
                check = Some(known);
                touched.insert(key, state);
            }
            let state = key.and_then(|key| touched.get(&key));
            match writer.author.write(put, state, by, now)? {
                Verdict::Answer(answer) => answers.push(answer),
                Verdict::Write(made, record) => {
                    let key = (put.kind, record);
                    batch.push(record_kind::OWN, &Encoded::new(&made.entry).parts());
                    let state = touched.remove(&key);
                    let state = fold_own(state, &made.header, &made.open, &made.sealed, &self.lineage);
                    if put.op == Op::Erase {
                        erased.extend(begin(&self.index, key, made.header.origin, made.header.seq)?);
                    }
                    let version = view::version(&state, Some(made.header.origin));
                    touched.insert(key, state);
                    checks.entry(key).or_insert(check);
                    answers.push(PutAnswer { record, version, ..PutAnswer::default() });
                }
            }
            Ok::<(), SiteError>(())
        });
        if outcome.is_err() || dry_run || batch.is_empty() {
            writer.author.rewind(before);
            outcome?;
            return Ok((answers, None));
        }
        let mut staged = Vec::with_capacity(checks.len() + erased.len() + 1);
        for ((kind, record), old) in checks {
            if let Some(state) = touched.get(&(kind, record)) {
                let new = Some(Bytes::from(state.encode()));
                staged.push(Staged { key: rows::record(kind, record), old, new });
            }
        }
        staged.extend(erased);
        let appended = self.log.append(&batch, writer.row.mark_base + before.seq + 1);
        let end = appended.inspect_err(|_| writer.author.rewind(before))?.end;
        let head = writer.author.head;
        writer.row.seq = head.seq;
        writer.row.hash = Bytes::copy_from_slice(&head.hash);
        writer.row.stamp = writer.author.clock.last().0;
        self.stage(writer, staged, end);
        Ok((answers, Some(end)))
    }

    /// Shows changed rows, together with where the site stands after them. It cannot fail: they are in the log.
    fn stage(&self, writer: &mut Writer, mut staged: Vec<Staged>, end: Pos) {
        let new = Bytes::from(writer.row.encode_to_vec());
        let old = std::mem::replace(&mut writer.check, check_of(rows::SITE, &new));
        staged.push(Staged { key: Bytes::from_static(rows::SITE), old: Some(old), new: Some(new) });
        self.index.stage(&staged, end.to_bytes());
    }
}

impl Records for Site {
    fn put(&self, puts: Vec<Put>, by: &By, dry_run: bool) -> Result<Vec<PutAnswer>, SiteError> {
        self.put_batch(&puts, by, dry_run)
    }

    fn get(&self, kind: u32, record: RecordId) -> Result<Option<Shown>, SiteError> {
        let (origin, confirmed) = self.standing();
        let state = self.state(kind, record)?;
        Ok(state.map(|(state, _)| view::shown(kind, record, state, Some(origin), confirmed)))
    }

    fn list(&self, query: &Query) -> Result<Page, SiteError> {
        let (origin, confirmed) = self.standing();
        view::list(&self.index, query, Some(origin), confirmed)
    }

    fn history(&self, kind: u32, record: RecordId) -> Result<Vec<node_pb::HistoryItem>, SiteError> {
        self.read_history(kind, record)
    }

    fn deleted(&self, kind: u32) -> Result<Vec<Shown>, SiteError> {
        self.read_deleted(kind)
    }

    fn erase(&self, kind: u32, records: &[RecordId], by: &By) -> Result<u64, SiteError> {
        self.erase_records(kind, records, by)
    }

    fn erasures(&self) -> Result<Vec<node_pb::ErasureStatus>, SiteError> {
        self.read_erasures()
    }

    fn status(&self) -> Result<node_pb::StatusResponse, SiteError> {
        self.read_status()
    }

    fn verify(&self, pins: &[Pin], progress: OnProgress<'_>) -> Result<Findings, SiteError> {
        self.run_verify(pins, progress)
    }

    fn extents(&self) -> Result<node_pb::BackupResponse, SiteError> {
        self.read_extents()
    }

    fn keys_changed(&self) {
        self.look_at_keys();
    }

    fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }
}

impl Site {
    fn standing(&self) -> (Origin, u64) {
        let writer = locked(&self.writer);
        (writer.author.origin, writer.row.confirmed_seq)
    }
}

impl Put {
    /// Sets fields of a record, or makes a new one.
    pub fn set(kind: u32, record: Option<RecordId>, set: liandong_proto::fields::Fields) -> Put {
        let patch = liandong_proto::entry::Patch { set, cleared: Vec::new() };
        Put { kind, record, op: Op::Put, patch, expected_version: None, touch: false }
    }

    /// Deletes a record.
    pub fn delete(kind: u32, record: RecordId, expected_version: Option<String>) -> Put {
        Put {
            kind,
            record: Some(record),
            op: Op::Delete,
            patch: Default::default(),
            expected_version,
            touch: false,
        }
    }
}
