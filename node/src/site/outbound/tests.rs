//! An acceptance is for exactly the rules that were shown, and stands in the log.

use std::path::Path;

use liandong_proto::id::SiteCode;
use liandong_proto::pb::record::v1 as record;
use liandong_proto::schema::Share;
use liandong_proto::share::rules::number;
use pb::rule_change::Change as What;

use super::*;
use crate::site::{By, Put, Records as _, SiteOptions};

const MEMBER: u32 = 1;
/// Tag of a member's e-mail address, which is sealed.
const EMAIL: u32 = 7;

fn open(dir: &Path, rules: Rules) -> std::sync::Arc<Site> {
    Site::open(&SiteOptions { rules, ..SiteOptions::new(dir) }, &mut |_| {}).expect("the site opens")
}

fn write(site: &Site) -> RecordId {
    let member = record::Member {
        name: "王芳".into(),
        email: "fang@example.org".into(),
        status: record::MemberStatus::Active as i32,
        ..record::Member::default()
    };
    let fields = Fields::split(member.encode_to_vec()).expect("a message");
    site.put(vec![Put::set(MEMBER, None, fields)], &By::default(), false).expect("written")[0].record
}

fn accept(site: &Site) {
    site.accept_outbound(&site.rules().fingerprint(), "A7", false).expect("accepted");
}

fn is_accepted(site: &Site) -> bool {
    *site.outbound_accepted().borrow()
}

/// The rules in force, with another class for one field.
fn with_email(share: Share) -> Rules {
    let mut rules = Rules::in_force();
    let email = rules.rules.iter_mut().find(|rule| (rule.kind, rule.tag) == (MEMBER, EMAIL));
    email.expect("a rule").share = share;
    rules
}

#[test]
fn changed_rules_have_to_be_accepted_anew_and_the_preview_says_what_has_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    Site::init(dir.path(), SiteCode(440_100)).expect("a site is made");
    let site = open(dir.path(), Rules::in_force());
    write(&site);
    assert!(!is_accepted(&site));
    let other = with_email(Share::Open).fingerprint();
    assert!(
        matches!(site.accept_outbound(&other, "A7", false), Err(SiteError::Refused(_))),
        "not what was shown"
    );
    assert!(!is_accepted(&site));
    accept(&site);
    assert!(is_accepted(&site));
    write(&site);
    site.close().expect("closed");
    drop(site);

    let site = open(dir.path(), with_email(Share::Open));
    assert!(!is_accepted(&site), "an update lets the address travel");
    let preview = site.preview_outbound(1).expect("a preview");
    assert_eq!((preview.accepted, preview.accepted_by.as_str()), (false, "A7"));
    let [change] = preview.changes.as_slice() else { panic!("one change: {:?}", preview.changes) };
    assert_eq!(change.change(), What::Further);
    let before = change.before.as_ref().map(|rule| rule.share);
    assert_eq!(
        (change.rule.as_ref().map(|rule| rule.tag), before),
        (Some(EMAIL), Some(number(Share::Sealed)))
    );
    accept(&site);
    let preview = site.preview_outbound(1).expect("a preview");
    assert!(preview.accepted && preview.changes.is_empty(), "{:?}", preview.changes);
    site.close().expect("closed");
    drop(site);
    // And back again: what was accepted once was accepted for other rules.
    assert!(!is_accepted(&open(dir.path(), Rules::in_force())));
}

#[test]
fn an_acceptance_outlives_the_index() {
    let dir = tempfile::tempdir().expect("a directory");
    Site::init(dir.path(), SiteCode(440_100)).expect("a site is made");
    let site = open(dir.path(), Rules::in_force());
    write(&site);
    accept(&site);
    let before = site.row();
    write(&site);
    site.close().expect("closed");
    drop(site);
    std::fs::remove_dir_all(super::super::Paths::new(dir.path()).index()).expect("the index is lost");
    let site = open(dir.path(), Rules::in_force());
    assert!(is_accepted(&site));
    let row = site.row();
    assert_eq!((row.accepted_rules, row.accepted_mark), (before.accepted_rules, before.accepted_mark));
    assert_eq!(site.preview_outbound(0).expect("a preview").accepted_by, "A7");
}

#[test]
fn a_preview_counts_what_waits_and_shows_it_as_it_leaves() {
    let dir = tempfile::tempdir().expect("a directory");
    Site::init(dir.path(), SiteCode(440_100)).expect("a site is made");
    let site = open(dir.path(), Rules::in_force());
    let first = write(&site);
    write(&site);
    let post = record::Member { post: "主任".into(), ..record::Member::default() };
    let post = Fields::split(post.encode_to_vec()).expect("a message");
    site.put(vec![Put::set(MEMBER, Some(first), post)], &By::default(), false).expect("written");
    let preview = site.preview_outbound(1).expect("a preview");
    let members = preview.kinds.iter().find(|kind| kind.kind == MEMBER).expect("a kind");
    assert_eq!((members.waiting_changes, members.waiting_records, members.records), (3, 2, 2));
    let [row] = members.rows.as_slice() else { panic!("one sample: {:?}", members.rows) };
    let open: record::Member = prost::Message::decode(row.open.clone()).expect("a member");
    assert_eq!((open.name.as_str(), open.post.as_str(), open.email.as_str()), ("王芳", "主任", ""));
    assert_eq!(
        (row.sealed.as_slice(), row.waiting, row.record.as_ref()),
        ([EMAIL].as_slice(), true, first.0.as_slice())
    );
    assert!(preview.kinds.iter().all(|kind| kind.kind != 2), "award rounds are the province's");
}
