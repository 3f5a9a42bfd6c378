//! The protocol of liandong: everything that both sides must agree on, and nothing that acts.

pub mod city;
pub mod digest;
pub mod entry;
pub mod fields;
pub mod format;
pub mod id;
pub mod merge;
pub mod pb;
pub mod position;
pub mod schema;
pub mod session;
pub mod share;
pub mod stamp;
pub mod state;
pub mod validate;
