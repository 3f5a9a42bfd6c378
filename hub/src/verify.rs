//! Whether the hub's log is what was written, told from the log alone.
//!
//! | what is held against what | finds |
//! |---|---|
//! | every record against the chain in the next commit | a record altered, dropped, added or moved |
//! | every commit against the hub's signature on it | the same in the last one |
//! | every header against the one before it of its origin | a city's entry altered, dropped or moved |
//! | every payload against its header | a payload altered |
//! | a city's newest entry of a commit against the city's signature | entries that the city never wrote |
//! | every signature against the key of its place in the line of keys | a key used before or after its time |
//! | the first key of a city against a pin, where one is given | a city that the hub made up |
//!
//! It does not see the loss of whole commits at the end: the cities' receipts do, and their heads when they come back.

use std::collections::HashMap;

use bytes::Bytes;
use liandong_node::audit::End;
use liandong_node::log::{Log, Pos};
use liandong_node::site::{Findings, Missing, OnProgress, Pin, Progress, lacks, record_kind};
use liandong_proto::entry::{self, Head};
use liandong_proto::erasure;
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::sign::VerifyingKey;
use pb::registry_change::Change;
use prost::Message as _;

use crate::chain::{hash_of, note_hash};
use crate::erasures;

/// After so many faults the rest says nothing new.
const ENOUGH: usize = 100;

/// Which keys the signatures are held against.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// The hub's key at the beginning of its log.
    pub first: VerifyingKey,
    /// The hub's key at the end: the one it has.
    pub newest: VerifyingKey,
    /// First keys of sites that are known from elsewhere than the log.
    pub pins: Vec<Pin>,
}

impl Trusted {
    /// The key that the hub has now, and the one that its line of rotations began with.
    pub fn new(newest: VerifyingKey, line: &[pb::KeyRotation], pins: &[Pin]) -> Trusted {
        let first = line.first().and_then(|rotation| VerifyingKey::from_slice(&rotation.old_key));
        Trusted { first: first.unwrap_or(newest), newest, pins: pins.to_vec() }
    }
}

/// Reads a hub's log from end to end. Where the audit log stood at each start is the answer.
pub fn verify_log(log: &Log, trusted: &Trusted, found: &mut Findings, progress: OnProgress<'_>) -> Vec<End> {
    let (total, mut done) = (log.bytes_from(Pos::default()), 0);
    let mut check = Check::new(trusted, found);
    for raw in log.read(Pos::default()) {
        let raw = match raw {
            Ok(raw) => raw,
            Err(error) => {
                let en = format!("the log is damaged: {error}");
                check.found.fault("日志损坏，其后的内容无法读取", &en);
                break;
            }
        };
        done += raw.payload.len() as u64;
        check.record(raw.kind, raw.payload, raw.pos);
        progress(Progress { what: "log", done, total });
        if check.found.faults.len() > ENOUGH {
            break;
        }
    }
    check.finish()
}

struct Check<'a> {
    /// What the hub signs with at this place.
    hub_key: VerifyingKey,
    trusted: &'a Trusted,
    found: &'a mut Findings,
    chain: Bytes,
    /// The next place of the order.
    next: u64,
    heads: HashMap<Origin, Head>,
    /// What each city signs with at this place, if anything vouches for it.
    keys: HashMap<SiteCode, VerifyingKey>,
    /// Every key of a pinned city that its pin or a rotation vouches for.
    vouched: HashMap<SiteCode, Vec<VerifyingKey>>,
    /// Every key that a site has had so far: a proof may have been signed before a rotation and come behind it.
    had: HashMap<SiteCode, Vec<VerifyingKey>>,
    /// Payloads that entries name and do not have.
    missing: Missing,
    /// Where the audit log stood.
    audit: Vec<End>,
}

