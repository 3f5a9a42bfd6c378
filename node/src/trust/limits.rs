//! Every bound on connections and messages: between node and hub, set explicitly on both sides, and for the city's other
//! systems (`API_…`).
//!
//! | bound | why |
//! |---|---|
//! | message size | a batch and its framing; nothing larger is ever allocated for a peer |
//! | streams | a node needs one session and now and then a renewal |
//! | keepalive | a peer that has gone is noticed within half a minute |
//! | connections | memory and descriptors of the hub; members need one each |
//! | handshake | whoever connects and says nothing holds a place no longer than this |
//! | windows | what a peer may have under way that nobody has read yet |

use std::time::Duration;

/// The largest message of a session, in bytes.
pub const MESSAGE_BYTES: usize = 4 << 20;
/// The largest message of an enrolment, in bytes.
pub const ENROLMENT_BYTES: usize = 16 << 10;
/// Streams of one connection.
pub const STREAMS: u32 = 8;
/// A peer that has been silent for so long is asked whether it is there.
pub const KEEPALIVE: Duration = Duration::from_secs(20);
/// And has so long to answer.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the hub looks whether a member may go on, also when it has nothing to say: well within the minute in which
/// whoever is cut off must be gone.
pub const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// Until a connection stands, TLS included.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// What one stream may have under way, in bytes.
pub const STREAM_WINDOW: u32 = 2 << 20;
/// What one connection may have under way, in bytes.
pub const CONNECTION_WINDOW: u32 = 4 << 20;
/// Proofs of erasures in one request.
pub const PROOFS: usize = 1_000;
/// What they come to, with room, in bytes.
pub const PROOF_BYTES: usize = 512 << 10;
/// Headers of a request, in bytes.
pub const HEADER_BYTES: u32 = 16 << 10;
/// Connections of members, with room for those that are just being replaced.
pub const CONNECTIONS: usize = 64;
/// Connections of those who want to join.
pub const ENROLMENTS: usize = 16;
/// An enrolment is over by then; whoever stays longer wants something else.
pub const ENROLMENT_AGE: Duration = Duration::from_secs(30);
/// Connections to the loopback port that have not proved yet that they know the secret.
pub const LOOPBACK_HANDSHAKES: usize = 16;
/// Connections of the city's other systems.
pub const API_CONNECTIONS: usize = 64;
/// Streams of one of them.
pub const API_STREAMS: u32 = 16;
/// The largest request of another system, in bytes.
pub const API_REQUEST_BYTES: usize = 4 << 20;
/// The largest answer to one, in bytes: a page of a thousand records.
pub const API_ANSWER_BYTES: usize = 16 << 20;
/// A connection of another system is asked to come anew after that.
pub const API_AGE: Duration = Duration::from_secs(3_600);
/// And is cut so long after it was asked.
pub const API_AGE_GRACE: Duration = Duration::from_secs(60);
/// By then a connection of another system has shown a token, or it is cut.
pub const API_STRANGER: Duration = Duration::from_secs(30);
/// Failed attempts to show a token, after which a connection is of no use any more.
pub const API_FAILURES: u32 = 5;
/// Tokens that one site gives out, those that are void included.
pub const API_TOKENS: usize = 256;
