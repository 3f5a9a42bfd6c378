//! Consent taken back (Personal Information Protection Law, article 15): which groups of a record's fields stay in the
//! city, by the entries that travel with the record.

use bytes::Bytes;

use crate::fields::{self, Fields, Value};
use crate::schema::{self, Field, Kind, Share, Type};

/// Name of the basis that a person can take back, in the schema.
const CONSENT: &str = "CONSENT";

/// The groups whose consent is withdrawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withdrawn(Vec<&'static str>);

impl Withdrawn {
    /// What the entries in a record say: of each group the newest counts, by the day it was given; the later in the list
    /// of two of one day.
    pub fn of(kind: &Kind, record: &Fields) -> Withdrawn {
        let entries = kind.consents.and_then(|tag| Some((kind.field(tag)?, record.get(tag)?)));
        let Some((field, raw)) = entries else { return Withdrawn::default() };
        let Type::Message(message) = field.ty else { return Withdrawn::default() };
        let mut newest: Vec<(&'static str, String, bool)> = Vec::new();
        for (group, given_on, is_withdrawn) in fields::values(raw).filter_map(|value| entry(message, value)) {
            match newest.iter_mut().find(|(known, _, _)| *known == group) {
                Some(known) if known.1 > given_on => {}
                Some(known) => *known = (group, given_on, is_withdrawn),
                None => newest.push((group, given_on, is_withdrawn)),
            }
        }
        Withdrawn(newest.into_iter().filter(|(_, _, is)| *is).map(|(group, _, _)| group).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a field stays in the city for want of consent.
    pub fn holds(&self, field: &Field) -> bool {
        // Groups are written in small letters at the field, in capitals as choices.
        !self.0.is_empty() && self.0.iter().any(|group| group.eq_ignore_ascii_case(field.consent))
    }

    /// How far a field of this record travels.
    pub fn share(&self, field: &Field) -> Share {
        if self.holds(field) { Share::Sealed } else { field.share }
    }
}

/// One entry: its group, the day, and whether consent was taken back. `None` for one that cannot be read.
fn entry(message: &str, value: Value<'_>) -> Option<(&'static str, String, bool)> {
    let Value::Delimited(bytes) = value else { return None };
    let entry = Fields::split(Bytes::copy_from_slice(bytes)).ok()?;
    let part = |name: &str| schema::parts(message)?.iter().find(|part| part.name == name);
    let choice = |name: &str| match part(name).map(|part| (part.tag, part.ty)) {
        Some((tag, Type::Enum(choices))) => choices.value(entry.number(tag)).map(|value| value.name),
        _ => None,
    };
    let text = |name: &str| part(name).and_then(|part| entry.str(part.tag)).unwrap_or_default();
    let is_withdrawn = choice("basis") == Some(CONSENT) && !text("withdrawn_on").is_empty();
    Some((choice("group")?, text("given_on").to_owned(), is_withdrawn))
}
