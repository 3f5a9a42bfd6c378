//! What a member, or a stranger, can say to a hub when it keeps to nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use liandong_node::site::Paths;
use liandong_node::trust::{self, HUB_NAME, Membership};
use liandong_proto::entry::{self, Entry, Head, Header, Op};
use liandong_proto::id::{Epoch, Origin, RecordId, SiteCode};
use liandong_proto::pb::sync::v1 as sync;
use liandong_proto::position::Position;
use liandong_proto::session::head_to_pb;
use liandong_proto::sign::SigningKey;
use liandong_proto::stamp::Stamp;
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sync::down::Message as Down;
use sync::refusal::Code as Refused;
use sync::sync_client::SyncClient;
use sync::up::Message as Up;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::{Service as _, http};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::province::{MEMBER, Province};

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
const SESSION: &str = "/liandong.sync.v1.Sync/Session";

/// What must come, however slow the machine is.
pub async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming).await.unwrap_or_else(|_| panic!("{what} does not come"))
}

/// A city with a valid certificate and its own signing key, and no rules.
pub struct Enemy {
    pub member: Membership,
    pub signer: SigningKey,
    pub origin: Origin,
    /// Its log so far.
    pub head: Head,
}

/// How a call by hand was answered.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// By a status.
    Status(Code),
    /// By a refusal in the stream.
    Refused(Refused),
    /// By nothing that says why.
    Nothing,
}

impl Enemy {
    /// A city that has joined and whose node does not run.
    pub fn of(province: &Province, city: SiteCode) -> Enemy {
        let member = province.membership(city);
        let signer = Paths::new(&province.node(city).data_dir).signing().expect("a key");
        Enemy { member, signer, origin: Origin { site: city, epoch: Epoch([3; 16]) }, head: Head::default() }
    }

    /// A connection that keeps to HTTP/2 at least.
    pub async fn channel(&self) -> Channel {
        let endpoint = trust::endpoint(&self.member.hub, &self.member).expect("an address");
        soon("a connection", endpoint.connect()).await.expect("TLS stands")
    }

    /// The hello of an ordinary node.
    pub fn hello(&self) -> sync::Hello {
        sync::Hello {
            protocol_min: 1,
            protocol_max: 1,
            site: self.origin.site.0,
            epoch: Bytes::copy_from_slice(&self.origin.epoch.0),
            // The same in all sessions: to the hub these are one node that comes back.
            nonces: vec![Bytes::from_static(&[5; 16])],
            head: Some(head_to_pb(&self.head)),
            ..sync::Hello::default()
        }
    }

    /// A session that has begun; nobody has read anything of it yet.
    pub async fn session(
        &self,
        channel: Channel,
        hello: sync::Hello,
    ) -> (UnboundedSender<sync::Up>, Streaming<sync::Down>) {
        let (up, outbound) = tokio::sync::mpsc::unbounded_channel();
        send(&up, Up::Hello(hello));
        let outbound = tokio_stream::wrappers::UnboundedReceiverStream::new(outbound);
        let mut client = SyncClient::new(channel);
        (up, soon("a session", client.session(outbound)).await.expect("it begins").into_inner())
    }

    /// A session in which the city was welcomed.
    pub async fn welcomed(&self) -> (UnboundedSender<sync::Up>, Streaming<sync::Down>) {
        let (up, mut down) = self.session(self.channel().await, self.hello()).await;
        match next(&mut down).await {
            Some(Down::Welcome(welcome)) if welcome.diverged.is_none() => (up, down),
            other => panic!("not welcome: {other:?}"),
        }
    }

    /// How a session ends in which this is said behind the welcome.
    pub async fn ends(&self, said: Up) -> Option<Refused> {
        let (up, mut down) = self.welcomed().await;
        send(&up, said);
        refusal(&mut down).await
    }

    /// The next push of its log: entries of a member record with what is open and what is sealed as given.
    pub fn push(&mut self, record: RecordId, parts: &[(Bytes, Bytes)]) -> sync::Push {
        let after = head_to_pb(&self.head);
        let entries: Vec<Entry> =
            parts.iter().map(|(open, sealed)| self.entry(record, open, sealed)).collect();
        let signature = self.signer.sign_head(self.origin, &self.head);
        sync::Push {
            after_seq: after.seq,
            after_hash: after.hash,
            entries,
            head_signature: Bytes::copy_from_slice(&signature),
        }
    }

