//! Findings that follow from held values: derived in the same fold, so that they come out the same on every
//! rebuild and no crash falls between a held value and its finding.

use bytes::Bytes;
use liandong_proto::entry::Patch;
use liandong_proto::fields::Fields;
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::pb::record::v1 as pb;
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{Held, Reason, RecordState, Setter, Writer};
use prost::Message as _;

use crate::fold::Key;

/// Number of the kind "finding".
pub const KIND: u32 = 7;

/// One finding to open or to close.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The finding's id: follows from record, field and entry.
    pub id: RecordId,
    /// `Some`: open it. `None`: what it was about is settled.
    pub open: Option<Box<pb::Finding>>,
}

/// What changes with the held values of a record.
pub fn steps(key: Key, state: &RecordState, before: &[Held]) -> Vec<Step> {
    let is = |held: &Held, other: &Held| {
        held.by.origin == other.by.origin && held.by.seq == other.by.seq && held.tag == other.tag
    };
    let counts = |held: &&Held| held.reason != Reason::Equal;
    let mut out = Vec::new();
    for held in state.held.iter().filter(counts) {
        let known = before.iter().filter(counts).any(|old| is(old, held) && old.reason == held.reason);
        if !known {
            out.push(Step { id: id(key, held), open: Some(Box::new(finding(key, state, held))) });
        }
    }
    for old in before.iter().filter(counts) {
        if !state.held.iter().filter(counts).any(|held| is(held, old)) {
            out.push(Step { id: id(key, old), open: None });
        }
    }
    out
}

/// The id of the finding about a held value.
pub fn id(key: Key, held: &Held) -> RecordId {
    let by = held.by;
    RecordId::derived(&[
        b"finding",
        &key.0.to_be_bytes(),
        &key.1.0,
        &held.tag.to_be_bytes(),
        &by.origin.site.0.to_be_bytes(),
        &by.origin.epoch.0,
        &by.seq.to_be_bytes(),
    ])
}

fn finding(key: Key, state: &RecordState, held: &Held) -> pb::Finding {
    use pb::{FindingRule as Rule, FindingSeverity as Severity};
    let (rule, severity) = match held.reason {
        Reason::NotOwner => (Rule::NotOwner, Severity::Warning),
        Reason::StepNotAllowed => (Rule::StepNotAllowed, Severity::Warning),
        Reason::Invalid => (Rule::Invalid, Severity::Error),
        Reason::RawValue => (Rule::RawValue, Severity::Error),
        Reason::Unreadable => (Rule::Unreadable, Severity::Error),
        _ => (Rule::Concurrent, Severity::Notice),
    };
    let mut sites: Vec<u32> = [state.home, held.by.origin.site]
        .iter()
        .filter(|site| !site.is_province())
        .map(|site| site.0)
        .collect();
    sites.sort_unstable();
    sites.dedup();
    pb::Finding {
        rule: rule as i32,
        severity: severity as i32,
        subjects: vec![pb::FindingSubject {
            kind: key.0,
            record: Bytes::copy_from_slice(&key.1.0),
            field: held.tag,
            site: held.by.origin.site.0,
            epoch: Bytes::copy_from_slice(&held.by.origin.epoch.0),
            seq: held.by.seq,
        }],
        sites,
        status: pb::FindingStatus::Open as i32,
        ..pb::Finding::default()
    }
}

/// Carries a step out on the finding's state; `None` when there is nothing to close.
pub fn apply(step: &Step, old: Option<&RecordState>, hub_seq: u64, stamp: Stamp) -> Option<RecordState> {
    let patch = match (&step.open, old) {
        (Some(finding), _) => Fields::split(finding.encode_to_vec()).ok()?,
        (None, None) => return None,
        (None, Some(state)) => {
            let tag = status_tag()?;
            if state.fields.number(tag) != pb::FindingStatus::Open as i32 {
                return None;
            }
            let closed = pb::Finding { status: pb::FindingStatus::Settled as i32, ..pb::Finding::default() };
            Fields::split(closed.encode_to_vec()).ok()?
        }
    };
    let mut state = old.cloned().unwrap_or_else(|| RecordState::new(SiteCode::PROVINCE));
    let fields = state.fields.patched(&patch, &[]);
    // The fold itself is the writer; the province's own changes to a finding come on top of it.
    let origin = Origin { site: SiteCode::PROVINCE, epoch: Epoch::default() };
    if !state.writers.iter().any(|writer| writer.origin == origin) {
        state.writers.push(Writer { origin, seq: 0 });
    }
    state.setters = vec![Setter { origin, seq: 0, hub_seq, stamp }];
    state.set_by.clear();
    state.fields = fields;
    state.hub_seq = hub_seq;
    Some(state)
}

fn status_tag() -> Option<u32> {
    liandong_proto::schema::kind(KIND)?.status
}

/// The change to the subject of a finding that a choice stands for.
///
/// `None` when the finding names no value that is still held.
pub fn settlement(state: &RecordState, subject: &pb::FindingSubject, choice: &Choice) -> Option<Patch> {
    let held = state.held.iter().find(|held| {
        held.tag == subject.field
            && held.by.origin.site.0 == subject.site
            && held.by.seq == subject.seq
            && held.by.origin.epoch.0.as_slice() == subject.epoch.as_ref()
    })?;
    let tags: Vec<u32> = held.set.iter().map(|(tag, _)| tag).chain(held.cleared.iter().copied()).collect();
    Some(match choice {
        Choice::Held => Patch { set: held.set.clone(), cleared: held.cleared.clone() },
        Choice::Shown => Patch {
            set: state.fields.filtered(|tag| tags.contains(&tag)),
            cleared: tags.iter().filter(|tag| state.fields.get(**tag).is_none()).copied().collect(),
        },
        Choice::Other(set) => Patch { set: set.clone(), cleared: Vec::new() },
    })
}

/// How a person settles a finding.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// Keep the value shown.
    Shown,
    /// Take the value held.
    Held,
    /// Neither: this value.
    Other(Fields),
}
