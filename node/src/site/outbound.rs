//! What leaves this site, and somebody's word that it may: without one for the rules in force nothing is sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use liandong_proto::entry::{Header, Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::{Origin, RecordId, hex};
use liandong_proto::pb::log::v1 as log_pb;
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::schema::{self, Share};
use liandong_proto::share::rules::{Change, Rules};
use liandong_proto::share::{self, Withdrawn};
use liandong_proto::state::RecordState;
use prost::Message as _;
use tokio::sync::watch;

use super::{Keys, Record, Site, SiteError, locked, patches, record_kind};
use crate::now::now_ms;
use crate::rows;

/// The most samples of a kind.
const MAX_ROWS: usize = 100;

/// Own changes of one kind that the hub has not confirmed.
#[derive(Default)]
struct Waiting {
    changes: u64,
    records: BTreeSet<RecordId>,
    /// The first of them, as they leave.
    rows: Vec<(RecordId, Leaving)>,
}

/// What leaves of one record.
#[derive(Default)]
struct Leaving {
    open: Fields,
    sealed: BTreeSet<u32>,
    deleted: bool,
}

impl Leaving {
    fn add(&mut self, open: &Patch, sealed: &Patch, op: Op) {
        self.open = self.open.patched(&open.set, &open.cleared);
        self.sealed.extend(sealed.set.iter().map(|(tag, _)| tag));
        self.sealed.retain(|tag| !sealed.cleared.contains(tag));
        self.deleted = op == Op::Delete;
    }

    /// `shown` is what the site shows of the record.
    fn row(&self, kind: u32, record: RecordId, shown: &Fields, waiting: bool) -> pb::OutboundRow {
        let withdrawn = |tag: &u32| {
            let kind = schema::kind(kind);
            let field = kind.and_then(|kind| kind.field(*tag)).filter(|field| field.share != Share::Sealed);
            kind.zip(field).is_some_and(|(kind, field)| Withdrawn::of(kind, shown).holds(field))
        };
        pb::OutboundRow {
            record: Bytes::copy_from_slice(&record.0),
            open: self.open.bytes().clone(),
            sealed: self.sealed.iter().copied().collect(),
            withdrawn: self.sealed.iter().copied().filter(withdrawn).collect(),
            waiting,
            deleted: self.deleted,
        }
    }
}

impl Site {
    /// Whether the sharing rules in force have been accepted, and a way to wait until they are.
    pub fn outbound_accepted(&self) -> watch::Receiver<bool> {
        self.accepted.subscribe()
    }

    /// The sharing rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Notes that what leaves by the rules in force was accepted, durable before this returns. `unattended` is for the
    /// setting by which nobody is asked.
    ///
    /// # Errors
    /// [`SiteError::Refused`] when `fingerprint` is that of other rules.
    pub fn accept_outbound(
        &self,
        fingerprint: &[u8],
        author: &str,
        unattended: bool,
    ) -> Result<(), SiteError> {
        let in_force = self.rules.fingerprint();
        if fingerprint != in_force {
            return Err(SiteError::Refused(
                "these are not the sharing rules in force, so nothing was accepted; look at `outbound preview` again".into(),
            ));
        }
        let accepted = log_pb::RulesAccepted {
            fingerprint: Bytes::copy_from_slice(&in_force),
            at_ms: now_ms(),
            author: author.to_owned(),
            unattended,
            projection: self.rules.projection,
            rules: self.rules.to_pb(),
        };
        let end =
            self.note(record_kind::ACCEPTED, &accepted.encode_to_vec(), |row| accept(row, &accepted))?;
        self.log.sync_to(end)?;
        self.accepted.send_replace(true);
        let rules = hex(&in_force[..8]);
        tracing::info!(author, unattended, %rules, "what leaves this site was accepted");
        Ok(())
    }

