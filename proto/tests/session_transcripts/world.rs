//! One node, the hub, and the wires between them, in memory: just enough of each for the two halves of a session to
//! work against.
//!
//! Models: logs, the committer's queue (which a cut does not empty), the feed, the fold at both ends, generations,
//! nonces, backups. Does not model: time on the wire, other cities, sealed parts, damage.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use liandong_proto::digest::{self, SetDigest};
use liandong_proto::entry::{self, Anchor, Entry, Head, Header, Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::{Epoch, Hash, Origin, RecordId, SiteCode, sha256};
use liandong_proto::merge::{self, Change, Lineage};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::position::{GenerationStart, Generations, Position};
use liandong_proto::session::hub::{self, Admission, CheckedEntry, Compared, FeedBatch, HubSession};
use liandong_proto::session::node::{self, Digests, NodeSession, Standing, differing};
use liandong_proto::session::{generations_from_pb, head_to_pb};
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{RecordState, Setter, held_from_wire, held_to_pb};
use liandong_proto::validate::{self, View};

pub const CITY: Origin = Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) };
pub const HUB: Origin = Origin { site: SiteCode::PROVINCE, epoch: Epoch([9; 16]) };
/// The kind of all records here: members.
pub const KIND: u32 = 1;
const BEGIN_MS: u64 = 1_767_225_600_000;

pub fn record(name: &str) -> RecordId {
    RecordId::derived(&[name.as_bytes()])
}

/// What the node keeps on its disk.
#[derive(Clone)]
pub struct Node {
    pub origin: Origin,
    pub log: Vec<(Entry, Header, Hash)>,
    pub delivered: BTreeMap<RecordId, (pb::Item, u64)>,
    pub cursor: Position,
    pub generations: Generations,
    pub nonces: Vec<Bytes>,
    pub confirmed: u64,
}

/// What the hub keeps on its disk.
#[derive(Clone)]
pub struct Hub {
    pub generations: Generations,
    pub place: u64,
    pub logs: HashMap<Origin, Vec<CheckedEntry>>,
    pub states: BTreeMap<RecordId, RecordState>,
    pub feed: BTreeMap<u64, RecordId>,
    pub nonce: HashMap<Origin, Bytes>,
    pub own_seq: u64,
}

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

