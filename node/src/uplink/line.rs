//! Handing in what this epoch goes on from, to a hub that was restored from a backup older than that.
//!
//! The hub holds the epoch before up to some place, or not at all, and takes an epoch that goes on from another only where
//! that is whole. So the node speaks once more as the epoch before: it pushes the rest of it and does nothing else. What
//! the hub would deliver meanwhile waits for the session that follows.

use std::time::Duration;

use liandong_proto::entry::{Anchor, Head};
use liandong_proto::id::{Epoch, Origin};
use liandong_proto::pb::log::v1 as log;
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::session::node::{Input, NodeSession, Output, Standing};
use pb::diverged::Cause;
use pb::refusal::Code;
use pb::sync_client::SyncClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

use super::{UplinkError, refused_or_cut};
use crate::now::now_ms;
use crate::site::{PushReader, Site};

/// How often a session is asked for while the hub still ends the one before.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// One epoch of the line: as which origin, up to where, and what it goes on from itself.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Which.
    pub epoch: Epoch,
    /// Up to where it counts.
    pub end: Head,
    /// What it goes on from.
    pub anchor: Option<Anchor>,
}

impl Stretch {
    /// What a site that stands at `now` says it is when it speaks as this epoch.
    pub fn standing(&self, now: &Standing) -> Standing {
        let Stretch { epoch, end, anchor } = *self;
        let origin = Origin { site: now.origin.site, epoch };
        Standing { origin, head: end, anchor, receipt: Default::default(), ..now.clone() }
    }
}

/// Pushes the rest of the epochs before this one, oldest first, as far as the hub lacks them.
///
/// # Errors
/// [`UplinkError::Diverged`] where what the hub holds is not the line of this site.
pub(super) async fn hand_in(
    site: &Site,
    client: &mut SyncClient<Channel>,
    now: &Standing,
) -> Result<(), UplinkError> {
    let mut lacking = Vec::new();
    for stretch in line(&site.row()) {
        match push(site, client, now, &stretch).await {
            Ok(()) => break,
            // It lacks what that one goes on from as well.
            Err(UplinkError::Diverged(diverged))
                if diverged.cause() == Cause::Epoch && stretch.anchor.is_some() =>
            {
                lacking.push(stretch);
            }
            Err(error) => return Err(error),
        }
    }
    for stretch in lacking.iter().rev() {
        push(site, client, now, stretch).await?;
    }
    Ok(())
}

/// The epochs before the living one, newest first, each up to where the next goes on.
pub fn line(row: &log::SiteRow) -> Vec<Stretch> {
    let anchor_of = |epoch: &[u8]| {
        let opened = row.line.iter().find(|opened| opened.epoch == epoch)?;
        Anchor::from_pb(opened.anchor.as_ref()?)
    };
    let mut out: Vec<Stretch> = Vec::new();
    let mut next = anchor_of(&row.epoch);
    while let Some(Anchor { epoch, seq, hash }) = next.filter(|_| out.len() < 64) {
        next = anchor_of(&epoch.0);
        out.push(Stretch { epoch, end: Head { seq, hash }, anchor: next });
    }
    out
}

async fn push(
    site: &Site,
    client: &mut SyncClient<Channel>,
    now: &Standing,
    stretch: &Stretch,
) -> Result<(), UplinkError> {
    for _ in 1..TRIES {
        match push_once(site, client, now, stretch).await {
            Err(UplinkError::Refused(refusal)) if refusal.code() == Code::SiteBusy => {
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
    push_once(site, client, now, stretch).await
}

async fn push_once(
    site: &Site,
    client: &mut SyncClient<Channel>,
    now: &Standing,
    stretch: &Stretch,
) -> Result<(), UplinkError> {
    let Stretch { epoch, end, .. } = *stretch;
    let (mut session, outputs) = NodeSession::start(stretch.standing(now));
    let mut reader = PushReader::of(epoch, end);
    let (up, outbound) = mpsc::unbounded_channel();
    carry_out(site, &mut session, &mut reader, &up, outputs)?;
    let stream = UnboundedReceiverStream::new(outbound);
    let mut inbound = client.session(stream).await.map_err(refused_or_cut)?.into_inner();
    while session.held_by_hub() != Some(end) {
        let down = inbound.message().await.map_err(|status| UplinkError::Cut(Box::new(status)))?;
        let outputs = session.on(Input::Received(down.ok_or(UplinkError::Ended)?), now_ms());
        carry_out(site, &mut session, &mut reader, &up, outputs)?;
    }
    tracing::warn!(entries = end.seq, "the hub has got back what it lacked of an earlier epoch of this site");
    Ok(())
}

fn carry_out(
    site: &Site,
    session: &mut NodeSession,
    reader: &mut PushReader,
    up: &mpsc::UnboundedSender<pb::Up>,
    outputs: Vec<Output>,
) -> Result<(), UplinkError> {
    let mut queue: std::collections::VecDeque<Output> = outputs.into();
    while let Some(output) = queue.pop_front() {
        let input = match output {
            Output::Send(message) => {
                // A closed channel means that the stream has ended; its reader says why.
                let _ = up.send(message);
                continue;
            }
            Output::Read { after, max_bytes } => {
                let (entries, last) = reader.read(site, after, max_bytes as usize)?;
                Input::Read(entries, last)
            }
            Output::Heads(places) => Input::Heads(site.heads_of(reader.epoch(site), &places)?),
            Output::Diverged(diverged) => return Err(UplinkError::Diverged(diverged)),
            Output::Refused(refusal) => return Err(UplinkError::Refused(refusal)),
            // The session that follows sees to these.
            _ => continue,
        };
        queue.extend(session.on(input, now_ms()));
    }
    Ok(())
}

/// Notes what the hub's clock says when a session begins, and this machine's then: for whoever compares them.
pub fn hear_clock(site: &Site, input: &Input) {
    if let Input::Received(pb::Down { message: Some(pb::down::Message::Welcome(welcome)) }) = input {
        let clocks = (welcome.hub_time_ms, now_ms());
        site.set_link(|state| state.hub_clock = clocks);
    }
}
