//! The two ports of the hub. The sync port drives the hub's half of a session with each member; who is at the other
//! end is said by its certificate alone. The enrolment port takes whoever connects, and serves nothing but joining.

mod connection;
mod gate;
mod pace;
mod refusals;
mod tls;
mod turn;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use liandong_node::audit::{Note, What};
use liandong_node::now::now_ms;
use liandong_node::site::{NAMED, SiteError};
use liandong_node::trust::limits;
use liandong_proto::id::{Origin, RecordId, SiteCode};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::pb::trust::v1::enrolment_server::EnrolmentServer;
use liandong_proto::pb::trust::v1::membership_server::MembershipServer;
use liandong_proto::position::Generations;
use liandong_proto::session::hub::{Admission, HubSession, Input, Output};
use liandong_proto::session::{LIMITS, generations_from_pb, refusal};
use pb::sync_server::{Sync, SyncServer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::ca::{CaError, Identity as CityIdentity};
use crate::enrol::{EnrolmentService, MembershipService, member};
use crate::hub::{Hub, locked};
use crate::queue::{Job, Knock, Pushed};
use gate::{Crowd, Gate, Members};
use turn::{Turn, Turns};

pub(crate) use connection::Peer;
pub(crate) use pace::Pace;

/// Why the hub cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port.
    #[error("cannot listen on {addr}: {source}; choose another port or stop what uses it")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The hub's certificate.
    #[error(transparent)]
    Certificate(#[from] CaError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The server.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
}

/// The bound ports.
#[derive(Debug)]
pub struct Listener {
    sync: TcpListener,
    enrolment: TcpListener,
    /// Where members sync: the port is known even when 0 was asked for.
    pub addr: SocketAddr,
    /// Where cities join.
    pub enrolment_addr: SocketAddr,
}

impl Listener {
    /// Binds both addresses.
    ///
    /// # Errors
    /// [`ListenError::Bind`].
    pub async fn bind(sync: SocketAddr, enrolment: SocketAddr) -> Result<Listener, ListenError> {
        let (sync, addr) = bind(sync).await?;
        let (enrolment, enrolment_addr) = bind(enrolment).await?;
        Ok(Listener { sync, enrolment, addr, enrolment_addr })
    }

    /// Serves cities until `shutdown`.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn serve(
        self,
        hub: Arc<Hub>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ListenError> {
        let (stop, stopping) = watch::channel(false);
        let shutdown = async move {
            shutdown.await;
            stop.send_replace(true);
        };
        *locked(&hub.shared.enrolment) = Some(self.enrolment_addr);
        let (chain, key) = hub.shared.ca.hub_identity(now_ms())?;
        let strangers = tls::acceptor(&chain, &key, None)?;
        let members = tls::acceptor(&chain, &key, Some(hub.shared.ca.der()))?;
        let mut ended = stopping.clone();
        let enrolment = bounded()
            .add_service(
                EnrolmentServer::new(EnrolmentService { hub: Arc::clone(&hub), sync_port: self.addr.port() })
                    .max_decoding_message_size(limits::ENROLMENT_BYTES)
                    .max_encoding_message_size(limits::ENROLMENT_BYTES),
            )
            .serve_with_incoming_shutdown(
                gate::incoming(self.enrolment, strangers, Gate::Enrolment(Crowd::new(limits::ENROLMENTS))),
                async move {
                    let _ = ended.wait_for(|stop| *stop).await;
                },
            );
        let gate = Gate::Sync(Members::new(Arc::clone(&hub)));
        let renewals = Pace::new(limits::RENEWALS_AT_ONCE, limits::RENEWAL_PAUSE);
        let key_changes = || Arc::new(Pace::new(limits::KEY_CHANGES_AT_ONCE, limits::KEY_CHANGE_PAUSE));
        let (rotations, key_rings) = (key_changes(), key_changes());
        let proving = Pace::new(limits::PROVING_AT_ONCE, limits::PROVING_PAUSE);
        let members_only =
            MembershipService { hub: Arc::clone(&hub), renewals, rotations, key_rings, proving };
        let membership = MembershipServer::new(members_only)
            .max_decoding_message_size(limits::PROOF_BYTES)
            .max_encoding_message_size(limits::PROOF_BYTES);
        let sync = SyncServer::new(Service::new(hub, stopping))
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES);
        let sync = bounded()
            .add_service(sync)
            .add_service(membership)
            .serve_with_incoming_shutdown(gate::incoming(self.sync, members, gate), shutdown);
        tokio::try_join!(sync, enrolment)?;
        Ok(())
    }
}

