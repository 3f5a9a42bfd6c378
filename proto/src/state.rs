//! The state of one record: what is shown, who set it, and what is held.

mod codec;

use bytes::Bytes;

use crate::fields::{Fields, Malformed};
use crate::id::{Epoch, Origin, SiteCode};
use crate::pb::log::v1 as pb;
use crate::stamp::Stamp;

pub use pb::Reason;

/// An origin that has changed the record, and how far its changes are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Who.
    pub origin: Origin,
    /// Its newest change merged into this record, whatever the outcome.
    pub seq: u64,
}

/// The change that set a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setter {
    /// Who.
    pub origin: Origin,
    /// Place in the origin's log.
    pub seq: u64,
    /// Place in the hub's order; 0 at a node for an own change the hub has not ordered yet.
    pub hub_seq: u64,
    /// Effective stamp.
    pub stamp: Stamp,
}

/// A value kept with a reason and not shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Why.
    pub reason: Reason,
    /// The change that brought it.
    pub by: Setter,
    /// Lowest tag of the field group; 0 for a whole change.
    pub tag: u32,
    /// The value; empty for one that cleared the field.
    pub set: Fields,
    /// Tags it cleared.
    pub cleared: Vec<u32>,
}

/// State of one record. At the hub the merged state; at a node the delivered state with own changes on top.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordState {
    /// Origin site of the first change, where that was more than a refused try to take the record away; the province for
    /// a kind that is the province's own.
    pub home: SiteCode,
    /// Newest place that touched the record; at a node that of the delivered state: the next change's base.
    pub hub_seq: u64,
    /// At a node, the generation of `hub_seq`.
    pub generation: u64,
    /// All origins that have changed the record.
    pub writers: Vec<Writer>,
    /// Shown fields that travel in clear.
    pub fields: Fields,
    /// Who set what: one of `setters` for each field shown or cleared. Ascending tags; a field that is
    /// absent here was set by the first setter.
    pub set_by: Vec<(u32, u16)>,
    /// Changes that `set_by` and `deleted_by` point to.
    pub setters: Vec<Setter>,
    /// Raw values that never leave the home city.
    pub sealed: Fields,
    /// Index of the setter that deleted the record.
    pub deleted_by: Option<u16>,
    /// Values kept and not shown.
    pub held: Vec<Held>,
    /// Where the record stands in each site's feed, at the hub.
    pub fed: Vec<(SiteCode, u64)>,
    /// Deleted for good: the setter behind `deleted_by` is the entry that erased it.
    pub erased: bool,
}

impl RecordState {
    /// A record nobody has changed yet.
    pub fn new(home: SiteCode) -> RecordState {
        RecordState {
            home,
            hub_seq: 0,
            generation: 0,
            writers: Vec::new(),
            fields: Fields::default(),
            set_by: Vec::new(),
            setters: Vec::new(),
            sealed: Fields::default(),
            deleted_by: None,
            held: Vec::new(),
            fed: Vec::new(),
            erased: false,
        }
    }

    /// Whether a tombstone stands in its place.
    pub fn deleted(&self) -> bool {
        self.deleted_by.is_some()
    }

    /// Whether all that is known of the record is that some were refused to change it: it is nobody's yet. A hub that was
    /// restored from a backup may get another's edit of a record before what its home made it with.
    pub fn unclaimed(&self) -> bool {
        let refused = |held: &Held| held.reason == Reason::NotOwner;
        // Whoever wrote and was not refused made a draft: that is its home.
        let stands = |writer: &Writer| self.held.iter().any(|held| held.by.origin.site == writer.origin.site);
        self.setters.is_empty()
            && !self.held.is_empty()
            && self.held.iter().all(refused)
            && self.writers.iter().all(stands)
    }

    /// The change that set or cleared `tag` last.
    pub fn setter(&self, tag: u32) -> Option<&Setter> {
        match self.set_by.binary_search_by_key(&tag, |(tag, _)| *tag) {
            Ok(at) => self.setters.get(usize::from(self.set_by[at].1)),
            Err(_) if self.fields.get(tag).is_some() => self.setters.first(),
            Err(_) => None,
        }
    }

    /// The change that deleted the record.
    pub fn tombstone(&self) -> Option<&Setter> {
        self.setters.get(usize::from(self.deleted_by?))
    }

    /// All deletes that no other change has seen: the one shown, and others that were concurrent with it,
    /// which are held as [`Reason::Equal`] for the whole record.
    pub fn tombstones(&self) -> impl Iterator<Item = &Setter> {
        let others = self.held.iter().filter(|held| held.tag == 0 && held.reason == Reason::Equal);
        self.tombstone().into_iter().chain(others.map(|held| &held.by))
    }

    /// The newest change of `origin` merged into this record; 0 when there is none.
    pub fn own_seq(&self, origin: Origin) -> u64 {
        self.writers.iter().find(|writer| writer.origin == origin).map_or(0, |writer| writer.seq)
    }

    /// The newest stamp among what is shown.
    pub fn stamp(&self) -> Stamp {
        self.setters.iter().map(|setter| setter.stamp).max().unwrap_or_default()
    }

    /// The site that made the newest change shown.
    pub fn last_site(&self) -> SiteCode {
        self.setters.iter().max_by_key(|setter| setter.stamp).map_or(self.home, |setter| setter.origin.site)
    }

    /// Everything this site may see of the record: raw values in place of tokens.
    pub fn visible(&self) -> Fields {
        if self.sealed.is_empty() { self.fields.clone() } else { self.fields.patched(&self.sealed, &[]) }
    }
}

/// A held value as it travels: with the writer's name in place of an index.
pub fn held_to_pb(held: &Held) -> pb::HeldValue {
    pb::HeldValue {
        reason: held.reason as i32,
        by: Some(pb::Setter {
            writer: 0,
            seq: held.by.seq,
            hub_seq: held.by.hub_seq,
            stamp: held.by.stamp.0,
        }),
        tag: held.tag,
        set: held.set.bytes().clone(),
        cleared: held.cleared.clone(),
        site: held.by.origin.site.0,
        epoch: Bytes::copy_from_slice(&held.by.origin.epoch.0),
    }
}

fn held_from_pb(value: pb::HeldValue, by: Setter) -> Result<Held, Malformed> {
    Ok(Held {
        reason: Reason::try_from(value.reason).unwrap_or(Reason::Unspecified),
        by,
        tag: value.tag,
        set: Fields::split(value.set)?,
        cleared: value.cleared,
    })
}

/// Reads a held value that travelled.
///
/// # Errors
/// [`Malformed`].
pub fn held_from_wire(value: pb::HeldValue) -> Result<Held, Malformed> {
    const SHAPE: Malformed = Malformed { offset: 0, what: "not a held value" };
    let by = value.by.as_ref().ok_or(SHAPE)?;
    let epoch = Epoch::from_slice(&value.epoch).ok_or(SHAPE)?;
    let by = Setter {
        origin: Origin { site: SiteCode(value.site), epoch },
        seq: by.seq,
        hub_seq: by.hub_seq,
        stamp: Stamp(by.stamp),
    };
    held_from_pb(value, by)
}
