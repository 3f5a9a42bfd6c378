//! Erasing: nothing of the record stays on the disk, and everything else is as it was.

use liandong_proto::entry::{Entry, Header, Patch};
use liandong_proto::id::Epoch;

use super::*;

const NAME: &str = "欧阳须删除";
const REMARKS: &str = "一句只在本市的话";

fn put(site: &Site, record: Option<RecordId>, name: &str, post: &str) -> RecordId {
    let status = record::MemberStatus::Active as i32;
    let (name, post, remarks) = (name.to_owned(), post.to_owned(), REMARKS.to_owned());
    let member = record::Member { name, post, remarks, status, ..record::Member::default() };
    let fields = Fields::split(member.encode_to_vec()).expect("a message");
    let answers = site.put(vec![Put::set(MEMBER, record, fields)], &By::default(), false).expect("written");
    assert_eq!(answers[0].problems, []);
    answers[0].record
}

/// All bytes of all files of a directory.
fn bytes_of(dir: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => out.extend(bytes_of(&path)),
            false => out.extend(std::fs::read(path).expect("readable")),
        }
    }
    out
}

fn holds(dir: &Path, what: &[u8]) -> bool {
    bytes_of(dir).windows(what.len()).any(|window| window == what)
}

/// Own proofs that the hub has not answered.
fn unanswered(site: &Site) -> Vec<liandong_proto::erasure::ErasureProof> {
    let is_open = |row: &_| liandong_proto::erasure::proof_of(row, SiteCode::PROVINCE).is_none();
    site.proofs(is_open).expect("read")
}

/// The payloads of a record in the log.
fn payloads(site: &Site, record: RecordId) -> Vec<Bytes> {
    let mut out = Vec::new();
    for raw in site.log.read(Pos::default()) {
        let Record::Own(Entry { header, open, sealed }) = Record::read(&raw.expect("sound")).expect("read")
        else {
            continue;
        };
        if Header::decode(&header).expect("a header").record == record {
            out.extend([open, sealed].into_iter().filter(|payload| !payload.is_empty()));
        }
    }
    out
}

fn faults(site: &Site) -> Vec<String> {
    let found = site.verify(&[], &mut |_| {}).expect("it can be read");
    found.faults.into_iter().map(|(_, en)| en).collect()
}

fn digest(site: &Site) -> String {
    site.verify(&[], &mut |_| {}).expect("it can be read").digest
}

#[test]
fn no_byte_of_an_erased_record_stays_and_the_log_is_sound() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = put(&site, None, NAME, "社工");
    let other = put(&site, None, "王芳", "督导");
    site.catch_up().expect("stored");
    put(&site, Some(record), NAME, "主任");
    for _ in 0..40 {
        member(&site).expect("written");
    }
    site.catch_up().expect("stored");
    // A damaged index that was kept holds it as well.
    let kept = dir.path().join("index.broken-1");
    std::fs::create_dir_all(&kept).expect("made");
    std::fs::write(kept.join("db"), NAME).expect("written");
    let log = dir.path().join("log.parted-1");
    std::fs::create_dir_all(&log).expect("made");
    std::fs::write(log.join("1.log"), NAME).expect("written");
    let payloads = payloads(&site, record);
    assert_eq!(payloads.len(), 3, "what two entries hold");
    assert!(holds(dir.path(), NAME.as_bytes()) && payloads.iter().all(|it| holds(dir.path(), it)));

    assert_eq!(site.erase(MEMBER, &[record], &By::default()).expect("erased"), 2);
    assert!(!holds(dir.path(), NAME.as_bytes()), "the name is still on the disk");
    assert!(!payloads.iter().any(|it| holds(dir.path(), it)), "a payload is still on the disk");
    let check = |site: &Site| {
        let shown = site.get(MEMBER, record).expect("read").expect("known");
        assert!(shown.erased && shown.deleted && shown.fields.is_empty());
        assert!(!site.get(MEMBER, other).expect("read").expect("there").fields.is_empty());
        assert_eq!((members(site), faults(site)), (41, vec![]));
        assert!(site.deleted(MEMBER).expect("read").is_empty(), "an import cannot find it again");
        let erasures = site.erasures().expect("read");
        assert_eq!((erasures.len(), erasures[0].proofs.len()), (1, 1));
        assert_eq!(erasures[0].outstanding, [SiteCode::PROVINCE.0]);
    };
    check(&site);
    let before = digest(&site);
    drop(site);
    let site = Site::rebuild(&options(dir.path()), &mut |_| {}).expect("rebuilt");
    check(&site);
    assert_eq!(digest(&site), before, "a rebuild gives the same");
    assert!(!holds(&dir.path().join("index"), NAME.as_bytes()));
}

