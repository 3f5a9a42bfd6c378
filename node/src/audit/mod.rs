//! The audit log: who did what at this site, and why. A log of its own beside the site's, which knows no records.
//!
//! It is a [`Log`] in `audit/`, each record an [`AuditRecord`] that names SHA-256 of the one before. It is never
//! rewritten, and no program removes anything from it.
//!
//! | to be recorded | call | when it cannot be recorded |
//! |---|---|---|
//! | something that tells somebody about people | [`Audit::note`] before the answer | it is not answered |
//! | a change, a session, a start | [`Audit::note`], or [`Audit::note_behind`] where nobody should wait for the disk | it goes on; the failure is logged and stands in `status` |
//! | somebody who is turned away | [`Audit::turned_away`], which gathers repetitions | as before |
//!
//! Who holds the site's directory holds the audit log with it: there is no lock of its own.

mod chain;
mod note;
mod refusals;
mod service;
#[cfg(test)]
mod tests;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use liandong_proto::pb::audit::v1::AuditRecord;
use liandong_proto::schema;
use prost::Message as _;

use crate::log::{self, Batch, Log, LogError, Pos};
use crate::now::now_ms;
use refusals::Refusals;

pub use chain::End;
pub use liandong_proto::pb::audit::v1::What;
pub use note::{Note, Via, labels};
pub use service::{Records, Service, read, record, verify, who};
pub use verify::Verified;

/// The one kind of record that this log holds.
const RECORD: u8 = 1;
/// Years of an ordinary site lie in a handful of segments.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Why something was not recorded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// The log underneath.
    #[error("audit log: {0}")]
    Log(Arc<LogError>),
    /// What stands in it is no record of an audit log.
    #[error("audit log damaged: {0}; keep it as it is and put back a backup of audit/")]
    Damaged(String),
}

impl From<LogError> for AuditError {
    fn from(error: LogError) -> AuditError {
        AuditError::Log(Arc::new(error))
    }
}

/// The audit log of a site. Whoever has it has taken the site's directory.
pub struct Audit {
    dir: PathBuf,
    segment_bytes: u64,
    wants_purpose: bool,
    /// `None` until it could be opened.
    opened: Mutex<Option<Opened>>,
    failure: Mutex<Option<String>>,
    refusals: Mutex<Refusals>,
}

/// An open log, and where its chain stands. Whoever holds it appends: the chain has one order.
struct Opened {
    log: Arc<Log>,
    end: End,
    /// Time of the newest record: a clock that was set back does not reorder the past.
    at_ms: u64,
}

