//! A node as it is between two events: a disk, and a running site over it. It stands for `liandong_node::site::Site` and
//! its files, with the author, the folds of own entries and deliveries, and the replay that a real site has.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use liandong_node::index::{Index, Staged};
use liandong_node::log::{Batch, LogError, LogView as _, Pos};
use liandong_node::rows;
use liandong_node::site::{
    Author, By, Fold, Keys, Put, PutAnswer, Replay, SiteError, Verdict, clock_of, confirm, digests, fold_own,
    forget_lost, generations_of, head_of, learn, origin_of, record_kind, view,
};
use liandong_node::uplink::line::Stretch;
use liandong_proto::entry::{Anchor, Encoded, Entry, Head, Header};
use liandong_proto::id::{Epoch, Origin, SiteCode, sha256};
use liandong_proto::merge::Lineage;
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::node::{Ask, Digests, NodeSession, Standing};
use liandong_proto::session::{MOST_NONCES, generations_to_pb, position_from_pb};
use liandong_proto::share::{CityKey, CityRing, LinkingKey};
use liandong_proto::sign::{SigningKey, VerifyingKey};
use liandong_proto::state::RecordState;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::disk::{Beside, Disk, Full, Sight};
use super::invariants::Broken;
use super::planted::Planted;
use super::shadow::Shadow;
use super::truth::{Key, Sights};

/// What the writers of a delivery's records had seen of each.
pub type Seen = Arc<Vec<(Key, Sight)>>;

/// What a city keeps beside its log.
#[derive(Clone)]
pub struct Secrets {
    /// The city's key.
    pub city: CityRing,
    /// The province's linking key.
    pub linking: LinkingKey,
    /// Signs its log.
    pub signer: SigningKey,
    /// Number of its enrolment.
    pub enrolment: u32,
}

impl Secrets {
    /// A city that has just joined.
    pub fn draw(random: &mut StdRng, linking: &LinkingKey) -> Secrets {
        Secrets {
            city: CityRing::new(CityKey::new(&random.random()), Vec::new()),
            linking: linking.clone(),
            signer: SigningKey::new(&random.random()),
            enrolment: random.random(),
        }
    }
}

/// How its uplink is.
pub enum Uplink {
    /// It will try again.
    Offline,
    /// On a connection.
    Connected(u64, Box<NodeSession>),
    /// On one as an older epoch.
    HandingIn(u64, Box<NodeSession>, Stretch),
    /// Until somebody acts: refused, or parted from the hub.
    Stopped {
        /// Whether its log and the hub's have parted.
        parted: bool,
    },
}

/// A site that runs.
pub struct Running {
    /// Writes its entries.
    pub author: Author,
    /// Where it stands.
    pub row: log::SiteRow,
    lineage: Lineage,
    /// What it shows.
    pub index: Index,
    /// Newest durable own entry that the uplink knows of.
    pub durable: Head,
    /// Which places are part of what was delivered of each record.
    sights: HashMap<Key, Sight>,
    /// What it should show.
    pub shadow: Shadow,
    /// Its uplink.
    pub uplink: Uplink,
    /// Older epochs that the hub lacks, while they are handed in.
    pub hand: Option<Hand>,
    /// With a bug: what was confirmed too early.
    pub late: VecDeque<(sync::Deliver, Seen)>,
    /// Head and cursor that were found to be equal with the hub.
    pub compared: (u64, u64),
}

/// Older epochs on their way to a hub that lacks them.
#[derive(Default)]
pub struct Hand {
    /// Those that may be lacking, newest last to be looked at first.
    pub to_try: Vec<Stretch>,
    /// Those that are, oldest last.
    pub lacking: Vec<Stretch>,
}

/// A batch of puts.
pub struct Written {
    /// What became of each.
    pub answers: Vec<Result<PutAnswer, SiteError>>,
    /// Which records were written.
    pub keys: Vec<Key>,
}

/// What a full disk is to a site.
pub fn full<T>(_: Full) -> Result<T, SiteError> {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    Err(SiteError::Log(LogError::Full { path: "log".into(), needed: 1, source }))
}

