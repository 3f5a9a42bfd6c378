//! What identifiers, dates, mobiles, addresses and names look like, and how clerks really write them.
//!
//! Each format has two doors. The *strict* one (`from_canonical`, `from_iso`, `check`) takes only the one spelling that
//! is stored, and allocates nothing; it runs on every change. The *lenient* one (`parse`, `read`, `tidy`) takes what
//! stands in a spreadsheet cell and gives the stored spelling or says how to mend the cell. Neither ever guesses.

pub mod date;
pub mod email;
mod fault;
pub mod mobile;
pub mod name;
pub mod resident_id;
pub mod text;
pub mod uscc;

pub use date::{Date, Day, Precision};
pub use fault::Fault;
pub use mobile::Mobile;
pub use resident_id::ResidentId;
pub use uscc::Uscc;
