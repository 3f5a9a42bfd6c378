//! Who runs a command and what for: what stands in every request that reads.

use bytes::Bytes;
use liandong_proto::pb::node::v1 as pb;

/// Who asks, and what for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Opaque id of the person.
    pub author: String,
    /// As the person typed it; empty when nothing was said.
    pub purpose: String,
}

impl Caller {
    /// The same for a command that says by itself what it reads for; what the person says goes before it.
    pub fn doing(&self, purpose: &str) -> Caller {
        let purpose = if self.purpose.is_empty() { purpose } else { &self.purpose };
        Caller { author: self.author.clone(), purpose: purpose.to_owned() }
    }

    /// Asks for a record, or for its history.
    pub fn get(&self, kind: u32, record: Bytes) -> pb::GetRequest {
        pb::GetRequest { kind, record, reader: self.author.clone(), purpose: self.purpose.clone() }
    }

    /// Asks for the first page of a kind.
    pub fn list(&self, kind: u32, page_size: u32) -> pb::ListRequest {
        let (reader, purpose) = (self.author.clone(), self.purpose.clone());
        pb::ListRequest { kind, page_size, reader, purpose, ..pb::ListRequest::default() }
    }

    /// Asks for the deleted records of a kind.
    pub fn deleted(&self, kind: u32) -> pb::DeletedRequest {
        pb::DeletedRequest { kind, reader: self.author.clone(), purpose: self.purpose.clone() }
    }
}
