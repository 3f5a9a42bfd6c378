//! A store in memory, for tests: it forgets on demand what was not made durable.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Put, Rows, Store, StoreError};

type Map = BTreeMap<Bytes, Bytes>;

/// An ordered map in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    maps: Mutex<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    now: Map,
    durable: Map,
    fails: Option<StoreError>,
}

impl MemoryStore {
    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power fails: what no checkpoint has covered is gone.
    pub fn lose_power(&self) {
        let mut maps = self.maps();
        maps.now = maps.durable.clone();
    }

    /// The power fails in the middle of writing back: of what no checkpoint has covered, only rows whose key
    /// `kept` approves have reached the disk.
    pub fn tear(&self, kept: impl Fn(&[u8]) -> bool) {
        let mut maps = self.maps();
        let Maps { now, durable, .. } = &mut *maps;
        durable.retain(|key, _| !kept(key) || now.contains_key(key));
        durable.extend(now.iter().filter(|(key, _)| kept(key)).map(|(k, v)| (k.clone(), v.clone())));
        *now = durable.clone();
    }

    /// Replaces a stored value behind everybody's back, as a flipped bit would.
    pub fn damage(&self, key: &[u8], value: Bytes) {
        let mut maps = self.maps();
        maps.now.insert(Bytes::copy_from_slice(key), value.clone());
        maps.durable.insert(Bytes::copy_from_slice(key), value);
    }

    /// From now on writing answers this; `None`: it works again.
    pub fn fail_writes(&self, error: Option<StoreError>) {
        self.maps().fails = error;
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.maps().now.get(key).cloned())
    }

    fn apply(&self, batch: &[Put]) -> Result<(), StoreError> {
        let mut maps = self.maps();
        if let Some(error) = &maps.fails {
            return Err(error.clone());
        }
        for (key, value) in batch {
            match value {
                Some(value) => maps.now.insert(key.clone(), value.clone()),
                None => maps.now.remove(key),
            };
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Rows {
        let maps = self.maps();
        let from = Bytes::copy_from_slice(from);
        let rows = maps.now.range(from..).take_while(|(key, _)| to.is_none_or(|to| key.as_ref() < to));
        let rows: Vec<_> = rows.map(|(key, value)| Ok((key.clone(), value.clone()))).collect();
        Box::new(rows.into_iter())
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        let mut maps = self.maps();
        if let Some(error) = &maps.fails {
            return Err(error.clone());
        }
        maps.durable = maps.now.clone();
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    /// Small, so that a few rows make several batches.
    fn batch_bytes(&self) -> usize {
        256
    }
}
