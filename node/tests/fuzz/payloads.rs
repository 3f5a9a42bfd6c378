//! Erasure in the records of a log: whatever stands there, no byte moves, and a second time finds nothing.

use bytes::Bytes;
use liandong_node::payload::{Erased, dropped};
use liandong_node::site::record_kind;
use liandong_proto::entry::Head;
use liandong_proto::id::RecordId;
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::state::held_to_pb;
use prost::Message as _;

use crate::runner::run;
use crate::source::Source;
use crate::valid::{self, NOW_MS};

fn item(source: &mut Source) -> sync::Item {
    let state = valid::state(source);
    let held = state.held.iter().map(held_to_pb).collect();
    let what = match source.below(3) {
        0 => sync::item::What::Withdrawn(sync::Withdrawn {}),
        1 => sync::item::What::Tombstone(sync::Tombstone { held, ..sync::Tombstone::default() }),
        _ => sync::item::What::State(sync::State {
            fields: state.fields.bytes().clone(),
            held,
            ..sync::State::default()
        }),
    };
    sync::Item {
        kind: 1 + source.below(3) as u32,
        record: Bytes::copy_from_slice(&[source.below(4) as u8; 16]),
        hub_seq: source.edge(),
        what: Some(what),
        ..sync::Item::default()
    }
}

fn entry(source: &mut Source) -> log::Entry {
    let (origin, after) = (valid::origin(source), Head { seq: 3, hash: [3; 32] });
    valid::entry(source, origin, after, 4).0
}

fn commit(source: &mut Source) -> log::Commit {
    let entries = (0..1 + source.below(4)).map(|_| {
        let log::Entry { header, open, sealed } = entry(source);
        log::Accepted { header, open, sealed, ..log::Accepted::default() }
    });
    log::Commit { entries: entries.collect(), received_at_ms: NOW_MS, ..log::Commit::default() }
}

#[test]
fn erasure_moves_no_byte() {
    let (mut cases, mut found) = (0u64, 0u64);
    run("erasure_moves_no_byte", 20_000, |source| {
        let (kind, payload) = match source.below(3) {
            0 => (record_kind::OWN, entry(source).encode_to_vec()),
            1 => {
                let items = (0..1 + source.below(4)).map(|_| item(source)).collect();
                (record_kind::RECEIVED, sync::Deliver { items, ..sync::Deliver::default() }.encode_to_vec())
            }
            _ => (record_kind::COMMIT, commit(source).encode_to_vec()),
        };
        let payload = source.mutated(payload);
        let kind = if source.percent(98) { kind } else { source.number() as u8 };
        let erased: Erased = (0..12)
            .map(|n| (1 + n / 4, RecordId([n as u8 % 4; 16])))
            .filter(|_| source.percent(50))
            .collect();
        cases += 1;
        let Some(after) = dropped(kind, &payload, &erased) else { return };
        found += 1;
        assert_eq!(after.len(), payload.len());
        assert_ne!(after, payload);
        assert_eq!(dropped(kind, &after, &erased), None, "there is nothing left to drop");
        assert_eq!(dropped(kind, &after, &Erased::new()), None);
        // What could be read before can be read now.
        let reads = |bytes: &[u8]| match kind {
            record_kind::OWN => log::Entry::decode(bytes).is_ok(),
            record_kind::RECEIVED => sync::Deliver::decode(bytes).is_ok(),
            _ => log::Commit::decode(bytes).is_ok(),
        };
        assert!(reads(&after) || !reads(&payload));
    });
    assert!(cases < 1_000 || found > cases / 10, "{found} of {cases}");
}
