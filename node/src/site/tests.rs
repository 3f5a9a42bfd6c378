//! What a site does when something under it fails.

mod erase;
mod heal;
mod lost;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use liandong_proto::fields::Fields;
use liandong_proto::pb::record::v1 as record;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::sign::{SigningKey, VerifyingKey};

use super::*;
use crate::index::IndexError;
use crate::log;

const MEMBER: u32 = 1;

const SEGMENT: u64 = 8 << 10;

fn options(dir: &Path) -> SiteOptions {
    SiteOptions { segment_bytes: SEGMENT, ..SiteOptions::new(dir) }
}

fn open(dir: &Path) -> Arc<Site> {
    Site::open(&options(dir), &mut |_| {}).expect("the site opens")
}

/// A site whose log has small segments from the first on.
fn made(dir: &Path) -> Arc<Site> {
    Site::init(dir, SiteCode(440_100)).expect("a site is made");
    let (large, small) = (dir.join("large"), Paths::new(dir).log());
    std::fs::rename(&small, &large).expect("moved");
    let (large, _) = Log::open(&large, log::Options::default()).expect("opens");
    let options = log::Options { segment_bytes: SEGMENT, ..log::Options::default() };
    let (small, _) = Log::open(&small, options).expect("opens");
    for raw in large.read(Pos::default()) {
        let raw = raw.expect("sound");
        let mut batch = Batch::new();
        batch.push(raw.kind, &[&raw.payload]);
        small.append(&batch, 0).expect("appended");
    }
    small.sync_to(small.end()).expect("synced");
    open(dir)
}

fn member(site: &Site) -> Result<Vec<PutAnswer>, SiteError> {
    let status = record::MemberStatus::Active as i32;
    let member = record::Member { name: "王芳".into(), status, ..record::Member::default() };
    let fields = Fields::split(member.encode_to_vec()).expect("a message");
    site.put(vec![Put::set(MEMBER, None, fields)], &By::default(), false)
}

fn members(site: &Site) -> usize {
    let query = Query { kind: MEMBER, page_size: view::MAX_PAGE, ..Query::default() };
    site.list(&query).expect("read").records.len()
}

fn own_entries(site: &Site) -> usize {
    let read = site.log.read(Pos::default()).map(|raw| raw.expect("sound"));
    read.filter(|raw| raw.kind == record_kind::OWN).count()
}

/// What writing to a damaged store comes to.
fn condemn(site: &Site) {
    site.index.condemn(IndexError::Damaged { prefix: 'r' });
}

fn hub() -> SigningKey {
    SigningKey::new(&[5; 32])
}

fn hub_key() -> VerifyingKey {
    hub().verifying()
}

/// A receipt for the newest entry, signed by `key`, for an entry that ends in `bend`.
fn receipt(site: &Site, key: &SigningKey, bend: u8) -> sync::Receipt {
    let mut up_to = *site.durable.borrow();
    up_to.hash[31] ^= bend;
    let at = liandong_proto::position::Position { generation: 3, hub_seq: up_to.seq };
    let commit_hash = [6; 32];
    let origin = site.origin();
    let signed = liandong_proto::sign::Receipted { origin, up_to, at, commit_hash };
    sync::Receipt {
        up_to: Some(liandong_proto::session::head_to_pb(&up_to)),
        at: Some(liandong_proto::session::position_to_pb(at)),
        commit_hash: Bytes::copy_from_slice(&commit_hash),
        signature: Bytes::copy_from_slice(&key.sign_receipt(&signed)),
    }
}

