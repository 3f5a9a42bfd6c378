//! Every bound on connections and messages between node and hub, set explicitly on both sides.
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
/// Until a connection stands, TLS included.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// What one stream may have under way, in bytes.
pub const STREAM_WINDOW: u32 = 2 << 20;
/// What one connection may have under way, in bytes.
pub const CONNECTION_WINDOW: u32 = 4 << 20;
/// Headers of a request, in bytes.
pub const HEADER_BYTES: u32 = 16 << 10;
/// Connections of members, with room for those that are just being replaced.
pub const CONNECTIONS: usize = 64;
/// Connections of those who want to join.
pub const ENROLMENTS: usize = 16;
/// An enrolment is over by then; whoever stays longer wants something else.
pub const ENROLMENT_AGE: Duration = Duration::from_secs(30);
/// What a node asks of the hub beside a session is answered by then.
pub const ERRAND: Duration = Duration::from_secs(30);
