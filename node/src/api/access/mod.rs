//! The record API for the city's other systems: a TCP port, off unless it is set, over TLS alone, for tokens alone.
//!
//! | file | holds |
//! |---|---|
//! | `scope` | what a token allows, and what every call needs |
//! | `token` | tokens, and the file with what the site keeps of them |
//! | `gate` | the service that holds the one against the other |
//! | `caller` | connections, with a count of wrong tokens |
//! | `certificate` | what the port shows of itself |

mod caller;
mod certificate;
mod gate;
pub mod scope;
pub mod token;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use liandong_proto::pb::node::v1 as pb;
use pb::records_server::RecordsServer;
use pb::upkeep_server::UpkeepServer;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;
use tonic::service::InterceptorLayer;
use tonic::transport::{Server, ServerTlsConfig};

use super::{ServeError, Service};
use crate::site::{Paths, Records};
use crate::trust::{bounded, limits};
use caller::{Caller, Connection};
use gate::{Gate, authenticate};

pub use certificate::{Identity, NAME};
pub use scope::{Need, Right, Scope, Scopes};
pub(crate) use token::Bearer;
pub use token::Tokens;

/// Where other systems are served, and with which certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listening {
    /// Host and port.
    pub address: String,
    /// SHA-256 of the certificate.
    pub fingerprint: String,
}

/// The bound port.
pub struct Listener {
    port: TcpListener,
    tls: ServerTlsConfig,
    /// What is told of it.
    pub listening: Listening,
}

impl Listener {
    /// Binds it; port 0 lets the system choose.
    ///
    /// # Errors
    /// [`ServeError::Port`]; [`ServeError::Certificate`] when certificate and key do not make a pair.
    pub async fn bind(address: SocketAddr, identity: Identity) -> Result<Listener, ServeError> {
        let Identity { certificate, key, fingerprint } = identity;
        let tls = ServerTlsConfig::new()
            .identity(tonic::transport::Identity::from_pem(certificate, key))
            .timeout(limits::HANDSHAKE);
        // Before anybody is told that it is served.
        Server::builder().tls_config(tls.clone()).map_err(ServeError::Certificate)?;
        let failed = |source| ServeError::Port { address, source };
        let port = TcpListener::bind(address).await.map_err(failed)?;
        let bound = port.local_addr().map_err(failed)?;
        let listening = Listening { address: bound.to_string(), fingerprint };
        Ok(Listener { port, tls, listening })
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve(
        self,
        records: Arc<dyn Records>,
        paths: &Paths,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let tokens = Tokens::new(paths);
        let audit = Arc::clone(records.audit());
        let gate = Gate { inner: Service { records } };
        let places = Arc::new(Semaphore::new(limits::API_CONNECTIONS));
        let connections = bounded::incoming(self.port, limits::API_STRANGERS).map(move |connection| {
            connection.map(|stream| Connection::new(stream, Arc::clone(&places), limits::API_STRANGER))
        });
        Server::builder()
            .initial_stream_window_size(limits::STREAM_WINDOW)
            .initial_connection_window_size(limits::CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(limits::KEEPALIVE))
            .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(limits::HEADER_BYTES)
            .max_concurrent_streams(limits::API_STREAMS)
            .concurrency_limit_per_connection(limits::API_STREAMS as usize)
            .max_connection_age(limits::API_AGE)
            .max_connection_age_grace(limits::API_AGE_GRACE)
            .tcp_nodelay(true)
            .tls_config(self.tls)?
            .layer(InterceptorLayer::new(move |request| authenticate(&tokens, &audit, request)))
            .add_service(
                RecordsServer::new(gate.clone())
                    .max_decoding_message_size(limits::API_REQUEST_BYTES)
                    .max_encoding_message_size(limits::API_ANSWER_BYTES),
            )
            .add_service(UpkeepServer::new(gate).max_decoding_message_size(limits::API_REQUEST_BYTES))
            .serve_with_incoming_shutdown(connections, shutdown)
            .await?;
        Ok(())
    }
}
