//! Processes: they start from what their disk has, and end with all that was not synced.

use liandong_node::site::Class;

use super::clerks::{MEMBER, TRANSFER};
use super::hub;
use super::invariants::{Broken, Invariant};
use super::node::{self, Uplink};
use super::uplink::{RETRY_MS, TICK_MS};
use super::world::{Event, World, clock};

impl World {
    pub(super) fn node_start(&mut self, n: usize) -> Result<(), Broken> {
        let now_ms = self.node_now(n);
        let node = &mut self.nodes[n];
        if node.running.is_some() || node.taking.is_some() || node.retired {
            return Ok(());
        }
        if self.others_of(n).into_iter().any(|other| self.nodes[other].taking.is_some()) {
            self.after(2_000, Event::NodeStart(n));
            return Ok(());
        }
        let node = &mut self.nodes[n];
        let running = match node::Running::open(&node.disk, &node.secrets, now_ms, &mut self.random) {
            Ok(running) if !node.disk.is_damaged() => running,
            // It stays as it is until somebody looks.
            Err(error) if error.class() == Class::Damaged && node.disk.is_damaged() => return Ok(()),
            opened => {
                let said = opened.err().map_or("with a damaged log".into(), |error| format!("not: {error}"));
                let what = format!("{} starts {said}", node.site);
                return Err(Broken::new(Invariant::NothingUnexplained, what));
            }
        };
        if let Some(acked) = node.acked
            && (running.origin(), running.author.head.seq) < (running.origin(), acked.seq)
        {
            let what = format!("{} has lost entry {}, which was said to be saved", node.site, acked.seq);
            return Err(Broken::new(Invariant::PutIsDurable, what));
        }
        running.check(running.records(MEMBER).into_iter().chain(running.records(TRANSFER)))?;
        node.running = Some(running);
        let life = node.life;
        self.after(1, Event::NodeConnects(n, life));
        self.after(TICK_MS, Event::NodeTick(n, life));
        Ok(())
    }

    /// The process ends; with a power cut, so does what was not synced.
    pub fn node_crashes(&mut self, n: usize) {
        let pause = self.takes(RETRY_MS);
        self.node_stops(n);
        self.counts.fault("node crash");
        self.after(pause, Event::NodeStart(n));
    }

    /// The same, and nobody starts it again.
    pub fn node_stops(&mut self, n: usize) {
        self.take_ends(n);
        let running = self.nodes[n].running.take();
        if let Some(node::Running {
            uplink: Uplink::Connected(link, _) | Uplink::HandingIn(link, ..), ..
        }) = running
        {
            self.cut(link, true);
        }
        let node = &mut self.nodes[n];
        node.disk.crash(&mut self.random);
        node.life += 1;
    }
    pub(super) fn hub_start(&mut self) -> Result<(), Broken> {
        let hub = &mut self.hub;
        if hub.running.is_some() {
            return Ok(());
        }
        let now_ms = clock(self.now_ms, hub.offset_ms);
        let opened = hub::Running::open(
            &mut hub.disk,
            &hub.province,
            now_ms,
            self.planted,
            &mut self.sights,
            &mut self.random,
        );
        match opened {
            Ok(running) => hub.running = Some(running),
            // It is tried again, as a service manager does.
            Err(error) if error.class() == Class::Full && hub.disk.full => {
                self.after(1_000, Event::HubStart);
                return Ok(());
            }
            // It stays as it is until somebody looks.
            Err(error) if error.class() == Class::Damaged && hub.disk.is_damaged() => return Ok(()),
            Err(error) => {
                let what = format!("the hub does not start: {error}");
                return Err(Broken::new(Invariant::NothingUnexplained, what));
            }
        }
        self.check_receipts()
    }

    /// The process ends, and with it what was not synced.
    pub fn hub_crashes(&mut self) {
        self.hub_stops();
        self.counts.fault("hub crash");
        let pause = self.takes(2_000);
        self.after(pause, Event::HubStart);
    }

    /// The same, and nobody starts it again.
    pub fn hub_stops(&mut self) {
        self.hub.running = None;
        self.hub.disk.crash(&mut self.random);
        self.hub.life += 1;
        let links: Vec<u64> = self.links.keys().copied().collect();
        for link in links {
            self.cut(link, false);
            self.hub_learns(link);
        }
    }
}
