//! TLS as the hub speaks it: one provider, HTTP/2 only, and every connection shows its certificate anew.

use std::sync::Arc;

use rustls::pki_types::pem::{Error, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// What TLS cannot begin with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key that was made a moment ago and does not read back.
    #[error("the hub's certificate: {0}")]
    Pem(#[from] Error),
    /// TLS does not take it.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Or the authority for its peers.
    #[error("TLS: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// TLS with the hub's own chain and key, for the protocols that `speaks` names (RFC 7301). With an authority (DER), whoever connects has to show a certificate of it;
/// without one nobody shows anything.
///
/// # Errors
/// [`TlsError`].
pub fn acceptor(
    chain: &str,
    key: &str,
    authority: Option<&[u8]>,
    speaks: &[&str],
) -> Result<TlsAcceptor, TlsError> {
    let mut chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    if authority.is_some() {
        // Members know the authority: on a line that breaks often its certificate would go with every connection.
        chain.truncate(1);
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(authority.to_vec()))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = speaks.iter().map(|name| name.as_bytes().to_vec()).collect();
    // A session taken up again would show nothing.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
