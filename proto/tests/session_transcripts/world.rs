//! One node, the hub, and the wires between them, in memory: just enough of each for the two halves of a session to
//! work against.
//!
//! Models: logs, the committer's queue (which a cut does not empty), the feed, the fold at both ends, generations,
//! nonces, backups. Does not model: time on the wire, other cities, sealed parts, damage.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use liandong_proto::entry::{self, Entry, Head, Header, Op, Patch};
use liandong_proto::id::{Epoch, Hash, Origin, RecordId, SiteCode, sha256};
use liandong_proto::merge::Change;
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::position::{GenerationStart, Generations, Position};
use liandong_proto::session::hub::{self, Admission, CheckedEntry, HubSession};
use liandong_proto::session::node::{self, NodeSession, Standing};
use liandong_proto::session::{generations_from_pb, head_to_pb};
use liandong_proto::sign::SigningKey;
use liandong_proto::stamp::Stamp;

use super::disks::{BEGIN_MS, HUB, Hub, KIND, Node, change, entry_after, record};

pub const CITY: Origin = Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) };

/// Something one half has asked for and that is answered later.
pub enum Due {
    Node(node::Input),
    Hub(hub::Input),
}

pub struct World {
    pub node: Node,
    pub hub: Hub,
    pub node_backup: Option<Node>,
    pub hub_backup: Option<Hub>,
    pub node_session: Option<NodeSession>,
    pub hub_session: Option<HubSession>,
    /// The history that the node of this session knows.
    known: Generations,
    pub up: VecDeque<pb::Up>,
    pub down: VecDeque<pb::Down>,
    pub due: VecDeque<Due>,
    /// Pushed and not committed; survives a cut.
    pub queue: Vec<(Generations, CheckedEntry)>,
    pub now_ms: u64,
    pub limits: pb::Limits,
    /// Entries in a push, items in a delivery.
    pub batch: usize,
    sessions: u8,
    /// Starts of the hub after the first, in all its lives: generations are never given out twice.
    starts: u64,
    /// What the halves put out, for the reader.
    pub printed: Vec<String>,
    pub names: Names,
}

/// Readable names of hashes and records.
#[derive(Default)]
pub struct Names {
    pub hashes: HashMap<Hash, String>,
    pub records: BTreeMap<RecordId, String>,
}

pub fn city_key() -> SigningKey {
    SigningKey::new(&[4; 32])
}

pub fn hub_key() -> SigningKey {
    SigningKey::new(&[5; 32])
}

