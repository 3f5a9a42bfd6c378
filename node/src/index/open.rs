//! Opening an index: whatever is wrong with the store, it is moved aside and made again from the log.
//!
//! The directory holds `store/` (the engine's) and, after a clean stop, `clean`: the root row as it was then.
//! Without that marker, or when it names another root, every row is read and compared with the digest first.
//! `opening` counts starts that ended in the middle of this: there is damage that ends the process at once, where
//! no guard helps, and a site that dies of it at every start would never run again.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::end::End;
use super::overlay::Overlay;
use super::pace::Pace;
use super::row::{Digest, ROOT, Root, unseal};
use super::scrub::{Copying, STORE, tidy};
use super::writer::{BeforeApply, Writer};
use super::{Index, IndexError, Position};
use crate::store::{Guarded, MemoryStore, Store, StoreError};

/// Makes or opens a store in a directory.
pub type Engine = Box<dyn Fn(&Path) -> Result<Arc<dyn Store>, StoreError> + Send>;

/// Tells whether the log has a position.
pub type InLog = Box<dyn Fn(Position) -> bool + Send>;

/// How to open an index.
pub struct IndexOptions {
    /// Its directory. Whoever opens it holds it: two indexes of one directory spoil each other.
    pub dir: PathBuf,
    /// The store. It may panic: that counts as damage.
    pub engine: Engine,
    /// How much may be staged before it is written, in bytes. Twice that while the one before is being written,
    /// and what was written last is kept to be read: a steady flow takes three times this, six times at the most.
    pub overlay_bytes: usize,
    /// How long rows may be staged, and written without being durable.
    pub pace: Pace,
    /// Called with a position before anything at or before it goes into the store.
    pub before_apply: BeforeApply,
    /// Whether the log has a position. Beside a log that lacks its own a store is not opened, and stays.
    pub in_log: InLog,
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// Replay the log from here; `None`: from its start.
    pub position: Option<Position>,
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
            Some(kept) => write!(f, "; the one from before is kept in {}", kept.display()),
            None => Ok(()),
        }
    }
}

/// What an index that is not in use still knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peeked {
    /// Up to where in the log it is.
    pub position: Position,
    /// The row that was asked for.
    pub value: Option<Bytes>,
    /// All of it is as it was written: the row is that of the position.
    pub whole: bool,
}

/// How many damaged indexes are kept for whoever wants to look.
const KEPT: usize = 2;
const CLEAN: &str = "clean";
const OPENING: &str = "opening";
/// So many openings in a row that did not end, and the index is taken for damaged.
const TRIES: usize = 2;

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> IndexError {
    let path = path.to_path_buf();
    move |source| IndexError::File { path, source: Arc::new(source) }
}

impl Index {
    /// Opens an index, or begins one.
    ///
    /// # Errors
    /// [`IndexError`] for what is no damage: a full disk, a directory that cannot be written; [`IndexError::AheadOfLog`].
    pub fn open(options: IndexOptions) -> Result<(Index, Opened), IndexError> {
        let dir = options.dir;
        fs::create_dir_all(&dir).map_err(failed(&dir))?;
        tidy(&dir).map_err(failed(&dir))?;
        let clean = take_marker(&dir.join(CLEAN)).map_err(failed(&dir))?;
        let mut rebuilt = None;
        let tried = begin_opening(&dir.join(OPENING)).map_err(failed(&dir))?;
        let found = if tried < TRIES {
            look(&options.engine, &options.in_log, &dir, clean)
        } else {
            Err(StoreError::Corrupt(format!("the last {tried} starts ended while it was being opened"))
                .into())
        };
        if found.as_ref().is_err_and(|error| !error.is_damage()) {
            end_opening(&dir.join(OPENING)).map_err(failed(&dir))?;
        }
        let (store, root) = match found {
            Err(error) if error.is_damage() => {
                let kept = move_aside(&dir).map_err(failed(&dir))?;
                rebuilt = Some(Rebuilt { why: error.to_string(), kept: Some(kept) });
                look(&options.engine, &options.in_log, &dir, None)?
            }
            found => found?,
        };
        end_opening(&dir.join(OPENING)).map_err(failed(&dir))?;
        let end = Arc::<End>::default();
        let digest = root.unwrap_or_default().digest;
        let overlay = Arc::new(Overlay::new(options.overlay_bytes, options.pace, digest, Arc::clone(&end)));
        let store = Arc::new(store);
        let writer = {
            let (overlay, store, before_apply) =
                (Arc::clone(&overlay), Arc::clone(&store), options.before_apply);
            let copying = Copying { engine: options.engine, dir: dir.clone() };
            let work = move || Writer::new(&overlay, &store, &before_apply, &copying).run();
            std::thread::Builder::new().name("index".into()).spawn(work).map_err(failed(&dir))?
        };
        let writer = Mutex::new(Some(writer));
        let index = Index { store, overlay, writer, dir, end };
        Ok((index, Opened { position: root.map(|root| root.position), rebuilt }))
    }