async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let failed = |source| ListenError::Bind { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

/// TLS is spoken before, at the gate.
fn bounded() -> Server {
    Server::builder()
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_frame_size(limits::FRAME_BYTES)
        .http2_keepalive_interval(Some(limits::KEEPALIVE))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(limits::HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(limits::RESETS))
        .http2_max_local_error_reset_streams(Some(limits::RESETS))
        .max_concurrent_streams(limits::STREAMS)
        .concurrency_limit_per_connection(limits::STREAMS as usize)
        .load_shed(true)
        .max_connection_age(limits::CONNECTION_AGE)
        .max_connection_age_grace(limits::CONNECTION_GRACE)
        .accept_http1(false)
}

struct Service {
    hub: Arc<Hub>,
    stopping: watch::Receiver<bool>,
    /// Each session is a record of the log.
    sessions: Pace,
    /// Each comparison may read the whole index.
    comparisons: Arc<Pace>,
    /// What reads the whole log or index, one for each city at a time.
    turns: Turns,
}

impl Service {
    fn new(hub: Arc<Hub>, stopping: watch::Receiver<bool>) -> Service {
        let sessions = Pace::new(limits::SESSIONS_AT_ONCE, limits::SESSION_PAUSE);
        let comparisons = Arc::new(Pace::new(limits::COMPARISONS_AT_ONCE, limits::COMPARISON_PAUSE));
        Service { hub, stopping, sessions, comparisons, turns: Turns::default() }
    }
}

/// Ends a session whose node should try again later.
pub(crate) fn unavailable() -> Input {
    Input::Stop(refusal(
        pb::refusal::Code::Unavailable,
        "省级枢纽正在停止或暂时不可用；稍后自动重试",
        "the hub is stopping or cannot work now; it will be tried again",
    ))
}

type DownStream = Pin<Box<dyn tokio_stream::Stream<Item = Down> + Send>>;

#[tonic::async_trait]
impl Sync for Service {
    type SessionStream = DownStream;

    async fn session(
        &self,
        request: Request<Streaming<pb::Up>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let identity = member(&self.hub, &request)?;
        let site = identity.site;
        if !self.sessions.allows(site, now_ms()) {
            return Err(Status::resource_exhausted(
                "this city begins too many sessions; try again in a minute",
            ));
        }
        let peer = request.extensions().get::<Peer>().cloned();
        let (down, outbound) = mpsc::channel(limits::UNREAD);
        let (inputs, inbox) = mpsc::unbounded_channel();
        let driver = Driver {
            hub: Arc::clone(&self.hub),
            site,
            identity,
            peer,
            session: HubSession::new(site, LIMITS),
            known: Arc::default(),
            down,
            inputs,
            comparisons: Arc::clone(&self.comparisons),
            turn: self.turns.of(site),
            parted: None,
            restore: None,
        };
        tokio::spawn(driver.run(request.into_inner(), inbox, self.stopping.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }
}

type Down = Result<pb::Down, Status>;

struct Driver {
    hub: Arc<Hub>,
    site: SiteCode,
    identity: CityIdentity,
    peer: Option<Peer>,
    session: HubSession,
    known: Arc<Generations>,
    /// Never waited for: the windows of the protocol bound what is under way to a node that reads, and one that does
    /// not is cut. A restore waits beside the session.
    down: mpsc::Sender<Down>,
    /// Unbounded, and yet never long: it is read at once, and each long answer is to a question of this session.
    inputs: mpsc::UnboundedSender<Input>,
    comparisons: Arc<Pace>,
    /// The city's turn at what reads much.
    turn: Turn,
    /// The answer to a site that has a session already, where that is another copy of it.
    parted: Option<Admission>,
    /// Parts of a restore, each read when the one before is on its way.
    restore: Option<mpsc::Receiver<Input>>,
}

/// The next part of a restore, once the node has taken all that was said before.
async fn next_part(down: &mpsc::Sender<Down>, parts: &mut Option<mpsc::Receiver<Input>>) -> Option<Input> {
    let Some(parts) = parts else { return std::future::pending().await };
    let _room = down.reserve_many(limits::UNREAD).await.ok()?;
    parts.recv().await
}

impl Driver {
    async fn run(
        mut self,
        mut inbound: Streaming<pb::Up>,
        mut inbox: mpsc::UnboundedReceiver<Input>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut registered = false;
        let mut needs_agreement = true;
        let mut look = tokio::time::interval(limits::LOOK_AGAIN);
        let greeting = tokio::time::sleep(limits::HANDSHAKE);
        tokio::pin!(greeting);
        loop {
            let input = tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(up)) => Input::Received(up),
                    Ok(None) => break,
                    Err(status) => {
                        tracing::info!(site = %self.site, %status, "session cut");
                        if let Some(no) = refusals::unreadable(&status) {
                            self.session_input(no);
                        }
                        break;
                    }
                },
                input = inbox.recv() => match input {
                    Some(input) => input,
                    None => break,
                },
                Some(part) = next_part(&self.down, &mut self.restore) => part,
                () = &mut greeting, if !registered => Input::Stop(refusal(
                    pb::refusal::Code::UnexpectedMessage,
                    "会话开始后迟迟没有问候",
                    "the session began without a hello in time",
                )),
                // A sender that is gone means stop as well.
                _ = stopping.wait_for(|stop| *stop) => unavailable(),
                // Whoever has nothing to say is looked at as well; another read of the feed does no harm.
                _ = look.tick() => Input::FeedMoved,
            };
            // Whoever is cut off is cut off with its next message, whatever else goes wrong. A hello is answered by
            // the registry.
            if let Some(why) = self.hub.cut_off(self.identity, registered && needs_agreement) {
                let is_void = why.code() == pb::refusal::Code::NotAMember;
                self.session_input(Input::Stop(why));
                self.peer.iter().filter(|_| is_void).for_each(Peer::cut_soon);
                break;
            }
            if !registered
                && let Input::Received(pb::Up { message: Some(pb::up::Message::Hello(hello)) }) = &input
            {
                needs_agreement = !hello.restore;
            }
            if let Input::Received(pb::Up { message: Some(pb::up::Message::Hello(hello)) }) = &input
                && !registered
            {
                registered = self.register();
                // A copy that runs beside the original need not wait until that stops to be told.
                self.parted = if registered { None } else { self.parted(hello) };
                if !registered && self.parted.is_none() {
                    let busy = refusal(
                        pb::refusal::Code::SiteBusy,
                        "该站点已有一个会话；请确认没有在另一台机器上启动",
                        "this site already has a session; make sure that it does not run on another machine",
                    );
                    self.hub.note_busy(self.site);
                    self.session_input(Input::Stop(busy));
                    break;
                }
            }
            if !self.session_input(input) {
                break;
            }
        }
        if registered {
            locked(&self.hub.shared.cities).entry(self.site).or_default().seen_at_ms = now_ms();
            let mut sessions = locked(&self.hub.shared.sessions);
            // Only its own place: a newer session may stand there by now.
            if sessions.get(&self.site).is_some_and(|session| session.same_channel(&self.inputs)) {
                sessions.remove(&self.site);
            }
        }
    }

    /// Whether the log that a hello tells of has parted from the hub's, as far as is visible.
    fn parted(&self, hello: &pb::Hello) -> Option<Admission> {
        let admission =
            self.hub.read(|now| now.registry.admit(self.identity, hello, &now.generations, now_ms()));
        admission.err().map(|admission| *admission).filter(|it| matches!(it, Admission::Diverged(_)))
    }

    /// Takes the site's one place; false when it is taken.
    fn register(&self) -> bool {
        let mut sessions = locked(&self.hub.shared.sessions);
        if sessions.get(&self.site).is_some_and(|session| !session.is_closed()) {
            return false;
        }
        sessions.insert(self.site, self.inputs.clone());
        true
    }

    /// False when the session is over.
    fn session_input(&mut self, input: Input) -> bool {
        let mut goes_on = true;
        let admitted = matches!(input, Input::Admitted(Admission::Welcome { .. }));
        if let Input::Admitted(admission) = &input {
            self.hub.note_admission(self.site, admission);
        }
        for output in self.session.on(input) {
            match output {
                // A closed channel means that the node has gone; its reader says so.
                Output::Send(down) => {
                    if let Err(mpsc::error::TrySendError::Full(_)) = self.down.try_send(Ok(down)) {
                        tracing::warn!(site = %self.site, "a session is cut: the node does not read what it asks for");
                        self.peer.iter().for_each(Peer::cut);
                        goes_on = false;
                    }
                }
                Output::Admit(hello) => self.admit(hello),
                Output::Intake { entries, signed } => {
                    let Some((origin, signing_key)) = self.session.origin().zip(self.session.signing_key())
                    else {
                        continue;
                    };
                    let known = Arc::clone(&self.known);
                    self.hub.shared.queue.put(Job::Pushed(Pushed {
                        origin,
                        identity: self.identity,
                        known,
                        entries,
                        signed,
                        signing_key,
                    }));
                }
                Output::ReadFeed { after, max_bytes } => self.in_background(move |hub, origin| {
                    hub.read_feed(origin, after, max_bytes as usize).map(Input::Feed)
                }),
                Output::Applied(place) => {
                    locked(&self.hub.shared.cities).entry(self.site).or_default().applied = place;
                }
                Output::Locate(heads) => {
                    self.in_turn(move |hub, origin| Ok(Input::Located(hub.locate(origin, &heads)?)))
                }
                // Too soon: it may ask again.
                Output::Compare(_) if !self.comparisons.allows(self.site, now_ms()) => {
                    let _ = self.inputs.send(Input::Compared(None));
                }
                Output::Compare(ask) => {
                    self.in_turn(move |hub, origin| Ok(Input::Compared(hub.digests(origin, &ask)?)))
                }
                Output::Restore { after_seq } => self.restore(after_seq),
                Output::Verdict(verdict) => {
                    if let Err(differing) = &verdict {
                        self.name_differing(differing);
                    }
                    let mut cities = locked(&self.hub.shared.cities);
                    let city = cities.entry(self.site).or_default();
                    city.comparison = if verdict.is_ok() { 1 } else { 2 };
                    city.compared_at_ms = now_ms();
                }
                Output::Close => goes_on = false,
            }
        }
        if admitted && goes_on {
            locked(&self.hub.shared.cities).entry(self.site).or_default().applied = self.session.applied();
        }
        goes_on
    }

    fn admit(&mut self, hello: pb::Hello) {
        if let Some(parted) = self.parted.take() {
            let _ = self.inputs.send(Input::Admitted(parted));
            return;
        }
        self.known = Arc::new(generations_from_pb(&hello.generations));
        let inputs = self.inputs.clone();
        let answer = Box::new(move |admission| {
            let _ = inputs.send(Input::Admitted(admission));
        });
        self.hub.shared.queue.put(Job::Knock(Knock { identity: self.identity, hello, answer }));
    }

    /// Reads beside the session; the answer comes back as an input.
    fn in_background(&self, work: impl FnOnce(&Hub, Origin) -> Result<Input, SiteError> + Send + 'static) {
        let Some(origin) = self.session.origin() else { return };
        let (hub, inputs) = (Arc::clone(&self.hub), self.inputs.clone());
        tokio::task::spawn_blocking(move || {
            let input = work(&hub, origin).unwrap_or_else(|error| refusals::cannot_read(origin.site, &error));
            let _ = inputs.send(input);
        });
    }

    /// As [`Driver::in_background`], for what reads much: once all that a city has asked for before, in whatever session,
    /// is done. Not begun for a session that has ended.
    fn in_turn(&self, work: impl FnOnce(&Hub, Origin) -> Result<Input, SiteError> + Send + 'static) {
        let inputs = self.inputs.clone();
        self.wait_turn(move |hub, origin| {
            let input = work(hub, origin).unwrap_or_else(|error| refusals::cannot_read(origin.site, &error));
            let _ = inputs.send(input);
        });
    }

    fn wait_turn(&self, work: impl FnOnce(&Hub, Origin) + Send + 'static) {
        let Some(origin) = self.session.origin() else { return };
        let hub = Arc::clone(&self.hub);
        self.turn.take(&self.inputs, move || work(&hub, origin));
    }

    fn name_differing(&self, differing: &[(u32, Bytes)]) {
        for (kind, record) in differing.iter().take(NAMED) {
            let record = RecordId::from_slice(record).unwrap_or_default();
            tracing::error!(site = %self.site, kind, %record, "city and hub show this record differently");
        }
        if differing.len() > NAMED {
            let records = differing.len();
            tracing::error!(site = %self.site, records, "city and hub show so many records differently");
        }
    }

    fn restore(&mut self, after_seq: u64) {
        let (parts, receiver) = mpsc::channel(1);
        self.restore = Some(receiver);
        self.hub.shared.audit.note_behind(Note::city(What::Fetched, self.site));
        self.wait_turn(move |hub, origin| {
            let read = hub.own_line(origin, after_seq, |entries, last| {
                parts.blocking_send(Input::Restore(entries, last)).is_ok()
            });
            if let Err(error) = read {
                let _ = parts.blocking_send(refusals::cannot_read(origin.site, &error));
            }
        });
    }
}
