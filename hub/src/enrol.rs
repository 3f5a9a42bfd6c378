//! Members come and go: invitations, enrolment, renewal, exclusion. Every step is a record of the hub's log before
//! anybody hears of it.

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use liandong_node::audit::{Note, What};
use liandong_node::now::{now_ms, random};
use liandong_node::site::SiteError;
use liandong_node::trust::{Invitation, limits};
use liandong_proto::city;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::trust::v1 as pb;
use liandong_proto::sign::VerifyingKey;
use log::registry_change::Change;
use pb::enrolment_server::Enrolment;
use pb::membership_server::Membership;
use tonic::{Request, Response, Status};

use crate::ca::{CaError, Identity};
use crate::hub::{Hub, Shared};
use crate::listen::{Pace, Peer};
use crate::members::INVITATION_MS;
use crate::queue::{Job, Register};

impl From<CaError> for SiteError {
    fn from(error: CaError) -> SiteError {
        match error {
            CaError::Site(error) => error,
            CaError::Request(_) | CaError::Adopted(_) => SiteError::Refused(error.to_string()),
            CaError::Certificate(_) => SiteError::corrupt("the authority's certificate or key", error),
        }
    }
}

impl Shared {
    /// Changes what the registry says of a city, or of the province; durable before it returns.
    pub(crate) fn register(&self, site: SiteCode, author: &str, change: Change) -> Result<(), SiteError> {
        if city::city(site).is_none() && !site.is_province() {
            return Err(SiteError::Refused(format!("{site} is none of the province's 21 cities")));
        }
        let (sender, receiver) = mpsc::channel();
        let change = log::RegistryChange {
            at_ms: now_ms(),
            author: author.to_owned(),
            site: site.0,
            change: Some(change),
        };
        let answer = Box::new(move |answer| {
            let _ = sender.send(answer);
        });
        self.queue.put(Job::Register(Register { change, answer }));
        let stopped = |_| SiteError::Refused("the hub is stopping; nothing was changed".into());
        receiver.recv().map_err(stopped)?
    }
}

impl Hub {
    /// See [`Shared::register`].
    pub(crate) fn register(&self, site: SiteCode, author: &str, change: Change) -> Result<(), SiteError> {
        self.shared.register(site, author, change)
    }

    /// Invites a city: the code to send it, and when it ends. A code given out before is void from now on.
    ///
    /// # Errors
    /// [`SiteError::Refused`] for a city that has left for good.
    pub fn invite(
        &self,
        site: SiteCode,
        address: &str,
        author: &str,
    ) -> Result<(Invitation, u64), SiteError> {
        let secret = random();
        let until_ms = now_ms() + INVITATION_MS;
        let secret_hash = Bytes::copy_from_slice(&Invitation::secret_hash(&secret));
        self.register(site, author, Change::Invited(log::Invitation { secret_hash, until_ms }))?;
        self.note_decision(What::Invited, site, author, "");
        tracing::info!(%site, "invited");
        Ok((Invitation { address: address.to_owned(), pin: self.shared.ca.pin(), secret }, until_ms))
    }

    /// Cuts a city off: its session ends, its certificate and its invitation are void. Its records stay.
    ///
    /// # Errors
    /// [`SiteError::Refused`] for a city that never was a member.
    pub fn exclude(
        &self,
        site: SiteCode,
        reason: &str,
        for_good: bool,
        author: &str,
    ) -> Result<(), SiteError> {
        if reason.trim().is_empty() {
            return Err(SiteError::Refused(
                "cutting a city off needs a reason; give one with --reason".into(),
            ));
        }
        let change = if for_good { Change::Retired } else { Change::Revoked };
        self.register(site, author, change(reason.to_owned()))?;
        self.note_decision(if for_good { What::Retired } else { What::Revoked }, site, author, reason);
        tracing::warn!(%site, for_good, "cut off");
        Ok(())
    }

    /// Enrols a city that shows the secret of an open invitation.
    fn enrol(&self, asked: &pb::JoinRequest, sync_port: u16) -> Result<pb::JoinResponse, Status> {
        let now_ms = now_ms();
        let secret_hash = Invitation::secret_hash(&asked.secret);
        let number = u32::from_be_bytes(random()) | 1;
        let site = self.read(|published| published.registry.members.invited(&secret_hash, now_ms));
        let site = site.ok_or_else(no_invitation)?;
        if asked.site != site.0 {
            return Err(Status::failed_precondition(format!(
                "the invitation is for {site}, and this site is {}",
                SiteCode(asked.site)
            )));
        }
        let signing_key = VerifyingKey::from_slice(&asked.signing_key)
            .ok_or_else(|| Status::invalid_argument("the signing key is no Ed25519 key"))?;
        let recipient = &asked.linking_recipient;
        if !recipient.is_empty() && liandong_node::trust::wrap::recipient(recipient).is_err() {
            return Err(Status::invalid_argument(
                "what the linking key is to be wrapped for is no age recipient",
            ));
        }
        let identity = Identity { site, enrolment: number };
        let certificate = self.shared.ca.issue(&asked.certificate_request, identity, now_ms);
        let certificate = certificate.map_err(|error| liandong_node::api::status(&error.into()))?;
        let enrolment = log::Enrolment {
            number,
            signing_key: Bytes::copy_from_slice(&signing_key.to_bytes()),
            until_ms: certificate.not_after_ms,
            secret_hash: Bytes::copy_from_slice(&secret_hash),
            linking_recipient: asked.linking_recipient.clone(),
        };
        // Judged once more where all changes have one order: of two who show the same secret one is too late.
        self.register(site, "", Change::Joined(enrolment)).map_err(|_| no_invitation())?;
        self.note_joined(site, &signing_key.fingerprint());
        tracing::info!(%site, number, signing_key = signing_key.fingerprint(), "joined");
        Ok(pb::JoinResponse {
            certificate: Some(certificate),
            ca: Bytes::copy_from_slice(self.shared.ca.der()),
            hub_signing_key: Bytes::copy_from_slice(&self.signing_key().to_bytes()),
            sync_port: sync_port.into(),
            held: self.held_log(site),
        })
    }

