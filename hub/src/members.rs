//! Which cities are members, and with which keys: the replay of the registry changes in the hub's log.
//!
//! An invitation makes a member, once; a revoked city comes back by a fresh one, a retired one does not. Each
//! enrolment has a random number that stands in the city's certificate, so that a fresh one voids all certificates before,
//! also those that a hub restored from a backup has forgotten.

use std::collections::HashMap;

use bytes::Bytes;
use liandong_node::index::{Index, check_of};
use liandong_node::rows;
use liandong_node::site::SiteError;
use liandong_node::trust::limits;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::log::v1 as pb;
use liandong_proto::rotation::Rotation;
use liandong_proto::sign::VerifyingKey;
use pb::city_row::Standing;
use pb::registry_change::Change;
use prost::Message as _;

use crate::ca::Identity;

/// How long an invitation is good, in milliseconds.
pub const INVITATION_MS: u64 = 86_400_000;

/// All cities that were ever invited.
#[derive(Clone, Debug, Default)]
pub struct Members {
    cities: HashMap<SiteCode, pb::CityRow>,
    checks: HashMap<SiteCode, u64>,
}

impl Members {
    /// Reads the cities of an index.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn load(index: &Index) -> Result<Members, SiteError> {
        let mut out = Members::default();
        for row in index.scan(rows::CITIES, Some(&rows::after_prefix(rows::CITIES))) {
            let (key, value) = row?;
            let Some(site) = rows::parse_city(&key) else { continue };
            out.checks.insert(site, check_of(&key, &value));
            let row = pb::CityRow::decode(value).map_err(|e| SiteError::corrupt("a city's row", e))?;
            out.cities.insert(site, row);
        }
        Ok(out)
    }

    /// What is known of a city.
    pub fn city(&self, site: SiteCode) -> Option<&pb::CityRow> {
        self.cities.get(&site)
    }

    /// The city that an open invitation's secret belongs to.
    pub fn invited(&self, secret_hash: &[u8], now_ms: u64) -> Option<SiteCode> {
        let open = |row: &pb::CityRow| {
            row.invitation.as_ref().is_some_and(|it| self.is_open(it, secret_hash, now_ms))
        };
        self.cities.iter().find(|(_, row)| open(row)).map(|(site, _)| *site)
    }

    /// Since when nobody has confirmed who is cut off, after the hub was restored from a backup; `None` when all is well.
    pub fn unconfirmed_since(&self) -> Option<u64> {
        self.cities.get(&SiteCode::PROVINCE).filter(|row| row.unconfirmed).map(|row| row.restored_at_ms)
    }

    /// The life of the order in which it was noticed last that the hub was restored; 0 when it never was.
    pub fn restored_in(&self) -> u64 {
        self.cities.get(&SiteCode::PROVINCE).map_or(0, |row| row.restored_in)
    }

    /// The highest number that a release had; 0 before the first.
    pub fn last_release(&self) -> u64 {
        self.cities.get(&SiteCode::PROVINCE).map_or(0, |row| row.published)
    }

    /// Whether it was noticed already that a life of the order was lost.
    pub fn has_noticed(&self, lost: u64) -> bool {
        self.cities.get(&SiteCode::PROVINCE).is_some_and(|row| row.lost.contains(&lost))
    }

    /// Sites with a row.
    pub fn sites(&self) -> impl Iterator<Item = SiteCode> {
        self.cities.keys().copied()
    }

    /// The members, and when the certificate of each ends.
    pub fn certificates(&self) -> impl Iterator<Item = (SiteCode, u64)> {
        let members = self.cities.iter().filter(|(_, row)| row.standing() == Standing::Member);
        members.filter_map(|(site, row)| row.enrolment.as_ref().map(|it| (*site, it.until_ms)))
    }

    /// When a city's open invitation ends; 0 when it has none.
    pub fn invited_until(&self, site: SiteCode) -> u64 {
        let invitation = self.city(site).and_then(|row| row.invitation.as_ref());
        invitation.filter(|it| self.is_open(it, &it.secret_hash, 0)).map_or(0, |it| it.until_ms)
    }

    /// Whether an invitation is good for a secret. Those from before a restore are void: what the hub has forgotten may
    /// be that they were used.
    pub fn is_open(&self, invitation: &pb::Invitation, secret_hash: &[u8], now_ms: u64) -> bool {
        let restored_at_ms = self.cities.get(&SiteCode::PROVINCE).map_or(0, |row| row.restored_at_ms);
        let is_void = restored_at_ms > 0 && invitation.until_ms <= restored_at_ms + INVITATION_MS;
        invitation.secret_hash == secret_hash && now_ms < invitation.until_ms && !is_void
    }

    /// The key that a member signs with; `None` for whoever is none, or shows a certificate of an earlier enrolment.
    pub fn signing_key(&self, identity: Identity) -> Option<VerifyingKey> {
        let row = self.cities.get(&identity.site).filter(|row| row.standing() == Standing::Member)?;
        let enrolment = row.enrolment.as_ref().filter(|it| it.number == identity.enrolment)?;
        VerifyingKey::from_slice(&enrolment.signing_key)
    }

    /// The keys that a member signs or has signed with, newest first: each vouched for by the one before it. None for
    /// whoever is no member.
    pub fn line(&self, identity: Identity) -> Vec<VerifyingKey> {
        if self.signing_key(identity).is_some() { self.line_of(identity.site) } else { Vec::new() }
    }

    /// The same of a city, whoever asks.
    pub fn line_of(&self, site: SiteCode) -> Vec<VerifyingKey> {
        let Some(row) = self.cities.get(&site) else { return Vec::new() };
        let enrolled = row.enrolment.as_ref().and_then(|it| VerifyingKey::from_slice(&it.signing_key));
        let mut line: Vec<VerifyingKey> = enrolled.into_iter().collect();
        for rotation in row.rotations.iter().rev() {
            let keys = [&rotation.new_key, &rotation.old_key].map(|key| VerifyingKey::from_slice(key));
            if let [Some(new), Some(old)] = keys
                && line.last() == Some(&new)
            {
                line.push(old);
            }
        }
        line
    }

    /// The line of a site's signing keys, oldest first.
    pub fn rotations(&self, site: SiteCode) -> Vec<pb::KeyRotation> {
        self.cities.get(&site).map(|row| row.rotations.clone()).unwrap_or_default()
    }

    /// Whether a change may be made as things stand.
    ///
    /// # Errors
    /// [`SiteError::Refused`] saying why not.
    pub fn allow(&self, change: &pb::RegistryChange) -> Result<(), SiteError> {
        let site = SiteCode(change.site);
        let row = self.cities.get(&site);
        let standing = row.map_or(Standing::Unspecified, pb::CityRow::standing);
        let refused = |why: &str| Err(SiteError::Refused(format!("{site}: {why}")));
        match change.change.as_ref() {
            None => refused("the change says nothing"),
            Some(it) if site.is_province() && !is_of_the_province(it) => refused(
                "this is the province, which is no member of its own federation; name one of its cities",
            ),
            Some(_) if standing == Standing::Retired => refused("the city has left the federation for good"),
            Some(Change::Invited(_) | Change::Joined(_)) if self.unconfirmed_since().is_some() => {
                refused("this hub was restored from a backup; run `city confirm` first")
            }
            Some(Change::Invited(_) | Change::Retired(_)) => Ok(()),
            Some(Change::Joined(enrolment)) => {
                let invitation = row.and_then(|row| row.invitation.as_ref());
                if !invitation.is_some_and(|it| self.is_open(it, &enrolment.secret_hash, change.at_ms)) {
                    return refused("there is no open invitation with this secret");
                }
                // Random, so that this is as good as never; a certificate of the one before must not fit.
                let before = row.and_then(|row| row.enrolment.as_ref());
                if before.is_some_and(|before| before.number == enrolment.number) {
                    return refused("the enrolment has the number of the one before; try again");
                }
                Ok(())
            }
            Some(Change::RenewedUntilMs(_) | Change::LinkingKey(_) | Change::KeyRing(_))
                if standing == Standing::Member =>
            {
                Ok(())
            }
            Some(Change::Rekeyed(statement)) if standing == Standing::Member => {
                let rotation = Rotation::check(statement);
                let rotation = rotation.map_err(|error| SiteError::Refused(format!("{site}: {error}")))?;
                let enrolled = row.and_then(|row| row.enrolment.as_ref()).map(|it| it.signing_key.clone());
                if rotation.origin.site != site || enrolled.as_deref() != Some(&rotation.old.to_bytes()) {
                    return refused("the rotation is not by the signing key that the city has enrolled");
                }
                // Each of them proves what was signed before it, so none can be forgotten for the next.
                if row.is_some_and(|row| row.rotations.len() >= limits::ROTATIONS) {
                    return refused(
                        "the city has changed its signing key too often and keeps the one it has",
                    );
                }
                Ok(())
            }
            Some(it) if !site.is_province() && is_of_the_province(it) => {
                refused("this is said of the province alone")
            }
            Some(Change::Restored(_)) => Ok(()),
            Some(Change::Published(release)) if row.is_none_or(|row| row.published < *release) => Ok(()),
            Some(Change::Published(_)) => refused("a release of this number was published before"),
            Some(Change::Confirmed(_)) if self.unconfirmed_since().is_some() => Ok(()),
            Some(Change::Confirmed(_)) => refused("there is nothing to confirm: the hub was not restored"),
            Some(Change::Revoked(_)) if standing != Standing::Unspecified || row.is_some() => Ok(()),
            Some(_) => refused("the city is not a member"),
        }
    }

    /// Makes a change that has been allowed; the city's row after it.
    /// `generation` is the life of the order that it is made in.
    pub fn change(&mut self, change: &pb::RegistryChange, generation: u64) -> pb::CityRow {
        let row = self.cities.entry(SiteCode(change.site)).or_default();
        row.changed_at_ms = change.at_ms;
        match change.change.clone() {
            None => {}
            Some(Change::Invited(invitation)) => row.invitation = Some(invitation),
            Some(Change::Joined(enrolment)) => {
                row.set_standing(Standing::Member);
                // What was wrapped for the keys of an earlier enrolment may not open with those of this one.
                if row
                    .enrolment
                    .as_ref()
                    .is_some_and(|it| it.linking_recipient != enrolment.linking_recipient)
                {
                    row.linking_key.clear();
                }
                (row.invitation, row.enrolment, row.reason) = (None, Some(enrolment), String::new());
            }
            Some(Change::RenewedUntilMs(until_ms)) => {
                if let Some(enrolment) = &mut row.enrolment {
                    enrolment.until_ms = until_ms;
                }
            }
            Some(Change::Rekeyed(rotation)) => {
                if let Some(enrolment) = &mut row.enrolment {
                    enrolment.signing_key = rotation.new_key.clone();
                }
                row.rotations.push(rotation);
            }
            Some(Change::Restored(lost)) => {
                (row.restored_at_ms, row.restored_in, row.unconfirmed) = (change.at_ms, generation, true);
                row.lost.extend(Some(lost).filter(|lost| *lost != 0));
            }
            Some(Change::Confirmed(_)) => row.unconfirmed = false,
            Some(Change::Published(release)) => row.published = release,
            Some(Change::LinkingKey(file)) => row.linking_key = file,
            Some(Change::KeyRing(ring)) => row.key_ring = ring,
            Some(Change::Revoked(reason)) => {
                row.set_standing(Standing::Revoked);
                (row.invitation, row.reason) = (None, reason);
            }
            Some(Change::Retired(reason)) => {
                row.set_standing(Standing::Retired);
                (row.invitation, row.reason) = (None, reason);
            }
        }
        row.clone()
    }

    /// Takes over a row that has become durable.
    pub fn publish(&mut self, site: SiteCode, row: pb::CityRow) {
        self.cities.insert(site, row);
    }

    /// The check of the row stored before, and the new row's bytes.
    pub fn stored(&mut self, site: SiteCode, row: &pb::CityRow) -> (Option<u64>, Bytes) {
        let value = Bytes::from(row.encode_to_vec());
        (self.checks.insert(site, check_of(&rows::city(site), &value)), value)
    }
}

