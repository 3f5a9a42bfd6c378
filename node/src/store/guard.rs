//! Keeps the panics of an engine inside: damage on disk makes some of them panic, at open and later.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once, PoisonError, RwLock};

use bytes::Bytes;

use super::{Put, Rows, Store, StoreError};

thread_local! {
    /// How many guarded calls the thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Names of the threads an engine starts by itself. What goes wrong there comes back as an error of a call.
const ENGINE_THREADS: &str = "sled-io-";

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
    /// Present until dropped, but for the moment in which it is replaced: dropping an engine runs its code as well.
    store: RwLock<Option<Arc<dyn Store>>>,
}

impl Guarded {
    /// Makes or opens a store under guard.
    ///
    /// # Errors
    /// What `open` answers; [`StoreError::Corrupt`] when it panics.
    pub fn open(open: impl FnOnce() -> Result<Arc<dyn Store>, StoreError>) -> Result<Guarded, StoreError> {
        guarded(open).map(|store| Guarded { store: RwLock::new(Some(store)) })
    }

    /// Lets go of the store there is, and goes on with the one that `open` gives. Calls wait meanwhile; scans go on with
    /// what they have open.
    ///
    /// # Errors
    /// What `open` answers; there is no store any more then, and every call says so.
    pub fn replace(
        &self,
        open: impl FnOnce() -> Result<Arc<dyn Store>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let old = store.take();
        *store = Some(guarded(|| {
            drop(old);
            open()
        })?);
        Ok(())
    }

    fn call<T>(&self, call: impl FnOnce(&dyn Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        match store.as_deref() {
            Some(store) => guarded(|| call(store)),
            None => Err(StoreError::Corrupt("the store could not be replaced by its copy".into())),
        }
    }
}

impl Store for Guarded {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.call(|store| store.get(key))
    }

    fn apply(&self, batch: &[Put]) -> Result<(), StoreError> {
        self.call(|store| store.apply(batch))
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows {
        match self.call(|store| Ok(store.scan(from, to))) {
            Ok(rows) => Box::new(GuardedRows { rows: Some(rows) }),
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
        let store = self.store.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A panic here has nobody left to tell; the next open looks at what is on disk.
        let _ = guarded(|| {
            drop(store);
            Ok(())
        });
    }
}

struct GuardedRows {
    /// Gone after the first error, and after the last row.
    rows: Option<Rows>,
}

impl Iterator for GuardedRows {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.rows.as_mut()?;
        let row = guarded(|| rows.next().transpose()).transpose();
        if !matches!(row, Some(Ok(_))) {
            self.close();
        }
        row
    }
}

impl GuardedRows {
    fn close(&mut self) {
        let rows = self.rows.take();
        let _ = guarded(|| {
            drop(rows);
            Ok(())
        });
    }
}

impl Drop for GuardedRows {
    fn drop(&mut self) {
        self.close();
    }
}
