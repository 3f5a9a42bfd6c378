//! A record's content as protobuf fields: split by tag, patched, joined, never decoded.
//!
//! Splitting needs no schema, so fields of newer nodes survive older ones byte for byte.

use bytes::{BufMut, Bytes, BytesMut};

/// Why bytes are not a protobuf message. Offsets are in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message: {what} at byte {offset}")]
pub struct Malformed {
    /// Where.
    pub offset: usize,
    /// What was found.
    pub what: &'static str,
}

/// The greatest tag a field can have.
pub const MAX_TAG: u32 = (1 << 29) - 1;

#[derive(Clone, Copy, Debug)]
struct Span {
    tag: u32,
    start: u32,
    end: u32,
}

/// The fields of one message in ascending tag order. A field is all its occurrences, keys included.
#[derive(Clone, Default, Debug)]
pub struct Fields {
    bytes: Bytes,
    spans: Vec<Span>,
}

impl PartialEq for Fields {
    fn eq(&self, other: &Fields) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Fields {}

impl Fields {
    /// Splits a message. Bytes already in ascending order (what every encoder writes) are kept as they
    /// are; others are brought into order, occurrences of one field staying in theirs.
    ///
    /// # Errors
    /// [`Malformed`] for a truncated message, tag 0, a group, or more than 4 GiB.
    pub fn split(bytes: impl Into<Bytes>) -> Result<Fields, Malformed> {
        let bytes: Bytes = bytes.into();
        if bytes.len() > u32::MAX as usize {
            return Err(Malformed { offset: 0, what: "more than 4 GiB" });
        }
        let mut spans: Vec<Span> = Vec::with_capacity(16);
        let mut at = 0;
        let mut sorted = true;
        while at < bytes.len() {
            let (tag, _, end) = value_at(&bytes, at)?;
            match spans.last_mut() {
                Some(last) if last.tag == tag => last.end = end as u32,
                last => {
                    sorted &= last.is_none_or(|last| last.tag < tag);
                    spans.push(Span { tag, start: at as u32, end: end as u32 });
                }
            }
            at = end;
        }
        let fields = Fields { bytes, spans };
        Ok(if sorted { fields } else { fields.in_order() })
    }

    fn in_order(mut self) -> Fields {
        self.spans.sort_by_key(|span| span.tag);
        let mut out = FieldsBuilder::with_capacity(self.bytes.len());
        for span in &self.spans {
            out.push(span.tag, &self.bytes[span.start as usize..span.end as usize]);
        }
        out.finish()
    }

    /// The message: all fields joined.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many different tags there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// One field's bytes, keys included.
    pub fn get(&self, tag: u32) -> Option<&[u8]> {
        let at = self.spans.binary_search_by_key(&tag, |span| span.tag).ok()?;
        Some(self.slice(self.spans[at]))
    }

    /// All fields, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.spans.iter().map(|span| (span.tag, self.slice(*span)))
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// These fields with those of `set` in their place and those of `cleared` gone.
    pub fn patched(&self, set: &Fields, cleared: &[u32]) -> Fields {
        if self.is_empty() {
            return set.clone();
        }
        let mut out = FieldsBuilder::with_capacity(self.bytes.len() + set.bytes.len());
        let mut new = set.iter().peekable();
        for (tag, old) in self.iter() {
            while let Some((t, bytes)) = new.next_if(|(t, _)| *t < tag) {
                out.push(t, bytes);
            }
            if let Some((t, bytes)) = new.next_if(|(t, _)| *t == tag) {
                out.push(t, bytes);
            } else if !cleared.contains(&tag) {
                out.push(tag, old);
            }
        }
        for (t, bytes) in new {
            out.push(t, bytes);
        }
        out.finish()
    }

    /// Only the fields for which `keep` holds.
    pub fn filtered(&self, mut keep: impl FnMut(u32) -> bool) -> Fields {
        let mut out = FieldsBuilder::with_capacity(self.bytes.len());
        for (tag, bytes) in self.iter().filter(|(tag, _)| keep(*tag)) {
            out.push(tag, bytes);
        }
        out.finish()
    }

