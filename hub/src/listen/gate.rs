//! Who gets as far as a connection: TLS, and a place for each. Whoever is nobody, or not yet anybody, never takes the
//! place of a member, and a member takes its own places only.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use liandong_node::now::now_ms;
use liandong_node::trust::limits;
use liandong_proto::id::SiteCode;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::connection::{Connection, Peer};
use super::pace::Pace;
use crate::ca::Identity;
use crate::hub::{Hub, locked};

/// A pause after an error of the system that comes again at once, such as too many open files.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Connections that nobody vouches for, such as those of strangers and of void certificates. Past a number the oldest
/// gives way: whoever has something to say has said it by then.
pub struct Crowd {
    most: usize,
    open: Mutex<VecDeque<Peer>>,
}

impl Crowd {
    /// One with room for `most`.
    pub fn new(most: usize) -> Crowd {
        Crowd { most, open: Mutex::default() }
    }

    fn enter(&self, peer: &Peer) {
        let mut open = locked(&self.open);
        open.retain(|peer| !peer.is_gone());
        while open.len() >= self.most
            && let Some(oldest) = open.pop_front()
        {
            oldest.cut();
        }
        open.push_back(peer.clone());
    }
}

/// Those who come to the sync port: each city has places of its own.
pub struct Members {
    hub: Arc<Hub>,
    cities: Mutex<HashMap<SiteCode, Arc<Semaphore>>>,
    void: Crowd,
    begun: Pace,
}

impl Members {
    /// The members of a hub.
    pub fn new(hub: Arc<Hub>) -> Members {
        let begun = Pace::new(limits::CONNECTIONS_AT_ONCE, limits::CONNECTION_PAUSE);
        Members { hub, cities: Mutex::default(), void: Crowd::new(limits::VOID_CONNECTIONS), begun }
    }

    fn places(&self, site: SiteCode) -> Arc<Semaphore> {
        let places = || Arc::new(Semaphore::new(limits::CITY_CONNECTIONS));
        Arc::clone(locked(&self.cities).entry(site).or_insert_with(places))
    }
}

/// Which port it is.
pub enum Gate {
    /// Where members sync.
    Sync(Members),
    /// Where whoever wants to joins.
    Enrolment(Crowd),
}

impl Gate {
    async fn admit(&self, stream: TlsStream<TcpStream>) -> Option<Connection<TlsStream<TcpStream>>> {
        let members = match self {
            Gate::Sync(members) => members,
            Gate::Enrolment(crowd) => {
                let peer = Peer::new(None);
                let connection = Connection::new(stream, peer.clone(), None, Some(limits::ENROLMENT_AGE));
                crowd.enter(&peer);
                return Some(connection);
            }
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let identity = certificates.and_then(|chain| Identity::of(chain.first()?))?;
        let peer = Peer::new(Some(identity));
        if members.hub.member_key(identity).is_none() {
            // Long enough to be told so, by the answer to its first request.
            let connection = Connection::new(stream, peer.clone(), None, Some(limits::VOID_AGE));
            members.void.enter(&peer);
            return Some(connection);
        }
        // One that has just been replaced may be about to end; one past the number waits for that, not for long.
        let place = async {
            while !members.begun.allows(identity.site, now_ms()) {
                tokio::time::sleep(limits::CONNECTION_PAUSE).await;
            }
            members.places(identity.site).acquire_owned().await
        };
        let place = tokio::time::timeout(limits::HANDSHAKE, place).await;
        if place.is_err() {
            tracing::warn!(site = %identity.site, "a connection too many is closed: this city has {} already", limits::CITY_CONNECTIONS);
        }
        Some(Connection::new(stream, peer, Some(place.ok()?.ok()?), None))
    }
}

/// Connections that have passed the gate of a port.
pub fn incoming(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    gate: Gate,
) -> ReceiverStream<io::Result<Connection<TlsStream<TcpStream>>>> {
    let (accepted, stream) = mpsc::channel(1);
    let gate = Arc::new(gate);
    tokio::spawn(async move {
        // Those on their way through the gate. Past a number the oldest gives way: a handshake that is meant is short.
        let mut coming: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let connection = tokio::select! {
                connection = listener.accept() => connection,
                () = accepted.closed() => return,
            };
            let Ok((stream, _)) = connection.inspect_err(|error| tracing::warn!(%error, "cannot accept"))
            else {
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            };
            coming.retain(|task| !task.is_finished());
            if coming.len() >= limits::HANDSHAKES {
                tokio::time::sleep(limits::HANDSHAKE_PAUSE).await;
                coming.pop_front().inspect(AbortHandle::abort);
            }
            let (gate, acceptor, accepted) = (Arc::clone(&gate), acceptor.clone(), accepted.clone());
            let task = tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let shaken = tokio::time::timeout(limits::HANDSHAKE, acceptor.accept(stream)).await;
                let Ok(Ok(stream)) = shaken else { return };
                if let Some(connection) = gate.admit(stream).await {
                    let _ = accepted.send(Ok(connection)).await;
                }
            });
            coming.push_back(task.abort_handle());
        }
    });
    ReceiverStream::new(stream)
}
