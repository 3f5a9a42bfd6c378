//! The two ports of the hub. The sync port drives the hub's half of a session with each member; who is at the other
//! end is said by its certificate alone. The enrolment port takes whoever connects, and serves nothing but joining.

mod bounded;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use liandong_node::now::now_ms;
use liandong_node::site::SiteError;
use liandong_node::trust::limits;
use liandong_proto::entry::{Entry, Head};
use liandong_proto::id::{Origin, SiteCode};
use liandong_proto::pb::sync::v1 as pb;
use liandong_proto::pb::trust::v1::enrolment_server::EnrolmentServer;
use liandong_proto::pb::trust::v1::membership_server::MembershipServer;
use liandong_proto::position::Generations;
use liandong_proto::session::hub::{HubSession, Input, Output};
use liandong_proto::session::{LIMITS, generations_from_pb, refusal};
use pb::sync_server::{Sync, SyncServer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::ca::{CaError, Identity as CityIdentity};
use crate::enrol::{EnrolmentService, MembershipService, member};
use crate::hub::{Hub, locked};
use crate::queue::{Job, Knock, Pushed};
use crate::registry::not_a_member;

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
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(chain, key)).timeout(limits::HANDSHAKE);
        let members = tls.clone().client_ca_root(Certificate::from_pem(hub.shared.ca.pem()));
        let mut ended = stopping.clone();
        let enrolment = bounded(tls)?
            .add_service(
                EnrolmentServer::new(EnrolmentService { hub: Arc::clone(&hub), sync_port: self.addr.port() })
                    .max_decoding_message_size(limits::ENROLMENT_BYTES)
                    .max_encoding_message_size(limits::ENROLMENT_BYTES),
            )
            .serve_with_incoming_shutdown(
                bounded::incoming(self.enrolment, limits::ENROLMENTS, Some(limits::ENROLMENT_AGE)),
                async move {
                    let _ = ended.wait_for(|stop| *stop).await;
                },
            );
        let membership = MembershipServer::new(MembershipService { hub: Arc::clone(&hub) })
            .max_decoding_message_size(limits::ENROLMENT_BYTES);
        let sync = SyncServer::new(Service { hub, stopping })
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES);
        let sync = bounded(members)?
            .add_service(sync)
            .add_service(membership)
            .serve_with_incoming_shutdown(bounded::incoming(self.sync, limits::CONNECTIONS, None), shutdown);
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

fn bounded(tls: ServerTlsConfig) -> Result<Server, tonic::transport::Error> {
    Server::builder()
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(limits::KEEPALIVE))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(limits::HEADER_BYTES)
        .max_concurrent_streams(limits::STREAMS)
        .concurrency_limit_per_connection(limits::STREAMS as usize)
        .tcp_nodelay(true)
        .tls_config(tls)
}

struct Service {
    hub: Arc<Hub>,
    stopping: watch::Receiver<bool>,
}

/// Ends a session whose node should try again later.
pub(crate) fn unavailable() -> Input {
    Input::Stop(refusal(
        pb::refusal::Code::Unavailable,
        "省级枢纽正在停止或暂时不可用；稍后自动重试",
        "the hub is stopping or cannot work now; it will be tried again",
    ))
}

type DownStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<pb::Down, Status>> + Send>>;

#[tonic::async_trait]
impl Sync for Service {
    type SessionStream = DownStream;

    async fn session(
        &self,
        request: Request<Streaming<pb::Up>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let identity = member(&self.hub, &request)?;
        let site = identity.site;
        let (down, outbound) = mpsc::unbounded_channel();
        let (inputs, inbox) = mpsc::unbounded_channel();
        let driver = Driver {
            hub: Arc::clone(&self.hub),
            site,
            identity,
            session: HubSession::new(site, LIMITS),
            known: Arc::default(),
            down,
            inputs,
        };
        tokio::spawn(driver.run(request.into_inner(), inbox, self.stopping.clone()));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outbound))))
    }
}

