//! What an index that is not in use knows of its log.
//!
//! The log is durable up to a place before the index is written up to it, and an index goes away before another log takes
//! the place of the one that it followed. So an index that is ahead of its log, also after a power failure, says that what
//! had been durable is missing: that is for a person to settle, with `repair`.

use bytes::Bytes;
use liandong_proto::entry::Head;
use liandong_proto::id::Epoch;
use liandong_proto::pb::log::v1 as pb;
use prost::Message as _;

use super::{Paths, SiteError, head_of};
use crate::index::{Engine, Index, IndexError, Peeked};
use crate::log::Pos;
use crate::{rows, store};

/// What an index still knows of its site.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    /// Up to where in the log it is.
    pub position: Pos,
    /// The site's row there.
    pub row: pb::SiteRow,
    /// All of it is as it was written, so that the row knows of everything before the position.
    pub whole: bool,
}

impl Witness {
    /// Asks the index of a site that is not in use.
    ///
    /// # Errors
    /// As [`Index::peek`].
    pub fn ask(paths: &Paths, cache_bytes: u64) -> Result<Option<Witness>, SiteError> {
        let Some(Peeked { position, value, whole }) = peek(paths, cache_bytes, true)? else {
            return Ok(None);
        };
        let row = value.and_then(|row: Bytes| pb::SiteRow::decode(row).ok());
        let (whole, row) = (whole && row.is_some(), row.unwrap_or_default());
        Ok(Some(Witness { position: Pos::from_bytes(position), row, whole }))
    }

    /// The epoch that the site lived in, and its newest own entry there.
    pub fn head(&self) -> Option<(Epoch, Head)> {
        Some((Epoch::from_slice(&self.row.epoch)?, head_of(&self.row)))
    }
}

/// Up to where the index has followed the log; nothing where there is none that can be read.
///
/// # Errors
/// As [`Index::peek`].
pub(super) fn followed(paths: &Paths, cache_bytes: u64) -> Result<Option<Pos>, SiteError> {
    Ok(peek(paths, cache_bytes, false)?.map(|peeked| Pos::from_bytes(peeked.position)))
}

/// Refuses a log that ends before its index, for whoever is about to let go of the index.
///
/// # Errors
/// [`IndexError::AheadOfLog`]; as [`Index::peek`].
pub(super) fn check(paths: &Paths, cache_bytes: u64, end: Pos) -> Result<(), SiteError> {
    match followed(paths, cache_bytes)? {
        Some(followed) if followed > end => Err(IndexError::AheadOfLog.into()),
        _ => Ok(()),
    }
}

fn peek(paths: &Paths, cache_bytes: u64, in_full: bool) -> Result<Option<Peeked>, IndexError> {
    let engine: Engine = Box::new(move |dir| store::open_sled(dir, cache_bytes));
    Index::peek(&paths.index(), &engine, rows::SITE, in_full)
}
