//! How the site is, and whether what it stores is sound.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use liandong_proto::entry::{self, Head, Header};
use liandong_proto::fields::Fields;
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::pb::log::v1 as log_pb;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::pb::record::v1::FindingStatus;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::schema;
use liandong_proto::session::head_from_pb;
use liandong_proto::session::node::check_receipt;
use liandong_proto::sign::VerifyingKey;

use super::deliver::erased_by;
use super::{
    Findings, Missing, OnProgress, Pin, Progress, Query, Record, Site, SiteError, lacks, locked, record_kind,
    view,
};
use crate::audit::{Audit, End};
use crate::index::Index;
use crate::log::Pos;
use crate::text::Said;
use crate::trust::Membership;

impl Site {
    pub(super) fn read_status(&self) -> Result<pb::StatusResponse, SiteError> {
        let (row, origin, linking) = {
            let writer = locked(&self.writer);
            let linking = writer.author.keys().linking.as_ref().map(|key| key.fingerprint().to_owned());
            (writer.row.clone(), writer.author.origin, linking)
        };
        let link = self.link();
        let (counts, open_findings) = counted(&self.index)?;
        let index = self.index.health();
        let audit = self.audit.standing();
        // One that cannot be read is told by whoever checks the log.
        let waiting = if row.confirmed_seq < row.seq {
            self.waiting_since_ms(origin, row.confirmed_seq).unwrap_or(0)
        } else {
            0
        };
        let listening = self.listening.get().cloned().unwrap_or_default();
        Ok(pb::StatusResponse {
            api_address: listening.address,
            api_fingerprint: listening.fingerprint,
            site: origin.site.0,
            epoch: Bytes::copy_from_slice(&origin.epoch.0),
            version: env!("CARGO_PKG_VERSION").into(),
            head_seq: row.seq,
            head_hash: row.hash,
            confirmed_seq: row.confirmed_seq,
            generation: row.generation,
            hub_seq: row.hub_seq,
            link: link.link as i32,
            link_zh: link.text.0,
            link_en: link.text.1,
            last_sync_ms: link.last_sync_ms,
            hub_clock_ms: link.hub_clock.0,
            hub_clock_at_ms: link.hub_clock.1,
            index_lag_changes: index.lag as u64,
            counts,
            comparison: link.comparison as i32,
            compared_own_seq: link.compared.0,
            compared_hub_seq: link.compared.1,
            open_findings,
            log_bytes: self.log.bytes_from(Pos::default()),
            index_bytes: self.index.disk_bytes(),
            wire_bytes_sent: self.wire.sent.load(Ordering::Relaxed),
            wire_bytes_received: self.wire.received.load(Ordering::Relaxed),
            signing_key: self.signing_key().fingerprint(),
            // One that cannot be read is told by the uplink, which needs it.
            certificate_until_ms: Membership::load(&self.paths)
                .ok()
                .flatten()
                .map_or(0, |it| it.not_after_ms),
            linking_key: linking.unwrap_or_default(),
            keys_waiting: self.keys_waiting(),
            tokens_renewed: self.renewal.borrow().done,
            tokens_to_renew: self.renewal.borrow().total,
            data_dir: self.paths.dir.display().to_string(),
            compared_at_ms: link.compared_at_ms,
            rss_bytes: crate::process::peak_rss_bytes(),
            index_failure: index.failure.unwrap_or_default(),
            index_damaged: index.damaged,
            audit_number: audit.end.number,
            audit_hash: Bytes::copy_from_slice(&audit.end.hash),
            audit_failure: audit.failure,
            waiting_since_ms: waiting,
            ..pb::StatusResponse::default()
        })
    }

    pub(super) fn read_extents(&self) -> Result<pb::BackupResponse, SiteError> {
        let (row, origin, end) = {
            let writer = locked(&self.writer);
            (writer.row.clone(), writer.author.origin, self.log.end())
        };
        self.log.sync_to(end)?;
        Ok(pb::BackupResponse::of(origin, row, env!("CARGO_PKG_VERSION"), self.log.extents()?))
    }

