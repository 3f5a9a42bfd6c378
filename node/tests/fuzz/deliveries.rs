//! What a hub delivers, with anything in it: taken in or refused, and never so that the site cannot be opened any more,
//! shows something else after a start, or cannot be written to.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use liandong_node::now::now_ms;
use liandong_node::site::{By, Class, Put, Query, Records as _, Site, SiteOptions, view};
use liandong_proto::fields::Fields;
use liandong_proto::id::{Epoch, Origin, RecordId};
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::record::v1 as record;
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::schema;
use liandong_proto::state::held_to_pb;
use prost::Message as _;

use crate::runner::run;
use crate::source::Source;
use crate::valid::{self, CITY, OTHER};

const MEMBER: u32 = 1;

fn options(dir: &Path) -> SiteOptions {
    SiteOptions { segment_bytes: 1 << 20, cache_bytes: 1 << 20, ..SiteOptions::new(dir) }
}

/// The site after a stop or a crash, with the index as that has left it or with one from the log.
fn again(source: &mut Source, site: Arc<Site>, dir: &Path) -> Arc<Site> {
    let before = shown(&site);
    if source.percent(50) {
        site.close().expect("closed");
    }
    drop(site);
    let open = if source.percent(50) { Site::rebuild } else { Site::open };
    let site = open(&options(dir), &mut |_| {}).expect("its log can be read");
    for (after, before) in shown(&site).lines().zip(before.lines()) {
        assert_eq!(after, before, "a start changes nothing");
    }
    site
}

/// All that the site shows, as text.
fn shown(site: &Site) -> String {
    let mut all = String::new();
    for kind in schema::kinds() {
        let query = Query { kind: kind.number, page_size: view::MAX_PAGE, deleted: true, ..Query::default() };
        all +=
            &format!("{:?}\n", site.list(&query).map(|page| page.records).map_err(|error| error.to_string()));
    }
    all
}

/// The newest own change that the hub has merged: one that there is, for the most part.
fn merged(source: &mut Source, written: u64) -> u64 {
    if source.percent(98) { source.number() % (written + 1) } else { source.edge() }
}

fn item(source: &mut Source, own: Origin, records: &[RecordId], written: u64) -> pb::Item {
    let state = valid::state(source);
    let held: Vec<log::HeldValue> = state.held.iter().map(held_to_pb).collect();
    let stamp = source.edge();
    let site = source.pick(&[CITY, OTHER]).0;
    let erased = source.percent(20).then(|| log::EntryRef {
        site: source.pick(&[CITY, OTHER]).0,
        epoch: Bytes::copy_from_slice(&source.pick(&[own.epoch, Epoch([3; 16])]).0),
        seq: source.edge(),
    });
    let what = match source.below(8) {
        0 => Some(pb::item::What::Withdrawn(pb::Withdrawn {})),
        1 | 2 => Some(pb::item::What::Tombstone(pb::Tombstone { stamp, site, held, erased })),
        3 => None,
        _ => {
            let fields = state.fields.bytes().clone();
            Some(pb::item::What::State(pb::State { fields, held, stamp, site }))
        }
    };
    pb::Item {
        kind: source.pick(&[MEMBER, MEMBER, MEMBER, 2, 7, 65_535]),
        record: Bytes::copy_from_slice(&source.pick(records).0),
        hub_seq: source.edge(),
        home: source.pick(&[CITY, CITY, OTHER]).0,
        own_seq_inclusive: merged(source, written),
        what,
    }
}

/// A clerk's change: written or answered, whatever has been delivered.
fn change(source: &mut Source, site: &Site, records: &mut Vec<RecordId>) {
    let kind = schema::kind(MEMBER).expect("members");
    let mut fields = valid::fields(source, kind);
    let record = source.percent(70).then(|| source.pick(records));
    if source.percent(50) {
        let status = record::MemberStatus::Active as i32;
        let member = record::Member { name: "王芳".into(), status, ..record::Member::default() };
        fields = Fields::split(member.encode_to_vec()).expect("a message");
    }
    let put = match record {
        Some(record) if source.percent(15) => Put::delete(MEMBER, record, None),
        record => Put::set(MEMBER, record, fields),
    };
    match site.put(vec![put], &By::default(), false) {
        Ok(answers) => records.extend(answers.iter().filter(|it| it.problems.is_empty()).map(|it| it.record)),
        Err(error) => assert!(matches!(error.class(), Class::Refused | Class::NotFound), "{error}"),
    }
}