#[test]
fn an_erased_record_stays_erased() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = put(&site, None, NAME, "社工");
    assert!(matches!(site.erase(MEMBER, &[RecordId([1; 16])], &By::default()), Err(SiteError::NotFound)));
    site.erase(MEMBER, &[record], &By::default()).expect("erased");
    let entries = own_entries(&site);
    site.erase(MEMBER, &[record], &By::default()).expect("it is so already");
    let fields = Fields::split(record::Member { name: NAME.into(), ..Default::default() }.encode_to_vec());
    let again = Put::set(MEMBER, Some(record), fields.expect("a message"));
    let answers = site.put(vec![again], &By::default(), false).expect("answered");
    assert_eq!(answers[0].problems[0].code, "record.erased");
    assert_eq!(own_entries(&site), entries, "nothing was written");
}

/// A crash between the entry and the end of the work.
#[test]
fn an_erasure_that_was_cut_short_is_finished_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = put(&site, None, NAME, "社工");
    let erase = Put { op: Op::Erase, ..Put::delete(MEMBER, record, None) };
    site.put(vec![erase], &By::default(), false).expect("written");
    drop(site);
    assert!(holds(dir.path(), NAME.as_bytes()));
    let site = open(dir.path());
    assert!(holds(dir.path(), NAME.as_bytes()), "opening does not wait for it");
    site.try_erasures();
    assert!(!holds(dir.path(), NAME.as_bytes()));
    assert_eq!(site.erasures().expect("read")[0].proofs.len(), 1);
    assert_eq!(faults(&site), [] as [&str; 0]);
}

const ELSEWHERE: Origin = Origin { site: SiteCode(440_300), epoch: Epoch([4; 16]) };

/// A delivery of one record.
fn deliver(kind: u32, record: RecordId, hub_seq: u64, home: u32, what: sync::item::What) -> sync::Deliver {
    sync::Deliver {
        items: vec![sync::Item {
            kind,
            record: Bytes::copy_from_slice(&record.0),
            hub_seq,
            home,
            what: Some(what),
            ..sync::Item::default()
        }],
        cursor: Some(sync::Position { generation: 3, hub_seq }),
        ..sync::Deliver::default()
    }
}

/// A record as the hub shows it, with the name.
fn shown(site: u32) -> sync::item::What {
    let name = Fields::split([&[10, 15], NAME.as_bytes()].concat()).expect("fields");
    let fields = Patch::new(name, vec![]).expect("a patch").set.bytes().clone();
    sync::item::What::State(sync::State { fields, stamp: 7, site, ..sync::State::default() })
}

fn gone(by: Origin, seq: u64) -> sync::item::What {
    let erased = Some(liandong_proto::erasure::entry_ref(by, seq));
    sync::item::What::Tombstone(sync::Tombstone { erased, stamp: 9, site: by.site.0, ..Default::default() })
}

/// The hub had not heard of the erasure yet when it delivered.
#[test]
fn what_is_delivered_of_an_erased_record_does_not_come_into_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = put(&site, None, NAME, "社工");
    site.erase(MEMBER, &[record], &By::default()).expect("erased");
    site.receive(&deliver(MEMBER, record, 4, 440_100, shown(440_000))).expect("received");
    site.catch_up().expect("stored");
    assert!(!holds(dir.path(), NAME.as_bytes()));
    assert!(site.get(MEMBER, record).expect("read").expect("known").erased);
    let before = digest(&site);
    drop(site);
    let site = Site::rebuild(&options(dir.path()), &mut |_| {}).expect("rebuilt");
    assert_eq!(digest(&site), before, "a rebuild gives the same");
}

#[test]
fn the_hubs_word_alone_erases_nothing_that_is_not_the_erasers() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = put(&site, None, NAME, "社工");
    let theirs = RecordId([9; 16]);
    site.receive(&deliver(6, theirs, 1, 440_300, shown(440_300))).expect("received");
    for by in [ELSEWHERE, site.origin(), Origin { site: SiteCode::PROVINCE, ..ELSEWHERE }] {
        let refused = site.receive(&deliver(MEMBER, record, 2, 440_100, gone(by, 1)));
        assert!(matches!(refused, Err(SiteError::Refused(_))), "{by:?}: {refused:?}");
    }
    let third = Origin { site: SiteCode(440_600), ..ELSEWHERE };
    assert!(site.receive(&deliver(6, theirs, 2, 440_300, gone(third, 1))).is_err());
    assert!(!site.erasures_wait().expect("read"));
    assert_eq!((payloads(&site, record).len(), faults(&site)), (2, vec![]));
    site.receive(&deliver(6, theirs, 2, 440_300, gone(ELSEWHERE, 1))).expect("its home may");
}