/// The log of a site that has just been made.
pub fn format(site: SiteCode, epoch: Epoch, anchor: Option<Anchor>) -> log::EpochOpened {
    let anchor = anchor.as_ref().map(Anchor::to_pb);
    log::EpochOpened { site: site.0, epoch: Bytes::copy_from_slice(&epoch.0), anchor }
}

/// A batch of one record.
pub fn one(kind: u8, payload: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.push(kind, &[payload]);
    batch
}

impl Running {
    /// Opens a site: its index is made from the log alone.
    pub fn open(
        disk: &Disk,
        secrets: &Secrets,
        now_ms: u64,
        random: &mut StdRng,
    ) -> Result<Running, SiteError> {
        let index = Index::in_memory();
        let keys = Keys { city: secrets.city.clone(), linking: Some(secrets.linking.clone()) };
        let mut replay = Replay::new(log::SiteRow::default(), &keys.city);
        replay.run(disk, Pos::default(), &index, &mut |_| ())?;
        let Replay { row, lineage, .. } = replay;
        let mut author = Author::new(origin_of(&row)?, keys, StdRng::from_seed(random.random()));
        author.head = head_of(&row);
        author.clock = clock_of(&row, now_ms);
        author.generations = generations_of(&row);
        author.anchor = row.anchor.as_ref().and_then(Anchor::from_pb);
        let mut sights = HashMap::new();
        for (_, beside) in disk.beside(0) {
            if let Beside::Sights(seen) = beside {
                sights.extend(seen.iter().cloned());
            }
        }
        let durable = author.head;
        let shadow = Shadow::of(disk, &secrets.city, author.origin);
        sights.retain(|key, _| !shadow.is_own_alone(*key));
        Ok(Running {
            author,
            row,
            lineage,
            index,
            durable,
            sights,
            shadow,
            uplink: Uplink::Offline,
            hand: None,
            late: VecDeque::new(),
            compared: (u64::MAX, 0),
        })
    }

    /// Who it is.
    pub fn origin(&self) -> Origin {
        self.author.origin
    }

    fn cursor(&self) -> Position {
        Position { generation: self.row.generation, hub_seq: self.row.hub_seq }
    }

    fn state(&self, key: Key) -> Option<(RecordState, u64)> {
        let item = self.index.get(&rows::record(key.0, key.1)).expect("memory")?;
        Some((RecordState::decode(&item.value).expect("a state"), item.check))
    }

    /// What it shows of a record.
    pub fn shown(&self, key: Key) -> Option<RecordState> {
        self.state(key).map(|(state, _)| state)
    }

    fn stage(&mut self, mut staged: Vec<Staged>, end: Pos) {
        let old = self.index.get(rows::SITE).expect("memory").map(|item| item.check);
        let new = Some(Bytes::from(self.row.encode_to_vec()));
        staged.push(Staged { key: Bytes::from_static(rows::SITE), old, new });
        self.index.stage(&staged, end.to_bytes());
    }

