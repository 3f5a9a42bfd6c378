//! States as bytes: `liandong.log.v1.RecordState`, written out by hand.
//!
//! Both sides do this once for every change; a decoder that owns its parts would cost an allocation for each of them.

use bytes::Bytes;
use prost::Message as _;

use super::{Held, RecordState, Setter, Writer, held_from_pb, held_to_pb};
use crate::fields::{Fields, Malformed, Value, each, numbers_of, put_bytes, put_number, put_varint};
use crate::id::{Epoch, Origin, SiteCode};
use crate::pb::log::v1 as pb;
use crate::stamp::Stamp;

const SHAPE: Malformed = Malformed { offset: 0, what: "not a record state" };

impl RecordState {
    /// Bytes for the index.
    pub fn encode(&self) -> Vec<u8> {
        let rows = self.writers.len() + self.setters.len() + self.held.len();
        let size = self.fields.bytes().len() + self.sealed.bytes().len() + 40 * rows + 64;
        let mut out = Vec::with_capacity(size + 4 * self.set_by.len());
        put_number(&mut out, 1, u64::from(self.home.0));
        put_number(&mut out, 2, self.hub_seq);
        put_number(&mut out, 3, self.generation);
        for writer in &self.writers {
            put_short(&mut out, 4, |out| {
                put_number(out, 1, u64::from(writer.origin.site.0));
                put_bytes(out, 2, &writer.origin.epoch.0);
                put_number(out, 3, writer.seq);
            });
        }
        for setter in &self.setters {
            put_short(&mut out, 5, |out| {
                put_number(out, 1, self.writer_at(setter.origin));
                put_number(out, 2, setter.seq);
                put_number(out, 3, setter.hub_seq);
                if setter.stamp.0 != 0 {
                    out.push(4 << 3 | 1);
                    out.extend_from_slice(&setter.stamp.0.to_le_bytes());
                }
            });
        }
        put_packed(&mut out, 6, self.set_by.iter().map(|(tag, at)| [u64::from(*tag), u64::from(*at)]));
        put_bytes(&mut out, 7, self.fields.bytes());
        put_bytes(&mut out, 8, self.sealed.bytes());
        put_number(&mut out, 9, self.deleted_by.map_or(0, |at| u64::from(at) + 1));
        for held in &self.held {
            put_bytes(&mut out, 10, &self.held_row(held).encode_to_vec());
        }
        put_packed(&mut out, 11, self.fed.iter().map(|(site, hub_seq)| [u64::from(site.0), *hub_seq]));
        put_number(&mut out, 12, u64::from(self.erased));
        out
    }

    fn writer_at(&self, origin: Origin) -> u64 {
        self.writers.iter().position(|writer| writer.origin == origin).map_or(0, |at| at as u64)
    }

    /// A held value with the place of its writer in the state's own table.
    fn held_row(&self, held: &Held) -> pb::HeldValue {
        let mut row = held_to_pb(held);
        if let Some(by) = &mut row.by {
            by.writer = self.writer_at(held.by.origin) as u32;
        }
        (row.site, row.epoch) = (0, Bytes::new());
        row
    }

    /// Reads what [`RecordState::encode`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are something else.
    pub fn decode(bytes: &Bytes) -> Result<RecordState, Malformed> {
        let mut state = RecordState::new(SiteCode(0));
        let mut named = 0;
        for field in each(bytes) {
            match field? {
                (1, Value::Varint(site)) => state.home = SiteCode(site as u32),
                (2, Value::Varint(hub_seq)) => state.hub_seq = hub_seq,
                (3, Value::Varint(generation)) => state.generation = generation,
                (4, Value::Delimited(writer)) => state.writers.push(read_writer(writer)?),
                // Writers stand before those who refer to them.
                (5, Value::Delimited(setter)) => state.setters.push(read_setter(setter, &state.writers)?),
                (6, Value::Delimited(pairs)) => {
                    state.set_by = pairs_of(pairs).map(|(tag, at)| (tag as u32, at as u16)).collect();
                    named = state.set_by.iter().map(|(_, at)| usize::from(*at) + 1).max().unwrap_or(0);
                }
                (7, Value::Delimited(fields)) => state.fields = Fields::split(bytes.slice_ref(fields))?,
                (8, Value::Delimited(sealed)) => state.sealed = Fields::split(bytes.slice_ref(sealed))?,
                (9, Value::Varint(at)) => state.deleted_by = at.checked_sub(1).map(|at| at as u16),
                (10, Value::Delimited(held)) => {
                    let row = pb::HeldValue::decode(bytes.slice_ref(held)).map_err(|_| SHAPE)?;
                    let by = row.by.as_ref().ok_or(SHAPE)?;
                    let by = setter_of(u64::from(by.writer), by.seq, by.hub_seq, by.stamp, &state.writers)?;
                    state.held.push(held_from_pb(row, by)?);
                }
                (11, Value::Delimited(pairs)) => {
                    state.fed =
                        pairs_of(pairs).map(|(site, hub_seq)| (SiteCode(site as u32), hub_seq)).collect();
                }
                (12, Value::Varint(erased)) => state.erased = erased != 0,
                _ => return Err(SHAPE),
            }
        }
        let named = named.max(state.deleted_by.map_or(0, |at| usize::from(at) + 1));
        if named > state.setters.len() { Err(SHAPE) } else { Ok(state) }
    }
}

