//! The hub as a site: the same record API as a node's.

use std::sync::Arc;

use bytes::Bytes;
use liandong_node::audit::Audit;
use liandong_node::log::Pos;
use liandong_node::rows;
use liandong_node::site::{
    By, Findings, OnProgress, Page, Pin, Progress, Put, PutAnswer, Query, Records, Shown, SiteError, view,
};
use liandong_proto::entry::Op;
use liandong_proto::id::{RecordId, SiteCode};
use liandong_proto::pb::node::v1 as node;
use liandong_proto::schema::{self, Party};
use liandong_proto::state::RecordState;

use crate::agreements::{self, AGREEMENT, FINGERPRINT_DIGITS};
use crate::hub::Hub;
use crate::mirror::Standing;
use crate::verify::{Trusted, verify_log};

impl Hub {
    /// The state of a record.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn state(&self, kind: u32, record: RecordId) -> Result<Option<RecordState>, SiteError> {
        let stored = self.index().get(&rows::record(kind, record))?;
        Ok(stored.map(|item| RecordState::decode(&item.value)).transpose()?)
    }
}

impl Records for Hub {
    fn put(&self, puts: Vec<Put>, by: &By, dry_run: bool) -> Result<Vec<PutAnswer>, SiteError> {
        let judge = |put: &Put| Ok::<_, SiteError>(self.made_by_city(put)?.or_else(|| no_fingerprint(put)));
        let refused = puts.iter().map(judge).collect::<Result<Vec<_>, _>>()?;
        let ours = puts.into_iter().zip(&refused).filter(|(_, refused)| refused.is_none());
        let ours: Vec<Put> = ours.map(|(put, _)| put).collect();
        let written = if ours.is_empty() { Vec::new() } else { self.write(ours, by, dry_run)? };
        let mut written = written.into_iter();
        Ok(refused.into_iter().filter_map(|refused| refused.or_else(|| written.next())).collect())
    }

    fn get(&self, kind: u32, record: RecordId) -> Result<Option<Shown>, SiteError> {
        let state = self.state(kind, record)?;
        Ok(state.map(|state| view::shown(kind, record, state, Some(self.origin()), u64::MAX)))
    }

    fn list(&self, query: &Query) -> Result<Page, SiteError> {
        view::list(self.index(), query, Some(self.origin()), u64::MAX)
    }

    fn history(&self, kind: u32, record: RecordId) -> Result<Vec<node::HistoryItem>, SiteError> {
        self.read_history(kind, record)
    }

    fn erase(&self, kind: u32, records: &[RecordId], by: &By) -> Result<u64, SiteError> {
        self.erase_records(kind, records, by)
    }

    fn erasures(&self) -> Result<Vec<node::ErasureStatus>, SiteError> {
        Ok(self.read_erasures())
    }

    fn status(&self) -> Result<node::StatusResponse, SiteError> {
        let row = self.read(|published| published.row.clone());
        let (counts, open_findings) = liandong_node::site::counted(self.index())?;
        let index = self.index().health();
        let origin = self.origin();
        let audit = self.shared.audit.standing();
        Ok(node::StatusResponse {
            site: origin.site.0,
            epoch: Bytes::copy_from_slice(&origin.epoch.0),
            version: env!("CARGO_PKG_VERSION").into(),
            head_seq: row.seq,
            head_hash: row.hash,
            confirmed_seq: row.seq,
            generation: row.generation,
            hub_seq: row.hub_seq,
            index_lag_changes: index.lag as u64,
            counts,
            open_findings,
            log_bytes: self.shared.log.bytes_from(Pos::default()),
            index_bytes: self.index().disk_bytes(),
            signing_key: self.signing_key().fingerprint(),
            data_dir: self.shared.paths.dir.display().to_string(),
            rss_bytes: liandong_node::process::peak_rss_bytes(),
            index_failure: index.failure.unwrap_or_default(),
            index_damaged: index.damaged,
            audit_number: audit.end.number,
            audit_hash: Bytes::copy_from_slice(&audit.end.hash),
            audit_failure: audit.failure,
            received_at_ms: row.received_at_ms,
            mirror: self.shared.mirror.as_ref().map(|mirror| mirrored(mirror.standing())),
            ..node::StatusResponse::default()
        })
    }

