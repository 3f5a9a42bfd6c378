//! A hub's directory while nobody has its index open: what the index still knows of the log, and making it again.
//!
//! An index that has followed the log further than it can be read proves that durable records are missing. Then nothing is
//! cut and nothing is moved, until somebody accepts the loss.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use liandong_node::backup;
use liandong_node::index::{Engine, Index, IndexError, Peeked};
use liandong_node::log::{self, DirLock, Log, LogError, Pos};
use liandong_node::rows;
use liandong_node::site::{OnProgress, Paths, Progress, SiteError};
use liandong_proto::pb::log::v1 as pb;
use prost::Message as _;

use super::{Hub, HubOptions};

/// What is known to be missing at the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The index had followed the log up to here.
    pub followed: Pos,
    /// The place of the order that it knew last, 0 when that cannot be read.
    pub hub_seq: u64,
}

/// A hub's directory, held from here on, with its log.
pub(super) struct Taken {
    pub paths: Paths,
    pub lock: DirLock,
    pub log: Arc<Log>,
}

impl Taken {
    /// What cannot be read at the log's end is cut off, unless the index has followed the log behind it; where the loss is
    /// accepted, in any case.
    ///
    /// # Errors
    /// [`IndexError::AheadOfLog`] in that case; nothing is changed.
    pub fn new(options: &HubOptions, is_accepted: bool) -> Result<Taken, SiteError> {
        let (paths, lock) = take(options)?;
        let log_options = log::Options { segment_bytes: options.segment_bytes, ..log::Options::default() };
        let is_asked = Cell::new(false);
        let known = || {
            is_asked.set(true);
            let known = if is_accepted { None } else { peek(options, &paths)? };
            Ok::<_, SiteError>(known.map(|known| Pos::from_bytes(known.position)))
        };
        let (log, opened) =
            Log::open_beside(&paths.log(), log_options, known).map_err(|error| match error {
                // The log's own files prove nothing, or the index had not been asked.
                SiteError::Log(LogError::Damaged { path, offset, .. }) if is_asked.get() => {
                    let segment = path.display();
                    tracing::error!(%segment, offset, "the log cannot be read from here on, and the index has seen more");
                    IndexError::AheadOfLog.into()
                }
                error => error,
            })?;
        if let Some(cut) = opened.cut {
            tracing::warn!(at = ?cut.at, bytes = cut.bytes, "cut an unfinished write off the end of the log");
        }
        Ok(Taken { paths, lock, log: Arc::new(log) })
    }
}

impl Hub {
    /// Makes the index again from the log alone. The log is read from end to end before the index there is gets
    /// moved aside, where it is kept; a rebuild that fails leaves it in its place.
    ///
    /// # Errors
    /// [`SiteError`]; the log only gains the start of a generation. [`IndexError::AheadOfLog`]: nothing is changed, since
    /// the index may be the last that knows what is lost.
    pub fn rebuild(options: &HubOptions, progress: OnProgress<'_>) -> Result<Arc<Hub>, SiteError> {
        let taken = Taken::new(options, false)?;
        if lost(options, &taken)?.is_some() {
            return Err(IndexError::AheadOfLog.into());
        }
        anew(options, taken, progress)
    }

    /// As [`rebuild`](Hub::rebuild), and goes on without what the log has lost: what that was, as far as the index knows. What
    /// a hub has forgotten may be that a city was cut off; so it is one that was put back, and says so before it answers.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn rebuild_without(
        options: &HubOptions,
        author: &str,
        progress: OnProgress<'_>,
    ) -> Result<(Arc<Hub>, Option<Loss>), SiteError> {
        let taken = Taken::new(options, true)?;
        let lost = lost(options, &taken)?;
        let word = taken.paths.put_back();
        let is_new = lost.is_some() && !word.exists();
        if is_new {
            // Before the index is let go of: whoever starts the hub next knows it, also where this is cut short.
            leave(&word, author).map_err(|source| SiteError::File { path: word.clone(), source })?;
        }
        let hub = anew(options, taken, progress).inspect_err(|_| {
            if is_new {
                // The index is in its place again, and refuses as before.
                let _ = fs::remove_file(&word);
            }
        });
        Ok((hub?.heed_put_back()?, lost))
    }

    /// What the index of a hub that is not running knows to be missing at the end of the log. Nothing that was durable is
    /// changed.
    ///
    /// # Errors
    /// [`SiteError`], as for whoever opens it.
    pub fn loss(options: &HubOptions) -> Result<Option<Loss>, SiteError> {
        match Taken::new(options, false) {
            Ok(taken) => lost(options, &taken),
            Err(SiteError::Index(IndexError::AheadOfLog)) => {
                let (paths, _lock) = take(options)?;
                Ok(peek(options, &paths)?.map(Loss::new))
            }
            Err(error) => Err(error),
        }
    }
}

impl Loss {
    fn new(known: Peeked) -> Loss {
        let row = known.value.and_then(|row| pb::SiteRow::decode(row).ok()).unwrap_or_default();
        Loss { followed: Pos::from_bytes(known.position), hub_seq: row.hub_seq }
    }
}

fn take(options: &HubOptions) -> Result<(Paths, DirLock), SiteError> {
    let paths = Paths::new(&options.data_dir);
    paths.check_layout()?;
    if !paths.log().exists() {
        return Err(SiteError::NoSite(options.data_dir.clone()));
    }
    let lock = DirLock::acquire(&options.data_dir)?;
    paths.note_layout()?;
    backup::tidy(&options.data_dir);
    Ok((paths, lock))
}

fn anew(options: &HubOptions, taken: Taken, progress: OnProgress<'_>) -> Result<Arc<Hub>, SiteError> {
    taken.log.verify(&mut |done, total| progress(Progress { what: "log", done, total }))?;
    let index = taken.paths.index();
    Index::anew(&index, || Hub::begin(options, taken, progress))
}

fn lost(options: &HubOptions, taken: &Taken) -> Result<Option<Loss>, SiteError> {
    let end = taken.log.end();
    Ok(peek(options, &taken.paths)?.map(Loss::new).filter(|known| known.followed > end))
}

fn peek(options: &HubOptions, paths: &Paths) -> Result<Option<Peeked>, IndexError> {
    let cache = options.cache_bytes;
    let engine: Engine = Box::new(move |dir| crate::store_fjall::open(dir, cache));
    Index::peek(&paths.index(), &engine, rows::SITE, false)
}

/// Durably.
fn leave(word: &Path, author: &str) -> std::io::Result<()> {
    fs::write(word, author)?;
    File::open(word)?.sync_all()?;
    word.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
