//! The province's hub: a site that also listens. It orders, merges and reconciles what the cities sync, and
//! sends decisions back.

pub mod agreements;
pub mod api;
pub mod audience;
mod audited;
pub mod ca;
pub mod chain;
pub mod cli;
pub mod commit;
mod compare;
pub mod config;
mod ends;
mod enrol;
mod erase;
pub mod erasures;
mod failure;
pub mod feed;
pub mod findings;
pub mod fold;
pub mod history;
pub mod hub;
mod keys;
pub mod listen;
pub mod members;
pub mod queue;
mod records;
pub mod registry;
mod rekey;
pub mod replay;
pub mod restored;
pub mod sanctions;
pub mod states;
pub mod store_fjall;
pub mod verify;
mod writer;
