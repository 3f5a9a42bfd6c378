//! Between records as they are stored and as people and programs write them: JSON and text by the schema.
//!
//! Fields of newer nodes are kept where they are and never shown.

mod input;
mod nested;
mod output;
mod scalar;

use std::sync::OnceLock;

use liandong_proto::pb::DESCRIPTORS;
use liandong_proto::schema::{self, Kind};
use prost_reflect::{DescriptorPool, MessageDescriptor};

pub(crate) use input::document_number;
pub use input::{Patch, from_json, from_texts};
pub use output::{shown, site_text, to_json, to_text};
pub use scalar::{Scalar, Trouble, is_one_cell, mobiles, read, site_named};

/// Every descriptor of the protos.
fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).expect("the build wrote a valid descriptor set"))
}

/// The message of a kind.
///
/// # Panics
/// Never for a kind of the schema: its tables are made from these descriptors.
pub fn message(kind: &Kind) -> MessageDescriptor {
    pool().get_message_by_name(kind.message).expect("every kind of the schema has its message")
}

/// The kind that a person means: `member`, `AwardRound`, `会员`, `1`.
pub fn kind_named(text: &str) -> Option<&'static Kind> {
    let text = text.trim();
    let wanted = text.to_lowercase().replace(['_', '-', ' '], "");
    schema::kinds().iter().find(|kind| {
        kind.name.replace('_', "") == wanted || kind.title.zh == text || kind.number.to_string() == text
    })
}

#[cfg(test)]
mod tests;
