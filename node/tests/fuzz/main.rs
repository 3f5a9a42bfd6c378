//! Bytes from strangers at a node: sheets, what stands in a log, and what people type in.
//!
//! | file | targets |
//! |---|---|
//! | `deliveries` | what a hub delivers, taken in by a site |
//! | `payloads` | erasure in records of a log: no byte moves, whatever stands there |
//! | `logs` | segments of a log with anything in them |
//! | `sheets` | a clerk's file, from its first byte to the fields of a record |
//! | `typed` | invitations, keys, tokens, settings, JSON |
//!
//! How to let it run for long is told in `proto/tests/fuzz/main.rs`; here it is `-p liandong-node`.

mod deliveries;
mod logs;
mod payloads;
mod sheets;
mod typed;

#[path = "../../../proto/tests/fuzz/runner.rs"]
mod runner;
#[path = "../../../proto/tests/fuzz/source.rs"]
mod source;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../../../proto/tests/fuzz/valid.rs"]
mod valid;
