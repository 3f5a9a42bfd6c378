//! The course of a run: people write while things go wrong, then all is mended and must come out even.

use liandong_node::site::Put;
use liandong_proto::id::SiteCode;
use rand::RngExt as _;

use super::clerks::{self, MEMBER, TRANSFER};
use super::invariants::{Broken, Invariant};
use super::node::Uplink;
use super::world::{Event, World};

/// How long people write, in milliseconds.
const STORM_MS: u64 = 15_000;
/// How long it may take until both sides show the same, once all is well.
const HEALING_MS: u64 = 60_000;

impl World {
    /// Some storms, each followed by a calm in which everything comes out even.
    pub fn live(&mut self) -> Result<(), Broken> {
        self.calm()?;
        for _ in 0..2 {
            self.storm()?;
            self.calm()?;
        }
        Ok(())
    }

    fn storm(&mut self) -> Result<(), Broken> {
        self.storm = true;
        let until_ms = self.now_ms + STORM_MS;
        for n in 0..self.nodes.len() {
            let pause = self.takes(2_000);
            self.after(pause, Event::Clerk(n));
        }
        self.after(500, Event::Secretary);
        self.after(500, Event::Fault);
        while self.step(until_ms)? {}
        self.storm = false;
        Ok(())
    }

    fn calm(&mut self) -> Result<(), Broken> {
        self.mend();
        let until_ms = self.now_ms + HEALING_MS;
        while self.step(until_ms)? {
            if self.is_even() {
                return Ok(());
            }
        }
        let now_ms = self.now_ms;
        let overdue = |link: &super::link::Link| {
            (!link.up.is_empty() && link.up_at + 10_000 < now_ms)
                || (!link.down.is_empty() && link.down_at + 10_000 < now_ms)
        };
        let invariant = if self.links.values().any(overdue) {
            Invariant::ReaderNeverWaits
        } else {
            Invariant::DigestsEqual
        };
        Err(Broken::new(invariant, format!("after {HEALING_MS} ms: {}", self.uneven())))
    }

    fn mend(&mut self) {}

    /// Whether every node has said all it has to say, and has found itself equal with the hub.
    fn is_even(&self) -> bool {
        self.uneven().is_empty()
    }

    fn uneven(&self) -> String {
        let Some(hub) = &self.hub.running else { return "the hub does not run".into() };
        if !hub.rounds.is_empty() || hub.queue.has_work() {
            return "the hub commits".into();
        }
        for node in &self.nodes {
            let Some(running) = &node.running else { return format!("{} does not run", node.site) };
            let Uplink::Connected(_, session) = &running.uplink else {
                return format!("{} is not connected", node.site);
            };
            if !session.drained() || running.author.head != running.durable {
                return format!("{} is not drained", node.site);
            }
            let feed = hub.read_feed(running.origin(), running.row.hub_seq, 1);
            if running.row.generation == 0 || !feed.items.is_empty() {
                return format!("{} has not been told all", node.site);
            }
            if running.compared != (running.durable.seq, running.row.hub_seq) {
                return format!("{} has not compared", node.site);
            }
        }
        String::new()
    }

    pub(super) fn clerk_writes(&mut self, n: usize) -> Result<(), Broken> {
        if !self.storm {
            return Ok(());
        }
        let pause = self.takes(1_500);
        self.after(pause, Event::Clerk(n));
        let others: Vec<SiteCode> = self.nodes.iter().map(|node| node.site).collect();
        let now_ms = self.node_now(n);
        let (life, site) = (self.nodes[n].life, self.nodes[n].site);
        let Some(running) = self.nodes[n].running.as_ref() else { return Ok(()) };
        let (members, transfers) = (running.records(MEMBER), running.records(TRANSFER));
        let random = &mut self.random;
        let most = if random.random_range(0..12) == 0 { 20 } else { 3 };
        let puts: Vec<Put> = (0..random.random_range(1..=most))
            .map(|_| {
                let member = (!members.is_empty()).then(|| members[random.random_range(0..members.len())].1);
                let transfer =
                    (!transfers.is_empty()).then(|| transfers[random.random_range(0..transfers.len())].1);
                match (random.random_range(0..10), member, transfer) {
                    (0..4, Some(member), _) => clerks::edit_member(member, random),
                    (4..7, _, Some(transfer)) => clerks::edit_transfer(transfer, random),
                    (7, Some(member), _) => {
                        let to = others[random.random_range(0..others.len())];
                        clerks::new_transfer(member, site, to, random)
                    }
                    _ => clerks::new_member(random),
                }
            })
            .collect();
        let node = &mut self.nodes[n];
        let Some(running) = node.running.as_mut() else { return Ok(()) };
        let written = running.put(&mut node.disk, &puts, now_ms, self.planted, &mut self.sights);
        for answer in written.answers {
            match answer {
                Ok(answer) if answer.problems.is_empty() => self.counts.entries += 1,
                _ => self.counts.refused += 1,
            }
        }
        let pause = self.takes(40);
        self.after(pause, Event::NodeSync(n, life));
        Ok(())
    }

    pub(super) fn secretary(&mut self) {
        if !self.storm {
            return;
        }
        let pause = self.takes(1_500);
        self.after(pause, Event::Secretary);
        let Some(hub) = &self.hub.running else { return };
        let prefix = liandong_node::rows::records_of(MEMBER);
        let end = liandong_node::rows::after_prefix(&prefix);
        let rows = hub.index().scan(&prefix, Some(&end));
        let members: Vec<_> =
            rows.filter_map(|row| liandong_node::rows::parse_record(&row.expect("memory").0)).collect();
        if members.is_empty() {
            return;
        }
        let (_, member) = members[self.random.random_range(0..members.len())];
        let put = clerks::shared_edit(member, &mut self.random);
        self.secretary_writes(put);
    }

    pub(super) fn fault(&mut self) {
        if !self.storm {
            return;
        }
        let pause = self.takes(3_000);
        self.after(pause, Event::Fault);
        let links: Vec<u64> =
            self.links.iter().filter(|(_, link)| !link.cut).map(|(number, _)| *number).collect();
        if !links.is_empty() {
            let link = links[self.random.random_range(0..links.len())];
            self.counts.fault("link cut");
            self.cut(link, false);
        }
    }
}
