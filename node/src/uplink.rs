//! The uplink: drives the node's half of a session over tonic. One match over its outputs.

mod compared;
pub mod line;
mod proofs;
mod singly;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use liandong_proto::pb::node::v1::Link;
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::session::node::{Input, NodeSession, Output};
use liandong_proto::session::{head_to_pb, refusal};
use liandong_proto::sign::VerifyingKey;
use pb::diverged::Cause;
use pb::refusal::Code;
use pb::sync_client::SyncClient;
use proofs::{Turn, prove};
use prost::Message as _;
use singly::Singly;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

use crate::now::{now_ms, random};
use crate::site::{Class, PushReader, Site, SiteError, digests};
use crate::trust::{self, Membership, limits};

/// How often it is looked whether the certificate should be renewed.
const RENEWAL: Duration = Duration::from_secs(3_600);
/// How often proofs of erasures are handed in, while there are any.
const PROOFS: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// This site is not a member of the federation yet; worth another look.
    #[error("this site has not joined the federation: ask the province for an invitation, then run `join`")]
    NotJoined,
    /// The certificate is over; a fresh invitation helps, and may come at any time.
    #[error("this site's certificate is over: ask the province for a fresh invitation, then run `join`")]
    Expired,
    /// Nobody has accepted what leaves this site by the rules in force.
    #[error(
        "nothing is sent before somebody has accepted what leaves this site: look at it with `outbound preview`, then run \
         `outbound accept`"
    )]
    NotAccepted,
    /// The hub cannot be reached; worth another try.
    #[error("the hub cannot be reached: {0}")]
    Unreachable(#[from] tonic::transport::Error),
    /// The stream broke; worth another try.
    #[error("the connection to the hub broke: {0}")]
    Cut(Box<tonic::Status>),
    /// The hub ended the stream; worth another try.
    #[error("the hub ended the session")]
    Ended,
    /// The hub has gone silent; worth another try.
    #[error(
        "the hub has said nothing for {0} seconds: it hangs or the line is down; look at its log, and try again"
    )]
    Silent(u64),
    /// Keys of this site have changed, or records were put right; the session begins anew.
    #[error("keys have changed or records were put right, the session begins anew")]
    Again,
    /// The hub's final no.
    #[error("the hub refused: {}", .0.en)]
    Refused(pb::Refusal),
    /// The logs have parted.
    #[error(
        "this node's log and what the hub holds of it have parted; sync has stopped, local work goes on. If this machine is to go on, run `takeover` here; if it was set up anew, use `restore` in place of `init`"
    )]
    Diverged(pb::Diverged),
    /// This site.
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl UplinkError {
    /// Whether trying again may help.
    fn is_passing(&self) -> bool {
        match self {
            UplinkError::NotJoined
            | UplinkError::Expired
            | UplinkError::NotAccepted
            | UplinkError::Unreachable(_)
            | UplinkError::Cut(_)
            | UplinkError::Silent(_)
            | UplinkError::Ended
            | UplinkError::Again => true,
            UplinkError::Refused(refusal) => {
                // Cut off is not for good: a fresh invitation may come at any time.
                // Nor is a hub that signs with a key of a backup: it may be put right, or joined anew.
                use Code::{Frozen, NoAgreement, NotAMember, Signature, SiteBusy, Unavailable};
                matches!(
                    refusal.code(),
                    SiteBusy | Unavailable | Frozen | NotAMember | NoAgreement | Signature
                )
            }
            // Space may be freed at any time.
            UplinkError::Site(error) => error.class() == Class::Full,
            UplinkError::Diverged(_) => false,
        }
    }
}

impl UplinkError {
    /// Whether the province has to do something before the next try can succeed.
    fn is_the_provinces(&self) -> bool {
        matches!(self, UplinkError::Refused(refusal) if matches!(refusal.code(), Code::NotAMember | Code::NoAgreement | Code::Signature))
    }
}

/// How the uplink tries.
#[derive(Clone, Debug)]
pub struct UplinkOptions {
    /// Host and port of the hub's sync port, where that is another than the one learned when joining.
    pub hub: Option<String>,
    /// The longest pause between two tries.
    pub retry_max: Duration,
}

