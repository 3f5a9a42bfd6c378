//! A connection between a node and the hub: in order, late, and cut somewhere. Each end learns of a cut at its own time;
//! what was on its way then may still come.

use std::collections::VecDeque;
use std::sync::Arc;

use liandong_proto::pb::sync::v1 as sync;
use prost::Message as _;
use rand::RngExt as _;

use super::clerks::RAW;
use super::disk::Sight;
use super::invariants::{Broken, Invariant};
use super::planted::Planted;
use super::truth::Key;
use super::world::{Event, World};

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

impl World {
    pub(super) fn send_up(&mut self, link: u64, mut up: sync::Up) -> Result<(), Broken> {
        if let (Some(Planted::RawValueSent), Some(sync::up::Message::Push(push))) =
            (self.planted, up.message.as_mut())
        {
            push.entries[0].open = prost::bytes::Bytes::from_static(RAW[0]);
        }
        let bytes = up.encode_to_vec();
        if RAW.iter().any(|raw| bytes.windows(raw.len()).any(|window| window == *raw)) {
            let what = "a message to the hub holds a raw value";
            return Err(Broken::new(Invariant::NothingRawLeaves, what));
        }
        let delay = self.delay();
        let now_ms = self.now_ms;
        let Some(known) = self.links.get_mut(&link).filter(|link| !link.cut) else { return Ok(()) };
        known.up.push_back(up);
        known.up_at = known.up_at.max(now_ms + delay);
        let due = known.up_at - now_ms;
        self.after(due, Event::Up(link));
        Ok(())
    }

    /// How long a message takes.
    pub(super) fn delay(&mut self) -> u64 {
        if self.chance(50) {
            self.counts.fault("message delayed");
            return self.takes(4_000);
        }
        self.takes(120)
    }

    /// Cuts a connection: each end learns of it at its own time.
    pub(super) fn cut(&mut self, link: u64, by_node: bool) {
        let Some(known) = self.links.get_mut(&link).filter(|link| !link.cut) else { return };
        known.cut = true;
        let (up, down) = (known.up.len(), known.down.len());
        let (up, down) = (self.random.random_range(0..=up), self.random.random_range(0..=down));
        let (hub_learns, node_learns) = (self.takes(2_000), self.takes(2_000));
        if let Some(known) = self.links.get_mut(&link) {
            known.up.truncate(up);
            known.down.truncate(down);
            known.node_reads &= !by_node;
        }
        self.after(hub_learns, Event::HubLearns(link));
        self.after(if by_node { 0 } else { node_learns }, Event::NodeLearns(link));
    }

    pub(super) fn forget(&mut self, link: u64) {
        self.links.retain(|number, known| *number != link || known.hub_reads || known.node_reads);
    }
}
