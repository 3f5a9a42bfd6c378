//! A small log of a real hub, altered in every place.

use std::path::Path;
use std::sync::Arc;

use liandong_node::now::now_ms;
use liandong_node::site::{By, Put};
use liandong_node::trust::Invitation;
use liandong_proto::entry::{Header, Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::RecordId;
use liandong_proto::pb::record::v1 as record;
use liandong_proto::position::Position;
use liandong_proto::rotation::Rotation;
use liandong_proto::session::hub::CheckedEntry;
use liandong_proto::sign::{Erased, SigningKey};
use liandong_proto::stamp::Stamp;

mod rotated;

use super::*;
use crate::ca::Identity;
use crate::hub::{Hub, HubOptions};
use crate::queue::{Job, Pushed};

const MEMBER: Identity = Identity { site: SiteCode(440_100), enrolment: 1 };
const CITY: Origin = Origin { site: SiteCode(440_100), epoch: Epoch([7; 16]) };

fn city_key() -> SigningKey {
    SigningKey::new(&[4; 32])
}

fn member(n: u8) -> Fields {
    let member = record::Member {
        name: format!("王{}", char::from_u32(0x4e00 + u32::from(n)).expect("a character")),
        status: record::MemberStatus::Active as i32,
        ..record::Member::default()
    };
    Fields::split(member.encode_to_vec()).expect("a message")
}

/// Entries one after the other, of a record each that `n` names.
fn chained(acts: &[(u8, Op)]) -> Vec<CheckedEntry> {
    let mut head = Head::default();
    let entry = |(at, (n, op)): (usize, &(u8, Op))| {
        let header = Header {
            origin: CITY,
            seq: head.seq + 1,
            stamp: Stamp::at_ms(now_ms()),
            base: Position::default(),
            kind: 1,
            record: RecordId([n + 1; 16]),
            op: *op,
            author: String::new(),
            import_id: Bytes::new(),
            prev: (head.seq > 0).then_some(head.hash),
            open_hash: None,
            sealed_hash: None,
            anchor: None,
            seen: Vec::new(),
        };
        let (open, sealed) = match op {
            Op::Put => {
                let patch = Patch { set: member(at as u8), cleared: Vec::new() };
                (patch.to_open([*n; 16]), Bytes::from(vec![at as u8 + 1; 40]))
            }
            _ => (Bytes::new(), Bytes::new()),
        };
        let (entry, next) = entry::make(header, open, sealed);
        head = next;
        let (header, hash) = entry::check(&entry).expect("made here");
        CheckedEntry { entry, header, hash }
    };
    acts.iter().enumerate().map(entry).collect()
}

fn entries(count: u8) -> Vec<CheckedEntry> {
    chained(&(0..count).map(|n| (n, Op::Put)).collect::<Vec<_>>())
}

fn push(hub: &Hub, entries: Vec<CheckedEntry>) {
    push_by(hub, entries, &city_key());
}

fn push_by(hub: &Hub, entries: Vec<CheckedEntry>, key: &SigningKey) {
    let seq = entries.last().expect("some").header.seq;
    queue(hub, entries, key);
    hub.shared.wait_origin(CITY, seq);
}

fn queue(hub: &Hub, entries: Vec<CheckedEntry>, key: &SigningKey) {
    let signing_key = key.verifying();
    let last = entries.last().expect("some");
    let head = Head { seq: last.header.seq, hash: last.hash };
    let signed = pb::SignedHead {
        site: CITY.site.0,
        epoch: Bytes::copy_from_slice(&CITY.epoch.0),
        seq: head.seq,
        hash: Bytes::copy_from_slice(&head.hash),
        signature: Bytes::copy_from_slice(&key.sign_head(CITY, &head)),
    };
    let pushed =
        Pushed { origin: CITY, identity: MEMBER, known: Arc::default(), entries, signed, signing_key };
    hub.shared.queue.put(Job::Pushed(pushed));
}

fn join(hub: &Hub) {
    let (invitation, _) = hub.invite(CITY.site, "127.0.0.1:1", "a").expect("invited");
    let enrolment = pb::Enrolment {
        number: 1,
        signing_key: Bytes::copy_from_slice(&city_key().verifying().to_bytes()),
        until_ms: 9,
        secret_hash: Bytes::copy_from_slice(&Invitation::secret_hash(&invitation.secret)),
        linking_recipient: String::new(),
    };
    hub.register(CITY.site, "", Change::Joined(enrolment)).expect("joined");
}

/// Kinds and payloads of the log of a hub that has had a city join and push twice, and a word of its own; and its key.
fn made(dir: &Path) -> (Vec<(u8, Bytes)>, VerifyingKey) {
    Hub::init(dir, None).expect("made");
    let hub = Hub::open(&HubOptions::new(dir), &mut |_| {}).expect("opens");
    join(&hub);
    let mut entries = entries(5);
    let later = entries.split_off(3);
    push(&hub, entries);
    let categories = vec!["优秀社工".into()];
    let title = "评选".into();
    let round = record::AwardRound { year: 2026, title, categories, ..record::AwardRound::default() };
    let fields = Fields::split(round.encode_to_vec()).expect("a message");
    let answers = hub.write(vec![Put::set(2, None, fields)], &By::default(), false).expect("written");
    assert!(answers[0].problems.is_empty(), "{answers:?}");
    push(&hub, later);
    let key = hub.signing_key();
    let records = hub.log().read(Pos::default()).map(|raw| raw.expect("readable"));
    let records = records.map(|raw| (raw.kind, raw.payload)).collect();
    hub.close().expect("closed");
    (records, key)
}

/// What stands in place of a line of the hub's keys.
fn one_key(key: VerifyingKey) -> Trusted {
    Trusted::new(key, &[], &[])
}

fn faults<'a>(records: impl IntoIterator<Item = &'a (u8, Bytes)>, key: VerifyingKey) -> Vec<String> {
    faults_under(records, &one_key(key))
}