/// By way of a hub that was restored from a backup a record may come back, and be erased again.
#[test]
fn what_came_back_and_is_erased_again_is_proved_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = RecordId([9; 16]);
    site.receive(&deliver(6, record, 1, 440_300, gone(ELSEWHERE, 12))).expect("received");
    site.finish_erasures().expect("erased");
    site.catch_up().expect("stored");
    site.receive(&deliver(6, record, 2, 440_300, shown(440_300))).expect("received");
    assert!(holds(dir.path(), NAME.as_bytes()));
    site.receive(&deliver(6, record, 3, 440_300, gone(ELSEWHERE, 20))).expect("received");
    assert!(site.erasures_wait().expect("read"), "what was proved before was the erasure before");
    site.finish_erasures().expect("erased");
    assert!(!holds(dir.path(), NAME.as_bytes()));
    assert_eq!(faults(&site), [] as [&str; 0]);
    let before = digest(&site);
    drop(site);
    let site = Site::rebuild(&options(dir.path()), &mut |_| {}).expect("rebuilt");
    assert_eq!((digest(&site), faults(&site)), (before, vec![]), "a rebuild gives the same");
}

/// Also what this site wrote of it, which no entry of its own explains.
#[test]
fn an_entry_of_a_record_that_its_home_erased_is_no_fault() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = put(&site, None, NAME, "社工");
    site.receive(&deliver(MEMBER, record, 1, 440_300, shown(440_300))).expect("it was theirs before");
    site.receive(&deliver(MEMBER, record, 2, 440_300, gone(ELSEWHERE, 12))).expect("received");
    assert_eq!(site.finish_erasures().expect("erased"), 2);
    assert!(payloads(&site, record).is_empty() && !holds(dir.path(), NAME.as_bytes()));
    assert_eq!(faults(&site), [] as [&str; 0]);
}

/// Whoever waits for the end does not wait for a long log.
#[test]
fn a_site_that_is_being_closed_begins_no_erasure() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = put(&site, None, NAME, "社工");
    let erase = Put { op: Op::Erase, ..Put::delete(MEMBER, record, None) };
    site.put(vec![erase], &By::default(), false).expect("written");
    site.close().expect("closed");
    assert!(matches!(site.finish_erasures(), Err(SiteError::Refused(_))));
    assert!(holds(dir.path(), NAME.as_bytes()), "it waits for the next start");
}

/// What the hub delivered is dropped as well, also where another city erased it.
#[test]
fn a_delivery_that_erases_takes_what_was_delivered_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = RecordId([9; 16]);
    site.receive(&deliver(6, record, 1, 440_300, shown(440_300))).expect("received");
    site.catch_up().expect("stored");
    assert!(holds(dir.path(), NAME.as_bytes()));
    site.receive(&deliver(6, record, 2, 440_300, gone(ELSEWHERE, 12))).expect("received");
    assert!(site.erasures_wait().expect("read"));
    assert_eq!(site.finish_erasures().expect("erased"), 1);
    assert!(!holds(dir.path(), NAME.as_bytes()));
    let before = digest(&site);
    let proofs = unanswered(&site);
    assert_eq!((proofs.len(), proofs[0].holder), (1, 440_100));
    drop(site);
    let site = Site::rebuild(&options(dir.path()), &mut |_| {}).expect("rebuilt");
    assert_eq!(digest(&site), before, "a rebuild gives the same");

    // The hub's own proof ends it; one by another key does not.
    let erased = liandong_proto::erasure::read(&proofs[0]).expect("a proof");
    let by_hub = liandong_proto::sign::Erased { holder: SiteCode::PROVINCE, ..erased };
    let forged = liandong_proto::erasure::prove(&SigningKey::new(&[9; 32]), &by_hub);
    site.hub_proved(vec![forged], &[hub_key()]).expect("left out");
    assert_eq!(unanswered(&site).len(), 1);
    site.hub_proved(vec![liandong_proto::erasure::prove(&hub(), &by_hub)], &[hub_key()]).expect("noted");
    assert_eq!(unanswered(&site), []);
    let end = site.log.end();
    let later = liandong_proto::sign::Erased { at_ms: by_hub.at_ms + 1, ..by_hub };
    site.hub_proved(vec![liandong_proto::erasure::prove(&hub(), &later)], &[hub_key()]).expect("read");
    assert_eq!(site.log.end(), end, "what the hub has proved it proves once");
}
