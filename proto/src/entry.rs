//! Entries: a change as stored, hash-chained over its header so that payloads can be erased.

use bytes::Bytes;
use prost::Message as _;

use crate::fields::{self, Fields, MAX_TAG, Malformed, Value, put_bytes, put_number, put_numbers};
use crate::id::{Epoch, Hash, Origin, RecordId, SiteCode, sha256};
use crate::pb::log::v1 as pb;
use crate::position::Position;
use crate::stamp::Stamp;

pub use pb::{Entry, Op};

/// The newest entry of an origin's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// 0 when the log is empty.
    pub seq: u64,
    /// SHA-256 of its header; all zeros when the log is empty.
    pub hash: Hash,
}

/// The header of an entry, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Who wrote.
    pub origin: Origin,
    /// Place in the origin's log, from 1.
    pub seq: u64,
    /// When, as a hybrid logical time.
    pub stamp: Stamp,
    /// The delivered state of this record that the writer had.
    pub base: Position,
    /// Number of the kind of record.
    pub kind: u32,
    /// Which record.
    pub record: RecordId,
    /// Put or delete.
    pub op: Op,
    /// Opaque id of the person.
    pub author: String,
    /// The clerk's batch; empty for a single edit.
    pub import_id: Bytes,
    /// Hash of the header before; `None` for the first of an epoch.
    pub prev: Option<Hash>,
    /// Payload hash of `open`.
    pub open_hash: Option<Hash>,
    /// Payload hash of `sealed`.
    pub sealed_hash: Option<Hash>,
    /// Where this epoch goes on from, in its first entry.
    pub anchor: Option<Anchor>,
    /// Up to where its writer had seen the older epochs, of an entry that was made again in this one: the first with all that
    /// it goes on from, and those behind it.
    pub seen: Vec<Anchor>,
}

/// The most takeovers that one entry is told of.
pub const MOST_SEEN: usize = 16;

/// The place in an older epoch that a new one goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The older epoch.
    pub epoch: Epoch,
    /// Its last entry that counts.
    pub seq: u64,
    /// That entry's hash.
    pub hash: Hash,
}

impl Anchor {
    /// As it travels.
    pub fn to_pb(&self) -> pb::Anchor {
        pb::Anchor {
            epoch: Bytes::copy_from_slice(&self.epoch.0),
            seq: self.seq,
            hash: Bytes::copy_from_slice(&self.hash),
        }
    }

    /// An anchor that travelled; `None` for one of another shape.
    pub fn from_pb(anchor: &pb::Anchor) -> Option<Anchor> {
        let hash = anchor.hash.as_ref().try_into().ok()?;
        Some(Anchor { epoch: Epoch::from_slice(&anchor.epoch)?, seq: anchor.seq, hash })
    }
}

