//! The port for the city's other systems: TLS and a token, and of each token what it was given for.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use liandong_node::api::access::NAME;
use liandong_node::site::Paths;
use liandong_proto::pb::DESCRIPTORS;
use liandong_proto::pb::node::v1 as pb;
use pb::records_client::RecordsClient;
use pb::upkeep_client::UpkeepClient;
use prost::Message as _;
use prost_reflect::DescriptorPool;
use serde_json::Value;
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor as _;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Request, Status};

use crate::province::{AWARD_ROUND, FINDING, MEMBER, member};
use crate::site::{PATIENCE, Running, Site, stderr, stdout};

const NOMINATION: u32 = 3;
const LISTEN: [&str; 1] = ["api_listen=127.0.0.1:0"];

/// Another system of the city.
struct Other {
    certificate: String,
    address: String,
}

type Way = InterceptedService<Channel, Bearer>;

#[derive(Clone)]
struct Bearer(String);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = MetadataValue::try_from(format!("Bearer {}", self.0)).expect("printable");
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

impl Other {
    fn new(site: &Site, running: &Running) -> Other {
        let (certificate, _) = Paths::new(&site.data_dir()).api_identity();
        Other {
            certificate: std::fs::read_to_string(certificate).expect("the site has made one"),
            address: running.told["api"].as_str().expect("it says where").to_owned(),
        }
    }

    fn endpoint(&self) -> Endpoint {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.certificate));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).expect("an address");
        endpoint.tls_config(tls.domain_name(NAME)).expect("a certificate")
    }

    async fn channel(&self) -> Channel {
        self.endpoint().connect().await.expect("TLS stands")
    }

    async fn records(&self, token: &str) -> RecordsClient<Way> {
        RecordsClient::with_interceptor(self.channel().await, Bearer(token.to_owned()))
    }
}

async fn token(site: &Site, name: &str, scopes: &[&str]) -> String {
    let mut args = vec!["api-token", "new", "--name", name];
    args.extend(scopes.iter().flat_map(|scope| ["--scope", scope]));
    site.answer(&args).await["token"].as_str().expect("a token").to_owned()
}

/// The reads recorded of somebody: call, kind, how many, how they came.
async fn audited(site: &Site, who: &str) -> Vec<String> {
    recorded(site, "READ", who).await
}

