//! Keys that change while the site runs. The next one is durable before anybody hears of it, and takes the place of the
//! one before with one rename, once whoever must know of it does.

use std::io::ErrorKind;
use std::path::Path;

use bytes::Bytes;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::rotation::Rotation;
use liandong_proto::share::{CityKey, open_ring, seal_ring};
use liandong_proto::sign::{SigningKey, VerifyingKey};
use tokio::sync::watch;

use super::files::read_key;
use super::keyring::{keep_older, older_keys};
use super::{Site, SiteError, locked};
use crate::now::{now_ms, random};
use crate::trust::Membership;

/// Reads a key that need not be there.
fn waiting(path: &Path) -> Result<Option<[u8; 32]>, SiteError> {
    match read_key(path) {
        Err(SiteError::File { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        key => key.map(Some),
    }
}

impl Site {
    /// What this site signs with.
    pub fn signing_key(&self) -> VerifyingKey {
        locked(&self.signer).verifying()
    }

    /// Told whenever there may be something new among the key files.
    pub fn keys_news(&self) -> watch::Receiver<()> {
        self.keys.subscribe()
    }

    /// Keys that are made and wait for the hub's word.
    pub(super) fn keys_waiting(&self) -> Vec<String> {
        let files = [("signing", self.paths.next_signing_key()), ("city", self.paths.next_city_key())];
        files.into_iter().filter(|(_, path)| path.exists()).map(|(name, _)| name.to_owned()).collect()
    }

    /// Looks at the key files now. What a hub must know of waits for the next session, which begins at once if it can.
    pub(super) fn look_at_keys(&self) {
        if matches!(Membership::load(&self.paths), Ok(None))
            && let Err(error) = self.take_next_signing_key().and_then(|()| self.take_next_city_key())
        {
            tracing::error!(%error, "the next keys cannot be taken into use");
        }
        self.keys.send_replace(());
    }

    /// The statement by which the signing key in use hands over to the next; `None` when there is no next one.
    ///
    /// # Errors
    /// [`SiteError`] naming the file.
    pub fn rotation(&self) -> Result<Option<pb::KeyRotation>, SiteError> {
        let Some(next) = waiting(&self.paths.next_signing_key())? else { return Ok(None) };
        let (origin, head) = (self.origin(), *self.durable.borrow());
        let new = SigningKey::new(&next).verifying();
        // No push is under way between sessions: what the old key has signed is at most what is durable now.
        Ok(Some(Rotation::sign(origin, head.seq, now_ms(), &locked(&self.signer), new)))
    }

    /// Signs with the next key from now on, if there is one.
    ///
    /// # Errors
    /// [`SiteError`]; the key stays as it was then.
    pub fn take_next_signing_key(&self) -> Result<(), SiteError> {
        let path = self.paths.next_signing_key();
        let Some(next) = waiting(&path)? else { return Ok(()) };
        let mut signer = locked(&self.signer);
        self.paths.replace(&path, &self.paths.signing_key())?;
        *signer = SigningKey::new(&next);
        tracing::warn!(signing_key = signer.verifying().fingerprint(), "this site signs with a new key");
        Ok(())
    }

    /// The ring that must be at the hub before the next city key is used: all keys so far, sealed under that one. `None`
    /// when there is no next one.
    ///
    /// # Errors
    /// [`SiteError`] naming the file.
    pub fn next_ring(&self) -> Result<Option<Bytes>, SiteError> {
        let Some(next) = waiting(&self.paths.next_city_key())? else { return Ok(None) };
        let mut keys = vec![read_key(&self.paths.city_key())?];
        keys.extend(older_keys(&self.paths)?);
        Ok(Some(seal_ring(&CityKey::new(&next), &keys, self.code(), random())))
    }

    /// The ring to deposit in place of the one that the hub keeps, when that one lacks a key or is another key's.
    ///
    /// # Errors
    /// [`SiteError`] naming the file.
    pub fn ring_instead_of(&self, kept: &[u8]) -> Result<Option<Bytes>, SiteError> {
        let newest = CityKey::new(&read_key(&self.paths.city_key())?);
        let older: Vec<_> = older_keys(&self.paths)?;
        let kept = open_ring(&newest, kept, self.code()).unwrap_or_default();
        let lacks = older.iter().any(|key| !kept.contains(key));
        Ok(lacks.then(|| seal_ring(&newest, &older, self.code(), random())))
    }

    /// Seals with the next city key from now on, if there is one; the one before joins the older ones.
    ///
    /// # Errors
    /// [`SiteError`]; the key stays as it was then.
    pub fn take_next_city_key(&self) -> Result<(), SiteError> {
        let path = self.paths.next_city_key();
        let Some(next) = waiting(&path)? else { return Ok(()) };
        let mut writer = locked(&self.writer);
        // First the copy, then the rename: no crash loses either.
        keep_older(&self.paths, &read_key(&self.paths.city_key())?)?;
        self.paths.replace(&path, &self.paths.city_key())?;
        writer.author.keys_mut().city.take(CityKey::new(&next));
        tracing::warn!("this site seals with a new city key");
        Ok(())
    }
}
