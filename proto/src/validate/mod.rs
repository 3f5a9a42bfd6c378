//! Whether values, records and status steps are right: generic code over the schema's tables.
//!
//! The same tables are read in two views. At the node, [`View::Full`], the raw values are at hand. At the hub,
//! [`View::Shared`], a `TOKEN` field holds a token, a `SEALED` field must be absent, and a newer node may send choices
//! that this build does not know. Nothing here allocates unless it finds something wrong.

mod problem;
pub mod record;
mod spelling;
pub mod step;
pub mod value;

use crate::format::Day;

pub use problem::Problem;
pub use record::{check_record, warnings};
pub use spelling::stored_spelling;
pub use step::{check_step, reachable_by};
pub use value::check_value;

/// The date against which a birth date can lie in the future.
pub type Today = Day;

/// The date in China at a time in milliseconds since 1970.
pub const fn today(unix_ms: u64) -> Today {
    Day::in_china(unix_ms)
}

/// Where the record is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// At the node that owns it: raw values.
    Full,
    /// At the hub and at other cities: what has travelled.
    Shared,
}

#[cfg(test)]
mod tests;
