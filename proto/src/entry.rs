//! Entries: a change as stored, hash-chained over its header so that payloads can be erased.

use bytes::Bytes;
use prost::Message as _;

use crate::fields::{Fields, MAX_TAG, Malformed};
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
}

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

fn hash_of(bytes: &[u8], what: &'static str) -> Result<Option<Hash>, EntryError> {
    match bytes.len() {
        0 => Ok(None),
        32 => Ok(bytes.try_into().ok()),
        _ => Err(EntryError::Header(what)),
    }
}

fn payload_hash(payload: &[u8]) -> Option<Hash> {
    (!payload.is_empty()).then(|| sha256(payload))
}

fn bytes_of(hash: &Option<Hash>) -> Bytes {
    hash.as_ref().map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(hash))
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`EntryError::Header`] naming what is missing or has a wrong length.
    pub fn decode(bytes: &Bytes) -> Result<Header, EntryError> {
        let raw = pb::EntryHeader::decode(bytes.clone()).map_err(|_| EntryError::Header("not protobuf"))?;
        let epoch = Epoch::from_slice(&raw.epoch).ok_or(EntryError::Header("epoch is not 16 bytes"))?;
        let record = RecordId::from_slice(&raw.record).ok_or(EntryError::Header("record is not 16 bytes"))?;
        if raw.seq == 0 {
            return Err(EntryError::Header("seq is 0"));
        }
        let anchor = match raw.anchor {
            None => None,
            Some(anchor) => Some(Anchor {
                epoch: Epoch::from_slice(&anchor.epoch).ok_or(EntryError::Header("anchor epoch"))?,
                seq: anchor.seq,
                hash: hash_of(&anchor.hash, "anchor hash")?.ok_or(EntryError::Header("anchor hash"))?,
            }),
        };
        Ok(Header {
            origin: Origin { site: SiteCode(raw.site), epoch },
            seq: raw.seq,
            stamp: Stamp(raw.stamp),
            base: Position { generation: raw.base_generation, hub_seq: raw.base_hub_seq },
            kind: raw.kind,
            record,
            op: Op::try_from(raw.op).map_err(|_| EntryError::Header("unknown op"))?,
            author: raw.author,
            import_id: raw.import_id,
            prev: hash_of(&raw.prev_hash, "prev hash is not 32 bytes")?,
            open_hash: hash_of(&raw.open_hash, "open hash is not 32 bytes")?,
            sealed_hash: hash_of(&raw.sealed_hash, "sealed hash is not 32 bytes")?,
            anchor,
        })
    }

    fn encode(&self) -> Bytes {
        let raw = pb::EntryHeader {
            site: self.origin.site.0,
            epoch: Bytes::copy_from_slice(&self.origin.epoch.0),
            seq: self.seq,
            stamp: self.stamp.0,
            base_generation: self.base.generation,
            base_hub_seq: self.base.hub_seq,
            kind: self.kind,
            record: Bytes::copy_from_slice(&self.record.0),
            op: self.op as i32,
            author: self.author.clone(),
            import_id: self.import_id.clone(),
            prev_hash: bytes_of(&self.prev),
            open_hash: bytes_of(&self.open_hash),
            sealed_hash: bytes_of(&self.sealed_hash),
            anchor: self.anchor.map(|anchor| pb::Anchor {
                epoch: Bytes::copy_from_slice(&anchor.epoch.0),
                seq: anchor.seq,
                hash: Bytes::copy_from_slice(&anchor.hash),
            }),
        };
        raw.encode_to_vec().into()
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

/// Makes an entry from its parts; the payload hashes of `header` are filled in. Returns the entry and the
/// hash that the next entry names.
pub fn make(mut header: Header, open: Bytes, sealed: Bytes) -> (Entry, Head) {
    header.open_hash = payload_hash(&open);
    header.sealed_hash = payload_hash(&sealed);
    let encoded = header.encode();
    let head = Head { seq: header.seq, hash: sha256(&encoded) };
    (Entry { header: encoded, open, sealed }, head)
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
        let raw = pb::Open {
            salt: Bytes::copy_from_slice(&salt),
            set: self.set.bytes().clone(),
            cleared: self.cleared.clone(),
        };
        raw.encode_to_vec().into()
    }
}
