//! What was split before, split once more: for an entry that is made again where its record has changed since.

use std::collections::BTreeSet;

use super::{LinkingKey, Projection, Withdrawn, is_draft, share_of};
use crate::entry::Patch;
use crate::fields::{Fields, FieldsBuilder};
use crate::schema::{Kind, Share};

/// Splits a patch anew for a record that is shown as `before` now. `None` where it can stay as it was split.
///
/// What consent does not cover any more, before the patch or after it, is sealed. What was sealed because the record was
/// a draft is opened where it is none any more.
pub fn again(kind: &Kind, before: &Fields, was: &Projection, key: Option<&LinkingKey>) -> Option<Projection> {
    let after = before.patched(&was.open.set, &was.open.cleared);
    let after = after.patched(&was.sealed.set, &was.sealed.cleared);
    let withdrawn = [Withdrawn::of(kind, before), Withdrawn::of(kind, &after)];
    let is_withdrawn =
        |tag: u32| kind.field(tag).is_some_and(|field| withdrawn.iter().any(|it| it.holds(field)));
    let share = |tag: u32| share_of(kind, tag, &Withdrawn::default());
    let is_submitted = !before.is_empty() && !is_draft(kind, before) && !is_draft(kind, &after);
    let goes_out = |tag: u32| is_submitted && share(tag) != Share::Sealed && !is_withdrawn(tag);
    let is_opened = |tag: u32| goes_out(tag) && was.open.set.get(tag).is_none();
    let closed = was.open.set.filtered(is_withdrawn);
    let opened = was.sealed.set.filtered(is_opened);
    let cleared: Vec<u32> = was.sealed.cleared.iter().copied().filter(|tag| is_opened(*tag)).collect();
    if closed.is_empty() && opened.is_empty() && cleared.is_empty() {
        return None;
    }
    let (mut tokens, mut stale) = (FieldsBuilder::default(), Vec::new());
    for (tag, _) in opened.iter().filter(|(tag, _)| share(*tag) == Share::Token) {
        match (key, opened.bytes_of(tag).unwrap_or_default()) {
            (Some(key), value) if !value.is_empty() => drop(tokens.str(tag, &key.token(value))),
            // The old token would go on naming the old value.
            _ => stale.push(tag),
        }
    }
    // The raw value of a token stays sealed.
    let in_clear = opened.filtered(|tag| share(tag) == Share::Open);
    let open = was.open.set.filtered(|tag| !is_withdrawn(tag));
    let sealed = was.sealed.set.filtered(|tag| in_clear.get(tag).is_none());
    let no_longer_open = was.open.cleared.iter().copied().chain(tags(&closed)).chain(cleared).chain(stale);
    let no_longer_sealed = was.sealed.cleared.iter().copied().chain(tags(&in_clear));
    Some(Projection {
        open: whole(open.patched(&in_clear, &[]).patched(&tokens.finish(), &[]), no_longer_open),
        // The raw value of a token is there already.
        sealed: whole(closed.patched(&sealed, &[]), no_longer_sealed),
    })
}

fn tags(fields: &Fields) -> impl Iterator<Item = u32> + '_ {
    fields.iter().map(|(tag, _)| tag)
}

/// What is set is not cleared.
fn whole(set: Fields, cleared: impl Iterator<Item = u32>) -> Patch {
    let cleared: BTreeSet<u32> = cleared.filter(|tag| set.get(*tag).is_none()).collect();
    Patch { set, cleared: cleared.into_iter().collect() }
}