fn faults_under<'a>(records: impl IntoIterator<Item = &'a (u8, Bytes)>, trusted: &Trusted) -> Vec<String> {
    let mut found = Findings::default();
    let mut check = Check::new(trusted, &mut found);
    records.into_iter().for_each(|(kind, payload)| check.record(*kind, payload.clone(), Pos::default()));
    check.finish();
    found.faults.into_iter().map(|(_, en)| en).collect()
}

#[test]
fn no_bit_of_any_record_can_be_altered() {
    let dir = tempfile::tempdir().expect("a directory");
    let (records, key) = made(dir.path());
    assert_eq!(faults(&records, key), [] as [&str; 0]);
    let bytes: usize = records.iter().map(|(_, payload)| payload.len()).sum();
    assert!(bytes > 1_500, "something is there to be altered: {bytes}");
    for (at, (kind, payload)) in records.iter().enumerate() {
        for byte in 0..payload.len() {
            let mut bent = payload.to_vec();
            bent[byte] ^= 1 << (byte % 8);
            let mut altered = records.clone();
            altered[at].1 = bent.into();
            assert!(!faults(&altered, key).is_empty(), "byte {byte} of record {at}, of kind {kind}");
        }
    }
}

#[test]
fn no_record_can_be_dropped_repeated_or_moved() {
    let dir = tempfile::tempdir().expect("a directory");
    let (records, key) = made(dir.path());
    for at in 0..records.len() - 1 {
        let mut dropped = records.clone();
        dropped.remove(at);
        assert!(!faults(&dropped, key).is_empty(), "record {at} dropped");
        let mut repeated = records.clone();
        repeated.insert(at, records[at].clone());
        assert!(!faults(&repeated, key).is_empty(), "record {at} repeated");
        let mut moved = records.clone();
        moved.swap(at, at + 1);
        assert!(!faults(&moved, key).is_empty(), "records {at} and the next changed places");
    }
}

/// A hub that makes entries up can chain and sign its commits, but not for the city.
#[test]
fn a_hub_cannot_put_words_into_a_citys_mouth() {
    let dir = tempfile::tempdir().expect("a directory");
    Hub::init(dir.path(), None).expect("made");
    let hub = Hub::open(&HubOptions::new(dir.path()), &mut |_| {}).expect("opens");
    join(&hub);
    let made_up = entries(2);
    let signed = pb::SignedHead { site: CITY.site.0, seq: 2, ..pb::SignedHead::default() };
    hub.shared.queue.put(Job::Pushed(Pushed {
        origin: CITY,
        identity: MEMBER,
        known: Arc::default(),
        entries: made_up,
        signed,
        signing_key: city_key().verifying(),
    }));
    hub.shared.wait_origin(CITY, 2);
    let mut found = Findings::default();
    verify_log(hub.log(), &one_key(hub.signing_key()), &mut found, &mut |_| {});
    let said: Vec<&str> = found.faults.iter().map(|(_, en)| en.as_str()).collect();
    assert!(
        said.iter().any(|en| en.contains("entry 2 of 440100") && en.contains("not signed by its city")),
        "{said:?}"
    );
    hub.close().expect("closed");
}

/// A session that has outlived its certificate may still have pushes under way.
#[test]
fn what_a_void_certificate_has_pushed_is_not_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    Hub::init(dir.path(), None).expect("made");
    let hub = Hub::open(&HubOptions::new(dir.path()), &mut |_| {}).expect("opens");
    join(&hub);
    let void = Identity { enrolment: 2, ..MEMBER };
    let signed = pb::SignedHead { site: CITY.site.0, seq: 2, ..pb::SignedHead::default() };
    let signing_key = city_key().verifying();
    let known = Arc::default();
    let pushed = Pushed { origin: CITY, identity: void, known, entries: entries(2), signed, signing_key };
    hub.shared.queue.put(Job::Pushed(pushed));
    // Behind it in the same lane.
    push(&hub, entries(1));
    assert_eq!(hub.read(|published| published.registry.head(CITY).seq), 1);
    hub.close().expect("closed");
}

