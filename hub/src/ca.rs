//! The province's certificate authority: vouches for the hub towards the cities, and for the cities towards the hub.
//!
//! A city's certificate names it in a URI (`urn:liandong:city:440100:3`: site and number of its enrolment) that the
//! hub alone writes; of the city's request only the public key is taken. Certificates follow RFC 5280, keys are P-256.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use liandong_node::site::{Paths, SiteError, read_private};
use liandong_node::trust::HUB_NAME;
use liandong_proto::id::{Hash, SiteCode, sha256};
use liandong_proto::pb::trust::v1 as pb;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// How long a city's certificate is good for.
pub const CITY_LIFE: Duration = Duration::from_secs(90 * DAY);
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * DAY);
/// The hub's own is made anew at every start and never leaves its memory.
const HUB_LIFE: Duration = Duration::from_secs(5 * 365 * DAY);
const DAY: u64 = 86_400;
/// Clocks differ: a certificate begins so long before it is made.
const SKEW: Duration = Duration::from_secs(600);
const CITY_URN: &str = "urn:liandong:city:";

/// A failure of the authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A certificate or key that cannot be made or read.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A request for a certificate that is none, or is not signed with its own key.
    #[error("the request for a certificate cannot be used: {0}")]
    Request(rcgen::Error),
    /// A file.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A certificate to adopt that is no authority, or a key that is another's.
    #[error("{0}")]
    Adopted(&'static str),
}

/// Who a certificate says its holder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The city.
    pub site: SiteCode,
    /// Which of its enrolments.
    pub enrolment: u32,
}

impl Identity {
    fn urn(self) -> String {
        format!("{CITY_URN}{}:{}", self.site, self.enrolment)
    }

    /// Reads the identity off a certificate that TLS has already accepted; `None` when it names no city.
    pub fn of(certificate: &[u8]) -> Option<Identity> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let mut cities = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(CITY_URN),
            _ => None,
        });
        let (site, enrolment) = cities.next()?.split_once(':')?;
        // One that named two would be two.
        cities.next().is_none().then_some(())?;
        Some(Identity { site: SiteCode(site.parse().ok()?), enrolment: enrolment.parse().ok()? })
    }
}

/// The authority, with its key.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    pem: String,
}

fn cert_path(paths: &Paths) -> PathBuf {
    paths.dir.join("keys").join("ca.crt")
}

fn key_path(paths: &Paths) -> PathBuf {
    paths.dir.join("keys").join("ca.key")
}

