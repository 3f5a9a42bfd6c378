//! What goes over the wire, before TLS closes it: a recorder between a node and the hub, which holds the keys of both.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use liandong_hub::ca::Ca;
use liandong_node::now::now_ms;
use liandong_node::site::Paths;
use liandong_node::trust::{HUB_NAME, Membership};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Bytes in each direction.
#[derive(Default)]
pub struct Recorded {
    /// From the node to the hub.
    pub up: Vec<u8>,
    /// From the hub to the node.
    pub down: Vec<u8>,
}

/// A recorder that listens in the hub's place.
pub struct Recorder {
    /// Where.
    pub address: String,
    recorded: Arc<Mutex<Recorded>>,
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|read| read.expect("a certificate")).collect()
}

fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key")
}

fn acceptor(hub_dir: &Path) -> TlsAcceptor {
    let (chain, secret) =
        Ca::load(&Paths::new(hub_dir)).and_then(|ca| ca.hub_identity(now_ms())).expect("the hub's identity");
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let mut config = builder.with_single_cert(certificates(&chain), key(&secret)).expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

fn connector(member: &Membership) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    certificates(&member.ca).into_iter().for_each(|ca| roots.add(ca).expect("an authority"));
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
    let pair = builder.with_client_auth_cert(certificates(&member.certificate), key(&member.private_key));
    let mut config = pair.expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

impl Recorder {
    /// Begins to listen between a member and the hub that it knows, whose directory this is.
    pub async fn between(member: &Membership, hub_dir: &Path) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let recorded = Arc::new(Mutex::new(Recorded::default()));
        let (acceptor, connector) = (acceptor(hub_dir), connector(member));
        let (hub, kept) = (member.hub.clone(), Arc::clone(&recorded));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, connector) = (acceptor.clone(), connector.clone());
                let (hub, kept) = (hub.clone(), Arc::clone(&kept));
                // A connection that ends is tried again by its node.
                tokio::spawn(async move { carry(stream, &acceptor, &connector, &hub, &kept).await.ok() });
            }
        });
        Recorder { address, recorded }
    }

    /// What has gone over it so far.
    pub fn taken(&self) -> Recorded {
        std::mem::take(&mut self.recorded.lock().expect("no writer panics"))
    }
}

async fn carry(
    node: TcpStream,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    hub: &str,
    kept: &Mutex<Recorded>,
) -> io::Result<()> {
    let node = acceptor.accept(node).await?;
    let name = ServerName::try_from(HUB_NAME).expect("a name");
    let hub = connector.connect(name, TcpStream::connect(hub).await?).await?;
    let ((from_node, to_node), (from_hub, to_hub)) = (split(node), split(hub));
    let up =
        copy(from_node, to_hub, |bytes| kept.lock().expect("no writer panics").up.extend_from_slice(bytes));
    let down =
        copy(from_hub, to_node, |bytes| kept.lock().expect("no writer panics").down.extend_from_slice(bytes));
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    keep: impl Fn(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        keep(&buffer[..read]);
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}