fn read_writer(bytes: &[u8]) -> Result<Writer, Malformed> {
    let (mut site, mut epoch, mut seq) = (SiteCode(0), None, 0);
    for field in each(bytes) {
        match field? {
            (1, Value::Varint(code)) => site = SiteCode(code as u32),
            (2, Value::Delimited(bytes)) => epoch = Epoch::from_slice(bytes),
            (3, Value::Varint(newest)) => seq = newest,
            _ => return Err(SHAPE),
        }
    }
    Ok(Writer { origin: Origin { site, epoch: epoch.ok_or(SHAPE)? }, seq })
}

fn read_setter(bytes: &[u8], writers: &[Writer]) -> Result<Setter, Malformed> {
    let (mut writer, mut seq, mut hub_seq, mut stamp) = (0, 0, 0, 0);
    for field in each(bytes) {
        match field? {
            (1, Value::Varint(at)) => writer = at,
            (2, Value::Varint(place)) => seq = place,
            (3, Value::Varint(place)) => hub_seq = place,
            (4, Value::Fixed64(time)) => stamp = time,
            _ => return Err(SHAPE),
        }
    }
    setter_of(writer, seq, hub_seq, stamp, writers)
}

fn setter_of(at: u64, seq: u64, hub_seq: u64, stamp: u64, writers: &[Writer]) -> Result<Setter, Malformed> {
    let writer = usize::try_from(at).ok().and_then(|at| writers.get(at)).ok_or(SHAPE)?;
    Ok(Setter { origin: writer.origin, seq, hub_seq, stamp: Stamp(stamp) })
}

fn pairs_of(packed: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let mut numbers = numbers_of(packed);
    std::iter::from_fn(move || Some((numbers.next()?, numbers.next()?)))
}

/// A nested message of less than 128 bytes.
fn put_short(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[tag << 3 | 2, 0]);
    let start = out.len();
    write(out);
    debug_assert!(out.len() - start < 128, "one byte holds the length");
    out[start - 1] = (out.len() - start) as u8;
}

fn put_packed(out: &mut Vec<u8>, tag: u8, pairs: impl Iterator<Item = [u64; 2]>) {
    let mut packed = Vec::new();
    pairs.flatten().for_each(|number| put_varint(&mut packed, number));
    put_bytes(out, tag, &packed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldsBuilder;
    use crate::state::Reason;

    fn state() -> RecordState {
        let origin = |site, epoch| Origin { site: SiteCode(site), epoch: Epoch([epoch; 16]) };
        let setter = |origin, seq, hub_seq| Setter { origin, seq, hub_seq, stamp: Stamp(seq << 40) };
        let (city, hub) = (origin(440_100, 1), origin(440_000, 2));
        let set = FieldsBuilder::new().str(9, "甲").take();
        RecordState {
            home: SiteCode(440_100),
            hub_seq: 1 << 40,
            generation: u64::MAX,
            writers: vec![Writer { origin: city, seq: 300 }, Writer { origin: hub, seq: 7 }],
            fields: FieldsBuilder::new().u64(1, 5).str(900, "x").take(),
            set_by: vec![(2, 1), (900, 1)],
            setters: vec![setter(city, 300, 0), setter(hub, 7, 77)],
            sealed: set.clone(),
            deleted_by: Some(1),
            held: vec![Held {
                reason: Reason::Equal,
                by: setter(hub, 6, 66),
                tag: 9,
                set,
                cleared: vec![10],
            }],
            fed: vec![(SiteCode(440_100), 300)],
            erased: true,
        }
    }

    #[test]
    fn the_hand_written_codec_is_the_proto() {
        let state = state();
        let bytes = Bytes::from(state.encode());
        assert_eq!(RecordState::decode(&bytes), Ok(state));
        let generic = pb::RecordState::decode(bytes.clone()).expect("protobuf");
        assert_eq!(generic.encode_to_vec(), bytes);
        assert_eq!((generic.writers.len(), generic.setters[1].writer), (2, 1));
        let empty = RecordState::new(SiteCode(0));
        assert!(empty.encode().is_empty());
        assert_eq!(RecordState::decode(&Bytes::new()), Ok(empty));
    }

    #[test]
    fn no_cut_and_no_wrong_index_is_read() {
        let bytes = Bytes::from(state().encode());
        for end in 0..bytes.len() {
            // A cut between two fields leaves a shorter state; any other is an error. Neither may panic.
            let _ = RecordState::decode(&bytes.slice(..end));
        }
        for bend in [
            |state: &mut RecordState| state.set_by[0].1 = 2,
            |state: &mut RecordState| state.deleted_by = Some(2),
            |state: &mut RecordState| state.setters.clear(),
            |state: &mut RecordState| state.writers.clear(),
        ] {
            let mut bent = state();
            bend(&mut bent);
            assert_eq!(RecordState::decode(&Bytes::from(bent.encode())), Err(SHAPE));
        }
    }
}
