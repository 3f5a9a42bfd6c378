//! What the hub keeps of the cities' keys: the line of their signing keys, and files that it relays and cannot open.

use std::sync::PoisonError;

use bytes::Bytes;
use liandong_node::now::now_ms;
use liandong_node::site::SiteError;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::trust::v1 as pb;
use liandong_proto::rotation::Rotation;
use log::registry_change::Change;

use crate::ca::Identity;
use crate::hub::Hub;
use crate::listen::Pace;

/// The largest linking key that is relayed, wrapped, in bytes.
const LINKING_KEY_BYTES: usize = 16 << 10;
/// The largest ring of city keys that is kept, in bytes.
const KEY_RING_BYTES: usize = 4 << 10;
/// How an age file begins (age-encryption.org/v1), in binary and as text.
const AGE: [&[u8]; 2] = [b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----"];

fn refused<T>(why: &str) -> Result<T, SiteError> {
    Err(SiteError::Refused(why.to_owned()))
}

/// What a city changes of its keys is a record of the log. What is so already is none, and is not counted.
fn in_pace(site: SiteCode, pace: &Pace) -> Result<(), SiteError> {
    if pace.allows(site, now_ms()) {
        return Ok(());
    }
    refused("this city changes its keys too often; those it has stay good, try again in ten minutes")
}

impl Hub {
    fn row(&self, site: SiteCode) -> log::CityRow {
        let published = self.shared.published.read().unwrap_or_else(PoisonError::into_inner);
        published.registry.members.city(site).cloned().unwrap_or_default()
    }

    pub(crate) fn key_ring(&self, site: SiteCode) -> Bytes {
        self.row(site).key_ring
    }

    /// What is kept for a city.
    pub(crate) fn kept_keys(&self, site: SiteCode) -> pb::KeysResponse {
        let row = self.row(site);
        let linking_keys = Some(row.linking_key).filter(|file| !file.is_empty()).into_iter().collect();
        let erased = self.signed_now(self.read(|published| published.registry.erasures.by_others(site)));
        pb::KeysResponse { linking_keys, key_ring: row.key_ring, held: self.held_log(site), erased }
    }

    /// What is held of a city's log: the epoch it lives in, and how far that goes.
    pub(crate) fn held_log(&self, site: SiteCode) -> Option<pb::HeldLog> {
        self.read(|published| {
            let (origin, row) = published.registry.living(site)?;
            let key_ring = published.registry.members.city(site).map(|row| row.key_ring.clone());
            Some(pb::HeldLog {
                epoch: Bytes::copy_from_slice(&origin.epoch.0),
                seq: row.seq,
                hash: row.hash.clone(),
                key_ring: key_ring.unwrap_or_default(),
                anchor: row.anchor.clone(),
            })
        })
    }

    /// A city goes over to another signing key, by the word of the one it has enrolled.
    pub(crate) fn rekey_city(
        &self,
        identity: Identity,
        rotation: log::KeyRotation,
        pace: &Pace,
    ) -> Result<(), SiteError> {
        let read = Rotation::check(&rotation).map_err(|error| SiteError::Refused(error.to_string()))?;
        let row = self.row(identity.site);
        let enrolled = row.enrolment.map(|it| it.signing_key).unwrap_or_default();
        let last = row.rotations.last().map(|last| (&last.old_key, &last.new_key));
        // An answer that got lost: it is so already.
        if enrolled == rotation.new_key && last == Some((&rotation.old_key, &rotation.new_key)) {
            return Ok(());
        }
        in_pace(identity.site, pace)?;
        self.register(identity.site, "", Change::Rekeyed(rotation))?;
        let (old, new) = (read.old.fingerprint(), read.new.fingerprint());
        tracing::warn!(site = %identity.site, old, new, "the city signs with a new key");
        Ok(())
    }

    /// Keeps a city's older keys, which are sealed under its newest.
    pub(crate) fn keep_key_ring(
        &self,
        identity: Identity,
        ring: Bytes,
        pace: &Pace,
    ) -> Result<(), SiteError> {
        if ring.is_empty() || ring.len() > KEY_RING_BYTES {
            return refused("a ring of city keys has at most 4 KiB, and is not empty");
        }
        if ring == self.key_ring(identity.site) {
            return Ok(());
        }
        in_pace(identity.site, pace)?;
        self.register(identity.site, "", Change::KeyRing(ring))
    }

    /// Relays a linking key that the secretariat has wrapped for a city.
    ///
    /// # Errors
    /// [`SiteError::Refused`] for what is no age file, or a city that is no member.
    pub fn send_linking_key(&self, site: SiteCode, file: Bytes, author: &str) -> Result<(), SiteError> {
        if file.len() > LINKING_KEY_BYTES {
            return refused(
                "a wrapped linking key has at most 16 KiB; send what linking-key wrap has written",
            );
        }
        if !AGE.iter().any(|begin| file.starts_with(begin)) {
            return refused("this is no age file, and was not kept; send what linking-key wrap has written");
        }
        self.register(site, author, Change::LinkingKey(file))?;
        tracing::info!(%site, "a wrapped linking key is relayed");
        Ok(())
    }
}
