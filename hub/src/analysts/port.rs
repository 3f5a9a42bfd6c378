//! The port of the analysts: HTTPS for downloads, and on the same port Arrow Flight SQL. The certificate is of the
//! province's authority.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use liandong_node::trust::limits;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;

use super::{Desk, web};
use crate::ca::CaError;
use crate::listen::{Connection, Peer, TlsError, acceptor};

/// Connections of analysts at once.
const CONNECTIONS: usize = 128;
/// A connection is open no longer than this.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// Why analysts are not served.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The port.
    #[error("cannot listen on {addr}: {source}; choose another analysts.listen or stop what uses it")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Serving.
    #[error("{0}")]
    Serve(#[from] tonic::transport::Error),
}

/// The bound port.
pub struct Port {
    listener: TcpListener,
    /// Where it is.
    pub addr: SocketAddr,
    names: Vec<String>,
}

impl Port {
    /// Binds it; port 0 lets the system choose. Its certificate is good for the names given and for this machine.
    ///
    /// # Errors
    /// [`PortError::Bind`].
    pub async fn bind(addr: SocketAddr, names: &[String]) -> Result<Port, PortError> {
        let failed = |source| PortError::Bind { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let mut names = names.to_vec();
        names.extend(["localhost".into(), "127.0.0.1".into()]);
        if !addr.ip().is_unspecified() {
            names.push(addr.ip().to_string());
        }
        names.sort_unstable();
        names.dedup();
        Ok(Port { listener, addr, names })
    }

    /// Serves analysts until `shutdown`.
    ///
    /// # Errors
    /// [`PortError`].
    pub async fn serve(
        self,
        desk: Desk,
        now_ms: u64,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), PortError> {
        let (chain, key) = desk.hub.shared.ca.server_identity(self.names, now_ms)?;
        let tls = acceptor(&chain, &key, None, &["h2", "http/1.1"])?;
        let web = web::router(desk.clone());
        // Cities sync on, and files are served, also where queries cannot be.
        #[cfg(feature = "sql")]
        let web = match super::sql::service(desk) {
            Ok(service) => Routes::new(service).into_axum_router().merge(web),
            Err(error) => {
                tracing::error!(%error, "the releases cannot be opened for SQL: analysts have downloads only; restart once that is mended");
                web
            }
        };
        let web = web.fallback(web::nothing);
        let server = Server::builder()
            .accept_http1(true)
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20)
            .max_frame_size(limits::FRAME_BYTES)
            .http2_keepalive_interval(Some(limits::KEEPALIVE))
            .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(limits::HEADER_BYTES)
            .max_concurrent_streams(limits::STREAMS);
        let mut server = server;
        let connections = incoming(self.listener, tls);
        server.add_routes(Routes::from(web)).serve_with_incoming_shutdown(connections, shutdown).await?;
        Ok(())
    }
}

type Tls = Connection<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>;

/// Connections whose handshake is done; as many at once as there are places.
fn incoming(
    listener: TcpListener,
    tls: TlsAcceptor,
) -> impl tokio_stream::Stream<Item = std::io::Result<Tls>> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        let mut coming = TcpListenerStream::new(listener);
        while let Some(stream) = coming.next().await {
            let Ok(stream) = stream else { continue };
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            if sender.is_closed() {
                return;
            }
            let (tls, sender) = (tls.clone(), sender.clone());
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let shaken = tokio::time::timeout(limits::HANDSHAKE, tls.accept(stream)).await;
                if let Ok(Ok(stream)) = shaken {
                    let connection =
                        Connection::new(stream, Peer::new(None), Some(place), tokio::time::sleep(LONGEST));
                    let _ = sender.send(Ok(connection)).await;
                }
            });
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}
