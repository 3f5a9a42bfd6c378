//! The record API as both sites have it: put, get, list, history, delete.

use std::sync::Arc;

use bytes::Bytes;
use liandong_proto::entry::{Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::sign::VerifyingKey;
use liandong_proto::stamp::Stamp;
use liandong_proto::state::Held;

use super::SiteError;
use crate::audit::Audit;

/// One change to one record.
#[derive(Clone, Debug)]
pub struct Put {
    /// Number of the kind.
    pub kind: u32,
    /// `None`: a new record.
    pub record: Option<RecordId>,
    /// Put, delete or erase.
    pub op: Op,
    /// Fields to set and to clear.
    pub patch: Patch,
    /// Refuse unless the record still has this version.
    pub expected_version: Option<String>,
    /// Write even what already has the value given.
    pub touch: bool,
}

/// Who writes, and with which batch.
#[derive(Clone, Debug, Default)]
pub struct By {
    /// Opaque id of the person.
    pub author: String,
    /// The clerk's batch; empty for a single edit.
    pub import_id: Bytes,
}

/// What became of a put.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutAnswer {
    /// The record's id.
    pub record: RecordId,
    /// Its version now.
    pub version: String,
    /// It already was as asked.
    pub unchanged: bool,
    /// Why nothing was written; empty when it was.
    pub problems: Vec<pb::Problem>,
}

/// A record as this site shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Number of the kind.
    pub kind: u32,
    /// Which.
    pub record: RecordId,
    /// Changes with every change that this site knows of.
    pub version: String,
    /// Everything this site may see.
    pub fields: Fields,
    /// The city it belongs to.
    pub home: SiteCode,
    /// Newest stamp shown.
    pub stamp: Stamp,
    /// A tombstone stands in its place.
    pub deleted: bool,
    /// For good: nothing of it is held anywhere.
    pub erased: bool,
    /// A required field is held or absent.
    pub incomplete: bool,
    /// Values kept and not shown.
    pub held: Vec<Held>,
    /// Own changes not yet confirmed by the hub are part of it.
    pub unsynced: bool,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Number of the kind.
    pub kind: u32,
    /// Field name and the text it must have.
    pub filters: Vec<(String, String)>,
    /// At most this many.
    pub page_size: usize,
    /// Where the page before ended; empty for the first.
    pub page_token: Bytes,
    /// List deleted records as well.
    pub deleted: bool,
}

/// One page of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The records, by id.
    pub records: Vec<Shown>,
    /// Empty on the last page.
    pub next: Bytes,
}

/// Progress of something long.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub what: &'static str,
    /// So far.
    pub done: u64,
    /// Of so many; 0 when that is not known.
    pub total: u64,
}

/// Called now and then by something long.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);

/// What `verify` found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// One line each, (zh, en); empty when everything is sound.
    pub faults: Vec<(String, String)>,
    /// Digest of the index, hexadecimal.
    pub digest: String,
    /// Rows of the index.
    pub rows: u64,
    /// Records of the log.
    pub entries: u64,
    /// What signatures were held against, a line for each pinned site, (zh, en).
    pub pins: Vec<(String, String)>,
    /// How many of the faults are the index's.
    pub index_faults: u64,
    /// How many are the audit log's; the others are the log's.
    pub audit_faults: u64,
}

/// A site's first signing key, known from elsewhere than a log: from an agreement on paper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Whose.
    pub site: SiteCode,
    /// 32 hexadecimal digits, in groups or not.
    pub fingerprint: String,
}

impl Pin {
    /// Whether a key is the pinned one.
    pub fn is(&self, key: &VerifyingKey) -> bool {
        let digits =
            |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
        digits(&self.fingerprint) == digits(&key.fingerprint())
    }
}

/// A site's records: the node's and the hub's. All calls block; durable before they return.
pub trait Records: Send + Sync + 'static {
    /// Writes a batch. Each answer stands for itself: one put with problems does not hold up the others.
    ///
    /// # Errors
    /// [`SiteError`] when nothing of the batch could be written.
    fn put(&self, puts: Vec<Put>, by: &By, dry_run: bool) -> Result<Vec<PutAnswer>, SiteError>;

    /// One record; `None` when this site has never heard of it.
    ///
    /// # Errors
    /// [`SiteError`].
    fn get(&self, kind: u32, record: RecordId) -> Result<Option<Shown>, SiteError>;

    /// Records of a kind, by id.
    ///
    /// # Errors
    /// [`SiteError::Refused`] for a filter on a field the kind does not have.
    fn list(&self, query: &Query) -> Result<Page, SiteError>;

    /// Who changed what, and when; newest last. Reads the whole log.
    ///
    /// # Errors
    /// [`SiteError`].
    fn history(&self, kind: u32, record: RecordId) -> Result<Vec<pb::HistoryItem>, SiteError>;

    /// The deleted records of a kind, each with the fields it had until then. Reads the whole log.
    ///
    /// # Errors
    /// [`SiteError`]; refused where the log does not hold what the records' own cities wrote.
    fn deleted(&self, kind: u32) -> Result<Vec<Shown>, SiteError> {
        Err(SiteError::Refused(format!(
            "what deleted records of kind {kind} held stands in the logs of their cities; ask there"
        )))
    }

    /// Erases records for good: here before this returns, at other holders as they sync. Answers how many records of the
    /// log were stripped.
    ///
    /// # Errors
    /// [`SiteError`]; refused as a whole when one of them may not be erased from here.
    fn erase(&self, kind: u32, records: &[RecordId], by: &By) -> Result<u64, SiteError>;

    /// Erasures that this site knows of, and who has proved them.
    ///
    /// # Errors
    /// [`SiteError`].
    fn erasures(&self) -> Result<Vec<pb::ErasureStatus>, SiteError>;

    /// How the site is.
    ///
    /// # Errors
    /// [`SiteError`].
    fn status(&self) -> Result<pb::StatusResponse, SiteError>;

    /// Reads log and index from end to end; `pins` are trusted in place of what the log says of first keys.
    ///
    /// # Errors
    /// [`SiteError`] when that was not possible; what is damaged stands in the answer.
    fn verify(&self, pins: &[Pin], progress: OnProgress<'_>) -> Result<Findings, SiteError>;

    /// Where the log stands, for a copy of its files: all that is written by now, durable.
    ///
    /// # Errors
    /// [`SiteError`].
    fn extents(&self) -> Result<pb::BackupResponse, SiteError>;

    /// Where reads and other acts are recorded.
    fn audit(&self) -> &Arc<Audit>;

    /// There is something new among the files in `keys/`: it is looked at now. A site that keeps nothing there that
    /// could change has nothing to do.
    fn keys_changed(&self) {}
}
