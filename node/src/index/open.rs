//! Opening an index: whatever is wrong with the store, it is moved aside and made again from the log.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::flusher::{self, BeforeApply};
use super::overlay::Overlay;
use super::{Digest, Index, IndexError, ROOT, check_of, unseal};
use crate::store::{Store, StoreError};

/// Makes or opens a store in a directory.
pub type Engine = Box<dyn Fn(&Path) -> Result<Arc<dyn Store>, StoreError> + Send>;

/// How to open an index.
pub struct IndexOptions {
    /// Its directory.
    pub dir: PathBuf,
    /// The store.
    pub engine: Engine,
    /// How much may be staged before it is written, in bytes.
    pub overlay_bytes: usize,
    /// Called with a position before anything at or before it goes into the store.
    pub before_apply: BeforeApply,
    /// Whether the log has a position. A store that is ahead of its log is thrown away: the log is the truth.
    pub in_log: Box<dyn Fn([u8; 16]) -> bool + Send>,
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// Replay the log from here; `None`: from its start.
    pub position: Option<[u8; 16]>,
    /// The index was damaged and begins anew.
    pub rebuilt: Option<Rebuilt>,
}

/// Why an index begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// What was wrong.
    pub why: String,
    /// Where the damaged one is kept.
    pub kept: Option<PathBuf>,
}

impl std::fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.why)?;
        match &self.kept {
            Some(kept) => write!(f, "; the damaged index is kept in {}", kept.display()),
            None => Ok(()),
        }
    }
}

/// How many damaged indexes are kept for whoever wants to look.
const KEPT: usize = 2;
const CLEAN: &str = "clean";

type Found = (Arc<dyn Store>, Option<(Digest, [u8; 16])>);

impl Index {
    /// Opens an index, or begins one.
    ///
    /// # Errors
    /// [`IndexError`] for what is no damage: a full disk, a directory that cannot be written.
    pub fn open(options: IndexOptions) -> Result<(Index, Opened), IndexError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| IndexError::File { path, source }
        };
        let clean_marker = options.dir.join(CLEAN);
        let store_dir = options.dir.join("store");
        fs::create_dir_all(&options.dir).map_err(failed(&options.dir))?;
        let was_clean = clean_marker.exists();
        if was_clean {
            fs::remove_file(&clean_marker).map_err(failed(&clean_marker))?;
        }
        let mut rebuilt = None;
        let found = match look(&options, &store_dir, was_clean) {
            Ok(found) => found,
            Err(IndexError::Store(error @ StoreError::Full { .. })) => return Err(error.into()),
            Err(error) => {
                let kept = move_aside(&options.dir, &store_dir).map_err(failed(&store_dir))?;
                rebuilt = Some(Rebuilt { why: error.to_string(), kept });
                look(&options, &store_dir, true)?
            }
        };
        let (store, root) = found;
        let (digest, position) = root.unwrap_or_default();
        let overlay = Arc::new(Overlay::new(options.overlay_bytes, digest, position));
        let flusher = {
            let (overlay, store, before) = (Arc::clone(&overlay), Arc::clone(&store), options.before_apply);
            let work = move || flusher::run(&overlay, &store, &before);
            std::thread::Builder::new().name("index".into()).spawn(work).map_err(failed(&options.dir))?
        };
        let index = Index { store, overlay, flusher: Mutex::new(Some(flusher)), clean_marker };
        Ok((index, Opened { position: root.map(|(_, position)| position), rebuilt }))
    }
}

/// Opens the store and, unless it was closed cleanly, compares all of it with its digest.
fn look(options: &IndexOptions, dir: &Path, trusted: bool) -> Result<Found, IndexError> {
    let store = (options.engine)(dir)?;
    let root = flusher::read_root(store.as_ref())?;
    if root.is_some_and(|(_, position)| !(options.in_log)(position)) {
        return Err(IndexError::AheadOfLog);
    }
    if !trusted {
        let kept = root.map(|(digest, _)| digest).unwrap_or_default();
        let mut found = Digest::default();
        for row in store.scan(&[], None) {
            let (key, sealed) = row?;
            if key != ROOT {
                let item = unseal(&key, &sealed)?;
                debug_assert_eq!(item.check, check_of(&key, &item.value));
                found.add(item.check);
            }
        }
        if found != kept {
            return Err(IndexError::DigestDiffers { found, kept });
        }
    }
    Ok((store, root))
}

/// Moves a damaged store out of the way, and lets go of the oldest that were kept.
fn move_aside(dir: &Path, store: &Path) -> io::Result<Option<PathBuf>> {
    if !store.exists() {
        return Ok(None);
    }
    let mut kept: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("broken-"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            kept.push((number, path));
        }
    }
    kept.sort();
    let next = kept.last().map_or(1, |(number, _)| number + 1);
    while kept.len() >= KEPT {
        fs::remove_dir_all(kept.remove(0).1)?;
    }
    let aside = dir.join(format!("broken-{next}"));
    fs::rename(store, &aside)?;
    Ok(Some(aside))
}

/// Says that the store is as a clean stop leaves it.
pub(super) fn mark_clean(marker: &Path) -> Result<(), IndexError> {
    let write = || -> io::Result<()> {
        let file = fs::File::create(marker)?;
        file.sync_all()?;
        match marker.parent() {
            Some(dir) => fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| IndexError::File { path: marker.to_path_buf(), source })
}