/// An epoch goes on from the end of another as it is in this log, or the log has lost that end.
#[test]
fn an_epoch_that_goes_on_from_another_end_than_is_here_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, key) = made(dir.path());
    let mut found = Findings::default();
    let trusted = one_key(key);
    let mut check = Check::new(&trusted, &mut found);
    let mut entry_of = |epoch: u8, anchor| {
        let header = Header {
            origin: Origin { epoch: Epoch([epoch; 16]), ..CITY },
            anchor,
            ..entries(1).remove(0).header
        };
        let (entry, head) = entry::make(header, Bytes::from_static(b"\x12\x00"), Bytes::new());
        let accepted = pb::Accepted { header: entry.header, open: entry.open, ..pb::Accepted::default() };
        check.entry(accepted, 1);
        head
    };
    let end = entry_of(1, None);
    let anchor = |seq| Some(entry::Anchor { epoch: Epoch([1; 16]), seq, hash: end.hash });
    entry_of(2, anchor(end.seq));
    entry_of(3, anchor(end.seq + 1));
    let said: Vec<&str> = found.faults.iter().map(|(_, en)| en.as_str()).collect();
    assert!(matches!(said.as_slice(), [one] if one.contains("another end of an older epoch")), "{said:?}");
}

/// A proof makes no new segment of the log, and the same one with another time is not even noted.
#[test]
fn a_city_proves_once_and_takes_no_room_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    Hub::init(dir.path(), None).expect("made");
    let hub = Hub::open(&HubOptions::new(dir.path()), &mut |_| {}).expect("opens");
    join(&hub);
    push(&hub, chained(&[(1, Op::Put), (1, Op::Erase)]));
    hub.shared.wait_for(|published| !published.registry.erasures.wait());
    let (end, record) = (hub.log().end(), RecordId([2; 16]));
    let prove = |at_ms: u64| {
        let erased = Erased { kind: 1, record, entry: (CITY, 2), holder: CITY.site, at_ms };
        hub.prove(MEMBER, vec![liandong_proto::erasure::prove(&city_key(), &erased)]).expect("taken")
    };
    assert_eq!(prove(5).len(), 1, "the hub answers with its own");
    let noted = hub.log().end();
    assert!(noted > end);
    assert_eq!(noted.segment, end.segment, "nothing is to be dropped: no segment begins");
    assert_eq!((prove(6).len(), hub.log().end()), (1, noted));
    hub.close().expect("closed");
}

/// What a city pushes of a record that is erased already, as one that comes back from an old backup does; and that an
/// erasure explains payloads that are not there, and nothing else does.
#[test]
fn of_an_erased_record_nothing_is_kept_and_the_log_is_sound() {
    let dir = tempfile::tempdir().expect("a directory");
    Hub::init(dir.path(), None).expect("made");
    let hub = Hub::open(&HubOptions::new(dir.path()), &mut |_| {}).expect("opens");
    join(&hub);
    let acts = [(1, Op::Put), (2, Op::Put), (1, Op::Erase), (1, Op::Put)];
    let all = chained(&acts);
    let payloads = |at: usize| [all[at].entry.open.clone(), all[at].entry.sealed.clone()];
    push(&hub, all.clone());
    hub.shared.wait_for(|published| !published.registry.erasures.wait());
    let read =
        || -> Vec<Bytes> { hub.log().read(Pos::default()).map(|raw| raw.expect("sound").payload).collect() };
    let holds = |payload: &Bytes| {
        read().iter().any(|record| record.windows(payload.len()).any(|window| window == payload.as_ref()))
    };
    assert_eq!([0, 1, 3].map(|at| payloads(at).iter().filter(|it| holds(it)).count()), [0, 2, 0]);
    let state = hub.state(1, RecordId([2; 16])).expect("read").expect("known");
    assert!(state.erased && state.held.is_empty() && state.own_seq(CITY) == 4, "{state:?}");
    let faults = || {
        let mut found = Findings::default();
        verify_log(hub.log(), &one_key(hub.signing_key()), &mut found, &mut |_| {});
        found.faults.into_iter().map(|(_, en)| en).collect::<Vec<_>>()
    };
    assert_eq!(faults(), [] as [&str; 0]);
    // The same done to a record that nobody has erased.
    hub.log().begin_segment(100).expect("begun");
    let others = [(1, RecordId([3; 16]))].into_iter().collect();
    let mut edit = |kind, payload: &[u8]| liandong_node::payload::dropped(kind, payload, &others);
    assert_eq!(hub.log().rewrite(&mut edit, &|| false).expect("rewritten"), Some(1));
    let found = faults();
    assert!(matches!(found.as_slice(), [one] if one.contains("place 2 lacks a payload")), "{found:?}");
    hub.close().expect("closed");
}
