//! The generated messages, one module per package: `pb::log::v1`, `pb::sync::v1`, `pb::record::v1` and so on.

// The protos carry the comments; prost decides the rest.
#[allow(missing_docs, clippy::all)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use packages::liandong::*;

/// The descriptor set of every proto, options included, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));
