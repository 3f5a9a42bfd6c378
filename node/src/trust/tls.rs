//! TLS as a node speaks it. Before a city has joined it knows the authority by its pin alone; afterwards both sides
//! show certificates of that authority.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use liandong_proto::id::{Hash, sha256};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};

use super::{HUB_NAME, Membership, limits};

/// How a member reaches the hub at `address` (host and port).
///
/// # Errors
/// When the address is none, or a certificate cannot be read.
pub fn endpoint(address: &str, membership: &Membership) -> Result<Endpoint, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .domain_name(HUB_NAME)
        .ca_certificate(Certificate::from_pem(&membership.ca))
        .identity(Identity::from_pem(&membership.certificate, &membership.private_key));
    bounded(Endpoint::from_shared(format!("https://{address}"))?).tls_config(tls)
}

fn bounded(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(limits::HANDSHAKE)
        .http2_keep_alive_interval(limits::KEEPALIVE)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_frame_size(limits::FRAME_BYTES)
        .http2_max_header_list_size(limits::HEADER_BYTES)
        .http2_max_local_error_reset_streams(limits::RESETS)
        .concurrency_limit(limits::STREAMS as usize)
        .tcp_nodelay(true)
}

/// Connects to the hub whose authority has this pin.
///
/// # Errors
/// When it cannot be reached, or is another.
pub(super) async fn connect_pinned(address: &str, pin: Hash) -> Result<Channel, tonic::transport::Error> {
    let connector = Connector { address: address.to_owned(), tls: pinned(pin) };
    // The name stands for nothing: the connector knows the way.
    let endpoint = bounded(Endpoint::from_static("http://hub").timeout(limits::HANDSHAKE));
    endpoint.connect_with_connector(connector).await
}

fn pinned(pin: Hash) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Pinned { pin, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("the provider knows the versions");
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Takes a chain that ends in the certificate with the pin, and checks it as any other from there.
#[derive(Debug)]
struct Pinned {
    pin: Hash,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates.iter().find(|certificate| sha256(certificate) == self.pin);
        let authority = authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider)).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Clone)]
struct Connector {
    address: String,
    tls: TlsConnector,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, std::io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), std::io::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Connector { address, tls } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(&address).await?;
            let name = ServerName::try_from(HUB_NAME).expect("a name");
            Ok(TokioIo::new(tls.connect(name, stream).await?))
        })
    }
}