/// Whether a change can be of the province, and of it alone.
fn is_of_the_province(change: &Change) -> bool {
    matches!(change, Change::Restored(_) | Change::Confirmed(_) | Change::Published(_))
}

/// Whether certificates given out before a change are void behind it.
pub fn voids_certificates(change: &pb::RegistryChange) -> bool {
    matches!(change.change, Some(Change::Joined(_) | Change::Revoked(_) | Change::Retired(_)))
}

/// Whether a member's session begins anew behind a change: it signs with another key, or has one to fetch.
pub fn changes_keys(change: &pb::RegistryChange) -> bool {
    matches!(change.change, Some(Change::Rekeyed(_) | Change::LinkingKey(_)))
}

#[cfg(test)]
mod tests {
    use liandong_proto::id::{Epoch, Origin};
    use liandong_proto::sign::SigningKey;

    use super::*;

    const GUANGZHOU: SiteCode = SiteCode(440_100);
    const SECRET: &[u8] = &[1; 32];

    fn at(at_ms: u64, change: Change) -> pb::RegistryChange {
        let author = String::new();
        pb::RegistryChange { at_ms, author, site: GUANGZHOU.0, change: Some(change) }
    }

    fn invited(until_ms: u64) -> Change {
        Change::Invited(pb::Invitation { secret_hash: SECRET.into(), until_ms })
    }

