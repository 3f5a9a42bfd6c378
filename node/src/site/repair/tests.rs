//! Logs with holes, beside indexes that know more or less of them, and a hub that has all or some of their entries.

mod crash;
mod end;
mod epochs;
mod erased;

use std::path::PathBuf;

use liandong_proto::entry::{self, Header, Op, Patch};
use liandong_proto::fields::FieldsBuilder;
use liandong_proto::id::RecordId;
use liandong_proto::position::Position;
use liandong_proto::share::CityKey;
use liandong_proto::stamp::Stamp;

use super::*;
use crate::index::IndexError;
use crate::log::{self, Batch, Log, segment_path};
use crate::site::{Class, Record, Site, read_key};

const SITE: SiteCode = SiteCode(440_100);
const SEGMENT: u64 = 64 << 10;

fn options(dir: &Path) -> SiteOptions {
    SiteOptions { segment_bytes: SEGMENT, ..SiteOptions::new(dir) }
}

fn epoch(number: u8) -> Epoch {
    Epoch([number; 16])
}

/// A site with a log that was written by hand, and all that a hub may hold of it.
struct Made {
    dir: tempfile::TempDir,
    key: CityKey,
    entries: Vec<Entry>,
    newest: Epoch,
    anchor: Option<Anchor>,
    head: Head,
}

impl Made {
    /// Epochs by their numbers, each with so many entries.
    fn new(epochs: &[(u8, u64)]) -> Made {
        let dir = tempfile::tempdir().expect("a directory");
        Site::init(dir.path(), SITE).expect("a site is made");
        let paths = Paths::new(dir.path());
        remove(&paths.log()).expect("removed");
        let key = CityKey::new(&read_key(&paths.city_key()).expect("a key"));
        let (entries, newest) = (Vec::new(), epoch(0));
        let mut made = Made { dir, key, entries, newest, anchor: None, head: Head::default() };
        for (at, (number, entries)) in epochs.iter().enumerate() {
            let Head { seq, hash } = made.head;
            made.anchor = (at > 0).then_some(Anchor { epoch: made.newest, seq, hash });
            (made.newest, made.head) = (epoch(*number), Head::default());
            let opened = pb::EpochOpened {
                site: SITE.0,
                epoch: Bytes::copy_from_slice(&made.newest.0),
                anchor: made.anchor.as_ref().map(Anchor::to_pb),
            };
            made.append(record_kind::OPENED, &[&opened.encode_to_vec()]);
            made.write(*entries);
        }
        made
    }

    fn paths(&self) -> Paths {
        Paths::new(self.dir.path())
    }

    /// Each record is a batch of its own, and synced.
    fn append(&self, kind: u8, parts: &[&[u8]]) {
        let options = log::Options { segment_bytes: SEGMENT, ..log::Options::default() };
        let (log, _) = Log::open(&self.paths().log(), options).expect("it opens");
        let mut batch = Batch::new();
        batch.push(kind, parts);
        let end = log.append(&batch, self.entries.len() as u64 + 1).expect("appended").end;
        log.sync_to(end).expect("synced");
    }

    /// Writes entries behind the newest.
    fn write(&mut self, count: u64) {
        for _ in 0..count {
            let entry = self.entry(self.head, 1);
            self.head = head_of(&entry);
            self.append(record_kind::OWN, &Encoded::new(&entry).parts());
            self.entries.push(entry);
        }
    }