/// A receipt stands for entries that are in this log, and is by the hub that this site joined.
#[test]
fn verify_holds_receipts_against_the_log_and_the_hubs_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    crate::trust::Membership::new("127.0.0.1:1".into(), hub_key(), String::new())
        .store(site.paths())
        .expect("a member");
    let faults = || -> Vec<String> {
        let found = site.verify(&[], &mut |_| {}).expect("it can be read");
        found.faults.into_iter().map(|(_, en)| en).collect()
    };
    member(&site).expect("written");
    site.confirmed(&receipt(&site, &hub(), 0)).expect("noted");
    assert_eq!(faults(), [] as [&str; 0]);
    member(&site).expect("written");
    site.confirmed(&receipt(&site, &SigningKey::new(&[9; 32]), 0)).expect("noted");
    assert!(matches!(faults().as_slice(), [one] if one.contains("receipt for entry 2 is not signed")));
    member(&site).expect("written");
    site.confirmed(&receipt(&site, &hub(), 1)).expect("noted");
    assert!(matches!(faults().as_slice(), [_, two] if two.contains("another entry 3")));
}

/// A city that is turned away for months does not grow by each try, and no nonce that the hub may know is lost.
#[test]
fn nonces_of_tries_in_vain_are_bounded() {
    use liandong_proto::session::MOST_NONCES;
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let nonce = |n: usize| std::array::from_fn(|at| if at == 0 { n as u8 } else { (n >> 8) as u8 });
    let tried = |site: &Site, n: usize| site.greet(nonce(n), hub_key()).expect("greeted").nonces;
    let all: Vec<Vec<Bytes>> = (0..MOST_NONCES + 3).map(|n| tried(&site, n)).collect();
    assert_eq!(all[MOST_NONCES - 1].len(), MOST_NONCES, "each is another");
    assert!(all[MOST_NONCES..].iter().all(|nonces| *nonces == all[MOST_NONCES - 1]));
    drop(site);
    let site = open(dir.path());
    assert_eq!(tried(&site, 999), all[MOST_NONCES - 1], "also after a start");
    site.welcomed(&Default::default()).expect("noted");
    let after = tried(&site, 1_000);
    assert_eq!(after.len(), MOST_NONCES / 2 + 1, "there is room again");
    // A hub that was restored from a backup may know any of them.
    assert_eq!(after[..MOST_NONCES / 2], all[MOST_NONCES - 1][MOST_NONCES / 2..]);
}

/// Each receipt is by a key of the hub's line, and none by a key whose time was over.
#[test]
fn verify_follows_the_line_of_the_hubs_keys() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let next = SigningKey::new(&[9; 32]);
    let mut membership = crate::trust::Membership::new("127.0.0.1:1".into(), hub_key(), String::new());
    membership.pin(&[next.verifying()]);
    membership.store(site.paths()).expect("a member");
    let received = |key: &SigningKey| {
        member(&site).expect("written");
        site.confirmed(&receipt(&site, key, 0)).expect("noted");
        let found = site.verify(&[], &mut |_| {}).expect("it can be read");
        assert_eq!(found.pins.len(), 1, "{:?}", found.pins);
        found.faults.len()
    };
    assert_eq!((received(&hub()), received(&next)), (0, 0));
    assert_eq!(received(&hub()), 1, "the key before, behind its end");
    let pin = |key: &SigningKey| Pin { site: SiteCode::PROVINCE, fingerprint: key.verifying().fingerprint() };
    let faults = |key| site.verify(&[pin(key)], &mut |_| {}).expect("it can be read").faults.len();
    assert_eq!((faults(&hub()), faults(&next)), (1, 2), "the first key is the pinned one");
}

/// What is in the log is saved: told otherwise, a clerk would write it once more.
#[test]
fn a_write_that_fails_is_not_in_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    member(&site).expect("saved");
    condemn(&site);
    let saved = (0..3).filter(|_| member(&site).is_ok()).count();
    site.greet([7; 16], hub_key()).expect("noted in the log all the same");
    assert_eq!(own_entries(&site), 1 + saved);
    drop(site);
    let site = open(dir.path());
    assert_eq!(members(&site), 1 + saved);
    site.index.verify(&mut |_, _| {}).expect("sound");
}

