//! The generated messages, one module per package: `pb::log::v1`, `pb::sync::v1`, `pb::record::v1` and so on.

// The protos carry the comments; prost decides the rest.
#[allow(missing_docs, clippy::all)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use packages::liandong::*;

impl node::v1::BackupResponse {
    /// How a site stands, as its row says; `log` has the durable length of each segment. The audit log comes later.
    pub fn of(origin: crate::id::Origin, row: log::v1::SiteRow, version: &str, log: Vec<u64>) -> Self {
        Self {
            site: origin.site.0,
            version: version.into(),
            epoch: bytes::Bytes::copy_from_slice(&origin.epoch.0),
            head_seq: row.seq,
            head_hash: row.hash,
            generation: row.generation,
            hub_seq: row.hub_seq,
            log,
            audit: Vec::new(),
        }
    }
}

/// The descriptor set of every proto, options included, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));
