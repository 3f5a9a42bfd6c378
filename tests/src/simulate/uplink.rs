//! Drives the node's half of sessions: `liandong_node::uplink`, with events in place of a runtime. A process may end
//! between any two outputs.

use std::collections::VecDeque;
use std::sync::Arc;

use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::session::head_to_pb;
use liandong_proto::session::node::{Comparison, Input, NodeSession, Output};
use prost::Message as _;
use rand::RngExt as _;
use sync::refusal::Code;

use super::clerks::RAW;
use super::disk::Sight;
use super::invariants::{Broken, Invariant};
use super::link::{Link, Parcel};
use super::node::{Running, Uplink};
use super::planted::Planted;
use super::truth::Key;
use super::world::{Event, World, clock};

/// The longest pause between two tries; a real node's is a minute, and nothing hangs on that.
const RETRY_MS: u64 = 3_000;
const TICK_MS: u64 = 700;

impl World {
    /// A node's clock.
    pub fn node_now(&self, n: usize) -> u64 {
        clock(self.now_ms, self.nodes[n].offset_ms)
    }

    pub(super) fn node_start(&mut self, n: usize) -> Result<(), Broken> {
        let node = &mut self.nodes[n];
        if node.running.is_some() {
            return Ok(());
        }
        let opened = Running::open(&node.disk, &node.secrets, &mut self.random);
        let running = opened.map_err(|error| {
            Broken::new(Invariant::NothingUnexplained, format!("{} does not start: {error}", node.site))
        })?;
        node.running = Some(running);
        let life = node.life;
        self.after(1, Event::NodeConnects(n, life));
        self.after(TICK_MS, Event::NodeTick(n, life));
        Ok(())
    }

    /// The process ends; with a power cut, so does what was not synced.
    pub fn node_crashes(&mut self, n: usize) {
        let pause = self.takes(RETRY_MS);
        let node = &mut self.nodes[n];
        if let Some(Running { uplink: Uplink::Connected(link, _), .. }) = node.running.take() {
            self.cut(link, true);
        }
        let node = &mut self.nodes[n];
        node.disk.crash(&mut self.random);
        node.life += 1;
        self.counts.fault("node crash");
        self.after(pause, Event::NodeStart(n));
    }

    pub(super) fn node_connects(&mut self, n: usize) -> Result<(), Broken> {
        let pause = self.takes(RETRY_MS);
        let life = self.nodes[n].life;
        let hub_key = self.hub.province.signer.verifying();
        let nonce = self.random.random();
        let node = &mut self.nodes[n];
        let Some(running) = node.running.as_mut().filter(|it| matches!(it.uplink, Uplink::Offline)) else {
            return Ok(());
        };
        let is_reached = self.hub.running.is_some();
        let greeted = is_reached.then(|| running.greet(&mut node.disk, &node.secrets, nonce, hub_key));
        let Some(Ok(standing)) = greeted else {
            self.after(pause, Event::NodeConnects(n, life));
            return Ok(());
        };
        let (session, outputs) = NodeSession::start(standing);
        let link = self.next_link;
        self.next_link += 1;
        self.links.insert(link, Link::new(n));
        running.uplink = Uplink::Connected(link, Box::new(session));
        let durable = running.durable;
        self.counts.sessions += 1;
        self.node_outputs(n, outputs)?;
        self.node_input(n, Input::Appended(durable))
    }

    /// The uplink has ended, and will try again or not.
    pub(super) fn node_hangs_up(&mut self, n: usize, stopped: Option<bool>) {
        let pause = self.takes(RETRY_MS);
        let node = &mut self.nodes[n];
        let life = node.life;
        let Some(running) = node.running.as_mut() else { return };
        let next = match stopped {
            None => Uplink::Offline,
            Some(parted) => Uplink::Stopped { parted },
        };
        if let Uplink::Connected(link, _) = std::mem::replace(&mut running.uplink, next) {
            self.cut(link, true);
        }
        if stopped.is_none() {
            self.after(pause, Event::NodeConnects(n, life));
        }
    }