    /// Appends puts, as `Site::append_puts` does; they are durable with the next sync.
    pub fn put(
        &mut self,
        disk: &mut Disk,
        puts: &[Put],
        now_ms: u64,
        planted: Option<Planted>,
        truth: &mut Sights,
    ) -> Written {
        let (mut answers, mut keys) = (Vec::new(), Vec::new());
        for put in puts {
            let before = self.author.head;
            let known = put.record.and_then(|record| self.state((put.kind, record)));
            let (state, check) = known.map_or((None, None), |(state, check)| (Some(state), Some(check)));
            let mut seen = state.clone();
            if let Some(seen) = seen.as_mut().filter(|_| planted == Some(Planted::FeedWideBase)) {
                seen.hub_seq = self.row.hub_seq;
            }
            let made = match self.author.write(put, seen.as_ref(), &By::default(), now_ms) {
                Ok(Verdict::Write(made, record)) => (made, record),
                Ok(Verdict::Answer(answer)) => {
                    answers.push(Ok(answer));
                    continue;
                }
                Err(error) => {
                    answers.push(Err(error));
                    continue;
                }
            };
            let (made, record) = made;
            let key = (put.kind, record);
            let mut batch = Batch::new();
            batch.push(record_kind::OWN, &Encoded::new(&made.entry).parts());
            let end = match disk.append(&batch, Beside::Nothing) {
                Ok(end) => end,
                Err(error) => {
                    self.author.rewind(before);
                    answers.push(full(error));
                    continue;
                }
            };
            keys.push(key);
            self.shadow.own(&made.header, made.open.clone());
            truth.note(&made.header, made.head.hash, self.sights.get(&key).cloned().unwrap_or_default());
            let state = fold_own(state, &made.header, &made.open, &made.sealed, &self.lineage);
            let version = view::version(&state, Some(self.author.origin));
            let new = Some(Bytes::from(state.encode()));
            (self.row.seq, self.row.stamp) = (made.head.seq, self.author.clock.last().0);
            self.row.hash = Bytes::copy_from_slice(&made.head.hash);
            self.stage(vec![Staged { key: rows::record(key.0, key.1), old: check, new }], end);
            answers.push(Ok(PutAnswer { record, version, ..PutAnswer::default() }));
        }
        Written { answers, keys }
    }

    fn note(&mut self, disk: &mut Disk, kind: u8, payload: &[u8]) -> Result<Pos, SiteError> {
        disk.append(&one(kind, payload), Beside::Nothing).or_else(full)
    }

    /// As `Site::greet`: with a nonce that is durable before it is used.
    pub fn greet(
        &mut self,
        disk: &mut Disk,
        secrets: &Secrets,
        nonce: [u8; 16],
        hub_key: VerifyingKey,
    ) -> Result<Standing, SiteError> {
        if self.row.nonces.len() < MOST_NONCES {
            let nonce = Bytes::copy_from_slice(&nonce);
            let tried = log::NonceTried { nonce: nonce.clone(), ..log::NonceTried::default() };
            let end = self.note(disk, record_kind::TRIED, &tried.encode_to_vec())?;
            self.row.nonces.push(nonce);
            self.stage(Vec::new(), end);
            disk.sync();
        }
        Ok(Standing {
            origin: self.author.origin,
            nonces: self.row.nonces.clone(),
            head: self.durable,
            cursor: self.cursor(),
            generations: self.author.generations.clone(),
            restore: false,
            anchor: self.row.anchor.as_ref().and_then(Anchor::from_pb),
            receipt: self.row.receipt.clone(),
            signer: secrets.signer.clone(),
            hub_key,
        })
    }

    /// As `Site::welcomed`.
    pub fn welcomed(
        &mut self,
        disk: &mut Disk,
        generations: &Generations,
        planted: Option<Planted>,
    ) -> Result<(), SiteError> {
        let start = |start: sync::GenerationStart| log::HistoryStart {
            generation: start.generation,
            first_hub_seq: start.first_hub_seq,
        };
        let starts = generations_to_pb(generations).into_iter().map(start).collect();
        let nonce = self.row.nonces.last().cloned().unwrap_or_default();
        let learned = log::Welcomed { generations: starts, nonce };
        let (cursor, until) = (self.cursor(), disk.end());
        let key = self.author.keys().city.clone();
        let mut staged = forget_lost(generations, cursor, disk, until, &self.index, (&key, &self.lineage))?;
        if planted == Some(Planted::LostKept) {
            staged.clear();
        }
        let end = self.note(disk, record_kind::WELCOMED, &learned.encode_to_vec())?;
        learn(&mut self.row, learned);
        self.author.generations = generations.clone();
        self.shadow.learned(generations, cursor);
        self.sights.retain(|key, _| !self.shadow.is_own_alone(*key));
        self.stage(staged, end);
        disk.sync();
        Ok(())
    }

    /// As `Site::confirmed`.
    pub fn confirmed(&mut self, disk: &mut Disk, receipt: &sync::Receipt) -> Result<(), SiteError> {
        let end = self.note(disk, record_kind::CONFIRMED, &receipt.encode_to_vec())?;
        confirm(&mut self.row, receipt);
        self.stage(Vec::new(), end);
        Ok(())
    }