impl World {
    pub fn new() -> World {
        let generations = Generations::new(vec![GenerationStart { generation: 1, first_hub_seq: 1 }]);
        World {
            node: Node {
                origin: CITY,
                log: Vec::new(),
                delivered: BTreeMap::new(),
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
            printed: Vec::new(),
            names: Names::default(),
        }
    }

    // The node ------------------------------------------------------------------------------------------

    pub fn node_head(&self) -> Head {
        self.node.log.last().map_or_else(Head::default, |(_, header, hash)| Head { seq: header.seq, hash: *hash })
    }

    /// Writes an own entry, durable at once. `letter` names its line of the log.
    pub fn append(&mut self, letter: &str, name: &str, op: Op, patch: Patch) {
        let record = record(name);
        self.names.records.insert(record, name.to_owned());
        let base = self.node.delivered.get(&record);
        let base = base.map_or_else(Position::default, |(item, generation)| Position {
            generation: *generation,
            hub_seq: item.hub_seq,
        });
        let (entry, header, head) = entry_after(self.node.origin, self.node_head(), self.now_ms, base, record, op, &patch);
        self.names.hashes.insert(head.hash, format!("{letter}{}", head.seq));
        self.node.log.push((entry, header, head.hash));
        self.node_input(node::Input::Appended(head));
    }

    /// What the node shows of a record: what was delivered, and own entries behind it.
    pub fn node_view(&self, record: RecordId) -> Option<RecordState> {
        let item = self.node.delivered.get(&record).map(|(item, _)| item);
        let merged = item.map_or(0, |item| item.own_seq_inclusive);
        let mut state = item.and_then(|item| state_of(item, self.node.origin));
        for (entry, header, _) in &self.node.log {
            if header.record == record && (header.seq > merged || header.origin != self.node.origin) {
                let patch = Patch::from_open(&entry.open).expect("a patch");
                let change = change(header, u64::MAX, 0, header.stamp, &patch);
                state = Some(merge::apply(state, &change, &Vec::new(), &Lineage::default()));
            }
        }
        state
    }

    fn node_records(&self) -> Vec<RecordId> {
        let own = self.node.log.iter().map(|(_, header, _)| header.record);
        let mut all: Vec<RecordId> = own.chain(self.node.delivered.keys().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    // The hub -------------------------------------------------------------------------------------------

    pub fn hub_log(&self, origin: Origin) -> &[CheckedEntry] {
        self.hub.logs.get(&origin).map_or(&[], Vec::as_slice)
    }

    pub fn hub_head(&self, origin: Origin) -> Head {
        let last = self.hub_log(origin).last();
        last.map_or_else(Head::default, |last| Head { seq: last.header.seq, hash: last.hash })
    }

    /// Commits what has been pushed. What is here already is passed over.
    pub fn commit(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        let origins: Vec<Origin> = queue.iter().map(|(_, entry)| entry.header.origin).collect();
        for (known, entry) in queue {
            let head = self.hub_head(entry.header.origin);
            if entry.header.seq <= head.seq {
                continue;
            }
            assert_eq!(entry.header.follows(&head), Ok(()), "the session lets no gap through");
            self.hub.place += 1;
            let base = self.hub.generations.resolve(entry.header.base, &known);
            let patch = Patch::from_open(&entry.entry.open).expect("a patch");
            let stamp = entry.header.stamp.effective(BEGIN_MS + self.now_ms);
            let change = change(&entry.header, base, self.hub.place, stamp, &patch);
            self.fold(&change);
            self.hub.logs.entry(entry.header.origin).or_default().push(entry);
        }
        let at = Position { generation: self.hub.generations.current(), hub_seq: self.hub.place };
        let session = self.hub_session.as_ref().and_then(HubSession::origin);
        if let Some(origin) = session.filter(|origin| origins.contains(origin)) {
            let up_to = self.hub_head(origin);
            self.hub_input(hub::Input::Committed { up_to, at, commit_hash: sha256(&at.hub_seq.to_be_bytes()) });
        }
        self.hub_input(hub::Input::FeedMoved);
    }

    fn fold(&mut self, change: &Change<'_>) {
        let old = self.hub.states.remove(&change.record);
        let today = validate::today(BEGIN_MS);
        let verdicts = merge::judge(old.as_ref(), change, &Lineage::default(), today, View::Shared);
        let quiet = verdicts.is_empty() && old.as_ref().is_none_or(|old| old.held.is_empty());
        let state = merge::apply(old, change, &verdicts, &Lineage::default());
        if !quiet || !state.held.is_empty() || change.origin == HUB {
            self.hub.feed.retain(|_, record| *record != change.record);
            self.hub.feed.insert(change.hub_seq, change.record);
        }
        self.hub.states.insert(change.record, state);
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
        };
        self.fold(&change);
        self.hub_input(hub::Input::FeedMoved);
    }

    fn read_feed(&self, origin: Origin, after: u64) -> FeedBatch {
        let mut batch = FeedBatch {
            items: Vec::new(),
            own_seq_inclusive: self.hub_head(origin).seq,
            up_to: self.hub.place,
        };
        for (place, record) in self.hub.feed.range(after + 1..) {
            if batch.items.len() == self.batch {
                break;
            }
            batch.items.push(item(origin, *record, &self.hub.states[record]));
            batch.up_to = *place;
        }
        if batch.items.len() < self.batch {
            batch.up_to = self.hub.place;
        }
        batch
    }

    fn admit(&mut self, hello: &pb::Hello) -> Admission {
        self.known = generations_from_pb(&hello.generations);
        let epoch = Epoch::from_slice(&hello.epoch).unwrap_or_default();
        let origin = Origin { site: SiteCode(hello.site), epoch };
        let held = self.hub_head(origin);
        let parted = |cause: pb::diverged::Cause| {
            Admission::Diverged(pb::Diverged { cause: cause as i32, held: Some(head_to_pb(&held)), common: None })
        };
        let living = self.hub.logs.keys().find(|known| known.site == origin.site && **known != origin);
        if living.is_some() && !self.hub.logs.contains_key(&origin) {
            return parted(pb::diverged::Cause::Epoch);
        }
        if self.hub.nonce.get(&origin).is_some_and(|nonce| !hello.nonces.contains(nonce)) {
            return parted(pb::diverged::Cause::Nonce);
        }
        self.hub.nonce.insert(origin, hello.nonces.last().cloned().unwrap_or_default());
        Admission::Welcome { held, generations: self.hub.generations.clone(), hub_time_ms: BEGIN_MS + self.now_ms }
    }

    /// A start of the hub: a new generation, and no session.
    pub fn hub_starts(&mut self) {
        self.cut();
        self.queue.clear();
        let generation = self.hub.generations.current().max(self.sessions.into()) + 10;
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
            head: self.node_head(),
            cursor: self.node.cursor,
            generations: self.node.generations.clone(),
            restore,
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
                    let last = read.last().map_or(after, |(_, header, hash)| Head { seq: header.seq, hash: *hash });
                    node::Input::Read(read.into_iter().map(|(entry, ..)| entry.clone()).collect(), last)
                }
                node::Output::Heads(places) => {
                    let there = self.node.log.iter().filter(|(_, header, _)| places.contains(&header.seq));
                    node::Input::Heads(there.map(|(_, header, hash)| Head { seq: header.seq, hash: *hash }).collect())
                }
                node::Output::Persist(deliver) => {
                    let cursor = position(deliver.cursor);
                    for item in deliver.items {
                        let record = RecordId::from_slice(&item.record).expect("an id");
                        self.node.delivered.insert(record, (item, cursor.generation));
                    }
                    self.node.cursor = cursor;
                    node::Input::Persisted(cursor)
                }
                node::Output::Confirmed(receipt) => {
                    self.node.confirmed = receipt.up_to.map_or(0, |head| head.seq);
                    continue;
                }
                node::Output::Digest(ask) => node::Input::Digest(self.node_digests(&ask)),
                node::Output::PersistOwn { entries, .. } => {
                    for entry in entries {
                        let (header, hash) = entry::check(&entry).expect("the hub keeps original bytes");
                        self.node.log.push((entry, header, hash));
                    }
                    node::Input::Restored
                }
                node::Output::Compared(_) => continue,
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
                (hub::Output::Intake(entries), _) => {
                    self.queue.extend(entries.into_iter().map(|entry| (self.known.clone(), entry)));
                    continue;
                }
                (hub::Output::ReadFeed { after, .. }, Some(origin)) => {
                    hub::Input::Feed(self.read_feed(origin, after))
                }
                (hub::Output::Locate(heads), Some(origin)) => {
                    let log = self.hub_log(origin);
                    let here = |head: &&Head| log.iter().any(|e| e.header.seq == head.seq && e.hash == head.hash);
                    hub::Input::Located(heads.iter().filter(here).max_by_key(|head| head.seq).copied())
                }
                (hub::Output::Compare(ask), Some(origin)) => hub::Input::Compared(self.hub_digests(origin, &ask)),
                (hub::Output::Restore { after_seq }, Some(origin)) => {
                    let behind = self.hub_log(origin).iter().filter(|entry| entry.header.seq > after_seq);
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

    // Digests -------------------------------------------------------------------------------------------

    fn node_digests(&self, ask: &node::Ask) -> Digests {
        let items = self.node_records().into_iter().filter_map(|record| {
            let state = self.node_view(record)?;
            Some((record, digest::item(KIND, record, state.deleted(), &state.fields)))
        });
        let items: Vec<(RecordId, Hash)> = items.collect();
        match ask {
            node::Ask::Kinds => Digests::Kinds(kind_digests(&items)),
            node::Ask::Buckets(_) => Digests::Buckets(bucket_digests(&items)),
            node::Ask::Records(wanted) => Digests::Records(record_digests(&items, wanted)),
        }
    }

    fn hub_digests(&self, origin: Origin, ask: &hub::Ask) -> Option<Compared> {
        if self.hub_head(origin) != ask.own_head || !self.read_feed(origin, ask.feed_head).items.is_empty() {
            return None;
        }
        let states = self.hub.states.iter();
        let items = states.map(|(record, state)| (*record, digest::item(KIND, *record, state.deleted(), &state.fields)));
        let items: Vec<(RecordId, Hash)> = items.collect();
        let buckets = bucket_digests(&items);
        let mut compared = Compared { kinds: kind_digests(&items), ..Compared::default() };
        if !ask.buckets_of.is_empty() {
            compared.buckets = buckets.clone();
        }
        if !ask.against.is_empty() {
            let mut wanted = differing(&buckets, &ask.against);
            wanted.extend(differing(&ask.against, &buckets));
            compared.records = record_digests(&items, &wanted);
        }
        Some(compared)
    }
}

fn position(position: Option<pb::Position>) -> Position {
    position.map_or_else(Position::default, |p| Position { generation: p.generation, hub_seq: p.hub_seq })
}

/// An entry that follows a head.
pub fn entry_after(
    origin: Origin,
    head: Head,
    ms: u64,
    base: Position,
    record: RecordId,
    op: Op,
    patch: &Patch,
) -> (Entry, Header, Head) {
    let header = Header {
        origin,
        seq: head.seq + 1,
        stamp: Stamp::at_ms(BEGIN_MS + ms),
        base,
        kind: KIND,
        record,
        op,
        author: "clerk-1".into(),
        import_id: Bytes::new(),
        prev: (head.seq > 0).then_some(head.hash),
        open_hash: None,
        sealed_hash: None,
        anchor: None::<Anchor>,
    };
    let (entry, head) = entry::make(header.clone(), patch.to_open([0; 16]), Bytes::new());
    (entry, header, head)
}

fn change<'a>(header: &Header, base: u64, hub_seq: u64, stamp: Stamp, patch: &'a Patch) -> Change<'a> {
    let Header { origin, seq, kind, record, op, .. } = *header;
    Change { origin, seq, stamp, base, hub_seq, kind, record, op, patch }
}

fn item(origin: Origin, record: RecordId, state: &RecordState) -> pb::Item {
    let held = state.held.iter().map(held_to_pb).collect();
    let (stamp, site) = (state.stamp().0, state.last_site().0);
    let what = if state.deleted() {
        pb::item::What::Tombstone(pb::Tombstone { stamp, site, held })
    } else {
        pb::item::What::State(pb::State { fields: state.fields.bytes().clone(), held, stamp, site })
    };
    pb::Item {
        kind: KIND,
        record: Bytes::copy_from_slice(&record.0),
        hub_seq: state.hub_seq,
        home: state.home.0,
        own_seq_inclusive: state.own_seq(origin),
        what: Some(what),
    }
}

/// A delivered item as a state: the hub's order stands for all of its fields.
fn state_of(item: &pb::Item, _origin: Origin) -> Option<RecordState> {
    let mut state = RecordState::new(SiteCode(item.home));
    state.hub_seq = item.hub_seq;
    let (fields, held, stamp, site) = match item.what.as_ref()? {
        pb::item::What::State(shown) => (shown.fields.clone(), &shown.held, shown.stamp, shown.site),
        pb::item::What::Tombstone(gone) => (Bytes::new(), &gone.held, gone.stamp, gone.site),
        pb::item::What::Withdrawn(_) => return None,
    };
    state.fields = Fields::split(fields).expect("a message");
    state.deleted_by = matches!(item.what, Some(pb::item::What::Tombstone(_))).then_some(0);
    let origin = Origin { site: SiteCode(site), epoch: Epoch::default() };
    state.setters.push(Setter { origin, seq: 0, hub_seq: item.hub_seq, stamp: Stamp(stamp) });
    state.held = held.iter().map(|held| held_from_wire(held.clone()).expect("a held value")).collect();
    Some(state)
}

fn kind_digests(items: &[(RecordId, Hash)]) -> Vec<pb::KindDigest> {
    let mut set = SetDigest::default();
    items.iter().for_each(|(_, item)| set.add(item));
    let digest = Bytes::copy_from_slice(&set.bytes());
    if items.is_empty() { Vec::new() } else { vec![pb::KindDigest { kind: KIND, count: set.count, digest }] }
}

fn bucket_digests(items: &[(RecordId, Hash)]) -> Vec<pb::BucketDigests> {
    let mut sums = vec![SetDigest::default(); digest::BUCKETS];
    items.iter().for_each(|(record, item)| sums[digest::bucket(*record)].add(item));
    let sums: Vec<u8> = sums.iter().flat_map(|set| set.bytes()[..16].to_vec()).collect();
    vec![pb::BucketDigests { kind: KIND, sums: sums.into() }]
}

fn record_digests(items: &[(RecordId, Hash)], wanted: &[(u32, u16)]) -> Vec<pb::RecordDigest> {
    let asked = items.iter().filter(|(record, _)| wanted.contains(&(KIND, digest::bucket(*record) as u16)));
    let row = |(record, item): &(RecordId, Hash)| pb::RecordDigest {
        kind: KIND,
        record: Bytes::copy_from_slice(&record.0),
        digest: Bytes::copy_from_slice(&item[..8]),
    };
    asked.map(row).collect()
}