fn moment(ms: u64) -> OffsetDateTime {
    let moment = OffsetDateTime::from_unix_timestamp((ms / 1_000) as i64);
    moment.unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn lasting(mut params: CertificateParams, now_ms: u64, life: Duration) -> CertificateParams {
    params.not_before = moment(now_ms.saturating_sub(SKEW.as_millis() as u64));
    params.not_after = moment(now_ms + life.as_millis() as u64);
    params
}

impl Ca {
    /// Makes an authority and writes it into a hub's directory.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn make(paths: &Paths, now_ms: u64) -> Result<(), CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = lasting(CertificateParams::new(Vec::new())?, now_ms, CA_LIFE);
        params.distinguished_name.push(DnType::CommonName, "liandong CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ca::keep(paths, &certificate.pem(), &key.serialize_pem())
    }

    /// Takes over an authority that the province already has.
    ///
    /// # Errors
    /// [`CaError::Adopted`] when certificate and key do not make one.
    pub fn adopt(paths: &Paths, certificate: &str, key: &str) -> Result<(), CaError> {
        let read = KeyPair::from_pem(key)?;
        let (_, found) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())
            .map_err(|_| CaError::Adopted("the certificate is not PEM"))?;
        let parsed = found.parse_x509().map_err(|_| CaError::Adopted("the certificate cannot be read"))?;
        if !parsed.is_ca() {
            return Err(CaError::Adopted(
                "the certificate is not that of an authority (basicConstraints CA)",
            ));
        }
        if parsed.public_key().subject_public_key.data.as_ref() != rcgen::PublicKeyData::der_bytes(&read) {
            return Err(CaError::Adopted("the key does not belong to the certificate"));
        }
        Ca::keep(paths, certificate, key)
    }

    fn keep(paths: &Paths, certificate: &str, key: &str) -> Result<(), CaError> {
        // The key first: whoever finds a certificate finds its key as well.
        for (path, text) in [(key_path(paths), key), (cert_path(paths), certificate)] {
            liandong_node::site::write_private(&path, text.as_bytes())?;
        }
        Ok(())
    }

    /// The authority of a hub's directory.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn load(paths: &Paths) -> Result<Ca, CaError> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| SiteError::File { path: path.to_path_buf(), source })
        };
        let pem = read(&cert_path(paths))?;
        let key = KeyPair::from_pem(&read_private(&key_path(paths))?)?;
        let (_, found) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
            .map_err(|error| SiteError::corrupt(cert_path(paths).display().to_string(), error))?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key)?;
        Ok(Ca { issuer, der: found.contents, pem })
    }

    /// Its certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What an invitation names it by.
    pub fn pin(&self) -> Hash {
        sha256(&self.der)
    }

    /// A certificate for the key in a city's request.
    ///
    /// # Errors
    /// [`CaError::Request`] when the request cannot be used.
    pub fn issue(&self, request: &[u8], identity: Identity, now_ms: u64) -> Result<pb::Certificate, CaError> {
        let request = CertificateSigningRequestParams::from_der(&request.into()).map_err(CaError::Request)?;
        let mut params = lasting(CertificateParams::new(Vec::new())?, now_ms, CITY_LIFE);
        params.distinguished_name.push(DnType::CommonName, format!("city {}", identity.site));
        let urn = identity.urn().try_into()?;
        params.subject_alt_names = vec![SanType::URI(urn)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let ms = |moment: OffsetDateTime| moment.unix_timestamp() as u64 * 1_000;
        let (not_before_ms, not_after_ms) = (ms(params.not_before), ms(params.not_after));
        let certificate = params.signed_by(&request.public_key, &self.issuer)?;
        Ok(pb::Certificate { der: certificate.der().to_vec().into(), not_before_ms, not_after_ms })
    }

    /// Certificate chain and key of the hub itself, PEM.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn hub_identity(&self, now_ms: u64) -> Result<(String, String), CaError> {
        self.server_identity(vec![HUB_NAME.to_owned()], now_ms)
    }

    /// Certificate chain and key of a port of the hub under other names or addresses, PEM.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn server_identity(&self, names: Vec<String>, now_ms: u64) -> Result<(String, String), CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = lasting(CertificateParams::new(names)?, now_ms, HUB_LIFE);
        params.distinguished_name.push(DnType::CommonName, "liandong hub");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((format!("{}{}", certificate.pem(), self.pem), key.serialize_pem()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_000_000_000;
    const GUANGZHOU: Identity = Identity { site: SiteCode(440_100), enrolment: 3 };

    fn request(names: Vec<String>) -> Vec<u8> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let params = CertificateParams::new(names).expect("names");
        params.serialize_request(&key).expect("a request").der().to_vec()
    }

    #[test]
    fn a_city_is_who_the_hub_says_and_not_what_it_asks_to_be() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path());
        Ca::make(&paths, NOW_MS).expect("made");
        let ca = Ca::load(&paths).expect("loaded");
        let asked = request(vec![HUB_NAME.into()]);
        let issued = ca.issue(&asked, GUANGZHOU, NOW_MS).expect("issued");
        assert_eq!(Identity::of(&issued.der), Some(GUANGZHOU));
        let (_, certificate) = X509Certificate::from_der(&issued.der).expect("a certificate");
        let names = certificate.subject_alternative_name().expect("readable").expect("there");
        assert_eq!(names.value.general_names.len(), 1, "the names asked for are not in it");
        assert!(!certificate.is_ca());
        assert_eq!(issued.not_after_ms - NOW_MS, CITY_LIFE.as_millis() as u64);
        assert_eq!(Identity::of(ca.der()), None);
        assert!(matches!(ca.issue(b"nothing", GUANGZHOU, NOW_MS), Err(CaError::Request(_))));
        let mut bent = asked;
        let last = bent.len() - 1;
        bent[last] ^= 1;
        assert!(ca.issue(&bent, GUANGZHOU, NOW_MS).is_err(), "a request is signed with the key it brings");
    }

    #[test]
    fn a_key_that_others_may_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path());
        Ca::make(&paths, NOW_MS).expect("made");
        for (mode, usable) in [(0o640, false), (0o604, false), (0o600, true), (0o400, true)] {
            fs::set_permissions(key_path(&paths), fs::Permissions::from_mode(mode)).expect("changed");
            let exposed = matches!(Ca::load(&paths), Err(CaError::Site(SiteError::KeyExposed(_))));
            assert_eq!(exposed, !usable, "{mode:o}");
        }
    }

    #[test]
    fn an_authority_is_adopted_only_with_its_own_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let (theirs, ours) = (Paths::new(&dir.path().join("a")), Paths::new(&dir.path().join("b")));
        Ca::make(&theirs, NOW_MS).expect("made");
        let read = |path: PathBuf| fs::read_to_string(path).expect("readable");
        let (certificate, key) = (read(cert_path(&theirs)), read(key_path(&theirs)));
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key").serialize_pem();
        assert!(matches!(Ca::adopt(&ours, &certificate, &other), Err(CaError::Adopted(_))));
        Ca::adopt(&ours, &certificate, &key).expect("adopted");
        assert_eq!(Ca::load(&ours).expect("loaded").pin(), Ca::load(&theirs).expect("loaded").pin());
    }
}
