//! What a token of an analyst allows.

use serde::{Deserialize, Serialize};

use crate::release::Role;

/// A role, and what it was given for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What may be read.
    pub role: Role,
    /// What for, as a person typed it; stands with every read in the audit log.
    pub purpose: String,
    /// Tokens of one project get the same pseudonyms, those of another get others.
    pub project: String,
}

impl liandong_node::api::access::token::Grant for Grant {
    const COMMAND: &'static str = "liandong-hub token";
    const MAKE: &'static str = "liandong-hub token create";
}