#[test]
fn a_delivery_that_cannot_be_folded_stops_no_later_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let end = site.log.end();
    let item = sync::Item { kind: MEMBER, record: Bytes::from_static(b"short"), ..sync::Item::default() };
    let bad = sync::Deliver { items: vec![item], ..sync::Deliver::default() };
    assert!(site.receive(&bad).is_err());
    assert_eq!(site.log.end(), end);
    member(&site).expect("it goes on");
    drop(site);
    member(&open(dir.path())).expect("it opens and goes on");
}

#[test]
fn after_a_write_that_broke_off_there_is_none_any_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let torn = catch_unwind(AssertUnwindSafe(|| {
        locked(&site.writer).whole(|_| -> Result<(), SiteError> { panic!("between log and index") })
    }));
    assert!(torn.is_err());
    let end = site.log.end();
    let error = member(&site).expect_err("nothing is written");
    assert!(error.to_string().contains("restart"), "{error}");
    assert!(site.receive(&sync::Deliver::default()).is_err() && site.greet([7; 16], hub_key()).is_err());
    assert_eq!(site.log.end(), end);
    assert_eq!(members(&site), 0);
}

/// The check that the writer keeps is that of the row in the index, or the digest would drift.
#[test]
fn the_digest_holds_over_all_kinds_of_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    for n in 0..3 {
        member(&site).expect("saved");
        site.greet([n; 16], hub_key()).expect("noted");
        let cursor = Some(sync::Position { generation: 1, hub_seq: u64::from(n) });
        site.receive(&sync::Deliver { cursor, ..sync::Deliver::default() }).expect("received");
        site.catch_up().expect("stored");
        site.index.verify(&mut |_, _| {}).expect("sound");
    }
    site.close().expect("closed");
    drop(site);
    let site = open(dir.path());
    member(&site).expect("saved");
    site.catch_up().expect("stored");
    site.index.verify(&mut |_, _| {}).expect("sound");
}

/// A bit of the log's first segment flips: what is opened reads the last one only.
fn bend_log(dir: &Path) {
    let segment = Paths::new(dir).log().join("00000000000000000001.log");
    let mut bytes = std::fs::read(&segment).expect("readable");
    bytes[1_000] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
}

#[test]
fn a_rebuild_from_a_damaged_log_leaves_the_index() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    for _ in 0..200 {
        member(&site).expect("saved");
    }
    assert!(site.log.end().segment > 2);
    site.close().expect("closed");
    drop(site);
    bend_log(dir.path());
    let error = Site::rebuild(&options(dir.path()), &mut |_| {}).err().expect("the log is damaged");
    assert_eq!(error.class(), Class::Damaged);
    let site = open(dir.path());
    assert_eq!(members(&site), 200, "what could be read still can");
    site.index.verify(&mut |_, _| {}).expect("sound");
}

/// The log is whole, and yet it cannot be folded: its entries were sealed with another key.
#[test]
fn a_rebuild_that_fails_later_puts_the_index_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let status = record::MemberStatus::Active as i32;
    let email = "wang@example.org".into();
    let member = record::Member { name: "王芳".into(), email, status, ..record::Member::default() };
    let fields = Fields::split(member.encode_to_vec()).expect("a message");
    site.put(vec![Put::set(MEMBER, None, fields)], &By::default(), false).expect("saved");
    assert_eq!(members(&site), 1);
    site.close().expect("closed");
    drop(site);
    let key = Paths::new(dir.path()).city_key();
    std::fs::write(&key, "07".repeat(32)).expect("written");
    for _ in 0..4 {
        assert!(Site::rebuild(&options(dir.path()), &mut |_| {}).is_err());
    }
    assert!(!dir.path().join("index.broken-1").exists(), "it is back in its place");
    assert_eq!(members(&open(dir.path())), 1);
}

#[test]
fn a_rebuild_keeps_the_two_indexes_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    member(&site).expect("saved");
    site.close().expect("closed");
    drop(site);
    for n in 1..=3 {
        let site = Site::rebuild(&options(dir.path()), &mut |_| {}).expect("made again");
        assert!(dir.path().join(format!("index.broken-{n}")).exists());
        let other = Site::open(&options(dir.path()), &mut |_| {}).err().expect("held");
        assert_eq!((members(&site), other.class()), (1, Class::Locked));
        site.close().expect("closed");
    }
    assert!(!dir.path().join("index.broken-1").exists());
}