/// Syncs with the hub until `stop`; tries again, with growing pauses, for as long as it must.
pub async fn run(site: Arc<Site>, options: UplinkOptions, mut stop: watch::Receiver<bool>) {
    let first_pause = Duration::from_millis(200).min(options.retry_max);
    let mut keys = site.keys_news();
    let turn = Arc::<Turn>::default();
    let mut pause = first_pause;
    loop {
        if *stop.borrow() {
            return;
        }
        let started = now_ms();
        let error = tokio::select! {
            ended = session(&site, options.hub.as_deref(), &turn) => ended,
            _ = stop.changed() => return,
        };
        report(&site, &error);
        if !error.is_passing() {
            // Nothing will change by itself; the operator's word starts the process anew.
            let _ = stop.changed().await;
            return;
        }
        if now_ms().saturating_sub(started) > 10_000 {
            pause = first_pause;
        }
        if error.is_the_provinces() {
            // People have to act first: nothing is gained by asking often.
            pause = options.retry_max;
        }
        if matches!(error, UplinkError::NotAccepted) {
            let mut accepted = site.outbound_accepted();
            tokio::select! {
                _ = accepted.wait_for(|yes| *yes) => continue,
                // Its certificate is renewed meanwhile.
                () = tokio::time::sleep(RENEWAL) => continue,
                _ = stop.changed() => return,
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => return,
            Ok(()) = keys.changed() => {}
        }
        pause = (pause * 2).min(options.retry_max);
    }
}

fn report(site: &Site, error: &UplinkError) {
    let (link, zh) = match error {
        UplinkError::NotJoined => {
            (Link::None, "本站点尚未加入：请向省协会索取邀请码，然后运行 join".to_owned())
        }
        UplinkError::Expired => {
            (Link::Offline, "证书已过期：请向省协会索取新的邀请码，再运行 join；本地工作不受影响".to_owned())
        }
        UplinkError::NotAccepted => {
            let zh = "还没有人确认哪些内容会离开本市，因此什么都不发送：请用 outbound preview 查看，再运行 outbound accept";
            (Link::Waiting, zh.to_owned())
        }
        UplinkError::Diverged(_) => {
            let zh = "本节点日志与省级枢纽所存已分叉：同步已停止，本地工作不受影响；要由这台机器继续，请在此运行 takeover；如果是新装的，请改用 restore";
            (Link::Diverged, zh.to_owned())
        }
        UplinkError::Refused(refusal) if error.is_passing() && !error.is_the_provinces() => {
            (Link::Offline, refusal.zh.clone())
        }
        UplinkError::Refused(refusal) => (Link::Refused, format!("省级枢纽拒绝：{}", refusal.zh)),
        UplinkError::Site(error) if error.class() == Class::Full => {
            (Link::Offline, format!("本机磁盘已满，同步暂停，腾出空间后自动继续：{error}"))
        }
        UplinkError::Site(error) => (Link::Refused, format!("本站点出错，同步已停止：{error}")),
        _ => (Link::Offline, "暂时无法连接省级枢纽；本地工作不受影响，恢复后自动同步".to_owned()),
    };
    match link {
        Link::Waiting => tracing::warn!(%error, "sync waits"),
        Link::Offline | Link::None => tracing::info!(%error, "offline; trying again"),
        _ => tracing::error!(%error, "sync has stopped"),
    }
    site.set_link(|state| {
        state.link = link;
        state.text = (zh, error.to_string());
    });
}

/// Connects as the member that the site is, with a fresh certificate when the one at hand is getting old.
async fn connect(site: &Arc<Site>, hub: Option<&str>) -> Result<(Channel, VerifyingKey), UplinkError> {
    let membership = Membership::load(site.paths())?.ok_or(UplinkError::NotJoined)?;
    if now_ms() >= membership.not_after_ms {
        return Err(UplinkError::Expired);
    }
    let is_accepted = *site.outbound_accepted().borrow();
    if !is_accepted && !membership.is_due(now_ms(), site.code()) {
        return Err(UplinkError::NotAccepted);
    }
    let hub_key = membership.hub_key()?;
    let address = hub.unwrap_or(&membership.hub).to_owned();
    let mut channel = trust::endpoint(&address, &membership)?.connect().await?;
    if membership.is_due(now_ms(), site.code()) {
        match trust::renew(channel.clone(), membership, site.paths()).await {
            Ok(renewed) => {
                tracing::info!(until_ms = renewed.not_after_ms, "the certificate is renewed");
                channel = trust::endpoint(&address, &renewed)?.connect().await?;
            }
            // There is time: the old one is good for another while.
            Err(error) => tracing::warn!(%error, "the certificate cannot be renewed now"),
        }
    }
    trust::run_errands(site, &channel).await?;
    if !is_accepted {
        return Err(UplinkError::NotAccepted);
    }
    Ok((channel, hub_key))
}

fn is_due(site: &Site) -> bool {
    // One that cannot be read is told when the next connection needs it.
    Membership::load(site.paths()).ok().flatten().is_some_and(|member| member.is_due(now_ms(), site.code()))
}

/// A hub that knows the certificate and does not take it has said no, by status in place of a message.
pub(crate) fn refused_or_cut(status: tonic::Status) -> UplinkError {
    if status.code() != tonic::Code::PermissionDenied {
        return UplinkError::Cut(Box::new(status));
    }
    UplinkError::Refused(refusal(
        Code::NotAMember,
        "本站点的证书已作废：可能已被停用，或已重新加入；本地工作不受影响，请向省协会索取新的邀请码",
        "this site's certificate is void: it was cut off, or has joined anew; local work goes on, ask the province for a \
         fresh invitation",
    ))
}

async fn session(site: &Arc<Site>, hub: Option<&str>, turn: &Arc<Turn>) -> UplinkError {
    match drive(site, hub, turn, false).await {
        // A hub from an old backup may lack the end of the epoch that this one goes on from.
        Err(UplinkError::Diverged(diverged))
            if diverged.cause() == Cause::Epoch && site.row().anchor.is_some() =>
        {
            drive(site, hub, turn, true).await.unwrap_or_else(|error| error)
        }
        ended => ended.unwrap_or_else(|error| error),
    }
}

/// With `hand_in` the hub gets first what it lacks of the epochs that this one goes on from.
async fn drive(
    site: &Arc<Site>,
    hub: Option<&str>,
    turn: &Arc<Turn>,
    hand_in: bool,
) -> Result<UplinkError, UplinkError> {
    let mut keys = site.keys_news();
    let (channel, hub_key) = connect(site, hub).await?;
    let mut client = SyncClient::new(channel.clone())
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let site_ = Arc::clone(site);
    let standing = blocking(move || site_.greet(random(), hub_key)).await?;
    if hand_in {
        line::hand_in(site, &mut client, &standing).await?;
    }
    let confirmed = site.row().confirmed_seq;
    let (session, outputs) = NodeSession::start(standing);
    let (up, outbound) = mpsc::unbounded_channel();
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut driver = Driver {
        site: Arc::clone(site),
        session,
        up,
        answers,
        reader: PushReader::default(),
        confirmed,
        sent: 0,
    };
    driver.carry_out(outputs).await?;
    let request = tonic::Request::new(Singly::new(UnboundedReceiverStream::new(outbound)));
    let mut inbound = client.session(request).await.map_err(refused_or_cut)?.into_inner();
    let mut durable = site.durable();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut renewal = tokio::time::interval(RENEWAL);
    renewal.tick().await;
    let mut proofs = tokio::time::interval(PROOFS);
    proofs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut proving: Option<tokio::task::JoinHandle<()>> = None;
    let newest = *durable.borrow_and_update();
    driver.on(Input::Appended(newest)).await?;
    loop {
        let input = tokio::select! {
            message = inbound.message() => match message {
                Ok(Some(down)) => {
                    site.wire.received.fetch_add(down.encoded_len() as u64, Ordering::Relaxed);
                    Input::Received(down)
                }
                Ok(None) => return Ok(UplinkError::Ended),
                Err(status) => return Ok(UplinkError::Cut(Box::new(status))),
            },
            Some(input) = answered.recv() => input?,
            Ok(()) = durable.changed() => {
                let newest = *durable.borrow_and_update();
                Input::Appended(newest)
            }
            _ = tick.tick() => Input::Tick,
            _ = proofs.tick() => {
                if proving.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                    proving = Some(tokio::spawn(prove(Arc::clone(site), channel.clone(), Arc::clone(turn))));
                }
                continue;
            }
            Ok(()) = keys.changed() => return Ok(UplinkError::Again),
            // A connection may outlive its certificate; the next one begins with a fresh one.
            _ = renewal.tick() => match is_due(site) {
                true => return Ok(UplinkError::Ended),
                false => {
                    // Beside the session, which goes on reading.
                    let (site, channel) = (Arc::clone(site), channel.clone());
                    tokio::spawn(async move { trust::look_after_keys(&site, &channel).await });
                    continue;
                }
            },
        };
        driver.on(input).await?;
    }
}

