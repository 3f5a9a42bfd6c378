//! Fetching a lost site's own entries from the hub: a session that asks for them and does nothing else.

use std::time::Duration;

use liandong_proto::entry::Head;
use liandong_proto::id::{Epoch, Origin, SiteCode};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::pb::trust::v1::HeldLog;
use liandong_proto::position::{Generations, Position};
use liandong_proto::session::node::{Input, NodeSession, Output, Standing};
use pb::sync_client::SyncClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::now::{now_ms, random};
use crate::site::{Paths, Restoring, SiteError};
use crate::trust::{self, Membership, limits};
use crate::uplink::UplinkError;

/// The epoch and the newest entry of what the hub holds.
///
/// # Errors
/// [`SiteError::Corrupt`] for an answer of another shape.
pub fn held_of(held: &HeldLog) -> Result<(Epoch, Head), SiteError> {
    let wrong = || SiteError::corrupt("the hub's answer", "what it holds of this site cannot be read");
    let hash = if held.seq == 0 { [0; 32] } else { held.hash.as_ref().try_into().map_err(|_| wrong())? };
    Ok((Epoch::from_slice(&held.epoch).ok_or_else(wrong)?, Head { seq: held.seq, hash }))
}

/// Writes all that the hub holds of a site into the one that is being made again. `on` hears how many have come.
///
/// # Errors
/// [`UplinkError`]; what has come so far is of no use then, and is fetched again.
pub async fn fetch(
    restoring: &mut Restoring,
    site: SiteCode,
    epoch: Epoch,
    membership: &Membership,
    paths: &Paths,
    on: impl FnMut(u64),
) -> Result<(), UplinkError> {
    fetch_within(limits::RESTORE_SILENCE, restoring, site, epoch, membership, paths, on).await
}

async fn fetch_within(
    silence: Duration,
    restoring: &mut Restoring,
    site: SiteCode,
    epoch: Epoch,
    membership: &Membership,
    paths: &Paths,
    mut on: impl FnMut(u64),
) -> Result<(), UplinkError> {
    let channel = trust::endpoint(&membership.hub, membership)?.connect().await?;
    let mut client = SyncClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let (mut session, outputs) = NodeSession::start(Standing {
        origin: Origin { site, epoch },
        nonces: vec![random::<16>().to_vec().into()],
        head: Head::default(),
        cursor: Position::default(),
        generations: Generations::default(),
        restore: true,
        anchor: None,
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
                        restoring.append(&entries)?;
                        on(restoring.entries());
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
