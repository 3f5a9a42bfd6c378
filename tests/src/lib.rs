//! What the tests, the benches and the demonstration share.

pub mod bench;
pub mod chaos;
pub mod cluster;
pub mod federation;
pub mod line;
mod program;
pub mod roster;
pub mod simulate;
