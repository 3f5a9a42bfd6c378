//! The chain over a hub's log, read from a copy: without its keys, and without an index.

use std::collections::HashMap;

use bytes::Bytes;
use liandong_node::backup::Chain;
use liandong_node::say;
use liandong_node::site::record_kind;
use liandong_node::text::Said;
use liandong_proto::entry::{Head, Header};
use liandong_proto::id::{Origin, sha256};
use liandong_proto::pb::log::v1 as pb;
use prost::Message as _;

use crate::chain::{hash_of, note_hash};

/// Takes the records of a hub's log, one after the other.
#[derive(Default)]
pub struct HubChain {
    chain: Bytes,
    /// Places of the order so far.
    places: u64,
    heads: HashMap<Origin, Head>,
    epoch: Option<Bytes>,
}

impl HubChain {
    /// The life of the province's own log, once it has begun.
    pub fn epoch(&self) -> Option<Bytes> {
        self.epoch.clone()
    }
}

impl Chain for HubChain {
    fn take(&mut self, kind: u8, payload: &Bytes) -> Result<(), Said> {
        if self.epoch.is_none() {
            let opened =
                pb::EpochOpened::decode(payload.clone()).ok().filter(|_| kind == record_kind::OPENED);
            let ours = opened.filter(|opened| liandong_proto::id::SiteCode(opened.site).is_province());
            let Some(opened) = ours else {
                return Err(say!("日志不是以枢纽的开头记录开始", "the log does not begin as that of a hub"));
            };
            self.epoch = Some(opened.epoch);
        }
        if kind != record_kind::COMMIT {
            self.chain = Bytes::copy_from_slice(&note_hash(&self.chain, kind, payload));
            return Ok(());
        }
        let commit = pb::Commit::decode(payload.clone()).map_err(|error| broken(&error))?;
        let place = commit.first_hub_seq;
        if commit.prev_hash != self.chain || place != self.places + 1 {
            return Err(broken(&format!(
                "the commit at place {place} does not follow the records before it"
            )));
        }
        for accepted in &commit.entries {
            let header = Header::decode(&accepted.header).map_err(|error| broken(&error))?;
            let head = self.heads.entry(header.origin).or_default();
            header.follows(head).map_err(|error| broken(&format!("{}: {error}", header.origin.site)))?;
            *head = Head { seq: header.seq, hash: sha256(&accepted.header) };
        }
        self.chain = Bytes::copy_from_slice(&hash_of(&commit));
        self.places += commit.entries.len() as u64;
        Ok(())
    }

    fn end(&self) -> (u64, Vec<u8>) {
        (self.places, self.chain.to_vec())
    }
}

fn broken(error: &dyn std::fmt::Display) -> Said {
    say!("提交链断裂：{error}", "the chain of commits is broken: {error}")
}