    fn entry(&mut self, record: RecordId, open: &Bytes, sealed: &Bytes) -> Entry {
        let header = Header {
            origin: self.origin,
            seq: self.head.seq + 1,
            stamp: Stamp::at_ms(1),
            base: Position::default(),
            kind: MEMBER,
            record,
            op: Op::Put,
            author: String::new(),
            import_id: Bytes::new(),
            prev: (self.head.seq > 0).then_some(self.head.hash),
            open_hash: None,
            sealed_hash: None,
            anchor: None,
            seen: Vec::new(),
        };
        let (entry, head) = entry::make(header, open.clone(), sealed.clone());
        self.head = head;
        entry
    }

    /// Pushes until it has a receipt for all of it.
    pub async fn pushed(&mut self, record: RecordId, parts: &[(Bytes, Bytes)]) {
        let (up, mut down) = self.welcomed().await;
        let push = self.push(record, parts);
        send(&up, Up::Push(push));
        while let Some(message) = next(&mut down).await {
            match message {
                Down::Receipt(receipt) if receipt.up_to == Some(head_to_pb(&self.head)) => {
                    return hang_up(up, down).await;
                }
                Down::Refusal(refusal) => panic!("refused: {refusal:?}"),
                _ => {}
            }
        }
        panic!("the stream ended");
    }

    /// TLS with its certificate, and whatever it likes inside.
    pub async fn tls(&self) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.member.ca.as_bytes()).expect("PEM")).expect("a root");
        let chain = CertificateDer::from_pem_slice(self.member.certificate.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(self.member.private_key.as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(roots);
        let mut config = builder.with_client_auth_cert(vec![chain], key).expect("a key");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(&self.member.hub).await.expect("connected");
        let name = ServerName::try_from(HUB_NAME).expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS stands")
    }
}

/// A gRPC message with its five bytes in front, whatever they say.
pub fn framed(compressed: bool, length: u32, message: &[u8]) -> Bytes {
    let mut body = BytesMut::from(&[u8::from(compressed)][..]);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(message);
    body.freeze()
}

/// Begins a session with a body made by hand.
pub async fn by_hand(channel: &mut Channel, encoding: Option<&str>, body: Bytes) -> Answer {
    let mut request = http::Request::post(format!("https://{HUB_NAME}{SESSION}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let request = request.body(tonic::body::Body::new(Full::new(body))).expect("a request");
    std::future::poll_fn(|context| channel.poll_ready(context)).await.expect("ready");
    let Ok(response) = soon("an answer", channel.call(request)).await else { return Answer::Nothing };
    let status = |headers: &http::HeaderMap| tonic::Status::from_header_map(headers).map(|it| it.code());
    if let Some(code) = status(response.headers()).filter(|code| *code != Code::Ok) {
        return Answer::Status(code);
    }
    let Ok(body) = soon("the end of the answer", response.into_body().collect()).await else {
        return Answer::Nothing;
    };
    let code = body.trailers().and_then(status);
    let mut bytes = body.to_bytes();
    while let Some((head, rest)) = bytes.split_at_checked(5) {
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize;
        let (message, rest) = rest.split_at(length);
        let down = sync::Down::decode(message).expect("a message");
        if let Some(Down::Refusal(refusal)) = down.message {
            return Answer::Refused(refusal.code());
        }
        bytes = Bytes::copy_from_slice(rest);
    }
    code.filter(|code| *code != Code::Ok).map_or(Answer::Nothing, Answer::Status)
}

/// Says something; a stream that has ended does not hear it.
pub fn send(up: &UnboundedSender<sync::Up>, message: Up) {
    let _ = up.send(sync::Up { message: Some(message) });
}

/// The next message; `None` when the stream has ended, well or not.
pub async fn next(down: &mut Streaming<sync::Down>) -> Option<Down> {
    soon("a message", down.message()).await.ok().flatten().and_then(|down| down.message)
}

/// The refusal that ends a stream. It is read to its end: then the hub has done with the session.
pub async fn refusal(down: &mut Streaming<sync::Down>) -> Option<Refused> {
    let mut refused = None;
    while let Some(message) = next(down).await {
        if let Down::Refusal(refusal) = message {
            refused = Some(refusal.code());
        }
    }
    refused
}

/// Ends a session, and waits until the hub has done with it.
pub async fn hang_up(up: UnboundedSender<sync::Up>, mut down: Streaming<sync::Down>) {
    drop(up);
    while next(&mut down).await.is_some() {}
}
