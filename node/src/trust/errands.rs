//! What a member does before each of its sessions: it tells the hub of keys that wait for its word, and fetches those
//! that the hub keeps for it. None of it stands in the way of a session but a rotation whose answer was lost.

use std::sync::Arc;

use bytes::Bytes;
use liandong_proto::pb::trust::v1 as pb;
use pb::membership_client::MembershipClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::limits;
use crate::site::{Site, SiteError};
use crate::uplink::UplinkError;

fn cut(status: Status) -> UplinkError {
    UplinkError::Cut(Box::new(status))
}

/// A request that does not wait for ever.
fn bounded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limits::ERRAND);
    request
}

/// Whether the hub has said no, rather than nothing.
fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::Unimplemented | Code::FailedPrecondition)
}

/// Runs them.
///
/// # Errors
/// [`UplinkError`] when it is not known what the hub has made of a rotation: the session waits until it is.
pub async fn run(site: &Arc<Site>, channel: &Channel) -> Result<(), UplinkError> {
    signing(site, &mut MembershipClient::new(channel.clone())).await?;
    look_after_keys(site, channel).await;
    Ok(())
}

/// Those that a session does not stand in the way of; what does not work now is tried again later.
pub async fn look_after_keys(site: &Arc<Site>, channel: &Channel) {
    if let Err(error) = city(site, &mut MembershipClient::new(channel.clone())).await {
        tracing::warn!(%error, "the keys that the hub keeps for this site could not be looked after");
    }
}

async fn signing(site: &Arc<Site>, hub: &mut MembershipClient<Channel>) -> Result<(), UplinkError> {
    let Some(rotation) = site.rotation()? else { return Ok(()) };
    match hub.rotate_signing_key(bounded(pb::RotateSigningKeyRequest { rotation: Some(rotation) })).await {
        Ok(_) => Ok(site.take_next_signing_key()?),
        Err(status) if is_refusal(&status) => {
            tracing::error!(
                why = status.message(),
                "the hub does not take the next signing key; the old one stays"
            );
            Ok(())
        }
        Err(status) => Err(cut(status)),
    }
}

async fn city(site: &Arc<Site>, hub: &mut MembershipClient<Channel>) -> Result<(), UplinkError> {
    if let Some(key_ring) = site.next_ring()? {
        hub.deposit_key_ring(bounded(pb::DepositKeyRingRequest { key_ring })).await.map_err(cut)?;
        take_city_key(site).await?;
    }
    let kept = hub.keys(bounded(pb::KeysRequest {})).await.map_err(cut)?.into_inner();
    for file in kept.linking_keys {
        linking(site, file).await;
    }
    if let Some(key_ring) = site.ring_instead_of(&kept.key_ring)? {
        hub.deposit_key_ring(bounded(pb::DepositKeyRingRequest { key_ring })).await.map_err(cut)?;
    }
    Ok(())
}

/// One that does not open says so each time: the secretariat has to wrap it again.
async fn linking(site: &Arc<Site>, file: Bytes) {
    let site = Arc::clone(site);
    let taken = tokio::task::spawn_blocking(move || site.take_linking_key(&file)).await;
    if let Ok(Err(error)) = taken {
        tracing::error!(%error, "the linking key that the hub relays cannot be used");
    }
}

/// Waits for the writer: beside the runtime.
async fn take_city_key(site: &Arc<Site>) -> Result<(), SiteError> {
    let site = Arc::clone(site);
    let taken = tokio::task::spawn_blocking(move || site.take_next_city_key()).await;
    taken.unwrap_or_else(|_| Err(SiteError::Refused("the process is stopping".into())))
}