    pub(super) fn node_learns(&mut self, link: u64) {
        let Some(known) = self.links.get_mut(&link) else { return };
        known.node_reads = false;
        known.down.clear();
        let n = known.node;
        if self.is_on(n, link) {
            self.node_hangs_up(n, None);
        }
        self.forget(link);
    }

    fn is_on(&self, n: usize, link: u64) -> bool {
        let uplink = self.nodes[n].running.as_ref().map(|running| &running.uplink);
        matches!(uplink, Some(Uplink::Connected(on, _)) if *on == link)
    }

    pub(super) fn node_ticks(&mut self, n: usize) -> Result<(), Broken> {
        let life = self.nodes[n].life;
        self.after(TICK_MS, Event::NodeTick(n, life));
        self.node_input(n, Input::Tick)
    }

    /// What clerks have written is durable: they are told, and so is the uplink.
    pub(super) fn node_syncs(&mut self, n: usize) -> Result<(), Broken> {
        let node = &mut self.nodes[n];
        let Some(running) = node.running.as_mut() else { return Ok(()) };
        node.disk.sync();
        running.durable = running.author.head;
        let head = running.durable;
        self.node_input(n, Input::Appended(head))
    }

    /// A message of the hub has come.
    pub(super) fn down(&mut self, link: u64) -> Result<(), Broken> {
        let Some(known) = self.links.get_mut(&link).filter(|link| link.node_reads) else { return Ok(()) };
        if self.planted == Some(Planted::ReaderWaits) && !known.up.is_empty() {
            self.after(20, Event::Down(link));
            return Ok(());
        }
        let n = known.node;
        let Some(Parcel { down, seen }) = known.down.pop_front() else { return Ok(()) };
        if !self.is_on(n, link) {
            return Ok(());
        }
        self.counts.messages += 1;
        self.node_hears(n, Input::Received(down), seen)
    }

    pub(super) fn node_input(&mut self, n: usize, input: Input) -> Result<(), Broken> {
        self.node_hears(n, input, Arc::default())
    }

    fn node_hears(&mut self, n: usize, input: Input, seen: Arc<Vec<(Key, Sight)>>) -> Result<(), Broken> {
        let now_ms = self.node_now(n);
        let Some(running) = self.nodes[n].running.as_mut() else { return Ok(()) };
        let Uplink::Connected(_, session) = &mut running.uplink else { return Ok(()) };
        let outputs = session.on(input, now_ms);
        self.node_carries_out(n, outputs, seen)?;
        let node = &mut self.nodes[n];
        let Some(running) = node.running.as_mut() else { return Ok(()) };
        let Uplink::Connected(_, session) = &running.uplink else { return Ok(()) };
        if let Some(held) = session.held_by_hub().filter(|held| held.seq != running.row.confirmed_seq) {
            let receipt = sync::Receipt { up_to: Some(head_to_pb(&held)), ..sync::Receipt::default() };
            if running.confirmed(&mut node.disk, &receipt).is_err() {
                self.node_hangs_up(n, Some(false));
            }
        }
        Ok(())
    }

    fn node_outputs(&mut self, n: usize, outputs: Vec<Output>) -> Result<(), Broken> {
        self.node_carries_out(n, outputs, Arc::default())
    }

