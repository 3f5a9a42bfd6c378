//! Messages split by tag and joined again: nothing is lost, nothing is re-encoded, nothing panics.

use std::collections::BTreeMap;

use bytes::Bytes;
use liandong_proto::fields::{Fields, FieldsBuilder, MAX_TAG, Malformed, Value, each, numbers, values};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A varint written plainly, independent of the crate.
fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        if n == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// One field of a random wire type, some with tags of several bytes.
fn random_field(tag: u32, random: &mut Random) -> Vec<u8> {
    let wire = [0, 1, 2, 5][random.below(4) as usize];
    let mut out = varint(u64::from(tag) << 3 | wire);
    match wire {
        0 => out.extend(varint(random.next() >> random.below(64))),
        1 => out.extend(random.next().to_le_bytes()),
        5 => out.extend((random.next() as u32).to_le_bytes()),
        _ => {
            let bytes: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
            out.extend(varint(bytes.len() as u64));
            out.extend(bytes);
        }
    }
    out
}

type Map = BTreeMap<u32, Vec<u8>>;

/// A message of random fields in random order, and what each tag holds of it.
fn random_message(random: &mut Random) -> (Vec<u8>, Map) {
    let (mut message, mut map) = (Vec::new(), Map::new());
    for _ in 0..random.below(12) {
        let tag = [1, 2, 3, 15, 16, 900, 2048, MAX_TAG][random.below(8) as usize];
        let field = random_field(tag, random);
        message.extend_from_slice(&field);
        map.entry(tag).or_default().extend_from_slice(&field);
    }
    (message, map)
}

fn map_of(fields: &Fields) -> Map {
    fields.iter().map(|(tag, raw)| (tag, raw.to_vec())).collect()
}

fn join(map: &Map) -> Vec<u8> {
    map.values().flatten().copied().collect()
}

fn split(bytes: &[u8]) -> Result<Fields, Malformed> {
    Fields::split(Bytes::copy_from_slice(bytes))
}

#[track_caller]
fn check(message: &[u8], expected: &[(u32, &[u8])]) {
    let fields = split(message).expect("a message");
    let found: Vec<(u32, &[u8])> = fields.iter().collect();
    assert_eq!(found, expected);
    assert_eq!(fields.len(), expected.len());
    for (tag, raw) in expected {
        assert_eq!(fields.get(*tag), Some(*raw));
    }
}

#[test]
fn a_message_in_order_is_kept_as_it_is() {
    // 1: 5, 2: "ab", 16: fixed32, 900 (of a newer schema): "x"
    let message = [0x08, 5, 0x12, 2, b'a', b'b', 0x85, 1, 1, 2, 3, 4, 0xa2, 0x38, 1, b'x'];
    check(&message, &[(1, &message[..2]), (2, &message[2..6]), (16, &message[6..12]), (900, &message[12..])]);
    assert_eq!(split(&message).expect("a message").bytes().as_ref(), message);
    check(&[], &[]);
}

#[test]
fn tags_out_of_order_and_interleaved_are_brought_together() {
    // 3: 1, 1: 5, 3: 2, 2: "a", 1: 6 – each field keeps the order of its own values.
    let message = [0x18, 1, 0x08, 5, 0x18, 2, 0x12, 1, b'a', 0x08, 6];
    check(&message, &[(1, &[0x08, 5, 0x08, 6]), (2, &[0x12, 1, b'a']), (3, &[0x18, 1, 0x18, 2])]);
    let fields = split(&message).expect("a message");
    assert_eq!(fields.u64(1), Some(6), "the last one counts, as in proto3");
    assert_eq!(numbers(fields.get(3).expect("there")), [1, 2]);
}

#[test]
fn a_tag_written_with_more_bytes_than_it_needs_is_the_same_tag() {
    check(&[0x88, 0x00, 5, 0x10, 1], &[(1, &[0x88, 0x00, 5]), (2, &[0x10, 1])]);
}

#[test]
fn what_is_not_a_message_is_refused_by_place() {
    let refused = |bytes: &[u8]| split(bytes).map(drop);
    let at = |offset, what| Err(Malformed { offset, what });
    assert_eq!(refused(&[0x08]), at(1, "a number that does not end"));
    assert_eq!(refused(&[0x08, 0x80]), at(1, "a number that does not end"));
    assert_eq!(refused(&[0x08, 1, 0x00, 1]), at(2, "a tag out of range"));
    assert_eq!(refused(&[0x80, 0x80, 0x80, 0x80, 0x10, 1]), at(0, "a tag out of range"));
    assert_eq!(refused(&[0x08, 1, 0x0b]), at(2, "a group or an unknown wire type"));
    assert_eq!(refused(&[0x0f]), at(0, "a group or an unknown wire type"));
    assert_eq!(refused(&[0x12, 5, b'a']), at(0, "a field cut short"));
    assert_eq!(refused(&[0x09, 1, 2, 3]), at(0, "a field cut short"));
    assert_eq!(refused(&[0x0d, 1, 2, 3]), at(0, "a field cut short"));
    // A length that would run past the end of memory.
    let mut huge = vec![0x12];
    huge.extend(varint(u64::MAX));
    assert_eq!(refused(&huge), at(0, "a field cut short"));
    // Eleven bytes are no number.
    assert_eq!(refused(&[&[0x08][..], &[0x80; 10], &[1]].concat()), at(1, "a number that does not end"));
}

