//! Messages: whatever can be read at all reads the same again once it was written.

use bytes::Bytes;
use liandong_proto::entry::{self, Entry, Head, Header, Patch};
use liandong_proto::erasure;
use liandong_proto::fields::{self, Fields, Value};
use liandong_proto::id::{Epoch, Origin, RecordId, sha256};
use liandong_proto::position::{GenerationStart, Generations, Position};
use liandong_proto::rotation::{self, Rotation};
use liandong_proto::share::{CityKey, CityRing};
use liandong_proto::sign::{Erased, SigningKey};
use liandong_proto::state::{RecordState, held_from_wire, held_to_pb};
use prost::Message as _;

use crate::runner::run;
use crate::source::Source;
use crate::valid::{self, CITY, OTHER};

fn some_fields(source: &mut Source) -> Vec<u8> {
    let kind = valid::kind(source);
    let fields = valid::fields(source, kind).bytes().to_vec();
    source.mutated(fields)
}

#[test]
fn fields_are_split_and_joined() {
    run("fields_are_split_and_joined", 20_000, |source| {
        let bytes = some_fields(source);
        let each: Result<Vec<(u32, Value<'_>)>, _> = fields::each(&bytes).collect();
        let split = Fields::split(bytes.clone());
        assert_eq!(each.is_ok(), split.is_ok(), "both read alike");
        let (Ok(each), Ok(split)) = (each, split) else { return };
        assert_eq!(split.bytes().len(), bytes.len(), "nothing is lost");
        assert!(split.iter().map(|(tag, _)| tag).is_sorted_by(|a, b| a < b));
        assert_eq!(Fields::split(split.bytes().clone()), Ok(split.clone()));
        for (tag, raw) in split.iter() {
            let here = each.iter().filter(|(t, _)| *t == tag).map(|(_, value)| *value);
            assert!(fields::values(raw).eq(here), "values of a field keep their order");
            let _ = (
                fields::numbers(raw),
                split.str(tag),
                split.bytes_of(tag),
                split.u64(tag),
                split.number(tag),
            );
        }
        let other = Fields::split(some_fields(source)).unwrap_or_default();
        let cleared: Vec<u32> = (0..source.below(5)).map(|_| source.edge() as u32).collect();
        let patched = split.patched(&other, &cleared);
        for (tag, raw) in patched.iter() {
            assert_eq!(Some(raw), other.get(tag).or_else(|| split.get(tag)));
        }
        let expected = |tag: &u32| other.get(*tag).is_some() || !cleared.contains(tag);
        // Of an empty record nothing can be cleared.
        assert!(split.iter().all(|(tag, _)| patched.get(tag).is_some() == expected(&tag)));
        assert_eq!(Fields::split(patched.bytes().clone()), Ok(patched));
    });
}

#[test]
fn entries_are_read_and_checked() {
    run("entries_are_read_and_checked", 20_000, |source| {
        let origin = valid::origin(source);
        let after = Head { seq: source.edge() >> 1, hash: source.array() };
        let (entry, head) = valid::entry(source, origin, after, 3);
        let sound = entry::check(&entry).expect("as it was made");
        assert_eq!((sound.0.seq, sound.1), (head.seq, head.hash));
        let bytes = source.mutated(entry.encode_to_vec());
        if let Ok(entry) = Entry::decode(bytes.as_slice()) {
            assert_eq!(entry::Encoded::new(&entry).parts().concat(), entry.encode_to_vec());
            read(&entry);
        }
        let Entry { header, open, sealed } = entry;
        let header = source.mutated(header.to_vec()).into();
        read(&Entry { header, open: source.mutated(open.to_vec()).into(), sealed });
    });
}

fn read(entry: &Entry) {
    let patch = Patch::from_open(&entry.open);
    if let Ok(patch) = &patch {
        assert_eq!(Patch::from_open(&patch.to_open([7; 16])).as_ref(), Ok(patch));
        assert!(patch.cleared.iter().all(|tag| patch.set.get(*tag).is_none()));
    }
    let Ok(header) = Header::decode(&entry.header) else { return };
    let whole = Entry { header: entry.header.clone(), ..Entry::default() };
    assert_eq!(entry::check(&whole), Ok((header.clone(), sha256(&entry.header))), "payloads may be absent");
    let _ = entry::check(entry);
    let (again, head) = entry::make(header.clone(), entry.open.clone(), entry.sealed.clone());
    let (made, hash) = entry::check(&again).expect("as it was made");
    assert_eq!((head.seq, head.hash), (made.seq, hash));
    assert_eq!(Header { open_hash: made.open_hash, sealed_hash: made.sealed_hash, ..header }, made);
}

#[test]
fn states_are_read() {
    run("states_are_read", 20_000, |source| {
        let state = valid::state(source);
        let bytes = state.encode();
        assert_eq!(RecordState::decode(&Bytes::from(bytes.clone())), Ok(state));
        let Ok(state) = RecordState::decode(&source.mutated(bytes).into()) else { return };
        for (tag, _) in state.visible().iter() {
            let _ = state.setter(tag);
        }
        let _ = (
            state.tombstone(),
            state.tombstones().count(),
            state.unclaimed(),
            state.stamp(),
            state.last_site(),
        );
        let again = RecordState::decode(&state.encode().into()).expect("as it was written");
        assert_eq!(again.encode(), state.encode());
        for held in &state.held {
            let travelled = source.mutated(held_to_pb(held).encode_to_vec());
            let Ok(value) = prost::Message::decode(travelled.as_slice()) else { continue };
            let Ok(held) = held_from_wire(value) else { continue };
            assert_eq!(held_from_wire(held_to_pb(&held)), Ok(held));
        }
    });
}

#[test]
fn sealed_parts_open_only_as_they_were_sealed() {
    run("sealed_parts_open_only_as_they_were_sealed", 4_000, |source| {
        let origin = valid::origin(source);
        let kind = valid::kind(source);
        let patch = valid::patch(source, kind);
        let ring = CityRing::new(CityKey::new(&[6; 32]), vec![CityKey::new(&[5; 32])]);
        let sealed = ring.seal(&patch, origin, 9, source.array());
        let bent = source.mutated(sealed.to_vec());
        let opened = ring.open(&bent, origin, 9);
        // An absent part is an empty patch.
        assert_eq!(opened.is_ok(), bent.is_empty() || bent == sealed.as_ref());
        assert!(sealed.is_empty() || ring.open(&sealed, origin, 10).is_err());
    });
}

#[test]
fn signed_statements_hold_only_as_they_were_signed() {
    run("signed_statements_hold_only_as_they_were_signed", 300, |source| {
        let origin = Origin { site: CITY, epoch: Epoch([1; 16]) };
        let keys: Vec<SigningKey> = (1..4).map(|n| SigningKey::new(&[n; 32])).collect();
        let sign = |n: usize, seq| Rotation::sign(origin, seq, 3, &keys[n], keys[n + 1].verifying());
        let statements = [sign(0, source.edge()), sign(1, source.edge())];
        let mut bent = Vec::new();
        for statement in &statements {
            let bytes = source.mutated(statement.encode_to_vec());
            bent.extend(prost::Message::decode(bytes.as_slice()).ok());
        }
        let line = rotation::line(CITY, keys[0].verifying(), &bent);
        assert!(line.iter().zip(&keys[1..]).all(|(rotation, key)| rotation.new == key.verifying()));
        let erased = Erased {
            kind: 1,
            record: RecordId(source.array()),
            entry: (origin, source.edge()),
            holder: OTHER,
            at_ms: source.edge(),
        };
        let bytes = source.mutated(erasure::prove(&keys[0], &erased).encode_to_vec());
        let Ok(proof) = prost::Message::decode(bytes.as_slice()) else { return };
        if let Ok(found) = erasure::check(&keys[0].verifying(), &proof) {
            assert_eq!(
                erasure::prove(&keys[0], &found).encode_to_vec(),
                erasure::prove(&keys[0], &erased).encode_to_vec()
            );
        }
    });
}

#[test]
fn places_of_any_history_are_resolved() {
    run("places_of_any_history_are_resolved", 20_000, |source| {
        let history = |source: &mut Source| {
            let starts = (0..source.below(8))
                .map(|_| GenerationStart { generation: source.edge() % 9, first_hub_seq: source.edge() });
            Generations::new(starts.collect())
        };
        let (hub, mut known) = (history(source), history(source));
        let position = Position { generation: source.edge() % 9, hub_seq: source.edge() };
        assert!(hub.resolve(position, &known) <= position.hub_seq);
        let _ = (hub.lost(position), hub.owner(position.hub_seq), known.current());
        known.learn(&hub);
        let length = known.starts().len();
        known.learn(&hub);
        assert_eq!(known.starts().len(), length, "what is known already is not noted again");
        assert!(hub.starts().is_empty() || known.current() == hub.current());
    });
}
