//! Every bound on connections and messages: between node and hub, set explicitly on both sides, and for the city's other
//! systems (`API_…`).
//!
//! | bound | why |
//! |---|---|
//! | message size | a batch and its framing; nothing larger is ever allocated for a peer |
//! | streams, resets | a node needs one session and now and then a renewal |
//! | requests | past the streams of a connection none waits: it is refused |
//! | keepalive | a peer that has gone is noticed within half a minute |
//! | connections of a city | memory and descriptors of the hub; a member needs one, and one more while it is replaced |
//! | handshakes, void connections | whoever is nobody takes no member's place; the oldest gives way to the next |
//! | handshake | whoever connects and says nothing holds a place no longer than this |
//! | connection age | certificates are looked at when a connection begins: no connection outlives that by much |
//! | windows | what a peer may have under way that nobody has read yet |
//! | unread | what the hub has for a peer that does not read: past it the peer is cut, a restore waits |
//! | pace | what costs the hub a handshake, a scan or a write is begun so often and no more |

use std::time::Duration;

/// The largest message of a session, in bytes.
pub const MESSAGE_BYTES: usize = 4 << 20;
/// The largest message of an enrolment, in bytes.
pub const ENROLMENT_BYTES: usize = 16 << 10;
/// Streams of one connection.
pub const STREAMS: u32 = 8;
/// Streams that were reset by a peer before they were served, or by this side, at once; more ends the connection.
pub const RESETS: usize = 20;
/// A peer that has been silent for so long is asked whether it is there.
pub const KEEPALIVE: Duration = Duration::from_secs(20);
/// And has so long to answer.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the hub looks whether a member may go on, also when it has nothing to say: well within the minute in which
/// whoever is cut off must be gone.
pub const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// Until a connection stands, TLS included; and until a session has begun.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections on their way to stand, of each port.
pub const HANDSHAKES: usize = 128;
/// Past that number the next one is looked at after such a pause, so that each has half a second at least.
pub const HANDSHAKE_PAUSE: Duration = Duration::from_millis(4);
/// A connection is ended after so long, and begins anew.
pub const CONNECTION_AGE: Duration = Duration::from_secs(86_400);
/// With so much time for what is under way.
pub const CONNECTION_GRACE: Duration = Duration::from_secs(30);
/// What one stream may have under way, in bytes.
pub const STREAM_WINDOW: u32 = 2 << 20;
/// What one connection may have under way, in bytes.
pub const CONNECTION_WINDOW: u32 = 4 << 20;
/// Proofs of erasures in one request.
pub const PROOFS: usize = 1_000;
/// What they come to, with room, in bytes.
pub const PROOF_BYTES: usize = 512 << 10;
/// The largest frame, in bytes.
pub const FRAME_BYTES: u32 = 16 << 10;
/// Headers of a request, in bytes.
pub const HEADER_BYTES: u32 = 16 << 10;
/// Connections of one member.
pub const CITY_CONNECTIONS: usize = 4;
/// Connections that a member may begin at once, and then one in a while; the next ones wait.
pub const CONNECTIONS_AT_ONCE: u64 = 64;
/// That while.
pub const CONNECTION_PAUSE: Duration = Duration::from_millis(250);
/// Connections of all whose certificates are void.
pub const VOID_CONNECTIONS: usize = 8;
/// Whoever has a void certificate is told so by then.
pub const VOID_AGE: Duration = Duration::from_secs(10);
/// Connections of those who want to join.
pub const ENROLMENTS: usize = 16;
/// An enrolment is over by then; whoever stays longer wants something else.
pub const ENROLMENT_AGE: Duration = Duration::from_secs(30);
/// Connections to the loopback port that have not proved yet that they know the secret; past that number the oldest gives
/// way, after [`HANDSHAKE_PAUSE`].
pub const LOOPBACK_HANDSHAKES: usize = 128;
/// Connections to the port for the city's other systems that have shown no token yet; past that number the same.
pub const API_STRANGERS: usize = 128;
/// Connections of the city's other systems, which have shown one.
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
/// Messages of a session that wait for a node to read them. One that reads has half as many at most: the deliveries
/// and receipts of its windows, and answers.
pub const UNREAD: usize = 32;
/// Sessions that a city may begin at once, and then one in a while.
pub const SESSIONS_AT_ONCE: u64 = 32;
/// That while.
pub const SESSION_PAUSE: Duration = Duration::from_secs(1);
/// Comparisons that a city may ask for at once, and then one in a while; a node keeps to one in a second.
pub const COMPARISONS_AT_ONCE: u64 = 8;
/// That while.
pub const COMPARISON_PAUSE: Duration = Duration::from_secs(1);
/// Renewals that a city may ask for at once, and then one in a while.
pub const RENEWALS_AT_ONCE: u64 = 4;
/// That while.
pub const RENEWAL_PAUSE: Duration = Duration::from_secs(600);
/// Rotations of its signing key that a city may ask for at once, and then one in a while; rings of city keys that it may
/// hand in as well.
pub const KEY_CHANGES_AT_ONCE: u64 = 4;
/// That while.
pub const KEY_CHANGE_PAUSE: Duration = Duration::from_secs(600);
/// Rotations of a city's signing key, ever: the hub holds all of them against what the city says.
pub const ROTATIONS: usize = 256;
/// Requests with proofs of erasures that a city may make at once, and then one in a while; a node makes one in two seconds.
pub const PROVING_AT_ONCE: u64 = 16;
/// That while.
pub const PROVING_PAUSE: Duration = Duration::from_secs(1);
/// A restore gives up after such a silence: a hub that works sends something in this time.
pub const RESTORE_SILENCE: Duration = Duration::from_secs(120);
/// What a batch holds at first, in bytes, and which part of what its connection has carried it holds at the most. A batch
/// that is cut in the middle is sent again: on a line that breaks often it has to be small, and on one that holds it
/// soon is as large as a batch may be.
const BATCH_AT_FIRST: u64 = 8 << 10;
const BATCH_PART: u64 = 32;

/// How many bytes the next batch may hold, on a connection that has carried `sent`.
pub fn stride(sent: u64, most: usize) -> usize {
    most.min((sent / BATCH_PART).max(BATCH_AT_FIRST) as usize)
}

/// What a node asks of the hub beside a session is answered by then.
pub const ERRAND: Duration = Duration::from_secs(30);
