//! Trust between a city and the province: the invitation, the membership it leads to, and the TLS that follows.
//!
//! | file | holds |
//! |---|---|
//! | `invitation` | the code that a city is invited with |
//! | `join` | the city's side of enrolment, and the renewal of its certificate |
//! | `membership` | what a city keeps of both: one file, replaced as a whole |
//! | `unfinished` | what a restore that was cut short goes on from |
//! | `tls` | connections: to a pinned authority before joining, with both certificates after |
//! | `ends` | what the logs say of certificates that come to their end |
//! | `errands` | what a member does before each session: keys that wait for the hub's word, keys that the hub keeps |
//! | `wrap` | the linking key on its way to one city: age files |
//! | `limits` | every bound on connections and messages, for both sides |
//! | `bounded` | connections that are counted, and cut when their time is over |

pub mod bounded;
pub mod ends;
mod errands;
pub mod invitation;
pub mod join;
pub mod limits;
pub mod membership;
mod tls;
mod unfinished;
pub mod wrap;

pub use errands::{look_after_keys, run as run_errands};
pub use invitation::Invitation;
pub use join::{JoinError, Joined, join, renew};
pub use membership::Membership;
pub use tls::endpoint;
pub use unfinished::Unfinished;

/// The name in the hub's certificate. Nodes ask for it wherever the hub is reached: addresses change, and the
/// authority that vouches for the name is the hub's own.
pub const HUB_NAME: &str = "hub.liandong.internal";
