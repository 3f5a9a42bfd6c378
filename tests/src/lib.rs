//! What the tests, the benches and the demonstration share.

pub mod bench;
pub mod cluster;
pub mod federation;
pub mod roster;
pub mod simulate;