impl<'a> Check<'a> {
    fn new(trusted: &'a Trusted, found: &'a mut Findings) -> Check<'a> {
        Check {
            hub_key: trusted.first,
            trusted,
            found,
            chain: Bytes::new(),
            next: 1,
            heads: HashMap::new(),
            keys: HashMap::new(),
            missing: Missing::default(),
            audit: Vec::new(),
            vouched: HashMap::new(),
            had: HashMap::from([(SiteCode::PROVINCE, vec![trusted.first])]),
        }
    }

    fn record(&mut self, kind: u8, payload: Bytes, pos: Pos) {
        match kind {
            record_kind::COMMIT => self.commit(payload, pos),
            _ => self.note(kind, payload, pos),
        }
    }

    /// Payloads that no erasure explains.
    fn tell_missing(&mut self) {
        for place in self.missing.unexplained().take(ENOUGH) {
            let en = format!(
                "the entry at place {place} lacks a payload that its header names, and its record was not erased"
            );
            self.found.fault(&format!("位置 {place} 的条目缺少其内容，而其记录并未彻底删除"), &en);
        }
    }

    fn unreadable(&mut self, pos: Pos) {
        self.found.fault("日志记录无法读取", &format!("the record at {pos:?} cannot be read"));
    }

    fn note(&mut self, kind: u8, payload: Bytes, pos: Pos) {
        self.chain = Bytes::copy_from_slice(&note_hash(&self.chain, kind, &payload));
        match kind {
            record_kind::REGISTRY => {}
            record_kind::ERASED => return self.proof(payload, pos),
            record_kind::GENERATION => {
                let Ok(start) = pb::GenerationStart::decode(payload) else { return self.unreadable(pos) };
                let hash = start.audit_hash.as_ref().try_into().unwrap_or_default();
                return self.audit.push(End { number: start.audit_number, hash });
            }
            _ => return,
        }
        let Ok(change) = pb::RegistryChange::decode(payload) else { return self.unreadable(pos) };
        match change.change {
            Some(Change::Joined(enrolment)) => match VerifyingKey::from_slice(&enrolment.signing_key) {
                Some(key) => {
                    self.had.entry(SiteCode(change.site)).or_default().push(key);
                    self.enrolled(SiteCode(change.site), key);
                }
                None => self.unreadable(pos),
            },
            Some(Change::Rekeyed(rotation)) => {
                let key = VerifyingKey::from_slice(&rotation.new_key);
                self.had.entry(SiteCode(change.site)).or_default().extend(key);
                self.rekeyed(SiteCode(change.site), &rotation);
            }
            _ => {}
        }
    }

    fn proof(&mut self, payload: Bytes, pos: Pos) {
        let Ok(proof) = pb::ErasureProof::decode(payload) else { return self.unreadable(pos) };
        let holder = SiteCode(proof.holder);
        let keys = self.had.get(&holder).map_or(&[][..], Vec::as_slice);
        if !keys.iter().any(|key| erasure::check(key, &proof).is_ok()) {
            let en = format!("the proof of an erasure by {holder} is not signed with its key");
            self.found.fault(&format!("{holder} 的彻底删除证明与其密钥不符"), &en);
        }
    }

    fn commit(&mut self, payload: Bytes, pos: Pos) {
        let Ok(mut commit) = pb::Commit::decode(payload) else { return self.unreadable(pos) };
        let place = commit.first_hub_seq;
        if commit.prev_hash != self.chain || place != self.next {
            let en = format!("the commit at place {place} does not follow the records before it");
            self.found.fault(&format!("位置 {place} 的提交与之前的记录不衔接"), &en);
        }
        let hash = hash_of(&commit);
        self.chain = Bytes::copy_from_slice(&hash);
        self.next = place + commit.entries.len() as u64;
        if self.hub_key.check_commit(&hash, &commit.signature).is_err() {
            let en = format!("the commit at place {place} is not the one that the hub signed");
            self.found.fault(&format!("位置 {place} 的提交与枢纽的签名不符"), &en);
        }
        self.found.entries += commit.entries.len() as u64;
        let mut unsigned: HashMap<Origin, Head> = HashMap::new();
        for (at, accepted) in std::mem::take(&mut commit.entries).into_iter().enumerate() {
            if let Some((origin, head)) = self.entry(accepted, place + at as u64)
                && !origin.site.is_province()
            {
                unsigned.insert(origin, head);
            }
        }
        for signed in &commit.heads {
            self.signed(signed, &mut unsigned);
        }
        for (origin, head) in unsigned {
            let (site, seq) = (origin.site, head.seq);
            let en =
                format!("entry {seq} of {site}, in the commit at place {place}, is not signed by its city");
            self.found.fault(&format!("{site} 的条目 {seq} 没有本市的签名"), &en);
        }
    }

    fn entry(&mut self, accepted: pb::Accepted, place: u64) -> Option<(Origin, Head)> {
        let outcome = accepted.outcome.unwrap_or_default();
        outcome.erased.iter().filter_map(erasures::read).for_each(|(key, _)| self.missing.erased(key));
        let entry = entry::Entry { header: accepted.header, open: accepted.open, sealed: accepted.sealed };
        let (header, hash) = match entry::check(&entry) {
            Ok(read) => read,
            Err(error) => {
                let en = format!("the entry at place {place}: {error}");
                self.found.fault(&format!("位置 {place} 的条目与其哈希不符"), &en);
                return None;
            }
        };
        let (open, sealed) = lacks(&header, &entry.open, &entry.sealed);
        self.missing.lacking(&header, (open && !outcome.open_dropped) || sealed, place);
        if let Some(anchor) = header.anchor {
            let older = Origin { site: header.origin.site, epoch: anchor.epoch };
            let end = self.heads.get(&older).copied().unwrap_or_default();
            if header.seq != 1 || end != (Head { seq: anchor.seq, hash: anchor.hash }) {
                let en = format!(
                    "the entry at place {place} goes on from another end of an older epoch than is here"
                );
                self.found.fault(&format!("位置 {place} 的条目所接的旧日志末尾与此处不符"), &en);
            }
        }
        let head = self.heads.entry(header.origin).or_default();
        if let Err(error) = header.follows(head) {
            let en = format!("the entry at place {place}, of {}: {error}", header.origin.site);
            self.found.fault(&format!("位置 {place} 的条目与本市前一条不衔接"), &en);
        }
        *head = Head { seq: header.seq, hash };
        Some((header.origin, *head))
    }

    fn signed(&mut self, signed: &pb::SignedHead, unsigned: &mut HashMap<Origin, Head>) {
        let site = SiteCode(signed.site);
        let head = signed.hash.as_ref().try_into().ok().map(|hash| Head { seq: signed.seq, hash });
        let parts = Epoch::from_slice(&signed.epoch).zip(head).zip(self.keys.get(&site));
        let holds = parts.is_some_and(|((epoch, head), key)| {
            let origin = Origin { site, epoch };
            let holds = key.check_head(origin, &head, &signed.signature).is_ok();
            if holds && unsigned.get(&origin) == Some(&head) {
                unsigned.remove(&origin);
            }
            holds
        });
        if !holds {
            let seq = signed.seq;
            let en =
                format!("the signature over entry {seq} of {site} is not by the key that the city enrolled");
            self.found.fault(&format!("{site} 条目 {seq} 的签名与本市登记的密钥不符"), &en);
        }
    }
}

mod line;
#[cfg(test)]
mod tests;
