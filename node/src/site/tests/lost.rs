//! What a restored hub has lost is shown no more, with or without a rebuild; and a rebuild gives the stamps that were there.

use liandong_proto::position::{GenerationStart, Generations, Position};
use liandong_proto::session::position_to_pb;

use super::*;

const YEAR_MS: u64 = 31_557_600_000;

fn put(site: &Site, record: Option<RecordId>, post: &str) -> RecordId {
    let status = record::MemberStatus::Active as i32;
    let member =
        record::Member { name: "王芳".into(), post: post.into(), status, ..record::Member::default() };
    let fields = Fields::split(member.encode_to_vec()).expect("a message");
    let answers = site.put(vec![Put::set(MEMBER, record, fields)], &By::default(), false).expect("written");
    assert_eq!(answers[0].problems, []);
    answers[0].record
}

/// The province gives a member another level, at a place of a generation.
fn deliver(site: &Site, record: RecordId, generation: u64, hub_seq: u64, stamp: u64) {
    let level = record::QualificationLevel::Senior as i32;
    let status = record::MemberStatus::Active as i32;
    let shown =
        record::Member { name: "王芳".into(), qualification_level: level, status, ..Default::default() };
    let state = sync::State {
        fields: shown.encode_to_vec().into(),
        stamp,
        site: SiteCode::PROVINCE.0,
        ..sync::State::default()
    };
    let item = sync::Item {
        kind: MEMBER,
        record: Bytes::copy_from_slice(&record.0),
        hub_seq,
        home: site.code().0,
        own_seq_inclusive: 1,
        what: Some(sync::item::What::State(state)),
    };
    let cursor = Some(position_to_pb(Position { generation, hub_seq }));
    let deliver =
        sync::Deliver { items: vec![item], own_seq_inclusive: 1, cursor, ..sync::Deliver::default() };
    site.receive(&deliver).expect("received");
}

fn history(starts: &[(u64, u64)]) -> Generations {
    let start = |(generation, first_hub_seq): &(u64, u64)| GenerationStart {
        generation: *generation,
        first_hub_seq: *first_hub_seq,
    };
    Generations::new(starts.iter().map(start).collect())
}

fn shown(site: &Site, record: RecordId) -> Fields {
    site.get(MEMBER, record).expect("read").expect("it is there").fields
}

/// The site with an index that is made from its log alone.
fn rebuilt(site: Arc<Site>, dir: &Path) -> Arc<Site> {
    let digest = site.index().digest();
    site.close().expect("closed");
    drop(site);
    std::fs::remove_dir_all(Paths::new(dir).index()).expect("removed");
    let site = open(dir);
    assert_eq!(site.index().digest(), digest, "a rebuild gives the same");
    site
}

#[test]
fn what_a_restored_hub_has_lost_is_shown_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = put(&site, None, "社工");
    site.welcomed(&history(&[(7, 1)])).expect("learned");
    deliver(&site, record, 7, 40, 1);
    put(&site, Some(record), "督导");
    let (level, post) = (18, 16);
    assert!(shown(&site, record).get(level).is_some());
    // A hub that goes on behind that place loses nothing.
    site.welcomed(&history(&[(7, 1), (8, 41)])).expect("learned");
    assert!(shown(&site, record).get(level).is_some());
    let mut known = history(&[(7, 1), (8, 41)]);
    known.learn(&history(&[(7, 1), (9, 31)]));
    site.welcomed(&known).expect("learned");
    let check = |site: &Site| {
        let fields = shown(site, record);
        assert_eq!((fields.get(level), fields.str(post)), (None, Some("督导")), "its own edits stay");
    };
    check(&site);
    check(&rebuilt(site, dir.path()));
}

#[test]
fn a_rebuild_gives_the_stamps_that_were_there_when_the_hubs_clock_was_years_ahead() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let record = put(&site, None, "社工");
    let ahead = liandong_proto::stamp::Stamp::at_ms(crate::now::now_ms() + 10 * YEAR_MS);
    deliver(&site, record, 7, 40, ahead.0);
    let site = rebuilt(site, dir.path());
    put(&site, Some(record), "督导");
    let newest = site.log.read(Pos::default()).map(|raw| raw.expect("sound"));
    let newest = newest.filter(|raw| raw.kind == record_kind::OWN).last().expect("an entry");
    let Record::Own(entry) = Record::read(&newest).expect("read") else { panic!("it is an own entry") };
    let stamp = liandong_proto::entry::Header::decode(&entry.header).expect("a header").stamp;
    assert!(stamp.ms() < crate::now::now_ms() + YEAR_MS, "its own clock is not dragged along");
}
