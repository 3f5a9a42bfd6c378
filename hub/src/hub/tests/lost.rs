//! A log that has lost its end, beside an index that has seen it.

use std::fs;

use liandong_node::index::IndexError;
use liandong_node::log::segment_path;
use liandong_node::site::Class;

use super::*;

/// A hub that has written its registry, and has stopped: where its log is.
fn stopped(dir: &Path) -> PathBuf {
    let hub = made(dir);
    hub.invite(SiteCode(440_100), "127.0.0.1:1", "x").expect("invited");
    hub.say_restored("x").expect("said");
    hub.confirm("x").expect("the last record");
    hub.close().expect("closed");
    segment_path(&dir.join("log"), 1)
}

/// As a bad sector leaves it: the last batch cannot be read, nor the empty one behind it, which would prove that it was synced.
fn damage(segment: &Path) -> Vec<u8> {
    let mut bytes = fs::read(segment).expect("read");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("not empty") + 1;
    bytes[end - 60..end].fill(0x55);
    fs::write(segment, &bytes).expect("damaged");
    bytes
}

/// Names of what is in a hub's directory.
fn names(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        fs::read_dir(dir).expect("listed").map(|entry| entry.expect("one").file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_damaged_end_that_the_index_has_seen_is_not_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = stopped(dir.path());
    let (damaged, before) = (damage(&segment), names(dir.path()));
    let options = HubOptions::new(dir.path());
    type Opens = fn(&HubOptions, OnProgress<'_>) -> Result<Arc<Hub>, SiteError>;
    for opens in [Hub::open as Opens, Hub::rebuild, Hub::open] {
        let error = opens(&options, &mut |_| {}).err().expect("its end is missing");
        assert!(matches!(error, SiteError::Index(IndexError::AheadOfLog)), "{error}");
        assert_eq!(error.class(), Class::Damaged);
        assert!(error.to_string().contains("--accept-loss"), "{error}");
        assert!(fs::read(&segment).expect("read") == damaged, "nothing was changed");
        assert_eq!(names(dir.path()), before, "the index is where it was");
    }
    let loss = Hub::loss(&options).expect("looked at").expect("something is lost");
    assert!(fs::read(&segment).expect("read") == damaged, "nothing was changed");

    let (hub, lost) = Hub::rebuild_without(&options, "secretary-1", &mut |_| {}).expect("accepted");
    assert_eq!(lost, Some(loss));
    hub.close().expect("closed");
    drop(hub);
    let hub = Hub::open(&options, &mut |_| {}).expect("it opens");
    assert!(hub.read(|now| now.registry.members.unconfirmed_since().is_some()), "as one that was put back");
    hub.close().expect("closed");
    drop(hub);
    assert_eq!(Hub::loss(&options).expect("looked at"), None);
}

#[test]
fn an_end_that_nobody_has_seen_is_cut_as_ever() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = stopped(dir.path());
    damage(&segment);
    fs::remove_dir_all(dir.path().join("index")).expect("gone");
    let options = HubOptions::new(dir.path());
    assert_eq!(Hub::loss(&options).expect("looked at"), None);
    let (hub, lost) = Hub::rebuild_without(&options, "secretary-1", &mut |_| {}).expect("it opens");
    assert_eq!(lost, None, "nothing is known to be lost");
    hub.close().expect("closed");
}

/// A loss that is accepted of a log that cannot be read otherwise: the index stays, and so does its word.
#[test]
fn an_accepted_loss_does_not_let_go_of_the_index_of_a_damaged_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = stopped(dir.path());
    let mut bytes = fs::read(&segment).expect("read");
    // Long before its end.
    bytes[100] ^= 1;
    fs::write(&segment, &bytes).expect("damaged");
    let before = names(dir.path());
    let options = HubOptions::new(dir.path());
    let error = Hub::rebuild_without(&options, "x", &mut |_| {}).map(|_| ()).expect_err("damaged");
    assert!(error.to_string().contains("damaged"), "{error}");
    assert!(fs::read(&segment).expect("read") == bytes, "nothing was changed");
    assert_eq!(names(dir.path()), before);
}
