//! What a city keeps of its enrolment: one file, written as a whole, so that key and certificate always belong
//! together.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use liandong_proto::id::{SiteCode, hex, unhex};
use liandong_proto::sign::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::exclusive::Exclusive;
use crate::site::{Paths, SiteError};

/// A city's membership in the federation.
#[derive(Clone, Serialize, Deserialize)]
pub struct Membership {
    /// Host and port of the sync port.
    pub hub: String,
    /// The authority's certificate, PEM.
    pub ca: String,
    /// This site's certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    pub private_key: String,
    /// What the hub signs receipts with, hexadecimal: pinned when the city joined.
    hub_signing_key: String,
    /// The keys before that one, oldest first: what they signed in their time stays verifiable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier_hub_keys: Vec<String>,
    /// When the certificate begins, milliseconds since 1970.
    pub not_before_ms: u64,
    /// When it ends.
    pub not_after_ms: u64,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Membership({}, until {})", self.hub, self.not_after_ms)
    }
}

impl Membership {
    /// A membership with what joining brought.
    pub fn new(hub: String, hub_key: VerifyingKey, ca: String) -> Membership {
        Membership {
            hub,
            ca,
            certificate: String::new(),
            private_key: String::new(),
            hub_signing_key: hex(&hub_key.to_bytes()),
            earlier_hub_keys: Vec::new(),
            not_before_ms: 0,
            not_after_ms: 0,
        }
    }

    /// The key that the hub's receipts must be signed with.
    ///
    /// # Errors
    /// [`SiteError::Corrupt`].
    pub fn hub_key(&self) -> Result<VerifyingKey, SiteError> {
        read_hub_key(&self.hub_signing_key)
    }

    /// All keys that the hub's receipts were ever to be signed with, oldest first.
    ///
    /// # Errors
    /// [`SiteError::Corrupt`].
    pub fn hub_keys(&self) -> Result<Vec<VerifyingKey>, SiteError> {
        self.earlier_hub_keys.iter().chain([&self.hub_signing_key]).map(|key| read_hub_key(key)).collect()
    }

    /// Pins keys that follow the one pinned so far, each in its turn.
    pub fn pin(&mut self, keys: &[VerifyingKey]) {
        for key in keys.iter().map(|key| hex(&key.to_bytes())) {
            if key != self.hub_signing_key {
                let before = std::mem::replace(&mut self.hub_signing_key, key);
                self.earlier_hub_keys.push(before);
            }
        }
    }

    /// A membership that takes the place of an earlier one: what that had pinned stays known.
    pub(super) fn after(mut self, earlier: Membership) -> Membership {
        let newest = std::mem::replace(&mut self.hub_signing_key, earlier.hub_signing_key);
        self.earlier_hub_keys = earlier.earlier_hub_keys;
        if newest != self.hub_signing_key {
            let before = std::mem::replace(&mut self.hub_signing_key, newest);
            self.earlier_hub_keys.push(before);
        }
        self
    }

    /// Reads the membership of a site; `None` when it has not joined.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn load(paths: &Paths) -> Result<Option<Membership>, SiteError> {
        let path = paths.membership();
        match fs::read(&path) {
            Ok(text) => {
                let read = serde_json::from_slice(&text);
                read.map(Some).map_err(|error| SiteError::corrupt(path.display().to_string(), error))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SiteError::File { path, source }),
        }
    }

    /// Whether the certificate should be renewed: from two thirds of its life on, and a little later for some sites than
    /// for others, so that not all ask on one day.
    pub fn is_due(&self, now_ms: u64, site: SiteCode) -> bool {
        let life = self.not_after_ms.saturating_sub(self.not_before_ms);
        // Codes differ in their third and fourth digit: 1 to 53.
        let later = life / 20 * u64::from(site.0 / 100 % 100) / 100;
        now_ms >= self.not_before_ms + life / 3 * 2 + later
    }

    /// Writes it in place of the one before, durable before this returns.
    ///
    /// # Errors
    /// [`SiteError::File`]; the one before is untouched then.
    pub fn store(&self, paths: &Paths) -> Result<(), SiteError> {
        let _lock = lock(paths)?;
        self.write(paths)
    }

    /// As [`Membership::store`], but only if `before` is still what stands there: a join that was quicker is newer.
    /// Whether it did.
    ///
    /// # Errors
    /// [`SiteError`]; what stands there is untouched then.
    pub fn store_after(&self, before: &Membership, paths: &Paths) -> Result<bool, SiteError> {
        let _lock = lock(paths)?;
        let same = Membership::load(paths)?.is_some_and(|there| there.certificate == before.certificate);
        if same {
            self.write(paths)?;
        }
        Ok(same)
    }

    fn write(&self, paths: &Paths) -> Result<(), SiteError> {
        let path = paths.membership();
        let text = serde_json::to_vec_pretty(self).map_err(|e| SiteError::corrupt("the membership", e))?;
        replace(&path, &text).map_err(|source| SiteError::File { path, source })
    }
}

