//! Records held against the log while others write.

use std::thread;

use liandong_proto::fields::FieldsBuilder;

use super::*;

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

/// The name of a member, in the index behind the log's back.
fn alter(site: &Site, key: (u32, RecordId)) {
    let (mut state, check) = site.state(key.0, key.1).expect("readable").expect("there");
    state.fields = state.fields.patched(&FieldsBuilder::new().str(1, "改名者").take(), &[]);
    let staged =
        Staged { key: rows::record(key.0, key.1), old: Some(check), new: Some(state.encode().into()) };
    site.index.stage(&[staged], site.log.end().to_bytes());
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

#[test]
fn what_is_written_while_the_log_is_read_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let site = made(dir.path());
    let key = one(&site);
    for _ in 0..200 {
        one(&site);
    }
    thread::scope(|scope| {
        let writing = scope.spawn(|| (0..300).for_each(|n| rename(&site, key, &name_of(n))));
        while !writing.is_finished() {
            assert_eq!(site.heal(&[key]).expect("healed"), []);
        }
    });
    assert_eq!(name(&site, key), name_of(299));
}
