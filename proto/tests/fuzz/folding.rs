//! Changes with anything in them: judged, merged, projected and checked, and the state stays one that can be kept.

use bytes::Bytes;
use liandong_proto::digest;
use liandong_proto::entry::{self, Anchor, Head, Op, Patch};
use liandong_proto::id::{Epoch, Origin, RecordId};
use liandong_proto::merge::{self, Change, Lineage};
use liandong_proto::pb::log::v1::Open;
use liandong_proto::schema;
use liandong_proto::share::{self, Withdrawn};
use liandong_proto::state::RecordState;
use liandong_proto::validate::{self, View};
use prost::Message as _;

use crate::runner::run;
use crate::source::Source;
use crate::valid::{self, NOW_MS};

const RECORD: RecordId = RecordId([3; 16]);
const CHANGES: u64 = 12;

/// What a member may send: its own bytes under a hash that fits them.
fn sent(source: &mut Source) -> Option<(Patch, u32)> {
    let kind = valid::kind(source);
    let patch = valid::patch(source, kind);
    let open = if source.percent(50) {
        Bytes::from(source.mutated(patch.to_open([1; 16]).to_vec()))
    } else {
        // Only the fields are bent, so that more of it is read.
        let set = source.mutated(patch.set.bytes().to_vec()).into();
        Open { set, cleared: patch.cleared, ..Open::default() }.encode_to_vec().into()
    };
    Some((Patch::from_open(&open).ok()?, kind.number))
}

#[test]
fn changes_are_judged_and_merged() {
    run("changes_are_judged_and_merged", 3_000, |source| {
        let mut lineage = Lineage::default();
        if source.percent(30) {
            // A forged circle among them.
            let anchor = |epoch: u8| Anchor { epoch: Epoch([epoch; 16]), seq: 5, hash: [0; 32] };
            lineage.note(Epoch([1; 16]), anchor(2));
            lineage.note(Epoch([2; 16]), anchor(source.pick(&[1, 3])));
        }
        let today = validate::today(NOW_MS);
        let (mut state, mut size): (Option<RecordState>, usize) = (None, 0);
        for hub_seq in 1..=CHANGES {
            let Some((patch, number)) = sent(source) else { continue };
            size += patch.set.bytes().len() + 4 * patch.cleared.len();
            let anchors = if source.percent(20) { source.below(3) } else { 0 };
            let seen: Vec<Anchor> = (0..anchors).map(|_| valid::older(source)).collect();
            let change = Change {
                origin: valid::origin(source),
                seq: source.edge(),
                stamp: liandong_proto::stamp::Stamp(source.edge()),
                base: source.pick(&[0, hub_seq - 1, hub_seq / 2, u64::MAX]),
                hub_seq: if source.percent(90) { hub_seq } else { source.edge() },
                kind: number,
                record: RECORD,
                op: source.pick(&[Op::Put, Op::Put, Op::Put, Op::Put, Op::Delete, Op::Erase]),
                patch: &patch,
                seen: &seen,
            };
            let view = source.pick(&[Some(View::Shared), Some(View::Shared), Some(View::Full), None]);
            let was_erased = state.as_ref().is_some_and(|state| state.erased);
            let verdicts = merge::judge(state.as_ref(), &change, &lineage, today, view);
            let next = merge::apply(state.take(), &change, &verdicts, &lineage);
            assert!(!was_erased || next.erased, "what was erased stays so");
            assert!(!next.erased || next.visible().is_empty() && next.held.is_empty());
            let bytes = next.encode();
            assert!(bytes.len() < 4 * size + 400 * CHANGES as usize, "{} bytes of {size}", bytes.len());
            assert_eq!(RecordState::decode(&bytes.into()).as_ref(), Ok(&next));
            looked_at(&next, &patch, number);
            state = Some(next);
        }
    });
}

/// Whatever reads a record's content by the schema's tables.
fn looked_at(state: &RecordState, patch: &Patch, number: u32) {
    let kind = schema::kind(number).expect("a kind of the schema");
    let today = validate::today(NOW_MS);
    for view in [View::Full, View::Shared] {
        for problem in validate::check_record(kind, &state.fields, view, today) {
            assert!(!problem.code().is_empty() && !problem.zh().is_empty() && !problem.en().is_empty());
        }
    }
    let _ = validate::warnings(kind, &state.fields, today);
    let _ = (
        merge::incomplete(kind, state),
        share::is_draft(kind, &state.fields),
        share::leaks(kind, &patch.set),
    );
    let _ =
        (Withdrawn::of(kind, &state.fields), digest::item(number, RECORD, state.deleted(), &state.fields));
}

/// A node projects what a clerk has put: nothing that must stay is in what travels.
#[test]
fn projections_keep_back_what_must_not_travel() {
    run("projections_keep_back_what_must_not_travel", 5_000, |source| {
        let kind = valid::kind(source);
        let before = valid::fields(source, kind);
        let Some((patch, _)) = sent(source) else { return };
        let key = valid::linking_key();
        let projection = share::project(kind, &before, &patch, source.percent(80).then_some(&key));
        assert!(!share::leaks(kind, &projection.open.set), "{:?}", projection.open);
        let (origin, head) = (valid::origin(source), Head::default());
        let (entry, _) = valid::entry(source, origin, head, 1);
        let open = projection.open.to_open([2; 16]);
        let mut header = liandong_proto::entry::Header::decode(&entry.header).expect("as it was made");
        header.origin = Origin { site: valid::CITY, ..origin };
        let (entry, _) = entry::make(header, open, Bytes::new());
        assert!(entry::check(&entry).is_ok());
    });
}