    fn joined(number: u32, secret_hash: &'static [u8]) -> Change {
        let signing_key = liandong_proto::sign::SigningKey::new(&[number as u8; 32]).verifying().to_bytes();
        Change::Joined(pb::Enrolment {
            number,
            signing_key: Bytes::copy_from_slice(&signing_key),
            until_ms: 900,
            secret_hash: secret_hash.into(),
            linking_recipient: String::new(),
        })
    }

    #[track_caller]
    fn make(members: &mut Members, change: pb::RegistryChange) {
        members.allow(&change).expect("allowed");
        members.change(&change, 7);
    }

    fn keys(members: &Members) -> [bool; 3] {
        [0, 1, 2].map(|enrolment| members.signing_key(Identity { site: GUANGZHOU, enrolment }).is_some())
    }

    #[test]
    fn an_invitation_is_good_once_in_its_time_and_for_its_secret() {
        let mut members = Members::default();
        assert!(members.allow(&at(1, joined(1, SECRET))).is_err(), "nobody has invited it");
        make(&mut members, at(1, invited(100)));
        assert_eq!(members.invited(SECRET, 99), Some(GUANGZHOU));
        assert_eq!((members.invited(SECRET, 100), members.invited(&[2; 32], 1)), (None, None));
        assert!(members.allow(&at(100, joined(1, SECRET))).is_err(), "too late");
        assert!(members.allow(&at(99, joined(1, &[2; 32]))).is_err(), "another secret");
        make(&mut members, at(99, joined(1, SECRET)));
        assert!(members.allow(&at(99, joined(2, SECRET))).is_err(), "it has been used");
        assert_eq!(keys(&members), [false, true, false]);
        assert_eq!(members.certificates().collect::<Vec<_>>(), [(GUANGZHOU, 900)]);
    }

