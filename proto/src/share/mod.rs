//! Sharing: what of a change leaves the city, and in which form.
//!
//! `OPEN` fields travel as they are, `TOKEN` fields as an HMAC under the province's linking key, `SEALED`
//! fields only inside the city's own ciphertext. The raw values of the last two stand in `sealed`, which
//! the hub stores and cannot read: it is the city's backup.

mod seal;
mod token;

use crate::entry::Patch;
use crate::fields::{Fields, FieldsBuilder};
use crate::schema::{Kind, Share, Type};

pub use seal::{CityKey, SealError, Sealed};
pub use token::{LinkingKey, is_token};

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
pub fn project(kind: &Kind, before: &Fields, patch: &Patch, key: Option<&LinkingKey>) -> Projection {
    let was_draft = is_draft(kind, before) && !before.is_empty();
    let after_is_draft = match kind.status {
        Some(status) if patch.set.get(status).is_some() => is_draft(kind, &patch.set),
        _ => was_draft,
    };
    if after_is_draft {
        return Projection { open: Patch::default(), sealed: patch.clone() };
    }
    if was_draft {
        let whole = before.patched(&patch.set, &patch.cleared);
        let mut projection = split(kind, &whole, key);
        // Raw values that stay as they were are in the city's log already.
        projection.sealed.set = projection.sealed.set.filtered(|tag| patch.set.get(tag).is_some());
        projection.sealed.cleared = kind
            .fields
            .iter()
            .filter(|field| field.share == Share::Open || patch.cleared.contains(&field.tag))
            .map(|field| field.tag)
            .filter(|tag| before.get(*tag).is_some())
            .collect();
        return projection;
    }
    let mut projection = split(kind, &patch.set, key);
    for tag in &patch.cleared {
        match share_of(kind, *tag) {
            Share::Open => projection.open.cleared.push(*tag),
            Share::Sealed => projection.sealed.cleared.push(*tag),
            Share::Token => {
                projection.open.cleared.push(*tag);
                projection.sealed.cleared.push(*tag);
            }
        }
    }
    projection
}

fn split(kind: &Kind, set: &Fields, key: Option<&LinkingKey>) -> Projection {
    let mut open = FieldsBuilder::with_capacity(set.bytes().len() + 128);
    let mut sealed = FieldsBuilder::with_capacity(64);
    for (tag, raw) in set.iter() {
        match share_of(kind, tag) {
            Share::Open => open.push(tag, raw),
            Share::Sealed => sealed.push(tag, raw),
            Share::Token => {
                sealed.push(tag, raw);
                if let Some(key) = key {
                    let value = set.bytes_of(tag).unwrap_or_default();
                    open.str(tag, &key.token(value));
                }
            }
        }
    }
    Projection {
        open: Patch { set: open.finish(), cleared: Vec::new() },
        sealed: Patch { set: sealed.finish(), cleared: Vec::new() },
    }
}

/// A field of a newer schema is sealed: whoever wrote it here did not know how far it may travel.
fn share_of(kind: &Kind, tag: u32) -> Share {
    kind.field(tag).map_or(Share::Sealed, |field| field.share)
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
    kind.fields.iter().any(|field| match field.share {
        Share::Open => false,
        Share::Token => set.get(field.tag).is_some() && !set.str(field.tag).is_some_and(is_token),
        Share::Sealed => set.get(field.tag).is_some(),
    })
}
