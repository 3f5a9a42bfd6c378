//! What the record API leaves in the audit log: reads before they are answered, the rest once it is done.

use std::sync::Arc;

use liandong_proto::id::{RecordId, hex};
use liandong_proto::pb::node::v1 as pb;
use tonic::{Code, Request, Status};

use super::access::Bearer;
use super::{Service, status};
use crate::audit::{self, Audit, AuditError, Note, Via, What};
use crate::say;
use crate::site::{Findings, PutAnswer, Records, SiteError};
use crate::text::Said;

/// Whoever calls, and how they came: what every note of a call begins with.
pub(super) fn caller<T>(named: &str, request: &Request<T>) -> Note {
    let (who, peer) = audit::who(named, request);
    let via = if request.extensions().get::<Bearer>().is_some() { Via::Tcp } else { Via::Socket };
    Note { who, via, peer, ..Note::default() }
}

/// A read, before it is known what it brings.
pub(super) struct Reading {
    note: Note,
    /// That nothing was found tells something as well.
    searches: bool,
}

impl Reading {
    /// A read by this call of the record API.
    pub fn new<T>(call: &str, kind: u32, reader: &str, purpose: &str, request: &Request<T>) -> Reading {
        let (purpose, detail) = (purpose.to_owned(), call.to_owned());
        let note = Note { what: What::Read, kind, purpose, detail, ..caller(reader, request) };
        Reading { note, searches: false }
    }

    /// A read of the records that have given values in these fields.
    pub fn searching<'a>(mut self, fields: impl Iterator<Item = &'a str>) -> Reading {
        let fields: Vec<&str> = fields.collect();
        if !fields.is_empty() {
            self.note.detail += &format!(" where {}", fields.join(", "));
            self.searches = true;
        }
        self
    }
}

impl Service {
    /// Reads, records how many records were read, and only then answers.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        reading: Reading,
        call: impl FnOnce(&dyn Records) -> Result<(Option<T>, u64), SiteError> + Send + 'static,
    ) -> Result<T, Status> {
        let records = Arc::clone(&self.records);
        let read = tokio::task::spawn_blocking(move || {
            let audit = records.audit();
            let concerns = Audit::concerns(reading.note.kind);
            if concerns && audit.wants_purpose() && reading.note.purpose.trim().is_empty() {
                return Err(no_purpose());
            }
            let (answer, count) = call(&*records).map_err(|error| status(&error))?;
            let answer = answer.ok_or_else(|| status(&SiteError::NotFound))?;
            if concerns && (count > 0 || reading.searches) {
                audit.note(Note { count, ..reading.note }).map_err(|error| not_recorded(&error))?;
            }
            Ok(answer)
        });
        read.await.map_err(|_| Status::internal("the call was cut short"))?
    }
}

/// A status that says the same in both languages.
fn said(code: Code, said: Said) -> Status {
    Status::with_details(code, said.en, said.zh.into())
}

fn no_purpose() -> Status {
    said(
        Code::PermissionDenied,
        say!(
            "查阅个人信息须说明用途，没有提供；请加 --purpose 用途，或设置 LIANDONG_PURPOSE",
            "this site wants to know what personal data are read for, so nothing was shown; say it with --purpose, or \
             set LIANDONG_PURPOSE"
        ),
    )
}

fn not_recorded(error: &AuditError) -> Status {
    said(
        Code::Unavailable,
        say!(
            "审计日志写不进去，查阅无法留痕，因此没有提供个人信息；请先处理：{error}",
            "the read cannot be recorded, so nothing personal was shown; mend this first: {error}"
        ),
    )
}

/// Another system that is turned away at the port for them: who it is, if that is known, and what it lacks.
pub(super) fn turned_away(audit: &Arc<Audit>, who: String, detail: String) {
    audit.turned_away(Note { what: What::Refused, who, via: Via::Tcp, detail, ..Note::default() });
}

/// One batch of an import.
pub(super) fn imported(audit: &Arc<Audit>, kind: u32, answers: &[PutAnswer], import_id: &[u8], by: Note) {
    let written = answers.iter().filter(|answer| answer.problems.is_empty() && !answer.unchanged);
    let count = written.count() as u64;
    if count > 0 {
        let detail = hex(import_id);
        audit.note_behind(Note { what: What::Imported, kind, count, detail, ..by });
    }
}

/// A deletion, if there was one.
pub(super) fn deleted(audit: &Arc<Audit>, kind: u32, answer: Option<&PutAnswer>, by: Note) {
    if let Some(answer) = answer.filter(|answer| answer.problems.is_empty() && !answer.unchanged) {
        let detail = answer.record.to_string();
        audit.note_behind(Note { what: What::Deleted, kind, count: 1, detail, ..by });
    }
}

/// An erasure: the reason that was typed, and the ids.
pub(super) fn erased(audit: &Arc<Audit>, request: &pb::EraseRequest, by: Note) {
    let ids: Vec<String> =
        request.records.iter().filter_map(|id| Some(RecordId::from_slice(id)?.to_string())).collect();
    let (kind, count) = (request.kind, ids.len() as u64);
    let (purpose, detail) = (request.reason.clone(), ids.join(" "));
    audit.note_behind(Note { what: What::Erased, kind, count, purpose, detail, ..by });
}

/// A check of log and index.
pub(super) fn verified(audit: &Arc<Audit>, found: &Findings, by: Note) {
    let detail = if found.faults.is_empty() { "sound" } else { "faults" }.to_owned();
    let (what, count) = (What::Verified, found.entries);
    audit.note_behind(Note { what, count, detail, ..by });
}

/// Where the logs stand, for a backup. It holds personal data: nothing is answered before it is recorded.
pub(super) fn standing(
    records: &dyn Records,
    asked: &pb::BackupRequest,
    by: Note,
) -> Result<pb::BackupResponse, Status> {
    if records.audit().wants_purpose() && asked.purpose.trim().is_empty() {
        return Err(no_purpose());
    }
    if !asked.dry_run {
        let keys = if asked.keys { "keys" } else { "no keys" };
        let sealed = if asked.encrypted { "encrypted" } else { "not encrypted" };
        let (purpose, detail) = (asked.purpose.clone(), format!("{keys}, {sealed}"));
        let noted = records.audit().note(Note { what: What::BackedUp, purpose, detail, ..by });
        noted.map_err(|error| not_recorded(&error))?;
    }
    let mut stand = records.extents().map_err(|error| status(&error))?;
    // Behind the log, which says where the audit log stood.
    stand.audit = records.audit().extents().map_err(|error| not_recorded(&error))?;
    Ok(stand)
}
