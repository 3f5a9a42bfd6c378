//! An erasure ends the merge of its record: whatever came before is gone, whatever comes later is nothing.

use liandong_proto::entry::{Op, Patch};
use liandong_proto::fields::{Fields, FieldsBuilder};
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::merge::{self, Change, Lineage};
use liandong_proto::stamp::Stamp;
use liandong_proto::state::{Reason, RecordState};
use liandong_proto::validate;

const HOME: Origin = Origin { site: SiteCode(440_100), epoch: Epoch([1; 16]) };
const PROVINCE: Origin = Origin { site: SiteCode::PROVINCE, epoch: Epoch([2; 16]) };
const MEMBER: u32 = 1;

/// Who, which op, the name it sets (empty: none), seen up to.
type Act = (Origin, Op, &'static str, u64);

fn fields(name: &str) -> Fields {
    match name {
        "" => Fields::default(),
        name => FieldsBuilder::new().str(1, name).take(),
    }
}

/// Folds acts at places 1, 2, …; the state, and what became of the last.
fn fold(acts: &[Act], readable: bool) -> (RecordState, Vec<(u32, Reason)>) {
    let (lineage, mut state, mut last) = (Lineage::default(), None, Vec::new());
    for (at, (origin, op, name, base)) in acts.iter().enumerate() {
        let place = at as u64 + 1;
        let set = if readable { fields(name) } else { Fields::default() };
        let patch = Patch { set, cleared: vec![] };
        let change = Change {
            origin: *origin,
            seq: place,
            stamp: Stamp::at_ms(place),
            base: *base,
            hub_seq: place,
            kind: MEMBER,
            record: RecordId([3; 16]),
            op: *op,
            patch: &patch,
            seen: &[],
        };
        last = merge::judge(state.as_ref(), &change, &lineage, validate::today(1_795_000_000_000), None);
        state = Some(merge::apply(state, &change, &last, &lineage));
    }
    (state.expect("there is an act"), last)
}

const MADE: Act = (HOME, Op::Put, "王芳", 0);
const ERASED: Act = (HOME, Op::Erase, "", 0);
/// The province has not seen what the city wrote.
const UNSEEN: Act = (PROVINCE, Op::Put, "李芳", 0);

#[track_caller]
fn check_gone(state: &RecordState) {
    assert!(state.erased && state.deleted());
    assert!(state.fields.is_empty() && state.sealed.is_empty() && state.held.is_empty(), "{state:?}");
    let read = RecordState::decode(&state.encode().into()).expect("it reads back");
    assert_eq!(&read, state);
}

#[test]
fn nothing_is_left_whatever_came_before() {
    for acts in [&[MADE, ERASED][..], &[MADE, UNSEEN, ERASED], &[MADE, (HOME, Op::Delete, "", 0), ERASED]] {
        let (state, verdicts) = fold(acts, true);
        assert_eq!(verdicts, []);
        check_gone(&state);
        // Whoever can no longer read the payloads before it comes to the same.
        assert_eq!(fold(acts, false).0, state);
    }
}

#[test]
fn nothing_comes_back_whatever_comes_after() {
    let by = |state: &RecordState| state.tombstone().map(|by| by.seq);
    for late in [UNSEEN, (HOME, Op::Put, "王芳", 2), (HOME, Op::Delete, "", 2), ERASED] {
        let (state, verdicts) = fold(&[MADE, ERASED, late], true);
        assert_eq!(verdicts, [], "it is no finding");
        check_gone(&state);
        assert_eq!(by(&state), Some(2), "the first erasure counts");
    }
}

#[test]
fn only_the_home_of_a_record_may_erase_it() {
    let (state, verdicts) = fold(&[MADE, (PROVINCE, Op::Erase, "", 1)], true);
    assert_eq!(verdicts, [(0, Reason::NotOwner)]);
    assert!(!state.erased && !state.deleted());
    assert_eq!((state.fields, state.held.len()), (fields("王芳"), 1));
}

#[test]
fn what_nobody_knows_cannot_be_erased_and_stays_open_to_its_home() {
    let other = Origin { site: SiteCode(440_300), epoch: Epoch([3; 16]) };
    let squat = (other, Op::Erase, "", 0);
    let (state, verdicts) = fold(&[squat], true);
    assert_eq!(verdicts, [(0, Reason::NotOwner)]);
    assert!(!state.erased && state.unclaimed());
    let (state, verdicts) = fold(&[squat, squat, MADE], true);
    assert_eq!(verdicts, []);
    assert_eq!((state.home, &state.fields), (HOME.site, &fields("王芳")));
    assert_eq!(state.held.len(), 1, "who asked for it is told");
    let (state, verdicts) = fold(&[squat, MADE, squat], true);
    assert_eq!(verdicts, [(0, Reason::NotOwner)]);
    assert_eq!((state.home, state.erased), (HOME.site, false));
    check_gone(&fold(&[squat, MADE, ERASED], true).0);
}