    fn renew(&self, identity: Identity, request: &[u8]) -> Result<pb::RenewResponse, SiteError> {
        let certificate = self.shared.ca.issue(request, identity, now_ms())?;
        self.register(identity.site, "", Change::RenewedUntilMs(certificate.not_after_ms))?;
        self.shared.audit.note_behind(Note::city(What::Renewed, identity.site));
        Ok(pb::RenewResponse { certificate: Some(certificate) })
    }

    /// The key that a member signs with, as of what is durable now.
    pub(crate) fn member_key(&self, identity: Identity) -> Option<VerifyingKey> {
        self.read(|published| published.registry.members.signing_key(identity))
    }
}

fn no_invitation() -> Status {
    Status::permission_denied(
        "there is no open invitation with this secret: it is wrong, was used, or its day is over",
    )
}

/// The enrolment port's one service.
pub(crate) struct EnrolmentService {
    pub hub: Arc<Hub>,
    pub sync_port: u16,
}

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinResponse>, Status> {
        let (hub, sync_port) = (Arc::clone(&self.hub), self.sync_port);
        let asked = request.into_inner();
        let enrolled = tokio::task::spawn_blocking(move || {
            hub.enrol(&asked, sync_port).inspect_err(|status| hub.note_not_joined(asked.site, status))
        })
        .await;
        Ok(Response::new(enrolled.map_err(|_| Status::internal("the enrolment was cut short"))??))
    }
}

/// What a member may ask for beside its session.
pub(crate) struct MembershipService {
    pub hub: Arc<Hub>,
    /// Each renewal is a record of the log.
    pub renewals: Pace,
    /// As is each rotation of a signing key.
    pub rotations: Arc<Pace>,
    /// And each ring of city keys.
    pub key_rings: Arc<Pace>,
    /// So may be what is proved.
    pub proving: Pace,
}

#[tonic::async_trait]
impl Membership for MembershipService {
    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        let identity = member(&self.hub, &request)?;
        if !self.renewals.allows(identity.site, now_ms()) {
            return Err(Status::resource_exhausted(
                "this city has asked for too many certificates; the one it has stays good, try again in ten minutes",
            ));
        }
        let hub = Arc::clone(&self.hub);
        let asked = request.into_inner().certificate_request;
        let renewed = liandong_node::api::blocking(move || hub.renew(identity, &asked)).await?;
        Ok(Response::new(renewed))
    }

    async fn prove(&self, request: Request<pb::ProveRequest>) -> Result<Response<pb::ProveResponse>, Status> {
        let identity = member(&self.hub, &request)?;
        if !self.proving.allows(identity.site, now_ms()) {
            return Err(Status::resource_exhausted(
                "this city hands in proofs too often; they stay good, try again in a few seconds",
            ));
        }
        let hub = Arc::clone(&self.hub);
        let proofs = request.into_inner().proofs;
        if proofs.len() > limits::PROOFS {
            return Err(Status::invalid_argument("too many proofs in one request; hand them in in several"));
        }
        let proofs = liandong_node::api::blocking(move || hub.prove(identity, proofs)).await?;
        Ok(Response::new(pb::ProveResponse { proofs }))
    }

    async fn keys(&self, request: Request<pb::KeysRequest>) -> Result<Response<pb::KeysResponse>, Status> {
        let identity = member(&self.hub, &request)?;
        Ok(Response::new(self.hub.kept_keys(identity.site)))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<pb::RotateSigningKeyRequest>,
    ) -> Result<Response<pb::RotateSigningKeyResponse>, Status> {
        let identity = member(&self.hub, &request)?;
        let (hub, rotation) = (Arc::clone(&self.hub), request.into_inner().rotation.unwrap_or_default());
        let pace = Arc::clone(&self.rotations);
        liandong_node::api::blocking(move || hub.rekey_city(identity, rotation, &pace)).await?;
        Ok(Response::new(pb::RotateSigningKeyResponse {}))
    }

    async fn deposit_key_ring(
        &self,
        request: Request<pb::DepositKeyRingRequest>,
    ) -> Result<Response<pb::DepositKeyRingResponse>, Status> {
        let identity = member(&self.hub, &request)?;
        let (hub, ring) = (Arc::clone(&self.hub), request.into_inner().key_ring);
        let pace = Arc::clone(&self.key_rings);
        liandong_node::api::blocking(move || hub.keep_key_ring(identity, ring, &pace)).await?;
        Ok(Response::new(pb::DepositKeyRingResponse {}))
    }
}

/// The member at the other end of a connection: from its certificate, never from a message.
///
/// # Errors
/// `UNAUTHENTICATED` without a city's certificate, `PERMISSION_DENIED` with one that is void.
pub(crate) fn member<T>(hub: &Hub, request: &Request<T>) -> Result<Identity, Status> {
    let peer = request.extensions().get::<Peer>();
    let identity = peer.and_then(Peer::identity);
    let identity = identity.ok_or_else(|| {
        hub.note_stranger();
        Status::unauthenticated("the connection shows no city's certificate")
    })?;
    if hub.member_key(identity).is_some() {
        return Ok(identity);
    }
    hub.note_turned_away(identity.site, "certificate void");
    // It may have been a member's when it began.
    peer.inspect(|peer| peer.cut_soon());
    Err(Status::permission_denied("this certificate is void: the city was cut off, or has joined anew"))
}