struct Driver {
    site: Arc<Site>,
    session: NodeSession,
    /// Unbounded, and yet never long: the windows of the protocol bound what is under way.
    up: mpsc::UnboundedSender<pb::Up>,
    answers: mpsc::UnboundedSender<Result<Input, UplinkError>>,
    reader: PushReader,
    /// What the site knows the hub to hold.
    confirmed: u64,
    /// Bytes of entries that this connection has carried.
    sent: u64,
}

impl Driver {
    async fn on(&mut self, input: Input) -> Result<(), UplinkError> {
        line::hear_clock(&self.site, &input);
        let outputs = self.session.on(input, now_ms());
        self.carry_out(outputs).await?;
        // A welcome says it as well as a receipt does, and outlives a receipt that a crash has lost.
        if let Some(held) =
            self.session.held_by_hub().filter(|held| held.seq != self.site.row().confirmed_seq)
        {
            let receipt = pb::Receipt { up_to: Some(head_to_pb(&held)), ..pb::Receipt::default() };
            self.site.confirmed(&receipt)?;
            self.confirmed = held.seq;
        }
        Ok(())
    }

    async fn carry_out(&mut self, outputs: Vec<Output>) -> Result<(), UplinkError> {
        let mut queue: std::collections::VecDeque<Output> = outputs.into();
        while let Some(output) = queue.pop_front() {
            match output {
                Output::Send(up) => {
                    self.site.wire.sent.fetch_add(up.encoded_len() as u64, Ordering::Relaxed);
                    // A closed channel means that the stream has ended; its reader says why.
                    let _ = self.up.send(up);
                }
                Output::Welcomed(generations) => {
                    let site = Arc::clone(&self.site);
                    blocking(move || site.welcomed(&generations)).await?;
                    self.site.set_link(|state| {
                        state.link = Link::Connected;
                        state.text = Default::default();
                        state.last_sync_ms = now_ms();
                    });
                }
                Output::HubKeys(keys) => self.pin(&keys)?,
                Output::Read { after, max_bytes } => {
                    let most = limits::stride(self.sent, max_bytes as usize);
                    let (entries, last) = self.reader.read(&self.site, after, most)?;
                    self.sent += entries.iter().map(|entry| entry.encoded_len() as u64).sum::<u64>();
                    queue.extend(self.session.on(Input::Read(entries, last), now_ms()));
                }
                Output::Heads(places) => {
                    let heads = self.site.heads(&places)?;
                    queue.extend(self.session.on(Input::Heads(heads), now_ms()));
                }
                Output::Confirmed(receipt) => {
                    self.site.confirmed(&receipt)?;
                    self.confirmed = receipt.up_to.as_ref().map_or(0, |head| head.seq);
                    self.site.set_link(|state| state.last_sync_ms = now_ms());
                }
                Output::Persist(deliver) => {
                    let site = Arc::clone(&self.site);
                    let cursor = blocking(move || site.receive(&deliver)).await?;
                    queue.extend(self.session.on(Input::Persisted(cursor), now_ms()));
                }
                Output::Digest(ask) => self.in_background(move |site| {
                    Ok(Input::Digest(digests(site.index(), &ask, |_, state| {
                        Some(Cow::Borrowed(&state.fields))
                    })?))
                }),
                Output::Compared(comparison) => self.compared(comparison).await?,
                Output::PersistOwn { .. } => {
                    // Only a session that asked for a restore gets here, and the uplink never asks.
                }
                Output::Diverged(diverged) => return Err(UplinkError::Diverged(diverged)),
                Output::Refused(refusal) => return Err(UplinkError::Refused(refusal)),
            }
        }
        Ok(())
    }