struct Driver {
    hub: Arc<Hub>,
    site: SiteCode,
    identity: CityIdentity,
    session: HubSession,
    known: Arc<Generations>,
    /// Unbounded, and yet never long: the windows of the protocol bound what is under way.
    down: mpsc::UnboundedSender<Result<pb::Down, Status>>,
    inputs: mpsc::UnboundedSender<Input>,
}

impl Driver {
    async fn run(
        mut self,
        mut inbound: Streaming<pb::Up>,
        mut inbox: mpsc::UnboundedReceiver<Input>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut registered = false;
        loop {
            let input = tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(up)) => Input::Received(up),
                    Ok(None) => break,
                    Err(status) => {
                        tracing::info!(site = %self.site, %status, "session cut");
                        break;
                    }
                },
                input = inbox.recv() => match input {
                    Some(input) => input,
                    None => break,
                },
                // A sender that is gone means stop as well.
                _ = stopping.wait_for(|stop| *stop) => unavailable(),
            };
            // Whoever is cut off is cut off with its next message, whatever else goes wrong.
            if self.hub.member_key(self.identity).is_none() {
                self.session_input(Input::Stop(not_a_member()));
                break;
            }
            if matches!(&input, Input::Received(up) if matches!(up.message, Some(pb::up::Message::Hello(_))))
                && !registered
            {
                if !self.register() {
                    let busy = refusal(
                        pb::refusal::Code::SiteBusy,
                        "该站点已有一个会话；请确认没有在另一台机器上启动",
                        "this site already has a session; make sure that it does not run on another machine",
                    );
                    self.session_input(Input::Stop(busy));
                    break;
                }
                registered = true;
            }
            if !self.session_input(input) {
                break;
            }
        }
        if registered {
            let mut sessions = locked(&self.hub.shared.sessions);
            // Only its own place: a newer session may stand there by now.
            if sessions.get(&self.site).is_some_and(|session| session.same_channel(&self.inputs)) {
                sessions.remove(&self.site);
            }
        }
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
        let admitted = matches!(input, Input::Admitted(_));
        for output in self.session.on(input) {
            match output {
                Output::Send(down) => {
                    // A closed channel means that the node has gone; its reader says so.
                    let _ = self.down.send(Ok(down));
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
                    self.in_background(move |hub, origin| Ok(Input::Located(hub.locate(origin, &heads)?)))
                }
                Output::Compare(ask) => {
                    self.in_background(move |hub, origin| Ok(Input::Compared(hub.digests(origin, &ask)?)))
                }
                Output::Restore { after_seq } => self.restore(after_seq),
                Output::Verdict(verdict) => {
                    if let Err(records) = &verdict {
                        tracing::error!(site = %self.site, records, "city and hub show records differently");
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
            let input = work(&hub, origin).unwrap_or_else(|error| {
                tracing::error!(%error, site = %origin.site, "cannot read for a session");
                Input::Stop(refusal(
                    pb::refusal::Code::Unavailable,
                    "省级枢纽暂时无法读取数据；稍后自动重试",
                    "the hub cannot read its data now; it will be tried again",
                ))
            });
            let _ = inputs.send(input);
        });
    }

    fn restore(&self, after_seq: u64) {
        const BATCH_BYTES: usize = 1 << 20;
        let Some(origin) = self.session.origin() else { return };
        let (hub, inputs) = (Arc::clone(&self.hub), self.inputs.clone());
        tokio::task::spawn_blocking(move || {
            let mut batch: Vec<Entry> = Vec::new();
            let mut bytes = 0;
            let read = hub.own_line(origin, |head: Head, entry| {
                if head.seq > after_seq {
                    bytes += entry.header.len() + entry.open.len() + entry.sealed.len();
                    batch.push(entry);
                    if bytes >= BATCH_BYTES {
                        bytes = 0;
                        let _ = inputs.send(Input::Restore(std::mem::take(&mut batch), false));
                    }
                }
            });
            match read {
                Ok(()) => drop(inputs.send(Input::Restore(batch, true))),
                Err(error) => {
                    tracing::error!(%error, "cannot read the log for a restore");
                    let _ = inputs.send(unavailable());
                }
            }
        });
    }
}