    /// The last value of a `string` field; `None` when absent or of another shape.
    pub fn str(&self, tag: u32) -> Option<&str> {
        std::str::from_utf8(self.bytes_of(tag)?).ok()
    }

    /// The last value of a `bytes` field (or of any field with a length).
    pub fn bytes_of(&self, tag: u32) -> Option<&[u8]> {
        match last_value(self.get(tag)?)? {
            Value::Delimited(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The last value of an integer, bool or enum field.
    pub fn u64(&self, tag: u32) -> Option<u64> {
        match last_value(self.get(tag)?)? {
            Value::Varint(value) => Some(value),
            _ => None,
        }
    }

    /// The last value of an enum field; an absent one is 0, as in proto3.
    pub fn number(&self, tag: u32) -> i32 {
        self.u64(tag).unwrap_or(0) as i32
    }
}

/// One value of a field, as the wire has it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value<'a> {
    /// Integers, bools and enums.
    Varint(u64),
    /// `fixed64`, `double`.
    Fixed64(u64),
    /// `fixed32`, `float`.
    Fixed32(u32),
    /// Strings, bytes, messages and packed numbers.
    Delimited(&'a [u8]),
}

/// The values of one field's bytes (as [`Fields::get`] gives them), in order.
pub fn values(raw: &[u8]) -> impl Iterator<Item = Value<'_>> {
    each(raw).map_while(|field| field.ok().map(|(_, value)| value))
}

/// Every field of a message with its tag, in the order of the wire, one value at a time.
pub fn each(message: &[u8]) -> impl Iterator<Item = Result<(u32, Value<'_>), Malformed>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= message.len() {
            return None;
        }
        let read = value_at(message, at);
        at = read.as_ref().map_or(message.len(), |(_, _, end)| *end);
        Some(read.map(|(tag, value, _)| (tag, value)))
    })
}

fn last_value(raw: &[u8]) -> Option<Value<'_>> {
    values(raw).last()
}

/// Numbers of a `repeated` integer field, packed or not.
pub fn numbers(raw: &[u8]) -> Vec<u64> {
    let mut out = Vec::new();
    for value in values(raw) {
        match value {
            Value::Varint(n) => out.push(n),
            Value::Delimited(packed) => out.extend(numbers_of(packed)),
            _ => {}
        }
    }
    out
}

/// Numbers of the packed form, without its key and length.
pub(crate) fn numbers_of(packed: &[u8]) -> impl Iterator<Item = u64> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (number, next) = varint(packed, at).ok()?;
        at = next;
        Some(number)
    })
}

/// Builds a message field by field; tags must ascend.
#[derive(Default, Debug)]
pub struct FieldsBuilder {
    bytes: BytesMut,
    spans: Vec<Span>,
}

impl FieldsBuilder {
    /// An empty message.
    pub fn new() -> FieldsBuilder {
        FieldsBuilder::default()
    }