#[test]
fn deliveries_are_taken_or_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("site");
    let (mut cases, mut taken, mut own) = (0u64, 0u64, 0u64);
    run("deliveries_are_taken_or_refused", 25, |source| {
        let _ = fs::remove_dir_all(&dir);
        Site::init(&dir, CITY).expect("a site is made");
        let mut site = Site::open(&options(&dir), &mut |_| {}).expect("it opens");
        let mut records: Vec<RecordId> = (0..3).map(|n| RecordId([n; 16])).collect();
        for _ in 0..2 + source.below(10) {
            for _ in 0..source.below(4) {
                change(source, &site, &mut records);
            }
            let written = site.status().expect("it answers").head_seq;
            let items =
                (0..source.below(5)).map(|_| item(source, site.origin(), &records, written)).collect();
            let place = pb::Position { generation: source.pick(&[0, 7, 8]), hub_seq: source.edge() };
            let deliver = pb::Deliver {
                items,
                own_seq_inclusive: merged(source, written),
                from_exclusive: source.percent(50).then_some(place),
                cursor: source.percent(95).then_some(place),
            };
            let bytes = source.mutated(deliver.encode_to_vec());
            let Ok(deliver) = pb::Deliver::decode(bytes.as_slice()) else { continue };
            match site.receive(&deliver) {
                Ok(_) => taken += 1,
                Err(error) => assert!(matches!(error.class(), Class::Refused | Class::Damaged), "{error}"),
            }
            if source.percent(10) {
                site = again(source, site, &dir);
            }
        }
        site = again(source, site, &dir);
        change(source, &site, &mut records);
        (cases, own) = (cases + 1, own + records.len() as u64 - 3);
    });
    assert!(cases < 20 || taken > cases && own > cases, "{taken} deliveries, {own} records in {cases} sites");
}

fn of_a_member(record: RecordId, own_seq: u64, stamp: u64) -> pb::Deliver {
    let state = pb::State { stamp, site: CITY.0, ..pb::State::default() };
    let item = pb::Item {
        kind: MEMBER,
        record: Bytes::copy_from_slice(&record.0),
        hub_seq: 5,
        home: CITY.0,
        own_seq_inclusive: own_seq,
        what: Some(pb::item::What::State(state)),
    };
    let cursor = Some(pb::Position { generation: 7, hub_seq: 5 });
    pb::Deliver { items: vec![item], cursor, ..pb::Deliver::default() }
}

fn new_member(site: &Site) -> RecordId {
    let status = record::MemberStatus::Active as i32;
    let member = record::Member { name: "王芳".into(), status, ..record::Member::default() };
    let fields = Fields::split(member.encode_to_vec()).expect("a message");
    let answers = site.put(vec![Put::set(MEMBER, None, fields)], &By::default(), false).expect("written");
    answers[0].record
}

#[test]
fn a_hub_cannot_have_merged_what_was_never_written() {
    let dir = tempfile::tempdir().expect("a directory");
    Site::init(dir.path(), CITY).expect("a site is made");
    let site = Site::open(&options(dir.path()), &mut |_| {}).expect("it opens");
    let record = new_member(&site);
    let refused = site.receive(&of_a_member(record, 2, 1)).expect_err("there is one entry");
    assert!(refused.class() == Class::Refused && refused.to_string().contains("has written 1"), "{refused}");
    let whole = pb::Deliver { own_seq_inclusive: u64::MAX, ..of_a_member(record, 1, 1) };
    assert!(site.receive(&whole).is_err());
    site.receive(&of_a_member(record, 1, 1)).expect("what there is");
}

#[test]
fn a_clock_years_ahead_does_not_drag_this_one_along_after_a_rebuild_either() {
    let dir = tempfile::tempdir().expect("a directory");
    Site::init(dir.path(), CITY).expect("a site is made");
    let mut site = Site::open(&options(dir.path()), &mut |_| {}).expect("it opens");
    let record = new_member(&site);
    site.receive(&of_a_member(record, 1, u64::MAX)).expect("taken in");
    for _ in 0..2 {
        let made = new_member(&site);
        let shown = site.get(MEMBER, made).expect("readable").expect("it is there");
        let hours = shown.stamp.ms().saturating_sub(now_ms()) / 3_600_000;
        assert!(hours <= 1, "{hours} hours ahead");
        drop(site);
        site = Site::rebuild(&options(dir.path()), &mut |_| {}).expect("its log can be read");
    }
}