    /// What would leave: counts, rules, up to `rows` samples of each kind, and what is new since the last acceptance.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn preview_outbound(&self, rows: usize) -> Result<pb::PreviewResponse, SiteError> {
        let rows = rows.min(MAX_ROWS);
        let (keys, origin, row) = {
            let writer = locked(&self.writer);
            (writer.author.keys().clone(), writer.author.origin, writer.row.clone())
        };
        let accepted = self.last_acceptance(&row)?;
        let changes = accepted.as_ref().map(|last| self.rules.changes_since(&Rules::from_pb(last)));
        let mut waiting = self.waiting(&keys, origin, row.confirmed_seq, rows)?;
        let mut kinds: Vec<u32> = self.rules.rules.iter().map(|rule| rule.kind).collect();
        kinds.dedup();
        let kind = |kind| {
            let waiting = waiting.remove(&kind).unwrap_or_default();
            self.kind_outbound(kind, &keys, origin, waiting, rows)
        };
        let last = accepted.unwrap_or_default();
        Ok(pb::PreviewResponse {
            fingerprint: Bytes::copy_from_slice(&self.rules.fingerprint()),
            accepted: *self.accepted.borrow(),
            accepted_at_ms: last.at_ms,
            accepted_by: last.author,
            accepted_unattended: last.unattended,
            rules: self.rules.to_pb(),
            changes: changes.unwrap_or_default().into_iter().map(change_to_pb).collect(),
            kinds: kinds.into_iter().map(kind).collect::<Result<_, SiteError>>()?,
        })
    }

    /// Reads the outbox: the own entries above what the hub has confirmed.
    fn waiting(
        &self,
        keys: &Keys,
        origin: Origin,
        confirmed: u64,
        rows: usize,
    ) -> Result<BTreeMap<u32, Waiting>, SiteError> {
        let mut out: BTreeMap<u32, Waiting> = BTreeMap::new();
        for raw in self.log.read(self.log.seek(self.mark_base + confirmed + 1)) {
            let raw = raw?;
            if raw.kind != record_kind::OWN {
                continue;
            }
            let Record::Own(entry) = Record::read(&raw)? else { continue };
            let header =
                Header::decode(&entry.header).map_err(|error| SiteError::corrupt("an own entry", error))?;
            if header.origin != origin || header.seq <= confirmed {
                continue;
            }
            let kind = out.entry(header.kind).or_default();
            kind.changes += 1;
            let is_new = kind.records.insert(header.record);
            if is_new && kind.rows.len() < rows {
                kind.rows.push((header.record, Leaving::default()));
            }
            if let Some((_, leaving)) = kind.rows.iter_mut().find(|(record, _)| *record == header.record) {
                let (open, sealed) = patches(&entry, &header, &keys.city)?;
                leaving.add(&open, &sealed, header.op);
            }
        }
        Ok(out)
    }

    fn kind_outbound(
        &self,
        kind: u32,
        keys: &Keys,
        origin: Origin,
        waiting: Waiting,
        rows: usize,
    ) -> Result<pb::OutboundKind, SiteError> {
        let mut out = pb::OutboundKind {
            kind,
            waiting_changes: waiting.changes,
            waiting_records: waiting.records.len() as u64,
            ..pb::OutboundKind::default()
        };
        for (record, leaving) in &waiting.rows {
            let shown = self.state(kind, *record)?.map(|(state, _)| state.visible()).unwrap_or_default();
            out.rows.push(leaving.row(kind, *record, &shown, true));
        }
        let prefix = rows::records_of(kind);
        for row in self.index.scan(&prefix, Some(&rows::after_prefix(&prefix))) {
            let (key, value) = row?;
            let state = RecordState::decode(&value)?;
            if state.deleted() || state.home != origin.site {
                continue;
            }
            out.records += 1;
            let shown = state.visible();
            let is_withdrawn = schema::kind(kind).is_some_and(|kind| !Withdrawn::of(kind, &shown).is_empty());
            out.withdrawn_records += u64::from(is_withdrawn);
            // With nothing waiting a person sees what the rules make of what is here.
            let Some((_, record)) = rows::parse_record(&key).filter(|_| waiting.changes == 0) else {
                continue;
            };
            if out.rows.len() < rows {
                let leaving = as_if_new(kind, &shown, keys);
                out.rows.extend(leaving.map(|leaving| leaving.row(kind, record, &shown, false)));
            }
        }
        Ok(out)
    }

    /// The acceptance that stands in the site's row.
    fn last_acceptance(&self, row: &log_pb::SiteRow) -> Result<Option<log_pb::RulesAccepted>, SiteError> {
        let mut found: HashMap<Bytes, log_pb::RulesAccepted> = HashMap::new();
        if row.accepted_rules.is_empty() {
            return Ok(None);
        }
        for raw in self.log.read(self.log.seek(row.accepted_mark)) {
            let raw = raw?;
            if raw.kind == record_kind::ACCEPTED
                && let Record::Accepted(accepted) = Record::read(&raw)?
            {
                found.insert(accepted.fingerprint.clone(), accepted);
            } else if raw.kind == record_kind::OWN && found.contains_key(&row.accepted_rules) {
                break;
            }
        }
        Ok(found.remove(&row.accepted_rules))
    }
}

/// An acceptance's effect on the site's row.
pub(super) fn accept(row: &mut log_pb::SiteRow, accepted: &log_pb::RulesAccepted) {
    row.accepted_rules = accepted.fingerprint.clone();
    row.accepted_mark = row.mark_base + row.seq + 1;
}

/// What would leave of a record that is written now.
fn as_if_new(kind: u32, shown: &Fields, keys: &Keys) -> Option<Leaving> {
    let patch = Patch { set: shown.clone(), cleared: Vec::new() };
    let projection = share::project(schema::kind(kind)?, &Fields::default(), &patch, keys.linking.as_ref());
    let mut leaving = Leaving::default();
    leaving.add(&projection.open, &projection.sealed, Op::Put);
    Some(leaving)
}

fn change_to_pb(change: Change) -> pb::RuleChange {
    use pb::rule_change::Change as What;
    let (what, rule, before) = match change {
        Change::New(rule) => (What::New, rule, None),
        Change::Further(rule, before) => (What::Further, rule, Some(before.to_pb())),
        Change::Less(rule, before) => (What::Less, rule, Some(before.to_pb())),
        Change::Gone(rule) => (What::Gone, rule, None),
    };
    pb::RuleChange { change: what as i32, rule: Some(rule.to_pb()), before }
}

#[cfg(test)]
mod tests;
