//! The world: time, what is due when, and all that stands in it. One event after the other, each drawn from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use bytes::Bytes;
use liandong_hub::ca::Identity;
use liandong_hub::queue::{Job, OwnWrite, Register};
use liandong_node::site::{By, Put, record_kind};
use liandong_proto::city;
use liandong_proto::entry::Head;
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::pb::log::v1 as log;
use liandong_proto::share::LinkingKey;
use liandong_proto::sign::SigningKey;
use log::registry_change::Change;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Counts;
use super::disk::{Beside, Disk};
use super::hub::{self, Province};
use super::invariants::{Broken, Invariant};
use super::link::Link;
use super::node::{self, Secrets, one};
use super::planted::Planted;
use super::taking::Taking;
use super::truth::Sights;

/// When the world begins, in milliseconds since 1970.
const BEGINNING_MS: u64 = 1_790_000_000_000;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The next message of a connection reaches the hub.
    Up(u64),
    /// The next one reaches the node.
    Down(u64),
    /// The hub learns that a connection is cut.
    HubLearns(u64),
    /// The node learns it.
    NodeLearns(u64),
    /// A node's process starts.
    NodeStart(usize),
    /// A node tries to connect. Lives are numbered: what was due in an earlier one is void.
    NodeConnects(usize, u64),
    /// Time passes at a node.
    NodeTick(usize, u64),
    /// A node's own entries become durable.
    NodeSync(usize, u64),
    /// A delivery that was told of too early becomes durable.
    LateSync(usize, u64),
    /// The hub's process starts.
    HubStart,
    /// The judge takes what waits.
    HubJudge(u64),
    /// The writer appends a round.
    HubAppend(u64),
    /// The round becomes durable.
    HubSync(u64),
    /// Answers reach their sessions.
    HubAnswers(u64),
    /// A site's log is fetched from the hub.
    Take(usize),
    /// That takes too long.
    TakeLate(usize, u64),
    /// Somebody looks after what stands still.
    Operator,
    /// A disk has space again: a node's, or the hub's.
    Freed(Option<usize>),
    /// Somebody writes at a node.
    Clerk(usize),
    /// Somebody writes at the hub.
    Secretary,
    /// Something goes wrong.
    Fault,
}

/// A node with its disk.
pub struct Node {
    /// Which city.
    pub site: SiteCode,
    /// Its keys.
    pub secrets: Secrets,
    /// Its disk.
    pub disk: Disk,
    /// While its process runs.
    pub running: Option<node::Running>,
    /// How far its clock is off, in milliseconds.
    pub offset_ms: i64,
    /// Number of its process.
    pub life: u64,
    /// Which copy of its disk it is: see [`World::images`].
    pub image: usize,
    /// A backup of its disk, and which copy that is.
    pub backup: Option<(Disk, usize)>,
    /// While its log is made again from the hub.
    pub taking: Option<Taking>,
    /// The hub does not know its certificate.
    pub is_void: bool,
    /// Switched off for good.
    pub retired: bool,
    /// The newest own entry that its clerks were told is saved, as long as this disk stands.
    pub acked: Option<Head>,
    /// Until when no connection comes about.
    pub unreachable_until: u64,
}

impl Node {
    /// Another machine of the same site, with a copy of the disk.
    pub fn copy(&self, image: usize) -> Node {
        let (secrets, disk) = (self.secrets.clone(), self.disk.backup());
        Node {
            site: self.site,
            secrets,
            disk,
            running: None,
            offset_ms: 0,
            life: 0,
            image,
            backup: None,
            taking: None,
            is_void: false,
            retired: false,
            acked: None,
            unreachable_until: 0,
        }
    }
}

/// A copy of a node's disk.
pub struct Image {
    /// Which it was copied from, and when.
    from: Option<(usize, u64)>,
}

/// The hub with its disk.
pub struct Hub {
    /// Who the province is.
    pub province: Province,
    /// Its disk.
    pub disk: Disk,
    /// While its process runs.
    pub running: Option<hub::Running>,
    /// How far its clock is off, in milliseconds.
    pub offset_ms: i64,
    /// Number of its process.
    pub life: u64,
    /// A backup of its disk.
    pub backup: Option<Disk>,
    /// The newest receipt of each origin, as long as this disk stands.
    pub receipts: HashMap<Origin, Head>,
    /// It was put back, and nobody has said so to it yet.
    pub unsaid: bool,
}

