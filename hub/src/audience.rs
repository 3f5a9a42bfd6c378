//! Who may see a record, and in which form it goes to a site.

use std::borrow::Cow;

use liandong_proto::city;
use liandong_proto::fields::{Fields, FieldsBuilder, numbers};
use liandong_proto::id::SiteCode;
use liandong_proto::schema::{self, Audience};
use liandong_proto::state::{Held, RecordState};

/// The cities that may see a record. The home city sees a record even where its kind is unknown here. A tombstone names
/// nobody any more: it goes to those who were given the record, and an erased one to all who hold it. One that is nobody's yet
/// names nobody either: those who were refused to change it are told so.
pub fn sites(kind: u32, state: &RecordState) -> Vec<SiteCode> {
    let mut out = match schema::kind(kind).map(|kind| kind.audience) {
        _ if state.erased => state.fed.iter().map(|(site, _)| *site).chain([state.home]).collect(),
        None | Some(Audience::Home) => vec![state.home],
        Some(Audience::AllCities) => city::cities().iter().map(|city| city.code).collect(),
        Some(Audience::Sites(_)) if state.deleted() => {
            state.fed.iter().map(|(site, _)| *site).chain([state.home]).collect()
        }
        Some(Audience::Sites(_)) if state.unclaimed() => {
            state.writers.iter().map(|writer| writer.origin.site).collect()
        }
        Some(Audience::Sites(tags)) => {
            let named = tags.iter().filter_map(|tag| state.fields.get(*tag)).flat_map(numbers);
            named.map(|code| SiteCode(code as u32)).collect()
        }
        Some(Audience::None) => Vec::new(),
    };
    out.retain(|site| !site.is_province());
    out.sort_unstable();
    out.dedup();
    out
}

/// Whether one city may see a record.
pub fn sees(site: SiteCode, kind: u32, state: &RecordState) -> bool {
    match schema::kind(kind).map(|kind| kind.audience) {
        _ if state.erased => state.home == site || state.fed.iter().any(|(fed, _)| *fed == site),
        None | Some(Audience::Home) => state.home == site,
        Some(Audience::AllCities) => true,
        Some(Audience::Sites(_)) if state.deleted() => {
            state.home == site || state.fed.iter().any(|(fed, _)| *fed == site)
        }
        Some(Audience::Sites(_)) if state.unclaimed() => {
            state.writers.iter().any(|writer| writer.origin.site == site)
        }
        Some(Audience::Sites(tags)) => tags
            .iter()
            .filter_map(|tag| state.fields.get(*tag))
            .any(|raw| numbers(raw).contains(&u64::from(site.0))),
        Some(Audience::None) => false,
    }
}

/// Whether a city that may see a record may see a value held there. Where the record names nobody, as one that is nobody's
/// yet or a tombstone, each sees its own, and the home all.
pub fn sees_held(site: SiteCode, kind: u32, state: &RecordState, held: &Held) -> bool {
    let shared = matches!(schema::kind(kind).map(|kind| kind.audience), Some(Audience::AllCities));
    let own = held.by.origin.site == site;
    if state.unclaimed() { own } else { shared || own || state.home == site || !state.deleted() }
}

/// The fields as a city gets them: of a list of cities it learns only that it stands on it.
pub fn project<'a>(site: SiteCode, kind: u32, fields: &'a Fields) -> Cow<'a, Fields> {
    let Some(Audience::Sites(tags)) = schema::kind(kind).map(|kind| kind.audience) else {
        return Cow::Borrowed(fields);
    };
    let is_list =
        |tag: &u32| schema::kind(kind).and_then(|kind| kind.field(*tag)).is_some_and(|field| field.repeated);
    let lists: Vec<u32> =
        tags.iter().filter(|tag| is_list(tag) && fields.get(**tag).is_some()).copied().collect();
    if lists.is_empty() {
        return Cow::Borrowed(fields);
    }
    let mut own = FieldsBuilder::new();
    for tag in lists {
        own.u64(tag, u64::from(site.0));
    }
    Cow::Owned(fields.patched(&own.finish(), &[]))
}
