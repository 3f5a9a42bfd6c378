//! What a site does when something under it fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use liandong_proto::fields::Fields;
use liandong_proto::pb::record::v1 as record;
use liandong_proto::pb::sync::v1 as sync;

use super::*;

const MEMBER: u32 = 1;

fn open(dir: &Path) -> Arc<Site> {
    Site::open(&SiteOptions::new(dir), &mut |_| {}).expect("the site opens")
}

fn made(dir: &Path) -> Arc<Site> {
    Site::init(dir, SiteCode(440_100)).expect("a site is made");
    open(dir)
}

fn member(site: &Site) -> Result<Vec<PutAnswer>, SiteError> {
    let status = record::MemberStatus::Active as i32;
    let member = record::Member { name: "王芳".into(), status, ..record::Member::default() };
    let fields = Fields::split(member.encode_to_vec()).expect("a message");
    site.put(vec![Put::set(MEMBER, None, fields)], &By::default(), false)
}

fn own_entries(site: &Site) -> usize {
    let read = site.log.read(Pos::default()).map(|raw| raw.expect("sound"));
    read.filter(|raw| raw.kind == record_kind::OWN).count()
}

/// What is in the log is saved: told otherwise, a clerk would write it once more.
#[test]
fn a_write_that_fails_is_not_in_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    member(&site).expect("saved");
    site.index.condemn();
    let saved = (0..3).filter(|_| member(&site).is_ok()).count();
    site.greet([7; 16]).expect("noted in the log all the same");
    assert_eq!(own_entries(&site), 1 + saved);
    drop(site);
    let site = open(dir.path());
    assert_eq!(
        site.list(&Query { kind: MEMBER, ..Query::default() }).expect("read").records.len(),
        1 + saved
    );
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
    assert!(error.to_string().contains("restart the site"), "{error}");
    assert!(site.receive(&sync::Deliver::default()).is_err() && site.greet([7; 16]).is_err());
    assert_eq!(site.log.end(), end);
    assert_eq!(site.list(&Query { kind: MEMBER, ..Query::default() }).expect("read").records.len(), 0);
}

/// The check that the writer keeps is that of the row in the index, or the digest would drift.
#[test]
fn the_digest_holds_over_all_kinds_of_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    for n in 0..3 {
        member(&site).expect("saved");
        site.greet([n; 16]).expect("noted");
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
