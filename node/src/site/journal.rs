//! What a node's log holds: the kinds of its records, and how each is read.

use bytes::Bytes;
use liandong_proto::entry::Entry;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::pb::sync::v1 as sync;
use prost::Message;

use super::SiteError;
use crate::log;

/// Kinds of log records. Numbers are never used again.
pub mod record_kind {
    /// A life of the log begins: `EpochOpened`.
    pub const OPENED: u8 = 1;
    /// An own entry: `Entry`. Chained; travels.
    pub const OWN: u8 = 2;
    /// What the hub delivered, as it came: `Deliver`.
    pub const RECEIVED: u8 = 3;
    /// A session is about to begin: `NonceTried`.
    pub const TRIED: u8 = 4;
    /// The hub has welcomed it: `Welcomed`.
    pub const WELCOMED: u8 = 5;
    /// The hub holds own entries up to a place: `Receipt`.
    pub const CONFIRMED: u8 = 6;
    /// A holder's proof that it has erased a record: `ErasureProof`.
    pub const ERASED: u8 = 7;
    /// What leaves the site was accepted: `RulesAccepted`.
    pub const ACCEPTED: u8 = 8;
    /// A damaged log was made anew: `Repaired`.
    pub const REPAIRED: u8 = 9;
    /// At the hub, a commit: `Commit`.
    pub const COMMIT: u8 = 16;
    /// At the hub, a start: `GenerationStart`.
    pub const GENERATION: u8 = 17;
    /// At the hub, a session that was welcomed: `SessionOpened`.
    pub const SESSION: u8 = 18;
    /// At the hub, its word about a city as a member: `RegistryChange`.
    pub const REGISTRY: u8 = 19;
}

/// A record of a node's log, read.
#[derive(Debug)]
pub enum Record {
    /// A life of the log begins.
    Opened(pb::EpochOpened),
    /// An own entry.
    Own(Entry),
    /// What the hub delivered.
    Received(sync::Deliver),
    /// A session is about to begin.
    Tried(pb::NonceTried),
    /// The hub has welcomed it.
    Welcomed(pb::Welcomed),
    /// The hub holds own entries up to a place.
    Confirmed(sync::Receipt),
    /// A record is erased here, or at the hub.
    Erased(pb::ErasureProof),
    /// What leaves the site was accepted.
    Accepted(pb::RulesAccepted),
    /// The log was damaged and was made anew.
    Repaired(pb::Repaired),
}

impl Record {
    /// Reads a record of a node's log.
    ///
    /// # Errors
    /// [`SiteError::Corrupt`] naming the place.
    pub fn read(raw: &log::Record) -> Result<Record, SiteError> {
        let payload = raw.payload.clone();
        let read = match raw.kind {
            record_kind::OPENED => decode(payload).map(Record::Opened),
            record_kind::OWN => decode(payload).map(Record::Own),
            record_kind::RECEIVED => decode(payload).map(Record::Received),
            record_kind::TRIED => decode(payload).map(Record::Tried),
            record_kind::WELCOMED => decode(payload).map(Record::Welcomed),
            record_kind::CONFIRMED => decode(payload).map(Record::Confirmed),
            record_kind::ERASED => decode(payload).map(Record::Erased),
            record_kind::ACCEPTED => decode(payload).map(Record::Accepted),
            record_kind::REPAIRED => decode(payload).map(Record::Repaired),
            other => Err(format!("a record of kind {other}, which no node of this version writes")),
        };
        read.map_err(|why| SiteError::corrupt(format!("log record at {:?}", raw.pos), why))
    }
}

fn decode<M: Message + Default>(payload: Bytes) -> Result<M, String> {
    M::decode(payload).map_err(|error| error.to_string())
}
