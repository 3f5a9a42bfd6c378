//! Bytes from strangers. Whatever comes over the wire, from a disk or out of a cell is read or refused: no panic, no
//! overflow, nothing that grows without end.
//!
//! | file | targets |
//! |---|---|
//! | `messages` | fields, entries, patches, states, held values, statements that are signed |
//! | `folding` | changes with anything in them, judged, merged and projected |
//! | `hostile` | either half of a session against a peer that is a member and keeps to nothing |
//! | `locating` | where two logs parted, asked for in one round |
//! | `middle` | both halves against each other, and somebody between them |
//! | `spelling` | cells, dates, numbers and ids as text |
//! | `found` | what was found so far |
//!
//! Those at a node (`node/tests/fuzz`) and at the hub (`hub/src/hub/tests/pushes.rs`) are made of the same pieces.
//!
//! An ordinary run takes the same few inputs every time. A long one, an hour for each target, one after the other; with
//! the name of a target behind it, for that alone:
//!
//! ```text
//! LIANDONG_FUZZ_SECONDS=3600 cargo test --release -p liandong-proto --test fuzz -- --nocapture --test-threads=1
//! LIANDONG_FUZZ_SECONDS=3600 cargo test --release -p liandong-node --test fuzz -- --nocapture --test-threads=1
//! LIANDONG_FUZZ_SECONDS=3600 cargo test --release -p liandong-hub --lib pushes -- --nocapture --test-threads=1
//! ```
//!
//! With `CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true` before it, overflows are met as well.
//!
//! Inputs are made from valid ones: bits flipped, pieces cut, doubled, moved from one message into another, at any depth
//! and with the lengths around them mended. Not done: guidance by coverage.

mod folding;
mod found;
mod hostile;
mod locating;
mod messages;
mod middle;
mod runner;
mod source;
mod spelling;
mod valid;

#[path = "../session_transcripts/disks.rs"]
mod disks;
#[allow(dead_code, reason = "the transcripts use all of it")]
#[path = "../session_transcripts/names.rs"]
mod names;
#[allow(dead_code, reason = "the transcripts use all of it")]
#[path = "../session_transcripts/world.rs"]
mod world;