    /// An index that begins empty, in memory, with no thread and no file: everything stays staged. For those who
    /// simulate a site; what a crash leaves of it is nothing.
    pub fn in_memory() -> Index {
        let end = Arc::<End>::default();
        let overlay = Overlay::new(usize::MAX / 8, Pace::default(), Digest::default(), Arc::clone(&end));
        let store = Guarded::of(Arc::<MemoryStore>::default());
        let (overlay, store) = (Arc::new(overlay), Arc::new(store));
        Index { store, overlay, writer: Mutex::default(), dir: PathBuf::new(), end }
    }

    /// Lets `make` open an index that begins anew in `dir`. The one before is kept beside it, and is in its place
    /// again when `make` fails: it may be the last that can be read. Nobody may have it open.
    ///
    /// # Errors
    /// What `make` answers; [`IndexError::File`] when the one before cannot be moved.
    pub fn anew<T, E: From<IndexError>>(dir: &Path, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if !dir.exists() {
            return make();
        }
        let kept = move_aside(dir).map_err(failed(dir))?;
        make().inspect_err(|_| {
            if let Err(error) = fs::remove_dir_all(dir).and_then(|()| fs::rename(&kept, dir)) {
                tracing::error!(kept = %kept.display(), %error, "the index from before cannot be put back in its place");
            }
        })
    }

    /// What an index that is not in use still knows: one row, and up to where in the log it is. `None` where there is none, or
    /// it is damaged. It is looked at as a whole only where `in_full`.
    ///
    /// # Errors
    /// [`IndexError`] for what is no damage, as a full disk: then nobody can tell.
    pub fn peek(
        dir: &Path,
        engine: &Engine,
        key: &[u8],
        in_full: bool,
    ) -> Result<Option<Peeked>, IndexError> {
        let (path, marker) = (dir.join(STORE), dir.join(OPENING));
        if !path.exists() || begin_opening(&marker).map_err(failed(dir))? >= TRIES {
            return Ok(None);
        }
        let look = || -> Result<Option<Peeked>, IndexError> {
            let store = Guarded::open(|| engine(&path))?;
            let Some(root) = Root::read(&store)? else { return Ok(None) };
            let sealed = store.get(key)?;
            let value = sealed.and_then(|sealed| unseal(key, &sealed).ok()).map(|item| item.value);
            let whole = in_full && compare(&store, root.digest).is_ok();
            Ok(Some(Peeked { position: root.position, value, whole }))
        };
        let found = look();
        end_opening(&marker).map_err(failed(dir))?;
        match found {
            Err(error) if error.is_damage() => Ok(None),
            found => found,
        }
    }