#[test]
fn the_status_tells_of_a_damaged_index() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    assert!(!site.status().expect("a status").index_damaged);
    condemn(&site);
    let status = site.status().expect("a status all the same");
    assert!(status.index_damaged && status.index_failure.contains("damaged"), "{}", status.index_failure);
}

/// A site that was restored more than once goes on from all the lives before, also after a start from its index.
#[test]
fn every_life_of_the_log_stays_known_over_a_restart() {
    use liandong_proto::id::Epoch;
    use liandong_proto::state::Setter;
    let dir = tempfile::tempdir().expect("a directory");
    Site::init(dir.path(), SiteCode(440_100)).expect("a site is made");
    let first = open(dir.path());
    let site = SiteCode(440_100);
    let (one, two, three) = (first.origin().epoch, Epoch([2; 16]), Epoch([3; 16]));
    for (epoch, from) in [(two, one), (three, two)] {
        let anchor = liandong_proto::entry::Anchor { epoch: from, seq: 5, hash: [9; 32] };
        let opened = pb::EpochOpened {
            site: site.0,
            epoch: Bytes::copy_from_slice(&epoch.0),
            anchor: Some(anchor.to_pb()),
        };
        let mut batch = Batch::new();
        batch.push(record_kind::OPENED, &[&opened.encode_to_vec()]);
        first.log.append(&batch, 1).expect("appended");
    }
    first.log.sync_to(first.log.end()).expect("synced");
    drop(first);
    let by = |seq| Setter { origin: Origin { site, epoch: one }, seq, hub_seq: 0, stamp: Default::default() };
    for round in ["from the log", "from the index"] {
        let again = open(dir.path());
        let here = again.origin();
        assert_eq!(here.epoch, three, "{round}");
        assert!(again.lineage.descends(here, &by(5)) && !again.lineage.descends(here, &by(6)), "{round}");
        again.close().expect("closed");
    }
}

/// A takeover that died after it had put the old log aside is finished by the next start; half a log is nobody's log.
#[test]
fn a_log_that_a_takeover_has_made_takes_its_place_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    member(&site).expect("written");
    site.close().expect("closed");
    drop(site);
    let paths = Paths::new(dir.path());
    // Also where one was kept before, and somebody has taken the log away since.
    std::fs::create_dir(paths.parted_log(5)).expect("kept");
    std::fs::rename(paths.log(), paths.unfinished_log()).expect("moved");
    assert!(matches!(Site::open(&options(dir.path()), &mut |_| {}), Err(SiteError::NoSite(_))));
    std::fs::rename(paths.unfinished_log(), paths.next_log()).expect("whole");
    std::fs::create_dir(paths.unfinished_log()).expect("another one was begun");
    assert_eq!(members(&open(dir.path())), 1);
    assert!(!paths.next_log().exists() && !paths.unfinished_log().exists() && paths.parted_log(5).exists());
}

/// What waits is as old as its oldest entry, also for a site that was just started.
#[test]
fn since_when_something_waits_stands_in_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let since = |site: &Site| site.status().expect("a status").waiting_since_ms;
    assert_eq!(since(&site), 0, "nothing waits");
    let before = now_ms();
    member(&site).expect("written");
    let first = since(&site);
    assert!(first >= before && first <= now_ms(), "{before} {first}");
    while now_ms() == first {
        std::thread::yield_now();
    }
    member(&site).expect("written");
    assert_eq!(since(&site), first, "the oldest counts");
    drop(site);
    let site = open(dir.path());
    assert_eq!(since(&site), first, "and after a restart");
    site.confirmed(&receipt(&site, &hub(), 0)).expect("noted");
    assert_eq!(since(&site), 0);
    member(&site).expect("written");
    assert!(since(&site) > first, "another one waits");
}
