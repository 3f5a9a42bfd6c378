//! Fetching a site's own entries from the hub, for one that has lost its log or part of it: a session that asks for them and does nothing else.

use std::time::Duration;

use liandong_proto::entry::{Anchor, Entry, Head};
use liandong_proto::id::{Epoch, Origin};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::pb::trust::v1::membership_client::MembershipClient;
use liandong_proto::pb::trust::v1::{HeldLog, KeysRequest, KeysResponse};
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::node::{Input, NodeSession, Output, Standing};
use pb::sync_client::SyncClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::now::{now_ms, random};
use crate::site::{Paths, SiteError};
use crate::trust::{self, Membership, limits};
use crate::uplink::{UplinkError, refused_or_cut};

/// The epoch and the newest entry of what the hub holds, and where the epoch goes on from another.
///
/// # Errors
/// [`SiteError::Corrupt`] for an answer of another shape.
pub fn held_of(held: &HeldLog) -> Result<(Epoch, Head, Option<Anchor>), SiteError> {
    let wrong = || SiteError::corrupt("the hub's answer", "what it holds of this site cannot be read");
    let hash = if held.seq == 0 { [0; 32] } else { held.hash.as_ref().try_into().map_err(|_| wrong())? };
    let anchor = held.anchor.as_ref().map(|anchor| Anchor::from_pb(anchor).ok_or_else(wrong)).transpose()?;
    Ok((Epoch::from_slice(&held.epoch).ok_or_else(wrong)?, Head { seq: held.seq, hash }, anchor))
}

/// What the hub keeps for a member, and what it holds of its log.
///
/// # Errors
/// [`UplinkError`].
pub async fn kept(membership: &Membership) -> Result<KeysResponse, UplinkError> {
    let channel = trust::endpoint(&membership.hub, membership)?.connect().await?;
    let mut request = tonic::Request::new(KeysRequest {});
    request.set_timeout(limits::ERRAND);
    Ok(MembershipClient::new(channel).keys(request).await.map_err(refused_or_cut)?.into_inner())
}

/// Asks the hub for the entries of an origin behind a head, and of the epochs before it; `take` gets them as they come.
///
/// # Errors
/// [`UplinkError`]; what has come so far is of no use then, and is fetched again.
pub async fn fetch(
    (origin, after): (Origin, Head),
    membership: &Membership,
    paths: &Paths,
    take: impl FnMut(&[Entry]) -> Result<(), SiteError>,
) -> Result<(), UplinkError> {
    fetch_within(limits::RESTORE_SILENCE, (origin, after), membership, paths, take).await
}

async fn fetch_within(
    silence: Duration,
    (origin, head): (Origin, Head),
    membership: &Membership,
    paths: &Paths,
    mut take: impl FnMut(&[Entry]) -> Result<(), SiteError>,
) -> Result<(), UplinkError> {
    let channel = trust::endpoint(&membership.hub, membership)?.connect().await?;
    let mut client = SyncClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let (mut session, outputs) = NodeSession::start(Standing {
        origin,
        nonces: vec![random::<16>().to_vec().into()],
        head,
        cursor: Position::default(),
        generations: Generations::default(),
        restore: true,
        anchor: None,
        receipt: Default::default(),
        signer: paths.signing()?,
        hub_key: membership.hub_key()?,
    });
    let (up, outbound) = mpsc::unbounded_channel();
    let cut = |status| UplinkError::Cut(Box::new(status));
    let mut waiting = outputs;
    // The first message has to be on its way before the hub answers the call.
    send_all(&up, &mut waiting);
    let begun = client.session(UnboundedReceiverStream::new(outbound));
    let mut inbound = heard(silence, begun).await?.map_err(cut)?.into_inner();
    loop {
        let down = heard(silence, inbound.message()).await?.map_err(cut)?.ok_or(UplinkError::Ended)?;
        let mut outputs = session.on(Input::Received(down), now_ms());
        send_all(&up, &mut outputs);
        for output in outputs {
            match output {
                Output::PersistOwn { entries, last } => {
                    // An empty part says that the hub reads on.
                    if !entries.is_empty() {
                        take(&entries)?;
                    }
                    if last {
                        return Ok(());
                    }
                }
                Output::Refused(refusal) => return Err(UplinkError::Refused(refusal)),
                Output::Diverged(diverged) => return Err(UplinkError::Diverged(diverged)),
                _ => {}
            }
        }
    }
}

/// What the hub says, unless it says nothing for too long: one that reads its log says so now and then.
async fn heard<T>(silence: Duration, said: impl Future<Output = T>) -> Result<T, UplinkError> {
    tokio::time::timeout(silence, said).await.map_err(|_| UplinkError::Silent(silence.as_secs()))
}

fn send_all(up: &mpsc::UnboundedSender<pb::Up>, outputs: &mut Vec<Output>) {
    for output in outputs.extract_if(.., |output| matches!(output, Output::Send(_))) {
        if let Output::Send(message) = output {
            // A closed channel means that the stream has ended; its reader says why.
            let _ = up.send(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use liandong_proto::sign::SigningKey;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::site::Site;
    use crate::trust::HUB_NAME;
    use liandong_proto::id::SiteCode;

    const SITE: SiteCode = SiteCode(440_100);

    /// A hub that hangs: TLS stands, and nothing is ever said. The address, and the membership that it gave.
    async fn hanging() -> Membership {
        let key = || KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = key();
        let root = authority.self_signed(&root_key).expect("made").pem();
        let issuer = Issuer::new(authority, root_key);
        let signed = |name: &str, usage, key: &KeyPair| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            params.extended_key_usages = vec![usage];
            params.signed_by(key, &issuer).expect("signed")
        };
        let (hub, city) = (key(), key());
        let chain = vec![signed(HUB_NAME, ExtendedKeyUsagePurpose::ServerAuth, &hub).der().clone()];
        let hub = PrivateKeyDer::from_pem_slice(hub.serialize_pem().as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_no_client_auth();
        let mut config = builder.with_single_cert(chain, hub).expect("a chain");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = acceptor.accept(stream).await.expect("TLS");
            while stream.read_u8().await.is_ok() {}
        });
        let mut membership = Membership::new(address, SigningKey::new(&[5; 32]).verifying(), root);
        membership.certificate = signed("city", ExtendedKeyUsagePurpose::ClientAuth, &city).pem();
        membership.private_key = city.serialize_pem();
        membership
    }

    #[tokio::test]
    async fn a_hub_that_hangs_is_waited_for_until_its_time_is_over() {
        let dir = tempfile::tempdir().expect("a directory");
        Site::init(dir.path(), SITE).expect("a site is made");
        let (member, paths) = (hanging().await, Paths::new(dir.path()));
        let silence = Duration::from_millis(300);
        let origin = Origin { site: SITE, epoch: Epoch([1; 16]) };
        let fetched = fetch_within(silence, (origin, Head::default()), &member, &paths, |_| Ok(()));
        let fetched = tokio::time::timeout(Duration::from_secs(60), fetched).await.expect("it gives up");
        assert!(matches!(fetched, Err(UplinkError::Silent(_))), "{fetched:?}");
    }
}