    /// Moves an index that nobody has open out of the way, as a damaged one; where it is then. Nothing is moved where there
    /// is none.
    ///
    /// # Errors
    /// [`IndexError::File`].
    pub fn set_aside(dir: &Path) -> Result<Option<PathBuf>, IndexError> {
        dir.join(STORE).exists().then(|| move_aside(dir).map_err(failed(dir))).transpose()
    }

    /// Says that the store is as a clean stop leaves it.
    pub(super) fn mark_clean(&self) -> Result<(), IndexError> {
        let root = self.store.get(ROOT)?.unwrap_or_default();
        let marker = self.dir.join(CLEAN);
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&marker)?;
            file.write_all(&root)?;
            file.sync_all()?;
            sync_dir(&self.dir)
        };
        write().map_err(failed(&marker))
    }
}

/// Reads and removes the marker of a clean stop: from here on the store may change.
fn take_marker(marker: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(marker) {
        Ok(root) => {
            fs::remove_file(marker)?;
            marker.parent().map_or(Ok(()), sync_dir)?;
            Ok(Some(root))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Notes an opening, and answers how many before it did not end: the file has a byte for each.
fn begin_opening(marker: &Path) -> io::Result<usize> {
    let mut tried = match fs::read(marker) {
        Ok(tried) => tried,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    tried.push(b'.');
    fs::write(marker, &tried)?;
    Ok(tried.len() - 1)
}

fn end_opening(marker: &Path) -> io::Result<()> {
    match fs::remove_file(marker) {
        // It went aside with a damaged index.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Opens the store and, unless it was closed cleanly, compares all of it with its digest.
fn look(
    engine: &Engine,
    in_log: &InLog,
    dir: &Path,
    clean: Option<Vec<u8>>,
) -> Result<(Guarded, Option<Root>), IndexError> {
    let store = Guarded::open(|| engine(&dir.join(STORE)))?;
    let root = Root::read(&store)?;
    if root.is_some_and(|root| !in_log(root.position)) {
        return Err(IndexError::AheadOfLog);
    }
    let marked = clean.is_some_and(|clean| clean == root.map(|root| root.seal()).unwrap_or_default());
    if !marked {
        compare(&store, root.unwrap_or_default().digest)?;
    }
    Ok((store, root))
}

fn compare(store: &Guarded, kept: Digest) -> Result<(), IndexError> {
    let mut found = Digest::default();
    for row in store.scan(&[], None) {
        let (key, sealed) = row?;
        if key != ROOT {
            found.add(unseal(&key, &sealed)?.check);
        }
    }
    if found == kept { Ok(()) } else { Err(IndexError::DigestDiffers { found, kept }) }
}

/// The damaged indexes that were kept beside one, oldest first.
pub(super) fn kept_aside(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(numbered_aside(dir)?.into_iter().map(|(_, path)| path).collect())
}

fn stem(dir: &Path) -> String {
    format!("{}.broken-", dir.file_name().and_then(|name| name.to_str()).unwrap_or("index"))
}

fn numbered_aside(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (parent, stem) = (dir.parent().unwrap_or(Path::new("")), stem(dir));
    let mut kept: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(&stem));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            kept.push((number, path));
        }
    }
    kept.sort();
    Ok(kept)
}

/// Moves an index out of the way, to `index.broken-<n>` beside it, and lets go of the oldest there.
fn move_aside(dir: &Path) -> io::Result<PathBuf> {
    let (parent, stem) = (dir.parent().unwrap_or(Path::new("")), stem(dir));
    let mut kept = numbered_aside(dir)?;
    let aside = parent.join(format!("{stem}{}", kept.last().map_or(1, |(number, _)| number + 1)));
    while kept.len() >= KEPT {
        fs::remove_dir_all(kept.remove(0).1)?;
    }
    fs::rename(dir, &aside)?;
    fs::create_dir_all(dir)?;
    sync_dir(dir)?;
    if !parent.as_os_str().is_empty() {
        sync_dir(parent)?;
    }
    Ok(aside)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
