//! The chain over a node's own entries, read from a log that is nobody's site: a copy.

use bytes::Bytes;
use liandong_proto::entry::{self, Head};
use liandong_proto::id::{SiteCode, sha256};

use super::Record;
use crate::backup::Chain;
use crate::log;
use crate::say;
use crate::text::Said;

/// Takes the records of a node's log, one after the other.
#[derive(Default)]
pub struct OwnChain {
    head: Head,
    site: Option<SiteCode>,
    /// Stands for all epochs so far: SHA-256 over what it was and the end of the epoch before.
    before: Vec<u8>,
}

impl Chain for OwnChain {
    fn take(&mut self, kind: u8, payload: &Bytes) -> Result<(), Said> {
        let raw =
            log::Record { pos: Default::default(), next: Default::default(), kind, payload: payload.clone() };
        match Record::read(&raw).map_err(|error| told(&error))? {
            Record::Opened(opened) => {
                self.before.extend_from_slice(&self.head.hash);
                self.before.extend_from_slice(&opened.epoch);
                self.before = sha256(&self.before).to_vec();
                self.head = Head::default();
                self.site = Some(SiteCode(opened.site));
            }
            Record::Own(entry) => {
                let (header, hash) = entry::check(&entry).map_err(|error| told(&error))?;
                header.follows(&self.head).map_err(|error| told(&error))?;
                self.head = Head { seq: header.seq, hash };
            }
            _ => {}
        }
        match self.site {
            Some(site) if !site.is_province() => Ok(()),
            _ => Err(say!(
                "日志不是以地市站点的开头记录开始",
                "the log does not begin as that of a city's site"
            )),
        }
    }

    fn end(&self) -> (u64, Vec<u8>) {
        (self.head.seq, [&self.before[..], &self.head.hash[..]].concat())
    }
}

fn told(error: &dyn std::fmt::Display) -> Said {
    say!("条目链断裂：{error}", "the chain of entries is broken: {error}")
}
