//! Joining the federation with an invitation, and staying in it.

use liandong_proto::id::SiteCode;
use liandong_proto::pb::trust::v1 as pb;
use liandong_proto::sign::{SigningKey, VerifyingKey};
use pb::enrolment_client::EnrolmentClient;
use pb::membership_client::MembershipClient;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use tonic::transport::Channel;

use super::tls::connect_pinned;
use super::{Invitation, Membership, limits};
use crate::site::{Paths, SiteError};

/// Why a city did not join, or its certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The hub cannot be reached, or is not the one that invited.
    #[error("the hub cannot be reached at {address}, or is not the one that sent the invitation: {source}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The hub said no.
    #[error("the hub refused: {}", .0.message())]
    Refused(Box<tonic::Status>),
    /// The answer lacks something, or is for another key.
    #[error("the hub's answer cannot be used: {0}")]
    Answer(String),
    /// A join was quicker than a renewal.
    #[error("the city has joined anew meanwhile; what that brought is kept, and the renewal is not")]
    Overtaken,
    /// Making a key or a request for a certificate.
    #[error("a key cannot be made: {0}")]
    Key(#[from] rcgen::Error),
    /// This site's files.
    #[error(transparent)]
    Site(#[from] SiteError),
}

/// A new TLS key with the request for its certificate, DER. The hub takes the key from it and names the site itself.
fn request() -> Result<(KeyPair, Vec<u8>), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok((key, request.der().to_vec()))
}

fn pem(der: &[u8]) -> String {
    let body = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> = (0..body.len()).step_by(64).map(|at| &body[at..body.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn take(
    membership: &mut Membership,
    key: &KeyPair,
    certificate: Option<pb::Certificate>,
) -> Result<(), JoinError> {
    let certificate = certificate.ok_or_else(|| JoinError::Answer("it holds no certificate".into()))?;
    membership.certificate = pem(&certificate.der);
    membership.private_key = key.serialize_pem();
    (membership.not_before_ms, membership.not_after_ms) =
        (certificate.not_before_ms, certificate.not_after_ms);
    Ok(())
}

/// What joining brought.
pub struct Joined {
    /// The membership, kept.
    pub membership: Membership,
    /// What the hub holds of this city's log, from an earlier life of it.
    pub held: Option<pb::HeldLog>,
}

/// Joins with an invitation; the membership is durable before this returns.
///
/// # Errors
/// [`JoinError`]; a site that has joined before stays as it was.
pub async fn join(invitation: &Invitation, site: SiteCode, paths: &Paths) -> Result<Joined, JoinError> {
    let address = &invitation.address;
    let channel = connect_pinned(address, invitation.pin).await;
    let channel = channel.map_err(|source| JoinError::Unreachable { address: address.clone(), source })?;
    let (key, certificate_request) = request()?;
    let signing_key = paths.signing()?.verifying().to_bytes();
    let asked = pb::JoinRequest {
        secret: invitation.secret.to_vec().into(),
        site: site.0,
        certificate_request: certificate_request.into(),
        signing_key: signing_key.to_vec().into(),
        linking_recipient: paths.linking_recipient()?.to_string(),
    };
    let mut client = EnrolmentClient::new(channel)
        .max_decoding_message_size(limits::ENROLMENT_BYTES)
        .max_encoding_message_size(limits::ENROLMENT_BYTES);
    let answer =
        client.join(asked).await.map_err(|status| JoinError::Refused(Box::new(status)))?.into_inner();
    if liandong_proto::id::sha256(&answer.ca) != invitation.pin {
        return Err(JoinError::Answer("the authority is another than the one in the invitation".into()));
    }
    let hub_key = VerifyingKey::from_slice(&answer.hub_signing_key)
        .ok_or_else(|| JoinError::Answer("the hub's signing key is no key".into()))?;
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let mut membership = Membership::new(format!("{host}:{}", answer.sync_port), hub_key, pem(&answer.ca));
    if let Some(earlier) = Membership::load(paths)? {
        membership = membership.after(earlier);
    }
    take(&mut membership, &key, answer.certificate)?;
    membership.store(paths)?;
    Ok(Joined { membership, held: answer.held })
}

/// Asks for a new certificate over a connection that the old one has opened, and keeps it.
///
/// # Errors
/// [`JoinError`]; the membership that is there stays.
pub async fn renew(channel: Channel, before: Membership, paths: &Paths) -> Result<Membership, JoinError> {
    let (key, certificate_request) = request()?;
    let asked = pb::RenewRequest { certificate_request: certificate_request.into() };
    let mut client = MembershipClient::new(channel)
        .max_decoding_message_size(limits::ENROLMENT_BYTES)
        .max_encoding_message_size(limits::ENROLMENT_BYTES);
    let answer = client.renew(asked).await;
    let answer = answer.map_err(|status| JoinError::Refused(Box::new(status)))?.into_inner();
    let mut membership = before.clone();
    take(&mut membership, &key, answer.certificate)?;
    if !membership.store_after(&before, paths)? {
        return Err(JoinError::Overtaken);
    }
    Ok(membership)
}

impl Paths {
    /// The key that this site signs with.
    ///
    /// # Errors
    /// [`SiteError`] naming the file.
    pub fn signing(&self) -> Result<SigningKey, SiteError> {
        crate::site::read_signing_key(&self.signing_key())
    }
}
