//! What is lost at the end: what an index knows of it, and what nobody knows.

use super::*;

/// The entries that are named as lost, and whether there may have been more.
type Told = (Option<(u64, u64)>, bool);

fn five() -> Made {
    let made = Made::new(&[(1, 5)]);
    made.tried(7);
    made
}

/// Repairs once the loss is accepted, if there is any; what is said of it.
#[track_caller]
fn lost(made: &Made, hub: &Hub) -> Told {
    let done = match made.repair(hub, false) {
        Ok(done) => {
            assert_eq!((done.lost, done.perhaps_more), (None, false));
            done
        }
        Err(SiteError::Refused(why)) => {
            assert!(why.contains("--accept-loss"), "{why}");
            made.repair(hub, true).expect("accepted")
        }
        Err(other) => panic!("{other}"),
    };
    let site = made.open().expect("it opens");
    let noted = made.records().into_iter().find(|raw| raw.kind == record_kind::REPAIRED).expect("noted");
    let Record::Repaired(noted) = Record::read(&noted).expect("readable") else { panic!("another kind") };
    let count = done.lost.map_or(0, |(first, last)| last - first + 1);
    assert_eq!((noted.lost, noted.perhaps_more), (count, done.perhaps_more));
    assert!(!done.again || site.row().nonces.contains(&Bytes::from(vec![7; 16])), "{:?}", site.row().nonces);
    (done.lost, done.perhaps_more)
}

#[test]
fn an_index_that_had_followed_the_log_knows_all_that_is_lost() {
    let made = five();
    made.indexed();
    made.flip(&["1.4", "1.5"]);
    assert_eq!(lost(&made, &made.hub()), (None, false));
    assert_eq!(made.line().len(), 6);
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let made = five();
    made.indexed();
    made.flip(&["1.4", "1.5"]);
    assert_eq!(lost(&made, &made.hub().lacks(1)), (Some((5, 5)), false));
}

#[test]
fn without_an_index_nobody_knows_what_stood_at_the_end() {
    for lacks in [0, 2] {
        let made = five();
        made.indexed();
        made.flip(&["1.4", "1.5"]);
        made.without_index();
        assert_eq!(lost_unmarked(&made, &made.hub().lacks(lacks)), (None, true), "{lacks}");
    }
    // An entry stands behind the damage: all is known.
    let made = five();
    made.flip(&["1.3"]);
    assert_eq!(made.repair(&made.hub(), false).expect("repaired").fetched, 1);
}

/// The same, where the mark of the session is what it is.
#[track_caller]
fn lost_unmarked(made: &Made, hub: &Hub) -> Told {
    refused(made.repair(hub, false), "perhaps");
    let done = made.repair(hub, true).expect("accepted");
    (done.lost, done.perhaps_more)
}

/// The index had followed the log to the third entry, or to the fifth; a sixth and a seventh came after.
#[test]
fn an_index_that_was_behind_knows_at_least_what_it_had_seen() {
    let cases: [(u64, &[&str], usize, Told); 5] = [
        (3, &["1.6", "1.7"], 0, (None, true)),
        (3, &["1.6", "1.7"], 2, (None, true)),
        (5, &["1.4", "1.5", "1.6", "1.7"], 4, (Some((4, 5)), true)),
        (5, &["1.5", "1.6"], 0, (None, false)),
        (7, &["1.6", "1.7"], 1, (Some((7, 7)), false)),
    ];
    for (seen, flipped, lacks, expected) in cases {
        let mut made = Made::new(&[(1, 0)]);
        made.tried(7);
        made.write(seen);
        made.indexed();
        made.write(7 - seen);
        made.flip(flipped);
        let hub = made.hub().lacks(lacks);
        assert_eq!(lost(&made, &hub), expected, "{seen} seen, {flipped:?}");
    }
}

#[test]
fn a_torn_tail_that_was_never_synced_is_no_loss() {
    let made = five();
    made.indexed();
    let (log, _) = Log::open(&made.paths().log(), log::Options::default()).expect("it opens");
    let mut batch = Batch::new();
    batch.push(record_kind::OWN, &Encoded::new(&made.entry(made.head, 1)).parts());
    let end = log.append(&batch, 6).expect("appended").end;
    drop(log);
    made.edit(|bytes| bytes[end.offset as usize - 3] ^= 1);
    let repair = made.asked(&made.hub()).expect("looked");
    assert!(repair.holes().is_empty() && repair.cut > 0);
    drop(repair);
    assert_eq!(made.open().expect("it opens").row().seq, 5);
}

