//! Both halves of a sync session, sans-io: an input and the time go in, outputs come out in the order in
//! which they must be carried out. The drivers and the simulator are one `match` over the outputs.
//!
//! | message | from → to | when | durable first |
//! |---|---|---|---|
//! | Hello | node → hub | first | – |
//! | Welcome | hub → node | answer | – |
//! | Locate | both | heads differ | – |
//! | Push | node → hub | window open | at the node |
//! | Receipt | hub → node | after commit | at the hub |
//! | Deliver | hub → node | feed has news | at the hub |
//! | Applied | node → hub | after Deliver | cursor, at the node |
//! | Compare | both | drained, both tags equal | – |
//! | Restore | hub → node | node asks | – |
//! | Refusal | hub → node | final no | – |
//!
//! Invariant of every driver: the reader never waits on the writer. What is sent is bounded by the windows
//! of the protocol (push batches without a receipt, deliveries without an applied), not by back-pressure.

pub mod hub;
pub mod node;

use bytes::Bytes;

use crate::entry::Head;
use crate::id::Hash;
use crate::pb::sync::v1 as pb;
use crate::position::{GenerationStart, Generations, Position};

/// The one version of the protocol spoken so far.
pub const PROTOCOL: u32 = 1;

/// What a hub allows unless configured otherwise.
pub const LIMITS: pb::Limits = pb::Limits { batch_bytes: 256 << 10, push_window: 4, deliver_window: 4 };

/// The most nonces of one hello: half of them from sessions before, the rest tried since. Behind so many tries a node
/// uses the last one again.
pub const MOST_NONCES: usize = 256;

/// The most receipts and deliveries that a node keeps while it looks into its own log: far more than the windows let a hub
/// send before it has heard of that.
const MOST_EARLY: usize = 64;

/// A head as it travels.
pub fn head_to_pb(head: &Head) -> pb::Head {
    let hash = if head.seq == 0 { Bytes::new() } else { Bytes::copy_from_slice(&head.hash) };
    pb::Head { seq: head.seq, hash }
}

/// A head that travelled; an absent or bent one is the empty head.
pub fn head_from_pb(head: Option<&pb::Head>) -> Head {
    let Some(head) = head else { return Head::default() };
    match <Hash>::try_from(head.hash.as_ref()) {
        Ok(hash) => Head { seq: head.seq, hash },
        Err(_) => Head::default(),
    }
}

/// A position as it travels.
pub fn position_to_pb(position: Position) -> pb::Position {
    pb::Position { generation: position.generation, hub_seq: position.hub_seq }
}

/// A position that travelled; an absent one is nowhere.
pub fn position_from_pb(position: Option<&pb::Position>) -> Position {
    position.map_or_else(Position::default, |p| Position { generation: p.generation, hub_seq: p.hub_seq })
}

/// A history as it travels.
pub fn generations_to_pb(generations: &Generations) -> Vec<pb::GenerationStart> {
    let start = |start: &GenerationStart| pb::GenerationStart {
        generation: start.generation,
        first_hub_seq: start.first_hub_seq,
    };
    generations.starts().iter().map(start).collect()
}

/// A history that travelled.
pub fn generations_from_pb(starts: &[pb::GenerationStart]) -> Generations {
    let start = |start: &pb::GenerationStart| GenerationStart {
        generation: start.generation,
        first_hub_seq: start.first_hub_seq,
    };
    Generations::new(starts.iter().map(start).collect())
}

/// A refusal with both its texts.
pub fn refusal(code: pb::refusal::Code, zh: &str, en: &str) -> pb::Refusal {
    pb::Refusal { code: code as i32, zh: zh.into(), en: en.into() }
}
