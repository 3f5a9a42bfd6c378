//! Keeps the panics of an engine inside: damage on disk makes some of them panic, at open and later.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;

use super::{Put, Rows, Store, StoreError};

thread_local! {
    /// How many guarded calls the thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Names of the threads an engine starts by itself. What goes wrong there comes back as an error of a call.
const ENGINE_THREADS: &str = "sled-io-";
/// How often it is looked whether scans have ended.
const LOOK: Duration = Duration::from_millis(10);

/// Runs a call into an engine. A panic inside it is damage, and is not printed.
///
/// # Errors
/// What the call answers; [`StoreError::Corrupt`] when it panics.
pub fn guarded<T>(call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    silence();
    DEPTH.set(DEPTH.get() + 1);
    // The engine is not used again after a panic but to be dropped: the index asks for a new one.
    let answer = catch_unwind(AssertUnwindSafe(call));
    DEPTH.set(DEPTH.get() - 1);
    answer.unwrap_or_else(|panic| Err(StoreError::Corrupt(format!("the engine panicked: {}", text(&*panic)))))
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why")
}

/// Puts a hook in front of the one there is, once: panics that are caught here are not shown.
fn silence() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let shown = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let engines = std::thread::current().name().is_some_and(|name| name.starts_with(ENGINE_THREADS));
            if DEPTH.get() == 0 && !engines {
                shown(info);
            }
        }));
    });
}

/// A store whose panics are errors, and that can be replaced by another with the same rows.
pub struct Guarded {
    /// There until dropped, but for the moment in which it is replaced: dropping an engine runs its code as well. Or
    /// why it could not be replaced, which every call answers then.
    store: RwLock<Result<Arc<dyn Store>, StoreError>>,
    /// Each scan that is open has a share.
    scans: Arc<()>,
}

type Held<'a> = RwLockWriteGuard<'a, Result<Arc<dyn Store>, StoreError>>;

impl Guarded {
    /// A store that is open.
    pub fn of(store: Arc<dyn Store>) -> Guarded {
        Guarded { store: RwLock::new(Ok(store)), scans: Arc::default() }
    }

    /// Makes or opens a store under guard.
    ///
    /// # Errors
    /// What `open` answers; [`StoreError::Corrupt`] when it panics.
    pub fn open(open: impl FnOnce() -> Result<Arc<dyn Store>, StoreError>) -> Result<Guarded, StoreError> {
        guarded(open).map(Guarded::of)
    }

    /// Lets go of the store there is, and goes on with the one that `open` gives. Calls wait meanwhile. Scans are waited
    /// for as long as `patience`: they find files by their paths, and those of the old store may be the new one's by
    /// then. False, and nothing has changed, when some are open yet.
    ///
    /// # Errors
    /// What `open` answers; every call answers that from then on.
    pub fn replace(
        &self,
        patience: Duration,
        open: impl FnOnce() -> Result<Arc<dyn Store>, StoreError>,
    ) -> Result<bool, StoreError> {
        let Some(mut store) = self.without_scans(patience) else { return Ok(false) };
        let old = std::mem::replace(&mut *store, Err(gone()));
        *store = guarded(|| {
            drop(old);
            open()
        });
        store.as_ref().map(|_| true).map_err(StoreError::clone)
    }

    /// The store, once no scan is open. Nobody is held up meanwhile, not even those who begin another scan: whoever has
    /// one open may have to read on before it ends.
    fn without_scans(&self, patience: Duration) -> Option<Held<'_>> {
        for _ in 0..=patience.as_millis() / LOOK.as_millis() {
            let store = self.store.write().unwrap_or_else(PoisonError::into_inner);
            if Arc::strong_count(&self.scans) == 1 {
                return Some(store);
            }
            drop(store);
            std::thread::park_timeout(LOOK);
        }
        None
    }

    fn call<T>(&self, call: impl FnOnce(&dyn Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        match &*store {
            Ok(store) => guarded(|| call(store.as_ref())),
            Err(why) => Err(why.clone()),
        }
    }
}

fn gone() -> StoreError {
    StoreError::Corrupt("the store was let go of".into())
}

impl Store for Guarded {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.call(|store| store.get(key))
    }

    fn apply(&self, batch: &[Put]) -> Result<(), StoreError> {
        self.call(|store| store.apply(batch))
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows {
        match self.call(|store| Ok((store.scan(from, to), Arc::clone(&self.scans)))) {
            Ok(open) => Box::new(GuardedRows { open: Some(open) }),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        self.call(|store| store.checkpoint())
    }

    fn close(&self) -> Result<(), StoreError> {
        self.call(|store| store.close())
    }

    fn disk_bytes(&self) -> u64 {
        self.call(|store| Ok(store.disk_bytes())).unwrap_or(0)
    }

    fn batch_bytes(&self) -> usize {
        self.call(|store| Ok(store.batch_bytes())).unwrap_or(usize::MAX)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let store = self.store.get_mut().unwrap_or_else(PoisonError::into_inner);
        let store = std::mem::replace(store, Err(gone()));
        // A panic here has nobody left to tell; the next open looks at what is on disk.
        let _ = guarded(|| {
            drop(store);
            Ok(())
        });
    }
}

struct GuardedRows {
    /// Gone after the first error, and after the last row.
    open: Option<(Rows, Arc<()>)>,
}

impl Iterator for GuardedRows {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (rows, _) = self.open.as_mut()?;
        let row = guarded(|| rows.next().transpose()).transpose();
        if !matches!(row, Some(Ok(_))) {
            self.close();
        }
        row
    }
}

impl GuardedRows {
    fn close(&mut self) {
        // The rows before the share.
        let open = self.open.take();
        let _ = guarded(|| {
            drop(open);
            Ok(())
        });
    }
}

impl Drop for GuardedRows {
    fn drop(&mut self) {
        self.close();
    }
}
