//! A record that was erased here, and of which the hub still has what it held.

use super::*;
use crate::site::{By, Put, Records as _};

/// Whether anything is left of what an entry held.
fn holds(made: &Made, seq: u64) -> bool {
    let own = made.records().into_iter().filter_map(|raw| match Record::read(&raw).expect("a record") {
        Record::Own(entry) => Some(entry),
        _ => None,
    });
    let mut found = own.filter(|entry| head_of(entry).seq == seq);
    let entry = found.next().expect("it is there");
    assert!(found.next().is_none());
    !(entry.open.is_empty() && entry.sealed.is_empty())
}

/// Erases the record of an entry, here alone; whether that is proved is seen.
fn erase(made: &Made, seq: usize) {
    let (header, _) = entry::check(&made.entries[seq - 1]).expect("sound");
    let site = made.open().expect("it opens");
    let put = Put { op: Op::Erase, ..Put::delete(header.kind, header.record, None) };
    let answers = site.put(vec![put], &By::default(), false).expect("put");
    assert!(answers.iter().all(|answer| answer.problems.is_empty()), "{answers:?}");
    site.finish_erasures().expect("erased");
    assert!(!site.erasures_wait().expect("readable"), "it is proved");
    site.close().expect("closed");
    assert!(!holds(made, seq as u64));
}

#[test]
fn what_was_erased_does_not_come_back_from_a_hub_that_has_not_heard_of_it() {
    let made = Made::new(&[(1, 5)]);
    erase(&made, 2);
    made.flip(&["1.2", "1.4"]);
    let done = made.repair(&made.hub(), false).expect("repaired");
    assert_eq!((done.fetched, done.bare.as_slice()), (2, &[][..]));
    assert!(!holds(&made, 2), "the proof stands");
    assert!(holds(&made, 4), "the others come back as they were");
    let site = made.open().expect("it opens");
    assert!(site.verify(&[], &mut |_| {}).expect("readable").faults.is_empty());
}

/// The entry that says so was never sent and is lost as well: the proof still says that nothing is left.
#[test]
fn nor_where_the_proof_alone_is_left() {
    let made = Made::new(&[(1, 5)]);
    erase(&made, 2);
    let erasing = made.records().into_iter().filter(|raw| raw.kind == record_kind::OWN).nth(5).expect("it");
    made.flip(&["1.2"]);
    let path = segment_path(&made.paths().log(), erasing.pos.segment);
    let mut bytes = std::fs::read(&path).expect("readable");
    bytes[((erasing.pos.offset + erasing.next.offset) / 2) as usize] ^= 0x10;
    std::fs::write(&path, bytes).expect("written");
    let done = made.repair(&made.hub(), true).expect("repaired");
    assert_eq!((done.fetched, done.lost, done.bare.as_slice()), (1, Some((6, 6)), &[][..]));
    assert!(!holds(&made, 2), "the proof stands");
    made.indexed();
}