/// All there is.
pub struct World {
    /// Draws everything.
    pub random: StdRng,
    /// True time since the beginning, in milliseconds.
    pub now_ms: u64,
    due: BinaryHeap<Reverse<(u64, u64, Event)>>,
    tie: u64,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The hub.
    pub hub: Hub,
    /// Connections by number.
    pub links: BTreeMap<u64, Link>,
    /// Number of the next one.
    pub next_link: u64,
    /// Name of the next place of the hub's order.
    pub next_place: u64,
    /// What writers saw.
    pub sights: Sights,
    /// Copies of disks of nodes, and which was made of which.
    pub images: Vec<Image>,
    /// Whose nonces are whose, and since when.
    pub nonces: HashMap<Bytes, (usize, u64)>,
    /// The nonce of each origin's newest session that the hub must remember.
    pub admitted: HashMap<Origin, Bytes>,
    /// Sites of which there is more than one disk, or of which the hub may have forgotten something.
    pub doubtful: BTreeSet<SiteCode>,
    /// Sites of whose machines somebody has chosen one, since all is calm.
    pub decided: BTreeSet<SiteCode>,
    /// What was simulated.
    pub counts: Counts,
    /// How the machines stood last, where somebody wants to know.
    pub trace: Option<String>,
    /// Things go wrong.
    pub storm: bool,
    /// The bug that is planted.
    pub planted: Option<Planted>,
}

/// A clock that is off.
pub fn clock(now_ms: u64, offset_ms: i64) -> u64 {
    (BEGINNING_MS + now_ms).saturating_add_signed(offset_ms)
}

impl World {
    /// A hub and cities that have joined, with nothing written yet.
    pub fn new(seed: u64, planted: Option<Planted>) -> Result<World, Broken> {
        let mut random = StdRng::seed_from_u64(seed);
        let cities = if seed % 50 == 49 { 21 } else { random.random_range(2..=4) };
        let linking = LinkingKey::new(&random.random());
        let epoch = Epoch(random.random());
        let province = Province { epoch, signer: SigningKey::new(&random.random()) };
        let nodes = city::cities().iter().take(cities).map(|city| {
            let mut disk = Disk::default();
            let opened = node::format(city.code, Epoch(random.random()), None);
            disk.append(&one(record_kind::OPENED, &opened.encode_to_vec()), Beside::Nothing).expect("space");
            disk.sync();
            let secrets = Secrets::draw(&mut random, &linking);
            Node {
                site: city.code,
                secrets,
                disk,
                running: None,
                offset_ms: 0,
                life: 0,
                image: 0,
                backup: None,
                taking: None,
                is_void: false,
                retired: false,
                acked: None,
                unreachable_until: 0,
            }
        });
        let mut nodes: Vec<Node> = nodes.collect();
        nodes.iter_mut().enumerate().for_each(|(n, node)| node.image = n);
        let images = nodes.iter().map(|_| Image { from: None }).collect();
        let hub = Hub {
            disk: hub::format(epoch),
            province,
            running: None,
            offset_ms: 0,
            life: 0,
            backup: None,
            receipts: HashMap::new(),
            unsaid: false,
        };
        let mut world = World {
            random,
            now_ms: 0,
            due: BinaryHeap::new(),
            tie: 0,
            nodes,
            hub,
            links: BTreeMap::new(),
            next_link: 0,
            next_place: 1,
            sights: Sights::default(),
            images,
            nonces: HashMap::new(),
            admitted: HashMap::new(),
            doubtful: BTreeSet::new(),
            decided: BTreeSet::new(),
            counts: Counts::default(),
            trace: None,
            storm: false,
            planted,
        };
        world.hub_start()?;
        for n in 0..cities {
            world.enrol(n);
            let site = world.nodes[n].site;
            world.secretary_writes(super::clerks::agreement(site));
            world.after(n as u64, Event::NodeStart(n));
        }
        world.after(1_000, Event::Operator);
        Ok(world)
    }

    /// Puts something on the list, so many milliseconds from now.
    pub fn after(&mut self, ms: u64, event: Event) {
        self.tie += 1;
        self.due.push(Reverse((self.now_ms + ms, self.tie, event)));
    }

