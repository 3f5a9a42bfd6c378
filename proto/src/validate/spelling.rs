//! From what a clerk wrote to the spelling that is stored.

use std::borrow::Cow;

use crate::format::{Date, Fault, Mobile, ResidentId, Uscc, date, email, name, text};
use crate::schema::Format;

use super::Today;

/// The stored spelling of a cell, or why it has none. Empty stays empty.
///
/// For formats that are text on the wire; others come back cleaned of what spreadsheets add, for the caller to read.
/// `is_resident` says whether a `RESIDENT_ID` field holds a number after GB 11643 (see the document type).
pub fn stored_spelling(
    format: Format,
    cell: &str,
    is_resident: bool,
    today: Today,
) -> Result<Cow<'_, str>, Fault> {
    let cleaned = text::clean(cell);
    if cleaned.is_empty() {
        return Ok(cleaned);
    }
    Ok(match format {
        Format::ResidentId if is_resident => Cow::Owned(ResidentId::parse(cell, today)?.as_str().to_owned()),
        Format::Uscc => Cow::Owned(Uscc::parse(cell)?.as_str().to_owned()),
        Format::Mobile => Cow::Owned(Mobile::parse(cell)?.as_str().to_owned()),
        Format::Date => Cow::Owned(Date::read(cell)?.to_string()),
        Format::FullDate => Cow::Owned(Date::read(cell)?.to_day().ok_or(date::PRECISION)?.to_string()),
        Format::Email => {
            let address = email::tidy(cell);
            email::check(&address)?;
            address
        }
        Format::Name => name::read(cell)?,
        Format::Code | Format::ResidentId => text::clean_unspaced(cell),
        Format::LongText => Cow::Borrowed(cell.trim()),
        _ => cleaned,
    })
}