    /// Keys of the hub that followed the pinned one, durable before anything they sign is taken.
    fn pin(&self, keys: &[VerifyingKey]) -> Result<(), UplinkError> {
        let paths = self.site.paths();
        let mut membership = Membership::load(paths)?.ok_or(UplinkError::NotJoined)?;
        let before = membership.clone();
        membership.pin(keys);
        if !membership.store_after(&before, paths)? {
            return Err(UplinkError::Again);
        }
        let newest = keys.last().map(VerifyingKey::fingerprint).unwrap_or_default();
        tracing::warn!(
            hub_signing_key = newest,
            "the hub signs with a new key, which the one before vouches for"
        );
        Ok(())
    }

    /// Long work beside the session; its answer comes back as an input.
    fn in_background(&self, work: impl FnOnce(&Site) -> Result<Input, SiteError> + Send + 'static) {
        let (site, answers) = (Arc::clone(&self.site), self.answers.clone());
        tokio::task::spawn_blocking(move || {
            let _ = answers.send(work(&site).map_err(UplinkError::from));
        });
    }
}

/// Runs a blocking call of the site beside the runtime.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, SiteError> + Send + 'static,
) -> Result<T, UplinkError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => Ok(result?),
        Err(_) => Ok(Err(SiteError::Refused("the process is stopping".into()))?),
    }
}