/// Held while the membership is replaced: a command joins while the process that stays renews.
fn lock(paths: &Paths) -> Result<Exclusive, SiteError> {
    let path = paths.membership().with_extension("lock");
    let locked = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        Exclusive::at(&path)
    };
    locked().map_err(|source| SiteError::File { path: path.clone(), source })
}

fn read_hub_key(text: &str) -> Result<VerifyingKey, SiteError> {
    let key = unhex(text.as_bytes()).and_then(|key| VerifyingKey::from_slice(&key));
    key.ok_or_else(|| SiteError::corrupt("keys/membership.json", "the hub's signing key is no key"))
}

/// Writes a file that only its owner can read, beside the old one and then in its place.
pub(crate) fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use liandong_proto::sign::SigningKey;

    use super::*;

    const DAY: u64 = 86_400_000;

    fn membership() -> Membership {
        let key = SigningKey::new(&[7; 32]).verifying();
        let mut membership = Membership::new("127.0.0.1:1".into(), key, "pem".into());
        membership.not_after_ms = 90 * DAY;
        membership
    }

    #[test]
    fn a_certificate_is_renewed_in_its_last_third_and_not_everywhere_at_once() {
        let (first, last) = (SiteCode(440_100), SiteCode(445_300));
        assert!(!membership().is_due(59 * DAY, first) && !membership().is_due(60 * DAY, last));
        assert!(membership().is_due(61 * DAY, first) && membership().is_due(63 * DAY, last));
    }

    #[test]
    fn a_renewal_does_not_take_the_place_of_a_join_that_was_quicker() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path());
        let with = |certificate: &str| Membership { certificate: certificate.into(), ..membership() };
        let there = || Membership::load(&paths).expect("readable").expect("there").certificate;
        let (first, joined) = (with("first"), with("joined"));
        first.store(&paths).expect("stored");
        assert!(with("renewed").store_after(&first, &paths).expect("stored"));
        assert_eq!(there(), "renewed");
        joined.store(&paths).expect("stored");
        assert!(!with("renewed again").store_after(&with("renewed"), &paths).expect("looked at"));
        assert_eq!(there(), "joined");
    }

    #[test]
    fn what_was_pinned_stays_known_to_whoever_joins_again() {
        let key = |n: u8| SigningKey::new(&[n; 32]).verifying();
        let mut first = membership();
        first.pin(&[key(8), key(9)]);
        assert_eq!(first.hub_keys().expect("keys"), [key(7), key(8), key(9)]);
        let joined = |n| Membership::new("127.0.0.1:1".into(), key(n), "pem".into());
        assert_eq!(joined(9).after(first.clone()).hub_keys().expect("keys"), [key(7), key(8), key(9)]);
        let other = joined(3).after(first);
        assert_eq!((other.hub_key().expect("a key"), other.hub_keys().expect("keys").len()), (key(3), 4));
    }

    #[test]
    fn it_reads_back_and_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path());
        assert!(Membership::load(&paths).expect("readable").is_none());
        for hub in ["127.0.0.1:1", "127.0.0.1:2"] {
            let membership = Membership { hub: hub.into(), ..membership() };
            membership.store(&paths).expect("stored");
            let read = Membership::load(&paths).expect("readable").expect("there");
            assert_eq!((read.hub.as_str(), read.hub_key().ok()), (hub, membership.hub_key().ok()));
            let mode = fs::metadata(paths.membership()).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