/// Why an entry is refused. None of these is ever worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The header is not a protobuf message of the right shape.
    #[error("entry header cannot be read: {0}")]
    Header(&'static str),
    /// A payload differs from the hash in its header.
    #[error("entry {seq}: {part} does not match the hash in its header")]
    PayloadHash {
        /// Place in the origin's log.
        seq: u64,
        /// `open` or `sealed`.
        part: &'static str,
    },
    /// The entry does not follow the one before it.
    #[error("entry {found} does not follow entry {after}: the chain is broken")]
    Chain {
        /// Newest entry that is in place.
        after: u64,
        /// The entry that does not fit.
        found: u64,
    },
    /// `open` is not a patch.
    #[error(transparent)]
    Open(#[from] Malformed),
}

const NO_KIND: &str = "a kind is a number from 1 to 65535";

fn payload_hash(payload: &[u8]) -> Option<Hash> {
    (!payload.is_empty()).then(|| sha256(payload))
}

impl Header {
    /// Reads a header. Written out by hand, as is the encoder: both sides do this once for every
    /// change, and a decoder that owns its parts would cost five allocations.
    ///
    /// # Errors
    /// [`EntryError::Header`] naming what is missing or has a wrong length.
    pub fn decode(bytes: &Bytes) -> Result<Header, EntryError> {
        let mut header = Header::blank();
        let (mut epoch, mut record) = (None, None);
        for field in fields::each(bytes) {
            let (tag, value) = field.map_err(|_| EntryError::Header("not protobuf"))?;
            match (tag, value) {
                (1, Value::Varint(site)) => header.origin.site = SiteCode(site as u32),
                (2, Value::Delimited(bytes)) => epoch = Epoch::from_slice(bytes),
                (3, Value::Varint(seq)) => header.seq = seq,
                (4, Value::Fixed64(stamp)) => header.stamp = Stamp(stamp),
                (5, Value::Varint(generation)) => header.base.generation = generation,
                (6, Value::Varint(hub_seq)) => header.base.hub_seq = hub_seq,
                // Rows are keyed by two bytes of the kind: a larger number would pass for another kind there.
                (7, Value::Varint(kind)) => {
                    header.kind = u16::try_from(kind).map_err(|_| EntryError::Header(NO_KIND))?.into();
                }
                (8, Value::Delimited(bytes)) => record = RecordId::from_slice(bytes),
                (9, Value::Varint(op)) => {
                    header.op = Op::try_from(op as i32).map_err(|_| EntryError::Header("unknown op"))?;
                }
                (10, Value::Delimited(bytes)) => {
                    let author = std::str::from_utf8(bytes).map_err(|_| EntryError::Header("author"))?;
                    header.author = author.to_owned();
                }
                (11, Value::Delimited(import)) => header.import_id = bytes.slice_ref(import),
                (12, Value::Delimited(bytes)) => header.prev = Some(hash_of(bytes)?),
                (13, Value::Delimited(bytes)) => header.open_hash = Some(hash_of(bytes)?),
                (14, Value::Delimited(bytes)) => header.sealed_hash = Some(hash_of(bytes)?),
                (15, Value::Delimited(bytes)) => header.anchor = Some(read_anchor(bytes)?),
                (16, Value::Delimited(bytes)) if header.seen.len() < MOST_SEEN => {
                    header.seen.push(read_anchor(bytes)?);
                }
                (16, _) => return Err(EntryError::Header("seen is no list of a few anchors")),
                // A newer writer may say more.
                _ => {}
            }
        }
        header.origin.epoch = epoch.ok_or(EntryError::Header("epoch is not 16 bytes"))?;
        header.record = record.ok_or(EntryError::Header("record is not 16 bytes"))?;
        if header.seq == 0 {
            return Err(EntryError::Header("seq is 0"));
        }
        if header.kind == 0 {
            return Err(EntryError::Header(NO_KIND));
        }
        Ok(header)
    }

    fn blank() -> Header {
        Header {
            origin: Origin { site: SiteCode(0), epoch: Epoch::default() },
            seq: 0,
            stamp: Stamp::default(),
            base: Position::default(),
            kind: 0,
            record: RecordId::default(),
            op: Op::Put,
            author: String::new(),
            import_id: Bytes::new(),
            prev: None,
            open_hash: None,
            sealed_hash: None,
            anchor: None,
            seen: Vec::new(),
        }
    }

    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(224 + self.author.len());
        put_number(&mut out, 1, u64::from(self.origin.site.0));
        put_bytes(&mut out, 2, &self.origin.epoch.0);
        put_number(&mut out, 3, self.seq);
        out.push(4 << 3 | 1);
        out.extend_from_slice(&self.stamp.0.to_le_bytes());
        put_number(&mut out, 5, self.base.generation);
        put_number(&mut out, 6, self.base.hub_seq);
        put_number(&mut out, 7, u64::from(self.kind));
        put_bytes(&mut out, 8, &self.record.0);
        put_number(&mut out, 9, self.op as u64);
        put_bytes(&mut out, 10, self.author.as_bytes());
        put_bytes(&mut out, 11, &self.import_id);
        for (tag, hash) in [(12, &self.prev), (13, &self.open_hash), (14, &self.sealed_hash)] {
            put_bytes(&mut out, tag, hash.as_ref().map_or(&[], |hash| hash.as_slice()));
        }
        if let Some(anchor) = &self.anchor {
            put_bytes(&mut out, 15, &anchor.to_pb().encode_to_vec());
        }
        for seen in &self.seen {
            put_bytes(&mut out, 16, &seen.to_pb().encode_to_vec());
        }
        out.into()
    }

    /// Whether this entry directly follows `head` in its origin's log.
    ///
    /// # Errors
    /// [`EntryError::Chain`].
    pub fn follows(&self, head: &Head) -> Result<(), EntryError> {
        let prev = self.prev.unwrap_or_default();
        if self.seq == head.seq + 1 && prev == head.hash {
            Ok(())
        } else {
            Err(EntryError::Chain { after: head.seq, found: self.seq })
        }
    }
}