    #[test]
    fn a_fresh_enrolment_voids_the_one_before_and_a_revoked_city_is_none() {
        let mut members = Members::default();
        for number in [1, 2] {
            make(&mut members, at(1, invited(100)));
            make(&mut members, at(2, joined(number, SECRET)));
        }
        assert_eq!(keys(&members), [false, false, true]);
        make(&mut members, at(3, Change::Revoked("key lost".into())));
        assert_eq!(keys(&members), [false; 3]);
        assert!(members.allow(&at(4, Change::RenewedUntilMs(1_000))).is_err());
        make(&mut members, at(4, invited(100)));
        make(&mut members, at(5, joined(3, SECRET)));
        make(&mut members, at(6, Change::Retired("merged".into())));
        assert!(members.allow(&at(7, invited(100))).is_err(), "for good");
    }

    #[test]
    fn the_province_is_no_member_of_its_own_federation() {
        let mut members = Members::default();
        let province = |change| pb::RegistryChange { site: SiteCode::PROVINCE.0, ..at(1, change) };
        // What is noted of it in the log gives it a row.
        make(&mut members, province(Change::Restored(3)));
        make(&mut members, province(Change::Confirmed(true)));
        let refused = [
            invited(100),
            joined(1, SECRET),
            Change::Revoked("a reason".into()),
            Change::Retired("a reason".into()),
        ];
        for change in refused {
            assert!(members.allow(&province(change.clone())).is_err(), "{change:?}");
        }
    }

    #[test]
    fn a_line_of_signing_keys_has_an_end() {
        let mut members = Members::default();
        make(&mut members, at(1, invited(100)));
        make(&mut members, at(2, joined(0, SECRET)));
        let key = |n: usize| {
            let mut seed = [0; 32];
            seed[..2].copy_from_slice(&(n as u16).to_be_bytes());
            SigningKey::new(&seed)
        };
        let origin = Origin { site: GUANGZHOU, epoch: Epoch([7; 16]) };
        let rotated = |n| Rotation::sign(origin, n as u64, 3, &key(n), key(n + 1).verifying());
        for n in 0..limits::ROTATIONS {
            make(&mut members, at(3, Change::Rekeyed(rotated(n))));
        }
        let more = at(4, Change::Rekeyed(rotated(limits::ROTATIONS)));
        assert!(members.allow(&more).is_err(), "none is forgotten for it");
        assert_eq!(members.line_of(GUANGZHOU).len(), limits::ROTATIONS + 1);
    }
}
