//! What cities push, with anything in it that a sound header may stand for: the committer goes on, every city can be told
//! of it, and the log alone says the same.
//!
//! How to let it run for long is told in `proto/tests/fuzz/main.rs`; here it is `-p liandong-hub --lib pushes`.

#[path = "../../../../proto/tests/fuzz/runner.rs"]
mod runner;
#[path = "../../../../proto/tests/fuzz/source.rs"]
mod source;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../../../../proto/tests/fuzz/valid.rs"]
mod valid;

use liandong_node::site::{Records as _, record_kind};
use liandong_proto::entry::{self, Header};
use liandong_proto::position::GenerationStart;
use liandong_proto::session::head_to_pb;
use liandong_proto::session::hub::CheckedEntry;
use log::registry_change::Change;
use pb as log;

use super::*;
use crate::ca::Identity;
use crate::queue::{Pushed, Register};
use source::Source;
use valid::{CITY, OTHER};

/// A member of the federation, and how far its log has come.
struct City {
    identity: Identity,
    origin: Origin,
    head: Head,
    key: SigningKey,
}

impl City {
    fn joined(hub: &Hub, site: SiteCode) -> City {
        let (key, number) = (SigningKey::new(&[site.0 as u8; 32]), 1);
        let (invitation, until_ms) = hub.invite(site, "hub.example.org:7444", "").expect("invited");
        let secret_hash = liandong_node::trust::Invitation::secret_hash(&invitation.secret);
        let enrolment = log::Enrolment {
            number,
            signing_key: Bytes::copy_from_slice(&key.verifying().to_bytes()),
            until_ms,
            secret_hash: Bytes::copy_from_slice(&secret_hash),
            ..log::Enrolment::default()
        };
        let change = Some(Change::Joined(enrolment));
        let change = log::RegistryChange { at_ms: now_ms(), author: String::new(), site: site.0, change };
        let (sender, receiver) = mpsc::channel();
        let answer = Box::new(move |answer| drop(sender.send(answer)));
        hub.shared.queue.put(Job::Register(Register { change, answer }));
        receiver.recv().expect("answered").expect("joined");
        let origin = Origin { site, epoch: Epoch([1; 16]) };
        City { identity: Identity { site, enrolment: number }, origin, head: Head::default(), key }
    }

    /// An entry that follows: its header is sound, what it carries need not be.
    fn entry(&mut self, source: &mut Source) -> CheckedEntry {
        let (made, _) = valid::entry(source, self.origin, self.head, 5);
        let header = Header::decode(&made.header).expect("as it was made");
        let (open, sealed) = (source.mutated(made.open.to_vec()), source.mutated(made.sealed.to_vec()));
        let (entry, head) = entry::make(header, open.into(), sealed.into());
        let (header, hash) = entry::check(&entry).expect("as it was made");
        self.head = head;
        CheckedEntry { entry, header, hash }
    }

    fn push(&mut self, source: &mut Source, hub: &Hub) {
        let entries: Vec<CheckedEntry> = (0..1 + source.below(8)).map(|_| self.entry(source)).collect();
        let start = GenerationStart { generation: source.edge() % 9, first_hub_seq: source.edge() };
        let head = head_to_pb(&self.head);
        let signed = pb::SignedHead {
            site: self.origin.site.0,
            epoch: Bytes::copy_from_slice(&self.origin.epoch.0),
            seq: head.seq,
            hash: head.hash,
            signature: Bytes::copy_from_slice(&self.key.sign_head(self.origin, &self.head)),
        };
        hub.shared.queue.put(Job::Pushed(Pushed {
            origin: self.origin,
            identity: self.identity,
            known: Arc::new(Generations::new(vec![start])),
            entries,
            signed,
            signing_key: self.key.verifying(),
        }));
    }
}

/// Every row that is a record's, as it is stored.
fn records(hub: &Hub) -> Vec<(Bytes, Bytes)> {
    hub.catch_up().expect("the index is written");
    let rows = hub.index().scan(rows::RECORDS, Some(&[rows::RECORDS[0] + 1]));
    rows.map(|row| row.expect("sound")).collect()
}

/// Nothing is wrong with the log, but that a city may say of its first entry what it likes: `verify` tells that.
fn check_sound(hub: &Hub) {
    let found = hub.verify(&[], &mut |_| {}).expect("it can be read");
    let anchors = |(_, en): &(String, String)| en.contains("goes on from another end of an older epoch");
    assert!(found.faults.iter().all(anchors), "{:?}", found.faults);
}

#[test]
fn pushes_of_anything_are_committed_and_the_log_says_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("hub");
    let (mut cases, mut told) = (0u64, 0usize);
    runner::run("pushes_of_anything_are_committed", 12, |source| {
        let _ = std::fs::remove_dir_all(&dir);
        let hub = made(&dir);
        let mut cities = [CITY, OTHER].map(|site| City::joined(&hub, site));
        for _ in 0..2 + source.below(10) {
            let which = source.below(2);
            cities[which].push(source, &hub);
            if source.percent(30) {
                write(&hub).expect("the committer goes on");
            }
        }
        // It is answered once all that came before is durable.
        write(&hub).expect("the committer goes on");
        for city in &cities {
            hub.shared.wait_for(|published| published.registry.head(city.origin) == city.head);
            let feed = hub.read_feed(city.origin, source.below(3) as u64, 1 << 20).expect("readable");
            assert!(feed.own_seq_inclusive == city.head.seq);
            assert!(feed.items.iter().all(|item| item.own_seq_inclusive <= city.head.seq));
            told += feed.items.len();
        }
        let before = records(&hub);
        check_sound(&hub);
        assert!(hub.shared.failure().is_none());
        hub.close().expect("closed");
        drop(hub);
        let open = if source.percent(70) { Hub::rebuild } else { Hub::open };
        let hub = open(&HubOptions::new(&dir), &mut |_| {}).expect("its log can be read");
        assert_eq!(records(&hub).len(), before.len());
        for (after, before) in records(&hub).iter().zip(&before) {
            assert_eq!(after, before, "the log says the same");
        }
        let kinds = hub.log().read(Pos::default()).map(|raw| raw.expect("readable").kind);
        assert!(kinds.filter(|kind| *kind == record_kind::COMMIT).count() > 0);
        hub.close().expect("closed");
        cases += 1;
    });
    assert!(cases < 10 || told > 2 * cases as usize, "{told} items in {cases} hubs");
}