/// Where the audit log stands, for `status`.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The newest record.
    pub end: End,
    /// Why nothing can be recorded now; empty when all is well.
    pub failure: String,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks moves as the last step of what is done under them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Audit {
    /// The audit log in a directory, which is made with the first record. One that cannot be opened is no error
    /// here: what has to be recorded meets it, and every later record tries again.
    pub fn open(dir: &Path, wants_purpose: bool) -> Arc<Audit> {
        Audit::with_segments(dir, wants_purpose, SEGMENT_BYTES)
    }

    fn with_segments(dir: &Path, wants_purpose: bool, segment_bytes: u64) -> Arc<Audit> {
        let audit = Audit {
            dir: dir.to_path_buf(),
            segment_bytes,
            wants_purpose,
            opened: Mutex::new(None),
            failure: Mutex::new(None),
            refusals: Mutex::default(),
        };
        if dir.exists() {
            let opened = audit.with(|_| Ok(()));
            // It is heard, and that is all there is to do about it now.
            let _ = audit.heard(opened);
        }
        Arc::new(audit)
    }

    /// Records something; durable before this returns. Many at once share one sync.
    ///
    /// # Errors
    /// [`AuditError`]; it has been logged and stands in `status`.
    pub fn note(&self, note: Note) -> Result<(), AuditError> {
        let noted = self.append(note).and_then(|(log, end)| Ok(log.sync_to(end)?));
        self.heard(noted)
    }

    /// Records something that nobody waits for: it is in the log when this returns, and durable soon after. What it
    /// tells of has its own place in the site's log. A failure is logged and stands in `status`.
    pub fn note_behind(self: &Arc<Self>, note: Note) {
        let Ok((log, end)) = self.append(note).or_else(|error| self.heard(Err(error))) else { return };
        let audit = Arc::clone(self);
        let sync = move || drop(audit.heard(log.sync_to(end).map_err(AuditError::from)));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(sync)),
            Err(_) => sync(),
        }
    }

    /// Records somebody who was turned away: the first time at once, repetitions at most once a minute with their
    /// number, so that whoever knocks all day fills no disk.
    pub fn turned_away(self: &Arc<Self>, note: Note) {
        let note = locked(&self.refusals).due(note, now_ms());
        if let Some(note) = note {
            self.note_behind(note);
        }
    }

    /// Whether reading records of a kind is to be recorded, and with it refused when that cannot be done.
    pub fn concerns(kind: u32) -> bool {
        // What nobody knows is treated as personal.
        schema::kind(kind).is_none_or(schema::Kind::is_personal)
    }

    /// Whether a read that names no purpose is refused.
    pub fn wants_purpose(&self) -> bool {
        self.wants_purpose
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        let end = locked(&self.opened).as_ref().map(|opened| opened.end).unwrap_or_default();
        Standing { end, failure: locked(&self.failure).clone().unwrap_or_default() }
    }

    /// The newest record, which is durable: for another log to note, so that the end of this one cannot be cut off
    /// unseen. Number 0 where there is none to be sure of.
    pub fn durable_end(&self) -> End {
        let newest = locked(&self.opened).as_ref().map(|opened| (Arc::clone(&opened.log), opened.end));
        let Some((log, end)) = newest else { return End::default() };
        let synced = self.heard(log.sync_to(log.end()).map_err(AuditError::from));
        synced.map_or(End::default(), |()| end)
    }

    /// How many bytes of each of its segments are durable, from the first; none where there is no audit log yet.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn extents(&self) -> Result<Vec<u64>, AuditError> {
        let Some(log) = self.log() else { return Ok(Vec::new()) };
        log.sync_to(log.end())?;
        Ok(log.extents()?)
    }

    /// The log underneath, once there is one.
    pub fn log(&self) -> Option<Arc<Log>> {
        locked(&self.opened).as_ref().map(|opened| Arc::clone(&opened.log))
    }

    /// Records what still waits to be; all of it is durable then, or logged as failed.
    pub fn close(&self) {
        let waiting = locked(&self.refusals).take();
        for note in waiting {
            // It has been heard.
            let _ = self.note(note);
        }
        let log = locked(&self.opened).as_ref().map(|opened| Arc::clone(&opened.log));
        if let Some(log) = log {
            let _ = self.heard(log.sync_to(log.end()).map_err(AuditError::from));
        }
    }

    fn append(&self, note: Note) -> Result<(Arc<Log>, Pos), AuditError> {
        self.with(|opened| {
            let at_ms = now_ms().max(opened.at_ms);
            let (bytes, end) = opened.end.chained(note.record(at_ms));
            let mut batch = Batch::new();
            batch.push(RECORD, &[&bytes]);
            let span = opened.log.append(&batch, end.number)?;
            (opened.end, opened.at_ms) = (end, at_ms);
            Ok((Arc::clone(&opened.log), span.end))
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Opened) -> Result<T, AuditError>) -> Result<T, AuditError> {
        let mut opened = locked(&self.opened);
        if opened.is_none() {
            *opened = Some(Opened::new(&self.dir, self.segment_bytes)?);
        }
        // It was put there just now.
        opened.as_mut().map_or_else(|| Err(AuditError::Damaged("nothing is open".into())), work)
    }

    /// Keeps what became of a record for `status`, and logs a failure when it is news.
    fn heard<T>(&self, noted: Result<T, AuditError>) -> Result<T, AuditError> {
        let mut failure = locked(&self.failure);
        match &noted {
            Ok(_) => {
                if failure.take().is_some() {
                    tracing::info!("the audit log can be written again");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if failure.as_ref() != Some(&error) {
                    tracing::error!(error, "not recorded; reads of personal data are refused");
                    *failure = Some(error);
                }
            }
        }
        noted
    }

    /// All records, in order, up to where the log ends now.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn records(
        &self,
    ) -> Result<impl Iterator<Item = Result<AuditRecord, AuditError>> + use<>, AuditError> {
        let log = self.with(|opened| Ok(Arc::clone(&opened.log)))?;
        Ok(log.read(Pos::START).map(|stored| decode(&stored?)))
    }
}

impl Opened {
    fn new(dir: &Path, segment_bytes: u64) -> Result<Opened, AuditError> {
        let options = log::Options { segment_bytes, ..log::Options::default() };
        let (log, found) = Log::open(dir, options)?;
        if let Some(cut) = found.cut {
            tracing::warn!(at = ?cut.at, bytes = cut.bytes, "cut an unfinished record off the end of the audit log");
        }
        let mut newest = log.read(log.seek(u64::MAX)).last().transpose()?;
        if newest.is_none() {
            // The last segment may have been begun and not written to.
            newest = log.read(Pos::START).last().transpose()?;
        }
        let (end, at_ms) = match newest {
            Some(stored) => {
                let record = decode(&stored)?;
                (End::behind(&record, &stored.payload), record.at_ms)
            }
            None => (End::default(), 0),
        };
        Ok(Opened { log: Arc::new(log), end, at_ms })
    }
}

fn decode(stored: &log::Record) -> Result<AuditRecord, AuditError> {
    let wrong = |what: &dyn std::fmt::Display| AuditError::Damaged(format!("at {}: {what}", stored.pos));
    if stored.kind != RECORD {
        return Err(wrong(&format!("a record of kind {}", stored.kind)));
    }
    AuditRecord::decode(stored.payload.clone()).map_err(|error| wrong(&error))
}
