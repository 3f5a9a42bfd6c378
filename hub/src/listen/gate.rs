//! Who gets as far as a connection: TLS, and a place for each. Whoever is nobody, or not yet anybody, never takes the
//! place of a member, and a member takes its own places only.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use liandong_node::now::now_ms;
use liandong_node::trust::limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::connection::{Connection, Peer, unvouched};
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

/// Those who come to the sync port: each enrolment of a city has places of its own, so that a city that has joined anew
/// waits for nobody who has a certificate from before.
pub struct Members {
    hub: Arc<Hub>,
    places: Mutex<HashMap<Identity, Arc<Semaphore>>>,
    void: Crowd,
    begun: Pace,
}

impl Members {
    /// The members of a hub.
    pub fn new(hub: Arc<Hub>) -> Members {
        let begun = Pace::new(limits::CONNECTIONS_AT_ONCE, limits::CONNECTION_PAUSE);
        Members { hub, places: Mutex::default(), void: Crowd::new(limits::VOID_CONNECTIONS), begun }
    }

    fn places(&self, identity: Identity) -> Arc<Semaphore> {
        let mut places = locked(&self.places);
        // The connections that have places of an enrolment before keep them until they are cut.
        places.retain(|it, _| *it == identity || self.is_member(*it));
        let new = || Arc::new(Semaphore::new(limits::CITY_CONNECTIONS));
        Arc::clone(places.entry(identity).or_insert_with(new))
    }

    fn is_member(&self, identity: Identity) -> bool {
        self.hub.member_key(identity).is_some()
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
                let connection = Connection::new(stream, peer.clone(), None, sleep(limits::ENROLMENT_AGE));
                crowd.enter(&peer);
                return Some(connection);
            }
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let identity = certificates.and_then(|chain| Identity::of(chain.first()?))?;
        let peer = Peer::new(Some(identity));
        if !members.is_member(identity) {
            // Long enough to be told so, by the answer to its first request.
            let connection = Connection::new(stream, peer.clone(), None, sleep(limits::VOID_AGE));
            members.void.enter(&peer);
            return Some(connection);
        }
        // One that has just been replaced may be about to end; one past the number waits for that, not for long.
        let place = async {
            while !members.begun.allows(identity.site, now_ms()) {
                sleep(limits::CONNECTION_PAUSE).await;
            }
            members.places(identity).acquire_owned().await
        };
        let place = tokio::time::timeout(limits::HANDSHAKE, place).await;
        if place.is_err() {
            tracing::warn!(site = %identity.site, "a connection too many is closed: this city has {} already", limits::CITY_CONNECTIONS);
        }
        let hub = Arc::clone(&members.hub);
        let end = async move {
            unvouched(limits::LOOK_AGAIN, || hub.member_key(identity).is_some()).await;
            // As long as whoever comes with a void certificate: what it was told has had time to arrive.
            sleep(limits::VOID_AGE).await;
        };
        Some(Connection::new(stream, peer, Some(place.ok()?.ok()?), end))
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
                sleep(AFTER_ERROR).await;
                continue;
            };
            coming.retain(|task| !task.is_finished());
            if coming.len() >= limits::HANDSHAKES {
                sleep(limits::HANDSHAKE_PAUSE).await;
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
