//! The certificate that the city's other systems are shown: one that the city has, or one that the site makes for
//! itself, once. Those systems know that one by its fingerprint, or have a copy of it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use liandong_proto::id::sha256;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};

use crate::site::{Paths, SiteError, write_private};

/// A name in the certificate, besides the address: other systems may ask for it wherever the site is reached.
pub const NAME: &str = "node.liandong.internal";
/// Nobody renews it: other systems have to be told of a new one.
const LIFE: Duration = Duration::days(10 * 365);
/// Clocks differ.
const SKEW: Duration = Duration::minutes(10);

/// A certificate with its key, PEM.
pub struct Identity {
    /// The certificate, with those in between.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// SHA-256 of the certificate, as openssl prints it.
    pub fingerprint: String,
}

fn read(path: &Path) -> Result<String, SiteError> {
    fs::read_to_string(path).map_err(|source| SiteError::File { path: path.to_path_buf(), source })
}

impl Identity {
    /// Reads one from two files.
    ///
    /// # Errors
    /// [`SiteError`] naming the file.
    pub fn read(certificate: &Path, key: &Path) -> Result<Identity, SiteError> {
        let failed = |source| SiteError::File { path: key.to_path_buf(), source };
        let mode = fs::metadata(key).map_err(failed)?.permissions().mode();
        // A group may be let in: certificates of a whole machine are often kept so.
        if mode & 0o007 != 0 {
            return Err(SiteError::KeyExposed(key.to_path_buf()));
        }
        let (text, key) = (read(certificate)?, read(key)?);
        let der = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|error| SiteError::corrupt(certificate.display().to_string(), error))?;
        let fingerprint: Vec<String> = sha256(&der).iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Identity { certificate: text, key, fingerprint: fingerprint.join(":") })
    }

    /// The site's own, made where there is none yet.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn own(paths: &Paths, listen: SocketAddr, now_ms: u64) -> Result<Identity, SiteError> {
        let (certificate, key) = paths.api_identity();
        if !certificate.exists() {
            make(&certificate, &key, listen.ip(), now_ms)?;
        }
        Identity::read(&certificate, &key)
    }
}

fn make(certificate: &Path, key: &Path, address: IpAddr, now_ms: u64) -> Result<(), SiteError> {
    let failed = |error: rcgen::Error| SiteError::File {
        path: certificate.to_path_buf(),
        source: io::Error::other(error.to_string()),
    };
    // The key first: whoever finds a certificate finds its key as well.
    let pair = if key.exists() {
        KeyPair::from_pem(&read(key)?).map_err(failed)?
    } else {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        write_private(key, pair.serialize_pem().as_bytes())?;
        pair
    };
    let mut params = CertificateParams::new(vec![NAME.into(), "localhost".into()]).map_err(failed)?;
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), address];
    // All addresses of this machine are none that anybody asks for.
    let known = addresses
        .iter()
        .enumerate()
        .filter(|(at, address)| !address.is_unspecified() && !addresses[..*at].contains(address));
    params.subject_alt_names.extend(known.map(|(_, address)| SanType::IpAddress(*address)));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    let now = OffsetDateTime::from_unix_timestamp((now_ms / 1_000) as i64);
    let now = now.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    (params.not_before, params.not_after) = (now - SKEW, now + LIFE);
    let made = params.self_signed(&pair).map_err(failed)?;
    write_private(certificate, made.pem().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_its_key_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path());
        let listen: SocketAddr = "192.0.2.7:7445".parse().expect("an address");
        let first = Identity::own(&paths, listen, 1_800_000_000_000).expect("made");
        assert_eq!(first.fingerprint.len(), 95);
        let again = Identity::own(&paths, listen, 1_900_000_000_000).expect("read");
        assert_eq!((again.fingerprint, again.certificate), (first.fingerprint.clone(), first.certificate));
        let (certificate, key) = paths.api_identity();
        assert_eq!(fs::metadata(&key).expect("there").permissions().mode() & 0o777, 0o600);
        // A start that was cut between the two goes on with the key.
        fs::remove_file(&certificate).expect("removed");
        let anew = Identity::own(&paths, listen, 1_900_000_000_000).expect("made");
        assert_eq!(anew.key, first.key);
        assert_ne!(anew.fingerprint, first.fingerprint);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).expect("changed");
        assert!(matches!(Identity::own(&paths, listen, 1), Err(SiteError::KeyExposed(_))));
    }
}
