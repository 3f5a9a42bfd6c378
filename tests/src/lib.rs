//! What the tests, the benches and the demonstration share.

pub mod roster;
