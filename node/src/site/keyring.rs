//! The city's keys as files: the one in use, and those before it, named by their ids.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use liandong_proto::id::hex;
use liandong_proto::share::{CityKey, CityRing};

use super::files::{read_key, write_key};
use super::{Paths, SiteError};

/// The key in use.
fn newest(paths: &Paths) -> Result<[u8; 32], SiteError> {
    let path = paths.city_key();
    match read_key(&path) {
        Err(SiteError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Err(SiteError::KeyMissing(path))
        }
        key => key,
    }
}

/// The keys before it.
///
/// # Errors
/// [`SiteError`] naming the file.
pub(super) fn older_keys(paths: &Paths) -> Result<Vec<[u8; 32]>, SiteError> {
    let dir = paths.older_city_keys();
    let failed = |source| SiteError::File { path: dir.clone(), source };
    let listed = match fs::read_dir(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed)?,
    };
    let mut keys = Vec::new();
    for entry in listed {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "key") {
            keys.push(read_key(&path)?);
        }
    }
    keys.sort_unstable();
    Ok(keys)
}

/// Keeps a key among the older ones.
///
/// # Errors
/// [`SiteError::File`].
pub(super) fn keep_older(paths: &Paths, key: &[u8; 32]) -> Result<(), SiteError> {
    let path = paths.older_city_keys().join(format!("{}.key", hex(&CityKey::new(key).id())));
    keep(&path, key)
}

/// Writes a key file; one that is there and whole is left alone.
fn keep(path: &Path, key: &[u8; 32]) -> Result<(), SiteError> {
    match read_key(path) {
        Ok(found) if found == *key => return Ok(()),
        Err(SiteError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {}
        // A write that was cut short.
        _ => fs::remove_file(path).map_err(|source| SiteError::File { path: path.to_path_buf(), source })?,
    }
    write_key(path, key)
}

/// Reads all of the city's keys.
///
/// # Errors
/// [`SiteError::KeyMissing`], [`SiteError::KeyExposed`], or that one is no key file.
pub(super) fn read_city_ring(paths: &Paths) -> Result<CityRing, SiteError> {
    let newest = CityKey::new(&newest(paths)?);
    let older = older_keys(paths)?.iter().map(CityKey::new).filter(|key| key.id() != newest.id()).collect();
    Ok(CityRing::new(newest, older))
}