    fn node_carries_out(
        &mut self,
        n: usize,
        outputs: Vec<Output>,
        seen: Arc<Vec<(Key, Sight)>>,
    ) -> Result<(), Broken> {
        let mut queue: VecDeque<Output> = outputs.into();
        while let Some(output) = queue.pop_front() {
            if self.chance(1_000) {
                self.node_crashes(n);
                return Ok(());
            }
            let node = &mut self.nodes[n];
            let Some(running) = node.running.as_mut() else { return Ok(()) };
            let Uplink::Connected(link, _) = &running.uplink else { return Ok(()) };
            let link = *link;
            let answer = match output {
                Output::Send(up) => {
                    self.send_up(link, up)?;
                    continue;
                }
                Output::Welcomed(generations) => {
                    if running.welcomed(&mut node.disk, &generations).is_err() {
                        self.node_hangs_up(n, Some(false));
                        return Ok(());
                    }
                    continue;
                }
                Output::Read { after, max_bytes } => {
                    let (entries, last) = running.read(&node.disk, after, max_bytes as usize / 200);
                    Input::Read(entries, last)
                }
                Output::Heads(places) => Input::Heads(running.heads(&node.disk, &places)),
                Output::Confirmed(receipt) => {
                    if running.confirmed(&mut node.disk, &receipt).is_err() {
                        self.node_hangs_up(n, Some(false));
                        return Ok(());
                    }
                    continue;
                }
                Output::Persist(deliver) => match self.node_receives(n, deliver, Arc::clone(&seen)) {
                    Some(persisted) => persisted,
                    None => return Ok(()),
                },
                Output::Digest(ask) => Input::Digest(running.digests(&ask)),
                Output::Compared(Comparison::Equal { own_head, cursor }) => {
                    running.compared = (own_head, cursor.hub_seq);
                    self.counts.equal += 1;
                    continue;
                }
                Output::Compared(Comparison::Different(records)) => {
                    let what = format!("{} and the hub show {records:?} differently", node.site);
                    return Err(Broken::new(Invariant::DigestsEqual, what));
                }
                Output::HubKeys(_) | Output::PersistOwn { .. } => continue,
                Output::Diverged(diverged) => return self.node_parts(n, &diverged),
                Output::Refused(refusal) => return self.node_refused(n, &refusal),
            };
            let now_ms = self.node_now(n);
            let Some(running) = self.nodes[n].running.as_mut() else { return Ok(()) };
            let Uplink::Connected(_, session) = &mut running.uplink else { return Ok(()) };
            queue.extend(session.on(answer, now_ms));
        }
        Ok(())
    }

    /// As `Site::receive`. `None`: the process or its uplink has ended over it.
    fn node_receives(
        &mut self,
        n: usize,
        mut deliver: sync::Deliver,
        seen: Arc<Vec<(Key, Sight)>>,
    ) -> Option<Input> {
        let now_ms = self.node_now(n);
        let early = self.planted == Some(Planted::CursorEarly);
        let late = early || self.planted == Some(Planted::AppliedBeforeSync);
        let node = &mut self.nodes[n];
        let running = node.running.as_mut()?;
        if let Some(planted) = self.planted {
            planted.deliver(&mut deliver, running.row.confirmed_seq);
        }
        if early {
            let cursor = sync::Deliver { items: Vec::new(), ..deliver.clone() };
            running.receive(&mut node.disk, &cursor, Arc::default(), now_ms).ok()?;
            node.disk.sync();
        }
        let Ok(cursor) = running.receive(&mut node.disk, &deliver, seen, now_ms) else {
            self.node_hangs_up(n, Some(false));
            return None;
        };
        self.counts.deliveries += 1;
        if late {
            let life = node.life;
            let pause = self.takes(200);
            self.after(pause, Event::LateSync(n, life));
            return Some(Input::Persisted(cursor));
        }
        if self.chance(400) {
            self.node_crashes(n);
            return None;
        }
        self.nodes[n].disk.sync();
        Some(Input::Persisted(cursor))
    }

    /// The node has stopped for good: who knows why?
    fn node_parts(&mut self, n: usize, diverged: &sync::Diverged) -> Result<(), Broken> {
        let site = self.nodes[n].site;
        self.node_hangs_up(n, Some(true));
        let what = format!("{site} is told that it has parted from the hub: {:?}", diverged.cause());
        Err(Broken::new(Invariant::NothingUnexplained, what))
    }

    fn node_refused(&mut self, n: usize, refusal: &sync::Refusal) -> Result<(), Broken> {
        let passing = matches!(
            refusal.code(),
            Code::SiteBusy | Code::Unavailable | Code::Frozen | Code::NotAMember | Code::NoAgreement
        );
        if passing {
            self.node_hangs_up(n, None);
            return Ok(());
        }
        let site = self.nodes[n].site;
        self.node_hangs_up(n, Some(false));
        let what = format!("{site} is refused: {:?}: {}", refusal.code(), refusal.en);
        Err(Broken::new(Invariant::NothingUnexplained, what))
    }

    fn send_up(&mut self, link: u64, mut up: sync::Up) -> Result<(), Broken> {
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