    /// An entry of the newest epoch that follows a head.
    fn entry(&self, head: Head, stamp: u64) -> Entry {
        let (origin, seq) = (Origin { site: SITE, epoch: self.newest }, head.seq + 1);
        let header = Header {
            origin,
            seq,
            stamp: Stamp::at_ms(stamp),
            base: Position::default(),
            kind: 1,
            record: RecordId([self.newest.0[0], seq as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            op: Op::Put,
            author: String::new(),
            import_id: Bytes::new(),
            prev: (head.seq > 0).then_some(head.hash),
            open_hash: None,
            sealed_hash: None,
            anchor: self.anchor.filter(|_| seq == 1),
            seen: Vec::new(),
        };
        let patch = Patch { set: FieldsBuilder::new().str(9, "x").take(), cleared: Vec::new() };
        entry::make(header, Bytes::new(), self.key.seal(&patch, origin, seq, [3; 12])).0
    }

    fn tried(&self, nonce: u8) {
        let tried = pb::NonceTried { nonce: vec![nonce; 16].into(), ..pb::NonceTried::default() };
        self.append(record_kind::TRIED, &[&tried.encode_to_vec()]);
    }

    fn welcomed(&self, nonce: u8) {
        let welcomed = pb::Welcomed { nonce: vec![nonce; 16].into(), ..pb::Welcomed::default() };
        self.append(record_kind::WELCOMED, &[&welcomed.encode_to_vec()]);
    }

    /// The index follows the log to its end.
    fn indexed(&self) {
        let site = self.open().expect("it opens");
        site.close().expect("closed");
    }

    fn without_index(&self) {
        remove(&self.paths().index()).expect("removed");
    }

    fn open(&self) -> Result<std::sync::Arc<Site>, SiteError> {
        Site::open(&options(self.dir.path()), &mut |_| {})
    }

    fn records(&self) -> Vec<log::Record> {
        let (log, _) = Log::open(&self.paths().log(), log::Options::default()).expect("sound");
        log.read(Pos::START).collect::<Result<_, _>>().expect("readable")
    }

    /// The own line as it stands in the log: `e.0` where the epoch e begins, `e.n` for its entry n.
    fn line(&self) -> Vec<String> {
        let mut line = Vec::new();
        for raw in self.records() {
            match Record::read(&raw).expect("a record") {
                Record::Opened(opened) => line.push(format!("{}.0", opened.epoch[0])),
                Record::Own(entry) => {
                    let (header, _) = entry::check(&entry).expect("sound");
                    line.push(format!("{}.{}", header.origin.epoch.0[0], header.seq));
                }
                _ => {}
            }
        }
        line
    }

    fn segment(&self) -> PathBuf {
        segment_path(&self.paths().log(), 1)
    }

    fn edit(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.segment()).expect("readable");
        change(&mut bytes);
        std::fs::write(self.segment(), bytes).expect("written");
    }

    /// Flips a bit in each of the records of the own line that are named.
    fn flip(&self, named: &[&str]) {
        let line = self.line();
        let own = self.records();
        let own = own.iter().filter(|raw| matches!(raw.kind, record_kind::OPENED | record_kind::OWN));
        let places: Vec<u64> = own
            .zip(&line)
            .filter(|(_, name)| named.contains(&name.as_str()))
            .map(|(raw, _)| (raw.pos.offset + raw.next.offset) / 2)
            .collect();
        assert_eq!(places.len(), named.len());
        self.edit(|bytes| places.iter().for_each(|at| bytes[*at as usize] ^= 0x10));
    }

    /// What the hub holds, up to an entry of an epoch, and where it goes on from.
    fn hub(&self) -> Hub {
        Hub { held: self.newest, anchor: self.anchor, entries: self.entries.clone() }
    }

    fn repair(&self, hub: &Hub, accepted: bool) -> Result<Repaired, SiteError> {
        self.asked(hub)?.finish("", accepted)
    }

    /// What is known once the hub has been asked.
    fn asked(&self, hub: &Hub) -> Result<Repair, SiteError> {
        let mut repair = Repair::look(&options(self.dir.path()), &mut |_| {})?;
        if repair.asks()? {
            let (origin, _) = repair.ask(hub.held, hub.anchor)?;
            assert_eq!(origin.site, SITE);
            repair.take(&hub.entries)?;
        }
        Ok(repair)
    }
}

struct Hub {
    held: Epoch,
    anchor: Option<Anchor>,
    entries: Vec<Entry>,
}

impl Hub {
    /// It has not been sent the newest entries.
    fn lacks(mut self, newest: usize) -> Hub {
        self.entries.truncate(self.entries.len() - newest);
        self
    }
}

fn head_of(entry: &Entry) -> Head {
    let (header, hash) = entry::check(entry).expect("sound");
    Head { seq: header.seq, hash }
}

#[track_caller]
fn refused<T>(done: Result<T, SiteError>, word: &str) {
    match done {
        Err(SiteError::Refused(why)) => assert!(why.contains(word), "{why}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &to) } else { assert!(std::fs::copy(&path, &to).is_ok()) }
    }
}
