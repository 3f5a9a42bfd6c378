//! A repair that is cut short between any of its steps, and done again.

use super::*;

fn damaged() -> Made {
    let made = Made::new(&[(1, 5)]);
    made.tried(7);
    made.indexed();
    made.flip(&["1.4", "1.5"]);
    made
}

#[track_caller]
fn check(made: &Made) {
    let site = made.open().expect("it opens");
    assert_eq!((site.row().seq, site.row().nonces.clone()), (4, vec![Bytes::from(vec![7; 16])]));
    assert_eq!(made.line(), ["1.0", "1.1", "1.2", "1.3", "1.4"]);
    assert!(!made.paths().next_log().exists());
}

/// The new log is there, and nothing else was done: the same is found once more, and the same is lost.
#[test]
fn before_the_logs_have_changed_places_everything_is_as_it_was() {
    let made = damaged();
    let hub = made.hub().lacks(1);
    for _ in 0..2 {
        let mut repair = made.asked(&hub).expect("looked");
        let done = repair.write("", true).expect("written");
        assert_eq!((done.lost, done.perhaps_more), (Some((5, 5)), false));
        assert!(made.paths().unfinished_log().exists() && made.paths().index().exists());
    }
    // Whole by its name, and yet the log is in its place.
    std::fs::rename(made.paths().unfinished_log(), made.paths().next_log()).expect("moved");
    refused(made.repair(&hub, false), "entries 5 to 5");
    made.repair(&hub, true).expect("repaired");
    check(&made);
}

/// The damaged log has been put aside: whoever comes next ends the repair, and does not read the new log by the index of the
/// old one.
#[test]
fn once_the_damaged_log_is_aside_the_next_start_ends_the_repair() {
    for again in [false, true] {
        let made = damaged();
        let hub = made.hub().lacks(1);
        let mut repair = made.asked(&hub).expect("looked");
        repair.write("", true).expect("written");
        drop(repair);
        let paths = made.paths();
        std::fs::rename(paths.unfinished_log(), paths.next_log()).expect("moved");
        std::fs::rename(paths.log(), paths.damaged_log(5)).expect("moved");
        if again {
            let index = crate::index::Index::set_aside(&paths.index()).expect("moved");
            assert!(
                index.is_some() && crate::index::Index::set_aside(&paths.index()).expect("none").is_none()
            );
        }
        assert!(made.asked(&hub).expect("looked").holes().is_empty(), "it is repaired");
        assert!(made.dir.path().join("index.broken-1").exists());
        check(&made);
    }
}