    /// As `Site::receive`, up to the sync: appends a delivery and shows it; which records it concerns. `bent` is what is made of
    /// it, with a bug.
    pub fn receive(
        &mut self,
        disk: &mut Disk,
        deliver: &sync::Deliver,
        bent: &sync::Deliver,
        seen: Arc<Vec<(Key, Sight)>>,
        now_ms: u64,
    ) -> Result<(Position, Vec<Key>), SiteError> {
        let cursor = position_from_pb(deliver.cursor.as_ref());
        let key = self.author.keys().city.clone();
        let mut fold = Fold::new(self.author.origin, &key, &self.lineage, self.row.mark_base);
        let staged = fold.deliver(bent, disk, disk.end(), &self.index)?;
        let newest = fold.newest;
        let batch = one(record_kind::RECEIVED, &deliver.encode_to_vec());
        let end = disk.append(&batch, Beside::Sights(Arc::clone(&seen))).or_else(full)?;
        self.author.clock.saw(newest, now_ms);
        self.row.seen_stamp = self.row.seen_stamp.max(newest.0);
        (self.row.generation, self.row.hub_seq) = (cursor.generation, cursor.hub_seq);
        self.sights.extend(seen.iter().cloned());
        self.stage(staged, end);
        Ok((cursor, self.shadow.delivered(deliver, self.author.origin)))
    }

    /// As `Site::heads_of`.
    pub fn heads(disk: &Disk, epoch: Epoch, places: &[u64]) -> Result<Vec<Head>, SiteError> {
        let own = own(disk, epoch).map(|own| own.map(|(_, head)| head));
        own.filter(|head| head.as_ref().map_or(true, |head| places.contains(&head.seq))).collect()
    }

    /// As `PushReader::read`: entries of an epoch behind one, up to another.
    pub fn read(
        disk: &Disk,
        epoch: Epoch,
        after: Head,
        end: Head,
        max_bytes: usize,
    ) -> Result<(Vec<Entry>, Head), SiteError> {
        let (mut entries, mut head, mut bytes) = (Vec::new(), after, 0);
        for own in own(disk, epoch) {
            let (entry, at) = own?;
            if at.seq <= after.seq {
                continue;
            }
            if at.seq > end.seq || bytes >= max_bytes {
                break;
            }
            bytes += entry.header.len() + entry.open.len() + entry.sealed.len();
            head = at;
            entries.push(entry);
        }
        Ok((entries, head))
    }

    /// What the site shows, as digests.
    pub fn digests(&self, ask: &Ask) -> Digests {
        let all = |_, state: &RecordState| Some(Cow::Owned(state.fields.clone()));
        digests(&self.index, ask, |kind, state| all(kind, state)).expect("memory")
    }

    /// Holds records against what it should show.
    pub fn check(&self, keys: impl IntoIterator<Item = Key>) -> Result<(), Broken> {
        keys.into_iter().try_for_each(|key| self.shadow.check(key, self.shown(key).as_ref()))
    }

    /// The records that it has, by kind and id.
    pub fn records(&self, kind: u32) -> Vec<Key> {
        let prefix = rows::records_of(kind);
        let rows = self.index.scan(&prefix, Some(&rows::after_prefix(&prefix)));
        rows.filter_map(|row| rows::parse_record(&row.expect("memory").0)).collect()
    }
}

/// Own entries of an epoch, with the heads they lead to.
fn own(disk: &Disk, epoch: Epoch) -> impl Iterator<Item = Result<(Entry, Head), SiteError>> {
    disk.read(Pos::default()).filter_map(move |raw| {
        let raw = match raw {
            Ok(raw) => raw,
            Err(error) => return Some(Err(error.into())),
        };
        if raw.kind != record_kind::OWN {
            return None;
        }
        let entry = Entry::decode(raw.payload).expect("an entry");
        let header = Header::decode(&entry.header).expect("a header");
        let head = Head { seq: header.seq, hash: sha256(&entry.header) };
        (header.origin.epoch == epoch).then_some(Ok((entry, head)))
    })
}
