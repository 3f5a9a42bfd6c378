//! A connection between a node and the hub: in order, late, and cut somewhere. Each end learns of a cut at its own time;
//! what was on its way then may still come.

use std::collections::VecDeque;
use std::sync::Arc;

use liandong_proto::pb::sync::v1 as sync;

use super::disk::Sight;
use super::truth::Key;

/// Messages of a session that may wait for a node to read them: `limits::UNREAD` of the hub.
pub const UNREAD: usize = liandong_node::trust::limits::UNREAD;

/// A message of the hub, with which places each delivered state has in it.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The message.
    pub down: sync::Down,
    /// What is beside it.
    pub seen: Arc<Vec<(Key, Sight)>>,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    /// Which node's.
    pub node: usize,
    /// With which copy of its disk.
    pub image: usize,
    /// Nothing more goes in.
    pub cut: bool,
    /// On the way to the hub.
    pub up: VecDeque<sync::Up>,
    /// On the way to the node.
    pub down: VecDeque<Parcel>,
    /// When the newest message of each way arrives.
    pub up_at: u64,
    /// The same, to the node.
    pub down_at: u64,
    /// Deliveries sent and not confirmed yet: up to which place, and as they were.
    pub told: VecDeque<(u64, sync::Deliver)>,
    /// The hub still reads it.
    pub hub_reads: bool,
    /// The node still reads it.
    pub node_reads: bool,
}

impl Link {
    /// A connection of a node.
    pub fn new(node: usize, image: usize) -> Link {
        Link {
            node,
            image,
            cut: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            up_at: 0,
            down_at: 0,
            told: VecDeque::new(),
            hub_reads: true,
            node_reads: true,
        }
    }
}