fn hash_of(bytes: &[u8]) -> Result<Hash, EntryError> {
    bytes.try_into().map_err(|_| EntryError::Header("a hash is not 32 bytes"))
}

fn read_anchor(bytes: &[u8]) -> Result<Anchor, EntryError> {
    let anchor = pb::Anchor::decode(bytes).map_err(|_| EntryError::Header("anchor"))?;
    Anchor::from_pb(&anchor).ok_or(EntryError::Header("anchor"))
}

/// Makes an entry from its parts; the payload hashes of `header` are filled in. Returns the entry and the
/// hash that the next entry names.
pub fn make(mut header: Header, open: Bytes, sealed: Bytes) -> (Entry, Head) {
    header.open_hash = payload_hash(&open);
    header.sealed_hash = payload_hash(&sealed);
    let encoded = header.encode();
    let head = Head { seq: header.seq, hash: sha256(&encoded) };
    (Entry { header: encoded, open, sealed }, head)
}

/// The encoded entry, in parts that follow one another: nothing is copied only to be written elsewhere.
pub struct Encoded<'a> {
    entry: &'a Entry,
    /// Key and length of each payload, and how many bytes they take; none for a payload that is not there.
    keys: [([u8; 6], usize); 3],
}

impl<'a> Encoded<'a> {
    /// As it goes into a log.
    pub fn new(entry: &'a Entry) -> Encoded<'a> {
        let key = |tag: u8, payload: &Bytes| {
            let (mut key, mut end, mut left) = ([tag << 3 | 2, 0, 0, 0, 0, 0], 1, payload.len());
            while left >= 0x80 {
                key[end] = left as u8 | 0x80;
                (end, left) = (end + 1, left >> 7);
            }
            key[end] = left as u8;
            (key, if payload.is_empty() { 0 } else { end + 1 })
        };
        let Entry { header, open, sealed } = entry;
        Encoded { entry, keys: [key(1, header), key(2, open), key(3, sealed)] }
    }

    /// The parts.
    pub fn parts(&self) -> [&[u8]; 6] {
        let Entry { header, open, sealed } = self.entry;
        let [a, b, c] = self.keys.each_ref().map(|(key, end)| &key[..*end]);
        [a, header, b, open, c, sealed]
    }
}

/// Reads an entry's header and checks its payloads against it. An absent payload is accepted: it may have
/// been erased, or dropped on arrival.
///
/// # Errors
/// [`EntryError::Header`], [`EntryError::PayloadHash`].
pub fn check(entry: &Entry) -> Result<(Header, Hash), EntryError> {
    let header = Header::decode(&entry.header)?;
    let parts = [("open", &entry.open, header.open_hash), ("sealed", &entry.sealed, header.sealed_hash)];
    for (part, payload, expected) in parts {
        if !payload.is_empty() && payload_hash(payload) != expected {
            return Err(EntryError::PayloadHash { seq: header.seq, part });
        }
    }
    let hash = sha256(&entry.header);
    Ok((header, hash))
}

/// A patch at field granularity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    /// Fields that take a new value.
    pub set: Fields,
    /// Fields that lose theirs: ascending, each once, none that is in `set`.
    pub cleared: Vec<u32>,
}

impl Patch {
    /// A patch that came from elsewhere. A field both set and cleared is set.
    ///
    /// # Errors
    /// [`Malformed`] when a cleared tag is none.
    pub fn new(set: Fields, mut cleared: Vec<u32>) -> Result<Patch, Malformed> {
        if cleared.iter().any(|tag| *tag == 0 || *tag > MAX_TAG) {
            return Err(Malformed { offset: 0, what: "a cleared tag out of range" });
        }
        cleared.sort_unstable();
        cleared.dedup();
        cleared.retain(|tag| set.get(*tag).is_none());
        Ok(Patch { set, cleared })
    }

