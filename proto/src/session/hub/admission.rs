//! The registry's answer to a node that says hello.

use crate::entry::Head;
use crate::pb::log::v1 as pb_log;
use crate::pb::sync::v1 as pb;
use crate::position::Generations;
use crate::sign::{SigningKey, VerifyingKey};

/// The hub's key as of a place of its order.
#[derive(Clone, Debug)]
pub struct HubKeys {
    /// Signs the receipts of the session.
    pub signer: SigningKey,
    /// How that key came from those before it.
    pub rotations: Vec<pb_log::KeyRotation>,
}

/// What the registry knows of a node that says hello.
#[derive(Clone, Debug)]
pub enum Admission {
    /// It may sync.
    Welcome {
        /// What the hub holds of the origin.
        held: Head,
        /// What the city signs the heads of its log with.
        signing_key: VerifyingKey,
        /// The hub's history.
        generations: Generations,
        /// The hub's clock, milliseconds since 1970.
        hub_time_ms: u64,
        /// What the hub signs with.
        hub_keys: Box<HubKeys>,
    },
    /// Its log and ours have parted.
    Diverged(pb::Diverged),
    /// It may not.
    Refused(pb::Refusal),
}