    fn verify(&self, pins: &[Pin], progress: OnProgress<'_>) -> Result<Findings, SiteError> {
        let mut found = Findings::default();
        let line = self.read(|published| published.registry.members.rotations(SiteCode::PROVINCE));
        let trusted = Trusted::new(self.signing_key(), &line, pins);
        let noted = verify_log(&self.shared.log, &trusted, &mut found, progress);
        found.audit(&self.shared.audit, &noted);
        let mut step = |done, total| progress(Progress { what: "index", done, total });
        match self.index().flush().and_then(|()| self.index().verify(&mut step)) {
            Ok(digest) => (found.rows, found.digest) = (digest.count, digest.to_string()),
            Err(error) if error.is_damage() => {
                found.index_faults += 1;
                found.fault("索引损坏；只要日志完好，重新启动会由日志重建索引", &error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(found)
    }

    fn extents(&self) -> Result<node::BackupResponse, SiteError> {
        let (row, origin) = (self.read(|published| published.row.clone()), self.origin());
        let log = self.shared.log.extents()?;
        Ok(node::BackupResponse::of(origin, row, env!("CARGO_PKG_VERSION"), log))
    }

    fn audit(&self) -> &Arc<Audit> {
        &self.shared.audit
    }
}

fn mirrored(standing: Standing) -> node::Mirror {
    let Standing { dir, reached_at_ms, is_live, failure, damage } = standing;
    let (failure, damage) = (failure.unwrap_or_default(), damage.unwrap_or_default());
    node::Mirror {
        dir: dir.display().to_string(),
        reached_at_ms,
        live: is_live,
        failure_zh: failure.zh,
        failure_en: failure.en,
        damage_zh: damage.zh,
        damage_en: damage.en,
    }
}

/// The answer to a put of an agreement that would fit no city's key.
fn no_fingerprint(put: &Put) -> Option<PutAnswer> {
    if put.kind != AGREEMENT || agreements::fits_some_key(&put.patch.set) {
        return None;
    }
    let problem = node::Problem {
        tag: agreements::SIGNING_KEY,
        field: "signing_key".into(),
        code: "agreement.no_fingerprint".into(),
        zh: format!(
            "签名密钥指纹应为 {FINGERPRINT_DIGITS} 位十六进制数字，与该市 status 显示的相同；没有保存"
        ),
        en: format!(
            "signing key: a fingerprint has {FINGERPRINT_DIGITS} hexadecimal digits, as the city's status shows it; \
             nothing was saved"
        ),
    };
    Some(PutAnswer {
        record: put.record.unwrap_or_default(),
        problems: vec![problem],
        ..PutAnswer::default()
    })
}

impl Hub {
    /// The answer to a put that would make a record which is a city's to make. What the province shares with the
    /// city it may change in one that is there.
    fn made_by_city(&self, put: &Put) -> Result<Option<PutAnswer>, SiteError> {
        let Some(kind) = schema::kind(put.kind).filter(|kind| kind.owner == Party::Home) else {
            return Ok(None);
        };
        if put.op != Op::Put {
            return Ok(None);
        }
        if let Some(record) = put.record
            && self.index().get(&rows::record(put.kind, record))?.is_some()
        {
            return Ok(None);
        }
        let (zh, en) = (kind.title.zh, kind.name);
        let problem = node::Problem {
            code: "record.made_by_city".into(),
            zh: format!("{zh}由所属地市建立，没有保存；请由该市录入，省级只能修改已有记录中的共用字段"),
            en: format!(
                "{en}s are made by their city, so nothing was saved: ask the city to enter it; the province changes \
                 shared fields of those that are there"
            ),
            ..node::Problem::default()
        };
        let record = put.record.unwrap_or_default();
        Ok(Some(PutAnswer { record, problems: vec![problem], ..PutAnswer::default() }))
    }
}
