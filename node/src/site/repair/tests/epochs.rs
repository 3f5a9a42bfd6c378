//! Holes over the ends and beginnings of epochs.

use super::*;

/// The log is as it was before its records were damaged, whatever else there is to say.
#[track_caller]
fn check(named: &[&str], index: bool) {
    let made = Made::new(&[(1, 3), (2, 2), (3, 3)]);
    made.tried(7);
    made.indexed();
    let before = made.line();
    made.flip(named);
    if !index {
        made.without_index();
    }
    let done = made.repair(&made.hub(), false).unwrap_or_else(|why| panic!("{named:?}: {why}"));
    assert_eq!(done.fetched, named.iter().filter(|name| !name.ends_with(".0")).count() as u64);
    assert_eq!(made.line(), before, "{named:?}");
    let site = made.open().expect("it opens");
    assert_eq!((site.origin().epoch, site.row().mark_base, site.row().seq), (epoch(3), 5, 3));
    assert_eq!(site.row().line.len(), 2, "where each goes on from");
}

#[test]
fn a_hole_over_whole_epochs_is_filled_in_the_order_of_their_anchors() {
    for index in [true, false] {
        check(&["2.0", "2.1", "2.2"], index);
        check(&["2.0", "2.1", "2.2", "3.0"], index);
        check(&["1.3", "2.0", "2.1", "2.2", "3.0", "3.1"], index);
        check(&["1.0", "1.1", "1.2", "1.3", "2.0", "2.1", "2.2", "3.0"], index);
    }
}

#[test]
fn the_end_of_an_older_epoch_is_known_by_what_goes_on_from_it() {
    for index in [true, false] {
        check(&["1.3"], index);
        check(&["1.2", "1.3", "2.0"], index);
        check(&["2.2"], index);
        check(&["3.0"], index);
    }
    // The hub does not have the last of it: that is no end where nothing is known.
    let made = Made::new(&[(1, 3), (2, 2)]);
    made.indexed();
    made.flip(&["1.3"]);
    let mut hub = made.hub();
    hub.entries.remove(2);
    let damaged = std::fs::read(made.segment()).expect("readable");
    refused(made.repair(&hub, true), "3 to 3");
    assert_eq!(std::fs::read(made.segment()).expect("readable"), damaged);
}

/// In whatever order the entries come.
#[test]
fn the_anchors_decide_and_not_the_order_in_which_entries_come() {
    let made = Made::new(&[(9, 2), (5, 2), (7, 2), (1, 1)]);
    made.indexed();
    made.without_index();
    let before = made.line();
    made.flip(&["9.0", "9.1", "9.2", "5.0", "5.1", "5.2", "7.0", "7.1", "7.2", "1.0"]);
    let mut hub = made.hub();
    hub.entries.reverse();
    made.repair(&hub, false).expect("repaired");
    assert_eq!(made.line(), before);
}

#[test]
fn an_epoch_that_nobody_has_leaves_a_line_that_does_not_close() {
    let made = Made::new(&[(1, 2), (2, 2), (3, 2)]);
    made.indexed();
    made.without_index();
    made.flip(&["2.0", "2.1", "2.2", "3.0"]);
    let mut hub = made.hub();
    hub.entries.drain(2..4);
    refused(made.repair(&hub, true), "does not close");
    made.repair(&made.hub(), false).expect("with them it does");
}

/// The hub has heard of an older epoch only: it is asked as that one, and has what is missing there.
#[test]
fn a_hub_that_does_not_know_the_newest_epoch_gives_back_what_it_has() {
    let made = Made::new(&[(1, 3), (2, 2)]);
    made.indexed();
    let before = made.line();
    made.flip(&["1.2", "2.2"]);
    let hub = Hub { held: epoch(1), anchor: None, entries: made.entries[..3].to_vec() };
    let mut repair = Repair::look(&options(made.dir.path()), &mut |_| {}).expect("looked");
    let (origin, after) = repair.ask(hub.held, hub.anchor).expect("it can be asked");
    assert_eq!((origin.epoch, after.seq), (epoch(1), 0));
    drop(repair);
    refused(made.repair(&hub, false), "--accept-loss");
    let done = made.repair(&hub, true).expect("repaired");
    assert_eq!((done.fetched, done.lost, done.perhaps_more), (1, Some((2, 2)), false));
    assert_eq!(made.line(), before[..before.len() - 1]);
}

#[test]
fn the_newest_epoch_may_be_in_the_hole_as_a_whole() {
    // With an index that has seen it, sent or not, and with the hub's word alone.
    for (index, sent) in [(true, true), (true, false), (false, true)] {
        let made = Made::new(&[(1, 2), (2, 2)]);
        made.tried(7);
        made.indexed();
        let before = made.line();
        made.flip(&["2.0", "2.1", "2.2"]);
        let mut hub = made.hub();
        if !sent {
            hub = Hub { held: epoch(1), anchor: None, entries: hub.entries[..2].to_vec() };
        }
        if !index {
            made.without_index();
        }
        let first = made.repair(&hub, false);
        let done = match (index, sent) {
            (true, true) => first.expect("all is known"),
            (true, false) => {
                refused(first, "entries 1 to 2");
                made.repair(&hub, true).expect("accepted")
            }
            _ => {
                refused(first, "behind 2");
                made.repair(&hub, true).expect("accepted")
            }
        };
        let kept = if sent { 5 } else { 3 };
        assert_eq!(made.line()[..], before[..kept + 1].to_vec()[..made.line().len()], "{index} {sent}");
        assert_eq!((done.lost, done.perhaps_more), ((!sent).then_some((1, 2)), !index));
        assert_eq!(made.open().expect("it opens").origin().epoch, epoch(2));
    }
}

/// This machine is the copy: what another one has gone on with, from the newest entry that the hub has or from one before, is
/// not its own.
#[test]
fn an_epoch_that_another_machine_began_is_not_taken_for_a_part_of_this_log() {
    for from in [3, 4] {
        let mut made = Made::new(&[(1, 4)]);
        made.tried(7);
        made.write(1);
        made.indexed();
        made.without_index();
        let mut theirs = Made::new(&[(1, 0)]);
        theirs.key = CityKey::new(&read_key(&made.paths().city_key()).expect("a key"));
        let Head { seq, hash } = head_of(&made.entries[from - 1]);
        theirs.anchor = Some(Anchor { epoch: epoch(1), seq, hash });
        (theirs.newest, theirs.head) = (epoch(2), Head::default());
        theirs.write(2);
        let entries = [&made.entries[..from], &theirs.entries[..]].concat();
        let hub = Hub { held: epoch(2), anchor: theirs.anchor, entries };
        made.flip(&["1.2", "1.5"]);
        let done = made.repair(&hub, true).expect("accepted");
        assert_eq!((done.fetched, done.perhaps_more), (1, true));
        assert_eq!(made.line(), ["1.0", "1.1", "1.2", "1.3", "1.4"]);
        assert_eq!(made.open().expect("it opens").origin().epoch, epoch(1));
    }
}

/// Nothing of the line can be read, and the index knows whose it was.
#[test]
fn a_log_without_a_beginning_gets_it_from_the_index() {
    let made = Made::new(&[(4, 0)]);
    made.tried(7);
    made.indexed();
    made.flip(&["4.0"]);
    made.repair(&made.hub(), false).expect("repaired");
    assert_eq!(made.line(), ["4.0"]);
    assert_eq!(made.open().expect("it opens").origin().epoch, epoch(4));
    made.flip(&["4.0"]);
    made.without_index();
    refused(made.repair(&made.hub(), true), "nothing to repair");
}