impl World {
    pub fn new() -> World {
        let generations = Generations::new(vec![GenerationStart { generation: 1, first_hub_seq: 1 }]);
        World {
            node: Node {
                origin: CITY,
                log: Vec::new(),
                received: Vec::new(),
                cursor: Position::default(),
                generations: Generations::default(),
                nonces: Vec::new(),
                confirmed: 0,
            },
            hub: Hub {
                generations,
                place: 0,
                logs: HashMap::new(),
                states: BTreeMap::new(),
                feed: BTreeMap::new(),
                nonce: HashMap::new(),
                own_seq: 0,
            },
            node_backup: None,
            hub_backup: None,
            node_session: None,
            hub_session: None,
            known: Generations::default(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            due: VecDeque::new(),
            queue: Vec::new(),
            now_ms: 0,
            limits: pb::Limits { batch_bytes: 1 << 20, push_window: 8, deliver_window: 4 },
            batch: 100,
            sessions: 0,
            starts: 0,
            printed: Vec::new(),
            names: Names::default(),
        }
    }

    // The node ------------------------------------------------------------------------------------------

    /// Writes an own entry, durable at once. `letter` names its line of the log.
    pub fn append(&mut self, letter: &str, name: &str, op: Op, patch: Patch) {
        let record = record(name);
        self.names.records.insert(record, name.to_owned());
        let base = self.node.delivered(record);
        let base = base.map_or_else(Position::default, |(item, generation)| Position {
            generation: *generation,
            hub_seq: item.hub_seq,
        });
        let (entry, header, head) =
            entry_after(self.node.origin, self.node.head(), self.now_ms, base, record, op, &patch);
        self.names.hashes.insert(head.hash, format!("{letter}{}", head.seq));
        self.node.log.push((entry, header, head.hash));
        self.node_input(node::Input::Appended(head));
    }

    // The hub -------------------------------------------------------------------------------------------

    /// Commits what has been pushed. What is here already is passed over.
    pub fn commit(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        let origins: Vec<Origin> = queue.iter().map(|(_, entry)| entry.header.origin).collect();
        for (known, entry) in queue {
            let head = self.hub.head(entry.header.origin);
            if entry.header.seq <= head.seq {
                continue;
            }
            assert_eq!(entry.header.follows(&head), Ok(()), "the session lets no gap through");
            self.hub.place += 1;
            let base = self.hub.generations.resolve(entry.header.base, &known);
            let patch = Patch::from_open(&entry.entry.open).expect("a patch");
            let stamp = entry.header.stamp.effective(BEGIN_MS + self.now_ms);
            let change = change(&entry.header, base, self.hub.place, stamp, &patch);
            self.hub.fold(&change);
            self.hub.logs.entry(entry.header.origin).or_default().push(entry);
        }
        let at = Position { generation: self.hub.generations.current(), hub_seq: self.hub.place };
        let session = self.hub_session.as_ref().and_then(HubSession::origin);
        if let Some(origin) = session.filter(|origin| origins.contains(origin)) {
            let up_to = self.hub.head(origin);
            self.hub_input(hub::Input::Committed {
                up_to,
                at,
                commit_hash: sha256(&at.hub_seq.to_be_bytes()),
            });
        }
        self.hub_input(hub::Input::FeedMoved);
    }

    /// The province edits a record itself.
    pub fn hub_edit(&mut self, name: &str, patch: &Patch) {
        let record = record(name);
        self.names.records.insert(record, name.to_owned());
        self.hub.place += 1;
        self.hub.own_seq += 1;
        let change = Change {
            origin: HUB,
            seq: self.hub.own_seq,
            stamp: Stamp::at_ms(BEGIN_MS + self.now_ms),
            base: self.hub.states.get(&record).map_or(0, |state| state.hub_seq),
            hub_seq: self.hub.place,
            kind: KIND,
            record,
            op: Op::Put,
            patch,
            seen: &[],
        };
        self.hub.fold(&change);
        self.hub_input(hub::Input::FeedMoved);
    }

    fn admit(&mut self, hello: &pb::Hello) -> Admission {
        self.known = generations_from_pb(&hello.generations);
        let epoch = Epoch::from_slice(&hello.epoch).unwrap_or_default();
        let origin = Origin { site: SiteCode(hello.site), epoch };
        let held = self.hub.head(origin);
        let parted = |cause: pb::diverged::Cause| {
            Admission::Diverged(pb::Diverged {
                cause: cause as i32,
                held: Some(head_to_pb(&held)),
                common: None,
            })
        };
        let living = self.hub.logs.keys().find(|known| known.site == origin.site && **known != origin);
        if living.is_some() && !self.hub.logs.contains_key(&origin) {
            return parted(pb::diverged::Cause::Epoch);
        }
        if self.hub.nonce.get(&origin).is_some_and(|nonce| !hello.nonces.contains(nonce)) {
            return parted(pb::diverged::Cause::Nonce);
        }
        self.hub.nonce.insert(origin, hello.nonces.last().cloned().unwrap_or_default());
        Admission::Welcome {
            held,
            signing_key: city_key().verifying(),
            generations: self.hub.generations.clone(),
            hub_time_ms: BEGIN_MS + self.now_ms,
            hub_keys: Box::new(hub::HubKeys { signer: hub_key(), rotations: Vec::new() }),
        }
    }

    /// A start of the hub: a new generation, and no session.
    pub fn hub_starts(&mut self) {
        self.cut();
        self.queue.clear();
        self.starts += 1;
        let generation = 1 + self.starts;
        self.hub.generations.begin(GenerationStart { generation, first_hub_seq: self.hub.place + 1 });
    }

    // Sessions ------------------------------------------------------------------------------------------

    pub fn connect(&mut self, restore: bool) {
        self.cut();
        self.sessions += 1;
        self.node.nonces.push(Bytes::copy_from_slice(&[self.sessions; 16]));
        let (session, outputs) = NodeSession::start(Standing {
            origin: self.node.origin,
            nonces: self.node.nonces.clone(),
            head: self.node.head(),
            cursor: self.node.cursor,
            generations: self.node.generations.clone(),
            restore,
            receipt: Default::default(),
            anchor: None,
            signer: city_key(),
            hub_key: hub_key().verifying(),
        });
        self.node_session = Some(session);
        self.hub_session = Some(HubSession::new(self.node.origin.site, self.limits));
        self.node_outputs(outputs);
    }

    pub fn cut(&mut self) {
        (self.node_session, self.hub_session) = (None, None);
        (self.up, self.down, self.due) = Default::default();
    }

    pub fn node_input(&mut self, input: node::Input) {
        let Some(session) = &mut self.node_session else { return };
        let outputs = session.on(input, self.now_ms);
        self.node_outputs(outputs);
    }

    pub fn hub_input(&mut self, input: hub::Input) {
        let Some(session) = &mut self.hub_session else { return };
        let outputs = session.on(input);
        self.hub_outputs(outputs);
    }

    fn node_outputs(&mut self, outputs: Vec<node::Output>) {
        for output in outputs {
            self.printed.push(format!("node: {}", self.names.node_output(&output)));
            let answer = match output {
                node::Output::Send(up) => {
                    self.up.push_back(up);
                    continue;
                }
                node::Output::Welcomed(generations) => {
                    self.node.generations = generations;
                    self.node.nonces = self.node.nonces.pop().into_iter().collect();
                    continue;
                }
                node::Output::Read { after, .. } => {
                    let behind = self.node.log.iter().filter(|(_, header, _)| header.seq > after.seq);
                    let read: Vec<&(Entry, Header, Hash)> = behind.take(self.batch).collect();
                    let last =
                        read.last().map_or(after, |(_, header, hash)| Head { seq: header.seq, hash: *hash });
                    node::Input::Read(read.into_iter().map(|(entry, ..)| entry.clone()).collect(), last)
                }
                node::Output::Heads(places) => {
                    let there = self.node.log.iter().filter(|(_, header, _)| places.contains(&header.seq));
                    node::Input::Heads(
                        there.map(|(_, header, hash)| Head { seq: header.seq, hash: *hash }).collect(),
                    )
                }
                node::Output::Persist(deliver) => {
                    let cursor = position(deliver.cursor);
                    self.node
                        .received
                        .extend(deliver.items.into_iter().map(|item| (item, cursor.generation)));
                    self.node.cursor = cursor;
                    node::Input::Persisted(cursor)
                }
                node::Output::Confirmed(receipt) => {
                    self.node.confirmed = receipt.up_to.map_or(0, |head| head.seq);
                    continue;
                }
                node::Output::Digest(ask) => node::Input::Digest(self.node.digests(&ask)),
                node::Output::PersistOwn { entries, .. } => {
                    for entry in entries {
                        let (header, hash) = entry::check(&entry).expect("the hub keeps original bytes");
                        self.node.log.push((entry, header, hash));
                    }
                    node::Input::Restored
                }
                node::Output::Compared(_) | node::Output::HubKeys(_) => continue,
                node::Output::Diverged(_) | node::Output::Refused(_) => {
                    self.node_session = None;
                    continue;
                }
            };
            self.due.push_back(Due::Node(answer));
        }
    }

    fn hub_outputs(&mut self, outputs: Vec<hub::Output>) {
        for output in outputs {
            self.printed.push(format!("hub: {}", self.names.hub_output(&output)));
            let origin = self.hub_session.as_ref().and_then(HubSession::origin);
            let answer = match (output, origin) {
                (hub::Output::Send(down), _) => {
                    self.down.push_back(down);
                    continue;
                }
                (hub::Output::Admit(hello), _) => hub::Input::Admitted(self.admit(&hello)),
                (hub::Output::Intake { entries, .. }, _) => {
                    self.queue.extend(entries.into_iter().map(|entry| (self.known.clone(), entry)));
                    continue;
                }
                (hub::Output::ReadFeed { after, .. }, Some(origin)) => {
                    hub::Input::Feed(self.hub.read_feed(origin, after, self.batch))
                }
                (hub::Output::Locate(heads), Some(origin)) => {
                    let log = self.hub.log(origin);
                    let here =
                        |head: &&Head| log.iter().any(|e| e.header.seq == head.seq && e.hash == head.hash);
                    hub::Input::Located(heads.iter().filter(here).max_by_key(|head| head.seq).copied())
                }
                (hub::Output::Compare(ask), Some(origin)) => {
                    hub::Input::Compared(self.hub.digests(origin, &ask))
                }
                (hub::Output::Restore { after_seq }, Some(origin)) => {
                    let behind = self.hub.log(origin).iter().filter(|entry| entry.header.seq > after_seq);
                    hub::Input::Restore(behind.map(|entry| entry.entry.clone()).collect(), true)
                }
                (hub::Output::Close, _) => {
                    self.hub_session = None;
                    continue;
                }
                _ => continue,
            };
            self.due.push_back(Due::Hub(answer));
        }
    }

    /// Gives the oldest answer that is due; false when there is none.
    pub fn answer(&mut self) -> bool {
        match self.due.pop_front() {
            Some(Due::Node(input)) => self.node_input(input),
            Some(Due::Hub(input)) => self.hub_input(input),
            None => return false,
        }
        true
    }

    /// Gives one half the oldest answer that is due to it, whatever the other waits for.
    pub fn answer_to(&mut self, node: bool) {
        let at = self.due.iter().position(|due| matches!(due, Due::Node(_)) == node);
        if let Some(due) = at.and_then(|at| self.due.remove(at)) {
            self.due.push_front(due);
            self.answer();
        }
    }

    /// One message up; false when there is none.
    pub fn carry_up(&mut self) -> bool {
        let Some(up) = self.up.pop_front() else { return false };
        self.hub_input(hub::Input::Received(up));
        true
    }

    /// One message down; false when there is none.
    pub fn carry_down(&mut self) -> bool {
        let Some(down) = self.down.pop_front() else { return false };
        self.node_input(node::Input::Received(down));
        true
    }

    /// Everything, until nothing moves.
    pub fn run(&mut self) {
        loop {
            while self.answer() {}
            if self.carry_up() || self.carry_down() {
                continue;
            }
            if self.queue.is_empty() {
                return;
            }
            self.commit();
        }
    }
}

fn position(position: Option<pb::Position>) -> Position {
    position.map_or_else(Position::default, |p| Position { generation: p.generation, hub_seq: p.hub_seq })
}
