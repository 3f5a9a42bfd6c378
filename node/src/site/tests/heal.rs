//! Records held against the log while others write.

use std::cell::RefCell;
use std::sync::Barrier;
use std::thread;

use liandong_proto::fields::FieldsBuilder;

use super::*;
use crate::index::Staged;
use crate::site::write_key;

const POST: u32 = 16;

/// A member of the site.
fn one(site: &Site) -> (u32, RecordId) {
    (MEMBER, member(site).expect("put").first().expect("an answer").record)
}

/// A name for every number.
fn name_of(n: u32) -> String {
    ['王', char::from_u32(0x4e00 + n).expect("a character")].iter().collect()
}

fn rename(site: &Site, key: (u32, RecordId), name: &str) {
    let sent = record::Member { name: name.into(), ..record::Member::default() };
    let fields = Fields::split(sent.encode_to_vec()).expect("a message");
    let answers = site.put(vec![Put::set(key.0, Some(key.1), fields)], &By::default(), false).expect("put");
    assert!(answers.iter().all(|answer| answer.problems.is_empty()));
}

fn name(site: &Site, key: (u32, RecordId)) -> String {
    let (state, _) = site.state(key.0, key.1).expect("readable").expect("there");
    record::Member::decode(state.fields.bytes().clone()).expect("a member").name
}

/// The post of a member, in the index behind the log's back; nobody else writes it.
fn alter(site: &Site, key: (u32, RecordId)) {
    let _writer = locked(&site.writer);
    let (mut state, check) = site.state(key.0, key.1).expect("readable").expect("there");
    state.fields = state.fields.patched(&FieldsBuilder::new().str(POST, "改过的岗位").take(), &[]);
    let staged =
        Staged { key: rows::record(key.0, key.1), old: Some(check), new: Some(state.encode().into()) };
    site.index.stage(&[staged], site.log.end().to_bytes());
}

/// What of a member the index has, and nothing of it that was altered.
#[track_caller]
fn sound(site: &Site, key: (u32, RecordId)) {
    let (state, _) = site.state(key.0, key.1).expect("readable").expect("there");
    assert_eq!(state.fields.str(POST), None);
    assert_eq!(site.heal(&[key]).expect("healed"), [], "it is as the log has it");
    assert_eq!(site.verify(&[], &mut |_| {}).expect("readable").faults, []);
}

#[test]
fn what_the_index_has_otherwise_is_made_again_and_what_is_right_is_read_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let (altered, sound) = (one(&site), one(&site));
    let before = site.state(altered.0, altered.1).expect("readable").expect("there").0;
    alter(&site, altered);
    assert_ne!(site.state(altered.0, altered.1).expect("readable").expect("there").0, before);
    let both = [altered, sound];
    assert_eq!(site.unproved(&both).expect("readable"), both);
    assert_eq!(site.heal(&both).expect("healed"), [altered]);
    assert_eq!(site.state(altered.0, altered.1).expect("readable").expect("there").0, before);
    assert_eq!(site.unproved(&both).expect("readable"), [altered], "what was found right is known");
    assert_eq!(site.heal(&both).expect("healed"), []);
    assert_eq!(site.unproved(&both).expect("readable"), []);
    rename(&site, sound, &name_of(1));
    assert_eq!(site.unproved(&both).expect("readable"), [sound], "until it changes");
    assert_eq!(site.heal(&[sound]).expect("healed"), []);
    assert_eq!(site.unproved(&both).expect("readable"), [], "what was proved before still is");
}

/// Each time there is something to put right, and writers are at it.
#[test]
fn what_is_written_while_records_are_put_right_stays() {
    const TIMES: usize = 12;
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let key = one(&site);
    for _ in 0..200 {
        one(&site);
    }
    let (done, begun) = (AtomicBool::new(false), Barrier::new(2));
    let written = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut written = 0;
            while !done.load(Ordering::Relaxed) {
                rename(&site, key, &name_of(written));
                if written == 0 {
                    begun.wait();
                }
                written += 1;
            }
            written
        });
        begun.wait();
        for _ in 0..TIMES {
            alter(&site, key);
            assert_eq!(site.heal(&[key]).expect("healed"), [key]);
        }
        done.store(true, Ordering::Relaxed);
        writing.join().expect("it writes")
    });
    assert_eq!(name(&site, key), name_of(written - 1));
    sound(&site, key);
}

/// What comes between the long reading and the short one is read by the short one.
#[test]
fn a_change_that_comes_meanwhile_is_made_again_with_the_rest() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let (key, new) = (one(&site), RefCell::new(None));
    alter(&site, key);
    let meanwhile = || {
        rename(&site, key, "王新");
        *new.borrow_mut() = Some(one(&site));
    };
    assert_eq!(site.heal_beside(&[key], meanwhile).expect("healed"), [key]);
    assert_eq!(name(&site, key), "王新");
    sound(&site, key);
    sound(&site, new.into_inner().expect("written"));
}

#[test]
fn nor_does_an_erasure_that_comes_meanwhile_bring_anything_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let (gone, altered) = (one(&site), one(&site));
    alter(&site, gone);
    alter(&site, altered);
    let meanwhile = || {
        site.erase_records(gone.0, &[gone.1], &By::default()).expect("erased");
    };
    let healed = site.heal_beside(&[gone, altered], meanwhile).expect("healed");
    assert_eq!(healed, [altered], "what the erasure has left is what the log has");
    let (state, _) = site.state(gone.0, gone.1).expect("readable").expect("its tombstone");
    assert!(state.deleted() && state.fields.is_empty(), "{:?}", state.fields);
    assert!(!site.erasures_wait().expect("readable"), "and its proof stands");
    sound(&site, altered);
}

/// The hourly look at the keys takes the next one, and somebody writes with it.
#[test]
fn a_city_key_that_is_taken_meanwhile_opens_what_was_sealed_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let key = one(&site);
    alter(&site, key);
    let meanwhile = || {
        write_key(&site.paths.next_city_key(), &[9; 32]).expect("written");
        site.take_next_city_key().expect("taken");
        // It never leaves the city: it is sealed.
        let sent = record::Member { remarks: "一句只在本市的话".into(), ..record::Member::default() };
        let fields = Fields::split(sent.encode_to_vec()).expect("a message");
        site.put(vec![Put::set(key.0, Some(key.1), fields)], &By::default(), false).expect("put");
    };
    assert_eq!(site.heal_beside(&[key], meanwhile).expect("healed"), [key]);
    sound(&site, key);
}

/// Nothing of it is written beside the index: what stands there, and a disk that is full, are no hindrance.
#[test]
fn no_file_is_needed() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let key = one(&site);
    alter(&site, key);
    let names = || {
        let names = std::fs::read_dir(dir.path()).expect("listed").map(|it| it.expect("one").file_name());
        // The audit log begins with its first record.
        names.filter(|name| name != "audit").collect::<std::collections::BTreeSet<_>>()
    };
    let before = names();
    let during = RefCell::new(before.clone());
    assert_eq!(site.heal_beside(&[key], || *during.borrow_mut() = names()).expect("healed"), [key]);
    assert_eq!((during.into_inner(), names()), (before.clone(), before));
}
