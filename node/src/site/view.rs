//! Reading an index as a person wants it: one record, a page of a kind, counts.

use liandong_proto::fields::Fields;
use liandong_proto::id::{Origin, RecordId};
use liandong_proto::merge;
use liandong_proto::schema::{self, Field, Kind, Type};
use liandong_proto::state::RecordState;

use super::{Page, Query, Shown, SiteError};
use crate::index::Index;
use crate::rows;

/// The most records on one page.
pub const MAX_PAGE: usize = 1_000;

/// The version a writer may name: own changes and delivered state, each as far as it has come.
pub fn version(state: &RecordState, own: Option<Origin>) -> String {
    let seq = own.map_or(0, |origin| state.own_seq(origin));
    format!("{seq}.{}", state.hub_seq)
}

/// A state as this site shows it.
pub fn shown(kind: u32, record: RecordId, state: RecordState, own: Option<Origin>, confirmed: u64) -> Shown {
    Shown {
        kind,
        record,
        version: version(&state, own),
        home: state.home,
        stamp: state.stamp(),
        deleted: state.deleted(),
        erased: state.erased,
        incomplete: schema::kind(kind).is_some_and(|kind| merge::incomplete(kind, &state)),
        unsynced: own.is_some_and(|origin| state.own_seq(origin) > confirmed),
        fields: state.visible(),
        held: state.held,
    }
}

/// A page of a kind's records.
///
/// # Errors
/// [`SiteError::Refused`] for a filter that the kind does not have.
pub fn list(index: &Index, query: &Query, own: Option<Origin>, confirmed: u64) -> Result<Page, SiteError> {
    let filters = compile(query)?;
    let prefix = rows::records_of(query.kind);
    let from = if query.page_token.is_empty() { prefix.clone() } else { query.page_token.clone() };
    if !from.starts_with(&prefix) {
        return Err(SiteError::Refused(
            "the page token belongs to another list; begin again without it".into(),
        ));
    }
    let limit = match query.page_size {
        0 => 100,
        size => size.min(MAX_PAGE),
    };
    let mut page = Page::default();
    for row in index.scan(&from, Some(&rows::after_prefix(&prefix))) {
        let (key, value) = row?;
        let Some((kind, record)) = rows::parse_record(&key) else { continue };
        if page.records.len() == limit {
            page.next = key;
            break;
        }
        let state = RecordState::decode(&value)?;
        if state.deleted() && !query.deleted {
            continue;
        }
        let fields = state.visible();
        if filters.iter().all(|filter| filter.holds(&fields)) {
            page.records.push(shown(kind, record, state, own, confirmed));
        }
    }
    Ok(page)
}

struct Filter<'a> {
    field: &'static Field,
    text: &'a str,
}

impl Filter<'_> {
    fn holds(&self, fields: &Fields) -> bool {
        let tag = self.field.tag;
        match self.field.ty {
            Type::String => fields.str(tag).unwrap_or_default() == self.text,
            Type::Enum(values) => {
                values.by_text(self.text).is_some_and(|value| value.number == fields.number(tag))
            }
            Type::Bool => fields.u64(tag).unwrap_or(0) == u64::from(matches!(self.text, "true" | "1" | "是")),
            Type::Bytes => match self.text.parse::<RecordId>() {
                Ok(id) => fields.bytes_of(tag) == Some(&id.0),
                Err(_) => false,
            },
            _ => fields.u64(tag).unwrap_or(0).to_string() == self.text,
        }
    }
}

fn compile(query: &Query) -> Result<Vec<Filter<'_>>, SiteError> {
    let unknown = |what: String| SiteError::Refused(what);
    let kind: &'static Kind = schema::kind(query.kind)
        .ok_or_else(|| unknown(format!("no kind of record has number {}", query.kind)))?;
    let mut out = Vec::new();
    for (name, text) in &query.filters {
        let field =
            kind.field_by_name(name).ok_or_else(|| unknown(format!("{} has no field {name}", kind.name)))?;
        if let Type::Enum(values) = field.ty
            && values.by_text(text).is_none()
        {
            return Err(unknown(format!("{name} has no such value")));
        }
        out.push(Filter { field, text });
    }
    Ok(out)
}

/// Living records per kind, with at least one.
///
/// # Errors
/// [`SiteError`].
pub fn counts(index: &Index) -> Result<Vec<(u32, u64)>, SiteError> {
    let mut out = Vec::new();
    for kind in schema::kinds() {
        let prefix = rows::records_of(kind.number);
        let mut n = 0;
        for row in index.scan(&prefix, Some(&rows::after_prefix(&prefix))) {
            let (_, value) = row?;
            n += u64::from(!RecordState::decode(&value)?.deleted());
        }
        if n > 0 {
            out.push((kind.number, n));
        }
    }
    Ok(out)
}