/// The log has lost its end, or is an older copy: its index has seen more. Nothing is begun without it.
#[test]
fn a_log_that_ends_before_its_index_is_refused_until_the_loss_is_accepted() {
    for lacks in [0, 2] {
        let mut made = Made::new(&[(1, 0)]);
        made.tried(7);
        made.write(3);
        let older = std::fs::read(made.segment()).expect("readable");
        made.write(2);
        made.indexed();
        std::fs::write(made.segment(), &older).expect("written");
        for _ in 0..4 {
            let error = made.open().err().expect("it is refused");
            assert!(matches!(error, SiteError::Index(IndexError::AheadOfLog)), "{error}");
            assert_eq!(error.class(), Class::Damaged);
            let rebuilt = Site::rebuild(&options(made.dir.path()), &mut |_| {});
            assert!(matches!(rebuilt, Err(SiteError::Index(IndexError::AheadOfLog))));
            let taken = crate::site::Takeover::begin(made.dir.path());
            assert!(matches!(taken, Err(SiteError::Index(IndexError::AheadOfLog))));
        }
        assert_eq!(std::fs::read(made.segment()).expect("readable"), older, "nothing was changed");
        let expected = if lacks == 0 { None } else { Some((4, 5)) };
        assert_eq!(lost(&made, &made.hub().lacks(lacks)), (expected, true));
        assert_eq!(made.line().len(), 6 - lacks);
    }
}

/// The end of the log reads as zeros, from the middle of a record on: nobody knows how far it went.
#[test]
fn an_end_of_zeros_may_have_held_more_than_the_index_had_seen() {
    for behind in [true, false] {
        let mut made = Made::new(&[(1, 0)]);
        made.tried(7);
        made.write(5);
        if behind {
            made.welcomed(7);
        }
        made.indexed();
        let last = made.records().into_iter().rfind(|raw| raw.kind == record_kind::OWN).expect("an entry");
        made.edit(|bytes| bytes[last.pos.offset as usize + 50..].fill(0));
        assert_eq!(lost(&made, &made.hub().lacks(1)), (Some((5, 5)), true), "{behind}");
    }
}

/// Nothing in the log proves that its last batch was synced: the index does, and it is not cut.
#[test]
fn a_damaged_end_that_the_index_has_seen_is_no_torn_tail() {
    let made = five();
    made.indexed();
    let last = made.records().pop().expect("a record");
    made.edit(|bytes| {
        bytes[last.next.offset as usize - 2] ^= 1;
        // What an idle log ends with.
        bytes[last.next.offset as usize..].fill(0);
    });
    let damaged = std::fs::read(made.segment()).expect("readable");
    let error = made.open().err().expect("it is refused");
    assert!(matches!(error, SiteError::Log(crate::log::LogError::Damaged { .. })), "{error}");
    assert_eq!(std::fs::read(made.segment()).expect("readable"), damaged, "nothing was cut");
    assert_eq!(lost(&made, &made.hub()), (None, false));
    assert_eq!(made.line().len(), 6);
}

/// The chain alone does not tell the last entry from another one in its place.
#[test]
fn what_the_hub_has_is_held_against_what_the_index_knows() {
    let made = five();
    made.indexed();
    made.flip(&["1.5"]);
    let other = made.entry(head_of(&made.entries[3]), 99);
    let mut hub = made.hub().lacks(1);
    hub.entries.push(other);
    refused(made.repair(&hub, true), "another one there");
    made.repair(&made.hub(), false).expect("the right one");
}

#[test]
fn an_index_of_another_log_is_no_witness() {
    let made = five();
    let other = Made::new(&[(1, 2)]);
    other.indexed();
    let bent = Made::new(&[(2, 2)]);
    bent.indexed();
    made.flip(&["1.4"]);
    for index in [other.paths().index(), bent.paths().index()] {
        made.without_index();
        copy(&index, &made.paths().index());
        refused(made.repair(&made.hub(), true), "another log");
    }
}

/// The mark of the newest session is lost, and so is the index: the welcome names it as well.
#[test]
fn the_nonce_of_a_session_outlives_its_mark() {
    let made = Made::new(&[(1, 2)]);
    made.tried(7);
    made.welcomed(7);
    let mark = made.records().into_iter().find(|raw| raw.kind == record_kind::TRIED).expect("a mark");
    made.edit(|bytes| bytes[mark.next.offset as usize - 2] ^= 1);
    made.repair(&made.hub(), true).expect("repaired");
    assert_eq!(made.open().expect("it opens").row().nonces, [vec![7; 16]]);
}
