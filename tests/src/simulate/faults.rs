//! The course of a run: people write while things go wrong, then all is mended and must come out even.

use std::collections::BTreeMap;

use bytes::Bytes;
use liandong_node::index::Index;
use liandong_node::site::Put;
use liandong_proto::id::SiteCode;
use rand::RngExt as _;

use super::clerks::{self, MEMBER, TRANSFER};
use super::hub;
use super::invariants::{Broken, Invariant};
use super::node::{self, Uplink};
use super::planted::Planted;
use super::world::{Event, World};

/// How long people write, in milliseconds.
const STORM_MS: u64 = 15_000;
const TEN_YEARS_MS: i64 = 3_653 * 86_400_000;
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
        Ok(())
    }

    fn calm(&mut self) -> Result<(), Broken> {
        self.mend();
        let until_ms = self.now_ms + HEALING_MS;
        while self.step(until_ms)? {
            if self.is_even() {
                self.settled();
                return self.check_rebuilt();
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

    /// Whether every node has said all it has to say, and has found itself equal with the hub.
    fn is_even(&self) -> bool {
        self.uneven().is_empty()
    }

    fn uneven(&self) -> String {
        let Some(hub) = &self.hub.running else { return "the hub does not run".into() };
        if !hub.rounds.is_empty() || hub.queue.has_work() {
            return "the hub commits".into();
        }
        for node in self.nodes.iter().filter(|node| !node.retired) {
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
        if !self.storm || self.nodes[n].retired {
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
        running.check(written.keys)?;
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
        let pause = self.takes(600);
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
        let n = self.random.random_range(0..self.nodes.len());
        match self.random.random_range(0..40) {
            0..10 => self.line_is_cut(),
            10..14 => {
                self.counts.fault("node unreachable");
                self.nodes[n].unreachable_until = self.now_ms + self.random.random_range(1_000..8_000);
                self.cut_off(n);
            }
            14..17 => self.node_crashes(n),
            17 | 18 => self.hub_crashes(),
            19..22 => {
                self.counts.fault("node clock stepped");
                self.nodes[n].offset_ms = self.random.random_range(-TEN_YEARS_MS..=TEN_YEARS_MS);
            }
            22 => {
                self.counts.fault("hub clock stepped");
                self.hub.offset_ms = self.random.random_range(-TEN_YEARS_MS..=TEN_YEARS_MS);
            }
            23 | 24 => {
                self.counts.fault("node disk full");
                self.nodes[n].disk.full = true;
                let pause = self.takes(4_000);
                self.after(pause, Event::Freed(Some(n)));
            }
            25 => {
                self.counts.fault("hub disk full");
                self.hub.disk.full = true;
                let pause = self.takes(4_000);
                self.after(pause, Event::Freed(None));
            }
            26..29 => self.node_backs_up(n),
            29 | 30 => {
                let is_due = self.hub.backup.is_none() || self.random.random_bool(0.5);
                if is_due && !self.hub.disk.is_damaged() {
                    self.hub.backup = Some(self.hub.disk.backup());
                }
            }
            31 | 32 => self.node_put_back(n),
            33 | 34 => self.node_is_cloned(n),
            35 => self.node_is_lost(n),
            36 => self.hub_put_back(),
            37 => {
                self.hub_put_back();
                self.node_put_back(n);
            }
            38 => self.bit_flips(Some(n)),
            _ => self.bit_flips(None),
        }
    }

    fn line_is_cut(&mut self) {
        let whole = self.links.iter().filter(|(_, link)| !link.cut);
        let links: Vec<u64> = whole.map(|(number, _)| *number).collect();
        if !links.is_empty() {
            let link = links[self.random.random_range(0..links.len())];
            self.counts.fault("link cut");
            self.cut(link, false);
        }
    }

    fn cut_off(&mut self, n: usize) {
        let whole = self.links.iter().filter(|(_, link)| !link.cut && link.node == n);
        let links: Vec<u64> = whole.map(|(number, _)| *number).collect();
        links.into_iter().for_each(|link| self.cut(link, false));
    }

    fn bit_flips(&mut self, n: Option<usize>) {
        // Somebody has to have a copy.
        if n.is_none() && self.hub.backup.is_none() {
            return;
        }
        let (disk, kind) = match n {
            Some(n) if self.nodes[n].retired => return,
            Some(n) => (&mut self.nodes[n].disk, "bit flipped at a node"),
            None => (&mut self.hub.disk, "bit flipped at the hub"),
        };
        if !disk.flip(&mut self.random) {
            return;
        }
        self.counts.fault(kind);
        match n {
            Some(n) => self.doubtful.extend([self.nodes[n].site]),
            None => self.hub_crashes(),
        }
    }

    /// An index that is made from the log alone is the one that was there.
    fn check_rebuilt(&mut self) -> Result<(), Broken> {
        if self.planted.is_some_and(Planted::shows_in_rebuilds) {
            return Ok(());
        }
        let Some(hub) = &self.hub.running else { return Ok(()) };
        let (index, otherwise) = hub::rebuilt(&self.hub.disk);
        if index.digest() != hub.index().digest() {
            let what = format!("at the hub: {}", differing(&index, hub.index()));
            return Err(Broken::new(Invariant::RebuildIsTheSame, what));
        }
        if !otherwise.is_empty() {
            let what = format!("today the hub would judge {otherwise:?} otherwise");
            return Err(Broken::new(Invariant::RebuildIsTheSame, what));
        }
        for node in &self.nodes {
            // What is damaged and was not read since is not read for this.
            let Some(running) = node.running.as_ref().filter(|_| !node.disk.is_damaged()) else { continue };
            let again = node::Running::open(&node.disk, &node.secrets, 0, &mut self.random);
            let again = again.map_err(|error| Broken::new(Invariant::RebuildIsTheSame, error.to_string()))?;
            if again.index.digest() != running.index.digest() {
                let what = format!("at {}: {}", node.site, differing(&again.index, &running.index));
                return Err(Broken::new(Invariant::RebuildIsTheSame, what));
            }
        }
        Ok(())
    }
}

/// The first row that two indexes have differently.
fn differing(again: &Index, before: &Index) -> String {
    let rows = |index: &Index| -> BTreeMap<Bytes, Bytes> {
        index.scan(&[], None).map(|row| row.expect("memory")).collect()
    };
    let (again, before) = (rows(again), rows(before));
    let mut keys = again.keys().chain(before.keys());
    let key = keys.find(|key| again.get(*key) != before.get(*key));
    let shown = |rows: &BTreeMap<Bytes, Bytes>| format!("{:?}", key.and_then(|key| rows.get(key)));
    format!("row {key:?} is {} when it is made again, and was {}", shown(&again), shown(&before))
}
