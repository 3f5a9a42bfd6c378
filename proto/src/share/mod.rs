//! Sharing: what of a change leaves the city, and in which form.
//!
//! `OPEN` fields travel as they are, `TOKEN` fields as an HMAC under the province's linking key, `SEALED`
//! fields only inside the city's own ciphertext. The raw values of the last two stand in `sealed`, which
//! the hub stores and cannot read: it is the city's backup.

mod again;
mod consent;
mod ring;
pub mod rules;
mod seal;
mod token;

use crate::entry::Patch;
use crate::fields::{self, Fields, FieldsBuilder, Value};
use crate::schema::{Kind, Share, Type};

pub use again::again;
pub use consent::Withdrawn;
pub use ring::{CityRing, open_ring, seal_ring};
pub use seal::{CityKey, SealError, Sealed};
pub use token::{LinkingKey, is_token, is_token_of};

/// A patch in two parts: what travels in clear, and what only the city can read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Projection {
    /// Goes into `open`.
    pub open: Patch,
    /// Goes into `sealed`.
    pub sealed: Patch,
}

/// Splits a patch by the share class of its fields.
///
/// `before` is what the site shows of the record without the patch. While the record is a draft (its
/// status after the patch says so) everything is sealed; the patch that leaves the draft carries the whole
/// open projection of the record. Without a linking key a `TOKEN` field travels sealed only.
///
/// While consent to a group of fields is withdrawn (see [`Withdrawn`]) they are sealed. The patch that withdraws it
/// clears them in the open part and seals their values; the one with a new consent opens them again.
pub fn project(kind: &Kind, before: &Fields, patch: &Patch, key: Option<&LinkingKey>) -> Projection {
    let was_draft = is_draft(kind, before) && !before.is_empty();
    let after_is_draft = match kind.status {
        Some(status) if patch.set.get(status).is_some() => is_draft(kind, &patch.set),
        _ => was_draft,
    };
    if after_is_draft {
        return Projection { open: Patch::default(), sealed: patch.clone() };
    }
    let then = Withdrawn::of(kind, before);
    let now = match kind.consents {
        Some(tag) if patch.set.get(tag).is_some() => Withdrawn::of(kind, &patch.set),
        Some(tag) if patch.cleared.contains(&tag) => Withdrawn::default(),
        _ => then.clone(),
    };
    if was_draft {
        let whole = before.patched(&patch.set, &patch.cleared);
        let mut projection = split(kind, &whole, key, &now);
        // Raw values that stay as they were are in the city's log already.
        projection.sealed.set = projection.sealed.set.filtered(|tag| patch.set.get(tag).is_some());
        let unsealed = |tag: &u32| share_of(kind, *tag, &now) == Share::Open || patch.cleared.contains(tag);
        projection.sealed.cleared = before.iter().map(|(tag, _)| tag).filter(unsealed).collect();
        return projection;
    }
    let moved = if then == now { Vec::new() } else { moved(kind, before, &then, &now) };
    let mut projection = if moved.is_empty() {
        split(kind, &patch.set, key, &now)
    } else {
        // What the patch leaves as it is travels otherwise from here on.
        let is_left = |tag| moved.contains(&tag) && !patch.cleared.contains(&tag);
        split(kind, &before.filtered(is_left).patched(&patch.set, &[]), key, &now)
    };
    for tag in &moved {
        match share_of(kind, *tag, &now) {
            Share::Sealed => projection.open.cleared.push(*tag),
            Share::Open => projection.sealed.cleared.push(*tag),
            Share::Token => {}
        }
    }
    if key.is_none() {
        // A token that cannot be made anew would go on naming the old value.
        let stale =
            patch.set.iter().map(|(tag, _)| tag).filter(|tag| share_of(kind, *tag, &now) == Share::Token);
        projection.open.cleared.extend(stale.filter(|tag| before.get(*tag).is_some()));
    }
    for tag in &patch.cleared {
        match share_of(kind, *tag, &now) {
            Share::Open => projection.open.cleared.push(*tag),
            Share::Sealed => projection.sealed.cleared.push(*tag),
            Share::Token => {
                projection.open.cleared.push(*tag);
                projection.sealed.cleared.push(*tag);
            }
        }
    }
    for cleared in [&mut projection.open.cleared, &mut projection.sealed.cleared] {
        cleared.sort_unstable();
        cleared.dedup();
    }
    projection
}

/// Fields of a record that travel otherwise than they did, because consent was withdrawn or given anew.
fn moved(kind: &Kind, before: &Fields, then: &Withdrawn, now: &Withdrawn) -> Vec<u32> {
    let tags = before.iter().map(|(tag, _)| tag);
    tags.filter(|tag| share_of(kind, *tag, then) != share_of(kind, *tag, now)).collect()
}

fn split(kind: &Kind, set: &Fields, key: Option<&LinkingKey>, withdrawn: &Withdrawn) -> Projection {
    let mut open = FieldsBuilder::with_capacity(set.bytes().len() + 128);
    let mut sealed = FieldsBuilder::with_capacity(64);
    let mut cleared = Vec::new();
    for (tag, raw) in set.iter() {
        match share_of(kind, tag, withdrawn) {
            Share::Open => open.push(tag, raw),
            Share::Sealed => sealed.push(tag, raw),
            Share::Token => {
                sealed.push(tag, raw);
                let value = set.bytes_of(tag).unwrap_or_default();
                match key {
                    // One token for all who have no number would make them one person.
                    _ if value.is_empty() => cleared.push(tag),
                    Some(key) => drop(open.str(tag, &key.token(value))),
                    None => {}
                }
            }
        }
    }
    Projection {
        open: Patch { set: open.finish(), cleared },
        sealed: Patch { set: sealed.finish(), cleared: Vec::new() },
    }
}

/// A field of a newer schema is sealed: whoever wrote it here did not know how far it may travel.
fn share_of(kind: &Kind, tag: u32, withdrawn: &Withdrawn) -> Share {
    kind.field(tag).map_or(Share::Sealed, |field| withdrawn.share(field))
}

/// Whether the status in `fields` is a draft.
pub fn is_draft(kind: &Kind, fields: &Fields) -> bool {
    let status = kind.status.and_then(|tag| kind.field(tag));
    match status.map(|field| (field.tag, field.ty)) {
        Some((tag, Type::Enum(values))) => {
            fields.get(tag).is_some() && values.value(fields.number(tag)).is_some_and(|value| value.draft)
        }
        _ => false,
    }
}

/// Whether `open` brings a raw value where a token belongs, or a field that never travels: the mark of a
/// node that must not be trusted with what it sends.
pub fn leaks(kind: &Kind, set: &Fields) -> bool {
    // Every value counts: readers take the last of several, a thief would not.
    let tokens_only = |raw| {
        fields::values(raw).all(|value| match value {
            Value::Delimited(bytes) => std::str::from_utf8(bytes).is_ok_and(is_token),
            _ => false,
        })
    };
    kind.fields.iter().any(|field| match field.share {
        Share::Open => false,
        Share::Token => set.get(field.tag).is_some_and(|raw| !tokens_only(raw)),
        Share::Sealed => set.get(field.tag).is_some(),
    })
}