    /// An empty message with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> FieldsBuilder {
        FieldsBuilder { bytes: BytesMut::with_capacity(bytes), spans: Vec::with_capacity(16) }
    }

    /// Appends an encoded field; a tag equal to the last one adds to it.
    pub fn push(&mut self, tag: u32, raw: &[u8]) {
        let start = self.bytes.len();
        self.bytes.put_slice(raw);
        self.span(tag, start);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }

    /// What was written from `start` on is (more of) the field.
    fn span(&mut self, tag: u32, start: usize) {
        let (start, end) = (start as u32, self.bytes.len() as u32);
        match self.spans.last_mut() {
            Some(last) if last.tag == tag => last.end = end,
            last => {
                debug_assert!(last.is_none_or(|last| last.tag < tag), "tags must ascend");
                self.spans.push(Span { tag, start, end });
            }
        }
    }

    /// Appends a string field.
    pub fn str(&mut self, tag: u32, value: &str) -> &mut Self {
        self.delimited(tag, value.as_bytes())
    }

    /// Appends a bytes (or message, or packed) field.
    pub fn delimited(&mut self, tag: u32, value: &[u8]) -> &mut Self {
        let start = self.bytes.len();
        self.varint(u64::from(tag) << 3 | 2);
        self.varint(value.len() as u64);
        self.bytes.put_slice(value);
        self.span(tag, start);
        self
    }

    /// Appends an integer, bool or enum field.
    pub fn u64(&mut self, tag: u32, value: u64) -> &mut Self {
        let start = self.bytes.len();
        self.varint(u64::from(tag) << 3);
        self.varint(value);
        self.span(tag, start);
        self
    }

    /// The message.
    pub fn finish(self) -> Fields {
        Fields { bytes: self.bytes.freeze(), spans: self.spans }
    }

    /// The message, leaving the builder empty (for chains of `&mut`).
    pub fn take(&mut self) -> Fields {
        std::mem::take(self).finish()
    }
}

/// Appends a base-128 varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number field as proto3 has it, nothing for 0; tags up to 15.
pub(crate) fn put_number(out: &mut Vec<u8>, tag: u8, value: u64) {
    if value != 0 {
        out.push(tag << 3);
        put_varint(out, value);
    }
}

/// A bytes field as proto3 has it, nothing for none.
pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    if !value.is_empty() {
        put_varint(out, u64::from(tag) << 3 | 2);
        put_varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

/// A packed field of numbers as proto3 has it, nothing for none; tags up to 15.
pub(crate) fn put_numbers(out: &mut Vec<u8>, tag: u8, numbers: &[u32]) {
    let mut packed = Vec::new();
    numbers.iter().for_each(|number| put_varint(&mut packed, u64::from(*number)));
    put_bytes(out, tag, &packed);
}

#[inline]
fn varint(bytes: &[u8], at: usize) -> Result<(u64, usize), Malformed> {
    match bytes.get(at) {
        Some(byte) if *byte < 0x80 => Ok((u64::from(*byte), at + 1)),
        _ => long_varint(bytes, at),
    }
}

fn long_varint(bytes: &[u8], at: usize) -> Result<(u64, usize), Malformed> {
    let mut value = 0u64;
    for (i, byte) in bytes[at.min(bytes.len())..].iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, at + i + 1));
        }
    }
    Err(Malformed { offset: at, what: "a number that does not end" })
}

/// The field that starts at `at`: its tag, its value and its end.
#[inline]
fn value_at(bytes: &[u8], at: usize) -> Result<(u32, Value<'_>, usize), Malformed> {
    let (key, start) = varint(bytes, at)?;
    let tag = u32::try_from(key >> 3).unwrap_or(u32::MAX);
    if tag == 0 || tag > MAX_TAG {
        return Err(Malformed { offset: at, what: "a tag out of range" });
    }
    let cut = Malformed { offset: at, what: "a field cut short" };
    let (value, end) = match key & 7 {
        0 => {
            let (number, end) = varint(bytes, start)?;
            (Value::Varint(number), end)
        }
        1 => {
            let raw = bytes.get(start..start + 8).and_then(|raw| raw.try_into().ok()).ok_or(cut)?;
            (Value::Fixed64(u64::from_le_bytes(raw)), start + 8)
        }
        5 => {
            let raw = bytes.get(start..start + 4).and_then(|raw| raw.try_into().ok()).ok_or(cut)?;
            (Value::Fixed32(u32::from_le_bytes(raw)), start + 4)
        }
        2 => {
            let (length, start) = varint(bytes, start)?;
            let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
            let end = end.filter(|end| *end <= bytes.len()).ok_or(cut)?;
            (Value::Delimited(&bytes[start..end]), end)
        }
        _ => return Err(Malformed { offset: at, what: "a group or an unknown wire type" }),
    };
    Ok((tag, value, end))
}