    /// Lets the next thing happen; false when nothing is due before `until_ms`.
    pub fn step(&mut self, until_ms: u64) -> Result<bool, Broken> {
        let Some(Reverse((at, _, _))) = self.due.peek() else { return Ok(false) };
        if *at > until_ms {
            self.now_ms = until_ms;
            return Ok(false);
        }
        let Some(Reverse((at, _, event))) = self.due.pop() else { return Ok(false) };
        self.now_ms = self.now_ms.max(at);
        self.counts.steps += 1;
        match event {
            Event::Up(link) => self.up(link)?,
            Event::Down(link) => self.down(link)?,
            Event::HubLearns(link) => self.hub_learns(link),
            Event::NodeLearns(link) => self.node_learns(link),
            Event::NodeStart(n) => self.node_start(n)?,
            Event::NodeConnects(n, life) if self.nodes[n].life == life => self.node_connects(n)?,
            Event::NodeTick(n, life) if self.nodes[n].life == life => self.node_ticks(n)?,
            Event::NodeSync(n, life) if self.nodes[n].life == life => self.node_syncs(n)?,
            Event::LateSync(n, life) if self.nodes[n].life == life => self.node_syncs_late(n)?,
            Event::HubStart => self.hub_start()?,
            Event::HubJudge(life) if self.hub.life == life => self.hub_judges()?,
            Event::HubAppend(life) if self.hub.life == life => self.hub_appends()?,
            Event::HubSync(life) if self.hub.life == life => self.hub_syncs()?,
            Event::HubAnswers(life) if self.hub.life == life => self.hub_answers()?,
            Event::Take(n) => self.take_begins(n)?,
            Event::TakeLate(n, link) if self.takes_over(n, link) => self.take_ends(n),
            Event::Operator => self.operator(),
            Event::Freed(Some(n)) => self.nodes[n].disk.full = false,
            Event::Freed(None) => self.hub.disk.full = false,
            Event::Clerk(n) => self.clerk_writes(n)?,
            Event::Secretary => self.secretary(),
            Event::Fault => self.fault(),
            _ => {}
        }
        self.print_trace();
        self.check()?;
        Ok(true)
    }

    /// What must hold at any moment, whatever has just happened.
    fn check(&self) -> Result<(), Broken> {
        for link in self.links.values().filter(|link| !link.cut) {
            if link.up.len() > 16 {
                let what = format!("{} messages are on their way to the hub", link.up.len());
                return Err(Broken::new(Invariant::ReaderNeverWaits, what));
            }
        }
        Ok(())
    }

    /// Lets a city join, by invitation.
    pub fn enrol(&mut self, n: usize) {
        self.nodes[n].is_void = false;
        let (site, secrets) = (self.nodes[n].site, &self.nodes[n].secrets);
        let secret_hash = Bytes::copy_from_slice(&secrets.enrolment.to_be_bytes());
        let joined = log::Enrolment {
            number: secrets.enrolment,
            signing_key: Bytes::copy_from_slice(&secrets.signer.verifying().to_bytes()),
            until_ms: u64::MAX,
            secret_hash: secret_hash.clone(),
            linking_recipient: String::new(),
        };
        let invited = log::Invitation { secret_hash, until_ms: u64::MAX };
        for change in [Change::Invited(invited), Change::Joined(joined)] {
            self.register(site, change);
        }
    }

    /// The province says something about a city.
    pub fn register(&mut self, site: SiteCode, change: Change) {
        let at_ms = clock(self.now_ms, self.hub.offset_ms);
        let change = log::RegistryChange { at_ms, author: String::new(), site: site.0, change: Some(change) };
        if let Some(hub) = self.hub.running.as_mut() {
            // What waited is void with an older certificate.
            hub.waits.remove(&site);
            hub.queue.put(Job::Register(Register { change, answer: Box::new(|_| ()) }));
        }
        self.kick_judge();
    }

    /// The province writes a record.
    pub fn secretary_writes(&mut self, put: Put) {
        if let Some(hub) = &self.hub.running {
            let answer = Box::new(|_| ());
            hub.queue.put(Job::Own(OwnWrite { puts: vec![put], by: By::default(), dry_run: false, answer }));
        }
        self.kick_judge();
    }

    /// A copy of a disk is made, or a new one.
    pub fn new_image(&mut self, of: Option<usize>) -> usize {
        self.images.push(Image { from: of.map(|image| (image, self.tie)) });
        self.images.len() - 1
    }

    /// A node draws the nonce of a session.
    pub fn new_nonce(&mut self, n: usize) -> [u8; 16] {
        let nonce: [u8; 16] = self.random.random();
        self.tie += 1;
        self.nonces.insert(Bytes::copy_from_slice(&nonce), (self.nodes[n].image, self.tie));
        nonce
    }

    /// Whether a copy of a disk knows a nonce: it, or the one it was made of by then, has drawn it.
    pub fn image_knows(&self, mut image: usize, nonce: &Bytes) -> bool {
        let Some((drawn_by, at)) = self.nonces.get(nonce) else { return false };
        while image != *drawn_by {
            match self.images[image].from {
                Some((from, since)) if *at <= since || from != *drawn_by => image = from,
                _ => return false,
            }
        }
        true
    }

    /// Who a node's certificate says it is.
    pub fn identity(&self, n: usize) -> Identity {
        Identity { site: self.nodes[n].site, enrolment: self.nodes[n].secrets.enrolment }
    }

    /// Whether something happens that does so once in so many times, and only in a storm.
    pub fn chance(&mut self, once_in: u32) -> bool {
        self.storm && self.random.random_range(0..once_in) == 0
    }

    /// How long something takes.
    pub fn takes(&mut self, most_ms: u64) -> u64 {
        self.random.random_range(1..=most_ms)
    }
}