/// The same of something else.
async fn recorded(site: &Site, what: &str, who: &str) -> Vec<String> {
    let output =
        site.command(&["audit", "list", "--limit", "0", "--what", what, "--who", who, "--json"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let told = |line: &str| {
        let read: Value = serde_json::from_str(line).expect("an object");
        assert_eq!(read["who"], who);
        let text = |name: &str| read[name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {} {}", text("detail"), text("kind"), read["count"], text("via"))
    };
    stdout(&output).lines().map(told).collect()
}

fn put_of(kind: u32, set: Vec<u8>) -> pb::Put {
    pb::Put { kind, set: set.into(), ..pb::Put::default() }
}

fn put(puts: Vec<pb::Put>) -> pb::PutRequest {
    pb::PutRequest { puts, author: "the-boss".into(), ..pb::PutRequest::default() }
}

fn members() -> pb::ListRequest {
    pb::ListRequest { kind: MEMBER, ..pb::ListRequest::default() }
}

#[track_caller]
fn check<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, Status>, code: Code, words: &str) {
    let status = answer.expect_err("it is refused");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(words), "{status:?} has no {words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_off_unless_it_is_set() {
    let site = Site::node(&[]).await;
    let running = site.start().await;
    assert_eq!(running.told["api"], Value::Null);
    assert_eq!(site.answer(&["status"]).await["api_address"], "");
    let (certificate, key) = Paths::new(&site.data_dir()).api_identity();
    assert!(!certificate.exists() && !key.exists());
    running.stop().await;
}

/// The calls come from the descriptors: none that is served by anybody gets through without a token.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_tls_and_a_token() {
    let site = Site::node(&LISTEN).await;
    let running = site.start().await;
    let other = Other::new(&site, &running);
    let told = site.answer(&["status"]).await;
    assert_eq!(
        (&told["api_address"], &told["api_fingerprint"]),
        (&running.told["api"], &running.told["api_fingerprint"])
    );
    assert_eq!(told["api_fingerprint"].as_str().map(str::len), Some(95));

    let plain = Endpoint::from_shared(format!("http://{}", other.address)).expect("an address");
    let plain = UpkeepClient::new(plain.connect_lazy()).status(pb::StatusRequest {}).await;
    assert!(plain.is_err(), "plaintext: {plain:?}");

    let pool = DescriptorPool::decode(DESCRIPTORS).expect("descriptors");
    let calls: Vec<String> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|call| format!("/{}/{}", call.parent_service().full_name(), call.name()))
        .chain(["/grpc.health.v1.Health/Check".to_owned()])
        .collect();
    assert!(calls.len() >= 15, "{calls:?}");
    let cut = &token(&site, "cut", &["*:read", "*:write"]).await[..40];
    let never = format!("ldt1.{}", "A".repeat(48));
    for call in &calls {
        for token in [None, Some(""), Some(cut), Some(&never)] {
            let mut client = tonic::client::Grpc::new(other.channel().await);
            client.ready().await.expect("connected");
            let mut request = Request::new(pb::StatusRequest {});
            if let Some(token) = token {
                request = Bearer(token.to_owned())
                    .call(Request::new(()))
                    .expect("made")
                    .map(|()| pb::StatusRequest {});
            }
            let codec = tonic_prost::ProstCodec::<pb::StatusRequest, pb::StatusResponse>::default();
            let answer = client.unary(request, call.parse().expect("a path"), codec).await;
            assert_eq!(
                answer.map_err(|status| status.code()).err(),
                Some(Code::Unauthenticated),
                "{call} {token:?}"
            );
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_it_was_given_for_and_nothing_else() {
    let site = Site::node(&LISTEN).await;
    let reads = token(&site, "HR", &["member:read"]).await;
    let writes = token(&site, "报名系统", &["member:write"]).await;
    let running = site.start().await;
    // Made while the site runs.
    let all = token(&site, "all", &["*:read", "*:write"]).await;
    let other = Other::new(&site, &running);
    let (mut reads, mut writes) = (other.records(&reads).await, other.records(&writes).await);
    let one = || put_of(MEMBER, member(1).encode_to_vec());

    let written = writes.put(put(vec![one()])).await.expect("it may").into_inner();
    assert!(written.results[0].problems.is_empty(), "{written:?}");
    let id = written.results[0].record.clone();
    let listed = reads.list(members()).await.expect("it may").into_inner();
    assert_eq!(listed.records.len(), 1);
    let get = |kind| pb::GetRequest { kind, record: id.clone(), ..pb::GetRequest::default() };
    assert!(reads.get(get(MEMBER)).await.is_ok());
    assert_eq!(audited(&site, "token:HR").await, ["list member 1 tcp", "get member 1 tcp"]);
    let history = reads.history(get(MEMBER)).await.expect("it may").into_inner().items;
    assert_eq!(history[0].author, "token:报名系统", "whatever the request says");

    let denied = Code::PermissionDenied;
    check(reads.put(put(vec![one()])).await, denied, "member:write");
    let delete = |kind| pb::DeleteRequest {
        kind,
        record: id.clone(),
        author: "the-boss".into(),
        ..Default::default()
    };
    check(reads.delete(delete(MEMBER)).await, denied, "member:write");
    check(
        reads.list(pb::ListRequest { kind: NOMINATION, ..Default::default() }).await,
        denied,
        "nomination:read",
    );
    check(reads.get(get(AWARD_ROUND)).await, denied, "award_round:read");
    check(reads.history(get(FINDING)).await, denied, "finding:read");
    check(reads.get(get(999)).await, denied, "999:read");
    check(writes.list(members()).await, denied, "member:read");
    check(writes.get(get(MEMBER)).await, denied, "member:read");
    check(writes.history(get(MEMBER)).await, denied, "member:read");
    check(
        writes.deleted(pb::DeletedRequest { kind: MEMBER, ..pb::DeletedRequest::default() }).await,
        denied,
        "member:read",
    );
    check(writes.delete(delete(NOMINATION)).await, denied, "nomination:write");
    let refused = recorded(&site, "REFUSED", "token:HR").await;
    assert!(refused.contains(&"no scope member:write  1 tcp".to_owned()), "{refused:?}");
    // What was not shown is not said to have been read.
    assert_eq!(audited(&site, "token:HR").await.len(), 3);
    // Not even the part of a batch that would be allowed, nor to try it out.
    let mixed = || vec![put_of(MEMBER, member(2).encode_to_vec()), put_of(NOMINATION, Vec::new())];
    check(writes.put(put(mixed())).await, denied, "nomination:write");
    check(writes.put(pb::PutRequest { dry_run: true, ..put(mixed()) }).await, denied, "nomination:write");
    assert_eq!(reads.list(members()).await.expect("it may").into_inner().records.len(), 1);

    let upkeep = |token: &str| {
        UpkeepClient::with_interceptor(other.endpoint().connect_lazy(), Bearer(token.to_owned()))
    };
    check(upkeep(&all).verify(pb::UpkeepRequest::default()).await, denied, "own machine");
    let kinds =
        |status: &pb::StatusResponse| status.counts.iter().map(|count| count.kind).collect::<Vec<_>>();
    let status = upkeep(&all).status(pb::StatusRequest {}).await.expect("any token may").into_inner();
    assert!(status.data_dir.is_empty() && kinds(&status).contains(&MEMBER), "{status:?}");
    let nothing = token(&site, "sanctions", &["sanction:read"]).await;
    let status = upkeep(&nothing).status(pb::StatusRequest {}).await.expect("any token may").into_inner();
    assert!(!kinds(&status).contains(&MEMBER), "what it may not read is not counted for it: {status:?}");

    let mut all = other.records(&all).await;
    all.delete(delete(MEMBER)).await.expect("it may");
    let deleted = recorded(&site, "DELETED", "token:all").await;
    assert!(deleted.len() == 1 && deleted[0].ends_with(" member 1 tcp"), "{deleted:?}");
    let deleted = all
        .deleted(pb::DeletedRequest { kind: MEMBER, ..pb::DeletedRequest::default() })
        .await
        .expect("it may")
        .into_inner();
    assert_eq!(tokio_stream::StreamExt::collect::<Vec<_>>(deleted).await.len(), 1);
    let history = all.history(get(MEMBER)).await.expect("it may").into_inner().items;
    assert_eq!(history.last().map(|item| item.author.as_str()), Some("token:all"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_or_over_counts_for_nothing_on_an_open_connection() {
    let site = Site::node(&LISTEN).await;
    let running = site.start().await;
    let other = Other::new(&site, &running);
    let (first, second) =
        (token(&site, "A", &["member:read"]).await, token(&site, "B", &["member:read"]).await);
    let (mut first, mut second) = (other.records(&first).await, other.records(&second).await);
    assert!(first.list(members()).await.is_ok() && second.list(members()).await.is_ok());

    site.answer(&["api-token", "revoke", "A"]).await;
    check(first.list(members()).await, Code::Unauthenticated, "A has been revoked");
    assert_eq!(recorded(&site, "REFUSED", "token:A").await, ["token revoked  1 tcp"]);
    assert!(second.list(members()).await.is_ok(), "the other is untouched");

    // A year later.
    let path = Paths::new(&site.data_dir()).api_tokens();
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("JSON");
    kept[1]["until_ms"] = 1_000.into();
    std::fs::write(&path, kept.to_string()).expect("written");
    check(second.list(members()).await, Code::Unauthenticated, "B has ended");

    let listed = site.command(&["api-token", "list"]).await;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("revoked") && listed.contains("over"), "{listed}");
    // A file that cannot be read lets nobody in, and is no fault of the caller.
    std::fs::write(&path, "{").expect("written");
    check(second.list(members()).await, Code::Unavailable, "cannot read its tokens");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_out_or_revokes_a_token_is_recorded_whether_the_site_runs_or_not() {
    let site = Site::node(&LISTEN).await;
    token(&site, "before", &["member:read"]).await;
    let running = site.start().await;
    token(&site, "while", &["member:read"]).await;
    site.answer(&["api-token", "revoke", "before"]).await;
    // Once more changes nothing, and was done all the same.
    site.answer(&["api-token", "revoke", "before"]).await;
    running.stop().await;
    let listed = site.command(&["audit", "list", "--what", "TOKEN_MADE,TOKEN_REVOKED", "--json"]).await;
    let listed = stdout(&listed);
    let mut told = Vec::new();
    for line in listed.lines() {
        let it: Value = serde_json::from_str(line).expect("JSON");
        assert!(it["peer"].as_str().is_some_and(|peer| peer.starts_with("uid:")), "{it}");
        told.push((it["number"].as_u64(), it["what"].clone(), it["detail"].clone()));
    }
    told.sort_by_key(|it| it.0);
    let told: Vec<_> = told.into_iter().map(|(_, what, detail)| format!("{what} {detail}")).collect();
    let revoked = ("TOKEN_REVOKED", "before");
    let expected = [("TOKEN_MADE", "before"), ("TOKEN_MADE", "while"), revoked, revoked];
    assert_eq!(told, expected.map(|(what, name)| format!("\"{what}\" \"{name}\"")));
}

/// Gives one connection and no other.
struct Once(Option<String>);

impl Service<Uri> for Once {
    type Response = hyper_util::rt::TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0.take();
        Box::pin(async move {
            let address = address.ok_or(std::io::ErrorKind::ConnectionRefused)?;
            Ok(hyper_util::rt::TokioIo::new(TcpStream::connect(address).await?))
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_few_attempts() {
    let site = Site::node(&LISTEN).await;
    let running = site.start().await;
    let other = Other::new(&site, &running);
    let right = token(&site, "A", &["member:read"]).await;
    let wrong = format!("ldt1.{}", "A".repeat(48));
    let channel =
        other.endpoint().connect_with_connector(Once(Some(other.address.clone()))).await.expect("TLS");
    let list = |token: &str| {
        let mut client = RecordsClient::with_interceptor(channel.clone(), Bearer(token.to_owned()));
        async move { client.list(members()).await.map(drop).map_err(|status| status.code()) }
    };
    for _ in 0..4 {
        assert_eq!(list(&wrong).await, Err(Code::Unauthenticated));
        // The rest of them is counted, and recorded with the next a minute later.
        assert_eq!(recorded(&site, "REFUSED", "").await, ["no such token  1 tcp"]);
    }
    assert_eq!(list(&right).await, Ok(()), "four are none too many");
    assert!(list(&wrong).await.is_err());
    // It is closed, and until it is no token is looked at.
    let closing = async {
        loop {
            match list(&right).await {
                Err(Code::Unauthenticated) => tokio::task::yield_now().await,
                ended => return ended,
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, closing).await.expect("it is closed");
    assert!(ended.is_err(), "the connection is of no use any more");
    let mut fresh = other.records(&right).await;
    assert!(fresh.list(members()).await.is_ok(), "a fresh one is");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_city_is_shown_when_there_is_one() {
    // Two that were made by other sites.
    let (one, two) = (Site::node(&LISTEN).await, Site::node(&LISTEN).await);
    for site in [&one, &two] {
        site.start().await.stop().await;
    }
    let file = |site: &Site, which: usize| {
        let (certificate, key) = Paths::new(&site.data_dir()).api_identity();
        [certificate, key][which].display().to_string()
    };
    let options = |certificate: Option<String>, key: Option<String>| {
        let mut options = vec![LISTEN[0].to_owned()];
        options.extend(certificate.map(|path| format!("api_certificate={path}")));
        options.extend(key.map(|path| format!("api_key={path}")));
        options
    };
    let site = Site::node(&[]).await;
    let run = |options: Vec<String>| {
        let args: Vec<String> = std::iter::once("run".to_owned())
            .chain(options.into_iter().flat_map(|it| ["--option".into(), it]))
            .collect();
        let site = &site;
        async move {
            let output = site.command(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
            (output.status.code(), stderr(&output))
        }
    };
    let (code, said) = run(options(Some(file(&one, 0)), None)).await;
    assert!(code == Some(2) && said.contains("only one of api_certificate and api_key"), "{said}");
    let (code, said) = run(options(Some(file(&one, 0)), Some(file(&two, 1)))).await;
    assert!(code == Some(2) && said.contains("belong together"), "{said}");

    let options = options(Some(file(&one, 0)), Some(file(&one, 1)));
    let site = Site::node(&options.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let running = site.start().await;
    let right = token(&site, "A", &["member:read"]).await;
    let other = Other {
        certificate: std::fs::read_to_string(file(&one, 0)).expect("there"),
        address: running.told["api"].as_str().expect("it says where").to_owned(),
    };
    assert!(other.records(&right).await.list(members()).await.is_ok());
    assert!(!Path::new(&file(&site, 0)).exists(), "none of its own is made");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_keep_no_system_out() {
    let site = Site::node(&LISTEN).await;
    let running = site.start().await;
    let token = token(&site, "A", &["member:read"]).await;
    let other = Other::new(&site, &running);
    let mut before = other.records(&token).await;
    before.list(members()).await.expect("it may");
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(TcpStream::connect(&other.address).await.expect("connected"));
    }
    // Sooner than the first of them would have been given up for its silence.
    let soon = std::time::Duration::from_secs(8);
    let late = tokio::time::timeout(soon, async { other.records(&token).await.list(members()).await });
    late.await.expect("in time").expect("it may");
    before.list(members()).await.expect("whoever is known gives way to nobody");
    drop(strangers);
    running.stop().await;
}