    /// When the oldest own entry was written that the hub has not confirmed; 0 when there is none.
    fn waiting_since_ms(&self, origin: Origin, confirmed: u64) -> Result<u64, SiteError> {
        let oldest = confirmed + 1;
        let known = *locked(&self.oldest_waiting);
        if let Some((_, at_ms)) = known.filter(|(of, _)| *of == (origin, oldest)) {
            return Ok(at_ms);
        }
        for raw in self.log.read(self.log.seek(self.mark_base + oldest)) {
            let raw = raw?;
            if raw.kind != record_kind::OWN {
                continue;
            }
            let Record::Own(entry) = Record::read(&raw)? else { continue };
            let header =
                Header::decode(&entry.header).map_err(|error| SiteError::corrupt("an own entry", error))?;
            if header.origin == origin && header.seq >= oldest {
                let at_ms = header.stamp.ms();
                *locked(&self.oldest_waiting) = Some(((origin, oldest), at_ms));
                return Ok(at_ms);
            }
        }
        Ok(0)
    }

    pub(super) fn run_verify(&self, pins: &[Pin], progress: OnProgress<'_>) -> Result<Findings, SiteError> {
        let mut found = Findings::default();
        let key = locked(&self.writer).author.keys().city.clone();
        let mut head = Head::default();
        let mut missing = Missing::default();
        let epoch = self.origin().epoch;
        let mut noted = Vec::new();
        let member = Membership::load(&self.paths)?;
        let hub_keys = member.map(|member| member.hub_keys()).transpose()?.unwrap_or_default();
        pinned(&hub_keys, pins, &mut found);
        let mut receipts = Receipts { site: self.code(), hub_keys, origin: None, open: VecDeque::new() };
        let (total, mut done) = (self.log.bytes_from(Pos::default()), 0);
        for raw in self.log.read(Pos::default()) {
            let raw = match raw {
                Ok(raw) => raw,
                Err(error) => {
                    found.fault("日志损坏，其后的内容无法读取", &format!("the log is damaged: {error}"));
                    break;
                }
            };
            found.entries += 1;
            done += raw.payload.len() as u64;
            if found.entries.is_multiple_of(4_096) {
                progress(Progress { what: "log", done, total });
            }
            match Record::read(&raw) {
                Ok(Record::Opened(opened)) => {
                    head = Head::default();
                    receipts.opened(&opened);
                }
                Ok(Record::Own(entry)) => match entry::check(&entry) {
                    Ok((header, hash)) => {
                        if let Err(error) = header.follows(&head) {
                            found.fault("条目链断裂", &error.to_string());
                        }
                        if key.open(&entry.sealed, header.origin, header.seq).is_err() {
                            let en = format!("the sealed part of entry {} does not open", header.seq);
                            found.fault(&format!("条目 {} 的密封部分无法打开", header.seq), &en);
                        }
                        let (open, sealed) = lacks(&header, &entry.open, &entry.sealed);
                        // Of what came back from the hub, an open part may have been dropped there on arrival.
                        let open = open && header.origin.epoch == epoch;
                        missing.entry(&header, open || sealed, header.seq);
                        head = Head { seq: header.seq, hash };
                        receipts.open.push_back(head);
                    }
                    Err(error) => found.fault("条目与其哈希不符", &error.to_string()),
                },
                Ok(Record::Tried(tried)) => {
                    let hash = tried.audit_hash.as_ref().try_into().unwrap_or_default();
                    noted.push(End { number: tried.audit_number, hash });
                }
                // Whose record it was, that site has erased it.
                Ok(Record::Received(deliver)) => {
                    for item in deliver.items.iter().filter(|item| erased_by(item).is_some()) {
                        let record = RecordId::from_slice(&item.record);
                        record.into_iter().for_each(|record| missing.erased((item.kind, record)));
                    }
                }
                Ok(Record::Confirmed(receipt)) => receipts.check(&receipt, &mut found),
                Ok(_) => {}
                Err(error) => found.fault("日志记录无法读取", &error.to_string()),
            }
            if found.faults.len() > 100 {
                break;
            }
        }
        for seq in missing.unexplained().take(100) {
            let en =
                format!("entry {seq} lacks a payload that its header names, and its record was not erased");
            found.fault(&format!("条目 {seq} 缺少内容，而其记录并未彻底删除"), &en);
        }
        found.audit(&self.audit, &noted);
        let mut step = |done, total| progress(Progress { what: "index", done, total });
        match self.index.flush().and_then(|()| self.index.verify(&mut step)) {
            Ok(digest) => (found.rows, found.digest) = (digest.count, digest.to_string()),
            Err(error) if error.is_damage() => {
                found.index_faults += 1;
                found.fault("索引损坏；只要日志完好，重新启动会由日志重建索引", &error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(found)
    }
}

/// Holds the receipts in the log against the entries before them and the hub's key.
struct Receipts {
    site: SiteCode,
    /// As pinned when the site joined and followed since, oldest first. Those before the newest that a receipt was signed
    /// with are dropped: their time is over.
    hub_keys: Vec<VerifyingKey>,
    origin: Option<Origin>,
    /// Entries that no receipt has covered yet.
    open: VecDeque<Head>,
}

impl Receipts {
    fn opened(&mut self, opened: &log_pb::EpochOpened) {
        let site = self.site;
        self.origin = Epoch::from_slice(&opened.epoch).map(|epoch| Origin { site, epoch });
        self.open.clear();
    }

    fn check(&mut self, receipt: &sync::Receipt, found: &mut Findings) {
        let up_to = head_from_pb(receipt.up_to.as_ref());
        let known = self.open.iter().position(|head| head.seq == up_to.seq);
        let covered = known.map(|last| self.open.drain(..=last).next_back());
        // A welcome says as much without a signature, when a crash has lost the receipt.
        let Some(origin) = self.origin.filter(|_| !receipt.signature.is_empty() && !self.hub_keys.is_empty())
        else {
            return;
        };
        let seq = up_to.seq;
        let by = self.hub_keys.iter().position(|key| check_receipt(key, origin, receipt).is_ok());
        self.hub_keys.drain(..by.unwrap_or(0));
        if by.is_none() {
            let en =
                format!("the receipt for entry {seq} is not signed with the key that was pinned for the hub");
            found.fault(&format!("条目 {seq} 的回执与加入时登记的枢纽密钥不符"), &en);
        } else if covered.is_some_and(|head| head != Some(up_to)) {
            let en = format!("the hub has signed for another entry {seq} than the one in this log");
            found.fault(&format!("枢纽签收的条目 {seq} 与本日志中的不是同一条"), &en);
        }
    }
}

/// Says what receipts are held against, and holds that against pins known from elsewhere.
fn pinned(hub_keys: &[VerifyingKey], pins: &[Pin], found: &mut Findings) {
    let Some(first) = hub_keys.first() else { return };
    let (fingerprint, later) = (first.fingerprint(), hub_keys.len() - 1);
    for pin in pins.iter().filter(|pin| pin.site.is_province() && !pin.is(first)) {
        let given = &pin.fingerprint;
        let en = format!("the first key pinned for the hub is {fingerprint}, not {given}");
        found.fault(&format!("登记的枢纽首个密钥指纹是 {fingerprint}，不是 {given}"), &en);
    }
    let zh = format!("枢纽的回执以指纹 {fingerprint} 及其后轮换的 {later} 个密钥为准核对");
    let en = format!("receipts of the hub held against {fingerprint}, and {later} keys that followed it");
    found.pins.push((zh, en));
}

impl Findings {
    /// Notes a fault.
    pub fn fault(&mut self, zh: &str, en: &str) {
        self.faults.push((zh.into(), en.into()));
    }

    /// Checks the audit log, and where the site's log says that it stood.
    pub fn audit(&mut self, audit: &Audit, noted: &[End]) {
        let faults = audit.verify(noted).faults.into_iter();
        let told = |said: Said| (format!("审计日志：{}", said.zh), format!("audit log: {}", said.en));
        let before = self.faults.len();
        self.faults.extend(faults.map(told));
        self.audit_faults += (self.faults.len() - before) as u64;
    }
}

/// Living records of each kind, and open findings. Of an index that has ended there are none to tell, and its
/// health says why.
///
/// # Errors
/// [`SiteError`].
pub fn counted(index: &Index) -> Result<(Vec<pb::KindCount>, u64), SiteError> {
    let read = || -> Result<_, SiteError> { Ok((view::counts(index)?, open_findings(index)?)) };
    let (counts, findings) = match read() {
        Err(SiteError::Index(error)) if error.is_final() => Default::default(),
        read => read?,
    };
    Ok((counts.into_iter().map(|(kind, records)| pb::KindCount { kind, records }).collect(), findings))
}

/// Findings that nobody has settled.
///
/// # Errors
/// [`SiteError`].
fn open_findings(index: &Index) -> Result<u64, SiteError> {
    let Some(kind) = schema::kind_by_name("finding") else { return Ok(0) };
    let mut query = Query { kind: kind.number, page_size: view::MAX_PAGE, ..Query::default() };
    let Some(status) = kind.status else { return Ok(0) };
    let mut open = 0;
    loop {
        let page = view::list(index, &query, None, 0)?;
        let is_open = |fields: &Fields| fields.number(status) == FindingStatus::Open as i32;
        open += page.records.iter().filter(|shown| is_open(&shown.fields)).count() as u64;
        if page.next.is_empty() {
            return Ok(open);
        }
        query.page_token = page.next;
    }
}
