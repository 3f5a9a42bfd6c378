//! One city's site: its log, its index, its record API, its uplink to the hub, import, and the command line.

pub mod api;
pub mod audit;
pub mod backup;
pub mod caller;
pub mod cli;
pub mod config;
mod exclusive;
pub mod import;
pub mod index;
pub mod json;
pub mod log;
pub mod now;
pub mod payload;
pub mod process;
pub mod restore;
pub mod rows;
pub mod site;
pub mod store;
pub mod text;
pub mod trust;
pub mod uplink;

/// A change costs some dozens of small allocations at each side, many of them freed by another thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