    /// Whether the patch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.cleared.is_empty()
    }

    /// The patch in the `open` part of an entry; an empty part is an empty patch.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_open(open: &Bytes) -> Result<Patch, Malformed> {
        if open.is_empty() {
            return Ok(Patch::default());
        }
        let raw = pb::Open::decode(open.clone())
            .map_err(|_| Malformed { offset: 0, what: "the open part is not protobuf" })?;
        Patch::new(Fields::split(raw.set)?, raw.cleared)
    }

    /// The `open` part of an entry; nothing for an empty patch.
    pub fn to_open(&self, salt: [u8; 16]) -> Bytes {
        if self.is_empty() {
            return Bytes::new();
        }
        let mut out = Vec::with_capacity(salt.len() + self.set.bytes().len() + 8 + 5 * self.cleared.len());
        put_bytes(&mut out, 1, &salt);
        put_bytes(&mut out, 2, self.set.bytes());
        put_numbers(&mut out, 3, &self.cleared);
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            origin: Origin { site: SiteCode(440_100), epoch: Epoch([7; 16]) },
            seq: 300,
            stamp: Stamp(1 << 40),
            base: Position { generation: u64::MAX, hub_seq: 9 },
            kind: 1,
            record: RecordId([3; 16]),
            op: Op::Delete,
            author: "clerk-7".into(),
            import_id: Bytes::from_static(b"batch"),
            prev: Some([1; 32]),
            open_hash: None,
            sealed_hash: Some([2; 32]),
            anchor: Some(Anchor { epoch: Epoch([8; 16]), seq: 4, hash: [5; 32] }),
            seen: vec![
                Anchor { epoch: Epoch([8; 16]), seq: 2, hash: [6; 32] },
                Anchor { epoch: Epoch([9; 16]), seq: 3, hash: [7; 32] },
            ],
        }
    }

    #[test]
    fn the_hand_written_codec_is_the_proto() {
        let header = header();
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        let generic = pb::EntryHeader::decode(bytes.clone()).expect("protobuf");
        assert_eq!(Bytes::from(generic.encode_to_vec()), bytes);
    }

    #[test]
    fn open_and_entry_are_the_proto() {
        let patch = Patch { set: Fields::split(vec![0x08, 1]).expect("a message"), cleared: vec![7, 300] };
        let open = patch.to_open([9; 16]);
        let generic = pb::Open::decode(open.clone()).expect("protobuf");
        assert_eq!(
            (generic.set.as_ref(), generic.cleared.as_slice()),
            ([8, 1].as_slice(), [7, 300].as_slice())
        );
        assert_eq!(Bytes::from(generic.encode_to_vec()), open);
        assert_eq!(Patch::from_open(&open), Ok(patch));
        for sealed in [Bytes::new(), Bytes::from(vec![5; 200])] {
            let (entry, _) = make(header(), open.clone(), sealed);
            assert_eq!(Encoded::new(&entry).parts().concat(), entry.encode_to_vec());
        }
    }

    #[test]
    fn a_kind_that_rows_cannot_tell_from_another_is_refused() {
        #[track_caller]
        fn check(kind: u64, allowed: bool) {
            // Of a field that comes twice the last counts.
            let mut raw = header().encode().to_vec();
            raw.push(7 << 3);
            prost::encoding::encode_varint(kind, &mut raw);
            let read = Header::decode(&raw.into());
            match allowed {
                true => assert_eq!(read.map(|header| u64::from(header.kind)), Ok(kind)),
                false => assert_eq!(read, Err(EntryError::Header(NO_KIND)), "kind {kind}"),
            }
        }
        check(1, true);
        check(65_535, true);
        for kind in [0, 65_536, 65_537, (1 << 32) + 1, u64::MAX] {
            check(kind, false);
        }
    }

    #[test]
    fn a_header_cut_anywhere_is_refused_or_lacks_what_it_needs() {
        let bytes = header().encode();
        for end in 0..40 {
            assert!(Header::decode(&bytes.slice(..end)).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_payload_that_was_altered_is_found() {
        let open = Patch { set: Fields::split(vec![0x08, 1]).expect("a message"), cleared: vec![] };
        let (mut entry, head) = make(header(), open.to_open([9; 16]), Bytes::new());
        assert_eq!(check(&entry).map(|(_, hash)| hash), Ok(head.hash));
        let mut bent = entry.open.to_vec();
        bent[3] ^= 1;
        entry.open = bent.into();
        assert_eq!(check(&entry), Err(EntryError::PayloadHash { seq: 300, part: "open" }));
    }
}