#[test]
fn a_message_cut_at_any_byte_is_refused_or_ends_between_two_fields() {
    for seed in 0..300 {
        let (message, map) = random_message(&mut Random(seed));
        let mut ends = vec![0];
        for field in each(&message) {
            let (tag, _) = field.expect("a whole message");
            assert!(map.contains_key(&tag), "seed {seed}");
        }
        let mut rest = message.as_slice();
        while let Some(Ok((tag, _))) = each(rest).next() {
            let whole =
                (1..=rest.len()).find(|end| each(&rest[..*end]).next().is_some_and(|field| field.is_ok()));
            let end = whole.expect("a field ends");
            assert!(tag > 0);
            rest = &rest[end..];
            ends.push(message.len() - rest.len());
        }
        for end in 0..=message.len() {
            let split = split(&message[..end]);
            assert_eq!(split.is_ok(), ends.contains(&end), "seed {seed}, cut at {end}");
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
        let _ = values(&bytes).count();
        let _ = each(&bytes).count();
        let _ = numbers(&bytes);
        if let Ok(fields) = Fields::split(bytes.clone()) {
            for (tag, raw) in fields.iter() {
                assert!(!raw.is_empty(), "seed {seed}");
                let _ = (fields.str(tag), fields.u64(tag), fields.number(tag), fields.bytes_of(tag));
            }
            assert_eq!(fields.bytes().len(), bytes.len(), "seed {seed}: nothing is lost");
        }
    }
}

#[test]
fn splitting_patching_and_filtering_agree_with_a_map() {
    for seed in 0..5_000 {
        let mut random = Random(seed);
        let (message, old) = random_message(&mut random);
        let (patch, new) = random_message(&mut random);
        let (fields, set) =
            (Fields::split(message).expect("a message"), Fields::split(patch).expect("a message"));
        assert_eq!(map_of(&fields), old, "seed {seed}");
        let cleared: Vec<u32> = old.keys().copied().filter(|_| random.below(3) == 0).collect();
        let patched = fields.patched(&set, &cleared);
        let mut expected = old.clone();
        expected.retain(|tag, _| !cleared.contains(tag));
        expected.extend(new.clone());
        assert_eq!(map_of(&patched), expected, "seed {seed}: a field both set and cleared is set");
        assert_eq!(patched.bytes().as_ref(), join(&expected), "seed {seed}: ascending tags");
        assert_eq!(Fields::split(patched.bytes().clone()), Ok(patched.clone()), "seed {seed}");
        let kept = patched.filtered(|tag| tag % 2 == 0);
        expected.retain(|tag, _| tag % 2 == 0);
        assert_eq!(map_of(&kept), expected, "seed {seed}");
    }
}

#[test]
fn an_older_schema_carries_a_field_it_does_not_know_byte_for_byte() {
    // A member as a node of a newer schema wrote it: a name, and tag 777, a nested message with a group-like
    // depth, a non-minimal varint and a repeated fixed64, in an order no encoder would choose.
    let mut unknown = varint(777 << 3 | 2);
    unknown.extend([7, 0x0a, 5, 0x10, 0x81, 0x80, 0x00, 0x20]);
    unknown.extend([varint(777 << 3 | 1), vec![1, 2, 3, 4, 5, 6, 7, 8]].concat());
    let name = [&[0x0a, 9][..], "陈志强".as_bytes()].concat();
    let state = Fields::split([unknown.clone(), name.clone()].concat()).expect("a message");
    // The older node edits what it knows, twice, and clears something else.
    let edit = |value: &str| FieldsBuilder::new().str(1, value).str(2, "女").take();
    let after = state.patched(&edit("陈强"), &[3]).patched(&edit("陈志刚"), &[2, 4]);
    assert_eq!(after.get(777), Some(unknown.as_slice()));
    assert_eq!(after.str(1), Some("陈志刚"));
    let again = Fields::split(Bytes::copy_from_slice(after.bytes())).expect("a message");
    assert_eq!(again.get(777), Some(unknown.as_slice()));
}

#[test]
fn values_are_read_as_the_wire_has_them() {
    let raw =
        [&[0x08, 0x96, 0x01][..], &[0x0a, 2, 3, 4], &[0x09, 1, 0, 0, 0, 0, 0, 0, 0], &[0x0d, 2, 0, 0, 0]]
            .concat();
    let found: Vec<Value<'_>> = values(&raw).collect();
    assert_eq!(found, [Value::Varint(150), Value::Delimited(&[3, 4]), Value::Fixed64(1), Value::Fixed32(2)]);
    assert_eq!(numbers(&raw), [150, 3, 4], "packed and not packed alike");
}
